"""Time that goes on when a test says so."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class VirtualTimer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """What `fairlead.runtime.scheduling.clock.Clock` asks for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._numbers = itertools.count()
        self._calls: list[tuple[float, int, VirtualTimer, Callable[..., object], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., object], /, *args: Any) -> VirtualTimer:
        timer = VirtualTimer()
        heapq.heappush(self._calls, (max(when, self.now), next(self._numbers), timer, callback, args))
        return timer

    def advance(self, seconds: float) -> None:
        """Let that much time pass, and make the calls that are due in it."""
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, _, timer, callback, arguments = heapq.heappop(self._calls)
            if not timer.cancelled:
                callback(*arguments)
        self.now = end
