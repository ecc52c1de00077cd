"""What `doctor` looks at. A check answers with findings and raises nothing: what is broken is an answer."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from engine.counted import counted
from engine.errors import SmallcapError
from scripts.console import one_line

if TYPE_CHECKING:
    from config.loader import Loaded
    from config.settings import Email, Settings

REACH_S = 5.0  # a service that takes longer to say hello is not reachable
LOW_SPACE_BYTES = 2 * 10**9
_CORE = (
    "numba", "numpy", "pandas", "pyarrow", "pyzmq", "msgspec", "yfinance", "aiosmtplib", "exchange_calendars",
    "sqlmodel",
)  # fmt: skip
_OPTIONAL = {"notebook": ("nbclient", 'pip install -e ".[notebook]"'), "peers": ("vectorbt", "make peers")}
_SECONDS = ((86_400 * 2, 86_400, "days"), (7_200, 3_600, "hours"), (120, 60, "minutes"))


class State(StrEnum):
    OK = "ok"
    OFF = "off"  # not there, and nothing needs it
    WARN = "warn"  # works, or could: a person should know
    FAIL = "fail"  # what the settings ask for does not work


class Finding(NamedTuple):
    """One line: what was looked at, how it is, in words, and what to do about it ("" where nothing)."""

    section: str
    name: str
    state: State
    detail: str
    remedy: str = ""


def versions() -> Iterator[Finding]:
    """The program, Python, the packages that results depend on, and the optional ones."""
    section = "versions"
    yield Finding(section, "smallcap", State.OK, _version("smallcap") or "run from its folder")
    python = f"{platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    supported = sys.version_info >= (3, 11)
    yield Finding(
        section, "python", State.OK if supported else State.FAIL, python,
        "" if supported else "install Python 3.11 or newer",
    )  # fmt: skip
    found = {name: _version(name) for name in _CORE}
    missing = [name for name in _CORE if not found[name]]
    yield Finding(
        section, "packages", State.FAIL if missing else State.OK,
        ", ".join(f"{name} {number or 'not installed'}" for name, number in found.items()),
        f"pip install {' '.join(missing)}" if missing else "",
    )  # fmt: skip
    for name, (package, remedy) in _OPTIONAL.items():
        number = _version(package)
        state, detail = (State.OK, f"{package} {number}") if number else (State.OFF, "not installed")
        yield Finding(section, name, state, detail, "" if number else remedy)
    from reports.pdf import find_chromium

    chromium = find_chromium()
    yield Finding(
        section, "chromium", State.OK if chromium else State.OFF, chromium or "not found (--pdf needs it)",
        "" if chromium else "make chromium",
    )  # fmt: skip


def configuration(loaded: Loaded, defaults: Mapping[str, object]) -> Iterator[Finding]:
    """Every setting that differs from the built-in defaults, and the file or variable it comes from."""
    from config.settings import settings_as_dict

    section = "configuration"
    flat = dict(_leaves(settings_as_dict(loaded.settings)))
    changed = [path for path in sorted(flat) if flat[path] != defaults.get(path)]
    sources = sorted({source for source in loaded.provenance.values() if source != "built-in"})
    yield Finding(section, "sources", State.OK, ", ".join(["built-in", *sources]))
    yield Finding(section, "settings", State.OK, f"{len(flat)} in force, {len(changed)} not the default")
    if loaded.settings.automation.scan.enabled:
        detail, remedy = "switched on, and no command runs by it", "run `scan` from cron or Task Scheduler"
        yield Finding(section, "automation.scan", State.WARN, detail, remedy)
    for path in changed:
        origin = loaded.provenance.get(path) or _origin_of_parent(path, loaded.provenance)
        yield Finding(section, path, State.OK, f"{flat[path]}  ({origin})")


def storage(settings: Settings, now_s: float) -> Iterator[Finding]:
    """Folders, how old what they hold is, the database and free space."""
    section, kept = "data", settings.storage
    universe = Path(kept.universe_dir).expanduser()
    folders = {
        "data": kept.data_dir, "prices": kept.price_cache_dir, "panels": kept.panel_dir,
        "universe": kept.universe_dir, "portfolio": kept.portfolio_dir,
    }  # fmt: skip
    for name, folder in folders.items():
        yield _folder(section, name, Path(folder).expanduser(), now_s)
    contents = {
        "seed list": (universe / "seed_candidates.csv", "a CSV with a column symbol, for scan"),
        "Russell 2000": (universe / "constituents" / "russell-2000", "refresh-russell"),
        "S&P 500": (universe / "constituents" / "sp500", "refresh-sp500"),
        "fundamentals": (universe / "fundamentals", "refresh-fundamentals"),
        "sector metadata": (universe / "sector_metadata.csv", "schedule-fundamentals --run-once"),
    }
    for name, (path, remedy) in contents.items():
        newest = _newest_s(path)
        state, detail = (State.OFF, "none") if newest is None else (State.OK, f"{_age(now_s - newest)} old")
        yield Finding(section, name, state, detail, remedy if newest is None else "")
    yield _database(section, settings)
    place = next(p for p in (Path(kept.data_dir).expanduser().resolve(), *Path.cwd().parents) if p.exists())
    free = shutil.disk_usage(place).free
    low = free < LOW_SPACE_BYTES
    yield Finding(
        section, "free space", State.WARN if low else State.OK, f"{free / 1e9:.1f} GB",
        "make room: panels and caches grow" if low else "",
    )  # fmt: skip


def kernels() -> Iterator[Finding]:
    """The cache of compiled code."""
    from engine.errors import EngineError

    section = "kernels"
    try:
        from engine.jit import CACHE_DIR
    except EngineError as error:
        yield Finding(section, "cache", State.FAIL, one_line(str(error)))
        return
    from scripts.progress import compiled_kernels

    n = compiled_kernels()
    size = sum(path.stat().st_size for path in CACHE_DIR.rglob("*.nbc"))
    detail = f"{n} kernels, {size / 1e6:.0f} MB, {CACHE_DIR}" if n else f"empty, {CACHE_DIR}"
    remedy = "" if n else "the next run compiles, about half a minute, once"
    yield Finding(section, "cache", State.OK if n else State.WARN, detail, remedy)


def monitor(settings: Settings, now_s: float) -> Iterator[Finding]:
    """Whether a live monitor lives, by its sign of life."""
    from monitors import heartbeat
    from scripts.store import store_dir

    path = store_dir(settings) / heartbeat.FILE
    if not path.exists():
        yield Finding("monitor", "heartbeat", State.OFF, f"no monitor has run in {path.parent}", "monitor")
        return
    wrong = heartbeat.check(path, int(now_s * 1e9))
    yield Finding(
        "monitor", "heartbeat", State.WARN if wrong else State.OK, "; ".join(wrong) or "well",
        "alerts check; docs/runbook.md" if wrong else "",
    )  # fmt: skip


async def services(settings: Settings) -> list[Finding]:
    """Whether services answer: a connection each, encrypted where the address says so, nothing asked."""
    asked = settings.data_sources
    addresses = {
        "Yahoo": asked.yahoo_url or "https://query1.finance.yahoo.com",
        "iShares": asked.russell_2000_url,
        "S&P 500 list": asked.sp500_url,
    }
    if asked.alpha_vantage_key is not None:
        addresses["Alpha Vantage"] = asked.alpha_vantage_url
    found = await asyncio.gather(*(_reach(name, url) for name, url in addresses.items()))
    if asked.alpha_vantage_key is None:
        remedy = "TS_ALPHA_VANTAGE_KEY, for what Yahoo lacks"
        found.append(Finding("services", "Alpha Vantage", State.OFF, "no key", remedy))
    return found


async def email(settings: Email) -> Finding:
    """Whether mail could be sent: settings whole, server there, encryption as demanded. Nothing is sent."""
    import aiosmtplib

    from engine.errors import ConfigError
    from monitors.smtp import Client
    from scripts.mail import require_settings

    section, name = "e-mail", "server"
    if not settings.enabled:
        return Finding(section, name, State.OFF, "email.enabled is false: alerts are kept, not mailed")
    try:
        require_settings(settings)
    except ConfigError as error:
        return Finding(section, name, State.FAIL, one_line(str(error)), "complete the settings `email`")
    server = f"{settings.smtp_server}:{settings.smtp_port}"
    client = Client(
        hostname=settings.smtp_server, port=settings.smtp_port, timeout=REACH_S,
        use_tls=settings.security == "tls", start_tls=settings.security == "starttls",
        validate_certs=settings.validate_certificates, local_hostname="localhost",
    )  # fmt: skip
    try:
        async with asyncio.timeout(2 * REACH_S):
            await client.connect()
            await client.ehlo()
            await client.quit()
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        problem = one_line(str(error)) or type(error).__name__
        return Finding(section, name, State.FAIL, f"{server}: {problem}", "check the settings `email`")
    finally:
        client.close()
    to = ", ".join(settings.recipients)
    return Finding(section, name, State.OK, f"{server}, {settings.security}, to {to}", "--send-test-email")


def guarded(section: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Return the findings of a check; one that trips over something is itself a finding."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:
        detail = f"{type(error).__name__}: {one_line(str(error))}"
        found.append(Finding(section, "check", State.FAIL, detail))
    return found


def _leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def built_in() -> dict[str, object]:
    """Return the built-in value of every setting by its dotted path."""
    from config.settings import Settings, settings_as_dict

    return dict(_leaves(settings_as_dict(Settings())))


def _origin_of_parent(path: str, provenance: Mapping[str, str]) -> str:
    parts = path.split(".")
    parents = (".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))
    return next((provenance[parent] for parent in parents if parent in provenance), "built-in")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _folder(section: str, name: str, path: Path, now_s: float) -> Finding:
    if not path.exists():
        return Finding(section, name, State.OFF, f"{path}: not made yet")
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        return Finding(section, name, State.FAIL, f"{path}: cannot be written", f"check the rights of {path}")
    newest = _newest_s(path)
    age = "empty" if newest is None else f"newest {_age(now_s - newest)} old"
    return Finding(section, name, State.OK, f"{path}: {age}")


def _newest_s(path: Path) -> float | None:
    """Return when the newest file of a folder, or a file, was written."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if not p.name.startswith(".")]
    stamps = [file.stat().st_mtime for file in files if file.is_file()]
    return max(stamps, default=None)


