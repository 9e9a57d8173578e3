"""What sidecars take in for their applications: which ports, and where the application is.

The ports are those that Services and ServiceEntries in front of the workload lead to, or else exactly those of the
Sidecar's ingress (istio.io/latest/docs/reference/config/networking/sidecar/#IstioIngressListener).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fairlead.derive import Collection, Input, derived, derived_index
from fairlead.intent import Backend, Endpoint, TlsTermination
from fairlead.models.core import EndpointSlice, Service, ServiceType
from fairlead.models.istio.destination_rule import ConnectionPoolSettings
from fairlead.models.istio.service_entry import ServiceEntry
from fairlead.models.istio.sidecar import IstioIngressListener, Sidecar
from fairlead.problems import FieldPath, ObjectKey, Problem, warning
from fairlead.resolve import endpoints, mesh, services
from fairlead.resolve.destination_rules import Located
from fairlead.resolve.istio.server_tls import CLIENT_CERTIFICATES, termination
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Labels, Selection
from fairlead.resolve.sidecar.exposures import APPLICATION_ADDRESS, KINDS, Kind
from fairlead.world import ObjectName, World

_UNIX = "unix://"


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A port that a sidecar listens on for its application."""

    port: int
    kind: Kind
    key: ObjectKey
    """The Service, ServiceEntry or Sidecar that says so."""
    path: FieldPath
    endpoint: Endpoint
    """Where the application listens."""
    bind: str = ""
    """IP address; empty for that of the workload."""
    tls: TlsTermination | None = None
    """Clients come with TLS, which ends at the sidecar."""
    declared: int = 0
    """The port of the service, which leads to this one; 0 where there is no service."""


# --- In front of a workload -------------------------------------------------------------------------------------------


def _services(world: World) -> Input[ObjectName, Service]:
    return world.objects(Service)


def _entries(world: World) -> Input[ObjectName, ServiceEntry]:
    return world.objects(ServiceEntry)


_Labelled = tuple[str, tuple[str, str]]


@derived_index(_services)
def _services_by_label(_world: World, name: ObjectName, service: Service) -> Iterator[_Labelled]:
    if service.spec.selector and service.spec.type is not ServiceType.EXTERNAL_NAME:
        yield name.namespace, min(service.spec.selector.items())


@derived_index(_entries)
def _entries_by_label(_world: World, name: ObjectName, entry: ServiceEntry) -> Iterator[_Labelled]:
    if entry.spec.workload_selector is not None and entry.spec.workload_selector.labels:
        yield name.namespace, min(entry.spec.workload_selector.labels.items())


@derived
def in_front(world: World, namespace: str, labels: Labels) -> tuple[ObjectKey, ...]:
    """The Services and ServiceEntries that select workloads with these labels, each kind from the oldest on."""
    found: list[Service] = []
    entries: list[ServiceEntry] = []
    for label in labels:
        for name in _services_by_label(world).get((namespace, label)) or ():
            service = _services(world).get(name)
            if service is not None and service.spec.selector.items() <= labels:
                found.append(service)
        for name in _entries_by_label(world).get((namespace, label)) or ():
            entry = _entries(world).get(name)
            selector = None if entry is None else entry.spec.workload_selector
            if entry is not None and selector is not None and selector.labels.items() <= labels:
                entries.append(entry)
    return tuple(obj.key for group in (found, entries) for obj in sorted(group, key=services.age))


# --- Ports ------------------------------------------------------------------------------------------------------------


@derived
def inbound_ports(world: World, selection: Selection) -> Outcome[tuple[InboundPort, ...]]:
    """The ports that the proxies of a workload listen on for it; of two claims to one, the first counts."""
    problems: list[Problem] = []
    if (declared := _declared(world, selection.sidecar)) is not None:
        found = list(declared)
    else:
        keys = () if selection.workload is None else selection.workload.services
        found = [port for key in keys for port in _ports_of(world, key, problems)]
    first: dict[tuple[str, int], InboundPort] = {}
    for port in found:
        other = first.setdefault((port.bind, port.port), port)
        if other.kind is not port.kind:
            message = f"port {port.port} of the workload is served as {other.kind.value}, since {other.key} says so"
            hint = "give the port the same protocol everywhere"
            problems.append(warning("server-conflict", message, key=port.key, path=port.path, hint=hint))
    return Outcome(tuple(first.values()), tuple(problems))


def _ports_of(world: World, key: ObjectKey, problems: list[Problem]) -> Iterator[InboundPort]:
    name = ObjectName(key.namespace, key.name)
    if key.kind == ServiceEntry.kind:
        entry = _entries(world).get(name)
        view = None if entry is None else services.view_of(world, key, entry.spec.hosts[0].lower())
    else:
        view = services.view_of(world, key, f"{key.name}.{key.namespace}.{services.CLUSTER_DOMAIN}".lower())
    for index, port in enumerate(() if view is None else view.ports):
        path = ("spec", "ports", index)
        number = port.number if port.target_port is None else port.target_port
        if isinstance(number, str):
            numbers = _numbers_of(world, name, port.name)
            if len(numbers) != 1:
                message = f"sidecars take nothing in for port {port.number}, whose targetPort {number} is a name"
                hint = "give the number of the port, or an EndpointSlice with a port of that name"
                problems.append(warning("named-target-port", message, key=key, path=(*path, "targetPort"), hint=hint))
                continue
            (number,) = numbers
        endpoint = Endpoint(APPLICATION_ADDRESS, number)
        yield InboundPort(number, KINDS[port.protocol], key, path, endpoint, declared=port.number)


def _numbers_of(world: World, service: ObjectName, port_name: str) -> set[int]:
    """What a port of a Service is in its EndpointSlices."""
    found = (world.objects(EndpointSlice).get(name) for name in endpoints.slices_by_service(world).get(service) or ())
    return {
        port.port for item in found if item is not None for port in item.ports if port.name == port_name and port.port
    }


