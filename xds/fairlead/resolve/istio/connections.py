"""The `tls` and `tcp` routes of VirtualServices: where connections of a server go that are not HTTP."""

from collections.abc import Iterable, Iterator

from fairlead.derive import Collection, derived, derived_index
from fairlead.intent import HashKeyKind, TcpConnections, WeightedBackend
from fairlead.models.istio.virtual_service import (
    L4MatchAttributes,
    RouteDestination,
    TLSMatchAttributes,
    VirtualService,
)
from fairlead.problems import FieldPath, Problem
from fairlead.resolve import clusters
from fairlead.resolve.dialect import ConnectionRoute, Server, ServerProtocol
from fairlead.resolve.hosts import intersect
from fairlead.resolve.istio.destinations import reference
from fairlead.resolve.istio.gateways import gateway_servers
from fairlead.resolve.istio.matches import applies
from fairlead.resolve.istio.references import gateway_names
from fairlead.resolve.istio.source import Place, Source
from fairlead.resolve.istio.virtual_services import hosts_of, precedence
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection, Viewer
from fairlead.world import ObjectName, World


def _virtual_services(world: World) -> Collection[ObjectName, VirtualService]:
    return world.objects(VirtualService)


@derived_index(_virtual_services)
def _by_gateway(_world: World, name: ObjectName, virtual_service: VirtualService) -> Iterable[ObjectName]:
    """Gateway -> the VirtualServices with routes for connections through it."""
    spec = virtual_service.spec
    return gateway_names(spec.gateways, name.namespace) if spec.tls or spec.tcp else ()


@derived
def connection_routes(world: World, selection: Selection, server: Server) -> Outcome[tuple[ConnectionRoute, ...]]:
    """Where connections go: by SNI where nothing is decrypted, else all of them by the first route."""
    gateway = ObjectName(server.gateway.namespace, server.gateway.name)
    found = next((item for item in gateway_servers(world, gateway) if item.server == server), None)
    if found is None:
        return Outcome(())
    place = Place(
        viewer=selection.viewer,
        labels=selection.labels,
        gateways=(gateway,),
        ports=(server.port,),
        tls=server.protocol is not ServerProtocol.TCP,
    )
    problems: list[Problem] = []
    routes: list[ConnectionRoute] = []
    for virtual_service in _in_order(world, selection, _by_gateway(world).get(gateway) or ()):
        served = found.hosts_for(virtual_service.metadata.namespace)
        if not any(True for host in hosts_of(virtual_service) for _ in intersect(host, served)):
            continue
        source = Source(world, place, virtual_service.key, problems)
        if server.protocol is ServerProtocol.TLS_PASSTHROUGH:
            routes.extend(routes_by_name(virtual_service, served, source))
        elif not routes:
            routes.extend(route_of_all(virtual_service, source))
    return Outcome(tuple(routes), tuple(problems))


def _in_order(world: World, selection: Selection, names: Iterable[ObjectName]) -> list[VirtualService]:
    found = []
    for name in names:
        virtual_service = world.objects(VirtualService).get(name)
        order = None if virtual_service is None else precedence(world, virtual_service, selection.namespace)
        if virtual_service is not None and order is not None:
            found.append((order, virtual_service))
    return [virtual_service for _, virtual_service in sorted(found, key=lambda item: item[0])]


def routes_by_name(
    virtual_service: VirtualService, served: frozenset[str], source: Source
) -> Iterator[ConnectionRoute]:
    """Where TLS connections for the hosts that are `served` go, by the name that clients ask for."""
    for index, route in enumerate(virtual_service.spec.tls):
        path: FieldPath = ("spec", "tls", index)
        for position, match in enumerate(route.match):
            where = (*path, "match", position)
            if not applies(match, source.place, source.namespace) or not _answerable(match, source, where):
                continue
            names = [name for host in match.sni_hosts for name in intersect(host.lower(), served)]
            if names:
                connections = _connections(route.route, virtual_service, source, (*path, "route"))
                server_names = () if "*" in names else tuple(dict.fromkeys(names))
                yield ConnectionRoute(server_names, connections, (source.key,))


def route_of_all(virtual_service: VirtualService, source: Source) -> Iterator[ConnectionRoute]:
    """Where all TCP connections go: by the first route that applies, if any does."""
    for index, route in enumerate(virtual_service.spec.tcp):
        path: FieldPath = ("spec", "tcp", index)
        usable = [
            position
            for position, match in enumerate(route.match)
            if applies(match, source.place, source.namespace) and _answerable(match, source, (*path, "match", position))
        ]
        if usable or not route.match:
            connections = _connections(route.route, virtual_service, source, (*path, "route"))
            yield ConnectionRoute((), connections, (source.key,))
            return


def _answerable(match: TLSMatchAttributes | L4MatchAttributes, source: Source, path: FieldPath) -> bool:
    """Whether a proxy can tell connections apart as the match asks for."""
    if match.destination_subnets:
        # Without the condition the route would take connections that it is not meant for.
        message = "the match is left out, since proxies do not see where connections were meant to go"
        source.error("unsupported-field", message, (*path, "destinationSubnets"), "leave destinationSubnets out")
    return not match.destination_subnets


def _connections(
    route: tuple[RouteDestination, ...], virtual_service: VirtualService, source: Source, path: FieldPath
) -> TcpConnections:
    shares = []
    for index, share in enumerate(route):
        if share.weight or len(route) == 1:
            found = reference(share.destination, source, (*path, index, "destination"))
            shares.append(WeightedBackend(found.backend, share.weight or 1, found.missing))
    if len({clusters.tunnel(source.world, source.place.viewer, share.backend) for share in shares}) > 1:
        message = "no connection is tunnelled, since the destinations of the route do not all have the same tunnel"
        source.warn("unsupported-value", message, path, "give each of them a route of its own")
    name = f"{virtual_service.metadata.name}.{virtual_service.metadata.namespace}"
    return connections_to(source.world, source.place.viewer, tuple(shares), name)


def connections_to(
    world: World, viewer: Viewer, shares: tuple[WeightedBackend, ...], stat_prefix: str
) -> TcpConnections:
    """Connections that are passed on to these backends; `stat_prefix` counts where there is not just one of them."""
    found = [clusters.cluster(world, viewer, share.backend).value for share in shares]
    pools = [cluster.connection_pool for cluster in found if cluster is not None]
    tunnels = {clusters.tunnel(world, viewer, share.backend) for share in shares}
    keys = [key for share in shares for key in clusters.hash_keys(world, viewer, share.backend)]
    if len(shares) == 1:
        only = shares[0].backend
        stat_prefix = f"outbound|{only.port}|{only.subset}|{only.host}"
    return TcpConnections(
        stat_prefix=stat_prefix,
        backends=shares,
        idle_timeout=next((pool.idle_timeout for pool in pools if pool.idle_timeout is not None), None),
        max_duration=next((pool.max_connection_duration for pool in pools if pool.max_connection_duration), None),
        tunnel=tunnels.pop() if len(tunnels) == 1 else None,
        hash_source_ip=any(key.kind is HashKeyKind.SOURCE_IP for key in keys),
    )
