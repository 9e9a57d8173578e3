"""A server of HTTP/2 without a network: a connection, a transport that keeps what it is given, and frames."""

import asyncio
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

import grpc
from fairlead.http2 import frames
from fairlead.http2.call import Call
from fairlead.http2.connection import Http2Connection
from fairlead.http2.frames import ErrorCode, Setting
from fairlead.http2.server import GrpcServer, Handler, Limits
from hpack import Decoder, Encoder

LIMITS = Limits(
    handshake_within=10,
    idle=60,
    age=1000,
    end=30,
    ping_after=30,
    pong_within=20,
    request_bytes=4 << 20,
    strains_per_second=10,
)
REQUEST = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/test/Echo",
    ":authority": "fairlead",
    "te": "trailers",
    "content-type": "application/grpc",
}


class Frame(NamedTuple):
    """What was sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> ErrorCode:
        """Of RST_STREAM or GOAWAY."""
        return ErrorCode(
            int.from_bytes(self.payload[-4:] if self.kind == frames.RST_STREAM else self.payload[4:8], "big")
        )


def parsed(data: bytes) -> Iterator[Frame]:
    """The frames in these bytes, which must all be whole and well-formed."""
    while data:
        upper, lower, kind, flags, stream = frames.FRAME_HEADER.unpack_from(data)
        length = upper << 8 | lower
        assert length <= frames.FRAME_BYTES
        assert len(data) >= 9 + length
        yield Frame(kind, flags, stream, data[9 : 9 + length])
        data = data[9 + length :]


def message(data: bytes, compressed: int = 0) -> bytes:
    """A message of gRPC."""
    return struct.pack(">BL", compressed, len(data)) + data


def data(stream: int, payload: bytes, *, end: bool = False) -> bytes:
    """DATA frames."""
    size = frames.FRAME_BYTES
    parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    ends = [end and number == len(parts) for number in range(1, len(parts) + 1)]
    return b"".join(
        frames.frame(frames.DATA, frames.END_STREAM * is_last, stream, part)
        for part, is_last in zip(parts, ends, strict=True)
    )


class Transport(asyncio.Transport):
    """Keeps what is written until it is taken; complains of what uvloop complains of."""

    def __init__(self, **info: Any) -> None:
        super().__init__({"peername": ("192.0.2.1", 4000), **info})
        self.written = bytearray()
        self.most = 0
        """Bytes that there were at once."""
        self.buffers = False
        """Whether the client does not take anything in at once."""
        self.reads = True
        self.closing = self.aborted = False
        self._limit = 0
        self._paused = False
        self.protocol: Http2Connection

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self._limit = high

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing, "written after it was closed"
        self.written += data
        self.most = max(self.most, len(self.written))
        if self.buffers and not self._paused and len(self.written) > self._limit:
            self._paused = True
            self.protocol.pause_writing()

    def taken(self) -> bytes:
        """Take all that has been written."""
        data = bytes(self.written)
        self.written.clear()
        if self._paused:
            self._paused = False
            self.protocol.resume_writing()
        return data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Client:
    """`async with` greets; frames are sent with `send`, and what comes back is in `received`."""

    def __init__(self, handlers: dict[str, Handler] | None = None, limits: Limits = LIMITS, **info: Any) -> None:
        self.broken: list[str] = []
        """What the server says that the client did wrong."""
        self.calls: list[Call] = []
        self.faults: list[dict[str, Any]] = []
        """What the event loop was told of."""
        self.time = 0.0
        self.server = GrpcServer(
            {"/test/Echo": self._echo, **(handlers or {})}, limits, lambda _, what: self.broken.append(what)
        )
        self.server.now = lambda: self.time
        self.connection = Http2Connection(self.server)
        self.transport = Transport(**info)
        self.transport.protocol = self.connection
        self.received: list[Frame] = []
        self.encoder = Encoder()
        self._decoder = Decoder(max_header_list_size=1 << 20)

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.faults.append(context))
        self.connection.connection_made(self.transport)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.lose()
        assert not self.faults
        assert not self.server._tasks, "a call has no end"
        assert not self.connection.calls

    async def lose(self) -> None:
        """The connection is lost."""
        self.transport.closing = True
        self.connection.connection_lost(None)
        await self.settle()

    async def _echo(self, call: Call) -> None:
        self.calls.append(call)
        while (said := await call.read()) is not None:
            await call.write(said)

    async def settle(self, turns: int = 50) -> None:
        """Let all that can be done be done; nothing here waits for anything but the client."""
        for _ in range(turns):
            await asyncio.sleep(0)

    async def send(self, *data: bytes) -> list[Frame]:
        """Send bytes, each as they come; gives the frames that are the answer."""
        for part in data:
            while not self.transport.reads:  # it has had too much at once, or waits for us
                before = len(self.transport.written)
                await self.settle()
                if not self.transport.reads and len(self.transport.written) == before:
                    return []
            if not self.transport.closing:
                self.connection.data_received(part)
                await self.settle(3)
        await self.settle()
        return self.take()

    def take(self) -> list[Frame]:
        """What has come since it was last asked for."""
        found = list(parsed(self.transport.taken()))
        self.received += found
        return found

    async def greet(self, **values: int) -> list[Frame]:
        """The preface, with these settings."""
        settings = {Setting[name.upper()]: value for name, value in values.items()}
        return await self.send(frames.PREFACE + frames.settings(settings))

    def headers(
        self, stream: int, *extra: tuple[str, str], end: bool = False, without: Iterable[str] = (), **changed: str
    ) -> bytes:
        """A HEADERS frame that opens a call; `changed` are pseudo-headers without their colon."""
        request = {**REQUEST, **{f":{name}": value for name, value in changed.items()}}
        pairs = [pair for pair in request.items() if pair[0] not in without]
        flags = frames.END_HEADERS | frames.END_STREAM * end
        return frames.frame(frames.HEADERS, flags, stream, self.encoder.encode([*pairs, *extra]))

    def of(self, stream: int, found: list[Frame] | None = None) -> "Answer":
        """All that a stream was sent."""
        if found is None:
            self.take()
        return Answer(
            [frame for frame in (self.received if found is None else found) if frame.stream == stream], self._decoder
        )


class Answer:
    """What came on one stream."""

    def __init__(self, sent: list[Frame], decoder: Decoder) -> None:
        self.headers: dict[str, str] = {}
        self.ended = False
        self.reset: ErrorCode | None = None
        rest = b""
        for frame in sent:
            assert self.reset is None, "something came after RST_STREAM"
            if frame.kind == frames.RST_STREAM:
                self.reset = frame.code
            elif frame.kind in {frames.HEADERS, frames.DATA}:
                assert not self.ended
                self.ended = bool(frame.flags & frames.END_STREAM)
            if frame.kind == frames.HEADERS:
                self.headers |= dict(decoder.decode(frame.payload))
            elif frame.kind == frames.DATA:
                rest += frame.payload
        self.messages: list[bytes] = []
        while len(rest) >= 5 and len(rest) >= 5 + (size := int.from_bytes(rest[1:5], "big")):
            assert not rest[0]
            self.messages.append(rest[5 : 5 + size])
            rest = rest[5 + size :]
        self.rest = rest
        """Of a message that is not whole."""

    @property
    def status(self) -> grpc.StatusCode | None:
        number = self.headers.get("grpc-status")
        return next((code for code in grpc.StatusCode if str(code.value[0]) == number), None)

    @property
    def text(self) -> str:
        return self.headers.get("grpc-message", "")


def kinds(found: Iterable[Frame]) -> list[int]:
    """Of which kinds frames are."""
    return [frame.kind for frame in found]
