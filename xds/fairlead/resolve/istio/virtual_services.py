"""VirtualServices: on which virtual hosts they are served, and in which order.

The chain from objects to virtual hosts is incremental at each step: a VirtualService -> the selectors of its Gateways
-> for each selection, where its hosts meet those of servers -> for each virtual host, the VirtualServices that serve
it. One more VirtualService costs the work for itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.derive import Collection, derived, derived_index, derived_map
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.problems import Problem, Related, warning
from fairlead.resolve import mesh, services
from fairlead.resolve.dialect import HostRoutes, ServerProtocol, VirtualHostKey, route_table
from fairlead.resolve.hosts import intersect
from fairlead.resolve.istio.gateways import GatewayServer, gateway_servers, selector
from fairlead.resolve.istio.http_routes import concatenate, http_routes
from fairlead.resolve.istio.matches import takes_everything
from fairlead.resolve.istio.references import (
    MESH,
    gateway_key,
    gateway_name,
    gateway_names,
    virtual_service_key,
    visibility,
)
from fairlead.resolve.istio.source import Place
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection, Selector
from fairlead.world import ObjectName, World

Precedence = tuple[int, str, str, str]
"""Sorts VirtualServices: by visibility, age, name, namespace."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """A VirtualService on one virtual host."""

    place: Place
    https_redirect: bool
    """One of the servers redirects plaintext requests."""


@dataclass(frozen=True, slots=True)
class Binding:
    """The virtual hosts on which a VirtualService is served."""

    precedence: Precedence
    hosts: Mapping[VirtualHostKey, Appearance]


def _virtual_services(world: World) -> Collection[ObjectName, VirtualService]:
    return world.objects(VirtualService)


def precedence(world: World, virtual_service: VirtualService, viewer: str) -> Precedence | None:
    """The order in which Istio lists VirtualServices for proxies of a namespace; None when they do not see it."""
    exported = mesh.virtual_service_export(world, virtual_service.spec.export_to)
    seen = visibility(exported, virtual_service.metadata.namespace, viewer)
    return None if seen is None else (seen, *services.age(virtual_service))


def hosts_of(virtual_service: VirtualService) -> Iterator[str]:
    """The full host names of a VirtualService, lower case."""
    return (services.qualify(host, virtual_service.metadata.namespace) for host in virtual_service.spec.hosts)


# --- Which VirtualServices a selection has ----------------------------------------------------------------------------


@derived_map(_virtual_services)
def _selectors(world: World, name: ObjectName) -> frozenset[Selector] | None:
    virtual_service = world.objects(VirtualService).get(name)
    if virtual_service is None or not virtual_service.spec.http:
        return None
    found = (selector(world, gateway) for gateway in gateway_names(virtual_service.spec.gateways, name.namespace))
    return frozenset(item for item in found if item is not None) or None


@derived_index(_selectors)
def _by_selector(_world: World, _name: ObjectName, selectors: frozenset[Selector]) -> Iterable[Selector]:
    return selectors


@derived
def _of_selection(world: World, selection: Selection) -> frozenset[ObjectName]:
    groups = [_by_selector(world).get(item) or frozenset[ObjectName]() for item in selection.selectors]
    # Mostly there is one group, which then is shared instead of copied.
    return groups[0] if len(groups) == 1 else frozenset().union(*groups)


@derived_index(_virtual_services)
def labels(_world: World, _name: ObjectName, virtual_service: VirtualService) -> Iterable[tuple[str, str]]:
    """Label of proxies -> the VirtualServices with routes for such proxies only."""
    spec = virtual_service.spec
    matches = (match for routes in (spec.http, spec.tls, spec.tcp) for route in routes for match in route.match)
    return (label for match in matches for label in match.source_labels.items())


# --- Where they are served --------------------------------------------------------------------------------------------


def _sources_of_selection(world: World, _selection: Selection) -> tuple[Collection[Selector, Any]]:
    return (_by_selector(world),)


@derived_map(_of_selection, reads=_sources_of_selection)
def bindings(world: World, selection: Selection, name: ObjectName) -> Binding | None:
    """The VirtualServices with routes for requests that meet a server of the selection."""
    virtual_service = world.objects(VirtualService).get(name)
    if virtual_service is None:
        return None
    order = precedence(world, virtual_service, selection.namespace)
    if order is None:
        return None
    met: dict[VirtualHostKey, list[GatewayServer]] = {}
    hosts = tuple(hosts_of(virtual_service))
    for gateway in gateway_names(virtual_service.spec.gateways, name.namespace):
        if selector(world, gateway) not in selection.selectors:
            continue
        for found in gateway_servers(world, gateway):
            if found.server.protocol not in (ServerProtocol.HTTP, ServerProtocol.HTTPS):
                continue
            table, served = route_table(selection, found.server), found.hosts_for(name.namespace)
            for host in hosts:
                for domain in intersect(host, served):
                    met.setdefault(VirtualHostKey(table, domain), []).append(found)
    return Binding(order, {key: _appearance(selection, found) for key, found in met.items()}) if met else None


def _appearance(selection: Selection, found: list[GatewayServer]) -> Appearance:
    servers = [item.server for item in found]
    return Appearance(
        place=Place(
            viewer=selection.viewer,
            labels=selection.labels,
            gateways=tuple(dict.fromkeys(ObjectName(item.gateway.namespace, item.gateway.name) for item in servers)),
            ports=tuple(dict.fromkeys(item.port for item in servers)),
            tls=servers[0].protocol is ServerProtocol.HTTPS,
        ),
        https_redirect=any(item.https_redirect for item in servers),
    )


@derived_index(bindings)
def virtual_hosts(
    _world: World, _selection: Selection, _name: ObjectName, binding: Binding
) -> Iterable[VirtualHostKey]:
    """Virtual host -> the VirtualServices that serve it."""
    return binding.hosts


def host_routes(world: World, selection: Selection, key: VirtualHostKey) -> Outcome[HostRoutes]:
    """The routes that VirtualServices have for a virtual host; those of several are tried one after the other."""
    bound = [
        (binding.precedence, name, binding.hosts[key])
        for name in virtual_hosts(world, selection).get(key) or ()
        if (binding := bindings(world, selection).get(name)) is not None
    ]
    bound.sort(key=lambda item: item[0])
    outcomes = [http_routes(world, name, appearance.place) for _, name, appearance in bound]
    routes = HostRoutes(
        routes=concatenate(outcome.value for outcome in outcomes),
        require_tls=any(appearance.https_redirect for _, _, appearance in bound),
        origin=tuple(virtual_service_key(name) for _, name, _ in bound),
    )
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    takers = [
        name
        for (_, name, _), outcome in zip(bound, outcomes, strict=True)
        if outcome.value and takes_everything(outcome.value[-1].match)
    ]
    problems.extend(_duplicate(key.domain, name, takers[0]) for name in takers[1:])
    return Outcome(routes, tuple(problems))


def _duplicate(host: str, name: ObjectName, first: ObjectName) -> Problem:
    return warning(
        "duplicate-host",
        f"its route for every request to {host} is never used, since {virtual_service_key(first)} has one",
        key=virtual_service_key(name),
        path=("spec", "hosts"),
        hint="give one of the two other hosts, or a match",
        related=(Related("this one has it", virtual_service_key(first), ("spec", "http")),),
    )


# --- Reviews ----------------------------------------------------------------------------------------------------------


@derived_map(_virtual_services)
def reviews(world: World, name: ObjectName) -> tuple[Problem, ...] | None:
    """What keeps VirtualServices from being served by the Gateways that they name."""
    virtual_service = world.objects(VirtualService).get(name)
    if virtual_service is None:
        return None
    hosts = tuple(hosts_of(virtual_service))
    problems = []
    for index, reference in enumerate(virtual_service.spec.gateways):
        if reference == MESH:
            continue
        gateway = gateway_name(reference, name.namespace)
        path = ("spec", "gateways", index)
        if selector(world, gateway) is None:
            message = f"there is no Gateway {gateway.namespace}/{gateway.name} that is without error"
            hint = "correct the name; a Gateway of another namespace is named namespace/name"
            problems.append(warning("unknown-gateway", message, key=virtual_service.key, path=path, hint=hint))
            continue
        servers = gateway_servers(world, gateway)
        if servers and not any(_meets(hosts, found, name.namespace) for found in servers):
            message = f"no server of Gateway {gateway.namespace}/{gateway.name} has a host of this VirtualService"
            hint = f"the Gateway has {_listed(servers)}"
            related = (Related("the Gateway", gateway_key(gateway), ("spec", "servers")),)
            problems.append(
                warning("no-matching-host", message, key=virtual_service.key, path=path, hint=hint, related=related)
            )
    if not problems and MESH not in virtual_service.spec.gateways:
        problems.extend(_unserved(world, virtual_service, hosts))
    return tuple(problems) or None


def _unserved(world: World, virtual_service: VirtualService, hosts: tuple[str, ...]) -> Iterator[Problem]:
    """Single hosts that none of the Gateways has, while all Gateways have some."""
    namespace = virtual_service.metadata.namespace
    gateways = gateway_names(virtual_service.spec.gateways, namespace)
    servers = [found for gateway in gateways for found in gateway_servers(world, gateway)]
    for index, host in enumerate(hosts):
        if servers and not any(_meets((host,), found, namespace) for found in servers):
            yield warning(
                "no-matching-host",
                f"no server of its Gateways has the host {host}",
                key=virtual_service.key,
                path=("spec", "hosts", index),
                hint=f"the Gateways have {_listed(servers)}",
                related=tuple(Related("the Gateway", gateway_key(each), ("spec", "servers")) for each in gateways),
            )


def _meets(hosts: Iterable[str], found: GatewayServer, namespace: str) -> bool:
    served = found.hosts_for(namespace)
    return any(True for host in hosts for _ in intersect(host, served))


def _listed(servers: Iterable[GatewayServer]) -> str:
    hosts = sorted({host for found in servers for host in found.server.hosts})
    return ", ".join(hosts[:5]) + (" and others" if len(hosts) > 5 else "")
