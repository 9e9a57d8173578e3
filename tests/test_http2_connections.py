"""Connections from their beginning to their end: by a clock that is told, and on real sockets and TLS on both loops."""

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from fairlead.http2 import frames, server
from fairlead.http2.call import Call
from fairlead.http2.frames import GOAWAY, PING, ErrorCode, frame
from fairlead.http2.server import GrpcServer, Limits
from fairlead.server.settings import Settings
from fairlead.server.tls import server_context
from support.http2 import LIMITS, Client, Frame, data, kinds, message
from support.identities import Identities, authority, of_namespace
from support.stack import until
from test_http2_flow import send_size

LAST = 2**31 - 1

# --- By a clock -------------------------------------------------------------------------------------------------------


async def at(client: Client, seconds: float) -> list[Frame]:
    """What is sent to a client at that time since it came."""
    client.time = seconds
    client.server._look_after(client.connection, seconds)
    await client.settle()
    return client.take()


def goaways(found: list[Frame]) -> list[tuple[int, ErrorCode]]:
    return [(int.from_bytes(each.payload[:4], "big"), each.code) for each in found if each.kind == GOAWAY]


@pytest.mark.parametrize("said", [b"", frames.PREFACE[:-1]])
async def test_a_client_that_does_not_say_what_it_speaks(said: bytes) -> None:
    async with Client() as client:
        client.connection.data_received(said)
        await at(client, 10)
        assert not client.transport.aborted
        client.connection.data_received(b"")
        await at(client, 10.1)
        assert client.transport.aborted


async def test_a_connection_without_calls() -> None:
    async with Client() as client:
        await client.greet()
        assert kinds(await at(client, 31)) == [PING]
        await client.send(frame(PING, frames.ACK, 0, bytes(8)))
        await client.send(client.headers(1))
        client.time = 50.0
        await client.send(data(1, b"", end=True), frame(PING, frames.ACK, 0, bytes(8)))
        client.time = 100.0
        await client.send(frame(PING, 0, 0, bytes(8)))
        assert await at(client, 109) == []
        assert goaways(await at(client, 111)) == [(LAST, ErrorCode.NO_ERROR), (1, ErrorCode.NO_ERROR)]
        assert client.transport.closing


async def test_an_old_connection() -> None:
    """Clients are told, calls go on, even new ones that were under way, and when all have ended the connection does."""
    async with Client() as client:
        await client.greet()
        client.connection.age = 1000.0
        await client.send(client.headers(1))
        client.time = 999.0
        await client.send(data(1, message(b"one")))
        assert goaways(await at(client, 1001)) == [(LAST, ErrorCode.NO_ERROR)]
        await client.send(client.headers(3), data(3, message(b"two"), end=True), data(1, message(b"three")))
        assert (client.of(3).messages, client.of(1).messages) == ([b"two"], [b"one", b"three"])
        assert goaways(await at(client, 1002)) == []
        assert goaways(await client.send(data(1, b"", end=True))) == [(3, ErrorCode.NO_ERROR)]
        assert client.of(1).status is grpc.StatusCode.OK


async def test_nothing_is_taken_in_after_the_last_call_of_a_connection_that_ends() -> None:
    async with Client() as client:
        await client.greet()
        await client.send(client.headers(1))
        client.connection.leave()
        client.connection.leave()
        found = await client.send(frames.reset(1, ErrorCode.CANCEL) + client.headers(3) + frame(PING, 0, 0, bytes(8)))
        assert goaways(found) == [(LAST, ErrorCode.NO_ERROR), (1, ErrorCode.NO_ERROR)]
        assert PING not in kinds(found)
        assert client.transport.closing


async def test_calls_that_outlive_an_old_connection() -> None:
    async with Client() as client:
        await client.greet()
        client.connection.age = 1000.0
        await client.send(client.headers(1))
        client.time = 1001.0
        await client.send(frame(PING, 0, 0, bytes(8)))
        await at(client, 1001)
        assert goaways(await at(client, 1031)) == [(1, ErrorCode.NO_ERROR)]
        answer = client.of(1)
        assert (answer.status, answer.text) == (grpc.StatusCode.UNAVAILABLE, "the connection is too old; connect anew")


def test_ages_differ() -> None:
    async def ages() -> set[float]:
        return {Client().connection.age for _ in range(20)}

    found = asyncio.run(ages())
    assert len(found) > 10
    assert all(900 <= age <= 1100 for age in found)


async def test_a_silent_client() -> None:
    async with Client() as client:
        await client.greet()
        await client.send(client.headers(1))
        assert await at(client, 30) == []
        assert kinds(await at(client, 31)) == [PING]
        assert await at(client, 50) == []
        await client.send(frame(PING, frames.ACK, 0, bytes(8)))
        assert await at(client, 79) == []
        assert kinds(await at(client, 81)) == [PING]
        await at(client, 102)
        assert client.transport.aborted


