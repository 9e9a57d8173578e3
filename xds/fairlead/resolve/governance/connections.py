"""What connections know of the rules that routes refer to, and which of a proxy's labels decide about rules."""

from fairlead.derive import derived
from fairlead.intent import (
    RUNTIME,
    Backend,
    CommonFilter,
    DiscoveredFilter,
    Governance,
    LimitFilter,
    RateLimitService,
    RequestLimit,
    RouteBreaker,
    RuleName,
)
from fairlead.models.asm.governing import Traffic
from fairlead.resolve.governance import rules, scheduling
from fairlead.resolve.governance.breakers import BREAKERS
from fairlead.resolve.governance.kinds import KINDS
from fairlead.resolve.governance.local_limits import LOCAL_LIMITS
from fairlead.resolve.governance.rules import Rule
from fairlead.resolve.scope import Labels, Selection
from fairlead.world import World


def of_connections(
    world: World, selection: Selection, traffic: Traffic, ports: frozenset[int], services: frozenset[str] = frozenset()
) -> Governance:
    """What routes for some ports may refer to; no ports stand for any. `services` is as in `Target`."""
    found = [
        rule
        for kind in KINDS
        for rule in rules.of_selection(world, kind, selection, traffic)
        if not ports or not rule.port or rule.port in ports
    ]
    return Governance(
        limits=tuple(sorted({limit_filter for rule in found if (limit_filter := _limit_filter(rule)) is not None})),
        rate_limit_services=tuple(
            sorted({policy for rule in found if isinstance(policy := rule.policy.for_connections, RateLimitService)})
        ),
        breakers=any(map(_is_breaker, found)),
        scheduling=scheduling.concerns(world, traffic, services),
        origin=tuple(dict.fromkeys(rule.key for rule in found)),
    )


def backends_of_inbound(world: World, selection: Selection) -> frozenset[Backend]:
    """What sidecars may ask about requests to their workloads: the same for all of a namespace with the same rules."""
    found = frozenset(of_connections(world, selection, Traffic.SIDECAR_INBOUND, frozenset()).backends)
    return found | {RUNTIME} if scheduling.has_inbound(world, selection.namespace) else found


# --- Filters that are told apart from connections ---------------------------------------------------------------------


def _is_breaker(rule: Rule) -> bool:
    return isinstance(rule.policy.for_route, RouteBreaker)


def _limit_filter(rule: Rule) -> LimitFilter | None:
    limit = rule.policy.for_connections
    if not isinstance(limit, RequestLimit):
        return None
    return LimitFilter(rule.traffic is Traffic.SIDECAR_INBOUND, limit.per_connection, limit.rejection)


@derived
def _limits_by_filter(world: World, selection: Selection) -> dict[LimitFilter, dict[RuleName, RequestLimit]]:
    found: dict[LimitFilter, dict[RuleName, RequestLimit]] = {}
    for traffic in Traffic:
        for rule in rules.of_selection(world, LOCAL_LIMITS, selection, traffic):
            limit, limit_filter = rule.policy.for_connections, _limit_filter(rule)
            if isinstance(limit, RequestLimit) and limit_filter is not None:
                found.setdefault(limit_filter, {})[rule.name] = limit
    return found


@derived
def filters(world: World, selection: Selection) -> frozenset[DiscoveredFilter]:
    """What connections of the proxies of a selection may refer to."""
    found: set[DiscoveredFilter] = set(_limits_by_filter(world, selection))
    if breakers(world, selection):
        found.add(CommonFilter.BREAKER)
    return frozenset(found)


def limits_of(world: World, selection: Selection, limit_filter: LimitFilter) -> tuple[RequestLimit, ...]:
    """The limits that are enforced there, the oldest first."""
    return tuple(_limits_by_filter(world, selection).get(limit_filter, {}).values())


@derived
def breakers(world: World, selection: Selection) -> tuple[RouteBreaker, ...]:
    """The breakers that routes of the proxies of a selection may have."""
    of_traffic = (rules.of_selection(world, BREAKERS, selection, traffic) for traffic in Traffic)
    policies = (rule.policy.for_route for found in of_traffic for rule in found)
    return tuple(dict.fromkeys(policy for policy in policies if isinstance(policy, RouteBreaker)))


# --- Which proxies ----------------------------------------------------------------------------------------------------


def labels_asked_for(world: World, namespace: str, labels: Labels) -> Labels:
    """Those of a proxy's labels that some rule in its namespace asks for."""
    return frozenset[tuple[str, str]]().union(
        *(rules.labels_asked_for(world, kind, namespace, labels) for kind in KINDS)
    )
