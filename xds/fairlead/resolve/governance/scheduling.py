"""Policies that are decided outside of proxies: which routes ask for which of them.

Other than rules these name services: at their own proxies (`ingress`) they are about all that comes in for them, at
those of their callers (`egress`) about the routes that lead to them.
"""

from collections.abc import Iterable
from dataclasses import replace

from fairlead.derive import Collection, derived, derived_index, derived_map
from fairlead.intent import (
    Concurrency,
    Forward,
    LabelCondition,
    LabelConditionKind,
    Queueing,
    Quota,
    Route,
    RouteScheduling,
    RuleName,
    SchedulingFilter,
    SchedulingPolicy,
    Workload,
    header_label,
    labels_asked_for,
)
from fairlead.models.asm.governing import Traffic
from fairlead.models.asm.scheduling import (
    KINDS,
    ConcurrencyLimiter,
    ConcurrencyLimiterParameters,
    ConcurrencyScheduler,
    ControlPoint,
    Expression,
    LabelMatcher,
    ListOperator,
    ListRequirement,
    QuotaScheduler,
    RateLimiter,
    RateLimiterParameters,
    RequestParameters,
    SchedulerSpec,
    SchedulingObject,
    WorkloadParameters,
    body,
    selectors,
)
from fairlead.problems import ObjectKey
from fairlead.resolve import services
from fairlead.resolve.governance.rules import Target
from fairlead.validation.asm.scheduling import ANY_SERVICE, RESERVED, status_code
from fairlead.world import ObjectName, World

_TOO_MANY_REQUESTS, _UNAVAILABLE = 429, 503
_SECRETS = ("authorization", "cookie", "proxy-authorization")
"""Headers by which others could act for a client. They are told only where a policy asks for their labels."""


# --- What is written --------------------------------------------------------------------------------------------------


def _objects(world: World, kind: type[SchedulingObject]) -> Collection[ObjectName, SchedulingObject]:
    return world.objects(kind)


@derived_map(_objects)
def _policies(world: World, kind: type[SchedulingObject], name: ObjectName) -> SchedulingPolicy | None:
    obj = _objects(world, kind).get(name)
    return None if obj is None else _policy(obj)


@derived
def policies(world: World) -> tuple[SchedulingPolicy, ...]:
    """All policies, ordered by their objects."""
    found = (_policies(world, kind).get(name) for kind in KINDS for name in _policies(world, kind).keys())  # noqa: SIM118
    return tuple(sorted((policy for policy in found if policy is not None), key=lambda policy: policy.origin))


def _policy(obj: SchedulingObject) -> SchedulingPolicy:
    # Durations are made plain numbers: the policy leaves the process.
    found = body(obj)
    parameters: RateLimiterParameters | ConcurrencyLimiterParameters
    asked: RequestParameters | SchedulerSpec
    if isinstance(found, RateLimiter | ConcurrencyLimiter):
        parameters, asked, status = found.parameters, found.request_parameters, _TOO_MANY_REQUESTS
    elif isinstance(found, QuotaScheduler):
        parameters, asked, status = found.rate_limiter, found.scheduler, _UNAVAILABLE
    else:
        parameters, asked, status = found.concurrency_limiter, found.scheduler, _UNAVAILABLE
    policy = SchedulingPolicy(
        origin=obj.key,
        selectors=tuple(_condition(selector.label_matcher) for selector in selectors(found)),
        denied_status=status_code(asked.denied_response_status_code or status) or status,
        queueing=_queueing(asked) if isinstance(asked, SchedulerSpec) else None,
        by_label=parameters.limit_by_label_key,
        tokens_label=asked.tokens_label_key,
        max_idle=int(parameters.max_idle_time),
    )
    if isinstance(found, ConcurrencyLimiter | ConcurrencyScheduler):
        assert isinstance(parameters, ConcurrencyLimiterParameters)
        return replace(policy, concurrency=Concurrency(found.max_concurrency, int(parameters.max_inflight_duration)))
    assert isinstance(parameters, RateLimiterParameters)
    quota = Quota(
        capacity=found.bucket_capacity,
        fill_amount=found.fill_amount,
        interval=int(parameters.interval),
        continuous=parameters.continuous_fill,
        starts_empty=parameters.delay_initial_fill,
    )
    return replace(policy, quota=quota)


