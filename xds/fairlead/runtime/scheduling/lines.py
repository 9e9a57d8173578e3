"""Requests that wait in front of one supply."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fairlead.runtime.scheduling.buckets import Tokens
from fairlead.runtime.scheduling.clock import Clock, Timer
from fairlead.runtime.scheduling.fair_queue import Entry, FairQueue, Flow
from fairlead.runtime.scheduling.slots import Slots

Undo = Callable[[], None]
"""Gives back what a request has taken."""


@dataclass(eq=False, slots=True)
class Waiting:
    """A request that waits, and whom to tell."""

    deadline: float
    passed: Callable[[Undo], None]
    refused: Callable[[], None]
    slot: str = ""
    """The name of the place that it will have, where it waits for one."""
    timer: Timer | None = None

    def stop(self) -> None:
        """Wait no longer for the deadline."""
        if self.timer is not None:
            self.timer.cancel()


class Line(ABC):
    """The requests in front of a supply, each of which is told whether it passes, at its deadline at the latest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: FairQueue[Waiting] = FairQueue()

    def enter(self, waiting: Waiting, flow: Flow, tokens: float) -> Callable[[], None] | None:
        """Let a request wait, if there is room; returns what to call when nobody wants the answer any more."""
        if not self._queue.has_room(flow):
            waiting.refused()
            return None
        entry = self._queue.add(waiting, flow, tokens)
        waiting.timer = self._clock.call_at(waiting.deadline, self._too_late, entry)
        self.serve()
        return partial(self._leave, entry)

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return self._queue.first() is None

    def dissolve(self) -> None:
        """Let all pass: there is nothing left to wait for."""
        for entry in list(self._queue):
            if entry.waits:  # what the one before had taken may have let it pass
                self._leave(entry)
                entry.item.passed(_nothing)

    @abstractmethod
    def serve(self) -> None:
        """Let those pass for whom there is enough now."""

    def _refuse(self, entry: Entry[Waiting]) -> None:
        self._leave(entry)
        entry.item.refused()

    def _too_late(self, entry: Entry[Waiting]) -> None:
        if entry.waits:
            self._refuse(entry)

    def _leave(self, entry: Entry[Waiting]) -> None:
        entry.item.stop()
        self._queue.leave(entry)

    def _let_pass(self, entry: Entry[Waiting], undo: Undo) -> None:
        entry.item.stop()
        self._queue.pay(entry)
        entry.item.passed(undo)


def _nothing() -> None:
    """Nothing was taken, so that there is nothing to give back."""


class TokenLine(Line):
    """In front of a token bucket: one request at a time takes tokens of the future, and waits until they are there.

    So the order of the others is decided as late as it can be without asking the bucket again and again.
    """

    def __init__(self, clock: Clock, tokens: Tokens, key: str) -> None:
        super().__init__(clock)
        self._tokens = tokens
        self._key = key
        self._serving: Entry[Waiting] | None = None
        """It has asked for tokens, or waits until those that it has taken are there."""
        self._timer: Timer | None = None
        self._is_at_it = False

    def serve(self) -> None:
        """See `Line`."""
        if self._is_at_it:
            return  # a bucket that answers at once is asked in a loop, not by calls in calls
        self._is_at_it = True
        try:
            while self._serving is None and (entry := self._queue.first()) is not None:
                self._serving = entry
                longest = entry.item.deadline - self._clock.time()
                self._tokens.take(self._key, entry.tokens, longest, partial(self._taken, entry, longest))
        finally:
            self._is_at_it = False

    def _taken(self, entry: Entry[Waiting], longest: float, wait: float) -> None:
        if wait > longest:
            # What it needs comes after its deadline: others may need less.
            self._serving = None
            if entry.waits:
                self._refuse(entry)
        elif not entry.waits:  # it left before the bucket answered
            self._serving = None
            self._tokens.give_back(self._key, entry.tokens)
        elif wait > 0:
            self._timer = self._clock.call_at(self._clock.time() + wait, self._there, entry)
        else:
            self._there(entry)
        self.serve()

    def _there(self, entry: Entry[Waiting]) -> None:
        self._serving = self._timer = None
        self._let_pass(entry, partial(self._tokens.give_back, self._key, entry.tokens))
        self.serve()

    def _leave(self, entry: Entry[Waiting]) -> None:
        super()._leave(entry)
        if self._serving is entry:
            self.start_over()

    def start_over(self) -> None:
        """Give back the tokens of the future that somebody waits for, and ask anew: they may come sooner now."""
        if self._serving is not None and self._timer is not None:
            self._timer.cancel()
            entry, self._serving, self._timer = self._serving, None, None
            self._tokens.give_back(self._key, entry.tokens)
            self.serve()


class SlotLine(Line):
    """In front of places that become free when other requests end."""

    def __init__(self, clock: Clock, slots: Slots) -> None:
        super().__init__(clock)
        self._slots = slots

    def serve(self) -> None:
        """See `Line`."""
        while (entry := self._queue.first()) is not None:
            waiting = entry.item
            if not self._slots.take(waiting.slot, entry.tokens, self._clock.time()):
                self._slots.tell_of_the_next_end(self._clock)
                return
            self._let_pass(entry, partial(self._slots.release, waiting.slot))
