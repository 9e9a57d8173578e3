"""Calls of gRPC over HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), and how they end."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest
from fairlead.http2 import connection, frames
from fairlead.http2.call import Call
from fairlead.http2.frames import DATA, GOAWAY, HEADERS, ErrorCode, Setting, StatusCode, frame
from support.http2 import LIMITS, Answer, Client, data, kinds, message, parsed

Status = grpc.StatusCode


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client() as found:
        await found.greet()
        yield found


async def ask(client: Client, stream: int, *said: bytes, **changed: str) -> Answer:
    """A call that says all that it has to."""
    await client.send(
        client.headers(stream, **changed), *(data(stream, part) for part in said), data(stream, b"", end=True)
    )
    return client.of(stream)


# --- Messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        [message(b"one")],
        [message(b"")],
        [message(b"one") + message(b"two") + message(b"")],
        [message(b"one")[:3], message(b"one")[3:]],
        [message(b"one")[:6], message(b"one")[6:] + message(b"two")[:4], message(b"two")[4:]],
        [bytes((byte,)) for byte in message(b"one") + message(b"two")],
        [b"", message(b"one"), b""],
        [message(bytes(3_000_000)) + message(b"after")],
        [message(bytes(frames.FRAME_BYTES - 5)), message(bytes(frames.FRAME_BYTES - 4))],
    ],
    ids=[
        "one",
        "empty",
        "several",
        "split in its prefix",
        "split anywhere",
        "bytes",
        "empty frames",
        "large",
        "a frame",
    ],
)
async def test_messages_come_whole(client: Client, parts: list[bytes]) -> None:
    whole, expected = b"".join(parts), []
    while whole:
        size = 5 + int.from_bytes(whole[1:5], "big")
        expected.append(whole[5:size])
        whole = whole[size:]
    await client.send(frames.window_update(0, 1 << 30), client.headers(1), frames.window_update(1, 1 << 30))
    for part in parts:
        for piece in parsed(data(1, part)):
            await client.send(frame(*piece))
    await client.send(data(1, b"", end=True))
    assert client.of(1).messages == expected
    assert client.of(1).status is Status.OK


@pytest.mark.parametrize("chunks", ["one", "several"])
@pytest.mark.parametrize(
    ("said", "status", "text"),
    [
        (message(b"x", compressed=1), Status.UNIMPLEMENTED, "compressed messages are not understood"),
        (message(bytes(20_000), compressed=1), Status.UNIMPLEMENTED, "compressed messages are not understood"),
        (
            b"\0\x00\x40\x00\x01" + bytes(100),
            Status.RESOURCE_EXHAUSTED,
            "Received message larger than max (4194305 vs. 4194304)",
        ),
        (
            b"\0\xff\xff\xff\xff",
            Status.RESOURCE_EXHAUSTED,
            "Received message larger than max (4294967295 vs. 4194304)",
        ),
    ],
)
async def test_messages_that_are_not_taken_in(
    client: Client, said: bytes, status: Status, text: str, chunks: str
) -> None:
    """Even when the call has not begun to be served, as when all comes in one chunk."""
    whole = [client.headers(1), data(1, said)]
    await client.send(*([b"".join(whole)] if chunks == "one" else whole))
    answer = client.of(1)
    assert (answer.status, answer.text, answer.ended, answer.reset) == (status, text, True, ErrorCode.NO_ERROR)
    assert client.broken == [text]
    assert not client.connection.calls
    assert not client.server._tasks
    await client.send(data(1, b"and more", end=True))
    assert (await ask(client, 3, message(b"x"))).messages == [b"x"]


@pytest.mark.parametrize("size", [0, 1, 100, frames.FRAME_BYTES - 5, frames.FRAME_BYTES, 200_000])
@pytest.mark.parametrize("half_closed", [True, False], ids=["has said all", "may say more"])
@pytest.mark.parametrize("initial", [0, 10, frames.WINDOW])
async def test_an_answer_is_whole_whatever_the_windows(size: int, *, half_closed: bool, initial: int) -> None:
    async def answer(call: Call) -> None:
        await call.read()
        await call.answer(bytes(size))

    async with Client({"/test/Answer": answer}) as client:
        await client.greet()
        await client.send(
            frames.settings({Setting.INITIAL_WINDOW_SIZE: initial}),
            client.headers(1, path="/test/Answer"),
            data(1, message(b"x"), end=half_closed),
        )
        for _ in range(30):
            await client.send(frames.window_update(0, 1 << 20), frames.window_update(1, 10_000))
        answered = client.of(1)
        assert answered.messages == [bytes(size)]
        assert answered.status is Status.OK
        ends = [each for each in client.received if each.stream == 1 and each.flags & frames.END_STREAM]
        assert [each.kind for each in ends if each.kind != frames.RST_STREAM] == [HEADERS]
        assert not client.connection.calls
        assert not client.faults


async def test_half_a_message_is_none(client: Client) -> None:
    answer = await ask(client, 1, message(b"one"), message(b"two")[:-1])
    assert (answer.messages, answer.status) == ([b"one"], Status.OK)


async def test_trailers_of_a_client(client: Client) -> None:
    await client.send(client.headers(1), data(1, message(b"x")))
    block = client.encoder.encode([("x-checksum", "1")])
    await client.send(frame(HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, block))
    assert (client.of(1).messages, client.of(1).status) == ([b"x"], Status.OK)


# --- Headers ----------------------------------------------------------------------------------------------------------


async def test_blocks_refer_to_those_before(client: Client) -> None:
    """The first block of a connection is decoded once for all connections, and its effect made up for later."""
    sizes = []
    for stream in (1, 3, 5):
        opening = client.headers(stream, ("x-long", "value" * 20))
        sizes.append(len(opening))
        await client.send(opening, data(stream, message(b"x"), end=True))
        assert client.of(stream).messages == [b"x"]
    assert sizes[1] == sizes[2] < sizes[0] / 4
    async with Client() as other:
        await other.greet()
        assert (await ask(other, 1, message(b"x"))).messages == [b"x"]
        assert (await ask(other, 3, message(b"x"), path="/test/None")).status is Status.UNIMPLEMENTED


async def test_a_first_block_that_is_long_or_no_call(client: Client) -> None:
    for stream, extra in ((1, ("x-long", "v" * 3000)), (3, ("x-long", "v" * 3000))):
        await client.send(client.headers(stream, extra), data(stream, message(b"x"), end=True))
        assert client.of(stream).messages == [b"x"]
    async with Client() as other:
        await other.greet()
        await other.send(other.headers(2 * 3 + 1, method="GET", end=True))
        assert other.of(7).headers == {":status": "405"}
        assert (await ask(other, 9, message(b"x"))).messages == [b"x"]


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"method": "GET"}, "405"), ({"method": "CONNECT"}, "405"), ({"method": "post"}, "405")],
)
async def test_what_is_no_call(client: Client, changed: dict[str, str], status: str) -> None:
    for stream, end in ((1, True), (3, False)):
        await client.send(client.headers(stream, end=end, **changed))
        answer = client.of(stream)
        assert (answer.headers, answer.ended) == ({":status": status}, True)
        assert answer.reset is (None if end else ErrorCode.NO_ERROR)
    assert not client.connection.calls


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/json"])
async def test_another_content_type(client: Client, kind: str | None) -> None:
    extra = () if kind is None else (("content-type", kind),)
    await client.send(client.headers(1, *extra, without=["content-type"]))
    assert client.of(1).headers == {":status": "415"}


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto"])
async def test_content_types_of_grpc(client: Client, kind: str) -> None:
    await client.send(client.headers(1, ("content-type", kind), without=["content-type"]), data(1, b"", end=True))
    assert client.of(1).headers == {":status": "200", "content-type": "application/grpc", "grpc-status": "0"}


@pytest.mark.parametrize("path", ["/test/None", "", "/", "/test/echo", "/test/Echo/", "test/Echo"])
async def test_an_unknown_method(client: Client, path: str) -> None:
    answer = await ask(client, 1, message(b"x"), path=path)
    assert (answer.status, answer.text) == (Status.UNIMPLEMENTED, "there is no such method")


# --- How calls end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("plain ~", "plain ~"),
        ("100 %", "100 %25"),
        ("two\nlines\x7f", "two%0Alines%7F"),
        ("Zürich", "Z%C3%BCrich"),
        ("\ud800", "?"),
        ("a" * 130, "a" * 130),  # its length takes two bytes
        ("a" * 5000, "a" * 1000),
        ("ü" * 5000, "%C3%BC" * 500),
        ("a" + "ü" * 5000, "a" + "%C3%BC" * 499),
    ],
    ids=range(10),
)
async def test_texts_of_a_status(text: str, told: str) -> None:
    async def end(call: Call) -> None:
        await call.abort(StatusCode.NOT_FOUND, text)

    async with Client({"/test/End": end}) as client:
        await client.greet()
        answer = await ask(client, 1, path="/test/End")
        assert (answer.status, answer.text) == (Status.NOT_FOUND, told)


async def test_a_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(call: Call) -> None:
        await call.write(b"one")
        raise ZeroDivisionError

    with caplog.at_level(logging.CRITICAL):
        async with Client({"/test/Fail": fail}) as client:
            await client.greet()
            answer = await ask(client, 1, path="/test/Fail")
            assert (answer.messages, answer.status) == ([b"one"], Status.INTERNAL)
            assert (await ask(client, 3, message(b"x"))).messages == [b"x"]


@pytest.mark.parametrize("writes", [False, True], ids=["nothing was written", "a write waits"])
async def test_timeouts_of_clients(writes: bool) -> None:
    ended = asyncio.Event()

    async def wait(call: Call) -> None:
        try:
            await call.write(bytes(200_000) if writes else b"")
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with Client({"/test/Wait": wait}) as client:
        await client.greet()
        await client.send(client.headers(1, ("grpc-timeout", "20m"), path="/test/Wait"))
        await asyncio.wait_for(ended.wait(), 15)
        await client.settle()
        answer = client.of(1)
        if writes:  # after a part of a message there is no room for a status
            assert (answer.status, answer.reset) == (None, ErrorCode.CANCEL)
        else:
            assert (answer.status, answer.reset) == (Status.DEADLINE_EXCEEDED, ErrorCode.NO_ERROR)


@pytest.mark.parametrize(
    ("said", "served"),
    [("0n", False), ("00000000H", False), ("1H", True), ("99999999H", True), ("9" * 40 + "S", True), *(
        (text, True) for text in ("", "5", "S", "-1S", "1.5S", "1x", "²S", "1 S", "S1")
    )],
)  # fmt: skip
async def test_forms_of_timeouts(client: Client, said: str, served: bool) -> None:
    await client.send(client.headers(1, ("grpc-timeout", said)))
    await client.send(data(1, message(b"x"), end=True))
    assert client.of(1).status is (Status.OK if served else Status.DEADLINE_EXCEEDED)


@pytest.mark.parametrize("chunks", ["one", "several"])
async def test_a_client_that_resets(client: Client, chunks: str) -> None:
    whole = [client.headers(1), data(1, message(b"x")), frames.reset(1, ErrorCode.CANCEL), data(1, message(b"late"))]
    found = await client.send(*([b"".join(whole)] if chunks == "one" else whole))
    assert kinds(found) == ([] if chunks == "one" else [HEADERS, DATA])
    assert not client.connection.calls
    assert not client.server._tasks


@pytest.mark.parametrize("how", ["reset", "lost", "end of file", "fault", "closed by us"])
@pytest.mark.parametrize(
    "state",
    ["nothing read", "reads", "waits for a stream", "waits for the connection", "waits for its turn", "is paused"],
)
async def test_the_client_goes_in_every_state(state: str, how: str) -> None:
    """Nothing is left, even of a write that another task than the call's awaits, and that nobody cancels."""
    writes: list[asyncio.Task[None]] = []

    async def large(call: Call) -> None:
        writes.append(asyncio.create_task(call.write(bytes(1_000_000))))
        await asyncio.wait(writes)

    async with Client({"/test/Large": large}) as client:
        await client.greet(initial_window_size=0 if state == "waits for a stream" else 1 << 24)
        if state in {"is paused", "waits for its turn"}:
            client.transport.buffers = state == "is paused"
            await client.send(frames.window_update(0, (1 << 24) * (state == "is paused") or 1))
        path = "/test/Large" if "read" not in state else "/test/Echo"
        opened = client.headers(1, path=path)
        if state == "nothing read":
            client.connection.data_received(opened)
        else:
            await client.send(opened)
        if state == "waits for its turn":
            await client.send(client.headers(3, path=path))
        if how == "reset":
            for stream in list(client.connection.calls):
                client.connection.data_received(frames.reset(stream, ErrorCode.CANCEL))
        elif how == "end of file":
            client.connection.eof_received()
            client.transport.closing = True
        elif how == "fault":
            client.connection.data_received(frame(frames.PUSH_PROMISE, 0, 0))
        elif how == "closed by us":
            client.connection.close("bye")
        else:
            await client.lose()
        await client.settle()
        assert all(write.done() for write in writes) or state == "is paused"
        client.transport.taken()
        await client.settle()
        assert all(write.done() for write in writes)
        assert not client.connection.calls
        assert not client.server._tasks
        if how == "reset":
            client.transport.buffers = False
            await client.send(frames.window_update(0, 1000), frames.settings({Setting.INITIAL_WINDOW_SIZE: 1000}))
            assert (await ask(client, 9, message(b"x"))).messages == [b"x"]


