"""Rules: which requests, of which proxies, an object is about; the same for all kinds.

A rule is for virtual hosts and routes, by their names, and is looked up for each virtual host by the names that this
has: those of all hosts of the VirtualServices that it is made of, not only the one that clients ask for.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fairlead.derive import Collection, derived, derived_index, derived_map
from fairlead.intent import RateLimitService, RequestLimit, RoutePolicy, RuleName
from fairlead.models.asm.governing import Governed, GoverningSpec, TargetKind, TargetService, Traffic
from fairlead.models.base import KubernetesObject
from fairlead.models.core import Service
from fairlead.models.gateway_api import HTTPRoute
from fairlead.models.istio.service_entry import ServiceEntry
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.problems import FieldPath, ObjectKey
from fairlead.resolve import services
from fairlead.resolve.scope import Labels, Role, Selection
from fairlead.world import ObjectName, World

ANY_HOST = "*"
Age = tuple[str, str, str, int]
"""Creation, name and namespace of the object, and the number of the rule in it."""


class Policy(NamedTuple):
    """What becomes of requests."""

    for_route: RoutePolicy
    """What routes say of it."""
    for_connections: RequestLimit | RateLimitService | None = None
    """What the connections of these routes have to know."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of objects that are about requests."""

    model: type[KubernetesObject]
    """Its objects' `spec` is a `GoverningSpec` that has `configs`, each a `Governed`."""
    policy: Callable[[RuleName, Any, Any], Policy]
    """What becomes of the requests that an entry of `configs` is for: name, spec and entry are given."""
    traffic: Traffic
    """Where nothing is said of it, and the proxies are no gateways."""
    only_forwarded: bool = False
    """Requests that proxies answer by themselves, as with a redirect, are let be."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of requests to some host."""

    name: RuleName
    labels: Labels
    """Of the proxies, which are in the namespace of the object."""
    traffic: Traffic
    host: str
    """A name of virtual hosts, in lower case, or `ANY_HOST`."""
    port: int
    """0 for any."""
    route: str
    """Name of a route; empty for all, unless a rule for one of them is there as well."""
    policy: Policy
    age: Age
    path: FieldPath
    """Where the host is written."""

    @property
    def key(self) -> ObjectKey:
        """The object."""
        return self.name.key


# --- What is written --------------------------------------------------------------------------------------------------


def _objects(world: World, kind: Kind) -> Collection[ObjectName, KubernetesObject]:
    return world.objects(kind.model)


@derived_map(_objects)
def rules(world: World, kind: Kind, name: ObjectName) -> tuple[Rule, ...] | None:
    """The rules of each object."""
    found: Any = _objects(world, kind).get(name)
    if found is None:
        return None
    return tuple(
        rule for index, config in enumerate(found.spec.configs) for rule in _rules_of(world, kind, found, index, config)
    )


def _rules_of(world: World, kind: Kind, found: KubernetesObject, index: int, config: Governed) -> Iterator[Rule]:
    spec: GoverningSpec = found.spec  # type: ignore[attr-defined]  # see Kind.model
    metadata = found.metadata
    selector = config.workload_selector or spec.workload_selector
    is_gateway = spec.is_gateway if config.is_gateway is None else config.is_gateway
    name = RuleName(found.key, index)
    rule = Rule(
        name=name,
        labels=frozenset() if selector is None else frozenset(selector.labels.items()),
        traffic=spec.apply_to_traffic or (Traffic.GATEWAY if is_gateway else kind.traffic),
        host=ANY_HOST,
        port=0,
        route="",
        policy=kind.policy(name, spec, config),
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
    if entry is None:  # a name that no virtual host has, so that the rule is told to be without effect
        return (_name_of(ObjectKey(ServiceEntry.group, ServiceEntry.kind, namespace, target.name)),)
    return tuple(host.lower() for host in entry.spec.hosts)


def _name_of(key: ObjectKey) -> str:
    """An object in place of a host name, which has no slash."""
    return f"{key.kind}/{key.namespace}/{key.name}"


# --- Which proxies ----------------------------------------------------------------------------------------------------


def _rules(world: World, kind: Kind) -> Collection[ObjectName, tuple[Rule, ...]]:
    return rules(world, kind)


@derived_index(_rules)
def _by_label(
    _world: World, _kind: Kind, name: ObjectName, found: tuple[Rule, ...]
) -> Iterable[tuple[str, tuple[str, str] | None]]:
    """Namespace and a label of proxies -> the objects that are for proxies with all labels, of which this is one."""
    return {(name.namespace, label) for rule in found for label in (rule.labels or (None,))}


def labels_asked_for(world: World, kind: Kind, namespace: str, labels: Labels) -> Labels:
    """Those of a proxy's labels that some rule in its namespace asks for."""
    return frozenset(label for label in labels if _by_label(world, kind).get((namespace, label)))


def _known_labels(selection: Selection) -> Labels:
    return selection.labels.union(*(selector.labels for selector in selection.selectors))


@derived
def _of_proxies(world: World, kind: Kind, namespace: str, labels: Labels, traffic: Traffic) -> tuple[Rule, ...]:
    names = {name for label in (None, *labels) for name in _by_label(world, kind).get((namespace, label)) or ()}
    found = (rule for name in names for rule in rules(world, kind).get(name) or ())
    chosen = [rule for rule in found if rule.traffic is traffic and rule.labels <= labels]
    return tuple(sorted(chosen, key=lambda rule: rule.age))


def of_selection(world: World, kind: Kind, selection: Selection, traffic: Traffic) -> tuple[Rule, ...]:
    """The rules for proxies of a selection, the oldest first."""
    if (traffic is Traffic.GATEWAY) is not (selection.role is Role.GATEWAY):
        return ()
    return _of_proxies(world, kind, selection.namespace, _known_labels(selection), traffic)


# --- Which requests ---------------------------------------------------------------------------------------------------


@derived_index(_rules)
def _by_host(_world: World, _kind: Kind, name: ObjectName, found: tuple[Rule, ...]) -> Iterable[tuple[str, str]]:
    """Namespace of proxies and name of virtual hosts -> the objects that are about requests to them."""
    return {(name.namespace, rule.host) for rule in found}


class Target(NamedTuple):
    """What a virtual host is to those who are about requests to it."""

    traffic: Traffic
    names: frozenset[str]
    ports: frozenset[int]
    """As Gateways and services declare them."""
    services: frozenset[str] = frozenset()
    """Hosts of the services that requests are for, where they are already with them."""


def chosen(world: World, kind: Kind, selection: Selection, target: Target) -> list[Rule]:
    """The rules for a virtual host, the first goes before the others."""
    traffic = target.traffic
    if (traffic is Traffic.GATEWAY) is not (selection.role is Role.GATEWAY):
        return []
    labels, hosts, ports = _known_labels(selection), {ANY_HOST, *target.names}, {0, *target.ports}
    objects = {name for host in hosts for name in _by_host(world, kind).get((selection.namespace, host)) or ()}
    found = (rule for name in objects for rule in rules(world, kind).get(name) or ())
    of_host = [
        rule
        for rule in found
        if rule.traffic is traffic and rule.host in hosts and rule.port in ports and rule.labels <= labels
    ]
    # The name of a host says more than that of any.
    return sorted(of_host, key=lambda rule: (rule.host == ANY_HOST, rule.age))


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
