"""ASMLocalRateLimiters: which requests of which proxies are limited.

A limit is for virtual hosts and routes, by their names, and is looked up for each virtual host by the names that this
has: those of all hosts of the VirtualServices that it is made of, not only the one that clients ask for.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from fairlead.derive import Collection, derived, derived_index, derived_map
from fairlead.intent import (
    LimitOverride,
    Rejection,
    RequestLimit,
    Requests,
    Route,
    RouteLimit,
    StringMatch,
    StringMatchKind,
    TokenBucket,
    ValueMatch,
)
from fairlead.models.asm import (
    ASMLocalRateLimiter,
    HeaderMatcher,
    LimitConfig,
    LocalRateLimit,
    QueryParameterMatcher,
    RequestMatcher,
    TargetKind,
    TargetService,
    Traffic,
)
from fairlead.models.core import Service
from fairlead.models.gateway_api import HTTPRoute
from fairlead.models.istio.service_entry import ServiceEntry
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.problems import FieldPath, ObjectKey, Problem, Related, warning
from fairlead.resolve import services
from fairlead.resolve.scope import Labels, Role, Selection
from fairlead.world import ObjectName, World

ANY_HOST = "*"
Age = tuple[str, str, str, int]
"""Creation, name and namespace of the object, and the number of the limit in it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit for requests to some host."""

    labels: Labels
    """Of the proxies, which are in the namespace of the object."""
    traffic: Traffic
    host: str
    """A name of virtual hosts, in lower case, or `ANY_HOST`."""
    port: int
    """0 for any."""
    route: str
    """Name of a route; empty for all, unless a rule for one of them is there as well."""
    limit: RequestLimit
    body: str
    age: Age
    path: FieldPath
    """Where the host is written."""

    @property
    def key(self) -> ObjectKey:
        """The object."""
        return self.limit.origin[0]


# --- What is written --------------------------------------------------------------------------------------------------


def _limiters(world: World) -> Collection[ObjectName, ASMLocalRateLimiter]:
    return world.objects(ASMLocalRateLimiter)


@derived_map(_limiters)
def rules(world: World, name: ObjectName) -> tuple[Rule, ...] | None:
    """The rules of each object."""
    limiter = _limiters(world).get(name)
    if limiter is None:
        return None
    return tuple(
        rule for index, config in enumerate(limiter.spec.configs) for rule in _rules_of(world, limiter, index, config)
    )


def _rules_of(world: World, limiter: ASMLocalRateLimiter, index: int, config: LocalRateLimit) -> Iterator[Rule]:
    spec, metadata = limiter.spec, limiter.metadata
    selector = config.workload_selector or spec.workload_selector
    is_gateway = spec.is_gateway if config.is_gateway is None else config.is_gateway
    rule = Rule(
        labels=frozenset() if selector is None else frozenset(selector.labels.items()),
        traffic=spec.apply_to_traffic or (Traffic.GATEWAY if is_gateway else Traffic.SIDECAR_INBOUND),
        host=ANY_HOST,
        port=0,
        route="",
        limit=_limit(f"{metadata.namespace}/{metadata.name}/{index}", config, limiter.key),
        body=config.limit.custom_response_body or "",
        age=(metadata.creation_timestamp or "", metadata.name, metadata.namespace, index),
        path=("spec", "configs", index),
    )
    if config.match is not None:
        vhost = config.match.vhost
        path = (*rule.path, "match", "vhost", "name")
        yield replace(rule, host=vhost.name.lower(), port=vhost.port, route=vhost.route.name_match, path=path)
    for number, target in enumerate(config.target_services):
        path = (*rule.path, "target_services", number, "name")
        for host in _hosts_of_target(world, target, target.namespace or metadata.namespace):
            yield replace(rule, host=host, port=target.port, route=target.section_name, path=path)


def _hosts_of_target(world: World, target: TargetService, namespace: str) -> tuple[str, ...]:
    if target.kind is TargetKind.SERVICE:
        return (f"{target.name}.{namespace}.{services.CLUSTER_DOMAIN}".lower(),)
    if target.kind is TargetKind.VIRTUAL_SERVICE:
        return (_name_of(ObjectKey(VirtualService.group, VirtualService.kind, namespace, target.name)),)
    entry = world.objects(ServiceEntry).get(ObjectName(namespace, target.name))
    return () if entry is None else tuple(host.lower() for host in entry.spec.hosts)


def _name_of(key: ObjectKey) -> str:
    """An object in place of a host name, which has no slash."""
    return f"{key.kind}/{key.namespace}/{key.name}"


def _limit(name: str, config: LocalRateLimit, key: ObjectKey) -> RequestLimit:
    written = config.limit
    headers = written.response_headers_to_add or written.response_header_to_add
    only = () if config.match is None else config.match.vhost.route.header_match
    return RequestLimit(
        name=name,
        bucket=_bucket(written),
        origin=(key,),
        only=Requests(headers=tuple(map(_header, only))),
        overrides=tuple(
            LimitOverride(
                requests=_requests(override.request_match),
                bucket=_bucket(override.limit),
                by_header=_with_values(override.request_match.header_match, override.request_match),
                by_query_parameter=_with_values(override.request_match.query_match, override.request_match),
            )
            for override in config.limit_overrides
        ),
        rejection=Rejection(written.status, tuple(sorted(headers.items()))),
        per_connection=written.per_downstream_connection,
    )


def _bucket(limit: LimitConfig) -> TokenBucket:
    return TokenBucket(limit.quota, limit.fill_interval.seconds * 1_000_000_000 + limit.fill_interval.nanos)


def _requests(match: RequestMatcher) -> Requests:
    return Requests(tuple(map(_header, match.header_match)), tuple(map(_query_parameter, match.query_match)))


def _with_values(
    matchers: Iterable[HeaderMatcher] | Iterable[QueryParameterMatcher], match: RequestMatcher
) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.name for item in matchers if item.distinct or match.distinct))


def _header(match: HeaderMatcher) -> ValueMatch:
    if match.present_match is not None:
        return ValueMatch(match.name, None, invert=match.invert_match == match.present_match)
    value = StringMatch(StringMatchKind.EXACT, "")
    for kind, text in (
        (StringMatchKind.REGEX, match.regex_match),
        (StringMatchKind.EXACT, match.exact_match),
        (StringMatchKind.PREFIX, match.prefix_match),
        (StringMatchKind.SUFFIX, match.suffix_match),
    ):
        if text is not None:
            value = StringMatch(kind, text)
    return ValueMatch(match.name, value, invert=match.invert_match != (match.is_exact_match_empty is False))


def _query_parameter(match: QueryParameterMatcher) -> ValueMatch:
    for kind, text in (
        (StringMatchKind.EXACT, match.exact_match),
        (StringMatchKind.PREFIX, match.prefix_match),
        (StringMatchKind.SUFFIX, match.suffix_match),
        (StringMatchKind.REGEX, match.regex_match),
        (StringMatchKind.CONTAINS, match.contains_match),
    ):
        if text is not None:
            return ValueMatch(match.name, StringMatch(kind, text, ignore_case=match.ignore_case))
    return ValueMatch(match.name, None)


# --- Which proxies ----------------------------------------------------------------------------------------------------


@derived_index(rules)
def _by_label(_world: World, name: ObjectName, found: tuple[Rule, ...]) -> Iterable[tuple[str, tuple[str, str] | None]]:
    """Namespace and a label of proxies -> the objects that are for proxies with all labels, of which this is one."""
    return {(name.namespace, label) for rule in found for label in (rule.labels or (None,))}


def labels_asked_for(world: World, namespace: str, labels: Labels) -> Labels:
    """Those of a proxy's labels that some limit in its namespace asks for."""
    return frozenset(label for label in labels if _by_label(world).get((namespace, label)))


