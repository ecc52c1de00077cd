"""One service over HTTP: rate limit, retries, and nothing that a hostile or broken server could exploit.

1. https alone; plain http is for a server on this machine.
2. The host's address is resolved once, checked, and connected to. Private, link-local and other special
   addresses are refused, at first and after each redirect; only a base URL on loopback may stay there.
3. A request has one deadline for everything, and a body one size, unpacked.
4. Errors are worded here. Neither they nor the log hold a query, so no key that is part of one.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import json
import logging
import socket
import zlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from config.secret import Secret
from engine.errors import ConfigError
from feeds.provider import Failure, ProviderError
from feeds.rate_limit import RateLimit
from feeds.retry import Patience, patiently

T = TypeVar("T")
BODY_MAX = 10_000_000  # bytes
REDIRECTS_MAX = 3
_AGENT = "Mozilla/5.0 (compatible; smallcap)"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address in its last four bytes

for _name in ("httpx2", "httpcore2"):  # They log the URL of every request, key included
    logging.getLogger(_name).setLevel(logging.WARNING)


class Http:
    """Asks one service. A context: connections are kept open within it.

    base_url: "https://host[/path]". Raises ConfigError for one that may not be asked.
    timeout_s: for one attempt, from the first byte out to the last byte in.
    """

    def __init__(
        self, service: str, base_url: str, limit: RateLimit, *, patience: Patience | None = None,
        timeout_s: float = 30.0, body_max: int = BODY_MAX, connections: int = 4,
    ) -> None:  # fmt: skip
        self.service = service
        self._base = checked_base_url(base_url)
        self._limit = limit
        self._patience = patience or Patience()
        self._timeout_s = timeout_s
        self._body_max = body_max
        self._turns = asyncio.Semaphore(connections)
        self._client = httpx2.AsyncClient(
            transport=_CheckedTransport(self._base), timeout=timeout_s,
            headers={"User-Agent": _AGENT, "Accept-Encoding": "gzip"},
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def get(
        self, path: str, read: Callable[[bytes], T], *, params: Mapping[str, str] | None = None,
        secrets: Mapping[str, Secret] | None = None, symbol: str = "",
    ) -> T:  # fmt: skip
        """Return `read(body)` of a page below the base URL. Raises ProviderError.

        read: may raise ProviderError, for services that fail with status 200.
        secrets: parameters that are keys. symbol: whom it is about, for error messages.
        """
        keys = {name: secret.reveal() for name, secret in (secrets or {}).items()}
        url = self._base.copy_with(path=self._base.path.rstrip("/") + path, params=dict(params or {}) | keys)

        async def attempt() -> T:
            async with self._turns:
                await asyncio.sleep(self._limit.reserve())
                return read(await self._body(url, symbol))

        return await patiently(attempt, self._patience)

    async def _body(self, url: httpx2.URL, symbol: str) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                for _ in range(REDIRECTS_MAX + 1):
                    async with self._client.stream("GET", url) as response:
                        if response.next_request is None:
                            self._check_status(response, symbol)
                            return await self._read_body(response, symbol)
                        url = response.next_request.url
                raise self._failed(Failure.REFUSED, f"more than {REDIRECTS_MAX} redirects", symbol)
        except (TimeoutError, httpx2.TimeoutException):
            raise self._failed(Failure.TIMEOUT, f"no answer within {self._timeout_s:g} s", symbol) from None
        except _Refused as error:
            raise self._failed(Failure.REFUSED, str(error), symbol) from None
        except zlib.error:
            raise self._failed(Failure.MALFORMED, "an answer that cannot be unpacked", symbol) from None
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            raise self._failed(Failure.UNAVAILABLE, "the connection was cut", symbol) from None
        except httpx2.HTTPError as error:
            detail = f"no connection to {url.host} ({type(error).__name__})"
            raise self._failed(Failure.UNAVAILABLE, detail, symbol) from None

    async def _read_body(self, response: httpx2.Response, symbol: str) -> bytes:
        """Return the body, unpacked here: httpx2 takes a packed one that ends in the middle for whole."""
        packing = response.headers.get("content-encoding", "").strip().lower()
        if packing not in ("", "identity", "gzip", "x-gzip"):
            raise self._failed(Failure.MALFORMED, f"an answer packed as {packing[:20]}", symbol)
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16) if "gzip" in packing else None
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += unpacker.decompress(chunk, self._body_max + 1 - len(body)) if unpacker else chunk
            if len(body) > self._body_max:
                detail = f"an answer of more than {self._body_max / 1e6:g} MB, not read on"
                raise self._failed(Failure.REFUSED, detail, symbol)
        if unpacker is not None and not unpacker.eof:
            raise self._failed(Failure.UNAVAILABLE, "the connection was cut", symbol)
        if unpacker is not None and unpacker.unused_data.strip(b"\0"):
            raise self._failed(Failure.MALFORMED, "an answer that cannot be unpacked", symbol)
        return bytes(body)

    def _check_status(self, response: httpx2.Response, symbol: str) -> None:
        error = status_error(self.service, response.status_code, response.headers, symbol)
        if error is None:
            return
        if error.failure is Failure.RATE_LIMITED:
            self._limit.hold(min(error.retry_after_s or 0.0, self._patience.wait_max_s))
        raise error

    def _failed(self, failure: Failure, detail: str, symbol: str) -> ProviderError:
        return ProviderError(failure, self.service, detail, symbol=symbol)


def checked_base_url(base_url: str) -> httpx2.URL:
    """Return a base URL that may be asked. Raises ConfigError: https alone, except on loopback; no login."""
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        raise ConfigError(f"{base_url!r} is not a URL such as https://host/path") from None
    if not url.host or url.userinfo or url.query or url.scheme not in ("https", "http"):
        raise ConfigError(f"{url.copy_with(userinfo=b'', query=None)} must be https://host[/path] alone")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise ConfigError(f"{base_url} must begin with https:// (http is for servers on this machine)")
    return url


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet, however it is wrapped."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast


def status_error(
    service: str, status: int, headers: Mapping[str, str], symbol: str = ""
) -> ProviderError | None:
    """Return what an HTTP status means, None for success. headers: in lower case, or indifferent to case."""
    if 200 <= status < 300:
        return None
    wait_s = retry_after_s(headers)
    if status == 429:
        told = f", asks to wait {wait_s:.0f} s" if wait_s is not None else ""
        failure, detail = Failure.RATE_LIMITED, f"too many requests (429){told}"
    elif status in (401, 403):
        failure, detail = Failure.UNAUTHORIZED, f"access refused ({status})"
    elif status >= 500:
        failure, detail = Failure.UNAVAILABLE, f"out of order ({status})"
    elif status == 408:
        failure, detail = Failure.TIMEOUT, "the service gave up waiting (408)"
    elif status == 404 and symbol:
        failure, detail = Failure.UNKNOWN_SYMBOL, "no such symbol (404)"
    else:
        failure, detail = Failure.MALFORMED, f"an answer of status {status}"
    return ProviderError(failure, service, detail, symbol=symbol, retry_after_s=wait_s)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After asks for, None if it is neither a number nor a date.

    A date counts from the server's own clock, its Date header.
    """
    text = headers.get("retry-after", "")
    if text.isdecimal():
        return float(text[:9])
    try:
        moment, now = (email.utils.parsedate_to_datetime(t) for t in (text, headers.get("date", "")))
        return max(0.0, (moment - now).total_seconds())
    except (TypeError, ValueError):
        return None