def _queueing(scheduler: SchedulerSpec) -> Queueing:
    return Queueing(
        workloads=tuple(
            _workload(workload.name or str(index), _condition(workload.label_matcher), workload.parameters)
            for index, workload in enumerate(scheduler.workloads)
        ),
        default=_workload(RESERVED, LabelCondition(), scheduler.default_workload_parameters),
        fairness_label=scheduler.fairness_label_key,
        priority_label=scheduler.priority_label_key,
        workload_label=scheduler.workload_label_key,
        deadline_margin=int(scheduler.decision_deadline_margin),
    )


def _workload(name: str, condition: LabelCondition, parameters: WorkloadParameters) -> Workload:
    timeout = None if parameters.queue_timeout is None else int(parameters.queue_timeout)
    return Workload(name, condition, parameters.priority, parameters.tokens, timeout)


# --- Conditions -------------------------------------------------------------------------------------------------------

_Kind = LabelConditionKind


def _condition(matcher: LabelMatcher) -> LabelCondition:
    found = [_equals(label, value) for label, value in sorted(matcher.match_labels.items())]
    found += map(_requirement, matcher.match_list)
    if matcher.expression is not None:
        found.append(_expression(matcher.expression))
    return found[0] if len(found) == 1 else LabelCondition(_Kind.ALL, of=tuple(found))


def _equals(label: str, value: str) -> LabelCondition:
    return LabelCondition(_Kind.IN, label, (value,))


def _requirement(asked: ListRequirement) -> LabelCondition:
    is_negated = asked.operator in (ListOperator.NOT_IN, ListOperator.DOES_NOT_EXIST)
    by_value = asked.operator in (ListOperator.IN, ListOperator.NOT_IN)
    found = LabelCondition(_Kind.IN if by_value else _Kind.EXISTS, asked.key, asked.values if by_value else ())
    return LabelCondition(_Kind.NOT, of=(found,)) if is_negated else found


def _expression(written: Expression) -> LabelCondition:
    if written.negated is not None:
        return LabelCondition(_Kind.NOT, of=(_expression(written.negated),))
    if written.all_of is not None:
        return LabelCondition(_Kind.ALL, of=tuple(map(_expression, written.all_of.of)))
    if written.any_of is not None:
        return LabelCondition(_Kind.ANY, of=tuple(map(_expression, written.any_of.of)))
    if written.label_equals is not None:
        return _equals(written.label_equals.label, written.label_equals.value)
    if written.label_matches is not None:
        return LabelCondition(_Kind.MATCHES, written.label_matches.label, (written.label_matches.regex,))
    return LabelCondition(_Kind.EXISTS, written.label_exists or "")


# --- Which routes -----------------------------------------------------------------------------------------------------

_Place = tuple[ControlPoint, str]
"""With a service, in lower case, or `ANY_SERVICE`."""


@derived_map(_objects)
def _places(world: World, kind: type[SchedulingObject], name: ObjectName) -> tuple[_Place, ...] | None:
    """The places that an object's selectors name, in their order."""
    obj = _objects(world, kind).get(name)
    if obj is None:
        return None
    return tuple((selector.control_point, selector.service.lower()) for selector in selectors(body(obj)))


@derived_index(_places)
def _by_place(
    _world: World, _kind: type[SchedulingObject], _name: ObjectName, places: tuple[_Place, ...]
) -> Iterable[_Place]:
    return places


