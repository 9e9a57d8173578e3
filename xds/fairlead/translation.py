"""From the world to tables of resources: for each selection of proxies, what `resolve` says is rendered, once.

Everything here is a derived map keyed by the smallest part of a proxy that it needs: listeners by bind address,
endpoint assignments by locality, all else by the selection alone. Only what the selection's listeners can reach is in
a table: backends of its routes, Secrets of its listeners and clusters.
"""

import itertools
import operator
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from fairlead.derive import Collection, derived, derived_index, derived_map, shared_map
from fairlead.intent import (
    AuthoritiesFilesCredential,
    Backend,
    Cluster,
    CommonFilter,
    Credential,
    DiscoveredFilter,
    Discovery,
    EndpointAssignment,
    FilterChain,
    Forward,
    KeyPairFilesCredential,
    Listener,
    RouteTable,
    TcpConnections,
    TlsTermination,
    Validation,
    VirtualHost,
)
from fairlead.problems import ObjectKey
from fairlead.render import breakers as render_breakers
from fairlead.render import clusters as render_clusters
from fairlead.render import limits as render_limits
from fairlead.render import listeners as render_listeners
from fairlead.render import routes as render_routes
from fairlead.render import tls as render_tls
from fairlead.resolve import clusters, credentials, endpoints, listeners, virtual_hosts
from fairlead.resolve.dialect import VirtualHostKey
from fairlead.resolve.governance import connections
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Locality, Proxy, Role, Selection, Viewer
from fairlead.resolve.sidecar import exposures, ingress, outbound, scopes
from fairlead.resolve.sidecar import listeners as sidecar_listening
from fairlead.resolve.sidecar import virtual_hosts as sidecar_hosts
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource
from fairlead.world import World

ResourceMap = (
    Collection[str, Resource]
    | Collection[VirtualHostKey, Resource]
    | Collection[Backend, Resource]
    | Collection[DiscoveredFilter, Resource]
    | Collection[sidecar_listening.Key, Resource]
)


def resource_maps(world: World, selection: Selection, proxy: Proxy) -> dict[str, ResourceMap]:
    """Type URL -> the resources of that type for a proxy of the selection."""
    maps: dict[str, ResourceMap] = {types.LISTENER: bound_listeners(world, selection, proxy.bind_address)}
    if selection.workload is not None:
        address = proxy.address or proxy.bind_address
        maps[types.LISTENER] = sidecar_listeners(world, selection, proxy.bind_address, address)
    selection = selection.shared
    maps |= {
        types.EXTENSION_CONFIG: extension_configurations(world, selection),
        types.CLUSTER: cluster_resources(world, selection, proxy.locality),
        types.CLUSTER_LOAD_ASSIGNMENT: endpoint_resources(world, selection, proxy.locality),
        types.SECRET: secret_resources(world, selection),
    }
    if proxy.virtual_host_discovery:
        maps[types.ROUTE_CONFIGURATION] = discovering_route_configurations(world, selection)
        maps[types.VIRTUAL_HOST] = virtual_host_resources(world, selection)
    else:
        maps[types.ROUTE_CONFIGURATION] = route_configurations(world, selection)
    return maps


# --- Listeners --------------------------------------------------------------------------------------------------------


@derived
def _listener_names(world: World, selection: Selection) -> frozenset[str]:
    if selection.role is Role.SIDECAR:
        return outbound.listener_names(world, selection)
    return listeners.listener_names(world, selection)


def _sources_of_listeners(world: World, selection: Selection) -> tuple[Collection[Any, Any], ...]:
    return exposures.sources_of_listeners(world, selection) if selection.role is Role.SIDECAR else ()


@derived_map(_listener_names, reads=_sources_of_listeners)
def listener_outcomes(world: World, selection: Selection, name: str) -> Outcome[Listener | None]:
    """What each listener of the selection shall do; of sidecars those that are the same for all with one scope."""
    if selection.role is Role.SIDECAR:
        return outbound.listener(world, selection, name)
    return listeners.listener(world, selection, name)