def read_json(service: str, body: bytes, symbol: str = "") -> Any:
    """Return a JSON document. Raises ProviderError (malformed), saying what came instead."""
    try:
        return json.loads(body)
    except ValueError:
        start = body[:200].lstrip()[:1]
        what = "nothing" if not start else "a web page" if start == b"<" else "damaged or incomplete JSON"
        raise ProviderError(
            Failure.MALFORMED, service, f"{what} instead of an answer in JSON", symbol=symbol
        ) from None


class _Refused(Exception):
    """An address that may not be connected to; the message says which."""


class _CheckedTransport(httpx2.AsyncHTTPTransport):
    """Connects to the address that was checked, under the name that was asked for."""

    def __init__(self, base: httpx2.URL) -> None:
        super().__init__(trust_env=False)
        self._trusted = (base.host, base.port) if _is_loopback(base.host) else None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host, port = request.url.host, request.url.port
        local = (host, port) == self._trusted
        if request.url.scheme != "https" and not local:
            raise _Refused(f"a redirect to {request.url.scheme}://{host}, which is not https")
        extensions = {**request.extensions, "sni_hostname": host}
        *others, last = await self._resolve(host, local)
        for address in (*others, last):
            url = request.url.copy_with(host=address)
            checked = httpx2.Request(
                request.method, url, headers=request.headers, stream=request.stream, extensions=extensions
            )
            try:
                return await super().handle_async_request(checked)
            except httpx2.ConnectError:
                if address == last:
                    raise
        raise AssertionError("the last address either answered or raised")

    async def _resolve(self, host: str, local: bool) -> list[str]:
        """Return the addresses of a host. All have to be public, or loopback for a trusted local server."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            raise httpx2.ConnectError("name not resolved") from None
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            if not (is_public(address) or (local and ipaddress.ip_address(address).is_loopback)):
                raise _Refused(f"{host} leads to {address}, which is no address of the public internet")
        return list(dict.fromkeys(addresses))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
