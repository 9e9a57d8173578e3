"""Signals that tell a process to stop."""

import asyncio
import signal
import sys

import structlog

log = structlog.get_logger()


def stop_on_signals() -> asyncio.Event:
    """An event that the first signal to stop sets; the second one ends the process, whatever it is at."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def note() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        loop.add_signal_handler(number, note)
    if not sys.stderr.isatty():  # else it says that the terminal is gone
        loop.add_signal_handler(
            signal.SIGHUP, lambda: log.info("nothing to reload: files are read again whenever they change")
        )
    return stop
