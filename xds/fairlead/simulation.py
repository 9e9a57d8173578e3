"""Where does this request go? An answer from the resources alone, as Envoy's documentation says that it decides.

This is the judge of what `resolve` and `render` make, so it shares no code with them: it reads encoded Envoy messages,
and knows nothing of the objects that they came from. Sources of its rules:

- filter chains: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto
- virtual hosts and routes: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
"""

import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import re2

from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from fairlead._pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from fairlead._pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import (
    HeaderMatcher,
    QueryParameterMatcher,
    RedirectAction,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from fairlead._pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from fairlead._pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from fairlead._pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from fairlead._pb.envoy.type.matcher.v3.string_pb2 import StringMatcher
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource

_REDIRECT_STATUS = {
    RedirectAction.MOVED_PERMANENTLY: 301,
    RedirectAction.FOUND: 302,
    RedirectAction.SEE_OTHER: 303,
    RedirectAction.TEMPORARY_REDIRECT: 307,
    RedirectAction.PERMANENT_REDIRECT: 308,
}
_NOT_FOUND_STATUS = {
    RouteAction.SERVICE_UNAVAILABLE: 503,
    RouteAction.NOT_FOUND: 404,
    RouteAction.INTERNAL_SERVER_ERROR: 500,
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request, as a client sends it to a proxy."""

    port: int
    """Of the proxy's listener."""
    host: str
    """The `Host` header, without port."""
    path: str = "/"
    """With the query."""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers, with lower-case names."""
    tls: bool = False
    server_name: str | None = None
    """SNI; None with `tls`: the host."""


@dataclass(kw_only=True)
class Verdict:
    """Where a request ends. Fields are filled as far as the request gets."""

    refused: bool = False
    """No listener, or none of its filter chains, takes the connection."""
    listener: str = ""
    filter_chain: str = ""
    secrets: tuple[str, ...] = ()
    """Names of the certificates that the filter chain presents."""
    client_certificate_required: bool = False
    virtual_host: str = ""
    route: str = ""
    status: int | None = None
    """Set when the proxy answers itself, or when no endpoint can."""
    location: str = ""
    """Where a redirect points."""
    clusters: dict[str, float] = field(default_factory=dict)
    """Cluster -> its share of such requests, between 0 and 1."""
    endpoints: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Cluster -> addresses of its endpoints."""
    path: str = ""
    """As the backend sees it."""
    host: str = ""
    """As the backend sees it."""
    request_headers: dict[str, str] = field(default_factory=dict)
    """Headers that the proxy sets on the way to the backend."""
    response_headers: dict[str, str] = field(default_factory=dict)
    """Headers that the proxy sets on the way back."""
    reasons: list[str] = field(default_factory=list)
    """What was decided, step by step, and why."""


class Simulation:
    """The resources of one proxy, ready to be asked."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        """`resources`: of all types, with virtual hosts inside their RouteConfigurations."""
        self._listeners: list[Listener] = []
        self._routes: dict[str, RouteConfiguration] = {}
        self._clusters: dict[str, Cluster] = {}
        self._assignments: dict[str, ClusterLoadAssignment] = {}
        for resource in resources:
            if resource.type_url == types.LISTENER:
                self._listeners.append(Listener.FromString(resource.body))
            elif resource.type_url == types.ROUTE_CONFIGURATION:
                self._routes[resource.name] = RouteConfiguration.FromString(resource.body)
            elif resource.type_url == types.CLUSTER:
                self._clusters[resource.name] = Cluster.FromString(resource.body)
            elif resource.type_url == types.CLUSTER_LOAD_ASSIGNMENT:
                self._assignments[resource.name] = ClusterLoadAssignment.FromString(resource.body)

    def send(self, request: Request) -> Verdict:
        """Follow a request to its end."""
        verdict = Verdict(path=request.path, host=request.host)
        chain = self._filter_chain(request, verdict)
        if chain is None:
            verdict.refused = True
            return verdict
        network_filter = chain.filters[-1].typed_config
        if network_filter.TypeName() == TcpProxy.DESCRIPTOR.full_name:
            self._pass_on(TcpProxy.FromString(network_filter.value), verdict)
        else:
            self._serve_http(HttpConnectionManager.FromString(network_filter.value), request, verdict)
        return verdict

    def _filter_chain(self, request: Request, verdict: Verdict) -> FilterChain | None:
        listener = next(
            (found for found in self._listeners if found.address.socket_address.port_value == request.port), None
        )
        if listener is None:
            verdict.reasons.append(f"nothing listens on port {request.port}")
            return None
        verdict.listener = listener.name
        server_name = (request.server_name if request.server_name is not None else request.host) if request.tls else ""
        best = _most_specific(listener.filter_chains, server_name, tls=request.tls)
        if best is None:
            verdict.reasons.append(f"no filter chain of {listener.name} takes server name {server_name!r}")
            return None
        decrypts = best.HasField("transport_socket")
        if request.tls and not decrypts and best.filter_chain_match.transport_protocol != "tls":
            verdict.reasons.append(f"filter chain {best.name} of {listener.name} expects plaintext")
            return None
        if decrypts and not request.tls:
            verdict.reasons.append(f"filter chain {best.name} of {listener.name} expects TLS")
            return None
        verdict.filter_chain = best.name
        if decrypts:
            context = DownstreamTlsContext.FromString(best.transport_socket.typed_config.value)
            verdict.secrets = tuple(
                secret.name for secret in context.common_tls_context.tls_certificate_sds_secret_configs
            )
            verdict.client_certificate_required = context.require_client_certificate.value
        return best

    def _pass_on(self, proxy: TcpProxy, verdict: Verdict) -> None:
        if proxy.cluster:
            verdict.clusters = {proxy.cluster: 1.0}
        else:
            total = sum(share.weight for share in proxy.weighted_clusters.clusters)
            verdict.clusters = {share.name: share.weight / total for share in proxy.weighted_clusters.clusters}
        self._find_endpoints(verdict)

    def _serve_http(self, manager: HttpConnectionManager, request: Request, verdict: Verdict) -> None:
        name = manager.rds.route_config_name
        table = self._routes.get(name)
        host = None if table is None else _virtual_host(table.virtual_hosts, request.host)
        if table is None or host is None:
            verdict.status = 404
            verdict.reasons.append(f"route configuration {name} has no virtual host for {request.host}")
            return
        verdict.virtual_host = host.name
        if host.require_tls == VirtualHost.ALL and not request.tls:
            verdict.status, verdict.location = 301, f"https://{request.host}{request.path}"
            verdict.reasons.append(f"virtual host {host.name} requires TLS")
            return
        for route in host.routes:
            why_not = _mismatch(route.match, request)
            if why_not:
                verdict.reasons.append(f"route {route.name or '(unnamed)'} does not match: {why_not}")
                continue
            verdict.route = route.name
            self._take(table, host, route, request, verdict)
            return
        verdict.status = 404
        verdict.reasons.append(f"no route of virtual host {host.name} matches")

    def _take(
        self, table: RouteConfiguration, host: VirtualHost, route: Route, request: Request, verdict: Verdict
    ) -> None:
        # The most specific level is applied first, so that a wider one may overwrite it.
        for level in (route, host, table):
            _change(verdict.request_headers, level.request_headers_to_add)
            _change(verdict.response_headers, level.response_headers_to_add)
        match route.WhichOneof("action"):
            case "direct_response":
                verdict.status = route.direct_response.status
            case "redirect":
                verdict.status = _REDIRECT_STATUS[route.redirect.response_code]
                verdict.location = _location(route, request)
            case "route":
                self._forward(route, request, verdict)

    def _forward(self, route: Route, request: Request, verdict: Verdict) -> None:
        action = route.route
        verdict.path = _rewritten(route, request.path)
        verdict.host = action.host_rewrite_literal or request.host
        if action.cluster:
            verdict.clusters = {action.cluster: 1.0}
        else:
            shares = action.weighted_clusters.clusters
            total = sum(share.weight.value for share in shares)
            for share in shares:
                known = verdict.clusters.get(share.name, 0.0)
                verdict.clusters[share.name] = known + share.weight.value / total
            if len(shares) == 1:
                _change(verdict.request_headers, shares[0].request_headers_to_add)
                _change(verdict.response_headers, shares[0].response_headers_to_add)
        if not any(name in self._clusters for name in verdict.clusters):
            verdict.status = _NOT_FOUND_STATUS[action.cluster_not_found_response_code]
            verdict.reasons.append(f"there is no cluster {', '.join(verdict.clusters)}")
            return
        self._find_endpoints(verdict)

    def _find_endpoints(self, verdict: Verdict) -> None:
        for name in verdict.clusters:
            cluster = self._clusters.get(name)
            if cluster is None:
                continue
            assignment = cluster.load_assignment
            if cluster.type == Cluster.EDS:
                assignment = self._assignments.get(name, assignment)
            verdict.endpoints[name] = tuple(_addresses(assignment))
        if not any(verdict.endpoints.values()) and verdict.virtual_host:
            verdict.status = 503
            verdict.reasons.append(f"there is no endpoint in {', '.join(verdict.clusters)}")


def _most_specific(chains: Iterable[FilterChain], server_name: str, *, tls: bool) -> FilterChain | None:
    best: tuple[int, FilterChain] | None = None
    for chain in chains:
        names = chain.filter_chain_match.server_names
        wants_tls = chain.filter_chain_match.transport_protocol == "tls"
        if wants_tls and not tls:
            continue
        ranks = [rank for name in names if (rank := _domain_rank(name, server_name.lower())) is not None]
        if names and not ranks:
            continue
        rank = max(ranks, default=-1) * 2 + wants_tls
        if best is None or rank > best[0]:
            best = (rank, chain)
    return None if best is None else best[1]


def _domain_rank(pattern: str, name: str) -> int | None:
    """How specific a match is: exact first, then the longest wildcard; None for no match."""
    if pattern == name:
        return 1_000_000
    if pattern == "*":
        return 0
    if pattern.startswith("*") and name.endswith(pattern[1:]) and len(name) >= len(pattern):
        return 1_000 + len(pattern)
    if pattern.endswith("*") and name.startswith(pattern[:-1]) and len(name) >= len(pattern):
        return len(pattern)
    return None


def _virtual_host(hosts: Iterable[VirtualHost], name: str) -> VirtualHost | None:
    ranked = [
        (rank, host)
        for host in hosts
        for domain in host.domains
        if (rank := _domain_rank(domain.lower(), name.lower())) is not None
    ]
    return max(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _mismatch(match: RouteMatch, request: Request) -> str:
    """Why the request does not match; empty when it does."""
    path, _, query = request.path.partition("?")
    if not _path_matches(match, path):
        return f"path {path}"
    values = {":method": request.method, ":authority": request.host, ":scheme": "https" if request.tls else "http"}
    values.update(request.headers)
    for header in match.headers:
        if not _header_matches(header, values.get(header.name.lower())):
            return f"header {header.name}"
    parameters = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    for parameter in match.query_parameters:
        if not _parameter_matches(parameter, parameters.get(parameter.name)):
            return f"query parameter {parameter.name}"
    return ""


def _path_matches(match: RouteMatch, path: str) -> bool:
    fold = match.HasField("case_sensitive") and not match.case_sensitive.value

    def same_case(text: str) -> str:
        return text.lower() if fold else text

    match match.WhichOneof("path_specifier"):
        case "path":
            return same_case(path) == same_case(match.path)
        case "prefix":
            return same_case(path).startswith(same_case(match.prefix))
        case "path_separated_prefix":
            prefix = same_case(match.path_separated_prefix)
            return same_case(path) == prefix or same_case(path).startswith(prefix + "/")
        case "safe_regex":
            return re2.fullmatch(match.safe_regex.regex, path) is not None
    return False


def _header_matches(matcher: HeaderMatcher, value: str | None) -> bool:
    if value is None and matcher.treat_missing_header_as_empty:
        value = ""
    match matcher.WhichOneof("header_match_specifier"):
        case "string_match":
            if value is None:
                return False
            found = _text_matches(matcher.string_match, value)
        case "present_match":
            found = (value is not None) is matcher.present_match
        case _:
            found = value is not None
    return found is not matcher.invert_match


def _parameter_matches(matcher: QueryParameterMatcher, value: str | None) -> bool:
    if matcher.WhichOneof("query_parameter_match_specifier") == "string_match":
        return value is not None and _text_matches(matcher.string_match, value)
    return (value is not None) is matcher.present_match


def _text_matches(matcher: StringMatcher, text: str) -> bool:
    def same_case(value: str) -> str:
        return value.lower() if matcher.ignore_case else value

    match matcher.WhichOneof("match_pattern"):
        case "exact":
            return same_case(text) == same_case(matcher.exact)
        case "prefix":
            return same_case(text).startswith(same_case(matcher.prefix))
        case "suffix":
            return same_case(text).endswith(same_case(matcher.suffix))
        case "contains":
            return same_case(matcher.contains) in same_case(text)
        case "safe_regex":
            return re2.fullmatch(matcher.safe_regex.regex, text) is not None
    return False


def _matched_part(match: RouteMatch, path: str) -> int:
    """Length of the part of the path that a prefix rewrite replaces."""
    match match.WhichOneof("path_specifier"):
        case "prefix":
            return len(match.prefix)
        case "path_separated_prefix":
            return len(match.path_separated_prefix)
    return len(path)


def _rewritten(route: Route, path_and_query: str) -> str:
    path, question, query = path_and_query.partition("?")
    action = route.route
    if action.prefix_rewrite:
        path = action.prefix_rewrite + path[_matched_part(route.match, path) :]
    elif action.HasField("regex_rewrite"):
        path = re2.sub(action.regex_rewrite.pattern.regex, action.regex_rewrite.substitution, path)
    return path + question + query


def _location(route: Route, request: Request) -> str:
    redirect = route.redirect
    scheme = "https" if redirect.https_redirect else redirect.scheme_redirect or ("https" if request.tls else "http")
    host = redirect.host_redirect or request.host
    path, question, query = request.path.partition("?")
    if redirect.path_redirect:
        path = redirect.path_redirect
    elif redirect.prefix_rewrite:
        path = redirect.prefix_rewrite + path[_matched_part(route.match, path) :]
    elif redirect.HasField("regex_rewrite"):
        path = re2.sub(redirect.regex_rewrite.pattern.regex, redirect.regex_rewrite.substitution, path)
    if redirect.strip_query:
        question = query = ""
    port = redirect.port_redirect
    return f"{scheme}://{host}{f':{port}' if port else ''}{path}{question}{query}"


def _change(headers: dict[str, str], operations: Iterable[HeaderValueOption]) -> None:
    for operation in operations:
        name, value = operation.header.key.lower(), re.sub(r"%%", "%", operation.header.value)
        appends = operation.append_action == HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
        headers[name] = f"{headers[name]},{value}" if appends and name in headers else value


def _addresses(assignment: ClusterLoadAssignment) -> Iterator[str]:
    for locality in assignment.endpoints:
        for endpoint in locality.lb_endpoints:
            address = endpoint.endpoint.address
            if address.HasField("pipe"):
                yield address.pipe.path
            else:
                yield f"{address.socket_address.address}:{address.socket_address.port_value}"
