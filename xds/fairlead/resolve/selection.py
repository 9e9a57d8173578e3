"""From a proxy to its selection, and from the objects to the proxies that they must be meant for."""

from collections.abc import Iterable, Iterator
from typing import Any

from fairlead.derive import Collection, derived, derived_index
from fairlead.models.asm.governing import Traffic
from fairlead.models.core import Protocol, Service, ServicePort
from fairlead.problems import Problem, warning
from fairlead.resolve import destination_rules
from fairlead.resolve.dialect import Dialect
from fairlead.resolve.dialects import DIALECTS
from fairlead.resolve.governance import connections, effect
from fairlead.resolve.scope import Labels, Proxy, Role, Selection, Selector
from fairlead.resolve.sidecar.selection import imagined, sidecar_selection, sidecars_implied
from fairlead.world import ObjectName, World


def selection(world: World, proxy: Proxy) -> Selection:
    """What applies to the proxy."""
    if proxy.role is Role.SIDECAR:
        return sidecar_selection(world, proxy)
    if proxy.role is not Role.GATEWAY:
        return Selection(proxy.role, proxy.namespace)
    return _gateway_selection(world, proxy.namespace, proxy.labels, proxy.config)


def sources(world: World) -> tuple[Collection[Any, Any], ...]:
    """What is large of that which selections are computed from."""
    return _services_by_label(world), _services_by_selector(world)


def selection_problems(world: World, proxy: Proxy) -> tuple[Problem, ...]:
    """Why ports of Services in front of the proxy could not be mapped."""
    problems: list[Problem] = []
    if proxy.role is not Role.GATEWAY:
        return ()
    for service in services_in_front(world, proxy.namespace, proxy.labels):
        for index, port in enumerate(service.spec.ports):
            if _target(port) is None:
                problem = warning(
                    "named-target-port",
                    f"targetPort {port.target_port} is a name, so the gateway listens on port {port.port} itself",
                    key=service.key,
                    path=("spec", "ports", index, "targetPort"),
                    hint="give the number of the port",
                )
                problems.append(problem)
    return tuple(problems)


@derived
def _gateway_selection(world: World, namespace: str, labels: Labels, config: str) -> Selection:
    selectors = {
        selector
        for dialect in DIALECTS
        for label in (None, *labels)
        for selector in _selectors_by_label(world, dialect).get(label) or ()
        if selector.namespace in ("", namespace) and selector.labels <= labels
    }
    asked_for = {label for dialect in DIALECTS for label in labels if dialect.labels(world).get(label) is not None}
    # Labels that a Gateway selects by are known: a limit for its proxies, as most are, makes no other selection.
    known = frozenset[tuple[str, str]]().union(*(selector.labels for selector in selectors))
    asked_for |= connections.labels_asked_for(world, namespace, labels - known)
    return Selection(
        role=Role.GATEWAY,
        namespace=namespace,
        selectors=frozenset(selectors),
        ports=_ports(world, namespace, labels),
        labels=frozenset(asked_for),
        caller_labels=destination_rules.labels_asked_for(world, namespace, labels),
        config=config,
    )


# --- Selectors --------------------------------------------------------------------------------------------------------


def _selectors(world: World, dialect: Dialect) -> Collection[Selector, frozenset[ObjectName]]:
    return dialect.selectors(world)


@derived_index(_selectors)
def _selectors_by_label(
    _world: World, _dialect: Dialect, selector: Selector, _gateways: frozenset[ObjectName]
) -> Iterable[tuple[str, str] | None]:
    # A proxy looks up its own labels and reads no selector of others; one label of each selector is enough for that.
    return (min(selector.labels, default=None),)


# --- Services in front of gateways ------------------------------------------------------------------------------------


def _services(world: World) -> Collection[ObjectName, Service]:
    return world.objects(Service)


@derived_index(_services)
def _services_by_label(_world: World, name: ObjectName, service: Service) -> Iterable[tuple[str, tuple[str, str]]]:
    if service.spec.selector:
        yield name.namespace, min(service.spec.selector.items())


@derived_index(_services)
def _services_by_selector(_world: World, _name: ObjectName, service: Service) -> Iterable[tuple[str, str]]:
    return service.spec.selector.items()


