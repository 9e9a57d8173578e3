"""How many requests there were in a window of time."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec
import xxhash

Entries = tuple[tuple[str, str], ...]
"""Keys and values of a descriptor."""

_MOST_VALUES = 100_000
"""Counters of values that requests bring, for each length of windows; a proxy may pass on what anybody writes."""


class Hit(NamedTuple):
    """Requests that are to be counted."""

    domain: str
    entries: Entries
    of_value: bool
    """Part of the entries is what a request has brought: there may be any number of such counters."""
    window: int
    """Length in seconds."""
    number: int


def identity(hit: Hit) -> bytes:
    """What tells a counter from others, and is short however long the values are that requests bring."""
    return xxhash.xxh3_128_digest(msgspec.msgpack.encode((hit.domain, hit.entries)))


class CountersUnavailableError(Exception):
    """Requests cannot be counted now."""


class Counters(Protocol):
    """Where requests are counted. Windows begin at whole multiples of their length since 1970."""

    @property
    def available(self) -> bool:
        """False after a failure, until something could be counted again."""
        ...

    async def add(self, hits: Sequence[Hit], now: float) -> list[int]:
        """Count them; gives for each the number in the window of `now`, in seconds since 1970, with its own.

        Raises `CountersUnavailableError`.
        """
        ...

    async def close(self) -> None:
        """Nothing more is counted."""
        ...


def window_start(window: int, now: float) -> int:
    """When the window of this length began that `now` is in."""
    return int(now // window) * window


class _Window:
    """The counters of the present window of one length."""

    __slots__ = ("counts", "counts_of_values", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.counts: dict[tuple[str, Entries], int] = {}
        self.counts_of_values: OrderedDict[bytes, int] = OrderedDict()  # which finds its oldest at once


class MemoryCounters:
    """Counters of one process. Those of a window that is over are forgotten."""

    available = True

    def __init__(self, most_values: int = _MOST_VALUES) -> None:
        """`most_values`: when there are more counters of values, the oldest of the window begin anew."""
        self._most_values = most_values
        self._windows: dict[int, _Window] = {}

    async def add(self, hits: Sequence[Hit], now: float) -> list[int]:
        """As `Counters` says; at once, and it never fails."""
        return [self._add(hit, now) for hit in hits]

    def _add(self, hit: Hit, now: float) -> int:
        start = window_start(hit.window, now)
        window = self._windows.get(hit.window)
        if window is None or window.start != start:
            window = self._windows[hit.window] = _Window(start)
        if not hit.of_value:
            key = (hit.domain, hit.entries)
            found = window.counts[key] = window.counts.get(key, 0) + hit.number
            return found
        counts, own = window.counts_of_values, identity(hit)
        if own not in counts and len(counts) >= self._most_values:
            counts.popitem(last=False)
        found = counts[own] = counts.get(own, 0) + hit.number
        return found

    def __len__(self) -> int:
        """The number of counters."""
        return sum(len(window.counts) + len(window.counts_of_values) for window in self._windows.values())

    async def close(self) -> None:
        """There is nothing to close."""
