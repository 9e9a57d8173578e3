"""Requests that try each route of a proxy: for comparing what becomes of them in two states."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlencode

from fairlead._pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import HeaderMatcher, RouteMatch, VirtualHost
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from fairlead._pb.envoy.type.matcher.v3.string_pb2 import StringMatcher
from fairlead.simulation import matching
from fairlead.simulation.names import domain_rank
from fairlead.simulation.samples import sample
from fairlead.simulation.values import Request
from fairlead.simulation.walk import Simulation

_LABEL = "probe"
"""Stands for anything: the first label below a wildcard, the rest of a path."""
_ANY_HOST = "probe.invalid"
_SKIPPED = frozenset({":authority", ":scheme"})
"""Pseudo-headers that are not free: the virtual host and the chain decide about them."""


def probes(simulation: Simulation) -> Iterator[Request | None]:
    """Two requests for most routes, one for each other way in; None for a route for which none could be thought out."""
    for listener in simulation.listeners:
        bound = listener.address.socket_address
        if not bound.port_value:
            continue
        everywhere = bound.address in {"0.0.0.0", "::"}
        at = Request(port=bound.port_value, host="", listener_address="" if everywhere else bound.address)
        for chain in listener.filter_chains:
            tls = chain.HasField("transport_socket") or chain.filter_chain_match.transport_protocol == "tls"
            names = list(chain.filter_chain_match.server_names)
            config = chain.filters[-1].typed_config
            if config.TypeName() != HttpConnectionManager.DESCRIPTOR.full_name:
                for name in names or [_ANY_HOST]:
                    yield replace(at, host=_host(name), tls=tls)
                continue
            manager = HttpConnectionManager.FromString(config.value)
            inline = manager.route_config if manager.HasField("route_config") else None
            table = simulation.routes.get(manager.rds.route_config_name) if inline is None else inline
            for host in table.virtual_hosts if table is not None else ():
                yield from _of_host(host, replace(at, tls=tls), chain)


def _of_host(host: VirtualHost, request: Request, chain: FilterChain) -> Iterator[Request | None]:
    names = chain.filter_chain_match.server_names
    for domain in host.domains:
        name = _host(domain)
        if names and all(domain_rank(pattern, name.lower()) is None for pattern in names):
            continue
        yield replace(request, host=name)
        for route in host.routes:
            found = list(_of_route(route.match, replace(request, host=name)))
            yield from found or (None,)


def _host(domain: str) -> str:
    if domain == "*":
        return _ANY_HOST
    if domain.startswith("*"):
        return _LABEL + domain[1:]
    return domain[:-1] + _LABEL if domain.endswith("*") else domain.strip("[]")


def _of_route(match: RouteMatch, request: Request) -> Iterator[Request]:
    headers: dict[str, str] = {}
    for matcher in match.headers:
        if matcher.name not in _SKIPPED and (value := _header(matcher)) is not None:
            headers[matcher.name.lower()] = value
    method = headers.pop(":method", "CONNECT" if match.HasField("connect_matcher") else request.method)
    parameters = {
        matcher.name: _text(matcher.string_match) or "" if matcher.HasField("string_match") else _LABEL
        for matcher in match.query_parameters
        if matcher.HasField("string_match") or matcher.present_match
    }
    query = f"?{urlencode(parameters)}" if parameters else ""
    for path in _paths(match):
        found = replace(request, path=path + query, method=method, headers=headers)
        if not matching.mismatch(match, found):
            yield found


def _paths(match: RouteMatch) -> Iterator[str]:
    match match.WhichOneof("path_specifier"):
        case "path":
            yield match.path
        case "prefix":
            yield match.prefix
            yield match.prefix + ("" if match.prefix.endswith("/") else "/") + _LABEL
        case "path_separated_prefix":
            yield match.path_separated_prefix
            yield f"{match.path_separated_prefix}/{_LABEL}"
        case "connect_matcher":
            yield "/"
        case "safe_regex":
            if (found := sample(match.safe_regex.regex)) is not None:
                yield found


def _header(matcher: HeaderMatcher) -> str | None:
    """A value that matches; None for a header that is better left out."""
    if matcher.WhichOneof("header_match_specifier") == "string_match":
        return None if matcher.invert_match else _text(matcher.string_match)
    wanted = matcher.present_match if matcher.HasField("present_match") else True
    return _LABEL if wanted is not matcher.invert_match else None


def _text(matcher: StringMatcher) -> str | None:
    match matcher.WhichOneof("match_pattern"):
        case "exact":
            return matcher.exact
        case "prefix":
            return matcher.prefix + _LABEL
        case "suffix":
            return _LABEL + matcher.suffix
        case "contains":
            return matcher.contains
        case "safe_regex":
            return sample(matcher.safe_regex.regex)
    return None
