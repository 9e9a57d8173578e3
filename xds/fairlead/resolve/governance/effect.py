"""Rules that no route of the proxies that they are for has."""

from collections.abc import Iterable, Iterator

from fairlead.derive import Input, derived, derived_index
from fairlead.intent import RuleName
from fairlead.models.asm.governing import Traffic
from fairlead.models.core import Service
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.problems import FieldPath, Problem, Related, warning
from fairlead.resolve import services
from fairlead.resolve.governance import rules
from fairlead.resolve.governance.kinds import KINDS
from fairlead.resolve.governance.rules import ANY_HOST, Kind, Rule
from fairlead.resolve.istio.references import is_for_sidecars_only
from fairlead.resolve.scope import Proxy, Role, Selection
from fairlead.world import ObjectName, World

_NAMED = 6
"""So many routes are named, where none has the name that is looked for."""


def all_rules(world: World) -> Iterator[Rule]:
    """The rules of all objects; of one name there may be several, each for a host."""
    for kind in KINDS:
        for name in rules.rules(world, kind).keys():  # noqa: SIM118  # no dict: keys() records the reading
            yield from rules.rules(world, kind).get(name) or ()


@derived
def to_be_used(world: World, selection: Selection) -> frozenset[Rule]:
    """The rules for proxies of a selection, except those that each workload has for itself."""
    traffic = Traffic.GATEWAY if selection.role is Role.GATEWAY else Traffic.SIDECAR_OUTBOUND
    return frozenset(rule for kind in KINDS for rule in rules.of_selection(world, kind, selection, traffic))


def of_proxies(world: World, selection: Selection) -> dict[RuleName, Rule]:
    """For each name that rules for proxies of a selection have, one of these; those of single workloads included."""
    return {
        rule.name: rule
        for kind in KINDS
        for traffic in Traffic
        for rule in rules.of_selection(world, kind, selection, traffic)
    }


def proxies_of(rule: Rule) -> str:
    """The proxies that a rule is for, in words."""
    role = Role.GATEWAY if rule.traffic is Traffic.GATEWAY else Role.SIDECAR
    labels = ", ".join(f"{name}: {value}" for name, value in sorted(rule.labels))
    return f"{role.value} in namespace {rule.key.namespace}{f' with {labels}' if labels else ''}"


def others_with_labels(rule: Rule, proxies: Iterable[Proxy]) -> str:
    """Where there are proxies with the labels of a rule that is for none."""
    alike = [proxy for proxy in proxies if rule.labels and rule.labels <= proxy.labels]
    for_gateways = rule.traffic is Traffic.GATEWAY
    if any(
        (proxy.role is Role.GATEWAY) is not for_gateways for proxy in alike if proxy.namespace == rule.key.namespace
    ):
        return (
            ", but sidecars are: leave isGateway out" if for_gateways else ", but gateways are: write isGateway: true"
        )
    places = sorted({proxy.namespace for proxy in alike if (proxy.role is Role.GATEWAY) is for_gateways})
    return f", but there are in namespace {', '.join(places)}" if places else ""


def without_effect(world: World, selection: Selection, rule: Rule) -> Problem:
    """Why no route of the proxies of a selection has the rule."""
    proxies = f"{selection.role.value}s in namespace {selection.namespace}"
    kind = next(kind for kind in KINDS if kind.model.kind == rule.key.kind)
    for other in rules.of_selection(world, kind, selection, rule.traffic):
        same = (other.host, other.port, other.route) == (rule.host, rule.port, rule.route)
        if same and other.age < rule.age:
            return warning(
                "no-matching-request",
                f"at {proxies} {other.key} is about the same requests, and is older or comes first by its name",
                key=rule.key,
                path=rule.path,
                hint="join the two, or name other requests",
                related=(Related("this one has effect", other.key, other.path),),
            )
    of = "of " if "/" in rule.host else ""
    port = f" for port {rule.port}" if rule.port else ""
    route = f" with a route named {rule.route}" if rule.route else ""
    forwarded = " that requests are forwarded by" if kind.only_forwarded else ""
    path, hint = _likely_mistake(world, kind, rule)
    return warning(
        "no-matching-request",
        f"{proxies} have no virtual host {of}{rule.host}{port}{route}{forwarded}, so that it has no effect",
        key=rule.key,
        path=path,
        hint=hint,
    )


