"""Outbound listeners of sidecars: one for each port of the services in scope, on an address of the loopback device.

Services that speak HTTP share a port, and so do those that clients name in their TLS handshake. A service of plain TCP
has its port for itself: without captured connections nothing tells which of several was meant.
"""

from collections.abc import Iterable
from dataclasses import replace

from fairlead.derive import derived
from fairlead.intent import FilterChain, HttpConnections, Listener, TcpConnections, WeightedBackend
from fairlead.models.asm.governing import Traffic
from fairlead.problems import ObjectKey, Problem, warning
from fairlead.resolve import mesh, services
from fairlead.resolve.endpoints import is_ip_address
from fairlead.resolve.governance.connections import of_connections
from fairlead.resolve.istio.connections import connections_to, route_of_all, routes_by_name
from fairlead.resolve.istio.source import MESH_GATEWAY, Place, Source
from fairlead.resolve.listeners import governed_by, with_names_of_their_own
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection
from fairlead.resolve.sidecar import exposures, scopes, unknown_hosts, virtual_services
from fairlead.resolve.sidecar.exposures import APPLICATION_ADDRESS, Address, Exposure, Kind
from fairlead.resolve.sidecar.virtual_hosts import domains
from fairlead.world import World

_UNIX = "unix://"


@derived
def listener_names(world: World, selection: Selection) -> frozenset[str]:
    """Names of the outbound listeners."""
    return frozenset(address.listener for address in _addresses(world, selection))


@derived
def _addresses(world: World, selection: Selection) -> frozenset[Address]:
    found = exposures.hosts_by_address(world, selection).keys()
    return exposures.http_proxies(world, selection).union(address for address, _ in found)


@derived
def listener(world: World, selection: Selection, name: str) -> Outcome[Listener | None]:
    """An outbound listener with its filter chains; None when it would have none."""
    address = next((item for item in _addresses(world, selection) if item.listener == name), None)
    if address is None:
        return Outcome(None)
    problems: list[Problem] = []
    chains: list[FilterChain] = []
    for exposure in _exposed(world, selection, address, Kind.TLS):
        chains.extend(_tls_chains(world, selection, exposure, problems))
    chains = with_names_of_their_own(chains, problems)
    http = _http_chain(world, selection, address)
    tcp = _exposed(world, selection, address, Kind.TCP)
    if http is not None:
        chains.append(http)
    elif tcp:
        chains.append(_tcp_chain(world, selection, tcp[0], problems))
    left_out = tcp if http is not None else tcp[1:]
    problems.extend(_not_reached(world, selection, exposure, address, http, tcp) for exposure in left_out)
    if not chains:
        return Outcome(None, tuple(problems))
    found = Listener(
        name=name,
        address=address.bind.removeprefix(_UNIX) or APPLICATION_ADDRESS,
        port=address.port,
        filter_chains=tuple(chains),
        origin=_keys(key for chain in chains for key in (*chain.origin, *governed_by(chain))),
        wildcard=not address.bind,
        access_log=mesh.listener_log(world),
    )
    return Outcome(found, tuple(problems))


def _exposed(world: World, selection: Selection, address: Address, kind: Kind) -> list[Exposure]:
    """What is exposed at an address, that of the oldest service first."""
    found = [
        exposure
        for host in exposures.hosts_by_address(world, selection).get((address, kind)) or ()
        for exposure in exposures.exposures(world, selection).get(host) or ()
        if exposure.address == address and exposure.kind is kind
    ]
    return sorted(found, key=lambda exposure: _age(world, selection, exposure.host))


def _age(world: World, selection: Selection, host: str) -> tuple[str, str]:
    keys = services.claimants(world, selection.namespace, host)
    view = services.view_of(world, keys[0], host) if keys else None
    return ("" if view is None else view.created), host


def _keys(keys: Iterable[ObjectKey]) -> tuple[ObjectKey, ...]:
    return tuple(dict.fromkeys(keys))


def _origin(world: World, selection: Selection, host: str) -> tuple[ObjectKey, ...]:
    return services.claimants(world, selection.namespace, host)[:1]


# --- Chains -----------------------------------------------------------------------------------------------------------


