"""Histograms that cost a fraction of a microsecond to add to; `metrics` shows them when it is asked."""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """How often a value was at most each of some bounds, and the sum of all values."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` in ascending order; values above the last one are counted too."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """Of values above the bound before, and at most this one."""
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def __len__(self) -> int:
        """How many values there were."""
        return sum(self.counts)
