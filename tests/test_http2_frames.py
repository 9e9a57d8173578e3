"""Frames of clients, good and malformed (https://www.rfc-editor.org/rfc/rfc9113): what each is answered with."""

import struct
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from fairlead.http2 import frames
from fairlead.http2.frames import DATA, HEADERS, ErrorCode, frame
from support.http2 import Client, Frame, Transport, data, kinds, message, parsed

PING, SETTINGS, WINDOW_UPDATE, RST, GOAWAY = (
    frames.PING,
    frames.SETTINGS,
    frames.WINDOW_UPDATE,
    frames.RST_STREAM,
    frames.GOAWAY,
)
ACK = frame(SETTINGS, frames.ACK, 0)
E = ErrorCode


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client() as found:
        await found.greet()
        yield found


async def works(client: Client, stream: int) -> None:
    """The connection is as good as before."""
    await client.send(client.headers(stream), data(stream, message(b"hello"), end=True))
    answer = client.of(stream)
    assert (answer.messages, answer.status) == ([b"hello"], grpc.StatusCode.OK)


def has_ended(client: Client, found: list[Frame], code: ErrorCode) -> None:
    """The client is told why, the connection closes, and one line is logged."""
    assert [frame.code for frame in found if frame.kind == GOAWAY] == [code]
    assert client.transport.closing
    assert len(client.broken) == 1
    assert not client.connection.calls


async def test_the_greeting() -> None:
    async with Client() as client:
        (settings, window, acknowledged) = await client.greet()
        assert (settings.kind, settings.flags, settings.stream) == (SETTINGS, 0, 0)
        values = dict(struct.iter_unpack(">HL", settings.payload))
        assert values == {3: 20_000, 4: 1 << 20, 6: 16_384}
        assert (window.kind, window.stream) == (WINDOW_UPDATE, 0)
        assert (acknowledged.kind, acknowledged.flags) == (SETTINGS, frames.ACK)
        await works(client, 1)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        b"\x16\x03\x01\x00\xf0\x01\x00",  # TLS to a port without
        b"\x00",
        frame(SETTINGS, 0, 0),
    ],
)
async def test_another_protocol(said: bytes) -> None:
    async with Client() as client:
        has_ended(client, await client.send(said), E.PROTOCOL_ERROR)


async def test_a_preface_in_pieces() -> None:
    async with Client() as client:
        whole = frames.PREFACE + frames.settings({})
        found = await client.send(*(bytes((byte,)) for byte in whole))
        assert kinds(found) == [SETTINGS, WINDOW_UPDATE, SETTINGS]
        await works(client, 1)


# --- Malformed --------------------------------------------------------------------------------------------------------

BEGINNING = frame(HEADERS, 0, 5, b"\x83")
LONG = b"\x00\x40\x01"  # 16,385

