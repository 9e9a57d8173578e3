"""The endpoints of a backend, from wherever they are written, and how proxies of a locality prefer them.

A Kubernetes Service has the endpoints of its EndpointSlices; without any, those of the Endpoints object of its name;
without that, the Pods that it selects; and in each case the WorkloadEntries that it selects. A ServiceEntry has its
own endpoints, or the WorkloadEntries and Pods that it selects; resolved by DNS and with neither, its host itself.

A subset has the endpoints with its labels. The labels of an endpoint in an EndpointSlice (or Endpoints) are those of
its Pod or, where the Pod is not among the objects, those of the EndpointSlice: so files tell versions apart by one
EndpointSlice for each, labelled with its version.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fairlead.derive import Collection, Index, Input, derived, derived_index
from fairlead.intent import Backend, Endpoint, EndpointAssignment, Origin
from fairlead.models import core
from fairlead.models.istio.service_entry import Resolution, ServiceEntry
from fairlead.models.istio.workload_entry import WorkloadEntry, WorkloadEntrySpec
from fairlead.problems import FieldPath, ObjectKey, Problem, warning
from fairlead.resolve import destination_rules, hosts, localities, mesh, services
from fairlead.resolve.localities import LocalityRules, Member
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Labels, Locality, Viewer
from fairlead.resolve.services import ServicePort, ServiceView
from fairlead.world import ObjectName, World

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
LOCALITY_LABEL = "istio-locality"
_DISTRIBUTIONS = {
    "PreferClose": localities.TOPOLOGY_LABELS,
    "PreferSameZone": localities.TOPOLOGY_LABELS[:2],
    # A proxy does not say on which node it runs, so that its zone is as near as can be told.
    "PreferSameNode": localities.TOPOLOGY_LABELS[:2],
}
"""Values of a Service's `trafficDistribution` -> labels by which endpoints are preferred."""
_DNS = frozenset({Resolution.DNS, Resolution.DNS_ROUND_ROBIN})


@derived
def endpoint_assignment(
    world: World, viewer: Viewer, locality: Locality, backend: Backend
) -> Outcome[EndpointAssignment | None]:
    """The endpoints of a backend, as the viewer prefers them from its locality.

    None when the backend is unknown, or when proxies find its endpoints by themselves.
    """
    view = services.find(world, viewer.namespace, backend.host)
    if view is None or view.resolution not in (Resolution.STATIC, Resolution.NONE) or view.port(backend.port) is None:
        return Outcome(None)
    if destination_rules.subset_labels(world, viewer, backend) is None:
        return Outcome(None)
    found = members(world, viewer, backend)
    arranged = localities.arrange(found.members, locality, locality_rules(world, viewer, backend))
    return Outcome(EndpointAssignment(backend, arranged, found.origin), found.problems)


@derived
def locality_rules(world: World, viewer: Viewer, backend: Backend) -> LocalityRules:
    """How the endpoints of a backend are preferred.

    Priorities need outlier detection, because nothing else tells a proxy to go on to the next place, unless the
    Service asks for them by its `trafficDistribution`. What a DestinationRule says comes before that.
    """
    policy = destination_rules.policy(world, viewer, backend)
    setting = None if policy.load_balancer is None else policy.load_balancer.value.locality_lb_setting
    if setting is None:
        view = services.find(world, viewer.namespace, backend.host)
        preferred = _DISTRIBUTIONS.get(view.traffic_distribution, ()) if view is not None else ()
        if preferred:
            return LocalityRules(prioritised=True, labels=tuple((label, None) for label in preferred))
        setting = mesh.locality_setting(world)
    if setting is None:
        return LocalityRules(prioritised=policy.outlier_detection is not None)
    if setting.enabled is False:
        return LocalityRules()
    labels = (label.partition("=") for label in setting.failover_priority)
    own = dict(viewer.labels)
    return LocalityRules(
        prioritised=policy.outlier_detection is not None,
        failover=tuple((item.from_, item.to) for item in setting.failover),
        labels=tuple(
            (name, value if equals else None if name in localities.TOPOLOGY_LABELS else own.get(name, ""))
            for name, equals, value in labels
        ),
        distribute=tuple((item.from_, tuple(sorted(item.to.items()))) for item in setting.distribute),
        weighted=bool(setting.distribute or setting.failover or setting.failover_priority),
    )


# --- Members ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Members:
    """The endpoints of a backend, in no promised order, each address once."""

    members: tuple[Member, ...]
    origin: Origin
    problems: tuple[Problem, ...]