@pytest.mark.parametrize("how", ["fault", "close", "end of file"])
async def test_a_client_that_does_not_take_in_the_end(how: str) -> None:
    async with Client() as client:
        await client.greet()
        if how == "end of file":
            client.connection.eof_received()
        elif how == "close":
            client.connection.close()
        else:
            client.connection.data_received(frame(frames.PUSH_PROMISE, 0, 0))
        client.transport.closing = True
        await at(client, 20)
        assert not client.transport.aborted
        await at(client, 21)
        assert client.transport.aborted


# --- On sockets -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run on that loop; what the loop is told of is a fault, and so is what asyncio logs."""

    def found(test: Coroutine[Any, Any, None]) -> None:
        faults: list[Any] = []
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: faults.append(context))
            runner.run(test)
        assert not faults
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    return found


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_GLANCE", 0.02)


@contextlib.asynccontextmanager
async def served(
    tls: ssl.SSLContext | None = None, limits: Limits = LIMITS
) -> AsyncIterator[tuple[GrpcServer, str, list[str]]]:
    """A server, its address, and what its clients have broken."""
    broken: list[str] = []

    async def echo(call: Call) -> None:
        while (said := await call.read()) is not None:
            await call.write(said)

    found = GrpcServer({"/test/Echo": echo, "/test/Size": send_size}, limits, lambda _, what: broken.append(what))
    port = await found.listen("127.0.0.1", 0, tls, reuse_port=False)
    try:
        yield found, f"127.0.0.1:{port}", broken
    finally:
        await found.stop(0.1)
        await until(lambda: not found.connections and not found._tasks, "nothing is left")


def speak(address: str, credentials: grpc.ChannelCredentials | None, said: list[bytes]) -> list[bytes]:
    """A whole call of gRPC's own client, in a thread, so that it needs no loop."""
    options = [("grpc.max_receive_message_length", -1)]
    channel = (
        grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address, options)
    )
    with channel:
        echo = channel.stream_stream("/test/Echo", request_serializer=None, response_deserializer=None)
        return list(echo(iter(said), timeout=30))


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return Identities(tmp_path)


def context(identities: Identities, **more: Any) -> ssl.SSLContext:
    found = server_context(Settings(paths=(), **{**identities.settings, **more}))
    assert found is not None
    return found


@pytest.mark.parametrize("encrypted", [False, True])
def test_large_messages_both_ways(run: Any, identities: Identities, encrypted: bool) -> None:
    said = [b"x", bytes(3_000_000), b"", b"y" * 100_000, bytes(4 << 20)]

    async def test() -> None:
        async with served(context(identities) if encrypted else None) as (_, address, broken):
            credentials = identities.client(of_namespace("edge")) if encrypted else None
            calls = [asyncio.to_thread(speak, address, credentials, said) for _ in range(3)]
            assert await asyncio.gather(*calls) == [said] * 3
            assert not broken

    run(test())


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--http2-prior-knowledge"], "405"),
        (["--http2-prior-knowledge", "-X", "POST"], "415"),
        (["--http1.1"], "000"),
        (["--http2-prior-knowledge", "-d", "", "-H", "content-type: application/grpc", "-H", "te: trailers"], "200"),
    ],
)
def test_curl(run: Any, arguments: list[str], status: str) -> None:
    async def test() -> None:
        async with served() as (_, address, _):
            command = "curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", *arguments
            curl = await asyncio.create_subprocess_exec(
                *command, f"http://{address}/test/Echo", stdout=asyncio.subprocess.PIPE
            )
            assert (await curl.communicate())[0].decode() == status

    run(test())


def opened(client: Client, stream: int, size: int) -> bytes:
    """A call that asks for a message of that size, on a connection whose windows are as large as can be."""
    settings = frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: LAST}) + frames.window_update(0, LAST - 65_535)
    return (
        (frames.PREFACE + settings if stream == 1 else b"")
        + client.headers(stream, path="/test/Size")
        + data(stream, message(b"%d" % size))
    )


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("how", ["is cut off", "says no more", "breaks the protocol", "does not read"])
def test_clients_that_go_while_they_are_sent_much(run: Any, identities: Identities, encrypted: bool, how: str) -> None:
    """Nothing is written after that, nothing is left, and no more than a bounded part of it has waited in memory."""
    quick = replace(LIMITS, ping_after=0.1, pong_within=0.4)

    async def test() -> None:
        async with served(context(identities) if encrypted else None, quick) as (server, address, broken):
            client = Client()
            credentials = client_context(identities, of_namespace("edge")) if encrypted else None
            for _ in range(2):
                reader, writer = await connect(address, credentials)
                reader._transport.pause_reading()  # type: ignore[attr-defined]
                for number in range(3):
                    client.encoder = Client().encoder
                    writer.write(opened(client, 2 * number + 1, 12_000_000))
                await until(lambda: any(each.paused for each in server.connections), "it is sent more than it takes")
                assert all(each.transport.get_write_buffer_size() < 1 << 20 for each in server.connections)
                if how == "breaks the protocol":
                    writer.write(frame(frames.PUSH_PROMISE, 0, 0))
                elif how == "says no more" and writer.can_write_eof():
                    writer.write_eof()
                elif how != "does not read":
                    raw = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                await until(lambda: not server.connections and not server._tasks, "it is gone", 20)
                writer.transport.abort()
            assert set(broken) <= {"the client has not answered a ping within 0.4 seconds", "clients do not push"}

    run(test())


