"""Token buckets."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from fairlead.intent import Quota, SchedulingPolicy
from fairlead.runtime.scheduling.clock import Clock

MAX_KEYS = 10_000
"""Values of one label that have buckets; those not used for longest are forgotten."""
_SECOND = 1_000_000_000  # nanoseconds
_EXACT = 1e-9
"""Tokens are added as fractions: so much may be missing of one."""


class Bucket:
    """One bucket. It may owe tokens that somebody waits for, and never holds more than its quota's capacity."""

    __slots__ = ("_available", "_filled")

    def __init__(self, quota: Quota, now: float) -> None:
        self._available = 0.0 if quota.starts_empty else quota.capacity
        self._filled = now

    def take(self, quota: Quota, count: float, longest_wait: float, now: float) -> float:
        """Take tokens, those of the future as well; returns after how many seconds they are there.

        When that is longer than `longest_wait`, nothing is taken.
        """
        self.fill(quota, now)
        wait = self._wait(quota, count - self._available, now)
        if wait <= longest_wait:
            self._available -= count
        return wait

    def fill(self, quota: Quota, now: float) -> None:
        """Add what has come since the last time."""
        interval = quota.interval / _SECOND
        if quota.continuous:
            intervals, self._filled = (now - self._filled) / interval, now
        else:
            intervals = math.floor((now - self._filled) / interval + _EXACT)
            self._filled += intervals * interval
        self.give_back(quota, intervals * quota.fill_amount)

    def give_back(self, quota: Quota, count: float) -> None:
        """Add what was taken for nothing."""
        self._available = min(self._available + count, quota.capacity)

    def _wait(self, quota: Quota, missing: float, now: float) -> float:
        if missing <= _EXACT:
            return 0.0
        if not quota.fill_amount:
            return math.inf
        intervals = missing / quota.fill_amount
        if quota.continuous:
            return intervals * quota.interval / _SECOND
        return self._filled + math.ceil(intervals - _EXACT) * quota.interval / _SECOND - now


class Tokens(Protocol):
    """Buckets by the values of a label."""

    def take(self, key: str, count: float, longest_wait: float, then: Callable[[float], None]) -> None:
        """Take tokens, those of the future as well.

        `then` is told, at once or later, after how many seconds they are there; when that is longer than
        `longest_wait`, nothing was taken.
        """
        ...

    def give_back(self, key: str, count: float) -> None:
        """Add what was taken for nothing."""
        ...

    def configure(self, quota: Quota, max_idle: float) -> None:
        """Go on with another quota; `max_idle` is in seconds."""
        ...


class Buckets(Protocol):
    """Where the buckets of all policies are."""

    def of(self, policy: SchedulingPolicy) -> Tokens:
        """The buckets of a policy that has a quota."""
        ...

    async def close(self) -> None:
        """Let them go."""
        ...


class MemoryBuckets:
    """Buckets of this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def of(self, policy: SchedulingPolicy) -> Tokens:
        """See `Buckets`."""
        assert policy.quota is not None
        return MemoryTokens(policy.quota, policy.max_idle / _SECOND, self._clock)

    async def close(self) -> None:
        """See `Buckets`."""


class MemoryTokens:
    """Buckets of a policy in this process."""

    def __init__(self, quota: Quota, max_idle: float, clock: Clock) -> None:
        self._quota = quota
        self._max_idle = max_idle
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[Bucket, float]] = OrderedDict()
        """With the time when somebody asked last, those asked last at the end."""

    def take(self, key: str, count: float, longest_wait: float, then: Callable[[float], None]) -> None:
        """See `Tokens`."""
        now = self._clock.time()
        then(self._bucket(key, now).take(self._quota, count, longest_wait, now))

    def _bucket(self, key: str, now: float) -> Bucket:
        found, asked = self._buckets.pop(key, (None, now))
        if found is None or now - asked > self._max_idle:
            self._forget(now)
            found = Bucket(self._quota, now)
        self._buckets[key] = found, now
        return found

    def _forget(self, now: float) -> None:
        while self._buckets:
            key, (_, asked) = next(iter(self._buckets.items()))
            if now - asked <= self._max_idle and len(self._buckets) < MAX_KEYS:
                return
            del self._buckets[key]

    def give_back(self, key: str, count: float) -> None:
        """See `Tokens`."""
        if (found := self._buckets.get(key)) is not None:
            found[0].give_back(self._quota, count)

    def configure(self, quota: Quota, max_idle: float) -> None:
        """See `Tokens`: the buckets keep what they hold, as far as there is room."""
        now = self._clock.time()
        for bucket, _ in self._buckets.values():
            bucket.fill(self._quota, now)
            bucket.give_back(quota, 0)
        self._quota, self._max_idle = quota, max_idle