def _age(seconds: float) -> str:
    for least, unit, name in _SECONDS:
        if seconds >= least:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def _database(section: str, settings: Settings) -> Finding:
    from storage.database import database_url, transaction

    configured = settings.storage.database_url
    url = database_url(settings.storage.data_dir, configured.reveal() if configured else None)
    shown = "storage.database_url" if configured else url.removeprefix("sqlite:///")
    if not configured and not Path(shown).exists():
        return Finding(section, "database", State.OFF, f"{shown}: not made yet")
    try:
        with transaction(url) as connection:
            trials = connection.execute("SELECT COUNT(*) FROM trials")[0][0]
    except SmallcapError as error:
        return Finding(section, "database", State.FAIL, one_line(str(error)))
    return Finding(section, "database", State.OK, f"{shown}: {counted(trials, 'configurations')} tried")


async def _reach(name: str, url: str) -> Finding:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    began = time.monotonic()
    try:
        async with asyncio.timeout(REACH_S):
            _, writer = await asyncio.open_connection(
                parts.hostname, port, ssl=ssl.create_default_context() if secure else None
            )
        writer.transport.abort()  # Closing would wait for the goodbye of TLS
    except (OSError, TimeoutError) as error:
        problem = one_line(getattr(error, "strerror", "") or str(error)) or f"no answer in {REACH_S:g} s"
        remedy = "cached data serve meanwhile; check the network or a proxy"
        return Finding("services", name, State.WARN, f"{parts.hostname}: {problem}", remedy)
    took_ms = (time.monotonic() - began) * 1e3
    return Finding("services", name, State.OK, f"{parts.hostname}: reachable, {took_ms:.0f} ms")
