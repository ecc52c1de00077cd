"""Keys and who is let in: off loopback nobody without an admitted key, and no door without its keeper."""

from __future__ import annotations

import asyncio
import socket
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest
import zmq
import zmq.asyncio

from engine.clock import SystemClock
from engine.errors import ConfigError
from monitors import curve, publisher
from monitors.curve import ClientKeys, ServerKeys
from monitors.publisher import Publisher
from monitors.stream_log import Identity
from monitors.subscriber import Subscriber
from scripts.cli import run
from tests.monitors.live_stream import Store, connect, publishing
from tests.ports import free_port


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "live.db")


@pytest.fixture
def server(tmp_path: Path) -> ServerKeys:
    (tmp_path / "clients").mkdir()
    _, secret = curve.make_keys(tmp_path / "publisher", "publisher")
    return curve.load_server(secret, tmp_path / "clients")


def client(server: ServerKeys, name: str, *, admitted: bool) -> ClientKeys:
    folder = server.clients if admitted else server.clients.parent / "strangers"
    _, secret = curve.make_keys(folder, name)
    public = server.clients.parent / "publisher" / "publisher.key"
    return curve.load_client(secret, public)


async def served(publisher: Publisher, store: Store, keys: ClientKeys | None) -> bool:
    """Return whether a client gets anything from either socket; refused when a handshake has failed."""
    context = zmq.asyncio.Context.instance()
    rejected = publisher.stats().rejected_peers
    with context.socket(zmq.SUB) as sub, context.socket(zmq.DEALER) as dealer:
        for sock, address in (
            (sub, publisher.address),
            (dealer, f"tcp://127.0.0.1:{publisher.replay_port}"),
        ):
            sock.linger = 0
            curve.protect_client(sock, keys)
            sock.connect(address)
        sub.subscribe("")
        await dealer.send(b"\x81\xa4type\xa5range")
        async with asyncio.timeout(600):
            while publisher.stats().rejected_peers == rejected:
                publisher.publish(store.commit("signal"))
                if await sub.poll(20):
                    return True
        return bool(await sub.poll(0))


async def test_an_admitted_key_is_served_with_the_stream_and_what_it_missed(store, server):
    alice = client(server, "alice", admitted=True)
    async with publishing(store, server) as publisher:
        publisher.publish(store.commit("signal", n=5))
        messages = aiter(Subscriber(publisher.address, ["signal."], since=2, keys=alice))
        assert [(await anext(messages)).seq for _ in range(3)] == [3, 4, 5]
        publisher.publish(store.commit("signal"))
        assert (await anext(messages)).seq == 6
        await messages.aclose()  # type: ignore[attr-defined]
        assert publisher.stats().rejected_peers == 0


async def test_who_comes_before_the_publisher_runs_is_let_in_and_not_sent_away(store, server):
    alice = client(server, "alice", admitted=True)
    bars, clock, identity = store.bars, SystemClock(), Identity("stream-of-tests", 1)
    async with Publisher(
        "tcp://127.0.0.1:0", 0, connect(store.path), identity, bars, clock, server
    ) as publisher:
        with zmq.asyncio.Context.instance().socket(zmq.SUB) as early:
            early.linger = 0
            curve.protect_client(early, alice)
            early.connect(publisher.address)
            early.subscribe("")
            assert not await early.poll(300)  # Time enough to be sent away
            running = asyncio.create_task(publisher.run())
            assert await early.poll(20_000)
            assert publisher.stats().rejected_peers == 0
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_an_unknown_key_is_not_served(store, server):
    mallory = client(server, "mallory", admitted=False)
    async with publishing(store, server) as publisher:
        assert not await served(publisher, store, mallory)


async def test_a_client_without_a_key_is_not_served(store, server):
    async with publishing(store, server) as publisher:
        assert not await served(publisher, store, None)


async def test_the_planted_fault_of_curve_without_zap_would_be_seen(store, server, monkeypatch):
    def encrypt_for_anybody(sock, keys):
        sock.curve_server = 1
        sock.curve_publickey, sock.curve_secretkey = keys.public, keys.secret

    monkeypatch.setattr(publisher, "protect_server", encrypt_for_anybody)
    monkeypatch.setattr(publisher, "Doorkeeper", lambda context, keys: nullcontext())
    mallory = client(server, "mallory", admitted=False)
    async with publishing(store, server) as planted:
        assert await served(planted, store, mallory)


