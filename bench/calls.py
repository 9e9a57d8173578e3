"""Unary gRPC calls as an Envoy makes them: many at once on one HTTP/2 connection, the same headers in each.

Headers are compressed as Envoy does it, so that all calls after the first have a few bytes of them. Answers are not
decoded; that a call ends well is all that matters.
"""

import asyncio
import socket
import struct
import time
from itertools import count
from typing import cast

from hpack import Decoder, Encoder

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LARGEST_WINDOW = 0x7FFF_FFFF
_WINDOW = 65_535


class CallFailedError(Exception):
    """A call has not ended with OK."""


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    length = len(payload)
    return struct.pack(">HBBBL", length >> 8, length & 255, kind, flags, stream) + payload


class Caller(asyncio.Protocol):
    """Calls one method with one message, again and again."""

    def __init__(self, path: str, message: bytes) -> None:
        self.seconds: list[float] = []
        """How long each call took."""
        self._headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "fairlead-runtime"),
            ("te", "trailers"),
            ("grpc-timeout", "5000m"),
            ("content-type", "application/grpc"),
            ("x-envoy-internal", "true"),
            ("x-forwarded-for", "127.0.0.1"),
        ]
        self._message = b"\x00" + struct.pack(">L", len(message)) + message
        self._encoder, self._decoder = Encoder(), Decoder()
        self._streams = count(1, 2)
        self._started: dict[int, float] = {}
        self._until = 0.0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._partial = b""
        self._transport: asyncio.Transport | None = None

    async def call(self, at_once: int, seconds: float) -> float:
        """Keep so many calls open for so long; returns how long it took until the last was answered."""
        started = time.perf_counter()
        self._until, self._done = started + seconds, asyncio.get_running_loop().create_future()
        for _ in range(at_once):
            self._call()
        await self._done
        return time.perf_counter() - started

    def _call(self) -> None:
        assert self._transport is not None
        stream = next(self._streams)
        self._started[stream] = time.perf_counter()
        self._transport.write(
            _frame(_HEADERS, _END_HEADERS, stream, self._encoder.encode(self._headers))
            + _frame(_DATA, _END_STREAM, stream, self._message)
        )

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        window = struct.pack(">L", _LARGEST_WINDOW - _WINDOW)
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_WINDOW_UPDATE, 0, 0, window))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(CallFailedError(str(exc or "the connection was closed")))

    def data_received(self, data: bytes) -> None:
        data, position = self._partial + data, 0
        while len(data) - position >= 9:
            start = position + 9
            end = start + int.from_bytes(data[position : position + 3], "big")
            if end > len(data):
                break
            stream = int.from_bytes(data[position + 5 : start], "big")
            self._take(data[position + 3], data[position + 4], stream, data[start:end])
            position = end
        self._partial = data[position:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == _HEADERS:
            headers = dict(self._decoder.decode(payload))
            if flags & _END_STREAM:
                self._ended(stream, headers)
        elif kind == _SETTINGS and not flags & _ACK:
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind in {_RST_STREAM, _GOAWAY}:
            self._transport.close()

    def _ended(self, stream: int, headers: dict[str, str]) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._started.pop(stream))
        if headers.get("grpc-status") != "0":
            self._done.set_exception(CallFailedError(str(headers)))
        elif now < self._until:
            self._call()
        elif not self._started:
            self._done.set_result(None)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()