_NO_LABELS: Labels = frozenset()


@dataclass(slots=True)
class _Gathering:
    """What is looked for, and what has been found so far."""

    world: World
    view: ServiceView
    port: ServicePort
    subset: Labels
    asked_for: frozenset[str]
    """Names of the labels that the locality rules compare."""
    members: dict[tuple[str, int], Member] = field(default_factory=dict)
    targets: set[core.TargetReference] = field(default_factory=set)
    """What the members found so far stand for."""
    origin: dict[ObjectKey, None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    passed_over: int = 0
    """Endpoints of the service that are not of the subset."""

    def needs_labels(self) -> bool:
        return bool(self.subset or self.asked_for)

    def add(self, key: ObjectKey, endpoint: Endpoint, labels: Labels, place: Locality) -> None:
        if not self.subset <= labels:
            self.passed_over += 1
            return
        self.origin[key] = None
        kept = frozenset(label for label in labels if label[0] in self.asked_for) if self.asked_for else _NO_LABELS
        self.members.setdefault((endpoint.address, endpoint.port), Member(endpoint, place, kept))


@derived
def members(world: World, viewer: Viewer, backend: Backend) -> Members:
    """The endpoints of a backend, as the viewer sees them; none when the backend is unknown."""
    view = services.find(world, viewer.namespace, backend.host)
    port = None if view is None else view.port(backend.port)
    subset = destination_rules.subset_labels(world, viewer, backend)
    if view is None or port is None or subset is None:
        return Members((), (), ())
    rules = locality_rules(world, viewer, backend)
    asked_for = frozenset(name for name, _ in rules.labels) - frozenset(localities.TOPOLOGY_LABELS)
    gathering = _Gathering(world, view, port, subset, asked_for)
    if view.key.kind == core.Service.kind:
        _gather_of_service(gathering)
    else:
        _gather_of_entry(gathering)
    if gathering.passed_over and not gathering.members:
        gathering.problems.append(_empty_subset(world, viewer, backend, gathering.passed_over))
    of_subset = destination_rules.policy(world, viewer, backend).origin if backend.subset else ()
    origin = dict.fromkeys((view.key, *of_subset, *sorted(gathering.origin)))
    return Members(tuple(gathering.members.values()), tuple(origin), tuple(gathering.problems))


def _empty_subset(world: World, viewer: Viewer, backend: Backend, passed_over: int) -> Problem:
    subset = destination_rules.rule(world, viewer, backend.host).subsets[backend.subset]
    labels = ", ".join(f"{name}={value}" for name, value in sorted(subset.labels))
    return warning(
        "empty-subset",
        f"subset {backend.subset} is empty: none of the {passed_over} endpoints of {backend.host} has {labels}",
        key=subset.key,
        path=(*subset.path, "labels"),
        hint="label the Pods of the version so, or its EndpointSlice",
    )


# --- Kubernetes Services ----------------------------------------------------------------------------------------------


def _gather_of_service(gathering: _Gathering) -> None:
    view, world = gathering.view, gathering.world
    if view.external_name:
        gathering.add(view.key, Endpoint(view.external_name, gathering.port.number), frozenset(), Locality())
        return
    name = ObjectName(view.key.namespace, view.key.name)
    slices = sorted(slices_by_service(world).get(name) or ())
    legacy = None if slices else world.objects(core.Endpoints).get(name)
    selector = _selector_of_service(world, name)
    if slices:
        _gather_of_slices(gathering, slices)
    elif legacy is not None:
        _gather_of_endpoints(gathering, legacy)
    elif selector:
        _gather_of_pods(gathering, selector)
    if selector:
        _gather_of_workloads(gathering, selector)


def _slices(world: World) -> Input[ObjectName, core.EndpointSlice]:
    return world.objects(core.EndpointSlice)


@derived_index(_slices)
def slices_by_service(_world: World, name: ObjectName, item: core.EndpointSlice) -> Iterable[ObjectName]:
    """Service -> its EndpointSlices."""
    service = item.metadata.labels.get(SERVICE_NAME_LABEL)
    return () if service is None else (ObjectName(name.namespace, service),)


def sources(world: World) -> tuple[Collection[Any, Any], ...]:
    """What is large of that which members are gathered from."""
    return (slices_by_service(world),)


def _selector_of_service(world: World, name: ObjectName) -> Labels:
    service = world.objects(core.Service).get(name)
    return frozenset() if service is None else frozenset(service.spec.selector.items())


def _gather_of_slices(gathering: _Gathering, names: Iterable[ObjectName]) -> None:
    collection = gathering.world.objects(core.EndpointSlice)
    found = [item for name in names if (item := collection.get(name)) is not None]
    # The slices of another address family have the same Pods once more.
    found.sort(key=lambda item: item.address_type is not core.AddressType.IPV4)
    served = False
    for item in found:
        port = _port_of(gathering.port, item.ports)
        if port is None:
            continue
        served = True
        place = localities.parse(item.metadata.labels.get(LOCALITY_LABEL, ""))
        if item.address_type is core.AddressType.FQDN:
            gathering.problems.append(
                warning(
                    "unsupported-value",
                    "endpoints that are host names are left out",
                    key=item.key,
                    path=("addressType",),
                    hint="write a ServiceEntry with resolution DNS for them",
                )
            )
            continue
        for endpoint in item.endpoints:
            if endpoint.conditions.ready is False or not endpoint.addresses:
                continue
            locality = Locality(zone=endpoint.zone) if place == Locality() else place
            _add_target(gathering, item, Endpoint(endpoint.addresses[0], port), endpoint.target_ref, locality)
    if not served and any(item.endpoints for item in found):
        gathering.problems.append(_no_such_port(gathering, found[0].key, ("ports",)))


def _gather_of_endpoints(gathering: _Gathering, item: core.Endpoints) -> None:
    place = localities.parse(item.metadata.labels.get(LOCALITY_LABEL, ""))
    served = False
    for subset in item.subsets:
        port = _port_of(gathering.port, subset.ports)
        if port is None:
            continue
        served = True
        for address in subset.addresses:
            _add_target(gathering, item, Endpoint(address.ip, port), address.target_ref, place)
    if not served and any(subset.addresses for subset in item.subsets):
        gathering.problems.append(_no_such_port(gathering, item.key, ("subsets",)))


def _port_of(port: ServicePort, ports: Iterable[core.EndpointPort]) -> int | None:
    """The port of endpoints that belongs to a Service's port: the one of the same name."""
    for item in ports:
        if item.name == port.name and item.protocol is core.Protocol.TCP:
            return port.number if item.port is None else item.port
    return None


def _no_such_port(gathering: _Gathering, key: ObjectKey, path: FieldPath) -> Problem:
    port = gathering.port
    name = f"port named {port.name}" if port.name else "port without a name"
    message = f"nothing here serves port {port.number} of {gathering.view.key}, because there is no {name}"
    return warning("endpoint-port-mismatch", message, key=key, path=path, hint="name the port as the Service does")


def _add_target(
    gathering: _Gathering,
    item: core.EndpointSlice | core.Endpoints,
    endpoint: Endpoint,
    target: core.TargetReference | None,
    place: Locality,
) -> None:
    if target is not None:
        if isinstance(item, core.EndpointSlice) and item.address_type is core.AddressType.IPV6:
            if target in gathering.targets:
                return
        else:
            gathering.targets.add(target)
    labels: Labels = frozenset()
    if gathering.needs_labels():
        pod = None
        if target is not None and target.kind == core.Pod.kind:
            pod = _pod_labels(gathering.world, ObjectName(item.metadata.namespace, target.name))
        labels = frozenset(item.metadata.labels.items()) if pod is None else pod
    gathering.add(item.key, endpoint, labels, place)


@derived
def _pod_labels(world: World, name: ObjectName) -> Labels | None:
    pod = world.objects(core.Pod).get(name)
    return None if pod is None else frozenset(pod.metadata.labels.items())


# --- ServiceEntries ---------------------------------------------------------------------------------------------------


def _gather_of_entry(gathering: _Gathering) -> None:
    view = gathering.view
    entry = gathering.world.objects(ServiceEntry).get(ObjectName(view.key.namespace, view.key.name))
    if entry is None:
        return
    for index, endpoint in enumerate(entry.spec.endpoints):
        labels = frozenset(endpoint.labels.items())
        _add_workload(gathering, view.key, endpoint, labels, ("spec", "endpoints", index))
    if entry.spec.workload_selector is not None:
        selector = frozenset(entry.spec.workload_selector.labels.items())
        _gather_of_workloads(gathering, selector)
        _gather_of_pods(gathering, selector)
    elif view.resolution in _DNS and not entry.spec.endpoints:
        if hosts.is_wildcard(view.host):
            message = f"the wildcard {view.host} cannot be resolved, so that nothing is reached"
            hint = "list endpoints, or name each host"
            gathering.problems.append(
                warning("unresolvable-host", message, key=view.key, path=("spec", "hosts"), hint=hint)
            )
        else:
            port = gathering.port.target_port
            number = port if isinstance(port, int) else gathering.port.number
            gathering.add(view.key, Endpoint(view.host, number), frozenset(), Locality())


# --- Workloads selected by labels -------------------------------------------------------------------------------------


def _gather_of_workloads(gathering: _Gathering, selector: Labels) -> None:
    collection = gathering.world.objects(WorkloadEntry)
    names = _selected(_workloads_by_label(gathering.world), gathering.view.namespace, selector)
    for name in sorted(names):
        item = collection.get(name)
        if item is not None:
            _add_workload(gathering, item.key, item.spec, _labels_of_workload(item), ("spec",))


def _gather_of_pods(gathering: _Gathering, selector: Labels) -> None:
    collection = gathering.world.objects(core.Pod)
    port = gathering.port.target_port
    number = port if isinstance(port, int) else gathering.port.number
    names = sorted(_selected(_pods_by_label(gathering.world), gathering.view.namespace, selector))
    if isinstance(port, str) and names:
        message = f"the target port {port} is a name, so that port {number} of the Pods is taken"
        hint = "write its number, or list the endpoints in an EndpointSlice"
        gathering.problems.append(
            warning("named-target-port", message, key=gathering.view.key, path=("spec", "ports"), hint=hint)
        )
    for name in names:
        pod = collection.get(name)
        if pod is None or not pod.status.pod_ip or pod.status.phase in ("Succeeded", "Failed"):
            continue
        place = localities.parse(pod.metadata.labels.get(LOCALITY_LABEL, ""))
        endpoint = Endpoint(pod.status.pod_ip, number)
        gathering.add(pod.key, endpoint, frozenset(pod.metadata.labels.items()), place)


def _add_workload(
    gathering: _Gathering, key: ObjectKey, workload: WorkloadEntrySpec, labels: Labels, path: FieldPath
) -> None:
    """Add an endpoint of Istio's kinds, or say why it cannot be reached."""
    by_name = gathering.view.resolution in _DNS
    address, port = workload.address, gathering.port
    number = workload.ports.get(port.name) or (port.target_port if isinstance(port.target_port, int) else port.number)
    fault = ""
    if address.startswith("unix://"):
        fault = "a unix domain socket, which cannot be resolved by DNS" if by_name else ""
        address, number = address.removeprefix("unix://"), 0
    elif not address:
        fault = "without an address"
    elif not by_name and not is_ip_address(address):
        fault = f"the host name {address}, which needs resolution DNS"
    if fault:
        message = f"the endpoint is left out: it is {fault}"
        gathering.problems.append(warning("unusable-endpoint", message, key=key, path=(*path, "address")))
        return
    place = localities.parse(workload.locality or dict(labels).get(LOCALITY_LABEL, ""))
    gathering.add(key, Endpoint(address, number, workload.weight or 1), labels, place)


def is_ip_address(text: str) -> bool:
    """Whether it is an address, not a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_Labelled = tuple[str, tuple[str, str] | None]
"""A namespace, and a label that its workloads may have; None for all of them."""


def _selected(index: Index[_Labelled, ObjectName], namespace: str, selector: Labels) -> frozenset[ObjectName]:
    """The workloads of a namespace that have all labels of a selector."""
    wanted: Iterable[tuple[str, str] | None] = sorted(selector) or (None,)
    found: frozenset[ObjectName] | None = None
    for label in wanted:
        group = index.get((namespace, label)) or frozenset()
        found = group if found is None else found & group
    return found or frozenset()


def _labels_of_workload(item: WorkloadEntry) -> Labels:
    return frozenset((item.spec.labels | item.metadata.labels).items())


def _workloads(world: World) -> Input[ObjectName, WorkloadEntry]:
    return world.objects(WorkloadEntry)


@derived_index(_workloads)
def _workloads_by_label(_world: World, name: ObjectName, item: WorkloadEntry) -> Iterator[_Labelled]:
    yield name.namespace, None
    for label in _labels_of_workload(item):
        yield name.namespace, label


def _pods(world: World) -> Input[ObjectName, core.Pod]:
    return world.objects(core.Pod)


@derived_index(_pods)
def _pods_by_label(_world: World, name: ObjectName, item: core.Pod) -> Iterator[_Labelled]:
    yield name.namespace, None
    for label in item.metadata.labels.items():
        yield name.namespace, label