# --- What costs us more than the client -------------------------------------------------------------------------------


def opened_and(how: str, client: Client, stream: int) -> bytes:
    end = {
        "reset": lambda: frames.reset(stream, ErrorCode.CANCEL),
        "made us reset": lambda: frames.window_update(stream, 0),
        "overflown": lambda: frames.window_update(stream, 2**31 - 1),
        "broken": lambda: data(stream, message(b"x", compressed=1)),
    }[how]
    return client.headers(stream) + end()


@pytest.mark.parametrize("how", ["reset", "made us reset", "overflown", "broken"])
async def test_calls_opened_only_to_be_reset(client: Client, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2023-44487 and CVE-2025-8671; as many as a client may have when it has others behind it are fine."""
    monkeypatch.setattr(connection, "_STRAINS", 50)
    client.time = 10.0
    for number in range(150):
        found = await client.send(opened_and(how, client, 2 * number + 1))
        assert GOAWAY not in kinds(found)
    found = await client.send(opened_and(how, client, 301))
    assert [each.code for each in found if each.kind == GOAWAY] == [ErrorCode.ENHANCE_YOUR_CALM]
    assert client.broken[-1] == "calls are opened only to be reset, or the like"


async def test_windows_that_change_all_the_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_STRAINS", 50)
    changes = [frames.settings({Setting.INITIAL_WINDOW_SIZE: 1000 + number % 2}) for number in range(60)]
    assert GOAWAY not in kinds(await client.send(changes[0] * 200, *changes[:50]))
    assert GOAWAY in kinds(await client.send(*changes[50:]))


async def test_many_calls_at_once_give_others_their_turn(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_TURN", 10 * (connection._BLOCK_WORK + 1))
    opened = b"".join(client.headers(2 * number + 1) for number in range(100))
    client.connection.data_received(opened + data(1, message(b"x")))
    assert len(client.connection.calls) == 10
    assert not client.transport.reads
    await client.settle()
    assert len(client.connection.calls) == 100
    assert client.transport.reads
    assert client.of(1).messages == [b"x"]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(frame(frames.PING, 0, 0, bytes(8)), id="pings"),
        pytest.param(frame(DATA, 0, 1), id="empty data"),
        pytest.param(
            b"".join(frames.settings({Setting.INITIAL_WINDOW_SIZE: size}) for size in (1000, 1001)), id="windows"
        ),
    ],
)
async def test_many_frames_at_once_give_others_their_turn(client: Client, said: bytes) -> None:
    await client.send(*(client.headers(2 * number + 1) for number in range(100)))
    await client.settle()
    client.connection.data_received(said * 4000)
    assert not client.transport.reads
    await client.settle()
    assert client.transport.reads or client.transport.closing


async def test_more_calls_than_one_may_have(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_CALLS", 2)
    await client.send(*(client.headers(stream) for stream in (1, 3, 5)))
    assert client.of(5).reset is ErrorCode.REFUSED_STREAM
    await client.send(data(1, b"", end=True), client.headers(7), data(7, message(b"x")))
    assert client.of(7).messages == [b"x"]


async def test_a_request_limit() -> None:
    async with Client(limits=replace(LIMITS, request_bytes=100_000)) as client:
        await client.greet(initial_window_size=1 << 20)
        await client.send(frames.window_update(0, 1 << 20))
        assert (await ask(client, 1, message(bytes(100_000)))).messages == [bytes(100_000)]
        assert (await ask(client, 3, message(bytes(100_001)))).status is Status.RESOURCE_EXHAUSTED
        assert kinds(await client.send(frames.reset(3, ErrorCode.CANCEL))) == []