CONNECTION_ERRORS: dict[str, tuple[bytes, ErrorCode]] = {
    "a frame that is too large": (LONG + b"\x00\x00\x00\x00\x00\x01", E.FRAME_SIZE_ERROR),
    "an unknown frame that is too large": (LONG + b"\xee\x00\x00\x00\x00\x00", E.FRAME_SIZE_ERROR),
    "data of the connection": (frame(DATA, 0, 0, b"x"), E.PROTOCOL_ERROR),
    "data of a stream to come": (frame(DATA, 0, 9, b"x"), E.PROTOCOL_ERROR),
    "data of an even stream": (frame(DATA, 0, 2, b"x"), E.PROTOCOL_ERROR),
    "data with padding as long as the frame": (frame(DATA, frames.PADDED, 3, b"\x03abc"[:3]), E.PROTOCOL_ERROR),
    "padded data of nothing": (frame(DATA, frames.PADDED, 3, b""), E.PROTOCOL_ERROR),
    "headers of the connection": (frame(HEADERS, frames.END_HEADERS, 0, b"\x83"), E.PROTOCOL_ERROR),
    "headers of an even stream": (frame(HEADERS, frames.END_HEADERS, 4, b"\x83"), E.PROTOCOL_ERROR),
    "headers with padding as long as the frame": (frame(HEADERS, 0xC, 5, b"\x02\x83"), E.PROTOCOL_ERROR),
    "headers with half a priority": (frame(HEADERS, 0x24, 5, b"\x00\x00"), E.FRAME_SIZE_ERROR),
    "headers in the middle of a call": (frame(HEADERS, frames.END_HEADERS, 3, b"\x83"), E.PROTOCOL_ERROR),
    "a header block with a gap": (frame(HEADERS, 0x4, 5, b"\xff\xff\xff\x0f"), E.COMPRESSION_ERROR),
    "a header block that is cut off": (frame(HEADERS, 0x4, 5, b"\x00\x05ab"), E.COMPRESSION_ERROR),
    "a table that is too large": (frame(HEADERS, 0x4, 5, b"\x3f\xe2\x1f\x83"), E.COMPRESSION_ERROR),
    "trailers that cannot be decoded": (frame(HEADERS, 0x5, 3, b"\x80"), E.COMPRESSION_ERROR),
    "an endless integer": (frame(HEADERS, 0x4, 5, b"\x7f" + b"\xff" * 16_000), E.COMPRESSION_ERROR),
    "a reset of 3 bytes": (frame(RST, 0, 3, bytes(3)), E.FRAME_SIZE_ERROR),
    "a reset of 5 bytes": (frame(RST, 0, 3, bytes(5)), E.FRAME_SIZE_ERROR),
    "a reset of the connection": (frame(RST, 0, 0, bytes(4)), E.PROTOCOL_ERROR),
    "a reset of a stream to come": (frame(RST, 0, 7, bytes(4)), E.PROTOCOL_ERROR),
    "settings of a stream": (frame(SETTINGS, 0, 3, b""), E.PROTOCOL_ERROR),
    "settings of 5 bytes": (frame(SETTINGS, 0, 0, bytes(5)), E.FRAME_SIZE_ERROR),
    "settings acknowledged with some": (frame(SETTINGS, frames.ACK, 0, bytes(6)), E.FRAME_SIZE_ERROR),
    "an initial window that is too large": (frame(SETTINGS, 0, 0, b"\x00\x04\x80\0\0\0"), E.FLOW_CONTROL_ERROR),
    "push that is neither on nor off": (frame(SETTINGS, 0, 0, b"\x00\x02\0\0\0\x02"), E.PROTOCOL_ERROR),
    "frames that may be too small": (frame(SETTINGS, 0, 0, b"\x00\x05\0\0\x3f\xff"), E.PROTOCOL_ERROR),
    "frames that may be too large": (frame(SETTINGS, 0, 0, b"\x00\x05\x01\0\0\0"), E.PROTOCOL_ERROR),
    "a ping of 7 bytes": (frame(PING, 0, 0, bytes(7)), E.FRAME_SIZE_ERROR),
    "a ping of 9 bytes": (frame(PING, 0, 0, bytes(9)), E.FRAME_SIZE_ERROR),
    "a ping of a stream": (frame(PING, 0, 3, bytes(8)), E.PROTOCOL_ERROR),
    "a push": (frame(frames.PUSH_PROMISE, 0x4, 3, b"\0\0\0\x04\x83"), E.PROTOCOL_ERROR),
    "a window update of 3 bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), E.FRAME_SIZE_ERROR),
    "a window update of nothing": (frame(WINDOW_UPDATE, 0, 0, bytes(4)), E.PROTOCOL_ERROR),
    "a window update of a stream to come": (frames.window_update(9, 1), E.PROTOCOL_ERROR),
    "a window of the connection that is too large": (frames.window_update(0, 2**31 - 1), E.FLOW_CONTROL_ERROR),
    "a block that goes on and has not begun": (frame(frames.CONTINUATION, 0x4, 3, b""), E.PROTOCOL_ERROR),
    "a block that goes on elsewhere": (
        frame(HEADERS, 0, 5, b"\x83") + frame(frames.CONTINUATION, 0x4, 7, b""),
        E.PROTOCOL_ERROR,
    ),
    **{
        f"a block interrupted by {kind}": (BEGINNING + frame(kind, 0, stream, payload), E.PROTOCOL_ERROR)
        for kind, stream, payload in (
            (DATA, 3, b""),
            (HEADERS, 5, b"\x83"),
            (RST, 5, bytes(4)),
            (SETTINGS, 0, b""),
            (PING, 0, bytes(8)),
            (0xEE, 0, b""),
        )
    },
    "a block without end": (
        BEGINNING + frame(frames.CONTINUATION, 0, 5, b"x" * 16_000) * 2,
        E.ENHANCE_YOUR_CALM,
    ),
    "a block that does not go on": (
        BEGINNING + frame(frames.CONTINUATION, 0, 5, b""),
        E.ENHANCE_YOUR_CALM,
    ),
    "headers that are too many": (frame(HEADERS, 0x4, 5, b"\x82" * 1000), E.ENHANCE_YOUR_CALM),
    "a bomb": (frame(HEADERS, 0x4, 5, b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 12_000), E.ENHANCE_YOUR_CALM),
    "more than the window of a stream": (data(3, message(bytes(200_000))) * 6, E.FLOW_CONTROL_ERROR),
}