def _virtual_services(world: World) -> Input[ObjectName, VirtualService]:
    return world.objects(VirtualService)


@derived_index(_virtual_services)
def _by_host(_world: World, name: ObjectName, virtual_service: VirtualService) -> Iterable[str]:
    """Full host name -> the VirtualServices for it."""
    return {services.qualify(host, name.namespace) for host in virtual_service.spec.hosts}


def _virtual_services_of(world: World, rule: Rule) -> list[VirtualService]:
    """Those that a rule names, or that have the host that it names."""
    kind, slash, name = rule.host.partition("/")
    names = (
        [ObjectName(*name.split("/", 1))] if slash and kind == VirtualService.kind else _by_host(world).get(rule.host)
    )
    return [item for name in sorted(names or ()) if (item := _virtual_services(world).get(name)) is not None]


def _likely_mistake(world: World, kind: Kind, rule: Rule) -> tuple[FieldPath, str]:
    """Where a rule that no route has is likely wrong, and what to do about it."""
    found = _virtual_services_of(world, rule)
    at_gateways = rule.traffic is Traffic.GATEWAY
    port = "the port is the one that the Gateway's server, or the service, declares" if rule.port else ""
    if found and not at_gateways and not any(map(is_for_sidecars_only, found)):
        return rule.path, "for requests at gateways write isGateway: true"
    if found and at_gateways and all(map(is_for_sidecars_only, found)):
        return rule.path, f"{found[0].key} names no Gateway: write gateways there, or leave isGateway out"
    routes = [route for item in found for route in item.spec.http]
    if rule.route and routes and not any(route.delegate for route in routes):
        named = [route for route in routes if route.name == rule.route]
        if not named:
            names = sorted({route.name for route in routes if route.name})
            hint = f"routes there are named {', '.join(names[:_NAMED])}" if names else "give the route there this name"
            return _path_of_route(rule), hint
        routes = named
    if kind.only_forwarded and routes and not any(route.route or route.delegate for route in routes):
        return rule.path, "proxies answer these requests by themselves: name others"
    return rule.path, port if found or rule.host == ANY_HOST else _unknown_host(world, rule, port)


def _unknown_host(world: World, rule: Rule, port: str) -> str:
    """What to do about the host of a rule that no VirtualService has."""
    if "/" in rule.host:
        return "there is no such object: correct its name, or its namespace"
    if "|" in rule.host:
        return "such a name is of what comes in at sidecars: write applyToTraffic: sidecar_inbound"
    if ":" in rule.host:
        return "write the port into the field port, not into the name"
    if "." not in rule.host:
        return f"write the whole name, such as {rule.host}.NAMESPACE.{services.CLUSTER_DOMAIN}"
    at_gateways = rule.traffic is Traffic.GATEWAY
    name = services.service_of(rule.host)
    if name is not None and not at_gateways:
        service = world.objects(Service).get(name)
        if service is None:
            return f"there is no Service {name.namespace}/{name.name}: correct its name, or its namespace"
        if rule.port and (ports := [port.port for port in service.spec.ports]) and rule.port not in ports:
            return f"ports of the Service are {', '.join(map(str, ports))}"
    known = "a VirtualService or HTTPRoute" if at_gateways else "a service or VirtualService"
    return f"name a host of {known} there{f'; {port}' if port else ''}"


def _path_of_route(rule: Rule) -> FieldPath:
    parent = rule.path[:-1]
    return (*parent, "route", "name_match") if parent[-1] == "vhost" else (*parent, "section_name")
