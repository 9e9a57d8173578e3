"""One HTTP/2 connection of a client: frames in, frames out, and the limits that hold for all its calls.

What a client can make us do costs it as much as us: what we answer waits in a buffer of bounded size, and while that is
full nothing more is taken in; what costs us more than the client is counted, and done a little at a time.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from fairlead.http2 import frames
from fairlead.http2.call import RECEIVED_AHEAD, Aborted, Call
from fairlead.http2.frames import ConnectionFault, ErrorCode, Setting, StatusCode

if TYPE_CHECKING:
    from fairlead.http2.server import GrpcServer

_RECEIVED_AHEAD = 16 << 20
"""Bytes that a client may send on all its calls before they are read; it is given them again at once."""
_CALLS = 20_000
"""At once; who lets calls in counts them by other things than connections."""
_HEADER_BLOCK = frames.HEADER_BYTES
"""Bytes of one header block, compressed."""
_STRAINS = 2_000
"""What costs us more than the client, before it is too much: calls that are reset, whether the client does it or makes
us do it, and new initial windows, which concern all calls."""
_TURN = 4_000
"""Frames that are read before others have their turn: uvloop reads a client that is fast enough 32 times in a row."""
_BLOCK_WORK, _CALLS_WORK = 20, 0.1
"""As how many frames a header block counts, which may be a new call, and each call whose window is set anew."""
_ANSWERED = 2_000
"""The last answers, of which is known what to do when it turns out that the client has not waited for them."""
_BUFFERED = 256 << 10
"""Bytes that wait to be sent, after which nothing more is written or read."""

_RANGES = {Setting.ENABLE_PUSH: range(2), Setting.MAX_FRAME_SIZE: range(1 << 14, 1 << 24)}
"""Of settings that say nothing to a server, but must not have other values."""

_GREETING = frames.settings(
    {
        Setting.MAX_CONCURRENT_STREAMS: _CALLS,
        Setting.INITIAL_WINDOW_SIZE: RECEIVED_AHEAD,
        Setting.MAX_HEADER_LIST_SIZE: frames.HEADER_BYTES,
    }
) + frames.window_update(0, _RECEIVED_AHEAD - frames.WINDOW)


class Http2Connection(asyncio.Protocol):
    """A connection; `transport` is what it is written to."""

    def __init__(self, server: GrpcServer) -> None:
        self.transport: asyncio.Transport
        self.calls: dict[int, Call] = {}
        self.peer = ""
        self.paused = False
        """What has been written waits to be sent, so nothing more is to be written."""
        self.window = frames.WINDOW
        """Bytes of messages that may be sent, on all calls together."""
        self.since = self.heard_at = server.now()
        """When the connection came, and when something came last."""
        self.idle_since = self.since
        """When the last call ended; of meaning while there is none."""
        self.pinged_at: float | None = None
        """When the client was asked whether it is there, until something comes from it."""
        self.greeted = False
        """HTTP/2 is spoken."""
        self.leaving = False
        """The client has been told to open new calls elsewhere."""
        self.age = server.limits.age * random.uniform(0.9, 1.1)  # noqa: S311
        """Seconds after which the client is to connect anew; not the same for all that came at once."""
        self.closed_at: float | None = None
        """When it was closed, while the client has not taken in what was written before."""
        self._server = server
        self._initial_window = frames.WINDOW
        self._authenticated: Mapping[str, list[bytes]] | None = None
        self._headers = frames.HeaderReader()
        self._rest = b""
        """What has come and is not taken in: the beginning of a frame or, while reading pauses, more."""
        self._work = 0.0
        """What has been done in this turn, in frames."""
        self._last_stream = 0
        self._strains = 0
        self._uncredited = 0
        self._block: tuple[int, int, bytearray] | None = None
        """Stream, flags and beginning of a header block that goes on."""
        self._answered: OrderedDict[int, Callable[[], None]] = OrderedDict()
        """Streams of answered calls, and what to do when the client ends them all the same."""
        self.turns = asyncio.Lock()
        """Held by the call whose turn it is to write what cannot be written at once; others that have such wait."""
        self._room: asyncio.Future[None] | None = None
        """There while who has the turn waits until more may be written."""

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there; over TLS, after the handshake."""
        self.transport = cast(asyncio.Transport, transport)
        self.peer = _peer(transport)
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None and ssl_object.selected_alpn_protocol() != "h2":
            self._closes()
            self.transport.abort()  # it does not mean to speak HTTP/2
            return
        self.transport.set_write_buffer_limits(_BUFFERED)
        self._server.connections.add(self)
        self.transport.write(_GREETING)

    def connection_lost(self, _: Exception | None) -> None:
        """The client has gone."""
        self._server.connections.discard(self)
        self._closes()

    def pause_writing(self) -> None:
        """The client does not take in what it is sent; until it does, we do not take in what it says either."""
        self.paused = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        self.paused = False
        self.heard_at, self.pinged_at = self._server.now(), None  # it is there, whether or not it has said so
        self.go_on()
        self._read_on()

    def eof_received(self) -> None:
        """The client says no more: the connection closes by itself, when the client has taken in what was written."""
        self._closes()

    def data_received(self, data: bytes) -> None:
        """Take in what has come."""
        self.heard_at, self.pinged_at = self._server.now(), None
        self._take_in(self._rest + data if self._rest else data)

    def _take_in(self, data: bytes) -> None:
        if self.closed_at is not None:
            return  # TLS hands over what it has decrypted before it closes
        try:
            self._receive(data)
        except ConnectionFault as fault:
            self._server.broken(self.peer, str(fault))
            self.transport.write(frames.goaway(self._last_stream, fault.code, str(fault)))
            self._close()
        if self._work >= _TURN:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._work = 0
        if not self.paused:
            self._read_on()

    def _read_on(self) -> None:
        self._take_in(self._rest)
        if not self.paused and self._work < _TURN and self.closed_at is None:
            self.transport.resume_reading()

    # --- Frames ---

    def _receive(self, data: bytes) -> None:
        at, end, unpack = 0, len(data), frames.FRAME_HEADER.unpack_from
        if not self.greeted:
            at = self._greet(data)
        while self.greeted and end - at >= 9 and not self.paused and self._work < _TURN:
            upper, lower, kind, flags, stream = unpack(data, at)
            length = upper << 8 | lower
            if length > frames.FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame is larger than {frames.FRAME_BYTES} bytes")
            start = at + 9
            if end - start < length:
                break
            at = start + length
            self._work += 1
            self._frame(kind, flags, stream & frames.LARGEST_WINDOW, data[start:at])
            if self.closed_at is not None:
                return
        self._rest = data[at:]

    def _greet(self, data: bytes) -> int:
        if data[: len(frames.PREFACE)] != frames.PREFACE[: len(data)]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 is spoken")
        if len(data) < len(frames.PREFACE):
            return 0
        self.greeted = True
        return len(frames.PREFACE)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
        if kind == frames.DATA:
            self._data(flags, stream, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(stream, payload)
        elif kind == frames.HEADERS:
            self._begin_headers(flags, stream, payload)
        elif kind == frames.CONTINUATION:
            self._continue_headers(flags, stream, payload)
        elif kind == frames.RST_STREAM:
            self._reset(stream, payload)
        elif kind == frames.SETTINGS:
            self._settings(flags, stream, payload)
        elif kind == frames.PING:
            _check(len(payload) == 8, ErrorCode.FRAME_SIZE_ERROR, "a PING is of 8 bytes")
            _check(not stream, ErrorCode.PROTOCOL_ERROR, "a PING is of the connection")
            if not flags & frames.ACK:
                self.transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "clients do not push")
        # Of the others, GOAWAY and PRIORITY change nothing for a server, and unknown ones are to be ignored.

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        self._uncredited += size
        if self._uncredited >= _RECEIVED_AHEAD // 2:
            self.transport.write(frames.window_update(0, self._uncredited))
            self._uncredited = 0
        call = self.calls.get(stream)
        if call is None or call.half_closed:
            self._check_known(stream)
            return
        try:
            call.received(frames.unpadded(payload, flags), size=size, end=bool(flags & frames.END_STREAM))
        except Aborted as reason:
            self._end(call, reason)

    def _end(self, call: Call, reason: Aborted) -> None:
        self._strain()
        self._server.broken(self.peer, reason.details)
        call.finish(reason.code, reason.details)
        self._forget(call)

    def _strain(self) -> None:
        self._strains += 1
        allowed = _STRAINS + self._server.limits.strains_per_second * (self._server.now() - self.since)
        _check(self._strains <= allowed, ErrorCode.ENHANCE_YOUR_CALM, "calls are opened only to be reset, or the like")

    def _check_known(self, stream: int) -> None:
        # What comes for a call that has ended was under way. No call has an even number, nor one that is yet to come.
        if stream > self._last_stream or not stream % 2:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame for a stream that has not been opened")

    def _window_update(self, stream: int, payload: bytes) -> None:
        _check(len(payload) == 4, ErrorCode.FRAME_SIZE_ERROR, "a WINDOW_UPDATE is of 4 bytes")
        increment = int.from_bytes(payload, "big") & frames.LARGEST_WINDOW
        if not stream:
            _check(increment > 0, ErrorCode.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
            self.window += increment
            _check(self.window <= frames.LARGEST_WINDOW, ErrorCode.FLOW_CONTROL_ERROR, "a window is too large")
            self.go_on()
            return
        call = self.calls.get(stream)
        if call is None:
            self._check_known(stream)
            return
        call.window += increment
        if not increment or call.window > frames.LARGEST_WINDOW:
            self._strain()
            self.transport.write(
                frames.reset(stream, ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR)
            )
            self._forget(call)
        else:
            call.go_on()

    def _reset(self, stream: int, payload: bytes) -> None:
        _check(len(payload) == 4, ErrorCode.FRAME_SIZE_ERROR, "a RST_STREAM is of 4 bytes")
        self._check_known(stream)
        call = self.calls.get(stream)
        if call is not None:
            self._strain()
            self._forget(call)
        elif (unwanted := self._answered.pop(stream, None)) is not None:
            unwanted()

    def _forget(self, call: Call) -> None:
        call.lost()
        self.ended(call)

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        _check(not stream, ErrorCode.PROTOCOL_ERROR, "SETTINGS are of the connection")
        if flags & frames.ACK:
            _check(not payload, ErrorCode.FRAME_SIZE_ERROR, "SETTINGS that are acknowledged hold nothing")
            return
        _check(len(payload) % 6 == 0, ErrorCode.FRAME_SIZE_ERROR, "SETTINGS are pairs of 6 bytes")
        for name, value in struct.iter_unpack(">HL", payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                _check(value <= frames.LARGEST_WINDOW, ErrorCode.FLOW_CONTROL_ERROR, "a window is too large")
                self._set_initial_window(value)
            elif name in _RANGES:
                _check(value in _RANGES[name], ErrorCode.PROTOCOL_ERROR, "SETTINGS of impossible values")
        self.transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _set_initial_window(self, size: int) -> None:
        if size != self._initial_window:
            self._strain()
            self._work += _CALLS_WORK * len(self.calls)
            for call in self.calls.values():
                call.window += size - self._initial_window
                call.go_on()
            self._initial_window = size

    # --- Calls ---

    def _begin_headers(self, flags: int, stream: int, payload: bytes) -> None:
        block = frames.unpadded(payload, flags)
        if flags & frames.HAS_PRIORITY:
            _check(len(block) >= 5, ErrorCode.FRAME_SIZE_ERROR, "HEADERS with a priority of less than 5 bytes")
            block = block[5:]
        if flags & frames.END_HEADERS:
            self._open(stream, flags, block)
        else:
            self._block = stream, flags, bytearray(block)

    def _continue_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block goes on that has not begun")
        _, first_flags, block = self._block
        _check(len(payload) > 0 or flags & frames.END_HEADERS > 0, ErrorCode.ENHANCE_YOUR_CALM, "empty frames")
        block += payload
        _check(len(block) <= _HEADER_BLOCK, ErrorCode.ENHANCE_YOUR_CALM, "a header block has no end")
        if flags & frames.END_HEADERS:
            self._block = None
            self._open(stream, first_flags, bytes(block))

    def _open(self, stream: int, flags: int, block: bytes) -> None:
        self._work += _BLOCK_WORK
        headers, end = self._headers.read(block), bool(flags & frames.END_STREAM)
        call = self.calls.get(stream)
        if call is not None:  # trailers of a client, which say nothing in gRPC
            _check(end, ErrorCode.PROTOCOL_ERROR, "trailers that are not the end")
            call.received(b"", size=0, end=True)
            return
        if stream <= self._last_stream or not stream % 2:
            self._check_known(stream)
            return
        self._last_stream = stream
        if len(self.calls) >= _CALLS:
            self.transport.write(frames.reset(stream, ErrorCode.REFUSED_STREAM))
            return
        call = Call(self, stream, self._initial_window, self._server.limits.request_bytes)
        call.half_closed = end
        self.calls[stream] = call
        self._server.serve(call, headers)

    def refuse(self, call: Call, status: int) -> None:
        """Answer what is no call of gRPC."""
        block, call.closed = frames.http_error(status), True
        flags = frames.END_HEADERS | frames.END_STREAM
        answer = frames.frame(frames.HEADERS, flags, call.stream, block)
        if not call.half_closed:
            answer += frames.reset(call.stream, ErrorCode.NO_ERROR)
        self.transport.write(answer)
        self.ended(call)

    def ended(self, call: Call) -> None:
        """A call is over."""
        self.calls.pop(call.stream, None)
        if not self.calls:
            self.idle_since = self._server.now()
            if self.leaving:
                self.close()

    def answered(self, stream: int, unwanted: Callable[[], None]) -> None:
        """A call has been answered; do this when the client ends it, which says that it has not seen the answer."""
        self._answered[stream] = unwanted
        if len(self._answered) > _ANSWERED:
            self._answered.popitem(last=False)

    # --- Turns to write ---

    async def room(self, call: Call) -> None:
        """Wait until the connection takes bytes, or the call ends; to be awaited by who has the turn."""
        while (self.window <= 0 or self.paused) and not call.closed:
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    def go_on(self) -> None:
        """Let who waits for room look again."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # --- What the server does ---

    @property
    def authenticated(self) -> Mapping[str, list[bytes]]:
        """What TLS has verified of the client, by the names that gRPC gives it in `auth_context`.

        `transport_security_type`, `x509_pem_cert`, `peer_uri` and `peer_dns`; empty in plaintext.
        """
        if self._authenticated is None:
            self._authenticated = _authenticated(self.transport.get_extra_info("ssl_object"))
        return self._authenticated

    def ping(self) -> None:
        """Ask the client whether it is there."""
        self.pinged_at = self._server.now()
        self.transport.write(frames.frame(frames.PING, 0, 0, bytes(8)))

    def leave(self) -> None:
        """Tell the client to open new calls on another connection; this one closes when it has none."""
        if not self.leaving and self.closed_at is None:
            self.leaving = True
            self.transport.write(frames.goaway(frames.LARGEST_WINDOW, ErrorCode.NO_ERROR))
            if not self.calls:
                self.close()

    def close(self, said: str = "") -> None:
        """Close it, whatever is open; what has been written is sent first."""
        if self.closed_at is None:
            for call in self.calls.values():
                call.finish(StatusCode.UNAVAILABLE, said)
            self.transport.write(frames.goaway(self._last_stream, ErrorCode.NO_ERROR, said))
            self._close()

    def _close(self) -> None:
        self._closes()
        self.transport.close()

    def _closes(self) -> None:
        # Nothing is to be written any more: uvloop raises then, and asyncio logs.
        if self.closed_at is None:
            self.closed_at, self._rest = self._server.now(), b""
            calls, self.calls = self.calls, {}
            for call in calls.values():
                call.lost()


def _check(truth: bool, code: ErrorCode, said: str) -> None:
    if not truth:
        raise ConnectionFault(code, said)


def _peer(transport: asyncio.BaseTransport) -> str:
    address = transport.get_extra_info("peername")
    if not isinstance(address, tuple):
        return "unix:"
    host, port = address[:2]
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"


def _authenticated(ssl_object: ssl.SSLObject | None) -> Mapping[str, list[bytes]]:
    if ssl_object is None:
        return {}
    found: dict[str, list[bytes]] = {"transport_security_type": [b"ssl"]}
    encoded = ssl_object.getpeercert(binary_form=True)
    if encoded:
        found["x509_pem_cert"] = [ssl.DER_cert_to_PEM_cert(encoded).encode()]
        shown: dict[str, Any] = ssl_object.getpeercert() or {}
        for kind, name in shown.get("subjectAltName", ()):
            key = {"URI": "peer_uri", "DNS": "peer_dns"}.get(kind)
            if key is not None:
                found.setdefault(key, []).append(name.encode())
    return found
