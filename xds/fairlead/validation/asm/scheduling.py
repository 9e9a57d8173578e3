"""Rules for the policies of the traffic scheduling suite."""

import math
from collections.abc import Iterator
from http import HTTPStatus

from fairlead.models.asm.scheduling import (
    Body,
    ConcurrencyLimiter,
    ConcurrencyLimiterParameters,
    ConcurrencyScheduler,
    Expression,
    LabelMatcher,
    ListOperator,
    QuotaScheduler,
    RateLimiter,
    RateLimiterParameters,
    RequestParameters,
    SchedulerSpec,
    SchedulingObject,
    Selector,
    WorkloadParameters,
    body,
)
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common

NAMESPACE = "istio-system"
"""The one that ASM reads policies of."""
ANY_SERVICE = "any"
RESERVED = "default"
"""The workload of requests that no other takes."""
_SECOND = 1_000_000_000  # nanoseconds
PATIENCE = 15 * _SECOND
"""How long proxies wait for the answer about a request: `fairlead.intent.PATIENCE`."""
_HEADER = "http.request.header."
_LIKE_HEADERS = (
    "http.request.headers.",
    "http.headers.",
    "http.header.",
    "request.headers.",
    "request.header.",
    "request.headers[",
)
_OTHER_LABELS = ("method", "target", "path", "host", "scheme", "flavor", "request_content_length")
_LABELS = tuple(f"http.{name}" for name in _OTHER_LABELS)
_STATUS_BY_NAME = {status.name.replace("_", "").lower(): status.value for status in HTTPStatus}


def status_code(written: int | str) -> int | None:
    """The number of a status that is written as such, or by its name, such as `TooManyRequests`; None for no status."""
    if isinstance(written, int):
        return written
    return int(written) if written.isdecimal() else _STATUS_BY_NAME.get(written.lower())


def scheduling_policy(obj: SchedulingObject) -> Iterator[Problem]:
    """What is wrong with a policy."""
    if obj.metadata.namespace != NAMESPACE:
        message = f"ASM reads policies of namespace {NAMESPACE} only; here it is in force all the same"
        yield warning("no-effect", message, path=("metadata", "namespace"), hint=f"write it into {NAMESPACE}")
    found = body(obj)
    path: FieldPath = ("spec", obj.spec.__struct_encode_fields__[0])
    match found:
        case RateLimiter():
            yield from _quota(found, found.parameters, path, "parameters")
            yield from _request_parameters(found.request_parameters, (*path, "request_parameters"))
        case QuotaScheduler():
            yield from _quota(found, found.rate_limiter, path, "rate_limiter")
            yield from _scheduler(found.scheduler, (*path, "scheduler"))
        case ConcurrencyLimiter():
            yield from _concurrency(found, found.parameters, path, "parameters")
            yield from _request_parameters(found.request_parameters, (*path, "request_parameters"))
        case ConcurrencyScheduler():
            yield from _concurrency(found, found.concurrency_limiter, path, "concurrency_limiter")
            yield from _scheduler(found.scheduler, (*path, "scheduler"))
    yield from _selectors(found, path)


# --- Supplies ---------------------------------------------------------------------------------------------------------


def _quota(
    found: RateLimiter | QuotaScheduler, parameters: RateLimiterParameters, path: FieldPath, field: str
) -> Iterator[Problem]:
    if not 0 < found.bucket_capacity < math.inf:
        message = f"a bucket of {found.bucket_capacity:g} tokens lets nothing pass at once; it has to be above 0"
        yield error("out-of-range", message, path=(*path, "bucket_capacity"))
    if not 0 <= found.fill_amount < math.inf:
        yield error("out-of-range", f"{found.fill_amount:g} tokens cannot be added", path=(*path, "fill_amount"))
    elif not found.fill_amount:
        message = "the bucket is never filled: all requests are rejected when it is empty"
        yield warning("out-of-range", message, path=(*path, "fill_amount"), hint="write how many pass in an interval")
    if not parameters.interval:
        message = "the interval has to be longer than nothing"
        yield error("out-of-range", message, path=(*path, field, "interval"), hint="1s is common")
    if not parameters.max_idle_time:
        message = "buckets would be forgotten at once, and so would be the limit"
        yield error("out-of-range", message, path=(*path, field, "max_idle_time"), hint="leave it out for two hours")
    yield from _label(parameters.limit_by_label_key, (*path, field, "limit_by_label_key"))


