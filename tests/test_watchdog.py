"""The watchdog: a loop that does not run is noticed, and where it is."""

import asyncio
import threading
import time

import structlog
from fairlead.server.watchdog import Watchdog
from support.stack import until


class Loop:
    """A watched loop, with short times."""

    def __init__(self) -> None:
        self.beats = 0
        self.dog = Watchdog(self._beat, patience=0.05, interval=0.01)

    def _beat(self) -> None:
        self.beats += 1


def hold_up(seconds: float) -> None:
    private = "private key"  # a value that the log must not show
    time.sleep(seconds)
    assert private


async def test_a_stuck_loop_is_noticed_while_it_is_stuck() -> None:
    with structlog.testing.capture_logs() as log:
        loop = Loop()
        with loop.dog.watching():
            await until(lambda: loop.beats > 1, "it lives")
            before = loop.beats
            hold_up(0.5)
            assert log[0]["event"] == "the event loop is stuck: nobody is served"
            await until(lambda: len(log) == 2, "it lives again")
            await until(lambda: loop.beats > before + 1, "and goes on")
        assert log[0]["log_level"] == "error"
        assert log[0]["at"].startswith("hold_up (test_watchdog.py:")
        assert " < test_a_stuck_loop_is_noticed_while_it_is_stuck (test_watchdog.py:" in log[0]["at"]
        assert "private key" not in str(log)
        assert log[1]["event"] == "the event loop runs again"
        assert log[1]["seconds"] > 0.05
        assert loop.dog.stalls == 1


async def test_a_loop_that_lives_is_left_alone() -> None:
    with structlog.testing.capture_logs() as log:
        dog = Watchdog(lambda: None, patience=30, interval=0.001)
        with dog.watching():
            for _ in range(20):
                await asyncio.to_thread(time.sleep, 0.005)
                time.sleep(0.005)  # noqa: ASYNC251  # a short while is nothing unusual
        assert log == []
        assert dog.stalls == 0


async def test_the_thread_ends_with_its_block() -> None:
    dog = Watchdog(lambda: None, interval=0.001)
    with dog.watching():
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "watchdog"]
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


def test_a_loop_that_has_ended_without_a_word_ends_the_thread() -> None:
    async def leave(dog: Watchdog) -> threading.Thread:
        dog.watching().__enter__()
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "watchdog"]
        return thread

    thread = asyncio.run(leave(Watchdog(lambda: None, interval=0.2)))
    thread.join(10)
    assert not thread.is_alive()