def _known_labels(selection: Selection) -> Labels:
    return selection.labels.union(*(selector.labels for selector in selection.selectors))


@derived
def _of_proxies(world: World, namespace: str, labels: Labels, traffic: Traffic) -> tuple[Rule, ...]:
    names = {name for label in (None, *labels) for name in _by_label(world).get((namespace, label)) or ()}
    found = (rule for name in names for rule in rules(world).get(name) or ())
    chosen = [rule for rule in found if rule.traffic is traffic and rule.labels <= labels]
    return tuple(sorted(chosen, key=lambda rule: rule.age))


def of_selection(world: World, selection: Selection, traffic: Traffic) -> tuple[Rule, ...]:
    """The rules for proxies of a selection, the oldest first."""
    if (traffic is Traffic.GATEWAY) is not (selection.role is Role.GATEWAY):
        return ()
    return _of_proxies(world, selection.namespace, _known_labels(selection), traffic)


# --- Which requests ---------------------------------------------------------------------------------------------------


@derived_index(rules)
def _by_host(_world: World, name: ObjectName, found: tuple[Rule, ...]) -> Iterable[tuple[str, str]]:
    """Namespace of proxies and name of virtual hosts -> the objects that limit requests to them."""
    return {(name.namespace, rule.host) for rule in found}


