"""One gRPC call, as its server has it (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from fairlead.http2 import frames
from fairlead.http2.frames import ConnectionFault, ErrorCode, StatusCode

if TYPE_CHECKING:
    from fairlead.http2.connection import Http2Connection

RECEIVED_AHEAD = 1 << 20
"""Bytes that a client may send before they are read (the window of a stream)."""

_TURN = 1 << 18
"""Bytes of a message after which other calls of the connection have their turn."""

_PREFIX = frames.MESSAGE_PREFIX.size


class Aborted(Exception):  # noqa: N818  # it is a decision
    """A call ends with a status that has been chosen."""

    def __init__(self, code: StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Call:
    """A call: what its client has sent, and what it is sent.

    What is written after the client has gone is lost; the task that serves the call is cancelled then.
    """

    __slots__ = (
        "_blocked",
        "_credit",
        "_headers_sent",
        "_limit",
        "_messages",
        "_partial",
        "_waiter",
        "_writing",
        "closed",
        "connection",
        "half_closed",
        "stream",
        "task",
        "window",
    )

    def __init__(self, connection: Http2Connection, stream: int, window: int, limit: int) -> None:
        """`window`: bytes that may be sent; `limit`: bytes of the largest message that is taken in."""
        self.stream = stream
        self.window = window
        self.task: asyncio.Task[None] | None = None
        """What serves the call."""
        self.half_closed = False
        """The client sends nothing more."""
        self.closed = False
        """Nothing can be sent any more."""
        self.connection = connection
        self._limit = limit
        self._messages: deque[bytes] = deque()
        self._partial = bytearray()
        self._credit = 0
        """Bytes that have been taken in, and that the client has not been told that it may send again."""
        self._waiter: asyncio.Future[None] | None = None
        self._blocked: asyncio.Future[None] | None = None
        """There while a write waits for the window of the stream."""
        self._headers_sent = False
        self._writing = False
        """A message has been sent in part."""

    # --- Who calls ---

    def peer(self) -> str:
        """The client's address as gRPC writes it, such as `ipv4:127.0.0.1:40000`."""
        return self.connection.peer

    def auth_context(self) -> Mapping[str, list[bytes]]:
        """What has been verified of the client, by gRPC's names: see `connection.authenticated`."""
        return self.connection.authenticated

    # --- What the client says ---

    async def read(self) -> bytes | None:
        """The next message; None when the client says no more. To be awaited by one task at a time."""
        while not self._messages:
            if self.half_closed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = self._messages.popleft()
        self._give_credit()
        return message

    def received(self, data: bytes, *, size: int, end: bool) -> None:
        """Take in what a DATA frame of that size brings; raises `Aborted` when it cannot be taken in.

        Raises `ConnectionFault` when the client sends more than it was told that it may.
        """
        self._credit += size
        if self._credit > RECEIVED_AHEAD:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more was sent than the window of a stream allows")
        self.half_closed = end
        partial = self._partial
        if partial or len(data) < _PREFIX or len(data) != _PREFIX + int.from_bytes(data[1:_PREFIX], "big") or data[0]:
            partial += data
            while (message := self._next_message()) is not None:
                self._messages.append(message)
        else:
            self._messages.append(data[_PREFIX:])
        if not self._messages:
            self._give_credit()  # the message under way may be larger than the window
        if self._waiter is not None and not self._waiter.done() and (self._messages or end):
            self._waiter.set_result(None)

    def _next_message(self) -> bytes | None:
        partial = self._partial
        if len(partial) < _PREFIX:
            return None
        compressed, length = frames.MESSAGE_PREFIX.unpack_from(partial)
        if compressed:
            raise Aborted(StatusCode.UNIMPLEMENTED, "compressed messages are not understood")
        if length > self._limit:
            raise Aborted(
                StatusCode.RESOURCE_EXHAUSTED, f"Received message larger than max ({length} vs. {self._limit})"
            )
        if len(partial) < _PREFIX + length:
            return None
        message = bytes(memoryview(partial)[_PREFIX : _PREFIX + length])
        del partial[: _PREFIX + length]
        return message

    def _give_credit(self) -> None:
        if self._credit >= RECEIVED_AHEAD // 2 and not self._messages and not self.half_closed and not self.closed:
            self.connection.transport.write(frames.window_update(self.stream, self._credit))
            self._credit = 0

    # --- What the client is told ---

    async def write(self, message: bytes) -> None:
        """Send a message; waits until the connection has taken it, which the client's windows decide."""
        if self.closed:
            return
        connection, length = self.connection, len(message)
        size = _PREFIX + length
        headers = b""
        if not self._headers_sent:
            self._headers_sent = True
            headers = frames.frame(frames.HEADERS, frames.END_HEADERS, self.stream, frames.RESPONSE_HEADERS)
        prefix = frames.MESSAGE_PREFIX.pack(0, length)
        if self._fits(size):
            self.window -= size
            connection.window -= size
            head = frames.FRAME_HEADER.pack(size >> 8, size & 0xFF, frames.DATA, 0, self.stream)
            connection.transport.write(b"".join((headers, head, prefix, message)))
            return
        if headers:
            connection.transport.write(headers)
        await self._write_in_parts(memoryview(prefix + message))

    async def answer(self, message: bytes) -> None:
        """Send the only message, and the end of the call with it if there is room for both at once."""
        size = _PREFIX + len(message)
        if self._headers_sent or self.closed or not self.half_closed or not self._fits(size):
            await self.write(message)
            return
        self.closed = True
        self.window -= size
        self.connection.window -= size
        parts = (
            frames.frame(frames.HEADERS, frames.END_HEADERS, self.stream, frames.RESPONSE_HEADERS),
            frames.frame(frames.DATA, 0, self.stream, frames.MESSAGE_PREFIX.pack(0, len(message)) + message),
            frames.frame(
                frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, self.stream, frames.trailers(StatusCode.OK, "")
            ),
        )
        self.connection.transport.write(b"".join(parts))

    def _fits(self, size: int) -> bool:
        """Whether so many bytes can be sent at once."""
        connection = self.connection
        return (
            size <= frames.FRAME_BYTES
            and size <= self.window
            and size <= connection.window
            and not connection.paused
            and not connection.turns.locked()
        )

    async def _write_in_parts(self, data: memoryview) -> None:
        connection = self.connection
        while data and not self.closed:
            if self.window <= 0:
                await self._until_its_window_grows()
                continue
            async with connection.turns:
                await connection.room(self)
                data = self._write_some(data)
            await asyncio.sleep(0)
        self._writing = False

    def _write_some(self, data: memoryview) -> memoryview:
        # One turn; gives what is left.
        connection, turn = self.connection, _TURN
        while turn > 0 and not self.closed and not connection.paused:
            size = min(len(data), self.window, connection.window, frames.FRAME_BYTES)
            if size <= 0:
                break
            self._writing = True
            self.window -= size
            connection.window -= size
            head = frames.FRAME_HEADER.pack(size >> 8, size & 0xFF, frames.DATA, 0, self.stream)
            connection.transport.write(head + data[:size])
            data = data[size:]
            turn -= size
        return data

    async def _until_its_window_grows(self) -> None:
        self._blocked = asyncio.get_running_loop().create_future()
        try:
            await self._blocked
        finally:
            self._blocked = None

    def go_on(self) -> None:
        """The window may have grown, or the call has ended."""
        if self._blocked is not None and not self._blocked.done():
            self._blocked.set_result(None)

    async def abort(self, code: StatusCode, details: str = "") -> NoReturn:
        """End the call with that status; raises what lets the server know."""
        raise Aborted(code, details)

    def finish(self, code: StatusCode, details: str) -> None:
        """Tell the client the status, as far as that is possible."""
        if self.closed:
            return
        self.closed = True
        if self._writing:  # after a part of a message, clients take no status
            is_limit = code is StatusCode.RESOURCE_EXHAUSTED
            error = ErrorCode.ENHANCE_YOUR_CALM if is_limit else ErrorCode.CANCEL
            self.connection.transport.write(frames.reset(self.stream, error))
            return
        block = frames.trailers(code, details)
        if not self._headers_sent:
            block = frames.RESPONSE_HEADERS + block
        end = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, self.stream, block)
        if not self.half_closed:
            end += frames.reset(self.stream, ErrorCode.NO_ERROR)
        self.connection.transport.write(end)

    def lost(self) -> None:
        """The client has gone, or has ended the call."""
        self.closed = True
        self.go_on()  # who writes need not be the task that is cancelled
        self.connection.go_on()
        if self.task is not None:
            self.task.cancel()
            self.task = None  # one that is cancelled before it has begun never runs
