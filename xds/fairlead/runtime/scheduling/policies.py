"""One policy, as a request meets it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from fairlead.intent import Queueing, SchedulingPolicy, Workload
from fairlead.runtime.outcomes import Object, Outcome
from fairlead.runtime.scheduling.buckets import MAX_KEYS, Tokens
from fairlead.runtime.scheduling.clock import Clock
from fairlead.runtime.scheduling.fair_queue import Flow
from fairlead.runtime.scheduling.labels import Holds, Labels, compiled
from fairlead.runtime.scheduling.lines import Line, SlotLine, TokenLine, Undo, Waiting
from fairlead.runtime.scheduling.slots import Slots

_SECOND = 1_000_000_000  # nanoseconds
Leave = Callable[[], None] | None
"""What to call when nobody wants the answer any more; None when it has been given."""
Happened = Callable[[Object, Outcome], None]
"""Told of an object, and what it has done to a request."""
_ONLY = ""
"""The key of the only supply, where there is none for each value of a label."""


class Pass(NamedTuple):
    """That a request passes a policy."""

    undo: Undo | None = None
    """Gives back what it has taken."""
    has_slot: bool = False
    """It holds one, by the visit's name."""
    waited: bool = False


class Visit(NamedTuple):
    """A request at a policy: what is known of it, and whom to tell."""

    labels: Labels
    deadline: float
    """When the proxy stops waiting."""
    slot: str
    """A name that no other visit has."""
    passed: Callable[[Pass], None]
    refused: Callable[[float], None]
    """Told after how many seconds to try again; infinity where nobody knows."""


class Policy(ABC):
    """A policy. It keeps what it has counted when its settings change."""

    def __init__(self, settings: SchedulingPolicy, clock: Clock, happened: Happened) -> None:
        self._clock = clock
        self._happened = happened
        self._object = str(settings.origin)
        self._read(settings)

    def _read(self, settings: SchedulingPolicy) -> None:
        self.settings = settings
        self._selectors = tuple(map(compiled, settings.selectors))
        self._workloads = _Workloads(settings.queueing) if settings.queueing is not None else None

    def tell_of_pass(self, *, waited: bool) -> None:
        """Tell that a request has passed."""
        self._happened(self._object, Outcome.QUEUED if waited else Outcome.ALLOWED)

    def tell_of_refusal(self) -> None:
        """Tell that a request has been refused."""
        self._happened(self._object, Outcome.LIMITED if self._workloads is None else Outcome.REJECTED)

    @abstractmethod
    def configure(self, settings: SchedulingPolicy) -> None:
        """Go on with other settings."""

    @abstractmethod
    def dissolve(self) -> None:
        """Let all pass that wait: the policy is no more."""

    @abstractmethod
    def _enter(self, key: str, tokens: float, visit: Visit) -> Leave:
        """Let a request pass, wait, or be refused."""

    def concerns(self, selectors: tuple[int, ...], labels: Labels) -> bool:
        """Whether one of the selectors that the route names selects the request."""
        return any(self._selectors[index](labels) for index in selectors if index < len(self._selectors))

    def visit(self, visit: Visit) -> Leave:
        """Let a request pass, wait, or be refused."""
        label = self.settings.by_label
        key = visit.labels.get(label) if label else _ONLY
        workload = None if self._workloads is None else self._workloads.of(visit.labels)
        default = 1.0 if workload is None else workload.tokens
        tokens = _number(visit.labels, self.settings.tokens_label, default, at_least=0.0)
        if key is None or not tokens:
            visit.passed(Pass())
            return None
        return self._enter(key, tokens, visit)

    def _wait(self, line: Line, tokens: float, visit: Visit, passed: Callable[[Undo], None]) -> Leave:
        """Wait in a line, as the request's workload does."""
        assert self._workloads is not None
        workload = self._workloads.of(visit.labels)
        queueing = self._workloads.queueing
        deadline = visit.deadline - queueing.deadline_margin / _SECOND
        if workload.queue_timeout is not None:
            deadline = min(deadline, self._clock.time() + workload.queue_timeout / _SECOND)
        waiting = Waiting(deadline, passed, partial(visit.refused, math.inf), visit.slot)
        return line.enter(waiting, self._workloads.flow(visit.labels, workload), tokens)


class _Workloads:
    """Which requests are how important."""

    def __init__(self, queueing: Queueing) -> None:
        self.queueing = queueing
        self._known: tuple[tuple[Holds, Workload], ...] = tuple(
            (compiled(workload.condition), workload) for workload in queueing.workloads
        )

    def of(self, labels: Labels) -> Workload:
        return next((workload for holds, workload in self._known if holds(labels)), self.queueing.default)

    def flow(self, labels: Labels, workload: Workload) -> Flow:
        queueing = self.queueing
        return Flow(
            labels.get(queueing.workload_label, workload.name) if queueing.workload_label else workload.name,
            _number(labels, queueing.priority_label, workload.priority, at_least=_LOWEST_PRIORITY),
            labels.get(queueing.fairness_label, "") if queueing.fairness_label else "",
        )


_LOWEST_PRIORITY = 1e-6


