"""What a sidecar's applications reach, and where: each port of each service in scope, on a listener of the sidecar.

The work is proportional to what is in scope: a Sidecar that names five hosts never looks at the others.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from fairlead.derive import Collection, Input, derived, derived_index, derived_map
from fairlead.models.core import Service
from fairlead.models.istio.service_entry import ServiceEntry
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.resolve import services
from fairlead.resolve.dialect import VirtualHostKey
from fairlead.resolve.hosts import covers, is_wildcard
from fairlead.resolve.istio.virtual_services import hosts_of
from fairlead.resolve.scope import Selection
from fairlead.resolve.services import PortProtocol
from fairlead.resolve.sidecar import scopes, virtual_services
from fairlead.resolve.sidecar.scopes import HTTP_PROXY, EgressListener, Import
from fairlead.world import ObjectName, World

APPLICATION_ADDRESS = "127.0.0.1"
"""Where the application is, and where a sidecar listens for it unless its bootstrap says another address."""
HTTP_PROXY_TABLE = "http_proxy"
"""Name of the route table of HTTP proxy ports, as Istio gives it."""
_UNIX = "unix://"
_DEFAULT_HTTP_PORT = 80


class Kind(enum.Enum):
    """What is done with the bytes that arrive for a service."""

    HTTP = "http"
    TLS = "tls"
    """Routed by SNI, not decrypted."""
    TCP = "tcp"


KINDS = {
    PortProtocol.HTTP: Kind.HTTP,
    PortProtocol.HTTP2: Kind.HTTP,
    PortProtocol.UNKNOWN: Kind.HTTP,
    PortProtocol.HTTPS: Kind.TLS,
    PortProtocol.TLS: Kind.TLS,
    PortProtocol.TCP: Kind.TCP,
}
"""A port whose protocol nobody has named is taken for HTTP."""


class Address(NamedTuple):
    """What an outbound listener binds."""

    bind: str
    """IP address or `unix://` and a path; empty for the proxy's own choice."""
    port: int

    @property
    def listener(self) -> str:
        """Name of the listener, as long as no proxy binds another address."""
        return f"{self.bind or APPLICATION_ADDRESS}_{self.port}"


@dataclass(frozen=True, slots=True)
class Exposure:
    """A port of a service, on a listener."""

    host: str
    port: int
    address: Address
    kind: Kind
    http_proxy: bool = False
    """The listener is a forward proxy."""

    @property
    def by_authority(self) -> bool:
        """Whether the port of the service is told by each request."""
        return self.http_proxy or not self.address.port

    @property
    def route_table(self) -> str:
        """Name of the route table, as Istio gives it."""
        if self.http_proxy:
            return HTTP_PROXY_TABLE
        return str(self.address.port) if self.address.port else self.address.bind

    @property
    def virtual_host(self) -> VirtualHostKey:
        """Identity of the virtual host."""
        return VirtualHostKey(self.route_table, f"{self.host}:{self.port}" if self.by_authority else self.host)


def is_by_authority(route_table: str) -> bool:
    """Whether the port of a request's host counts in a route table."""
    return route_table == HTTP_PROXY_TABLE or route_table.startswith(_UNIX)


# --- Which hosts ------------------------------------------------------------------------------------------------------


def _services(world: World) -> Input[ObjectName, Service]:
    return world.objects(Service)


def _entries(world: World) -> Input[ObjectName, ServiceEntry]:
    return world.objects(ServiceEntry)


@derived_index(_services)
def _services_by_namespace(_world: World, name: ObjectName, _service: Service) -> Iterable[str]:
    yield name.namespace


@derived_index(_entries)
def _entries_by_namespace(_world: World, name: ObjectName, _entry: ServiceEntry) -> Iterable[str]:
    yield name.namespace


def host_of(name: ObjectName) -> str:
    """The host name of a Kubernetes Service."""
    return f"{name.name}.{name.namespace}.{services.CLUSTER_DOMAIN}".lower()


@derived
def _every_host(world: World) -> frozenset[str]:
    hosts = {host_of(name) for name in _services(world).keys()}  # noqa: SIM118  # no dict
    return frozenset(hosts | services.entries_by_host(world).keys() | virtual_services.by_host(world).keys()) - {"*"}


@derived
def _hosts_of_namespace(world: World, namespace: str) -> frozenset[str]:
    hosts = {host_of(name) for name in _services_by_namespace(world).get(namespace) or ()}
    for name in _entries_by_namespace(world).get(namespace) or ():
        entry = _entries(world).get(name)
        hosts.update(() if entry is None else (host.lower() for host in entry.spec.hosts))
    for name in virtual_services.by_namespace(world).get(namespace) or ():
        found = world.objects(VirtualService).get(name)
        hosts.update(() if found is None else hosts_of(found))
    return frozenset(hosts) - {"*"}


@derived
def _imported(world: World, item: Import) -> frozenset[str]:
    if not is_wildcard(item.host):
        return frozenset((item.host,))
    hosts = _every_host(world) if item.namespace == "*" else _hosts_of_namespace(world, item.namespace)
    return hosts if item.host == "*" else frozenset(host for host in hosts if covers(item.host, host))