@pytest.mark.parametrize("what", CONNECTION_ERRORS)
@pytest.mark.parametrize("chunks", [1, 0], ids=["at once", "byte by byte"])
async def test_what_ends_a_connection(what: str, chunks: int) -> None:
    said, code = CONNECTION_ERRORS[what]
    if not chunks and len(said) > 20_000:
        pytest.skip("it would take long, and be no different")

    async with Client() as client:
        await client.greet()
        await client.send(client.headers(1, end=True), client.headers(3))
        found = await client.send(*([said] if chunks else (bytes((byte,)) for byte in said)))
        has_ended(client, found, code)
        # TLS may hand over what came before it closed: nothing is written, or Transport would say so.
        client.connection.data_received(frame(PING, 0, 0, bytes(8)))


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param(frames.window_update(3, 0), E.PROTOCOL_ERROR, id="nothing"),
        pytest.param(frames.window_update(3, 2**31 - 1), E.FLOW_CONTROL_ERROR, id="too much"),
    ],
)
async def test_a_window_update_that_ends_a_stream(client: Client, said: bytes, code: ErrorCode) -> None:
    await client.send(client.headers(3), said)
    assert client.of(3).reset is code
    assert not client.connection.calls
    await works(client, 5)


# --- Good -------------------------------------------------------------------------------------------------------------

IGNORED: dict[str, bytes] = {
    "an unknown frame": frame(0xEE, 0xFF, 77, b"whatever"),
    "an empty unknown frame": frame(0xEE, 0, 0),
    "unknown flags": frame(PING, 0xFE, 0, bytes(8)),
    "a reserved bit": struct.pack(">HBBBL", 0, 0, SETTINGS, 0, 1 << 31),
    "a priority": frame(frames.PRIORITY, 0, 3, bytes(5)),
    "a priority of a stream to come": frame(frames.PRIORITY, 0, 99, bytes(5)),
    "a goaway": frames.goaway(0, E.NO_ERROR, "bye"),
    "an unknown setting": frame(SETTINGS, 0, 0, b"\xff\x00\xff\xff\xff\xff"),
    "all settings": frame(
        SETTINGS, 0, 0, struct.pack(">" + "HL" * 6, 1, 0, 2, 0, 3, 100, 4, 70_000, 5, 1 << 20, 6, 100)
    ),
    "settings of nothing": frame(SETTINGS, 0, 0),
    "settings that are acknowledged": ACK,
    "a ping": frame(PING, 0, 0, b"12345678"),
    "a pong that nobody asked for": frame(PING, frames.ACK, 0, b"12345678"),
    "a window update": frames.window_update(0, 1) + frames.window_update(3, 1),
    "data of a closed stream": data(1, message(b"late")),
    "a reset of a closed stream": frames.reset(1, E.CANCEL),
    "a window update of a closed stream": frames.window_update(1, 5) + frames.window_update(1, 0),
    "trailers of a closed stream": frame(HEADERS, 0x5, 1, b"\x83"),
    "data after the end": data(5, b"", end=True) + data(5, message(b"late")),
    "empty data": data(3, b"") * 10,
    "padded data of no content": frame(DATA, frames.PADDED, 3, b"\x03\0\0\0"),
}