@derived_map(listener_outcomes)
def listener_resources(world: World, selection: Selection, name: str) -> Resource | None:
    """Listeners that bind the wildcard address, or the one that their user chose."""
    outcome = listener_outcomes(world, selection).get(name)
    if outcome is None or outcome.value is None:
        return None
    return render_listeners.listener(outcome.value)


def _listeners_to_bind(world: World, selection: Selection, _bind_address: str) -> Collection[str, Resource]:
    return listener_resources(world, selection)


@derived_map(_listeners_to_bind)
def bound_listeners(world: World, selection: Selection, bind_address: str, name: str) -> Resource | None:
    """Listeners as a proxy with that bind address gets them."""
    resource = listener_resources(world, selection).get(name)
    outcome = listener_outcomes(world, selection).get(name)
    if not bind_address or resource is None or outcome is None or outcome.value is None or not outcome.value.wildcard:
        return resource
    return render_listeners.bind(resource, bind_address)


# --- Listeners of sidecars --------------------------------------------------------------------------------------------


@derived_map(sidecar_listening.keys, reads=sidecar_listening.sources)
def sidecar_outcomes(world: World, selection: Selection, key: sidecar_listening.Key) -> Outcome[Listener | None]:
    """What each listener of the sidecars of a workload shall do."""
    return sidecar_listening.listener(world, selection, key)


@derived_map(sidecar_outcomes)
def _sidecar_resources(world: World, selection: Selection, key: sidecar_listening.Key) -> Resource | None:
    outcome = sidecar_outcomes(world, selection).get(key)
    if outcome is None or outcome.value is None:
        return None
    if key[0] is sidecar_listening.Direction.OUTBOUND:
        return listener_resources(world, selection.shared).get(key[1])
    return render_listeners.listener(outcome.value)


def _sidecar_listeners_to_bind(
    world: World, selection: Selection, _bind_address: str, _address: str
) -> Collection[sidecar_listening.Key, Resource]:
    return _sidecar_resources(world, selection)


@derived_map(_sidecar_listeners_to_bind)
def sidecar_listeners(
    world: World, selection: Selection, bind_address: str, address: str, key: sidecar_listening.Key
) -> Resource | None:
    """Listeners of a sidecar that listens for its application at `bind_address`, and for others at `address`."""
    resource = _sidecar_resources(world, selection).get(key)
    outcome = sidecar_outcomes(world, selection).get(key)
    other = bind_address if key[0] is sidecar_listening.Direction.OUTBOUND else address
    if not other or resource is None or outcome is None or outcome.value is None or not outcome.value.wildcard:
        return resource
    return render_listeners.bind(resource, other, f"{other}_{outcome.value.port}")


# --- Filters ----------------------------------------------------------------------------------------------------------


@derived_map(connections.filters)
def extension_configurations(world: World, selection: Selection, found: DiscoveredFilter) -> Resource:
    """The filters that listeners leave to discovery."""
    if found is CommonFilter.BREAKER:
        return render_breakers.filter_configuration(connections.breakers(world, selection))
    return render_limits.filter_configuration(found, connections.limits_of(world, selection, found))


# --- Routes -----------------------------------------------------------------------------------------------------------


def hosts_of(world: World, selection: Selection) -> Collection[VirtualHostKey, Outcome[VirtualHost]]:
    """The virtual hosts of all route tables."""
    if selection.role is Role.SIDECAR:
        return sidecar_hosts.virtual_hosts(world, selection)
    return virtual_hosts.virtual_hosts(world, selection)


@derived
def route_tables(world: World, selection: Selection) -> frozenset[str]:
    """Names of the route tables that listeners refer to."""
    if selection.role is Role.SIDECAR:
        return exposures.route_tables(world, selection)
    return virtual_hosts.route_tables(world, selection)


