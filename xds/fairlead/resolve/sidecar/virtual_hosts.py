"""Virtual hosts of sidecars: one for each service on each port, and one for all other hosts."""

from collections.abc import Iterable
from dataclasses import replace

from fairlead.derive import Input, derived, derived_index, derived_map
from fairlead.intent import (
    Destination,
    Forward,
    Match,
    PathMatch,
    PathMatchKind,
    Route,
    VirtualHost,
)
from fairlead.models.asm.governing import Traffic
from fairlead.models.core import Service
from fairlead.models.istio.service_entry import ServiceEntry
from fairlead.problems import ObjectKey
from fairlead.resolve import clusters, mesh, services
from fairlead.resolve.dialect import VirtualHostKey
from fairlead.resolve.endpoints import is_ip_address
from fairlead.resolve.governance import rules
from fairlead.resolve.governance.routes import governed
from fairlead.resolve.governance.rules import Target
from fairlead.resolve.hosts import is_wildcard
from fairlead.resolve.istio import policies
from fairlead.resolve.istio.http_routes import http_routes
from fairlead.resolve.istio.source import MESH_GATEWAY, Place
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection
from fairlead.resolve.sidecar import exposures, scopes, unknown_hosts, virtual_services
from fairlead.resolve.sidecar.exposures import Exposure, Kind
from fairlead.world import ObjectName, World

_EVERY_HOST = "*"
_EVERY_PATH = Match(PathMatch(PathMatchKind.PREFIX, "/"))
_DEFAULT_HTTP_PORT = 80


@derived_map(exposures.virtual_host_keys, reads=exposures.sources_of_virtual_hosts)
def virtual_hosts(world: World, selection: Selection, key: VirtualHostKey) -> Outcome[VirtualHost] | None:
    """The virtual hosts of all route tables."""
    if key.domain == _EVERY_HOST:
        return unknown_hosts.virtual_host(world, selection, key.route_table)
    for host in exposures.hosts_by_virtual_host(world, selection).get(key) or ():
        for exposure in exposures.exposures(world, selection).get(host) or ():
            if exposure.virtual_host == key:
                return _of_service(world, selection, exposure)
    return None


def _of_service(world: World, selection: Selection, exposure: Exposure) -> Outcome[VirtualHost]:
    host, port = exposure.host, exposure.port
    egress = scopes.egress(world, selection)
    virtual_service, problems = virtual_services.of_host(world, selection.namespace, egress, host, "http")
    origin = services.claimants(world, selection.namespace, host)[:1]
    if virtual_service is None:
        routes: tuple[Route, ...] = (_default_route(world, selection, exposure, origin),)
    else:
        place = Place(selection.viewer, selection.labels, (MESH_GATEWAY,), (port,), tls=False)
        name = ObjectName(virtual_service.metadata.namespace, virtual_service.metadata.name)
        outcome = http_routes(world, name, place)
        routes, problems = outcome.value, (*problems, *outcome.problems)
        origin = (virtual_service.key, *origin)
    target = Target(Traffic.SIDECAR_OUTBOUND, rules.names_of(world, host, origin), frozenset((port,)))
    routes = governed(world, selection, target, routes)
    if exposure.http_proxy:
        tunnel = replace(_default_route(world, selection, exposure, origin), name="connect", match=Match(connect=True))
        # Bytes that are not HTTP can only come in a tunnel.
        routes = (tunnel, *routes) if exposure.kind is Kind.HTTP else (tunnel,)
    names = domains(world, host, selection.namespace)
    if exposure.by_authority:
        with_port = tuple(f"{_bracketed(name)}:{port}" for name in names)
        names = (*with_port, *names) if port == _DEFAULT_HTTP_PORT else with_port
    else:
        names = tuple(_bracketed(name) for name in names)
    return Outcome(
        VirtualHost(f"{host}:{port}", names, routes, origin, attempt_count=mesh.attempt_count(world)), problems
    )


def _default_route(world: World, selection: Selection, exposure: Exposure, origin: tuple[ObjectKey, ...]) -> Route:
    backend = services.backend(world, selection.namespace, exposure.host, exposure.port, "", exposure.port)
    keys = clusters.hash_keys(world, selection.viewer, backend)
    action = Forward(
        (Destination(backend),), retry=policies.retry(mesh.retry_policy(world), sticky=bool(keys)), hash_keys=keys
    )
    return Route("default", _EVERY_PATH, action, origin)


# --- Names ------------------------------------------------------------------------------------------------------------


def domains(world: World, host: str, viewer: str) -> tuple[str, ...]:
    """The names of a service, as proxies of a namespace know it: its host, the short ones, its virtual addresses.

    A short name that somebody uses as a full one is theirs; so is an address that an older service has.
    """
    name = services.service_of(host)
    return _domains(world, host, name is not None and name.namespace == viewer)


@derived
def _domains(world: World, host: str, own_namespace: bool) -> tuple[str, ...]:
    found = [host]
    name = services.service_of(host)
    if name is not None:
        short = [f"{name.name}.{name.namespace}", f"{name.name}.{name.namespace}.svc"]
        found += [item for item in (*([name.name] if own_namespace else []), *short) if not _is_full(world, item)]
    found += [address for address in _addresses_of(world, host) if _first_with(world, address) == host]
    return tuple(found)


def _is_full(world: World, host: str) -> bool:
    return bool(services.entries_by_host(world).get(host) or virtual_services.by_host(world).get(host))


def _addresses_of(world: World, host: str) -> tuple[str, ...]:
    name = services.service_of(host)
    service = None if name is None else world.objects(Service).get(name)
    if service is not None:
        return _usable((service.spec.cluster_ip,))
    entries = (world.objects(ServiceEntry).get(item) for item in services.entries_by_host(world).get(host) or ())
    found = [entry for entry in entries if entry is not None]
    # Several hosts that share addresses cannot be told apart by them.
    return _usable(min(found, key=services.age).spec.addresses) if found and not is_wildcard(host) else ()


def _first_with(world: World, address: str) -> str:
    hosts = {exposures.host_of(name) for name in _services_by_address(world).get(address) or ()}
    if not hosts:
        entries = (world.objects(ServiceEntry).get(name) for name in _entries_by_address(world).get(address) or ())
        hosts = {host.lower() for entry in entries if entry is not None for host in entry.spec.hosts}
    return min(hosts, default="")


def _services(world: World) -> Input[ObjectName, Service]:
    return world.objects(Service)


def _entries(world: World) -> Input[ObjectName, ServiceEntry]:
    return world.objects(ServiceEntry)


@derived_index(_services)
def _services_by_address(_world: World, _name: ObjectName, service: Service) -> Iterable[str]:
    return _usable((service.spec.cluster_ip,))


@derived_index(_entries)
def _entries_by_address(_world: World, _name: ObjectName, entry: ServiceEntry) -> Iterable[str]:
    return _usable(entry.spec.addresses)


def _usable(addresses: Iterable[str]) -> tuple[str, ...]:
    """The IP addresses among them, each once; not `None`, as headless Services have it, nor blocks of addresses."""
    return tuple(dict.fromkeys(address for address in addresses if is_ip_address(address)))


def _bracketed(domain: str) -> str:
    # Envoy wants IPv6 addresses in brackets.
    return f"[{domain}]" if ":" in domain else domain