@derived
def _of_services(world: World, point: ControlPoint, hosts: frozenset[str]) -> tuple[RouteScheduling, ...]:
    found = []
    for kind in KINDS:
        names = (name for host in hosts for name in _by_place(world, kind).get((point, host)) or ())
        for name in sorted(set(names)):
            places = _places(world, kind).get(name) or ()
            chosen = tuple(index for index, place in enumerate(places) if place[0] is point and place[1] in hosts)
            key = ObjectKey(kind.group, kind.kind, name.namespace, name.name)
            found.append(RouteScheduling(RuleName(key, 0), chosen))
    return tuple(found)


def _is_there(world: World, point: ControlPoint) -> bool:
    return any(place[0] is point for kind in KINDS for place in _by_place(world, kind).keys())  # noqa: SIM118


@derived
def _points(world: World) -> frozenset[ControlPoint]:
    """Those that there are policies for."""
    return frozenset(point for point in ControlPoint if _is_there(world, point))


def scheduled(world: World, target: Target, routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """The routes of a virtual host with the policies that they ask for."""
    inbound = target.traffic is Traffic.SIDECAR_INBOUND
    if (ControlPoint.INGRESS if inbound else ControlPoint.EGRESS) not in _points(world):
        return routes
    if inbound:
        return _with(routes, _of_services(world, ControlPoint.INGRESS, target.services | {ANY_SERVICE}))
    return tuple(route for each in routes for route in _with((each,), _of_route(world, each)))


def _of_route(world: World, route: Route) -> tuple[RouteScheduling, ...]:
    if not isinstance(route.action, Forward):
        return ()
    hosts = {each.backend.host for each in route.action.destinations if each.backend is not None}
    return _of_services(world, ControlPoint.EGRESS, frozenset({*hosts, ANY_SERVICE})) if hosts else ()


def _with(routes: tuple[Route, ...], found: tuple[RouteScheduling, ...]) -> tuple[Route, ...]:
    return tuple(replace(route, policies=(*route.policies, *found)) for route in routes) if found else routes


@derived
def _namespaces(world: World) -> frozenset[str]:
    """Those of services that policies hold requests before; or `ANY_SERVICE`."""
    found: set[str] = set()
    places = frozenset[_Place]().union(*(_by_place(world, kind).keys() for kind in KINDS))
    for host in [host for point, host in places if point is ControlPoint.INGRESS]:
        service = services.service_of(host)
        found.update(name.namespace for name in services.entries_by_host(world).get(host) or ())
        found.add(host if service is None else service.namespace)
    return frozenset(found)


def has_inbound(world: World, namespace: str) -> bool:
    """Whether sidecars of a namespace may ask for policies about what comes in.

    The clusters of sidecars are the same for all workloads that see the same.
    """
    return not _namespaces(world).isdisjoint({namespace, ANY_SERVICE})


def has_outbound(world: World) -> bool:
    """Whether routes that leave proxies may ask for policies."""
    return ControlPoint.EGRESS in _points(world)


@derived_index(_policies)
def _labels(_world: World, _kind: type[SchedulingObject], _name: ObjectName, policy: SchedulingPolicy) -> Iterable[str]:
    """Label -> the policies that ask for it."""
    return labels_asked_for(policy)


@derived
def _filter(world: World) -> SchedulingFilter:
    known = frozenset[str]().union(*(_labels(world, kind).keys() for kind in KINDS))
    return SchedulingFilter(tuple(name for name in _SECRETS if header_label(name) not in known))


def concerns(world: World, traffic: Traffic, hosts: frozenset[str]) -> SchedulingFilter | None:
    """What connections need whose routes may ask for policies; `hosts` are those of services that inbound ones are for.

    All that leaves proxies may lead to a service with a policy, now or with the next route: what connections know does
    not depend on that, since its change drains them.
    """
    if traffic is not Traffic.SIDECAR_INBOUND:
        return _filter(world) if ControlPoint.EGRESS in _points(world) else None
    return _filter(world) if _of_services(world, ControlPoint.INGRESS, hosts | {ANY_SERVICE}) else None
