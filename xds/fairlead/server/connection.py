"""One stream of one client: requests in, responses out."""

import asyncio
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

import structlog

from fairlead.problems import ObjectKey, Position
from fairlead.protocol.delta import DeltaStream
from fairlead.protocol.events import Acknowledged, FaultsFound, Rejected
from fairlead.protocol.sotw import StateOfTheWorldStream
from fairlead.resolve.scope import Proxy
from fairlead.server.convergence import Progress
from fairlead.server.identity import Identity
from fairlead.server.proxies import proxy_of
from fairlead.server.refusals import Refusal
from fairlead.snapshot import types, wire
from fairlead.snapshot.messages import Node, Response
from fairlead.snapshot.table import Snapshot, Variant
from fairlead.status import with_places

log = structlog.get_logger()

CONTROL_PLANE = "fairlead"
"""`control_plane.identifier` of every response."""

Locate = Callable[[ObjectKey], Position | None]

Write = Callable[[int, Callable[[], bytes]], Awaitable[int]]
"""How a response is written: from about how many bytes it has and what encodes it, to how many it had."""

_ANSWERS = (Acknowledged, Rejected)

_LAST_WRITE = 5.0
"""Seconds that a client has to take the response under way when its stream has to end."""

_LOGGED = 10
"""A response of thousands of resources can be refused in words that name none of them."""


class Connection(ABC):
    """One stream of one client, a `Subscriber` of the hub; whoever has the transport reads, and lets it write.

    A request or a change of the tables lets what is due be written, one response at a time. To wait for the write is
    HTTP/2 flow control, so a slow client holds up nobody but itself.
    """

    stream: StateOfTheWorldStream | DeltaStream
    variant: ClassVar[Variant]
    _ids = itertools.count(1)

    def __init__(self, peer: str, progress: Progress, locate: Locate) -> None:
        """`locate` knows where objects are written."""
        self.number = next(self._ids)
        self.progress = progress
        self._locate = locate
        self.peer = peer
        self.node = Node("")
        self.proxy = Proxy()
        self.connected_at = time.monotonic()
        self.snapshot: Snapshot | None = None
        """What is offered; None until there is something to offer."""
        self._reader: asyncio.Task[None] | None = None
        """The task that reads, while it does."""
        self._write: Write | None = None
        self._writer: asyncio.Task[None] | None = None
        """The task that writes what is due, while something is."""
        self._more = False
        """There may be something to write after what is being written."""
        self._deadline: asyncio.TimerHandle | None = None
        self._complete: asyncio.Future[None] | None = None
        """There when the client says no more; done when it has what it asked for."""
        self._end: Exception | None = None

    @abstractmethod
    def _receive(self, data: bytes) -> None: ...

    @abstractmethod
    def _encode(self, response: Response) -> bytes: ...

    # --- What the client says ---

    def open(self, data: bytes, identity: Identity | None = None) -> None:
        """Take in the first request, which says who the client is; raises `ProtocolError` as `receive` does."""
        self.receive(data)
        node = self.stream.node or self.node
        self.proxy = proxy_of(node, delta=self.variant is Variant.DELTA, identity=identity)
        # The metadata have told what they had to, and may be a megabyte.
        self.node = self.stream.node = replace(node, metadata={})
        self.progress.name = self.node.id

    def receive(self, data: bytes) -> None:
        """Take in a request; raises `ProtocolError` when it cannot be understood."""
        self._receive(data)
        for event in self.stream.events():
            if isinstance(event, _ANSWERS):
                self.progress.answered(event)
            elif isinstance(event, FaultsFound) and (refusal := Refusal.of(event.contained)) is not None:
                self._log_refusal(event.type_url, refusal)
        self._stir()

    def _log_refusal(self, type_url: str, refusal: Refusal) -> None:
        objects = with_places(refusal.objects[:_LOGGED], self._locate)
        log.error(
            "a proxy refused resources",
            proxy=self.node.id,
            type=types.SHORT_NAMES[type_url],
            error=refusal.error,
            resources=_shortened(list(refusal.parts[:_LOGGED]), len(refusal.parts)),
            objects=_shortened(objects, len(refusal.objects)),
        )

    # --- What the server says ---

    def offer(self, snapshot: Snapshot) -> None:
        """Serve from this snapshot from now on."""
        if self.snapshot is not None:
            self.progress.concern(due=True)
        self.snapshot = snapshot
        try:
            self.stream.offer(snapshot, time.monotonic())
        except Exception as failure:  # noqa: BLE001  # it ends this stream, and is told there
            self.end(failure)
        self._stir_soon()

    def wake(self) -> None:
        """Tables of the snapshot have changed."""
        try:
            due = self.stream.changed(time.monotonic())
            self.progress.concern(due=due)
            if due:
                self._stir_soon()
        except Exception as failure:  # noqa: BLE001
            self.end(failure)

    def end(self, reason: Exception) -> None:
        """Let `converse` raise that reason, as soon as the response under way has been taken."""
        self._end = reason
        if self._writer is None:
            self._interrupt()

    # --- The transport ---

    async def converse(self, read: Callable[[], Awaitable[object]], write: Write) -> None:
        """Serve the stream until both sides are done; raises why it has to end before.

        Only the reading has a task as long as the stream. Writing has one while something is due.
        """
        self._reader, self._write = asyncio.current_task(), write
        try:
            self._stir()
            while isinstance(data := await read(), bytes):
                self.receive(data)
            self._complete = asyncio.get_running_loop().create_future()
            self._stir()
            await self._complete
        except asyncio.CancelledError:
            assert self._reader is not None
            # Is it `end` that interrupts, and nobody else?
            if self._end is None or self._reader.uncancel():
                raise
        except Exception as failure:  # noqa: BLE001  # it is raised below
            self._end = failure
        finally:
            self._reader = None
            await self._finish()
        if self._end is not None:
            raise self._end

    async def _finish(self) -> None:
        """Let the writing come to its end: after a part of a response, clients take no status."""
        if self._deadline is not None:
            self._deadline.cancel()
        writer = self._writer
        if writer is not None:
            try:
                if self._end is not None:
                    await asyncio.wait((writer,), timeout=_LAST_WRITE)
            finally:  # the client may go meanwhile
                writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self._writer = None  # Python 3.11 never frees a cancelled task that its own frames refer to

    def _stir(self) -> None:
        """Let what is due be written, unless that is under way."""
        if self._writer is not None:
            self._more = True
        elif self._reader is not None:
            if (response := self._due()) is None:
                self._rest()
            else:
                self._writer = asyncio.get_running_loop().create_task(self._write_due(response))

    def _stir_soon(self) -> None:
        """The same, but look only then what is due: when many streams are told at once, the first write is not late."""
        if self._writer is not None:
            self._more = True
        elif self._reader is not None:
            self._writer = asyncio.get_running_loop().create_task(self._write_due(None))

    def _due(self) -> Response | None:
        if self._end is None:
            try:
                response = self.stream.next_response(time.monotonic())
            except Exception as failure:  # noqa: BLE001  # it ends this stream, and is told there
                self._end = failure
            else:
                # Now, for what comes from here on is more, be it before the write has begun.
                self._more = not self.stream.exhausted
                return response
        return None

    async def _write_due(self, response: Response | None) -> None:
        assert self._write is not None
        try:
            response = response or self._due()
            while response is not None:
                began = time.monotonic()
                self.progress.sending(response.type_url, response.nonce, began)
                size = await self._write(response.size, partial(self._encode, response))
                self.progress.counts.sent(response.type_url, size, time.monotonic() - began)
                response = self._due() if self._more else None
        except Exception as failure:  # noqa: BLE001  # it ends this stream, and is told there
            self._end = failure
        self._writer = None
        self._rest()

    def _rest(self) -> None:
        # Nothing is due, or nothing can be sent.
        if self._end is not None:
            self._interrupt()
        elif self._complete is not None and self.snapshot is not None:
            if not self._complete.done():
                self._complete.set_result(None)
        else:
            self._await_deadline()

    def _await_deadline(self) -> None:
        # Then what waited for an acknowledgement waits no longer.
        deadline = self.stream.wake_at
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if deadline is None:
            self.progress.idle()
        else:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(max(0.0, deadline - time.monotonic()), self._stir)

    def _interrupt(self) -> None:
        if self._reader is not None:
            self._reader.cancel()


