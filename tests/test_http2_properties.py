"""Whatever clients send, in whichever pieces: nothing of it is a fault of ours, and nothing depends on the pieces."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc
import pytest
import structlog
from fairlead.http2 import frames
from fairlead.http2.frames import FRAME_HEADER, ErrorCode, Setting
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from support.http2 import Client, Frame, data, message
from test_http2_flow import asking, send_size, window

some = settings(max_examples=150, deadline=None)
small = st.integers(0, 9)


def run(conversation: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(conversation)


@st.composite
def any_frames(draw: st.DrawFn) -> bytes:
    """A frame that may be anything, and is often nearly right."""
    kind, flags, stream = draw(st.integers(0, 11)), draw(st.sampled_from([0, 1, 4, 5, 8, 0x24, 0xFF])), draw(small)
    payload = draw(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([0, 4, 5, 6, 8, 16_384]).map(bytes),
            st.integers(0, 2**31 - 1).map(lambda number: number.to_bytes(4, "big")),
            st.tuples(st.sampled_from(Setting), st.integers(0, 2**32 - 1)).map(
                lambda pair: frames.settings({pair[0]: pair[1]})[9:]
            ),
            st.sampled_from([message(b"10"), message(b"70000"), message(b"x", compressed=1), message(b"10")[:4]]),
        )
    )
    length = max(0, len(payload) + draw(st.sampled_from([0] * 30 + [-1, 1])))
    return FRAME_HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


@st.composite
def cut(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """The same bytes in pieces."""
    at = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return [whole[start:end] for start, end in zip([0, *at], [*at, len(whole)], strict=True)]


@some
@given(
    st.data(), st.lists(st.one_of(any_frames(), st.just(b"call"), st.binary(max_size=30)), max_size=30), st.booleans()
)
def test_any_bytes(draw: st.DataObject, said: list[bytes], buffers: bool) -> None:
    async def conversation() -> None:
        async with Client({"/test/Size": send_size}) as client:
            await client.greet()
            client.transport.buffers = buffers
            streams = iter(range(1, 1000, 2))
            whole = b"".join(
                client.headers(next(streams), path="/test/Size") if part == b"call" else part for part in said
            )
            for piece in draw.draw(cut(whole)):
                if client.transport.reads and not client.transport.closing:
                    client.connection.data_received(piece)
                await client.settle(draw.draw(st.sampled_from([0, 1, 5])))
                assert len(client.connection._rest) <= len(whole)
            assert client.transport.most < 1_000_000
            assert len(client.broken) <= len(said)

    with structlog.testing.capture_logs() as logged:
        run(conversation())
    assert not logged


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_header_blocks(first: bytes, second: bytes) -> None:
    reader = frames.HeaderReader()
    for block in (first, second):
        try:
            found = reader.read(block)
        except frames.ConnectionFault:
            return
        assert all(isinstance(text, bytes) for pair in found.items() for text in pair)


_fields = st.lists(
    st.tuples(st.sampled_from(["a", "b", ":method"]), st.sampled_from(["1", "POST"])),
    unique_by=lambda field: field[0],
    min_size=1,
    max_size=3,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_fields, max_size=30))
def test_headers_are_those_that_were_sent(sent: list[list[tuple[str, str]]]) -> None:
    """Whatever was sent before on the connection, and is in the table that blocks refer to."""
    encoder, reader = Encoder(), frames.HeaderReader()
    for fields in sent:
        found = reader.read(encoder.encode(fields))
        assert found == {name.encode(): value.encode() for name, value in fields}


@pytest.mark.parametrize("size", [1, 1900], ids=["room for all", "room for two"])
def test_the_same_references_mean_something_else_when_the_table_has_changed(size: int) -> None:
    encoder, reader = Encoder(), frames.HeaderReader()
    fields = [(name, name * size) for name in ("a", "a", "b", "b", "c", "c", "b", "a", "a")]
    blocks = [encoder.encode([field]) for field in fields]
    assert blocks[1] == blocks[3] == blocks[5], "the newest entry"
    found = [reader.read(block) for block in blocks]
    assert found == [{name.encode(): value.encode()} for name, value in fields]


@some
@given(st.data())
def test_pieces_make_no_difference(draw: st.DataObject) -> None:
    """A conversation with calls of all kinds, as it comes from the network; a reset that comes late may be too late."""

    async def conversation(pieces: list[bytes] | None) -> tuple[dict[int, Any], list[bytes]]:
        async with Client({"/test/Size": send_size}) as client:
            whole = b"".join(
                (
                    frames.PREFACE + window(1000),
                    asking(client, 1, 5, 600, 70_000),
                    client.headers(3),
                    frames.frame(frames.PING, 0, 0, b"12345678"),
                    data(3, message(b"one") + message(b"two")[:6]),
                    client.headers(5, ("grpc-timeout", "1H"), path="/test/None", end=True),
                    asking(client, 7, 3000),
                    data(3, message(b"two")[6:], end=True),
                    window(500),
                    frames.window_update(1, 100_000),
                    client.headers(9, method="GET", end=True),
                    client.headers(11),
                    data(11, message(b"", compressed=1)),
                    frames.window_update(7, 5000),
                    frames.window_update(0, 100_000),
                    frames.reset(5, ErrorCode.CANCEL),
                )
            )
            for piece in [whole] if pieces is None else draw.draw(cut(whole)):
                client.connection.data_received(piece)
                await client.settle(draw.draw(small) if pieces is not None else 0)
            await client.settle()
            client.take()
            answers = {stream: client.of(stream) for stream in (1, 3, 7, 9, 11)}
            pongs = [each.payload for each in client.received if each.kind == frames.PING]
            return {stream: (it.messages, it.headers, it.ended, it.reset) for stream, it in answers.items()}, pongs

    expected = run(conversation(None))
    assert [len(each) for each in expected[0][1][0]] == [5, 600, 70_000]
    assert run(conversation([])) == expected


GRANTS = st.lists(st.tuples(st.sampled_from([0, 1, 3, 5]), st.integers(1, 30_000)), max_size=40)


@some
@given(
    st.lists(st.lists(st.integers(0, 40_000), max_size=4), min_size=3, max_size=3),
    st.lists(st.one_of(GRANTS.map(tuple), st.integers(0, 70_000)), max_size=10),
    st.integers(0, 70_000),
    st.booleans(),
)
def test_any_order_of_window_updates(sizes: list[list[int]], steps: list[Any], initial: int, buffers: bool) -> None:
    """Never more than was allowed, and at last all messages, whole and in order."""
    streams = dict(zip((1, 3, 5), sizes, strict=True))

    async def conversation() -> None:
        async with Client({"/test/Size": send_size}) as client:
            await client.greet(initial_window_size=initial)
            client.transport.buffers = buffers
            total = 65_535
            for stream, asked in streams.items():
                await client.send(asking(client, stream, *asked))
            for step in steps:
                if isinstance(step, int):
                    await client.send(window(step))
                    continue
                for stream, increment in step:
                    total += increment if not stream else 0
                    await client.send(frames.window_update(stream, increment))
                assert of_data(client.received) <= total
            await client.send(*(frames.window_update(stream, 10_000_000) for stream in (0, *streams)))
            for stream, asked in streams.items():
                answer = client.of(stream)
                assert [len(each) for each in answer.messages] == asked
                assert answer.status is grpc.StatusCode.OK

    run(conversation())


def of_data(received: list[Frame]) -> int:
    return sum(len(each.payload) for each in received if each.kind == frames.DATA)