async def test_a_door_without_its_keeper_lets_nobody_in(store, server, monkeypatch):
    monkeypatch.setattr(publisher, "Doorkeeper", lambda context, keys: nullcontext())
    alice = client(server, "alice", admitted=True)
    async with publishing(store, server) as keeperless:
        assert not await served(keeperless, store, alice)


async def test_a_key_that_is_added_is_admitted_after_reloading_and_one_removed_is_not(store, server):
    bob = client(server, "bob", admitted=False)
    async with publishing(store, server) as publisher:
        assert not await served(publisher, store, bob)
        admitted = server.clients / "bob.key"
        admitted.write_bytes((server.clients.parent / "strangers" / "bob.key").read_bytes())
        publisher.reload_clients()
        assert await served(publisher, store, bob)
        admitted.unlink()
        publisher.reload_clients()
        assert not await served(publisher, store, bob)


@pytest.mark.parametrize("host", ["0.0.0.0", "*", "192.0.2.7", "[::]", "trading.example", "10.1"])
def test_an_address_open_to_others_needs_keys_and_no_socket_is_opened(store, host):
    port = free_port()
    with pytest.raises(ConfigError, match="can be reached from other machines") as caught:
        Publisher(f"tcp://{host}:{port}", port, store.connection, Identity("s", 1), store.bars, SystemClock())
    assert caught.value.exit_code == 78
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "[::1]"])
def test_loopback_needs_none(host):
    curve.require_protection(f"tcp://{host}:5556", None)


def test_with_keys_any_address_will_do(server):
    curve.require_protection("tcp://0.0.0.0:5556", server)


async def test_a_port_that_is_taken_is_named(store):
    async with publishing(store) as first:
        with pytest.raises(ConfigError, match=f"{first.address}: Address already in use"):
            async with publishing(store, address=first.address):
                pass


def test_keys_are_for_their_owner_alone_and_never_replaced(tmp_path):
    public, secret = curve.make_keys(tmp_path / "keys", "alice")
    for path in (public, secret):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = secret.read_bytes()
    with pytest.raises(ConfigError, match="exists"):
        curve.make_keys(tmp_path / "keys", "alice")
    assert secret.read_bytes() == before


@pytest.mark.parametrize("name", ["", "../alice", "a b", "a/b", "a.b"])
def test_a_key_name_is_no_path(tmp_path, name):
    with pytest.raises(ConfigError, match="letters, digits"):
        curve.make_keys(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_secret_that_others_may_read_is_refused(tmp_path):
    _, secret = curve.make_keys(tmp_path, "p")
    secret.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        curve.load_server(secret, tmp_path)


def test_what_is_no_key_file_is_named_with_the_remedy(tmp_path):
    public, secret = curve.make_keys(tmp_path, "p")
    with pytest.raises(ConfigError, match="holds no secret key"):
        curve.load_server(public, tmp_path)
    with pytest.raises(ConfigError, match="make keys with: keys NAME"):
        curve.load_server(tmp_path / "missing", tmp_path)
    with pytest.raises(ConfigError, match="not a directory of client keys"):
        curve.load_server(secret, tmp_path / "missing")
    secret.write_text('public-key = "short"\nsecret-key = "short"\n')
    with pytest.raises(ConfigError, match="40 characters, was 5"):
        curve.load_server(secret, tmp_path)
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients" / "bad.key").write_text("nothing")
    with pytest.raises(ConfigError, match="No public key"):
        curve.load_server(curve.make_keys(tmp_path, "q")[1], tmp_path / "clients")


def test_the_command_makes_keys_and_says_what_they_are_for(tmp_path, capsys):
    assert run(["keys", "alice", "--dir", str(tmp_path / "keys")]) == 0
    said = capsys.readouterr().out
    assert "alice.key: public" in said
    assert "alice.key_secret: secret" in said
    assert run(["keys", "alice", "--dir", str(tmp_path / "keys")]) == 78
    assert "exists" in capsys.readouterr().err