async def connect(address: str, tls: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port), ssl=tls)


def client_context(identities: Identities, *uris: str, **more: Any) -> ssl.SSLContext:
    """Of a client that knows the server and, with a name, shows a certificate."""
    found = ssl.create_default_context(cadata=identities.authority.certificate_pem.decode())
    found.set_alpn_protocols(["h2"])
    if uris:
        shown = identities.issue(*uris, **more)
        chain = identities.authorities.with_name("client.pem")
        chain.write_bytes(shown.certificate_pem + shown.key_pem.reveal())
        found.load_cert_chain(chain)
    return found


async def ends(address: str, said: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    """What the server says, up to when it closes."""
    found = b""
    with contextlib.suppress(OSError):
        reader, writer = await connect(address, tls)
        with contextlib.closing(writer):
            writer.write(said)
            while data := await asyncio.wait_for(reader.read(1 << 16), 15):
                found += data
    return found


def test_handshakes_that_come_to_nothing(run: Any, identities: Identities) -> None:
    """No line in the log for any of them, and others are served meanwhile."""

    async def test() -> None:
        quick = replace(LIMITS, handshake_within=0.5)
        async with served(context(identities), quick) as (server, address, broken):
            no_alpn = client_context(identities, of_namespace("edge"))
            no_alpn.set_alpn_protocols([])
            other_alpn = client_context(identities, of_namespace("edge"))
            other_alpn.set_alpn_protocols(["http/1.1"])
            stranger = client_context(identities, of_namespace("edge"), issuer=authority())
            attempts: list[tuple[bytes, ssl.SSLContext | None]] = [
                (b"", None),  # it says nothing
                (b"\x16\x03\x01\x02\x00", None),  # or hardly anything
                (frames.PREFACE, None),
                (b"\xff" * 2000, None),
                (b"", client_context(identities)),
                (b"", stranger),
                (b"", ssl.create_default_context()),
                (frames.PREFACE, no_alpn),
                (frames.PREFACE, other_alpn),
            ]
            credentials = identities.client(of_namespace("edge"))
            *found, served_meanwhile = await asyncio.gather(
                *(ends(address, said, tls) for said, tls in attempts * 3),
                asyncio.to_thread(speak, address, credentials, [b"x"]),
            )
            assert served_meanwhile == [b"x"]
            assert not [said for said in found if b"HTTP" in said]
            assert not broken
            await until(lambda: not server.connections, "none is left")

    run(test())


def test_sessions_end_with_the_authorities_that_they_began_with(run: Any, identities: Identities) -> None:
    """TLS 1.2 resumes sessions without certificates, here of a client whose other connection is still open."""
    tls = client_context(identities, of_namespace("edge"))
    tls.maximum_version = ssl.TLSVersion.TLSv1_2

    def shake(address: str, session: ssl.SSLSession | None) -> ssl.SSLSocket:
        host, _, port = address.rpartition(":")
        found = tls.wrap_socket(socket.create_connection((host, int(port)), 15), server_hostname=host, session=session)
        assert found.recv(1)
        return found

    async def test() -> None:
        async with served(context(identities)) as (_, address, _):
            first = await asyncio.to_thread(shake, address, None)
            identities.trust(authority("New"))
            with pytest.raises(OSError, match=r"alert|reset|EOF|closed"):
                (await asyncio.to_thread(shake, address, first.session)).close()
            first.close()

    run(test())


async def refused(address: str) -> bool:
    try:
        (await connect(address))[1].close()
    except OSError:
        return True
    return False


def test_stopping(run: Any) -> None:
    """New connections are refused, calls that end in time do so well, and others are cut off."""

    async def test() -> None:
        async with served() as (server, address, _):
            client = Client()
            connections = [await connect(address) for _ in range(3)]
            for _, writer in connections:
                client.encoder = Client().encoder
                writer.write(opened(client, 1, 10))
            await until(lambda: sum(len(each.calls) for each in server.connections) == 3, "all are there")
            stopping = asyncio.create_task(server.stop(5))
            assert await until(lambda: refused(address), "nobody is let in")
            assert not stopping.done()
            (ending, writer), *others = connections
            writer.write(data(1, b"", end=True))
            assert (await asyncio.wait_for(ending.read(), 15)).count(b"grpc-status\x010") == 1
            others[0][1].transport.abort()
            await server.stop(0)
            await stopping
            said = await asyncio.wait_for(others[1][0].read(), 15)
            assert b"grpc-status\x0214" in said
            assert b"the server stops" in said
            for _, writer in connections:
                writer.close()

    run(test())
