"""Places of requests that are under way."""

from collections import OrderedDict
from collections.abc import Callable

from fairlead.intent import Concurrency
from fairlead.runtime.scheduling.clock import Clock, Timer

_SECOND = 1_000_000_000  # nanoseconds


class Slots:
    """The places for one value of a label."""

    def __init__(self, concurrency: Concurrency, registry: dict[str, "Slots"], on_free: Callable[[], None]) -> None:
        """`registry`: where the owner of each place is found, of all policies; `on_free` is told of free ones."""
        self.concurrency = concurrency
        self._registry = registry
        self._on_free = on_free
        self._used = 0.0
        self._taken: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Name -> how much it takes, and when it was taken; the oldest first."""
        self._timer: Timer | None = None

    def configure(self, concurrency: Concurrency) -> None:
        """Go on with another size and time."""
        self.concurrency = concurrency
        if self._timer is not None:  # places may be free sooner now
            self._timer.cancel()
            self._timer = None

    def take(self, name: str, count: float, now: float) -> bool:
        """Take places, under a name; says whether there were enough of them. None waits for more than there are."""
        size = self.concurrency.size
        self._expire(now)
        if self._used + min(count, size) > size:
            return False
        self._used += count
        self._taken[name] = count, now
        self._registry[name] = self
        return True

    def release(self, name: str) -> None:
        """Give the places of a name back; those that were given back already stay so."""
        if self._forget(name):
            self._on_free()

    def _forget(self, name: str) -> bool:
        count, _ = self._taken.pop(name, (0.0, 0.0))
        self._used = self._used - count if self._taken else 0.0
        return self._registry.pop(name, None) is not None

    def _expire(self, now: float) -> None:
        while self._taken and self._end() <= now:
            self._forget(next(iter(self._taken)))

    def _end(self) -> float:
        _, taken = next(iter(self._taken.values()))
        return taken + self.concurrency.max_inflight / _SECOND

    def tell_of_the_next_end(self, clock: Clock) -> None:
        """Tell when the oldest place counts as free, unless it is given back before that."""
        if self._timer is None and self._taken:
            self._timer = clock.call_at(self._end(), self._end_of_oldest)

    def _end_of_oldest(self) -> None:
        self._timer = None
        self._on_free()

    @property
    def is_idle(self) -> bool:
        """Whether all places are free, as far as is known."""
        return not self._taken