@derived_map(hosts_of)
def virtual_host_leaves(world: World, selection: Selection, key: VirtualHostKey) -> Resource | None:
    """Virtual hosts, each encoded once, as they stand within a RouteConfiguration."""
    outcome = hosts_of(world, selection).get(key)
    return None if outcome is None else render_routes.virtual_host(outcome.value)


@derived_map(virtual_host_leaves)
def virtual_host_resources(world: World, selection: Selection, key: VirtualHostKey) -> Resource | None:
    """Virtual hosts as resources of their own (VHDS)."""
    leaf = virtual_host_leaves(world, selection).get(key)
    return None if leaf is None else render_routes.virtual_host_resource(key.route_table, leaf)


_CHUNKS = 64
"""Parts in which the virtual hosts of a route table are read: an edit reads those of its own part, and joins all parts,
which takes a tenth of the time of reading thousands."""


@derived_index(virtual_host_leaves)
def _hosts_by_chunk(
    _world: World, _selection: Selection, key: VirtualHostKey, _leaf: Resource
) -> Iterable[tuple[str, int]]:
    return ((key.route_table, zlib.crc32(key.domain.encode()) % _CHUNKS),)


@derived_map(_hosts_by_chunk)
def _chunks(world: World, selection: Selection, chunk: tuple[str, int]) -> tuple[tuple[str, Resource], ...]:
    """Route table and number of a part -> its virtual hosts, each with its domain."""
    leaves = virtual_host_leaves(world, selection)
    keys = sorted(_hosts_by_chunk(world, selection).get(chunk) or ())
    return tuple((key.domain, leaf) for key in keys if (leaf := leaves.get(key)) is not None)


def _sources_of_tables(world: World, selection: Selection) -> tuple[Collection[Any, Any], ...]:
    return (_chunks(world, selection),)


def _sources_of_table_names(world: World, selection: Selection) -> tuple[Collection[Any, Any], ...]:
    return exposures.sources_of_virtual_hosts(world, selection) if selection.role is Role.SIDECAR else ()


@derived_map(route_tables, reads=_sources_of_tables)
def route_configurations(world: World, selection: Selection, table: str) -> Resource:
    """RouteConfigurations with all their virtual hosts."""
    chunks = (_chunks(world, selection).get((table, number)) or () for number in range(_CHUNKS))
    hosts = [leaf for _, leaf in sorted(itertools.chain.from_iterable(chunks), key=operator.itemgetter(0))]
    origin = tuple(dict.fromkeys(key for leaf in hosts for key in leaf.origin))
    return render_routes.route_configuration(RouteTable(table, origin, exposures.is_by_authority(table)), hosts)


@derived_map(route_tables, reads=_sources_of_table_names)
def discovering_route_configurations(_world: World, _selection: Selection, table: str) -> Resource:
    """RouteConfigurations whose virtual hosts are resources of their own."""
    return render_routes.route_configuration_with_discovery(RouteTable(table, (), exposures.is_by_authority(table)))


# --- Clusters and endpoints -------------------------------------------------------------------------------------------


def backends_of_host(host: VirtualHost) -> Iterator[Backend]:
    """What a virtual host sends requests to, copies included."""
    for route in host.routes:
        if isinstance(route.action, Forward):
            for destination in route.action.destinations:
                if destination.backend is not None:
                    yield destination.backend
            for mirror in route.action.mirrors:
                yield mirror.backend


@derived_index(hosts_of)
def backends_of_routes(
    _world: World, _selection: Selection, _key: VirtualHostKey, outcome: Outcome[VirtualHost]
) -> Iterable[Backend]:
    """Backend -> the virtual hosts that send requests to it."""
    return backends_of_host(outcome.value)