def of_connections(
    world: World, selection: Selection, traffic: Traffic, ports: frozenset[int]
) -> tuple[RequestLimit, ...]:
    """The limits that routes for some ports may name; no ports stand for any."""
    found = of_selection(world, selection, traffic)
    limits = {rule.limit.name: rule.limit for rule in found if not ports or not rule.port or rule.port in ports}
    return tuple(limits.values())


class Target(NamedTuple):
    """What a virtual host is to those who limit requests to it."""

    traffic: Traffic
    names: frozenset[str]
    ports: frozenset[int]
    """As Gateways and services declare them."""


def limited(world: World, selection: Selection, target: Target, routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """The routes of a virtual host with their limits.

    A rule for a route goes before one for the whole virtual host, one with a name before one for any, and the older of
    two for the same before the other.
    """
    chosen = _chosen(world, selection, target)
    return tuple(_limited(route, chosen) for route in routes) if chosen else routes


def _limited(route: Route, chosen: list[Rule]) -> Route:
    for rule in sorted(chosen, key=lambda rule: not rule.route):
        # A route with several matches is several routes, called NAME.NAME-OF-MATCH.
        if not rule.route or route.name == rule.route or route.name.startswith(f"{rule.route}."):
            return replace(route, limit=RouteLimit(rule.limit.name, rule.body))
    return route


def _chosen(world: World, selection: Selection, target: Target) -> list[Rule]:
    traffic = target.traffic
    if (traffic is Traffic.GATEWAY) is not (selection.role is Role.GATEWAY):
        return []
    labels, hosts, ports = _known_labels(selection), {ANY_HOST, *target.names}, {0, *target.ports}
    objects = {name for host in hosts for name in _by_host(world).get((selection.namespace, host)) or ()}
    found = (rule for name in objects for rule in rules(world).get(name) or ())
    chosen = [
        rule
        for rule in found
        if rule.traffic is traffic and rule.host in hosts and rule.port in ports and rule.labels <= labels
    ]
    # The name of a host says more than that of any.
    return sorted(chosen, key=lambda rule: (rule.host == ANY_HOST, rule.age))


def names_of(world: World, domain: str, origin: Iterable[ObjectKey]) -> frozenset[str]:
    """The names that a virtual host has: its own, all hosts of the objects that it is made of, and these."""
    found = {domain}
    for key in origin:
        name = ObjectName(key.namespace, key.name)
        if (key.group, key.kind) == (VirtualService.group, VirtualService.kind):
            virtual_service = world.objects(VirtualService).get(name)
            if virtual_service is not None:
                found.update(services.qualify(host, key.namespace) for host in virtual_service.spec.hosts)
                found.add(_name_of(key))
        elif (key.group, key.kind) == (HTTPRoute.group, HTTPRoute.kind):
            route = world.objects(HTTPRoute).get(name)
            found.update(host.lower() for host in (() if route is None else route.spec.hostnames))
        elif (key.group, key.kind) == (Service.group, Service.kind):
            found.add(services.qualify(key.name, key.namespace))
        elif (key.group, key.kind) == (ServiceEntry.group, ServiceEntry.kind):
            entry = world.objects(ServiceEntry).get(name)
            found.update(host.lower() for host in (() if entry is None else entry.spec.hosts))
    return frozenset(found)


# --- Limits without effect --------------------------------------------------------------------------------------------


@derived
def to_be_used(world: World, selection: Selection) -> frozenset[Rule]:
    """The rules for proxies of a selection, except those that each workload has for itself."""
    traffic = Traffic.GATEWAY if selection.role is Role.GATEWAY else Traffic.SIDECAR_OUTBOUND
    return frozenset(of_selection(world, selection, traffic))


def without_effect(world: World, selection: Selection, rule: Rule) -> Problem:
    """Why no route of the proxies of a selection has the rule's limit."""
    proxies = f"{selection.role.value}s in namespace {selection.namespace}"
    for other in of_selection(world, selection, rule.traffic):
        same = (other.host, other.port, other.route) == (rule.host, rule.port, rule.route)
        if same and other.age < rule.age:
            return warning(
                "limit-without-effect",
                f"at {proxies} {other.key} limits the same requests, and is older or comes first by its name",
                key=rule.key,
                path=rule.path,
                hint="join the two, or limit something else",
                related=(Related("this one has effect", other.key, other.path),),
            )
    port = f" for port {rule.port}" if rule.port else ""
    route = f" with a route named {rule.route}" if rule.route else ""
    return warning(
        "limit-without-effect",
        f"{proxies} have no virtual host {rule.host}{port}{route}, so that nothing is limited",
        key=rule.key,
        path=rule.path,
        hint="the port is the one that the Gateway's server, or the service, declares" if rule.port else "",
    )
