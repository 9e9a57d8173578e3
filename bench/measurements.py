"""What a benchmark gives, and the table that shows it."""

import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_MEMORY = Path("/dev/shm")


@dataclass
class Series:
    """Durations of one thing, in seconds, done again and again."""

    what: str
    protocol: str = ""
    floor: "Series | None" = None
    """What nobody can beat on this machine, measured in the same run: ratios are to its median."""
    seconds: list[float] = field(default_factory=list)

    @contextmanager
    def once(self) -> Iterator[None]:
        """Measure the body."""
        started = time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - started)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p99(self) -> float:
        """The smallest value that 99 % do not exceed: of fewer than 100 values the largest."""
        return sorted(self.seconds)[math.ceil(0.99 * len(self.seconds)) - 1]


@dataclass
class Figure:
    """One number: what something takes of the machine."""

    what: str
    unit: str
    floor: "Figure | None" = None
    """What the least takes that could do the same."""
    value: float = 0.0


Row = Series | Figure


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A disk that flushes a file when it replaces another one would add milliseconds of its own, on some days only."""
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def table(measured: Sequence[Row]) -> str:
    """A table in Markdown: durations in milliseconds, other figures with their unit."""
    rows = [("", "xDS", "n", "median ms", "p99 ms", "median / floor")]
    for each in measured:
        if isinstance(each, Series):
            numbers = (str(len(each.seconds)), f"{each.median * 1000:.2f}", f"{each.p99 * 1000:.2f}")
            rows.append(
                (each.what, each.protocol, *numbers, _ratio(each.median, each.floor.median if each.floor else None))
            )
        else:
            value = f"{each.value:.1f} {each.unit}"
            rows.append((each.what, "", "", value, "", _ratio(each.value, each.floor.value if each.floor else None)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(_aligned(row, widths)) for row in rows]
    rule = "|".join("-" * width + ("-:" if column > 1 else "--") for column, width in enumerate(widths))
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])


def _ratio(value: float, floor: float | None) -> str:
    return "(floor)" if floor is None else f"{value / floor:.2f}"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.rjust(width) if column > 1 else cell.ljust(width)


def machine(envoy_version: str) -> str:
    """One line about what the figures depend on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(": ")[2] if models else platform.machine()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{len(os.sched_getaffinity(0))} x {model}; load average before: {load}; "
        f"Python {platform.python_version()}; Envoy {envoy_version}"
    )