def backends_of_chain(chain: FilterChain) -> Iterator[Backend]:
    """What a filter chain passes connections on to, and who is asked about requests."""
    if isinstance(chain.connections, TcpConnections):
        for share in chain.connections.backends:
            yield share.backend
    else:
        yield from chain.connections.governance.backends


@derived_index(listener_outcomes)
def backends_of_listeners(
    _world: World, _selection: Selection, _name: str, outcome: Outcome[Listener | None]
) -> Iterable[Backend]:
    """Backend -> the listeners that need it."""
    if outcome.value is not None:
        for chain in outcome.value.filter_chains:
            yield from backends_of_chain(chain)


@derived
def reachable_backends(world: World, selection: Selection) -> frozenset[Backend]:
    """The backends that proxies of the selection can send anything to."""
    found = set(backends_of_routes(world, selection).keys() | backends_of_listeners(world, selection).keys())
    if selection.role is Role.SIDECAR:
        found |= ingress.backends(world, selection)
        found |= connections.backends_of_inbound(world, selection)
    retained = world.retained.get(selection)
    return frozenset(found if retained is None else found | retained.backends)


def _users_of_backends(world: World, selection: Selection) -> tuple[Collection[Backend, Any], ...]:
    of_applications = ingress.sources(world) if selection.role is Role.SIDECAR else ()
    return backends_of_routes(world, selection), backends_of_listeners(world, selection), *of_applications


@shared_map(reachable_backends, clusters.cluster, reads=_users_of_backends)
def cluster_outcomes(_world: World, selection: Selection) -> tuple[Viewer]:
    """How each reachable backend is talked to."""
    return (selection.viewer,)


@derived
def _cluster_resource(world: World, viewer: Viewer, backend: Backend) -> Resource | None:
    # Shared by all selections that call services alike.
    outcome = clusters.cluster(world, viewer, backend)
    return None if outcome.value is None else render_clusters.cluster(outcome.value)


@derived
def _placed_cluster_resource(world: World, viewer: Viewer, locality: Locality, backend: Backend) -> Resource | None:
    outcome = clusters.cluster(world, viewer, backend)
    if outcome.value is None or not outcome.value.localities:
        return _cluster_resource(world, viewer, backend)
    cluster = clusters.placed(world, viewer, locality, backend)
    return None if cluster is None else render_clusters.cluster(cluster)


def _backends_to_reach(
    world: World, selection: Selection, _locality: Locality
) -> Collection[Backend, Outcome[Cluster | None]]:
    return cluster_outcomes(world, selection)


@shared_map(_backends_to_reach, _placed_cluster_resource)
def cluster_resources(_world: World, selection: Selection, locality: Locality) -> tuple[Viewer, Locality]:
    """Clusters of the backends that exist, as proxies of that locality find their endpoints."""
    return selection.viewer, locality


def _sources_of_endpoints(world: World, _selection: Selection, _locality: Locality) -> tuple[Collection[Any, Any], ...]:
    return endpoints.sources(world)


@derived_map(_backends_to_reach, reads=_sources_of_endpoints)
def endpoint_outcomes(
    world: World, selection: Selection, locality: Locality, backend: Backend
) -> Outcome[EndpointAssignment | None] | None:
    """The endpoints of the clusters that learn them from us."""
    outcome = cluster_outcomes(world, selection).get(backend)
    if outcome is None or outcome.value is None or outcome.value.discovery is not Discovery.ASSIGNED:
        return None
    return endpoints.endpoint_assignment(world, selection.viewer, locality, backend)


@derived
def _endpoint_resource(world: World, viewer: Viewer, locality: Locality, backend: Backend) -> Resource | None:
    outcome = endpoints.endpoint_assignment(world, viewer, locality, backend)
    return None if outcome.value is None else render_clusters.endpoint_assignment(outcome.value)


@shared_map(endpoint_outcomes, _endpoint_resource)
def endpoint_resources(_world: World, selection: Selection, locality: Locality) -> tuple[Viewer, Locality]:
    """Endpoint assignments, as proxies of that locality prefer them."""
    return selection.viewer, locality