def _http_chain(world: World, selection: Selection, address: Address) -> FilterChain | None:
    is_proxy = address in exposures.http_proxies(world, selection)
    if not is_proxy and exposures.hosts_by_address(world, selection).get((address, Kind.HTTP)) is None:
        return None
    table = exposures.HTTP_PROXY_TABLE if is_proxy else str(address.port or address.bind)
    # With a Sidecar, services may be reached at other ports than their own.
    ports = frozenset((address.port,)) if selection.sidecar is None and not is_proxy else frozenset[int]()
    # The services are not its origin: a table of thousands would make it another listener with each of them.
    origin = () if selection.sidecar is None else (scopes.key_of(selection.sidecar),)
    return FilterChain(
        name=table,
        server_names=(),
        tls=None,
        connections=HttpConnections(
            route_table=table,
            stat_prefix=f"outbound_{address.listener}",
            edge=False,
            forward_proxy=is_proxy,
            dns_refresh_rate=unknown_hosts.refresh_rate(world, selection, table),
            options=mesh.sidecar_http_options(world),
            access_log=mesh.access_log(world),
            governance=of_connections(world, selection, Traffic.SIDECAR_OUTBOUND, ports),
        ),
        origin=origin,
    )


def _tls_chains(
    world: World, selection: Selection, exposure: Exposure, problems: list[Problem]
) -> Iterable[FilterChain]:
    host = exposure.host
    egress = scopes.egress(world, selection)
    virtual_service, found = virtual_services.of_host(world, selection.namespace, egress, host, "tls")
    problems.extend(found)
    routes = []
    if virtual_service is not None:
        source = Source(world, _place(selection, exposure, tls=True), virtual_service.key, problems)
        routes = list(routes_by_name(virtual_service, frozenset((host,)), source))
    log = mesh.access_log(world)
    for route in routes:
        name = ".".join((f"{host}:{exposure.port}", *route.server_names[:1]))
        connections = replace(route.connections, access_log=log)
        yield FilterChain(name, route.server_names or (host,), None, connections, route.origin, passthrough=True)
    if not routes:
        names = tuple(name for name in domains(world, host, selection.namespace) if not is_ip_address(name))
        origin = _origin(world, selection, host)
        connections = replace(_to_service(world, selection, exposure), access_log=log)
        yield FilterChain(f"{host}:{exposure.port}", names, None, connections, origin, passthrough=True)


def _tcp_chain(world: World, selection: Selection, exposure: Exposure, problems: list[Problem]) -> FilterChain:
    host = exposure.host
    egress = scopes.egress(world, selection)
    virtual_service, found = virtual_services.of_host(world, selection.namespace, egress, host, "tcp")
    problems.extend(found)
    connections, origin = _to_service(world, selection, exposure), _origin(world, selection, host)
    if virtual_service is not None:
        source = Source(world, _place(selection, exposure, tls=False), virtual_service.key, problems)
        for route in route_of_all(virtual_service, source):
            connections, origin = route.connections, (*route.origin, *origin)
    connections = replace(connections, access_log=mesh.access_log(world))
    return FilterChain(f"{host}:{exposure.port}", (), None, connections, origin)


def _place(selection: Selection, exposure: Exposure, *, tls: bool) -> Place:
    return Place(selection.viewer, selection.labels, (MESH_GATEWAY,), (exposure.port,), tls)


def _to_service(world: World, selection: Selection, exposure: Exposure) -> TcpConnections:
    backend = services.backend(world, selection.namespace, exposure.host, exposure.port, "", exposure.port)
    return connections_to(world, selection.viewer, (WeightedBackend(backend),), "")


def _not_reached(  # noqa: PLR0917  # all that the sentence is about
    world: World,
    selection: Selection,
    exposure: Exposure,
    address: Address,
    http: FilterChain | None,
    tcp: list[Exposure],
) -> Problem:
    keys = _origin(world, selection, exposure.host)
    if http is None:
        others = f"those to {tcp[0].host} ({', '.join(str(key) for key in _origin(world, selection, tcp[0].host))})"
    else:
        hosts = exposures.hosts_by_address(world, selection).get((address, Kind.HTTP)) or ()
        first = min(hosts, default="")
        named = ", ".join(str(key) for key in _origin(world, selection, first))
        others = f"HTTP requests, as those to {first} ({named})"
    return warning(
        "server-conflict",
        f"sidecars in namespace {selection.namespace} do not reach {exposure.host}, since port {exposure.port} already "
        f"takes {others}",
        key=keys[0] if keys else None,
        path=("spec", "ports"),
        hint="give it another port, or name it in a Sidecar's egress listener with a port and bind of its own",
    )


# --- Beside applications ----------------------------------------------------------------------------------------------


def displaced(address: str, port: int, by: ObjectKey) -> Problem:
    """That an outbound listener is left out, because the application of the workload has its address."""
    return warning(
        "server-conflict",
        f"applications reach no service at {address}:{port}, since that is where their own listens, or its sidecar",
        key=by,
        path=("spec", "ports"),
        hint="give the sidecar an address of its own: fairlead bootstrap --bind-address 127.0.0.2",
    )