@pytest.mark.parametrize("what", IGNORED)
async def test_what_changes_nothing(client: Client, what: str) -> None:
    await client.send(client.headers(1, end=True))
    await client.send(client.headers(3), client.headers(5), IGNORED[what])
    assert not client.broken
    await client.send(data(3, message(b"as before"), end=True))
    assert client.of(3).messages == [b"as before"]
    assert client.of(5).messages == []
    await works(client, 7)


async def test_pings_and_settings_are_answered(client: Client) -> None:
    (pong,) = await client.send(frame(PING, 0, 0, b"12345678"))
    assert pong == (PING, frames.ACK, 0, b"12345678")
    assert await client.send(frame(PING, frames.ACK, 0, b"12345678")) == []
    assert await client.send(frames.settings({}) * 2, ACK) == list(parsed(ACK * 2))


async def test_skipped_ids_are_closed_and_used_ones_are_not_opened_again(client: Client) -> None:
    await works(client, 9)
    assert await client.send(client.headers(5), client.headers(9), data(5, message(b"x"))) == []
    assert not client.connection.calls
    await works(client, 11)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(lambda flags, block: frame(HEADERS, flags, 3, block), id="plain"),
        pytest.param(
            lambda flags, block: frame(HEADERS, flags | frames.PADDED, 3, b"\x05" + block + bytes(5)), id="padded"
        ),
        pytest.param(
            lambda flags, block: frame(HEADERS, flags | frames.HAS_PRIORITY, 3, b"\x80\0\0\x01\xff" + block),
            id="with a priority",
        ),
        pytest.param(
            lambda flags, block: frame(HEADERS, flags | 0x28, 3, b"\x02" + b"\0\0\0\0\xff" + block + bytes(2)),
            id="both",
        ),
        pytest.param(
            lambda flags, block: b"".join(
                (
                    frame(HEADERS, flags & ~frames.END_HEADERS, 3, block[:7]),
                    frame(frames.CONTINUATION, 0, 3, block[7:8]),
                    frame(frames.CONTINUATION, frames.END_HEADERS, 3, block[8:]),
                )
            ),
            id="in parts",
        ),
        pytest.param(
            lambda flags, block: (
                frame(HEADERS, flags & ~frames.END_HEADERS, 3, block)
                + frame(frames.CONTINUATION, frames.END_HEADERS, 3)
            ),
            id="with an empty end",
        ),
        pytest.param(lambda flags, block: frame(HEADERS, flags, 3, b"\x20\x3f\xe1\x1f" + block), id="table resized"),
    ],
)
@pytest.mark.parametrize("end", [False, True])
async def test_headers_of_every_form(client: Client, block: Callable[[int, bytes], bytes], end: bool) -> None:
    opening = client.headers(3)[9:]
    await client.send(block(frames.END_HEADERS | frames.END_STREAM * end, opening))
    assert client.calls
    assert client.calls[0].half_closed is end
    if not end:
        await client.send(data(3, message(b"x"), end=True))
    assert (client.of(3).messages, client.of(3).status) == ([] if end else [b"x"], grpc.StatusCode.OK)
    await works(client, 5)


async def test_padded_data(client: Client) -> None:
    await client.send(client.headers(3), frame(DATA, 0x9, 3, b"\x04" + message(b"content") + bytes(4)))
    assert client.of(3).messages == [b"content"]


async def test_a_refused_alpn() -> None:
    class Tls:
        def selected_alpn_protocol(self) -> str | None:
            return None

    async with Client(ssl_object=Tls()) as client:
        assert isinstance(client.transport, Transport)
        assert client.transport.aborted
        assert not client.transport.written
        client.connection.data_received(frames.PREFACE)
