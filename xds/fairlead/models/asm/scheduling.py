"""Policies about which requests to a service may pass, and which wait: the traffic scheduling suite.

Fields have the names of FluxNinja Aperture's policies, in snake case, which `rename="lower"` leaves as they are.
"""

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from fairlead.models.base import Duration, KubernetesObject, Model

_SECOND = 1_000_000_000  # nanoseconds


# --- Labels of requests -----------------------------------------------------------------------------------------------


class ListOperator(enum.Enum):
    """What is asked of a label."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class ListRequirement(Model, frozen=True, kw_only=True, rename="lower"):
    """A condition of a label."""

    key: str
    operator: ListOperator
    values: tuple[str, ...] = ()


class LabelEquals(Model, frozen=True, kw_only=True, rename="lower"):
    """The label has the value."""

    label: str
    value: str = ""


class LabelMatches(Model, frozen=True, kw_only=True, rename="lower"):
    """The regular expression (RE2) is found in the label's value."""

    label: str
    regex: str


class Expressions(Model, frozen=True, kw_only=True, rename="lower"):
    """Several conditions."""

    of: tuple["Expression", ...] = ()


class Expression(Model, frozen=True, kw_only=True, rename="lower"):
    """A condition of labels: one of the fields is set."""

    negated: "Expression | None" = msgspec.field(default=None, name="not")
    all_of: Expressions | None = msgspec.field(default=None, name="all")
    any_of: Expressions | None = msgspec.field(default=None, name="any")
    label_exists: str | None = None
    label_equals: LabelEquals | None = None
    label_matches: LabelMatches | None = None


class LabelMatcher(Model, frozen=True, kw_only=True, rename="lower"):
    """Requests for which all that is given holds; nothing is for all requests."""

    aliases: ClassVar[Mapping[str, str]] = {"match_expressions": "match_list"}

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    match_list: tuple[ListRequirement, ...] = ()
    expression: Expression | None = None


class ControlPoint(enum.Enum):
    """Whose proxies hold requests."""

    INGRESS = "ingress"
    """The service's own."""
    EGRESS = "egress"
    """Those of its callers."""


class Selector(Model, frozen=True, kw_only=True, rename="lower"):
    """Some of the requests to a service."""

    ignored: ClassVar[frozenset[str]] = frozenset({"agent_group"})

    control_point: ControlPoint = ControlPoint.INGRESS
    service: str = "any"
    """Fully qualified host name, or `any`."""
    label_matcher: LabelMatcher = LabelMatcher()


# --- What is shared ---------------------------------------------------------------------------------------------------


class RateLimiterParameters(Model, frozen=True, kw_only=True, rename="lower"):
    """How a token bucket is filled."""

    ignored: ClassVar[frozenset[str]] = frozenset({"lazy_sync"})
    """There is one counter, so that nothing has to be synchronised."""

    interval: Duration
    limit_by_label_key: str = ""
    """Each value of this label has a bucket of its own."""
    continuous_fill: bool = True
    delay_initial_fill: bool = False
    max_idle_time: Duration = Duration(7200 * _SECOND)


class ConcurrencyLimiterParameters(Model, frozen=True, kw_only=True, rename="lower"):
    """How requests that are under way are counted."""

    max_inflight_duration: Duration
    """After that a request counts as finished."""
    limit_by_label_key: str = ""
    max_idle_time: Duration = Duration(7200 * _SECOND)


class RequestParameters(Model, frozen=True, kw_only=True, rename="lower"):
    """What single requests take, and how they are rejected."""

    denied_response_status_code: int | str | None = None
    """A number, or a name such as `TooManyRequests`."""
    tokens_label_key: str = ""
    """The label whose value is how many tokens a request takes."""


class WorkloadParameters(Model, frozen=True, kw_only=True, rename="lower"):
    """How requests of a workload are treated."""

    priority: float = 1.0
    """Under shortage, workloads have shares in proportion to it."""
    tokens: float = 1.0
    """What a request takes."""
    queue_timeout: Duration | None = None
    """None: a request waits as long as the proxy waits for the answer."""


class SchedulerWorkload(Model, frozen=True, kw_only=True, rename="lower"):
    """Requests of one importance."""

    name: str = ""
    label_matcher: LabelMatcher
    parameters: WorkloadParameters = WorkloadParameters()