# --- Secrets ----------------------------------------------------------------------------------------------------------


def _validation_credentials(validation: Validation | None) -> Iterator[str]:
    if validation is not None and validation.authorities:
        yield validation.authorities


def credentials_of_cluster(cluster: Cluster) -> Iterator[str]:
    """Names of the credentials that connections of a cluster are made with."""
    if cluster.tls is not None:
        if cluster.tls.credential:
            yield cluster.tls.credential
        yield from _validation_credentials(cluster.tls.validation)


def _termination_credentials(tls: TlsTermination | None) -> Iterator[str]:
    if tls is not None:
        yield from tls.credentials
        yield from _validation_credentials(tls.validation)


@derived_index(listener_outcomes)
def credentials_of_listeners(
    _world: World, _selection: Selection, _name: str, outcome: Outcome[Listener | None]
) -> Iterable[str]:
    """Credential name -> the listeners that need it."""
    if outcome.value is not None:
        for chain in outcome.value.filter_chains:
            yield from _termination_credentials(chain.tls)


@derived_index(cluster_outcomes)
def credentials_of_clusters(
    _world: World, _selection: Selection, _backend: Backend, outcome: Outcome[Cluster | None]
) -> Iterable[str]:
    """Credential name -> the backends whose clusters need it."""
    return () if outcome.value is None else credentials_of_cluster(outcome.value)


@derived
def needed_credentials(world: World, selection: Selection) -> frozenset[str]:
    """Names of the credentials that the selection's listeners and clusters refer to."""
    of_listeners, of_clusters = credentials_of_listeners(world, selection), credentials_of_clusters(world, selection)
    found = set(of_listeners.keys() | of_clusters.keys())
    if selection.role is Role.SIDECAR:
        found |= ingress.credentials(world, selection)
    retained = world.retained.get(selection)
    return frozenset(found if retained is None else found | retained.credentials)


def _users_of_credentials(world: World, selection: Selection) -> tuple[Collection[str, Any], ...]:
    return credentials_of_listeners(world, selection), credentials_of_clusters(world, selection)


@derived_map(needed_credentials, reads=_users_of_credentials)
def credential_outcomes(world: World, selection: Selection, name: str) -> Outcome[Credential | None]:
    """Credentials that are there, whole, and that proxies of the selection are entitled to."""
    outcome = credentials.credential(world, selection.namespace, name, world.strict_secret_names)
    if isinstance(outcome.value, KeyPairFilesCredential | AuthoritiesFilesCredential):
        # There is no object that they are in: those that name the files are to blame for them.
        return Outcome(replace(outcome.value, origin=tuple(dict.fromkeys(_users(world, selection, name)))))
    return outcome


def _users(world: World, selection: Selection, credential: str) -> Iterator[ObjectKey]:
    """The objects that filter chains and clusters with that credential come from."""
    for listener in sorted(credentials_of_listeners(world, selection).get(credential) or ()):
        outcome = listener_outcomes(world, selection).get(listener)
        for chain in () if outcome is None or outcome.value is None else outcome.value.filter_chains:
            if credential in _termination_credentials(chain.tls):
                yield from chain.origin
    if selection.sidecar is not None and credential in ingress.credentials(world, selection):
        yield scopes.key_of(selection.sidecar)
    for backend in sorted(credentials_of_clusters(world, selection).get(credential) or ()):
        found = cluster_outcomes(world, selection).get(backend)
        if found is not None and found.value is not None:
            yield from found.value.origin


@derived_map(credential_outcomes)
def secret_resources(world: World, selection: Selection, name: str) -> Resource | None:
    """The Secrets that deliver these credentials."""
    outcome = credential_outcomes(world, selection).get(name)
    return None if outcome is None or outcome.value is None else render_tls.secret(outcome.value)
