"""A queue in which flows have shares: weighted fair queueing.

The next is the request that would be finished first, if all flows were served at once, each at its own speed.
Time is virtual here: it goes on by what the requests cost that are let go.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
MOST_OF_FLOW = 10_000
MOST = 50_000
"""Requests that wait, of one flow and of all: each takes some kilobytes here, and as many at its proxy."""
_MOST_CREDITS = 10_000
_MOST_LEFTOVERS = 100


class Flow(NamedTuple):
    """Requests that come one after the other."""

    workload: str
    priority: float
    """Flows are served in proportion to it."""
    fairness: str = ""
    """The flows of a workload with different values share what is the workload's."""


@dataclass(eq=False, slots=True)
class Entry(Generic[T]):
    """A request that waits."""

    item: T
    flow: Flow
    tokens: float
    cost: float = 0.0
    """In virtual time; known when it is the first of its flow."""
    waits: bool = True


@dataclass(slots=True)
class _Line(Generic[T]):
    """The requests of a flow."""

    time: float
    """Virtual time at which the last of them was finished."""
    entries: deque[Entry[T]] = field(default_factory=deque)


class FairQueue(Generic[T]):
    """The requests that wait."""

    def __init__(self) -> None:
        self._time = 0.0
        self._lines: dict[Flow, _Line[T]] = {}
        self._waiting = 0
        self._active: dict[str, int] = {}
        """Workload -> how many flows it has."""
        self._first: list[tuple[float, int, Entry[T]]] = []
        """A heap of the first of each flow, by the virtual time at which it would be finished; and of some that
        wait no longer."""
        self._added = 0
        self._credits: dict[Flow, float] = {}
        """Flow that nobody waits in any more -> the time that its first had waited for nothing."""

    def __iter__(self) -> Iterator[Entry[T]]:
        """All that wait, in no order that means anything."""
        return (entry for line in self._lines.values() for entry in line.entries)

    def has_room(self, flow: Flow) -> bool:
        """Whether one more request may wait."""
        line = self._lines.get(flow)
        return self._waiting < MOST and (line is None or len(line.entries) < MOST_OF_FLOW)

    def add(self, item: T, flow: Flow, tokens: float) -> Entry[T]:
        """Let a request wait."""
        entry = Entry(item, flow, tokens)
        line = self._lines.get(flow)
        if line is None:
            # What waited before, and went, has not been paid for: without its credit a flow whose requests give up
            # before their turn would never get its share.
            line = self._lines[flow] = _Line(self._time - self._credits.pop(flow, 0.0))
            self._active[flow.workload] = self._active.get(flow.workload, 0) + 1
        line.entries.append(entry)
        self._waiting += 1
        if len(line.entries) == 1:
            self._lead(line, entry)
        return entry

    def _lead(self, line: _Line[T], entry: Entry[T]) -> None:
        entry.cost = entry.tokens / entry.flow.priority * self._active[entry.flow.workload]
        self._added += 1
        if len(self._first) > 2 * len(self._lines) + _MOST_LEFTOVERS:
            self._first = [item for item in self._first if item[2].waits]
            heapq.heapify(self._first)
        heapq.heappush(self._first, (line.time + entry.cost, self._added, entry))

    def first(self) -> Entry[T] | None:
        """The next to be let go."""
        while self._first:
            entry = self._first[0][2]
            if entry.waits:
                return entry
            heapq.heappop(self._first)
        return None

    def pay(self, entry: Entry[T]) -> None:
        """Let the first of a flow go: it has had what it waited for."""
        line = self._lines[entry.flow]
        line.time += entry.cost
        self._time = max(self._time, line.time)
        self._remove(line, entry)

    def leave(self, entry: Entry[T]) -> None:
        """Let one go that has had nothing."""
        if entry.waits:
            self._remove(self._lines[entry.flow], entry)

    def _remove(self, line: _Line[T], entry: Entry[T]) -> None:
        entry.waits = False
        self._waiting -= 1
        entries = line.entries
        if entries[0] is not entry:
            entries.remove(entry)
        else:
            entries.popleft()
            if entries:
                self._lead(line, entries[0])
        if not entries:
            self._close(line, entry.flow)

    def _close(self, line: _Line[T], flow: Flow) -> None:
        del self._lines[flow]
        self._active[flow.workload] -= 1
        if not self._active[flow.workload]:
            del self._active[flow.workload]
        if not self._lines:  # without shortage nobody owes anybody anything
            self._time = 0.0
            self._credits.clear()
            self._first.clear()
        elif line.time < self._time and len(self._credits) < _MOST_CREDITS:
            self._credits[flow] = self._time - line.time
