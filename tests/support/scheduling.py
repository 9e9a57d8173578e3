"""A scheduler in virtual time, and policies in few words."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from fairlead.intent import (
    Concurrency,
    LabelCondition,
    LabelConditionKind,
    Queueing,
    Quota,
    SchedulingPolicy,
    Workload,
    policy_name,
)
from fairlead.problems import ObjectKey
from fairlead.runtime.outcomes import Object, Outcome
from fairlead.runtime.scheduling.buckets import MemoryBuckets
from fairlead.runtime.scheduling.scheduler import Scheduler, Verdict, Way
from support.virtual_time import VirtualClock

SECOND = 1_000_000_000  # nanoseconds


def label_is(label: str, *values: str) -> LabelCondition:
    return LabelCondition(LabelConditionKind.IN, label, values)


def workload(name: str, priority: float = 1.0, timeout: float | None = None, **more: Any) -> Workload:
    """Requests whose label `user` is the name."""
    return Workload(name, label_is("user", name), priority, queue_timeout=nanoseconds(timeout), **more)


def queueing(*workloads: Workload, **more: Any) -> Queueing:
    """`timeout`: that of the default workload, in seconds."""
    timeout = nanoseconds(more.pop("timeout", None))
    return Queueing(workloads, Workload("default", queue_timeout=timeout), **{"deadline_margin": 0, **more})


def nanoseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * SECOND)


def quota(capacity: float, fill: float, seconds: float = 1, **more: Any) -> Quota:
    return Quota(capacity, fill, round(seconds * SECOND), **more)


def concurrency(size: int, seconds: float = 3600) -> Concurrency:
    return Concurrency(size, round(seconds * SECOND))


def policy(name: str = "policy", status: int = 503, **more: Any) -> SchedulingPolicy:
    kind = ("Quota" if "quota" in more else "Concurrency") + ("Scheduling" if "queueing" in more else "Limiting")
    key = ObjectKey("istio.alibabacloud.com", kind, "istio-system", name)
    return SchedulingPolicy(key, denied_status=status, **{"selectors": (LabelCondition(),), **more})


class Sent:
    """A request, and what becomes of it."""

    def __init__(self, clock: VirtualClock) -> None:
        self.sent = clock.now
        self.answered: float | None = None
        self.verdict: Verdict | None = None
        self.way: Way | None = None
        self._clock = clock

    def tell(self, verdict: Verdict) -> None:
        assert self.verdict is None, "told twice"
        self.verdict, self.answered = verdict, self._clock.now

    @property
    def waited(self) -> float:
        assert self.answered is not None, "not answered"
        return round(self.answered - self.sent, 6)


class Scheduling:
    """A scheduler, and requests for it."""

    def __init__(self, *policies: SchedulingPolicy) -> None:
        self.clock = VirtualClock()
        self.counts: Counter[tuple[Object, Outcome]] = Counter()
        self.scheduler = Scheduler(self.clock, MemoryBuckets(self.clock).of, self._happened, "test")
        self.configure(*policies)

    def configure(self, *policies: SchedulingPolicy) -> None:
        self.policies = policies
        self.scheduler.configure(policies)

    def send(self, user: str = "", deadline: float = 15, selected: Iterable[int] = (0,), **labels: str) -> Sent:
        """Send a request that all policies are for; `user` is a label, `deadline` is in seconds."""
        sent = Sent(self.clock)
        if user:
            labels["user"] = user
        names = [(policy_name(each.origin), tuple(selected)) for each in self.policies]
        sent.way = self.scheduler.decide(names, labels, self.clock.now + deadline, sent.tell)
        return sent

    def _happened(self, of: Object, outcome: Outcome) -> None:
        self.counts[of, outcome] += 1
