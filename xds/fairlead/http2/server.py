"""A gRPC server: it listens, hands each call to who serves it, and looks after connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from fairlead.http2.call import Aborted, Call
from fairlead.http2.connection import Http2Connection
from fairlead.http2.frames import Headers, StatusCode

log = structlog.get_logger()

Handler = Callable[[Call], Awaitable[None]]
"""Serves a call; when it returns, the call has ended well."""

_GLANCE = 1.0
"""Seconds between looks at connections."""

_BACKLOG = 4096
"""Connections that wait to be accepted: a fleet comes back at once."""

_TIMEOUT_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LONGEST_TIMEOUT = 1e8


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What connections may cost. Times are in seconds."""

    handshake_within: float
    """From a connection's beginning until TLS and HTTP/2 are spoken on it, each."""
    idle: float
    """How long a connection may be without a call."""
    age: float
    """After that time, a tenth more or less, clients are told to connect anew."""
    end: float
    """How long the calls of a connection of that age go on at most."""
    ping_after: float
    """A client that has said nothing for that long is asked whether it is there."""
    pong_within: float
    """It has to answer within that time."""
    request_bytes: int
    """Size of the largest message of a client."""
    strains_per_second: float
    """So much of what costs us more than the client is allowed as a connection grows old, beside what is at once: calls
    that are reset, for example. It may be of a proxy that has others behind it, which come and go."""


class GrpcServer:
    """The server; `handlers` are by path, `/<service>/<method>`, and each has a task for each call."""

    def __init__(self, handlers: Mapping[str, Handler], limits: Limits, broken: Callable[[str, str], None]) -> None:
        """`broken` is told of clients that break the protocol: their address, and what they did."""
        self.limits = limits
        self.broken = broken
        self.connections: set[Http2Connection] = set()
        self.now = time.monotonic
        self._handlers = {path.encode(): handler for path, handler in handlers.items()}
        self._listeners: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None

    # --- Listening ---

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None, *, reuse_port: bool) -> int:
        """Listen on all addresses of the host; returns the port. Raises `OSError`."""
        loop, found = asyncio.get_running_loop(), 0
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(addresses):
            bound = socket.create_server(
                (address[0], found or port), family=family, backlog=_BACKLOG, reuse_port=reuse_port
            )
            found = bound.getsockname()[1]
            await self.serve_on(bound, tls)
        return found

    async def listen_on(self, path: Path) -> None:
        """Listen on a unix socket, in plaintext. Raises `OSError`."""
        bound = socket.socket(socket.AF_UNIX)
        try:
            bound.bind(str(path))
        except OSError:
            bound.close()
            raise
        await self.serve_on(bound, None)

    async def serve_on(self, bound: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Listen on a socket that is bound to an address. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        within = None if tls is None else self.limits.handshake_within
        listener = await loop.create_server(
            lambda: Http2Connection(self), sock=bound, ssl=tls, ssl_handshake_timeout=within, backlog=_BACKLOG
        )
        self._listeners.append(listener)
        self._looking = self._looking or asyncio.create_task(self._look_after_connections())

    # --- Calls ---

    def serve(self, call: Call, headers: Headers) -> None:
        """Begin to serve a call with these headers."""
        if headers.get(b":method") != b"POST":
            call.connection.refuse(call, 405)
        elif not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            call.connection.refuse(call, 415)
        else:
            handler = self._handlers.get(headers.get(b":path", b""), _unknown)
            call.task = asyncio.create_task(self._run(call, handler, _seconds(headers.get(b"grpc-timeout"))))
            self._tasks.add(call.task)
            call.task.add_done_callback(self._tasks.discard)  # it may be cancelled before `_run` has begun

    async def _run(self, call: Call, handler: Handler, within: float | None) -> None:
        code, details = StatusCode.OK, ""
        try:
            if within is None:
                await handler(call)
            else:
                async with asyncio.timeout(within):
                    await handler(call)
        except Aborted as reason:
            code, details = reason.code, reason.details
        except TimeoutError:
            code, details = StatusCode.DEADLINE_EXCEEDED, "the time that the client gave is over"
        except asyncio.CancelledError:
            code, details = StatusCode.UNAVAILABLE, "the server stops"
        except Exception:
            log.exception("a call failed", peer=call.peer())
            code, details = StatusCode.INTERNAL, "the server failed; its log says why"
        finally:
            call.finish(code, details)
            call.connection.ended(call)
            call.task = None  # Python 3.11 never frees a cancelled task that its own frames refer to

    # --- Connections ---

    async def _look_after_connections(self) -> None:
        while True:
            await asyncio.sleep(_GLANCE)
            for connection in list(self.connections):
                self._look_after(connection, self.now())

    def _look_after(self, connection: Http2Connection, now: float) -> None:
        limits, quiet = self.limits, now - connection.heard_at
        if connection.closed_at is not None:
            if now - connection.closed_at > limits.pong_within:
                connection.transport.abort()
        elif not connection.greeted:
            if now - connection.since > limits.handshake_within:
                connection.transport.abort()
        elif connection.pinged_at is not None:
            if now - connection.pinged_at > limits.pong_within:
                self.broken(
                    connection.peer, f"the client has not answered a ping within {limits.pong_within:g} seconds"
                )
                connection.transport.abort()
        elif not connection.calls and now - connection.idle_since > limits.idle:
            connection.leave()
        elif now - connection.since > connection.age + limits.end:
            connection.close("the connection is too old; connect anew")
        elif now - connection.since > connection.age:
            connection.leave()
        elif quiet > limits.ping_after:
            connection.ping()

    async def stop(self, seconds: float) -> None:
        """Take no new connections, tell clients to go elsewhere, and end what is open after that time at the latest."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.leave()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        for connection in list(self.connections):
            connection.close("the server stops")
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        await asyncio.sleep(0)  # uvloop sends what is written at the end of a turn
        for connection in list(self.connections):
            connection.transport.abort()
        if self._looking is not None:
            self._looking.cancel()


async def _unknown(call: Call) -> None:
    await call.abort(StatusCode.UNIMPLEMENTED, "there is no such method")


def _seconds(timeout: bytes | None) -> float | None:
    """What `grpc-timeout` says; None: nothing that could be understood."""
    if not timeout or timeout[-1:] not in _TIMEOUT_UNITS or not timeout[:-1].isdigit():
        return None
    return min(int(timeout[:-1][:8]) * _TIMEOUT_UNITS[timeout[-1:]], _LONGEST_TIMEOUT)
