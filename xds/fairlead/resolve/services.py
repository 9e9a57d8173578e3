"""One view of services, whoever describes them: Kubernetes Services and Istio's ServiceEntries.

A service is known by its host name. Where several objects claim one host, a Kubernetes Service serves before
ServiceEntries, so that nobody takes over the name of a Service; among ServiceEntries the oldest does.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.derive import Input, derived, derived_index
from fairlead.intent import Backend
from fairlead.models import core
from fairlead.models.base import KubernetesObject
from fairlead.models.istio.service_entry import Resolution, ServiceEntry
from fairlead.problems import ObjectKey
from fairlead.resolve import mesh
from fairlead.resolve.istio.references import visibility
from fairlead.world import ObjectName, World

CLUSTER_DOMAIN = "svc.cluster.local"
"""What follows `<name>.<namespace>` in the host name of a Kubernetes Service."""


class PortProtocol(enum.Enum):
    """What the bytes on a port of a service are."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    """HTTP/2 without TLS, gRPC included."""
    HTTPS = "HTTPS"
    """HTTP within TLS, which the proxy does not look into unless it makes the TLS itself."""
    TLS = "TLS"
    TCP = "TCP"
    UNKNOWN = "UNKNOWN"
    """Nothing says what it is; HTTP/1.1 is assumed where requests are routed."""


_PROTOCOLS = {
    "http": PortProtocol.HTTP,
    "http_proxy": PortProtocol.HTTP,
    "http2": PortProtocol.HTTP2,
    "grpc": PortProtocol.HTTP2,
    "grpc-web": PortProtocol.HTTP2,
    "https": PortProtocol.HTTPS,
    "tls": PortProtocol.TLS,
    "tcp": PortProtocol.TCP,
    "mongo": PortProtocol.TCP,
    "mysql": PortProtocol.TCP,
    "redis": PortProtocol.TCP,
    "kubernetes.io/h2c": PortProtocol.HTTP2,
    "kubernetes.io/ws": PortProtocol.HTTP,
    "kubernetes.io/wss": PortProtocol.HTTPS,
}
"""Names of `appProtocol`, prefixes of port names, and protocols of ServiceEntries (istio.io/latest/docs/ops/
configuration/traffic-management/protocol-selection), lower case."""

_TCP_PORTS = frozenset({25, 53, 3306, 27017})
"""SMTP, DNS, MySQL and MongoDB: servers speak first there, so that nothing but TCP can be assumed."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a service."""

    number: int
    name: str
    protocol: PortProtocol
    target_port: int | str | None = None
    """Port of the endpoints where they do not say another one, or its name in their Pods; None for `number`."""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What is common to all services, without their endpoints."""

    host: str
    """Lower case; `*.x` for a ServiceEntry of a wildcard host, which is one service of that name."""
    key: ObjectKey
    """The Service or ServiceEntry."""
    ports: tuple[ServicePort, ...]
    """Those that are carried by TCP, in the order of the object."""
    resolution: Resolution
    external_name: str = ""
    """The name that an ExternalName Service stands for."""
    subject_alternative_names: tuple[str, ...] = ()
    """Names that certificates of the endpoints have."""
    created: str = ""
    """Of the object; empty when it is not known, which counts as oldest."""
    traffic_distribution: str = ""
    """`PreferClose`, `PreferSameZone` or `PreferSameNode`; empty for no preference."""

    @property
    def namespace(self) -> str:
        """Of the object."""
        return self.key.namespace

    def port(self, number: int) -> ServicePort | None:
        """The port of that number. An ExternalName Service that lists no ports has every port."""
        if self.external_name and not self.ports:
            return ServicePort(number, "", protocol_of("", number))
        return next((port for port in self.ports if port.number == number), None)


def qualify(host: str, namespace: str) -> str:
    """The full host name, lower case, of a name that an object of that namespace uses.

    Only names without a dot are short for a Service of the object's own namespace, as in Istio; IPv6 addresses are not.
    """
    host = host.lower()
    return host if "." in host or ":" in host or host == "*" else f"{host}.{namespace}.{CLUSTER_DOMAIN}"


def age(obj: KubernetesObject) -> tuple[str, str, str]:
    """Sorts objects from the oldest to the youngest; those without a date are equally old, and go first.

    Ties go by name, then namespace.
    """
    return obj.metadata.creation_timestamp or "", obj.metadata.name, obj.metadata.namespace


@derived
def find(world: World, namespace: str, host: str) -> ServiceView | None:
    """The service of a full host name, as proxies of the namespace see it; None when there is none for them.

    An ExternalName Service whose target is a service is that service, under the target's name.
    """
    found, passed = None, set[str]()
    while host not in passed:
        keys = claimants(world, namespace, host)
        view = view_of(world, keys[0], host) if keys else None
        if view is None or not view.external_name:
            return view or found
        passed.add(host)
        found, host = view, view.external_name
    return found


def backend(  # noqa: PLR0917  # the parts of a destination, in the order in which people write them
    world: World, namespace: str, host: str, port: int | None, subset: str, fallback_port: int
) -> Backend:
    """The backend that a destination of a route means, for proxies of the namespace.

    Without a `port` it is the only port of the service; of a service with several, or an unknown one, it is the
    fallback, which is the port of the listener (Istio's rule). The backend of an unknown host leads nowhere.
    """
    view = find(world, namespace, host)
    if port is None:
        port = view.ports[0].number if view is not None and len(view.ports) == 1 else fallback_port
    return Backend(view.host if view is not None else host, port, subset)


@derived
def claimants(world: World, namespace: str, host: str) -> tuple[ObjectKey, ...]:
    """The objects that proxies of the namespace see under a full host name; the first one serves it."""
    found = []
    service_name = service_of(host)
    service = world.objects(core.Service).get(service_name) if service_name is not None else None
    if service is not None and _service_is_visible(world, service, namespace):
        found.append(service.key)
    collection = world.objects(ServiceEntry)
    entries = (collection.get(name) for name in entries_by_host(world).get(host) or ())
    visible = [
        entry
        for entry in entries
        if entry is not None
        and visibility(mesh.service_export(world, entry.spec.export_to), entry.metadata.namespace, namespace)
        is not None
    ]
    found += [entry.key for entry in sorted(visible, key=age)]
    return tuple(found)


def service_of(host: str) -> ObjectName | None:
    """The name of the Kubernetes Service that a full host name belongs to, whether or not there is one."""
    name, _, rest = host.partition(".")
    namespace, _, domain = rest.partition(".")
    return ObjectName(namespace, name) if domain == CLUSTER_DOMAIN else None


def _service_is_visible(world: World, service: core.Service, namespace: str) -> bool:
    export_to = service.metadata.annotations.get("networking.istio.io/exportTo", "")
    names = tuple(name.strip() for name in export_to.split(",") if name.strip())
    return visibility(mesh.service_export(world, names), service.metadata.namespace, namespace) is not None


def _service_entries(world: World) -> Input[ObjectName, ServiceEntry]:
    return world.objects(ServiceEntry)


@derived_index(_service_entries)
def entries_by_host(_world: World, _name: ObjectName, entry: ServiceEntry) -> Iterable[str]:
    """Host name, lower case -> the ServiceEntries that list it."""
    return (host.lower() for host in entry.spec.hosts)


def view_of(world: World, key: ObjectKey, host: str) -> ServiceView | None:
    """What a Service or ServiceEntry says of one of its hosts; None when there is no such object."""
    name = ObjectName(key.namespace, key.name)
    if key.kind == core.Service.kind:
        service = world.objects(core.Service).get(name)
        return None if service is None else _view_of_service(service, host)
    entry = world.objects(ServiceEntry).get(name)
    return None if entry is None else _view_of_entry(entry, host)


def _view_of_service(service: core.Service, host: str) -> ServiceView:
    spec = service.spec
    is_alias = spec.type is core.ServiceType.EXTERNAL_NAME
    return ServiceView(
        host=host,
        key=service.key,
        created=service.metadata.creation_timestamp or "",
        ports=tuple(
            ServicePort(port.port, port.name, protocol_of(port.app_protocol or port.name, port.port), port.target_port)
            for port in spec.ports
            if port.protocol is core.Protocol.TCP
        ),
        resolution=Resolution.DNS if is_alias else Resolution.STATIC,
        external_name=spec.external_name.lower().rstrip(".") if is_alias else "",
        traffic_distribution=spec.traffic_distribution or _annotated_distribution(service),
    )


def _view_of_entry(entry: ServiceEntry, host: str) -> ServiceView:
    spec = entry.spec
    return ServiceView(
        host=host,
        key=entry.key,
        created=entry.metadata.creation_timestamp or "",
        ports=tuple(
            ServicePort(
                port.number, port.name, protocol_of(port.protocol or port.name, port.number), port.target_port or None
            )
            for port in spec.ports
            if port.protocol.upper() != "UDP"
        ),
        resolution=spec.resolution,
        subject_alternative_names=spec.subject_alt_names,
        traffic_distribution=_annotated_distribution(entry),
    )


def _annotated_distribution(obj: KubernetesObject) -> str:
    return obj.metadata.annotations.get("networking.istio.io/traffic-distribution", "")


def protocol_of(name: str, number: int) -> PortProtocol:
    """The protocol of a port by an `appProtocol` or a port's name, else by its well-known number."""
    name = name.lower()
    prefix = "grpc-web" if name.startswith("grpc-web") else name.partition("-")[0]
    default = PortProtocol.TCP if number in _TCP_PORTS else PortProtocol.UNKNOWN
    return _PROTOCOLS.get(prefix, default)