class SchedulerSpec(Model, frozen=True, kw_only=True, rename="lower"):
    """In which order requests pass that had to wait."""

    workloads: tuple[SchedulerWorkload, ...] = ()
    """The first that matches takes a request."""
    default_workload_parameters: WorkloadParameters = WorkloadParameters()
    fairness_label_key: str = ""
    priority_label_key: str = ""
    tokens_label_key: str = ""
    workload_label_key: str = ""
    decision_deadline_margin: Duration = Duration(_SECOND // 100)
    denied_response_status_code: int | str | None = None
    selectors: tuple[Selector, ...] = ()
    """Their place is beside the scheduler; examples of ASM write them here as well."""


# --- Policies ---------------------------------------------------------------------------------------------------------


class RateLimiter(Model, frozen=True, kw_only=True, rename="lower"):
    """Requests take tokens from a bucket; those that find too few are rejected."""

    bucket_capacity: float
    fill_amount: float
    parameters: RateLimiterParameters
    request_parameters: RequestParameters = RequestParameters()
    selectors: tuple[Selector, ...] = ()


class QuotaScheduler(Model, frozen=True, kw_only=True, rename="lower"):
    """Requests take tokens from a bucket; those that find too few wait."""

    bucket_capacity: float
    fill_amount: float
    rate_limiter: RateLimiterParameters
    scheduler: SchedulerSpec
    selectors: tuple[Selector, ...] = ()


class ConcurrencyLimiter(Model, frozen=True, kw_only=True, rename="lower"):
    """So many requests are under way at once; others are rejected."""

    max_concurrency: int
    parameters: ConcurrencyLimiterParameters
    request_parameters: RequestParameters = RequestParameters()
    selectors: tuple[Selector, ...] = ()


class ConcurrencyScheduler(Model, frozen=True, kw_only=True, rename="lower"):
    """So many requests are under way at once; others wait."""

    max_concurrency: int
    concurrency_limiter: ConcurrencyLimiterParameters
    scheduler: SchedulerSpec
    selectors: tuple[Selector, ...] = ()


class RateLimitingPolicySpec(Model, frozen=True, kw_only=True, rename="lower"):
    """A limit for all proxies together."""

    rate_limiter: RateLimiter


class QuotaSchedulingPolicySpec(Model, frozen=True, kw_only=True, rename="lower"):
    """A rate for all proxies together, and who goes first."""

    quota_scheduler: QuotaScheduler


class ConcurrencyLimitingPolicySpec(Model, frozen=True, kw_only=True, rename="lower"):
    """A number of requests at once, for all proxies together."""

    concurrency_limiter: ConcurrencyLimiter


class ConcurrencySchedulingPolicySpec(Model, frozen=True, kw_only=True, rename="lower"):
    """A number of requests at once, for all proxies together, and who goes first."""

    concurrency_scheduler: ConcurrencyScheduler


class RateLimitingPolicy(KubernetesObject, frozen=True, kw_only=True):
    """Requests above a rate are rejected."""

    group: ClassVar[str] = "istio.alibabacloud.com"
    kind: ClassVar[str] = "RateLimitingPolicy"
    versions: ClassVar[tuple[str, ...]] = ("v1",)

    spec: RateLimitingPolicySpec


class QuotaSchedulingPolicy(KubernetesObject, frozen=True, kw_only=True):
    """Requests above a rate wait, and pass by their priority."""

    group: ClassVar[str] = "istio.alibabacloud.com"
    kind: ClassVar[str] = "QuotaSchedulingPolicy"
    versions: ClassVar[tuple[str, ...]] = ("v1",)

    spec: QuotaSchedulingPolicySpec


class ConcurrencyLimitingPolicy(KubernetesObject, frozen=True, kw_only=True):
    """Requests beyond a number at once are rejected."""

    group: ClassVar[str] = "istio.alibabacloud.com"
    kind: ClassVar[str] = "ConcurrencyLimitingPolicy"
    versions: ClassVar[tuple[str, ...]] = ("v1",)

    spec: ConcurrencyLimitingPolicySpec


class ConcurrencySchedulingPolicy(KubernetesObject, frozen=True, kw_only=True):
    """Requests beyond a number at once wait, and pass by their priority."""

    group: ClassVar[str] = "istio.alibabacloud.com"
    kind: ClassVar[str] = "ConcurrencySchedulingPolicy"
    versions: ClassVar[tuple[str, ...]] = ("v1",)

    spec: ConcurrencySchedulingPolicySpec


KINDS = (RateLimitingPolicy, QuotaSchedulingPolicy, ConcurrencyLimitingPolicy, ConcurrencySchedulingPolicy)
"""All of them."""

SchedulingObject = RateLimitingPolicy | QuotaSchedulingPolicy | ConcurrencyLimitingPolicy | ConcurrencySchedulingPolicy
Body = RateLimiter | QuotaScheduler | ConcurrencyLimiter | ConcurrencyScheduler


def body(obj: SchedulingObject) -> Body:
    """The only field of a policy's `spec`."""
    match obj:
        case RateLimitingPolicy():
            return obj.spec.rate_limiter
        case QuotaSchedulingPolicy():
            return obj.spec.quota_scheduler
        case ConcurrencyLimitingPolicy():
            return obj.spec.concurrency_limiter
        case ConcurrencySchedulingPolicy():
            return obj.spec.concurrency_scheduler


def selectors(written: Body) -> tuple[Selector, ...]:
    """The selectors, wherever they are written."""
    if isinstance(written, QuotaScheduler | ConcurrencyScheduler):
        return written.selectors or written.scheduler.selectors
    return written.selectors
