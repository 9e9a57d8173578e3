"""All policies that are decided for all proxies, and a request's way through those that its route names.

The order is: rate limits, concurrency limits, concurrency schedulers, quota schedulers. What a request has taken on
its way is given back when a later policy refuses it, or when its client gives up.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from fairlead.intent import SchedulingPolicy, policy_name
from fairlead.runtime.scheduling.buckets import Tokens
from fairlead.runtime.scheduling.clock import Clock
from fairlead.runtime.scheduling.labels import Labels
from fairlead.runtime.scheduling.lines import Undo
from fairlead.runtime.scheduling.policies import Happened, Pass, Policy, SlotPolicy, TokenPolicy, Visit
from fairlead.runtime.scheduling.slots import Slots

Selected = tuple[str, tuple[int, ...]]
"""Name of a policy, and the indexes of its selectors, of which one is to hold."""


class Passed(NamedTuple):
    """The request may go."""

    slots: tuple[str, ...] = ()
    """What is to be named when it has ended."""


class Refused(NamedTuple):
    """The request is to be answered with an error."""

    status: int
    retry_after: float
    """Seconds; infinity where nobody knows."""


Verdict = Passed | Refused


class Scheduler:
    """The policies, and what they have counted."""

    def __init__(
        self, clock: Clock, tokens: Callable[[SchedulingPolicy], Tokens], happened: Happened, name: str
    ) -> None:
        """`name` is one that no other scheduler has, or has had; `tokens` makes the buckets of a policy.

        `happened` is told of each request that is let pass, has waited, or is rejected, with the policy's object.
        """
        self._happened = happened
        self._clock = clock
        self._tokens = tokens
        self._policies: dict[str, Policy] = {}
        self._slots: dict[str, Slots] = {}
        self._names = (f"{name}-{number}" for number in itertools.count())

    def configure(self, policies: Iterable[SchedulingPolicy]) -> None:
        """Go on with these policies: those that were there before keep what they have counted."""
        wanted = {policy_name(settings.origin): settings for settings in policies}
        for name in self._policies.keys() - wanted.keys():
            self._policies.pop(name).dissolve()
        for name, settings in wanted.items():
            known = self._policies.get(name)
            if known is None:
                self._policies[name] = self._made(settings)
            elif known.settings != settings:
                known.configure(settings)

    def _made(self, settings: SchedulingPolicy) -> Policy:
        if settings.concurrency is not None:
            return SlotPolicy(settings, self._clock, self._happened, self._slots)
        return TokenPolicy(settings, self._clock, self._happened, self._tokens(settings))

    def decide(
        self, selected: Iterable[Selected], labels: Labels, deadline: float, then: Callable[[Verdict], None]
    ) -> "Way":
        """Decide about a request: `then` is told, at once or before the deadline.

        `selected` is what the route names; policies that are not known let all pass.
        """
        found = [
            policy
            for name, selectors in selected
            if (policy := self._policies.get(name)) is not None and policy.concerns(selectors, labels)
        ]
        if len(found) > 1:
            found.sort(key=_order)
        way = Way(found, labels, deadline, self._names, then)
        way.go_on()
        return way

    def finished(self, slot: str) -> None:
        """A request with a slot has ended; slots that are not known have been given back already."""
        if (slots := self._slots.get(slot)) is not None:
            slots.release(slot)


def _order(policy: Policy) -> tuple[bool, bool, str]:
    settings = policy.settings
    waits, by_rate = settings.queueing is not None, settings.quota is not None
    return waits, by_rate if waits else not by_rate, policy_name(settings.origin)


@dataclass(eq=False, slots=True)
class Way:
    """A request on its way through policies."""

    policies: list[Policy]
    labels: Labels
    deadline: float
    names: Iterator[str]
    then: Callable[[Verdict], None]
    _next: int = 0
    _undo: list[Undo] = field(default_factory=list)
    _slots: list[str] = field(default_factory=list)
    _leave: Callable[[], None] | None = None
    _is_over: bool = False

    def go_on(self) -> None:
        """Visit the next policy, or tell that the request may go."""
        if self._next == len(self.policies):
            self._is_over, self._leave = True, None
            self.then(Passed(tuple(self._slots)))
            return
        number = self._next
        policy = self.policies[number]
        slot = next(self.names)

        def passed(found: Pass) -> None:
            policy.tell_of_pass(waited=found.waited)
            if found.undo is not None:
                self._undo.append(found.undo)
            if found.has_slot:
                self._slots.append(slot)
            self._next += 1
            self.go_on()

        def refused(retry_after: float) -> None:
            policy.tell_of_refusal()
            self.give_back()
            self._is_over, self._leave = True, None
            self.then(Refused(policy.settings.denied_status, retry_after))

        leave = policy.visit(Visit(self.labels, self.deadline, slot, passed, refused))
        if self._next == number and not self._is_over:
            self._leave = leave

    def leave(self) -> None:
        """Nobody wants the answer any more."""
        if not self._is_over:
            self._is_over = True
            if self._leave is not None:
                self._leave()
            self.give_back()

    def give_back(self) -> None:
        """Give back all that the request has taken, also after it was told to go."""
        while self._undo:
            self._undo.pop()()
