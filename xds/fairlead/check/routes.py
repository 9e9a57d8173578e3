"""VirtualServices that lead nowhere, hide each other's routes, or make calls twice."""

from collections.abc import Iterator
from dataclasses import replace

from fairlead.check.services import is_known
from fairlead.models.istio.virtual_service import HTTPRoute, HTTPRouteDestination, VirtualService
from fairlead.problems import Problem, Related, Severity, warning
from fairlead.resolve import services
from fairlead.resolve.istio.references import MESH, is_for_sidecars_only, virtual_service_key
from fairlead.resolve.istio.virtual_services import bindings, hosts_of, precedence, virtual_hosts
from fairlead.resolve.mesh import retry_policy
from fairlead.resolve.scope import Selection
from fairlead.resolve.services import PortProtocol
from fairlead.validation.istio import reachability
from fairlead.world import ObjectName, World

_CALL = "POST"
"""The method of all calls of gRPC."""


def problems(world: World) -> Iterator[Problem]:
    """What is wrong with VirtualServices, whatever the proxy."""
    yield from _of_one_host_for_sidecars(world)
    found = world.objects(VirtualService)
    for name in found.keys():  # noqa: SIM118  # no dict
        virtual_service = found.get(name)
        if virtual_service is not None:
            yield from _unbound(world, virtual_service)
            for index, route in enumerate(virtual_service.spec.http):
                # A policy of the mesh is one that somebody has chosen.
                if retry_policy(world) is None:
                    yield from _retried(world, virtual_service, route, index)


def _unbound(world: World, virtual_service: VirtualService) -> Iterator[Problem]:
    """Sidecars route what is sent to services; other hosts are for Gateways."""
    key = virtual_service.key
    if not is_for_sidecars_only(virtual_service):
        return
    for index, host in enumerate(hosts_of(virtual_service)):
        if not is_known(world, key.namespace, host):
            message = f"it names no Gateway, and {host} is no service, so that nobody is routed by it"
            hint = "name a Gateway in spec.gateways, or add a Service or ServiceEntry for the host"
            yield warning("no-gateway", message, key=key, path=("spec", "hosts", index), hint=hint)


def _of_one_host_for_sidecars(world: World) -> Iterator[Problem]:
    """VirtualServices for the same host, which sidecars do not merge, unlike gateways."""
    by_host: dict[str, list[VirtualService]] = {}
    for obj in world:
        if isinstance(obj, VirtualService) and (not obj.spec.gateways or MESH in obj.spec.gateways):
            for host in hosts_of(obj):
                by_host.setdefault(host, []).append(obj)
    for host, found in by_host.items():
        if len(found) > 1:
            view = services.find(world, found[0].metadata.namespace, host)
            viewer = view.namespace if view is not None else found[0].metadata.namespace
            orders = [(order, each) for each in found if (order := precedence(world, each, viewer)) is not None]
            orders.sort(key=lambda item: item[0])
            yield from (_duplicate(host, other, orders[0][1]) for _, other in orders[1:])


def _duplicate(host: str, virtual_service: VirtualService, first: VirtualService) -> Problem:
    return warning(
        "duplicate-host",
        f"sidecars do not use it for {host}, since {first.key} comes first; on the mesh they are not merged",
        key=virtual_service.key,
        path=("spec", "hosts"),
        hint="write the routes of both into one VirtualService",
        related=(Related("this one is used", first.key),),
    )


def _retried(world: World, virtual_service: VirtualService, route: HTTPRoute, index: int) -> Iterator[Problem]:
    """Calls that may be made again after they have had an effect, under the default retry policy.

    Of other requests it repeats only those that no backend has seen.
    """
    if route.retries is not None or not any(_takes_calls(world, virtual_service, share) for share in route.route):
        return
    methods = {match.method.exact if match.method is not None else None for match in route.match} or {None}
    if not methods.isdisjoint((None, _CALL)):
        message = "gRPC calls that end with UNAVAILABLE or CANCELLED are made up to twice more, by default"
        path = ("spec", "http", index)
        hint = "set retries: {attempts: 0}, or retryOn: connect-failure,refused-stream"
        note = warning("default-retries", message, key=virtual_service.key, path=path, hint=hint)
        yield replace(note, severity=Severity.INFO)


def _takes_calls(world: World, virtual_service: VirtualService, share: HTTPRouteDestination) -> bool:
    """Whether a destination speaks HTTP/2, as gRPC must."""
    namespace = virtual_service.metadata.namespace
    asked = share.destination
    number = asked.port.number if asked.port is not None else None
    backend = services.backend(world, namespace, services.qualify(asked.host, namespace), number, asked.subset, 0)
    view = services.find(world, namespace, backend.host)
    port = None if view is None else view.port(backend.port)
    return port is not None and port.protocol is PortProtocol.HTTP2


def shadows(world: World, selection: Selection) -> Iterator[Problem]:
    """Routes that never match, because another VirtualService that comes first for the host takes their requests."""
    told: set[tuple[ObjectName, ...]] = set()
    index = virtual_hosts(world, selection)
    for key in index.keys():  # noqa: SIM118  # no dict
        names = index.get(key) or frozenset()
        found = {name: binding for name in names if (binding := bindings(world, selection).get(name)) is not None}
        order = tuple(sorted(found, key=lambda name: found[name].precedence))
        if len(order) > 1 and order not in told:
            told.add(order)
            yield from _shadows(world, order)


def _shadows(world: World, order: tuple[ObjectName, ...]) -> Iterator[Problem]:
    parts = [(name, world.objects(VirtualService).get(name)) for name in order]
    routes = [(name, virtual_service.spec.http) for name, virtual_service in parts if virtual_service is not None]
    for name, problem, taker in reachability.across(routes):
        related = Related("this comes first", virtual_service_key(taker.owner), taker.path)
        yield replace(problem, key=virtual_service_key(name), related=(related,))