@derived
def services_of(world: World, selection: Selection, port: int) -> tuple[ObjectKey, ...]:
    """The services whose requests come in on a port of a workload; all of them where a Sidecar says the ports."""
    found = () if selection.workload is None else selection.workload.services
    if _declared(world, selection.sidecar) is not None:
        return found
    return tuple(key for key in found if any(each.port == port for each in _ports_of(world, key, [])))


@derived
def _declared(world: World, name: ObjectName | None) -> tuple[InboundPort, ...] | None:
    """The ports of a Sidecar's ingress; None when it says nothing of them."""
    sidecar = None if name is None else world.objects(Sidecar).get(name)
    if sidecar is None or not sidecar.spec.ingress:
        return None
    return tuple(
        _of_ingress(world, listener, sidecar.key, ("spec", "ingress", index))
        for index, listener in enumerate(sidecar.spec.ingress)
    )


def _of_ingress(world: World, listener: IstioIngressListener, key: ObjectKey, path: FieldPath) -> InboundPort:
    number, text = listener.port.number, listener.default_endpoint
    endpoint = Endpoint(APPLICATION_ADDRESS, number)
    if text.startswith(_UNIX):
        endpoint = Endpoint(text.removeprefix(_UNIX), 0)
    elif text:
        host, _, port = text.rpartition(":")
        # The workload's own address is where the sidecar is: of it only the loopback is left to the application.
        endpoint = Endpoint("::1" if host in ("[::1]", "[::]") else APPLICATION_ADDRESS, int(port))
    kind = KINDS[services.protocol_of(listener.port.protocol or listener.port.name, number)]
    tls = None
    if listener.tls is not None and listener.tls.mode in CLIENT_CERTIFICATES:
        if listener.port.protocol.upper() == "HTTPS":
            kind = Kind.HTTP  # inside of the TLS that ends here
        tls = termination(listener.tls, mesh.tls_defaults(world), http=kind is Kind.HTTP)
    return InboundPort(number, kind, key, path, endpoint, listener.bind, tls)


# --- Applications -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Application:
    """Where an application listens, and how much it is given."""

    endpoint: Endpoint
    pool: Located[ConnectionPoolSettings] | None
    origin: tuple[ObjectKey, ...]


def backend(selection: Selection, port: int) -> Backend:
    """The application's port; it is the same for all workloads with one Sidecar, and names what that says of it."""
    return Backend("", port, "" if selection.sidecar is None else "/".join(selection.sidecar))


@derived
def credentials(world: World, selection: Selection) -> frozenset[str]:
    """Names of the credentials that inbound ports of the Sidecar need."""
    found = [port.tls for port in _declared(world, selection.sidecar) or () if port.tls is not None]
    authorities = (tls.validation.authorities for tls in found if tls.validation is not None)
    return frozenset(name for tls in found for name in tls.credentials).union(filter(None, authorities))


@derived
def application(world: World, backend: Backend) -> Application:
    """What is behind the inbound port of a `backend`."""
    owner, _, name = backend.subset.partition("/")
    sidecar = world.objects(Sidecar).get(ObjectName(owner, name)) if name else None
    endpoint = Endpoint(APPLICATION_ADDRESS, backend.port)
    if sidecar is None:
        return Application(endpoint, None, ())
    pool = None
    if sidecar.spec.inbound_connection_pool is not None:
        pool = Located(sidecar.spec.inbound_connection_pool, sidecar.key, ("spec", "inboundConnectionPool"))
    for index, listener in enumerate(sidecar.spec.ingress):
        if listener.port.number == backend.port:
            path: FieldPath = ("spec", "ingress", index)
            endpoint = _of_ingress(world, listener, sidecar.key, path).endpoint
            if listener.connection_pool is not None:
                pool = Located(listener.connection_pool, sidecar.key, (*path, "connectionPool"))
    return Application(endpoint, pool, (sidecar.key,))


@derived_index(_services)
def _services_by_target(_world: World, name: ObjectName, service: Service) -> Iterator[tuple[str, int | ObjectName]]:
    """Namespace and port of workloads -> the Services that lead there; for ports that have names, the Service."""
    if service.spec.selector:
        for port in service.spec.ports:
            target = port.port if port.target_port is None else port.target_port
            yield name.namespace, target if isinstance(target, int) else name


@derived_index(_entries)
def _entries_by_target(_world: World, name: ObjectName, entry: ServiceEntry) -> Iterable[tuple[str, int]]:
    if entry.spec.workload_selector is not None:
        for port in entry.spec.ports:
            yield name.namespace, port.target_port or port.number


def sources(world: World) -> tuple[Collection[Any, Any], ...]:
    """What is large of that which `backends` are computed from."""
    return _services_by_target(world), _entries_by_target(world)


@derived
def backends(world: World, selection: Selection) -> frozenset[Backend]:
    """The ports of all applications of the namespace, or of the Sidecar's ingress.

    Each is a cluster of a few bytes. So all sidecars with one scope are sent the same clusters, whatever is behind
    them, and their table is kept once.
    """
    declared = _declared(world, selection.sidecar)
    if declared is not None:
        return frozenset(backend(selection, port.port) for port in declared)
    found: set[int] = set()
    for owner, target in (*_services_by_target(world).keys(), *_entries_by_target(world).keys()):
        if owner == selection.namespace:
            if isinstance(target, int):
                found.add(target)
            else:
                service = _services(world).get(target)
                for port in () if service is None else service.spec.ports:
                    if isinstance(port.target_port, str):
                        found |= _numbers_of(world, target, port.name)
    return frozenset(backend(selection, number) for number in found)
