"""A thread that notices when the event loop does not run.

While it does not, nobody is served and `/healthz` does not answer: a supervisor that asks, or that waits for systemd's
sign of life, ends the process. What it could not find out is what the loop was at, so the log says that.
"""

import asyncio
import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

log = structlog.get_logger()

_INTERVAL = 1.0
_FRAMES_LOGGED = 12


class Watchdog:
    """Sees whether the loop runs, once a second or as often as it has to. Times are in seconds."""

    def __init__(self, alive: Callable[[], None], *, patience: float = 5.0, interval: float = _INTERVAL) -> None:
        """`alive` is called in the loop each time; a loop that has not run for `patience` is stuck."""
        self.stalls = 0
        """How often the loop has been stuck."""
        self.lag = 0.0
        """How long the loop took to get to its last sign of life, and at least how long it has been stuck."""
        self._alive = alive
        self._patience = patience
        self._interval = interval
        self._stop = threading.Event()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the loop that runs in this thread until the block ends."""
        arguments = asyncio.get_running_loop(), threading.get_ident()
        # A daemon, for it must not keep the process alive when the loop never comes back.
        threading.Thread(target=self._run, args=arguments, name="watchdog", daemon=True).start()
        try:
            yield
        finally:
            self._stop.set()

    def _run(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        while not self._stop.wait(self._interval):
            seen, since = threading.Event(), time.monotonic()
            try:
                loop.call_soon_threadsafe(self._beat, seen)
            except RuntimeError:  # the loop is closed
                return
            if not seen.wait(self._patience):
                self.stalls += 1
                self.lag = self._patience
                log.error("the event loop is stuck: nobody is served", seconds=self._patience, at=_place(thread))
                while not seen.wait(self._patience):
                    if self._stop.is_set():
                        return
                    self.lag = time.monotonic() - since
                log.warning("the event loop runs again", seconds=round(time.monotonic() - since, 3))
            self.lag = time.monotonic() - since

    def _beat(self, seen: threading.Event) -> None:
        seen.set()
        self._alive()


def _place(thread: int) -> str:
    """What a thread is at, the innermost call first; without the values of variables, which may be private keys."""
    frames = traceback.extract_stack(sys._current_frames().get(thread))[-_FRAMES_LOGGED:]
    return " < ".join(f"{frame.name} ({Path(frame.filename).name}:{frame.lineno})" for frame in reversed(frames))