def _number(labels: Labels, label: str, default: float, *, at_least: float) -> float:
    """The number that a label says; what cannot be one is not taken for one."""
    if not label or (text := labels.get(label)) is None:
        return default
    try:
        number = float(text)
    except ValueError:
        return default
    return number if at_least <= number < math.inf else default


# --- Tokens -----------------------------------------------------------------------------------------------------------


class TokenPolicy(Policy):
    """Requests take tokens of a bucket; where the policy has no queue, those that find too few are refused."""

    def __init__(self, settings: SchedulingPolicy, clock: Clock, happened: Happened, tokens: Tokens) -> None:
        super().__init__(settings, clock, happened)
        self._tokens = tokens
        self._lines: dict[str, TokenLine] = {}
        """Those in which somebody waits, and a few more."""
        self._most_lines = _LINES_KEPT
        """With so many it is looked for those in which nobody waits."""

    def configure(self, settings: SchedulingPolicy) -> None:
        """See `Policy`."""
        self._read(settings)
        assert settings.quota is not None
        self._tokens.configure(settings.quota, settings.max_idle / _SECOND)
        for line in list(self._lines.values()):
            line.start_over()

    def dissolve(self) -> None:
        """See `Policy`."""
        for line in list(self._lines.values()):
            line.dissolve()

    def _enter(self, key: str, tokens: float, visit: Visit) -> Leave:
        line = self._lines.get(key)
        if line is not None and not line.is_empty:
            return self._queue(line, tokens, visit)
        attempt = _Attempt(self, key, tokens, visit)
        self._tokens.take(key, tokens, 0.0, attempt.taken)
        return attempt.leave

    def _queue(self, line: TokenLine, tokens: float, visit: Visit) -> Leave:
        return self._wait(line, tokens, visit, lambda undo: visit.passed(Pass(undo, waited=True)))

    def refused_at_first(self, key: str, tokens: float, wait: float, visit: Visit) -> Leave:
        """Let a request wait that has found too few tokens, or refuse it."""
        if self._workloads is None:
            visit.refused(wait)
            return None
        if (line := self._lines.get(key)) is None:
            if len(self._lines) >= self._most_lines:
                self._lines = {name: known for name, known in self._lines.items() if not known.is_empty}
                self._most_lines = 2 * len(self._lines) + _LINES_KEPT
            line = self._lines[key] = TokenLine(self._clock, self._tokens, key)
        return self._queue(line, tokens, visit)

    def give_back(self, key: str, tokens: float) -> None:
        """Add what was taken for nothing."""
        self._tokens.give_back(key, tokens)


_LINES_KEPT = 100


@dataclass(eq=False, slots=True)
class _Attempt:
    """A request that asks for tokens before it waits; a bucket elsewhere takes its time to answer."""

    policy: TokenPolicy
    key: str
    tokens: float
    visit: Visit
    left: bool = False
    leave_line: Leave = None

    def taken(self, wait: float) -> None:
        undo = partial(self.policy.give_back, self.key, self.tokens)
        if self.left:
            if wait <= 0:
                undo()
        elif wait <= 0:
            self.visit.passed(Pass(undo))
        else:
            self.leave_line = self.policy.refused_at_first(self.key, self.tokens, wait, self.visit)

    def leave(self) -> None:
        self.left = True
        if self.leave_line is not None:
            self.leave_line()


# --- Slots ------------------------------------------------------------------------------------------------------------


class SlotPolicy(Policy):
    """Requests take places; where the policy has no queue, those that find none are refused."""

    def __init__(
        self, settings: SchedulingPolicy, clock: Clock, happened: Happened, registry: dict[str, Slots]
    ) -> None:
        super().__init__(settings, clock, happened)
        self._registry = registry
        self._lines: dict[str, tuple[Slots, SlotLine]] = {}

    def configure(self, settings: SchedulingPolicy) -> None:
        """See `Policy`."""
        self._read(settings)
        assert settings.concurrency is not None
        for slots, line in list(self._lines.values()):
            slots.configure(settings.concurrency)
            line.serve()

    def dissolve(self) -> None:
        """See `Policy`."""
        for _, line in list(self._lines.values()):
            line.dissolve()

    def _enter(self, key: str, tokens: float, visit: Visit) -> Leave:
        slots, line = self._lines.get(key) or self._open(key)
        if line.is_empty and slots.take(visit.slot, tokens, self._clock.time()):
            visit.passed(Pass(partial(slots.release, visit.slot), has_slot=True))
            return None
        if self._workloads is None:
            visit.refused(math.inf)
            return None
        return self._wait(line, tokens, visit, lambda undo: visit.passed(Pass(undo, has_slot=True, waited=True)))

    def _open(self, key: str) -> tuple[Slots, SlotLine]:
        if len(self._lines) >= MAX_KEYS:
            del self._lines[next(iter(self._lines))]
        assert self.settings.concurrency is not None
        slots = Slots(self.settings.concurrency, self._registry, lambda: self._freed(key, found))
        self._lines[key] = found = slots, SlotLine(self._clock, slots)
        return found

    def _freed(self, key: str, found: tuple[Slots, SlotLine]) -> None:
        # It may be forgotten; those who wait in it wait all the same.
        slots, line = found
        line.serve()
        if slots.is_idle and line.is_empty and self._lines.get(key) is found:
            del self._lines[key]
