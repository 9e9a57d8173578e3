"""Rules for VirtualServices (istio.io/latest/docs/reference/config/networking/virtual-service)."""

from collections.abc import Iterator

from fairlead.models.istio.virtual_service import (
    RouteDestination,
    TCPRoute,
    TLSRoute,
    VirtualService,
    VirtualServiceSpec,
)
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation.istio import checks, destinations, matches, reachability
from fairlead.validation.istio.http_route import http_route


def virtual_service(obj: VirtualService) -> Iterator[Problem]:
    """What is wrong with a VirtualService."""
    spec = obj.spec
    if spec.hosts:
        yield from _hosts(spec)
        yield from matches.gateway_names(spec.gateways, ("spec", "gateways"))
    else:
        yield from _delegate(spec)
    if not (spec.http or spec.tls or spec.tcp):
        message = "the VirtualService has no routes, and so no effect"
        yield warning("no-routes", message, path=("spec",), hint="add http, tls or tcp")
    for index, route in enumerate(spec.http):
        yield from http_route(route, ("spec", "http", index), spec)
    for index, rule in enumerate(spec.tls):
        yield from _tls(rule, ("spec", "tls", index), spec)
    for index, connection in enumerate(spec.tcp):
        yield from _tcp(connection, ("spec", "tcp", index))
    yield from reachability.http(spec.http, ("spec", "http"))
    yield from reachability.connections(spec.tls, ("spec", "tls"))
    yield from reachability.connections(spec.tcp, ("spec", "tcp"))
    yield from checks.export_to(spec.export_to, obj.metadata.namespace, ("spec", "exportTo"))


def _hosts(spec: VirtualServiceSpec) -> Iterator[Problem]:
    path: FieldPath = ("spec", "hosts")
    for index, host in enumerate(spec.hosts):
        where = (*path, index)
        yield from matches.virtual_host(host, where, spec)
        if host == "*" and not matches.is_bound_to_gateways(spec):
            message = "the host * cannot be used for sidecars"
            hint = "list Gateways in spec.gateways, without mesh, or name the hosts"
            yield error("invalid-host", message, path=where, hint=hint)
        for other in spec.hosts[:index]:
            if host == other:
                yield error("duplicate-value", f"the host {host!r} is given more than once", path=where)
            elif checks.host_covers(other, host) or checks.host_covers(host, other):
                message = f"the hosts {other!r} and {host!r} overlap"
                yield error("overlapping-hosts", message, path=where, hint="keep the one that covers the other")


def _delegate(spec: VirtualServiceSpec) -> Iterator[Problem]:
    """A VirtualService without hosts is one that others delegate to."""
    for name, value in (("gateways", spec.gateways), ("tls", spec.tls), ("tcp", spec.tcp)):
        if value:
            message = f"a VirtualService without hosts holds http routes that others delegate to, and has no {name}"
            yield error("missing-field", message, path=("spec", name), hint="add hosts")


def _tls(route: TLSRoute, path: FieldPath, spec: VirtualServiceSpec) -> Iterator[Problem]:
    if not route.match:
        hint = "add a match with sniHosts"
        yield error("missing-field", "the tls route has no match", path=(*path, "match"), hint=hint)
    for index, match in enumerate(route.match):
        yield from matches.tls_match(match, (*path, "match", index), spec)
    yield from _connection_destinations(route.route, (*path, "route"))


def _tcp(route: TCPRoute, path: FieldPath) -> Iterator[Problem]:
    for index, match in enumerate(route.match):
        yield from matches.tcp_match(match, (*path, "match", index))
    yield from _connection_destinations(route.route, (*path, "route"))


def _connection_destinations(routes: tuple[RouteDestination, ...], path: FieldPath) -> Iterator[Problem]:
    if not routes:
        yield error("missing-field", "the route has no destination", path=path)
    yield from destinations.weighted(routes, path)
