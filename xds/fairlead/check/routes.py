"""VirtualServices that lead nowhere, hide each other's routes, or send requests twice."""

from collections.abc import Iterator
from dataclasses import replace

from fairlead.check.services import is_known
from fairlead.models.istio.virtual_service import HTTPRoute, VirtualService
from fairlead.problems import Problem, Related, Severity, warning
from fairlead.resolve import services
from fairlead.resolve.istio.references import MESH, is_for_sidecars_only, virtual_service_key
from fairlead.resolve.istio.virtual_services import bindings, hosts_of, precedence, virtual_hosts
from fairlead.resolve.mesh import retry_policy
from fairlead.resolve.scope import Selection
from fairlead.validation.istio import reachability
from fairlead.world import ObjectName, World

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that do the same when they are done twice (RFC 9110, section 9.2.2)."""


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
                    yield from _retried(virtual_service, route, index)


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


def _retried(virtual_service: VirtualService, route: HTTPRoute, index: int) -> Iterator[Problem]:
    """Requests that do something each time they are sent, under the default retry policy."""
    if not route.route or route.retries is not None:
        return
    methods = {match.method.exact if match.method is not None else None for match in route.match} or {None}
    sent = sorted(method for method in methods if method and method not in _REPEATABLE)
    path = ("spec", "http", index)
    hint = "set retries: {attempts: 0}, or retryOn: connect-failure,refused-stream"
    if sent:
        message = f"{' and '.join(sent)} requests that fail with 503 are sent up to twice more, by default"
        yield warning("default-retries", message, key=virtual_service.key, path=path, hint=hint)
    elif None in methods:
        message = "requests that fail with 503 are sent up to twice more by default, POST included"
        note = warning("default-retries", message, key=virtual_service.key, path=path, hint=hint)
        yield replace(note, severity=Severity.INFO)


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
