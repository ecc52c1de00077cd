"""Who may listen: CURVE keys, the directory of admitted clients, and the rule for open addresses.

CURVE alone encrypts for anybody; only a ZAP handler that looks every client key up decides who is served.
Sockets made here demand that handler: without one nobody gets in. Keys are files in ZeroMQ's certificate
format; NAME.key is public, NAME.key_secret is not.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import zmq
import zmq.asyncio
from zmq.auth.asyncio import AsyncioAuthenticator
from zmq.auth.certs import create_certificates, load_certificate, load_certificates

from engine.errors import ConfigError

ZAP_DOMAIN = "smallcap"
AnySocket = zmq.Socket[bytes] | zmq.asyncio.Socket


class ServerKeys(NamedTuple):
    """The publisher's key pair and the directory with the public key (*.key) of each client admitted."""

    public: bytes
    secret: bytes
    clients: Path


class ClientKeys(NamedTuple):
    """A subscriber's key pair and the publisher's public key."""

    public: bytes
    secret: bytes
    server: bytes


def make_keys(directory: Path, name: str) -> tuple[Path, Path]:
    """Create NAME.key and NAME.key_secret, both readable by their owner alone. Returns their paths.

    Raises ConfigError where one of them exists: a key is not replaced by accident.
    """
    if not name or not all(c.isalnum() or c in "_-" for c in name):
        raise ConfigError(f"key name {name!r}: letters, digits, - and _ only")
    public, secret = directory / f"{name}.key", directory / f"{name}.key_secret"
    for path in (public, secret):
        if path.exists() or path.is_symlink():
            raise ConfigError(f"{path} exists; choose another name or move it away")
    before = os.umask(0o077)  # The secret must not be readable for a moment either
    try:
        directory.mkdir(parents=True, exist_ok=True)
        create_certificates(directory, name)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot write keys: {error.strerror}") from None
    finally:
        os.umask(before)
    return public, secret


def load_server(secret_file: Path, clients: Path) -> ServerKeys:
    """Read the publisher's keys. Raises ConfigError naming the file and the remedy."""
    public, secret = _load_secret(secret_file)
    _client_keys(clients)
    return ServerKeys(public, secret, clients)


def load_client(secret_file: Path, server_file: Path) -> ClientKeys:
    """Read a subscriber's keys. Raises ConfigError naming the file and the remedy."""
    public, secret = _load_secret(secret_file)
    return ClientKeys(public, secret, _load(server_file)[0])


def check_address(address: str) -> str:
    """Return the host of tcp://HOST:PORT. Raises ConfigError for anything else."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not address.startswith("tcp://") or not host or port is None:
        raise ConfigError(f"stream address {address!r}: expected tcp://HOST:PORT, as tcp://127.0.0.1:5556")
    return host


def require_protection(address: str, keys: ServerKeys | None) -> None:
    """Raise ConfigError for an address that is no tcp://HOST:PORT, or is open to others without keys."""
    host = check_address(address)
    if keys is None and not is_loopback(host):
        raise ConfigError(
            f"stream address {address!r} can be reached from other machines: that needs a key and a directory"
            " of admitted clients (stream.key_file, stream.clients_dir; make keys with: keys NAME)"
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches the host. A name other than localhost may mean anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def protect_server(socket: AnySocket, keys: ServerKeys | None) -> None:
    """Make a socket that binds demand CURVE and the ZAP handler; without keys leave it open."""
    if keys is not None:
        socket.curve_server = 1
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        socket.zap_domain = ZAP_DOMAIN.encode()
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # No handler, no entry


def protect_client(socket: AnySocket, keys: ClientKeys | None) -> None:
    """Make a socket that connects speak CURVE; without keys leave it open."""
    if keys is not None:
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        socket.curve_serverkey = keys.server


class Doorkeeper:
    """The ZAP handler: admits the client keys that lie in the directory. Use as a context manager."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: ServerKeys) -> None:
        self._clients = keys.clients
        self._authenticator = AsyncioAuthenticator(context)
        self.reload()

    def __enter__(self) -> Doorkeeper:
        self._authenticator.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._authenticator.stop()

    def reload(self) -> None:
        """Read the directory again. Who is connected stays so until it connects anew."""
        _client_keys(self._clients)
        self._authenticator.configure_curve(domain=ZAP_DOMAIN, location=self._clients)


def _client_keys(directory: Path) -> None:
    try:
        load_certificates(directory)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{directory}: not a directory of client keys: {error}") from None


def _load_secret(path: Path) -> tuple[bytes, bytes]:
    public, secret = _load(path)
    if secret is None:
        raise ConfigError(f"{path}: holds no secret key; the file with the secret is named NAME.key_secret")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path}: a secret key that others may read; chmod 600 {path}")
    return public, secret


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = load_certificate(path)
    except (OSError, ValueError):
        raise ConfigError(f"{path}: no ZeroMQ key file there; make keys with: keys NAME") from None
    for key in (public, secret):
        if key is not None and len(key) != 40:
            raise ConfigError(f"{path}: a key has 40 characters, was {len(key)}")
    return public, secret