def _concurrency(
    found: ConcurrencyLimiter | ConcurrencyScheduler,
    parameters: ConcurrencyLimiterParameters,
    path: FieldPath,
    field: str,
) -> Iterator[Problem]:
    if found.max_concurrency < 1:
        message = f"{found.max_concurrency} requests at once are none; 1 is the least"
        yield error("out-of-range", message, path=(*path, "max_concurrency"))
    if not parameters.max_inflight_duration:
        message = "no request would ever be under way"
        hint = "write how long a request takes at the most"
        yield error("out-of-range", message, path=(*path, field, "max_inflight_duration"), hint=hint)
    yield from _label(parameters.limit_by_label_key, (*path, field, "limit_by_label_key"))


def _request_parameters(parameters: RequestParameters, path: FieldPath) -> Iterator[Problem]:
    yield from _status(parameters.denied_response_status_code, (*path, "denied_response_status_code"))
    yield from _label(parameters.tokens_label_key, (*path, "tokens_label_key"))


def _status(written: int | str | None, path: FieldPath) -> Iterator[Problem]:
    if written is not None and not 400 <= (status_code(written) or 0) <= 599:
        message = f"{written} is no status of an error"
        yield error("invalid-status", message, path=path, hint="429 or TooManyRequests, and 503 are common")


# --- Schedulers -------------------------------------------------------------------------------------------------------


def _scheduler(scheduler: SchedulerSpec, path: FieldPath) -> Iterator[Problem]:
    yield from _status(scheduler.denied_response_status_code, (*path, "denied_response_status_code"))
    if scheduler.decision_deadline_margin >= PATIENCE:
        message = f"proxies wait for {PATIENCE // _SECOND} s, which leaves no time to decide"
        yield error("out-of-range", message, path=(*path, "decision_deadline_margin"), hint="10ms is common")
    for field in ("fairness_label_key", "priority_label_key", "tokens_label_key", "workload_label_key"):
        yield from _label(getattr(scheduler, field), (*path, field))
    yield from _parameters(scheduler.default_workload_parameters, (*path, "default_workload_parameters"))
    names = []
    for index, workload in enumerate(scheduler.workloads):
        where = (*path, "workloads", index)
        if workload.name == RESERVED:
            message = f"{RESERVED} is the name of the workload of all other requests"
            yield error("invalid-value", message, path=(*where, "name"), hint="give it another name")
        elif workload.name:
            names.append((workload.name, (*where, "name")))
        yield from _label_matcher(workload.label_matcher, (*where, "label_matcher"))
        yield from _parameters(workload.parameters, (*where, "parameters"))
    yield from common.unique(names, "name of a workload")


def _parameters(parameters: WorkloadParameters, path: FieldPath) -> Iterator[Problem]:
    if not 0 < parameters.priority < math.inf:
        message = f"{parameters.priority:g} is no priority; it has to be above 0"
        yield error("out-of-range", message, path=(*path, "priority"))
    if not 0 <= parameters.tokens < math.inf:
        yield error("out-of-range", f"no request takes {parameters.tokens:g} tokens", path=(*path, "tokens"))
    if parameters.queue_timeout is not None and parameters.queue_timeout > PATIENCE:
        message = f"proxies wait for {PATIENCE // _SECOND} s at the most, so requests wait no longer"
        yield warning("out-of-range", message, path=(*path, "queue_timeout"))


# --- Selectors --------------------------------------------------------------------------------------------------------