@derived
def _hosts(world: World, selection: Selection) -> frozenset[str]:
    imports = {item for listener in scopes.egress(world, selection) for item in listener.imports}
    groups = [_imported(world, item) for item in imports]
    # Mostly there is one group, which then is shared instead of copied.
    return groups[0] if len(groups) == 1 else frozenset().union(*groups)


# --- Where they are reached -------------------------------------------------------------------------------------------


def _sources_of_hosts(world: World, _selection: Selection) -> tuple[Collection[Any, Any], ...]:
    return (
        _services_by_namespace(world),
        _entries_by_namespace(world),
        services.entries_by_host(world),
        virtual_services.by_host(world),
        virtual_services.by_namespace(world),
    )


@derived_map(_hosts, reads=_sources_of_hosts)
def exposures(world: World, selection: Selection, host: str) -> tuple[Exposure, ...] | None:
    """Host -> the ports that applications reach, where there are any that the proxies see."""
    egress = scopes.egress(world, selection)
    found: list[Exposure] = []
    claimants = services.claimants(world, selection.namespace, host)
    if claimants:
        view = services.view_of(world, claimants[0], host)
        ports = [] if view is None else [(port.number, KINDS[port.protocol]) for port in view.ports]
        listeners = [listener for listener in egress if listener.sees(claimants[0].namespace, host)]
    else:
        # A host that only VirtualServices know is reached on HTTP's own port, as in Istio.
        ports = [(_DEFAULT_HTTP_PORT, Kind.HTTP)]
        known, _ = virtual_services.of_host(world, selection.namespace, egress, host, "http")
        listeners = [] if known is None else [item for item in egress if item.sees(known.metadata.namespace, host)]
    own_ports = {listener.port for listener in egress if listener.port and not listener.by_authority}
    for number, kind in ports:
        for listener in listeners:
            exposure = _exposure(listener, host, number, kind, own_ports)
            if exposure is not None:
                found.append(exposure)
    return tuple(dict.fromkeys(found)) or None


def _exposure(listener: EgressListener, host: str, number: int, kind: Kind, own_ports: set[int]) -> Exposure | None:
    if listener.protocol == HTTP_PROXY:
        # What is not HTTP is reached through it by CONNECT.
        return Exposure(host, number, Address(listener.bind, listener.port), kind, http_proxy=True)
    if listener.by_authority:
        return Exposure(host, number, Address(listener.bind, 0), kind) if kind is Kind.HTTP else None
    if number == listener.port:
        return Exposure(host, number, Address(listener.bind, number), kind)
    if listener.takes_the_rest and number not in own_ports:
        return Exposure(host, number, Address("", number), kind)
    return None


# --- Found again ------------------------------------------------------------------------------------------------------


@derived_index(exposures)
def hosts_by_address(
    _world: World, _selection: Selection, _host: str, found: tuple[Exposure, ...]
) -> Iterable[tuple[Address, Kind]]:
    """What is bound, and for what kind of bytes -> the hosts that are reached there."""
    return ((exposure.address, Kind.HTTP if exposure.http_proxy else exposure.kind) for exposure in found)


@derived_index(exposures)
def hosts_by_virtual_host(
    _world: World, _selection: Selection, _host: str, found: tuple[Exposure, ...]
) -> Iterable[VirtualHostKey]:
    """Virtual host -> its host; that of all other hosts, `*`, -> all hosts of the route table."""
    for exposure in found:
        if exposure.kind is Kind.HTTP or exposure.http_proxy:
            yield exposure.virtual_host
            yield VirtualHostKey(exposure.route_table, "*")


def sources_of_listeners(world: World, selection: Selection) -> tuple[Collection[Any, Any], ...]:
    """What is large of that which the names of listeners are computed from."""
    return (hosts_by_address(world, selection),)


def sources_of_virtual_hosts(world: World, selection: Selection) -> tuple[Collection[Any, Any], ...]:
    """What is large of that which the keys of virtual hosts are computed from."""
    return (hosts_by_virtual_host(world, selection),)


@derived
def http_proxies(world: World, selection: Selection) -> frozenset[Address]:
    """The HTTP proxy ports, which are there whether or not they lead to any service."""
    egress = scopes.egress(world, selection)
    return frozenset(Address(found.bind, found.port) for found in egress if found.protocol == HTTP_PROXY)


@derived
def virtual_host_keys(world: World, selection: Selection) -> frozenset[VirtualHostKey]:
    """All virtual hosts."""
    always = (VirtualHostKey(HTTP_PROXY_TABLE, "*") for _ in http_proxies(world, selection))
    return frozenset(hosts_by_virtual_host(world, selection).keys()).union(always)


@derived
def route_tables(world: World, selection: Selection) -> frozenset[str]:
    """Names of the route tables that listeners refer to."""
    return frozenset(key.route_table for key in virtual_host_keys(world, selection) if key.domain == "*")
