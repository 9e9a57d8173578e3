"""The time that decisions are made in: an event loop has it, a test brings its own."""

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None:
        """Let it not come."""
        ...


class Clock(Protocol):
    """The part of `asyncio.AbstractEventLoop` that is needed here."""

    def time(self) -> float:
        """Seconds since some moment; never less than before."""
        ...

    def call_at(self, when: float, callback: Callable[..., object], /, *args: Any) -> Timer:
        """Call when that time has come, and not before this method returns."""
        ...
