"""Which requests wait, for what, and in which order: policies that are decided outside of proxies, for all of them."""

import enum
from dataclasses import dataclass

from fairlead.intent.base import Nanoseconds
from fairlead.problems import ObjectKey

PATIENCE: Nanoseconds = 15_000_000_000
"""How long a proxy waits for the answer about a request, before it lets it pass."""


class LabelConditionKind(enum.Enum):
    """What is asked of the labels of a request."""

    IN = "in"
    """The label has one of the values."""
    EXISTS = "exists"
    """There is the label."""
    MATCHES = "matches"
    """The label has a value in which the only one of `values`, a regular expression (RE2), is found."""
    ALL = "all"
    """All of the conditions hold, as they do when there is none."""
    ANY = "any"
    """One of the conditions holds."""
    NOT = "not"
    """The only condition does not hold."""


@dataclass(frozen=True, slots=True)
class LabelCondition:
    """A condition of the labels of a request."""

    kind: LabelConditionKind = LabelConditionKind.ALL
    label: str = ""
    values: tuple[str, ...] = ()
    of: tuple["LabelCondition", ...] = ()


@dataclass(frozen=True, slots=True)
class Quota:
    """A token bucket: what it holds, and what it is given in each interval."""

    capacity: float
    fill_amount: float
    interval: Nanoseconds
    continuous: bool = True
    """Tokens come evenly, not all at the end of an interval."""
    starts_empty: bool = False


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many requests are under way at once."""

    size: int
    max_inflight: Nanoseconds
    """After that a request counts as finished."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one importance."""

    name: str
    condition: LabelCondition = LabelCondition()
    priority: float = 1.0
    """Under shortage, workloads have shares in proportion to it; positive."""
    tokens: float = 1.0
    """What a request takes."""
    queue_timeout: Nanoseconds | None = None
    """How long a request may wait; None for as long as the proxy waits for the answer."""


@dataclass(frozen=True, slots=True)
class Queueing:
    """Requests that cannot pass at once wait, in an order that gives each workload its share."""

    workloads: tuple[Workload, ...]
    """The first whose condition holds takes a request."""
    default: Workload
    """Takes all others."""
    fairness_label: str = ""
    """Within a workload, the values of this label have equal shares; empty for none, here and below."""
    priority_label: str = ""
    """Its value is the priority of a request, in place of the workload's."""
    workload_label: str = ""
    """Its value is the workload that a request shares with, in place of the one that took it."""
    deadline_margin: Nanoseconds = 10_000_000
    """The answer is given that long before the proxy would stop waiting for it."""


@dataclass(frozen=True, slots=True)
class SchedulingPolicy:
    """What requests need to pass: tokens of a bucket, or a place among those that are under way."""

    origin: ObjectKey
    selectors: tuple[LabelCondition, ...]
    """Routes name these by their index; the policy is for requests for which one of those named holds."""
    denied_status: int
    quota: Quota | None = None
    """One of this and `concurrency` is set: the supply."""
    concurrency: Concurrency | None = None
    queueing: Queueing | None = None
    """None: a request that cannot pass at once is rejected."""
    by_label: str = ""
    """Each value of this label has a supply of its own, and requests without the label pass; empty for one supply."""
    tokens_label: str = ""
    """Its value is how many tokens a request takes; empty for none."""
    max_idle: Nanoseconds = 7_200_000_000_000
    """A value's supply that nobody has asked for so long is forgotten."""


def policy_name(key: ObjectKey) -> str:
    """What routes and services call a policy by."""
    return f"{key.kind}/{key.namespace}/{key.name}"


def header_label(name: str) -> str:
    """The label of a header, by the header's name."""
    return "http.request.header." + name.lower().replace("-", "_")


def labels_asked_for(policy: SchedulingPolicy) -> frozenset[str]:
    """The labels that decide about a policy's requests."""
    queueing = policy.queueing
    found = {policy.by_label, policy.tokens_label}
    conditions = list(policy.selectors)
    if queueing is not None:
        found |= {queueing.fairness_label, queueing.priority_label, queueing.workload_label}
        conditions += [workload.condition for workload in queueing.workloads]
    while conditions:
        condition = conditions.pop()
        found.add(condition.label)
        conditions += condition.of
    return frozenset(found) - {""}