def services_in_front(world: World, namespace: str, labels: Labels) -> list[Service]:
    """The Services whose selector the labels satisfy, older ones first."""
    found = [
        service
        for label in labels
        for name in _services_by_label(world).get((namespace, label)) or ()
        if (service := world.objects(Service).get(name)) is not None and service.spec.selector.items() <= labels
    ]
    return sorted(found, key=lambda service: (service.metadata.creation_timestamp or "", service.metadata.name))


def _target(port: ServicePort) -> int | None:
    """The port that traffic to a Service's port arrives at, None when it is not known."""
    if port.target_port is None:
        return port.port
    return port.target_port if isinstance(port.target_port, int) else None


@derived
def _ports(world: World, namespace: str, labels: Labels) -> tuple[tuple[int, int], ...]:
    ports: dict[int, int] = {}
    for service in services_in_front(world, namespace, labels):
        for port in service.spec.ports:
            target = _target(port)
            if target is not None and port.protocol is Protocol.TCP:
                ports.setdefault(port.port, target)
    return tuple(sorted(ports.items()))


# --- Proxies without proxies ------------------------------------------------------------------------------------------


def everybody_implied(world: World) -> tuple[Proxy, ...]:
    """The proxies that Gateways, Sidecars and rules of ASM must be meant for."""
    return (*proxies_implied(world), *dict.fromkeys((*sidecars_implied(world), *sidecars_governed(world))))


@derived
def proxies_implied(world: World) -> tuple[Proxy, ...]:
    """The proxies that Gateways must be meant for, where no proxy is there to ask: one for each set of labels.

    A Service that selects the same Pods as a Gateway tells their namespace and more of their labels. Without one,
    they are taken to be in the Gateway's namespace.
    """
    proxies = {
        Proxy(Role.GATEWAY, namespace, labels)
        for dialect in DIALECTS
        for selector in dialect.selectors(world).keys()  # noqa: SIM118  # no dict: keys() records the reading
        for namespace, labels in _pods_implied(world, selector, dialect.selectors(world).get(selector) or frozenset())
    }
    if any(proxy.labels for proxy in proxies):
        # Gateways for every proxy are among those of each of these.
        proxies = {proxy for proxy in proxies if proxy.labels}
    return tuple(sorted(proxies, key=lambda proxy: (proxy.namespace, sorted(proxy.labels))))


def _pods_implied(world: World, selector: Selector, gateways: frozenset[ObjectName]) -> Iterator[tuple[str, Labels]]:
    found = [
        (namespace, labels)
        for namespace, labels in workloads_known(world, selector.labels)
        if selector.namespace in ("", namespace)
    ]
    yield from found or [(selector.namespace or min(gateways).namespace, selector.labels)]


def workloads_known(world: World, labels: Labels) -> frozenset[tuple[str, Labels]]:
    """Namespace and labels of Pods that some Service selects, and of which nothing says that they lack the labels."""
    # Those of which one selects a part of what the other selects have a label in common.
    names = {name for label in labels for name in _services_by_selector(world).get(label) or ()}
    found = set()
    for name in names:
        service = world.objects(Service).get(name)
        selected = frozenset(service.spec.selector.items()) if service is not None else frozenset()
        if service is not None and (selected <= labels or selected >= labels):
            found.add((name.namespace, selected | labels))
    return frozenset(found)


@derived
def sidecars_governed(world: World) -> tuple[Proxy, ...]:
    """The sidecars that rules of ASM must be meant for, where no proxy is there to ask.

    They are before workloads of Services that have the labels, or may have them. For requests that leave sidecars, no
    Service is needed.
    """
    found: set[tuple[str, Labels]] = set()
    for rule in effect.all_rules(world):
        if rule.traffic is Traffic.GATEWAY:
            continue
        known = workloads_known(world, rule.labels)
        found |= {place for place in known if place[0] == rule.key.namespace}
        if not known and rule.traffic is Traffic.SIDECAR_OUTBOUND:
            found.add((rule.key.namespace, rule.labels))
    return tuple(imagined(namespace, labels) for namespace, labels in sorted(found, key=_by_labels))


def _by_labels(place: tuple[str, Labels]) -> tuple[str, list[tuple[str, str]]]:
    return place[0], sorted(place[1])
