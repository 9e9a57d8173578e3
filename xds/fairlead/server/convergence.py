"""How long changes take to reach proxies, measured to their acknowledgement.

A change is a wave of the hub that some stream has to be told of. It has reached a stream when the stream has
acknowledged all that it was sent, and nothing is left to send: the acknowledgement of the last response counts. While
changes come faster than a stream acknowledges, they count as one that began with the first of them.

Of the last change everything is known; of those before it a histogram remains. A stream that is in step costs a few
references, and an acknowledgement about half a microsecond.
"""

import contextlib
import statistics
import time
from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from fairlead.protocol.events import Acknowledged, Rejected
from fairlead.server.counts import Counts
from fairlead.snapshot.types import SHORT_NAMES
from fairlead.status import ChangeStatus, ReachStatus

_WAITING_SHOWN = 10


class _Change:
    """The last change, and who has acknowledged it; times are those of `time.monotonic`."""

    __slots__ = ("acknowledged", "noticed", "published", "refused", "types", "waiting")

    def __init__(self, noticed: float) -> None:
        self.noticed = noticed
        self.published = time.monotonic()
        self.waiting: set[Progress] = set()
        self.acknowledged = array("d")
        """When the streams had all of it, in seconds since it was noticed."""
        self.types = {type_url: array("d") for type_url in SHORT_NAMES}
        """The same, when they had all of one type."""
        self.refused = 0


class Convergence:
    """The changes of one server."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._last: _Change | None = None
        self._noticed: float | None = None

    @contextlib.contextmanager
    def publishing(self, noticed: float | None) -> Iterator[None]:
        """Streams that are woken meanwhile are to be told of a change that was noticed then.

        None: of no change; streams have come, which are told what there is.
        """
        before = self._last
        self._noticed = noticed
        try:
            yield
        finally:
            self._noticed = None
            if before is not None and before is not self._last:
                before.waiting.clear()

    def present(self) -> _Change | None:
        """The change that is being published, which becomes the last one when a stream has to be told of it."""
        if self._noticed is None:
            return None
        if self._last is None or self._last.noticed != self._noticed:
            self._last = _Change(self._noticed)
        return self._last

    def last_change(self) -> ChangeStatus | None:
        """The last change that a proxy had to be told of; None when there was none."""
        change = self._last
        if change is None:
            return None
        age = time.monotonic() - change.noticed
        waiting = sorted(change.waiting, key=lambda progress: progress.name)
        return ChangeStatus(
            at=datetime.fromtimestamp(time.time() - age, UTC).isoformat(timespec="milliseconds"),
            seconds_ago=round(age, 3),
            published_ms=_milliseconds(change.published - change.noticed),
            proxies=len(change.acknowledged) + change.refused + len(waiting),
            refused=change.refused,
            waiting=len(waiting),
            waiting_for=tuple(progress.name for progress in waiting[:_WAITING_SHOWN]),
            overall=_reach(change.acknowledged),
            types={SHORT_NAMES[type_url]: _reach(times) for type_url, times in change.types.items() if times},
        )


class Progress:
    """How far one stream is; its connection tells what happens."""

    __slots__ = (
        "_acknowledged",
        "_change",
        "_convergence",
        "_in_flight",
        "_nonces",
        "_noticed",
        "_queued",
        "_refused",
        "answered_at",
        "name",
        "refused_types",
    )

    def __init__(self, convergence: Convergence) -> None:
        self.name = ""
        """Of the proxy, for people."""
        self.refused_types: frozenset[str] = frozenset()
        """Of which it has refused something at any time."""
        self.answered_at: dict[str, float] = {}
        """When it has answered last, by type: a time of `time.monotonic`."""
        self._convergence = convergence
        self._in_flight: dict[str, float] = {}
        """Types of which a response has not been answered -> when that was made."""
        self._nonces: dict[str, str] = {}
        """Of the newest response, by type."""
        self._change: _Change | None = None
        """The newest that the stream has to be told of, until it has everything."""
        self._noticed = 0.0
        """When the first change was noticed since the stream had everything."""
        self._acknowledged: dict[str, float] | None = None
        """What it was sent because of the change: type -> when the last response was answered. None: no change."""
        self._refused = False
        self._queued = False
        """It has to be told of the change, and nothing has been sent yet."""

    @property
    def counts(self) -> Counts:
        """Where is counted what happens on the stream."""
        return self._convergence.counts

    def concern(self, *, due: bool) -> None:
        """The tables have changed; `due`: there may be something to send at once."""
        change = self._convergence.present()
        if change is None or not (due or self._in_flight):
            return
        if self._change is None:
            self._noticed = change.noticed
        self._change = change
        self._refused, self._queued = False, True
        self._acknowledged = {}
        change.waiting.add(self)

    def sending(self, type_url: str, nonce: str, began: float) -> None:
        """A response is about to be handed to the transport; its making `began` at that time.

        It may well be answered before the transport says that it has taken it.
        """
        if self._queued and self._change is not None:
            self._queued = False
            self.counts.queue_seconds.add(began - self._change.published)
        self._in_flight[type_url] = began
        self._nonces[type_url] = nonce

    def asked(self, type_url: str, nonce: str) -> None:
        """A request that answers the response of that nonce, if one is named, is about to be taken in."""
        if nonce and self._nonces.get(type_url, nonce) != nonce:
            self.counts.expired_nonces[type_url] += 1

    def answered(self, event: Acknowledged | Rejected) -> None:
        """The newest response of a type was acknowledged or refused."""
        type_url, refused = event.type_url, isinstance(event, Rejected)
        began = self._in_flight.pop(type_url, 0.0)
        if refused:
            self.counts.rejects[type_url] += 1
            self.refused_types |= {type_url}
        now = self.answered_at[type_url] = time.monotonic()
        if self._change is not None and self._acknowledged is not None and began >= self._change.published:
            self._acknowledged[type_url] = now
            self._refused |= refused

    def idle(self) -> None:
        """There is nothing to send for now, and nothing that waits for acknowledgements of other types."""
        change = self._change
        if change is None or self._in_flight:
            return
        acknowledged, self._acknowledged, self._change = self._acknowledged, None, None
        change.waiting.discard(self)
        if not acknowledged:
            return  # the change was none for this stream
        if self._refused:
            change.refused += 1
            return
        last = max(acknowledged.values())
        self.counts.convergence_seconds.add(last - self._noticed)
        change.acknowledged.append(last - change.noticed)
        for type_url, at in acknowledged.items():
            change.types[type_url].append(at - change.noticed)

    def leave(self) -> None:
        """The stream has ended."""
        if self._change is not None:
            self._change.waiting.discard(self)
            self._change = None


def _reach(seconds: Sequence[float]) -> ReachStatus:
    if not seconds:
        return ReachStatus(0, None, None, None)
    first, median, last = min(seconds), statistics.median(seconds), max(seconds)
    return ReachStatus(len(seconds), _milliseconds(first), _milliseconds(median), _milliseconds(last))


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
