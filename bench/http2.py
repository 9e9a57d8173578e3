"""One gRPC stream on an HTTP/2 connection of its own, as lean as Python allows: thousands fit into one process.

What a client of xDS needs of RFC 9113 is here, no more: requests of literal headers, flow control both ways, answers to
pings and settings. Headers and trailers of the server are not decoded; that they end the stream is all that matters.
"""

import asyncio
import socket
import struct
from collections import deque
from typing import Protocol, cast

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_ENABLE_PUSH, _MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE = 2, 3, 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEADER = 9
_FRAME = 16_384
"""Bytes of the largest frame that a server must take."""
_WINDOW = 65_535
"""Bytes that may be sent before the other side says otherwise."""
_STREAM_WINDOW, _CONNECTION_WINDOW = 16 << 20, 24 << 20
"""Bytes that we take in; as Envoy does."""
_PREFIX = 5
"""Bytes before a gRPC message: a flag, and the length."""


class Receiver(Protocol):
    """Whoever takes part in the stream."""

    def opened(self, stream: "GrpcStream") -> None: ...

    def received(self, message: bytes) -> None: ...

    def closed(self, reason: str) -> None:
        """The stream has ended, by whomsoever."""


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    length = len(payload)
    return struct.pack(">HBBBL", length >> 8, length & 255, kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    # A header without indexing (RFC 7541, 6.2.2); all are shorter than 127 bytes.
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


def request_headers(path: str, authority: str) -> bytes:
    """The header block of a call."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", authority.encode()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
    return b"".join(_literal(name, value) for name, value in fields)


class GrpcStream(asyncio.Protocol):
    """The connection and its one stream."""

    __slots__ = (
        "_connection_window",
        "_headers",
        "_initial_window",
        "_message",
        "_outgoing",
        "_partial",
        "_receiver",
        "_stream_window",
        "_transport",
        "_unreported",
        "reason",
    )

    def __init__(self, receiver: Receiver, headers: bytes) -> None:
        self._receiver = receiver
        self._headers = headers
        self._transport: asyncio.Transport | None = None
        self._partial = bytearray()
        """Of a frame."""
        self._message = bytearray()
        """Of messages, with their prefixes."""
        self._outgoing: deque[memoryview] = deque()
        self._connection_window = self._stream_window = self._initial_window = _WINDOW
        self._unreported = 0
        """Bytes taken in of which the server has not been told yet."""
        self.reason = ""

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(
            ">HLHLHL", _ENABLE_PUSH, 0, _MAX_CONCURRENT_STREAMS, 100, _INITIAL_WINDOW_SIZE, _STREAM_WINDOW
        )
        self._transport.write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">L", _CONNECTION_WINDOW - _WINDOW))
            + _frame(_HEADERS, _END_HEADERS, 1, self._headers)
        )
        self._receiver.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.closed(self.reason or str(exc or "the connection was closed"))

    def data_received(self, data: bytes) -> None:
        source: bytes | bytearray = data
        if self._partial:
            self._partial += data
            source = self._partial
        position, size = 0, len(source)
        while size - position >= _FRAME_HEADER:
            start = position + _FRAME_HEADER
            end = start + (source[position] << 16 | source[position + 1] << 8 | source[position + 2])
            if end > size:
                break
            kind, flags = source[position + 3], source[position + 4]
            if kind == _DATA:
                self._data(source, start, end, flags)
            else:
                stream = int.from_bytes(source[position + 5 : start], "big")
                self._control(kind, flags, stream, bytes(source[start:end]))
            position = end
        if source is self._partial:
            del self._partial[:position]
        elif position < size:
            self._partial += data[position:]

    # --- Out ---

    def send(self, message: bytes) -> None:
        """Send a message, as soon as the server lets us."""
        self._outgoing.append(memoryview(b"\x00" + struct.pack(">L", len(message)) + message))
        self._flush()

    def close(self) -> None:
        """End the connection."""
        assert self._transport is not None
        self.reason = "closed by us"
        self._transport.close()

    def _flush(self) -> None:
        assert self._transport is not None
        while self._outgoing:
            rest = self._outgoing[0]
            size = min(len(rest), _FRAME, self._connection_window, self._stream_window)
            if size <= 0:
                return
            self._connection_window -= size
            self._stream_window -= size
            self._transport.write(_frame(_DATA, 0, 1, bytes(rest[:size])))
            if size == len(rest):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = rest[size:]

    # --- In ---

    def _data(self, source: bytes | bytearray, start: int, end: int, flags: int) -> None:
        self._unreported += end - start
        if flags & _PADDED:
            end -= source[start]
            start += 1
        message = self._message
        whole = end - start - _PREFIX
        if not message and whole >= 0 and int.from_bytes(source[start + 1 : start + _PREFIX], "big") == whole:
            self._receiver.received(bytes(source[start + _PREFIX : end]))  # as all small ones come
        else:
            message += memoryview(source)[start:end]
            while len(message) >= _PREFIX and len(message) - _PREFIX >= (
                length := int.from_bytes(message[1:_PREFIX], "big")
            ):
                received = bytes(memoryview(message)[_PREFIX : _PREFIX + length])
                del message[: _PREFIX + length]
                self._receiver.received(received)
        if self._unreported > _STREAM_WINDOW // 2:
            update, self._unreported = struct.pack(">L", self._unreported), 0
            assert self._transport is not None
            self._transport.write(_frame(_WINDOW_UPDATE, 0, 0, update) + _frame(_WINDOW_UPDATE, 0, 1, update))
        if flags & _END_STREAM:
            self._ended("the server ended the stream")

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            for identifier, value in struct.iter_unpack(">HL", payload):
                if identifier == _INITIAL_WINDOW_SIZE:
                    self._stream_window += value - self._initial_window
                    self._initial_window = value
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
            self._flush()
        elif kind == _WINDOW_UPDATE:
            if stream:
                self._stream_window += int.from_bytes(payload, "big")
            else:
                self._connection_window += int.from_bytes(payload, "big")
            self._flush()
        elif kind == _RST_STREAM:
            self._ended(f"the server reset the stream: {int.from_bytes(payload, 'big')}")
        elif kind == _GOAWAY:
            self.reason = f"the server goes away: {payload[8:]!r}"
        elif kind == _HEADERS and flags & _END_STREAM:
            self._ended(f"the server ended the stream: {payload[:100]!r}")

    def _ended(self, reason: str) -> None:
        assert self._transport is not None
        self.reason = self.reason or reason
        self._transport.close()