def _selectors(found: Body, path: FieldPath) -> Iterator[Problem]:
    inner: tuple[Selector, ...] = ()
    if isinstance(found, QuotaScheduler | ConcurrencyScheduler):
        inner = found.scheduler.selectors
    if found.selectors and inner:
        message = "selectors are written beside the scheduler and in it; one of the two can be"
        yield error("conflicting-fields", message, path=(*path, "scheduler", "selectors"))
    elif not found.selectors and not inner:
        hint = "write selectors: [{service: NAME.NAMESPACE.svc.cluster.local}], or {service: any}"
        yield error("missing-field", "selectors are missing", path=(*path, "selectors"), hint=hint)
    for where, written in (((*path, "selectors"), found.selectors), ((*path, "scheduler", "selectors"), inner)):
        for index, selector in enumerate(written):
            yield from _selector(selector, (*where, index))


def _selector(selector: Selector, path: FieldPath) -> Iterator[Problem]:
    if selector.service != ANY_SERVICE:
        yield from common.host(selector.service, (*path, "service"), wildcard=False)
        if common.is_dns_label(selector.service):
            message = f"{selector.service} is not the full name of a service"
            hint = f"write {selector.service}.NAMESPACE.svc.cluster.local"
            yield error("invalid-host", message, path=(*path, "service"), hint=hint)
    yield from _label_matcher(selector.label_matcher, (*path, "label_matcher"))


# --- Labels -----------------------------------------------------------------------------------------------------------


def _label(name: str, path: FieldPath) -> Iterator[Problem]:
    if likely := _likely_header(name):
        message = f"requests have no label {name}, unless their baggage brings it"
        yield warning("no-effect", message, path=path, hint=f"write {likely}")
    elif name.startswith("http.") and not name.startswith(_HEADER) and name not in _LABELS:
        message = f"requests have no label {name}, unless their baggage brings it"
        yield warning("no-effect", message, path=path, hint=f"known are {', '.join(_LABELS)}, {_HEADER}NAME")
    if name.startswith(_HEADER) and name != (known := name.lower().replace("-", "_")):
        message = f"no request has the label {name}: those of headers are in lower case, with _ in place of -"
        yield warning("no-effect", message, path=path, hint=f"write {known}")


def _likely_header(name: str) -> str:
    """The label of a header that a name, which is another one, stands for in other products."""
    for prefix in _LIKE_HEADERS:
        if name.startswith(prefix):
            return _HEADER + name.removeprefix(prefix).rstrip("]").lower().replace("-", "_")
    return ""


def _label_matcher(matcher: LabelMatcher, path: FieldPath) -> Iterator[Problem]:
    for name in matcher.match_labels:
        yield from _label(name, (*path, "match_labels", name))
    for index, asked in enumerate(matcher.match_list):
        where = (*path, "match_list", index)
        yield from _label(asked.key, (*where, "key"))
        needs_values = asked.operator in (ListOperator.IN, ListOperator.NOT_IN)
        if needs_values and not asked.values:
            yield error("missing-field", f"{asked.operator.value} needs values", path=(*where, "values"))
        elif asked.values and not needs_values:
            message = f"{asked.operator.value} does not look at values"
            yield warning("no-effect", message, path=(*where, "values"), hint="leave them out")
    if matcher.expression is not None:
        yield from _expression(matcher.expression, (*path, "expression"))


def _expression(expression: Expression, path: FieldPath) -> Iterator[Problem]:
    fields = ("negated", "all_of", "any_of", "label_exists", "label_equals", "label_matches")
    yield from common.exactly_one(expression, fields, path)
    if expression.negated is not None:
        yield from _expression(expression.negated, (*path, "not"))
    for field, several in (("all", expression.all_of), ("any", expression.any_of)):
        for index, each in enumerate(() if several is None else several.of):
            yield from _expression(each, (*path, field, "of", index))
        if several is not None and not several.of:
            yield error("missing-field", f"{field} needs conditions", path=(*path, field, "of"))
    if expression.label_exists is not None:
        yield from _label(expression.label_exists, (*path, "label_exists"))
    if expression.label_equals is not None:
        yield from _label(expression.label_equals.label, (*path, "label_equals", "label"))
    if expression.label_matches is not None:
        yield from _label(expression.label_matches.label, (*path, "label_matches", "label"))
        yield from common.regex(expression.label_matches.regex, (*path, "label_matches", "regex"))
