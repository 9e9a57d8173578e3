"""What happens in a running server, counted: plain numbers, so that streams lose no time; `metrics` shows them.

Nothing is counted by proxy: what there are many of must not make the numbers many.
"""

from collections import Counter
from collections.abc import Iterable

from fairlead.server.histogram import Histogram
from fairlead.snapshot.types import SHORT_NAMES
from fairlead.sources.base import Update

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.5, 1, 3, 5, 10, 20, 30)
"""Those of Istio's, and finer ones before."""
_BYTES = (10_000, 100_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000)

_TRIGGERS = {
    "EndpointSlice": "endpoint",
    "Namespace": "namespace",
    "Secret": "secret",
    "ConfigMap": "secret",
    "ASMCredential": "secret",
    "Service": "service",
    "ServiceEntry": "service",
    "WorkloadEntry": "service",
}
"""Kind -> what a push is said to be triggered by; `config` for all others. The words are Istio's."""


class Counts:
    """Counters since the start of the server, times in seconds, sizes in bytes."""

    def __init__(self) -> None:
        self.pushes = dict.fromkeys(SHORT_NAMES, 0)
        """Responses sent, by type."""
        self.push_bytes = {type_url: Histogram(_BYTES) for type_url in SHORT_NAMES}
        """Their sizes."""
        self.push_seconds = {type_url: Histogram(_SECONDS) for type_url in SHORT_NAMES}
        """From the making of a response to the moment when the transport has taken it."""
        self.queue_seconds = Histogram(_SECONDS)
        """From the moment when tables changed to the first response of a stream that tells about it."""
        self.convergence_seconds = Histogram(_SECONDS)
        """From the moment when a change was noticed to the last acknowledgement of a stream that it concerned."""
        self.rejects = dict.fromkeys(SHORT_NAMES, 0)
        """Responses refused, by type."""
        self.expired_nonces = dict.fromkeys(SHORT_NAMES, 0)
        """Requests that name an older response than the newest, by type."""
        self.internal_errors = 0
        """Streams that ended because of a fault of ours."""
        self.refused_streams: Counter[str] = Counter()
        """Streams that were ended for what their clients did, by reason: a few fixed words."""
        self.triggers: Counter[str] = Counter()
        """Waves, by what they were about."""
        self.updates: Counter[str] = Counter()
        """Changed objects, by what they are."""

    def sent(self, type_url: str, size: int, seconds: float) -> None:
        """A response of `size` bytes was made and handed to the transport within that time."""
        self.pushes[type_url] += 1
        self.push_bytes[type_url].add(size)
        self.push_seconds[type_url].add(seconds)

    def refused_stream(self, reason: str) -> None:
        """A stream was ended for what its client did; `reason` is one of a few words, for it becomes a label."""
        self.refused_streams[reason] += 1

    def wave(self, updates: Iterable[Update], *, proxies: bool) -> None:
        """A wave begins; `proxies`: some have come."""
        triggers = set()
        for update in updates:
            put = Counter(obj.kind for obj in update.put)
            removed = Counter(kind.kind for kind, _ in update.removed)
            for kinds, gone in ((put, False), (removed, True)):
                for kind, number in kinds.items():
                    triggers.add(_TRIGGERS.get(kind, "config"))
                    self.updates[_inbound(kind, removed=gone)] += number
        if proxies:
            triggers.add("proxy")
        self.triggers.update(triggers)


def _inbound(kind: str, *, removed: bool) -> str:
    if kind == "EndpointSlice":
        return "eds"
    if kind == "Service":
        return "svcdelete" if removed else "svc"
    return "config"
