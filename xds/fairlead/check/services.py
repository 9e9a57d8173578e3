"""Services as routes and policies name them."""

from collections.abc import Iterator, Sequence

from fairlead.intent import Backend
from fairlead.models.istio.destination_rule import DestinationRule
from fairlead.models.istio.service_entry import ServiceEntry
from fairlead.models.istio.virtual_service import Destination, TCPRoute, TLSRoute, VirtualService
from fairlead.problems import FieldPath, ObjectKey, Problem, Related, warning
from fairlead.resolve import destination_rules, services
from fairlead.resolve.hosts import is_wildcard
from fairlead.resolve.istio.destinations import reference
from fairlead.resolve.istio.references import is_for_sidecars_only
from fairlead.resolve.istio.source import Place, Source
from fairlead.resolve.scope import Labels, Viewer
from fairlead.resolve.services import PortProtocol, ServiceView
from fairlead.world import World

_TCP = frozenset({"", "TCP", "MONGO", "MYSQL", "REDIS"})


def problems(world: World) -> Iterator[Problem]:
    """What is wrong with references to services, whatever the proxy."""
    yield from _rules_for_nothing(world)
    yield from _shared_ports(world)
    yield from _destinations_of_routes(world)


def is_known(world: World, namespace: str, host: str) -> bool:
    """Whether objects of the namespace see a service of that full host name, or one of a wildcard that covers it.

    Of a wildcard itself it is not known: it may stand for any number of services.
    """
    labels = host.split(".")
    wildcards = (".".join(("*", *labels[index:])) for index in range(1, len(labels)))
    return is_wildcard(host) or any(services.find(world, namespace, name) is not None for name in (host, *wildcards))


def _rules_for_nothing(world: World) -> Iterator[Problem]:
    rules = world.objects(DestinationRule)
    for name in rules.keys():  # noqa: SIM118  # no dict
        rule = rules.get(name)
        if rule is None:
            continue
        host = services.qualify(rule.spec.host, name.namespace)
        if not is_known(world, name.namespace, host):
            message = f"no service {host} is known in namespace {name.namespace}, so that the rule applies to nothing"
            hint = "add a Service or ServiceEntry of that name, or correct the name"
            yield warning("unknown-host", message, key=rule.key, path=("spec", "host"), hint=hint)


def _shared_ports(world: World) -> Iterator[Problem]:
    """Sidecars tell TCP connections apart by address and port: where there is no address, by port only."""
    entries = world.objects(ServiceEntry)
    first: dict[int, ServiceEntry] = {}
    found = [entry for name in entries.keys() if (entry := entries.get(name)) is not None]  # noqa: SIM118
    for entry in sorted(found, key=services.age):
        if entry.spec.addresses:
            continue
        for port in entry.spec.ports:
            if port.protocol.upper() not in _TCP:
                continue
            other = first.setdefault(port.number, entry)
            if other is not entry:
                yield warning(
                    "missing-addresses",
                    f"TCP connections to port {port.number} go to {other.key}, which has no addresses either",
                    key=entry.key,
                    path=("spec", "ports"),
                    hint="give both addresses, or other ports",
                    related=(Related("this one has the port", other.key, ("spec", "ports")),),
                )


def _destinations_of_routes(world: World) -> Iterator[Problem]:
    found = world.objects(VirtualService)
    for name in found.keys():  # noqa: SIM118  # no dict
        virtual_service = found.get(name)
        if virtual_service is None:
            continue
        for_sidecars = bool(virtual_service.spec.hosts) and is_for_sidecars_only(virtual_service)
        for destination, path in _destinations(virtual_service):
            if for_sidecars:
                yield from _leading_nowhere(world, destination, virtual_service.key, path)
            view = services.find(world, name.namespace, services.qualify(destination.host, name.namespace))
            if view is None:
                continue
            if path[1] == "http":
                yield from _in_plain_text(world, view, destination, virtual_service.key, path)
            if destination.port is None and len(view.ports) > 1:
                numbers = ", ".join(str(port.number) for port in view.ports)
                yield warning(
                    "missing-port",
                    f"the route names no port, and {view.key} has several: {numbers}",
                    key=virtual_service.key,
                    path=path,
                    hint="set port.number",
                    related=(Related("the service", view.key),),
                )


def _leading_nowhere(world: World, destination: Destination, key: ObjectKey, path: FieldPath) -> list[Problem]:
    """What sidecars in the VirtualService's own namespace would be told; Gateways' proxies are known, and told of."""
    view = services.find(world, key.namespace, services.qualify(destination.host, key.namespace))
    if destination.port is None and view is not None and len(view.ports) != 1:
        return []  # the port is that of the request
    ports = (view.ports[0].number,) if view is not None and view.ports else (0,)
    source = Source(world, Place(Viewer(key.namespace), Labels(), (), ports, tls=False), key)
    reference(destination, source, path)
    return source.problems


def _in_plain_text(
    world: World, view: ServiceView, destination: Destination, key: ObjectKey, path: FieldPath
) -> Iterator[Problem]:
    """Requests that are sent without TLS to a port that expects it."""
    number = destination.port.number if destination.port is not None else None
    ports = [port for port in view.ports if number in (None, port.number)]
    if len(ports) != 1 or ports[0].protocol not in (PortProtocol.HTTPS, PortProtocol.TLS):
        return
    number = ports[0].number
    named = Backend(services.qualify(destination.host, key.namespace), number, destination.subset)
    policy = destination_rules.policy(world, Viewer(key.namespace), named)
    if policy.tls is None:
        yield warning(
            "plaintext-to-tls",
            f"requests are sent without TLS to port {number} of {view.key}, which is for {ports[0].protocol.value}",
            key=key,
            path=path,
            hint="add a DestinationRule for the host with tls.mode SIMPLE, or correct the port's name or protocol",
            related=(Related("the service", view.key, ("spec", "ports")),),
        )


def _destinations(virtual_service: VirtualService) -> Iterator[tuple[Destination, FieldPath]]:
    spec = virtual_service.spec
    for index, route in enumerate(spec.http):
        for number, share in enumerate(route.route):
            yield share.destination, ("spec", "http", index, "route", number, "destination")
    connections: tuple[tuple[str, Sequence[TLSRoute | TCPRoute]], ...] = (("tls", spec.tls), ("tcp", spec.tcp))
    for kind, routes in connections:
        for index, connection in enumerate(routes):
            for number, part in enumerate(connection.route):
                yield part.destination, ("spec", kind, index, "route", number, "destination")