class StateOfTheWorldConnection(Connection):
    """A stream of the state-of-the-world variant."""

    stream: StateOfTheWorldStream
    variant = Variant.STATE_OF_THE_WORLD

    def __init__(self, peer: str, progress: Progress, locate: Locate, type_url: str) -> None:
        super().__init__(peer, progress, locate)
        self.stream = StateOfTheWorldStream(type_url)

    def _receive(self, data: bytes) -> None:
        request = wire.decode_discovery_request(data)
        self.progress.asked(request.type_url, request.nonce)
        self.stream.receive(request)

    def _encode(self, response: Response) -> bytes:
        return wire.discovery_response(response, CONTROL_PLANE)


class DeltaConnection(Connection):
    """A stream of the incremental variant."""

    stream: DeltaStream
    variant = Variant.DELTA

    def __init__(self, peer: str, progress: Progress, locate: Locate, type_url: str) -> None:
        super().__init__(peer, progress, locate)
        self.stream = DeltaStream(type_url)

    def _receive(self, data: bytes) -> None:
        request = wire.decode_delta_discovery_request(data)
        self.progress.asked(request.type_url, request.nonce)
        self.stream.receive(request)

    def _encode(self, response: Response) -> bytes:
        return wire.delta_discovery_response(response, CONTROL_PLANE)


def _shortened(texts: list[str], number: int) -> list[str]:
    return texts if len(texts) == number else [*texts, f"{number - len(texts)} more"]
