"""One stream of one client: requests in, responses out."""

import asyncio
import contextlib
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import ClassVar

import structlog

from fairlead.problems import ObjectKey, Position
from fairlead.protocol.delta import DeltaStream
from fairlead.protocol.events import Acknowledged, Rejected
from fairlead.protocol.sotw import StateOfTheWorldStream
from fairlead.resolve.scope import Proxy
from fairlead.server.convergence import Progress
from fairlead.server.identity import Identity
from fairlead.server.proxies import proxy_of
from fairlead.server.refusals import Refusal, Refusals
from fairlead.snapshot import types, wire
from fairlead.snapshot.messages import Node, Response
from fairlead.snapshot.table import Snapshot, Variant
from fairlead.status import with_places

log = structlog.get_logger()

CONTROL_PLANE = "fairlead"
"""`control_plane.identifier` of every response."""

Locate = Callable[[ObjectKey], Position | None]

_OBJECTS_LOGGED = 10
"""A response of thousands of resources can be refused in words that name none of them."""


class Connection(ABC):
    """One stream of one client, a `Subscriber` of the hub; whoever has the transport reads, and lets it write.

    The writer sleeps until a request or a change of the tables wakes it, then sends what is due, one response at a
    time. To wait for `send` is HTTP/2 flow control, so a slow client holds up nobody but itself.
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
        self.refusals = Refusals()
        self._woken = asyncio.Event()
        self._complete = False
        self._end: Exception | None = None

    @abstractmethod
    def _receive(self, data: bytes) -> None: ...

    @abstractmethod
    def _encode(self, response: Response) -> bytes: ...

    # --- What the client says ---

    def open(self, data: bytes, identity: Identity | None = None) -> None:
        """Take in the first request, which says who the client is; raises `ProtocolError` as `receive` does."""
        self.receive(data)
        self.node = self.stream.node or self.node
        self.proxy = proxy_of(self.node, delta=self.variant is Variant.DELTA, identity=identity)
        self.progress.name = self.node.id

    def receive(self, data: bytes) -> None:
        """Take in a request; raises `ProtocolError` when it cannot be understood."""
        self._receive(data)
        for event in self.stream.events():
            self.refusals.note(event)
            if isinstance(event, Acknowledged | Rejected):
                self.progress.answered(event)
            if isinstance(event, Rejected):
                self._log_refusal(event)
        self._woken.set()

    def _log_refusal(self, event: Rejected) -> None:
        refusal = Refusal.of(event)
        keys = refusal.objects
        objects = with_places(keys[:_OBJECTS_LOGGED], self._locate)
        if len(keys) > _OBJECTS_LOGGED:
            objects.append(f"{len(keys) - _OBJECTS_LOGGED} more")
        log.error(
            "a proxy refused resources",
            proxy=self.node.id,
            type=types.SHORT_NAMES[event.type_url],
            error=refusal.error,
            objects=objects,
        )

    def complete(self) -> None:
        """The client says no more, but may still listen: `write` returns when it has what it asked for."""
        self._complete = True
        self._woken.set()

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
        self._woken.set()

    def wake(self) -> None:
        """Tables of the snapshot have changed."""
        try:
            due = self.stream.changed(time.monotonic())
            self.progress.concern(due=due)
            if due:
                self._woken.set()
        except Exception as failure:  # noqa: BLE001
            self.end(failure)

    def end(self, reason: Exception) -> None:
        """Let `write` raise that reason."""
        self._end = reason
        self._woken.set()

    async def write(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what is due, until the stream is complete or has to end."""
        while True:
            self._woken.clear()
            while self._end is None and (response := self.stream.next_response(began := time.monotonic())) is not None:
                data = self._encode(response)
                self.progress.sending(response.type_url, response.nonce, began)
                await send(data)
                self.progress.counts.sent(response.type_url, len(data), time.monotonic() - began)
            if self._end is not None:
                raise self._end
            if self._complete and self.snapshot is not None:
                return
            deadline = self.stream.wake_at
            if deadline is None:
                self.progress.idle()
            # At the deadline, what waited for an acknowledgement waits no longer.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    await self._woken.wait()


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
