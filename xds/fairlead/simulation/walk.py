"""The way of a request through the resources of one proxy."""

import re
from collections.abc import Iterable, Iterator

from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from fairlead._pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from fairlead._pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import RedirectAction, Route, RouteAction, VirtualHost
from fairlead._pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from fairlead._pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from fairlead._pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from fairlead._pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from fairlead.simulation import chains, cluster_facts, facts, matching, rewriting
from fairlead.simulation.governance import Governance
from fairlead.simulation.values import Fact, Request, Stage, Step, Verdict
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


_PORT = re.compile(r":[0-9]+$")


class Simulation:
    """The resources of one proxy, ready to be asked."""

    def __init__(self, resources: Iterable[Resource], *, detailed: bool = False) -> None:
        """`resources`: of all types; `detailed`: steps tell all that is set besides."""
        self._detailed = detailed
        self.listeners: list[Listener] = []
        self.routes: dict[str, RouteConfiguration] = {}
        self.clusters: dict[str, Cluster] = {}
        self.assignments: dict[str, ClusterLoadAssignment] = {}
        self.certificates: dict[str, bytes] = {}
        """Name of a Secret -> its certificate chain in PEM; the private key is left where it is."""
        self.certificate_files: dict[str, str] = {}
        """Name of a Secret -> the file of the proxy that holds its certificate chain."""
        self.filters: dict[str, TypedExtensionConfig] = {}
        """Those that listeners leave to discovery, by name."""
        self._governance = Governance(self.filters)
        self._domains: dict[str, matching.Domains] = {}
        hosts: list[Resource] = []
        for resource in resources:
            match resource.type_url:
                case types.LISTENER:
                    self.listeners.append(Listener.FromString(resource.body))
                case types.ROUTE_CONFIGURATION:
                    self.routes[resource.name] = RouteConfiguration.FromString(resource.body)
                case types.EXTENSION_CONFIG:
                    self.filters[resource.name] = TypedExtensionConfig.FromString(resource.body)
                case types.VIRTUAL_HOST:
                    hosts.append(resource)
                case types.CLUSTER:
                    self.clusters[resource.name] = Cluster.FromString(resource.body)
                case types.CLUSTER_LOAD_ASSIGNMENT:
                    self.assignments[resource.name] = ClusterLoadAssignment.FromString(resource.body)
                case types.SECRET:
                    chain = Secret.FromString(resource.body).tls_certificate.certificate_chain
                    if chain.filename:
                        self.certificate_files[resource.name] = chain.filename
                    elif chain.inline_bytes:
                        self.certificates[resource.name] = chain.inline_bytes
        for resource in hosts:
            host = VirtualHost.FromString(resource.body)
            table, _, host.name = host.name.rpartition("/")
            if table in self.routes:
                self.routes[table].virtual_hosts.append(host)

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

    # --- What there is ---

    def ports(self) -> dict[int, str]:
        """The ports that are listened on, and what is expected there: `TLS`, `plaintext` or both."""
        found: dict[int, set[str]] = {}
        for listener in self.listeners:
            expected = found.setdefault(listener.address.socket_address.port_value, set())
            for chain in listener.filter_chains:
                tls = chain.HasField("transport_socket") or chain.filter_chain_match.transport_protocol == "tls"
                expected.add("TLS" if tls else "plaintext")
        return {port: " and ".join(sorted(expected)) for port, expected in sorted(found.items())}

    def listens(self, address: str, port: int) -> bool:
        """Whether something listens there, be it on all addresses."""
        return any(
            _binds(found, address) and found.address.socket_address.port_value == port for found in self.listeners
        )

    def domains(self, route_table: str) -> list[str]:
        """The domains of a route table for which anything is done."""
        table = self.routes.get(route_table)
        hosts = [host for host in (table.virtual_hosts if table else ()) if host.routes or host.require_tls]
        return sorted({domain for host in hosts for domain in host.domains})

    def server_names(self, listener: str) -> list[str]:
        """The server names that the filter chains of a listener are for."""
        chains_of = [found.filter_chains for found in self.listeners if found.name == listener]
        return sorted(
            {name for found in chains_of for chain in found for name in chain.filter_chain_match.server_names}
        )

    # --- Connections ---

    def _filter_chain(self, request: Request, verdict: Verdict) -> FilterChain | None:
        here = [found for found in self.listeners if found.address.socket_address.port_value == request.port]
        if request.listener_address:
            here = [found for found in here if _binds(found, request.listener_address)]
        if not here:
            at = f"{request.listener_address} " if request.listener_address else ""
            verdict.failure = f"nothing listens on {at}port {request.port}"
            return None
        listener = here[0]
        verdict.listener = listener.name
        step = Step(stage=Stage.LISTENER, name=listener.name, why=f"it has port {request.port}")
        step.not_chosen += [(other.name, f"{listener.name} has the same port") for other in here[1:]]
        step.facts += self._facts(facts.of_listener(listener))
        verdict.steps.append(step)
        found, why, not_chosen = chains.choose(listener, request)
        step = Step(stage=Stage.FILTER_CHAIN, name="", within=(listener.name,), why=why, not_chosen=not_chosen)
        verdict.steps.append(step)
        if found is None:
            name = request.asked_server_name
            subject = (
                f"TLS with server name {name}" if name else "TLS without server name" if request.tls else "plaintext"
            )
            verdict.failure = f"no filter chain of {listener.name} takes {subject}"
            return None
        step.name = found.name
        decrypts = found.HasField("transport_socket")
        if request.tls and not decrypts and found.filter_chain_match.transport_protocol != "tls":
            verdict.failure = f"filter chain {found.name} of {listener.name} expects plaintext"
            return None
        if decrypts and not request.tls:
            verdict.failure = f"filter chain {found.name} of {listener.name} expects TLS"
            return None
        verdict.filter_chain = found.name
        context = DownstreamTlsContext.FromString(found.transport_socket.typed_config.value) if decrypts else None
        if context is not None:
            configs = context.common_tls_context.tls_certificate_sds_secret_configs
            verdict.secrets = tuple(secret.name for secret in configs)
            verdict.client_certificate_required = context.require_client_certificate.value
        step.facts += self._facts(facts.of_chain(found, context))
        return found

    def _pass_on(self, proxy: TcpProxy, verdict: Verdict) -> None:
        if proxy.cluster:
            verdict.clusters = {proxy.cluster: 1.0}
        else:
            total = sum(share.weight for share in proxy.weighted_clusters.clusters)
            verdict.clusters = {share.name: share.weight / total for share in proxy.weighted_clusters.clusters}
        self._find_endpoints(verdict)
        if not any(name in self.clusters for name in verdict.clusters):
            verdict.failure = f"the connection is closed: there is no cluster {', '.join(verdict.clusters)}"

    # --- Requests ---

    def _serve_http(self, manager: HttpConnectionManager, request: Request, verdict: Verdict) -> None:
        inline = manager.route_config if manager.HasField("route_config") else None
        name = manager.rds.route_config_name if inline is None else inline.name
        verdict.route_table = name
        table = self.routes.get(name) if inline is None else inline
        asked = request.host
        if table is not None and table.ignore_port_in_host_matching:
            asked = _PORT.sub("", asked)
        found = None if table is None else self._hosts_of(table).find(asked)
        if table is None or found is None:
            verdict.status = 404
            verdict.failure = f"route configuration {name} has no virtual host for {request.host}"
            return
        host, domain = found
        verdict.virtual_host = host.name
        why = f"its domain is {domain}" if domain == asked.lower() else f"{request.host} is one of {domain}"
        verdict.steps.append(Step(stage=Stage.VIRTUAL_HOST, name=host.name, within=(name,), why=why))
        if host.require_tls == VirtualHost.ALL and not request.tls:
            verdict.status, verdict.location = 301, f"https://{request.host}{request.path}"
            verdict.steps[-1].facts.append(Fact("redirects", "all plaintext requests to https"))
            return
        not_chosen: list[tuple[str, str]] = []
        for index, route in enumerate(host.routes):
            why_not = matching.mismatch(route.match, request)
            if why_not:
                not_chosen.append((_route_name(route, index), why_not))
                continue
            verdict.route = route.name
            step = Step(
                stage=Stage.ROUTE,
                name=_route_name(route, index),
                within=(name, host.name),
                index=index,
                why=matching.in_words(route.match) or "it takes every request",
                not_chosen=not_chosen,
            )
            step.facts += self._facts(facts.of_route(route, request))
            rules = list(self._governance.of_route(route, manager, request))
            verdict.rules = [f"{rule.label} {rule.text}" for rule in rules]
            step.facts += self._facts(rules)
            verdict.steps.append(step)
            self._take(table, host, route, request, verdict, step)
            return
        verdict.status = 404
        verdict.steps.append(Step(stage=Stage.ROUTE, name="", within=(name, host.name), not_chosen=not_chosen))
        of_host = f"of virtual host {host.name}"
        verdict.failure = f"no route {of_host} matches" if host.routes else f"there are no routes {of_host}"

    def _hosts_of(self, table: RouteConfiguration) -> matching.Domains:
        found = self._domains.get(table.name)
        if found is None:
            found = self._domains[table.name] = matching.Domains(table.virtual_hosts)
        return found

    def _take(  # noqa: PLR0917  # what a route stands in, from the outside to the inside
        self,
        table: RouteConfiguration,
        host: VirtualHost,
        route: Route,
        request: Request,
        verdict: Verdict,
        step: Step,
    ) -> None:
        # The most specific level is applied first, so that a wider one may overwrite it.
        for level in (route, host, table):
            rewriting.change(verdict.request_headers, level.request_headers_to_add)
            rewriting.change(verdict.response_headers, level.response_headers_to_add)
        step.facts += self._facts(facts.of_headers(route, host, table))
        verdict.status = facts.abort_status(route)
        if verdict.status is not None:
            return
        match route.WhichOneof("action"):
            case "direct_response":
                verdict.status = route.direct_response.status
            case "redirect":
                verdict.status = _REDIRECT_STATUS[route.redirect.response_code]
                verdict.location = rewriting.location(route, request)
            case "route":
                self._forward(route, request, verdict, step)

    def _forward(self, route: Route, request: Request, verdict: Verdict, step: Step) -> None:
        action = route.route
        verdict.path = rewriting.rewritten(route, request.path)
        verdict.host = action.host_rewrite_literal or request.host
        if action.cluster:
            verdict.clusters = {action.cluster: 1.0}
        else:
            shares = action.weighted_clusters.clusters
            total = sum(share.weight.value for share in shares)
            for share in shares:
                known = verdict.clusters.get(share.name, 0.0)
                verdict.clusters[share.name] = known + share.weight.value / total
                found = [*facts.of_headers(share)]
                if share.host_rewrite_literal:
                    found.append(Fact("host", f"{request.host} becomes {share.host_rewrite_literal}"))
                step.facts += self._facts(Fact(f"{label} for {share.name}", text) for label, text in found)
            if len(shares) == 1:
                rewriting.change(verdict.request_headers, shares[0].request_headers_to_add)
                rewriting.change(verdict.response_headers, shares[0].response_headers_to_add)
        if verdict.path != request.path:
            step.facts.append(Fact("path", f"{request.path} becomes {verdict.path}"))
        if verdict.host != request.host:
            step.facts.append(Fact("host", f"{request.host} becomes {verdict.host}"))
        self._find_endpoints(verdict)
        if not any(name in self.clusters for name in verdict.clusters):
            verdict.status = _NOT_FOUND_STATUS[action.cluster_not_found_response_code]
            verdict.failure = f"there is no cluster {', '.join(verdict.clusters)}"

    def _find_endpoints(self, verdict: Verdict) -> None:
        for name, share in verdict.clusters.items():
            step = Step(stage=Stage.CLUSTER, name=name, why=facts.percent(share))
            verdict.steps.append(step)
            cluster = self.clusters.get(name)
            if cluster is None:
                step.facts.append(Fact("missing", "there is no such cluster, so this share fails"))
                continue
            assignment = cluster.load_assignment
            if cluster.type == Cluster.EDS:
                assignment = self.assignments.get(name, assignment)
            verdict.endpoints[name] = tuple(_addresses(assignment))
            if cluster_facts.resolves_requested_hosts(cluster):
                verdict.by_name.add(name)
            step.facts += self._facts(cluster_facts.of_cluster(cluster))
            step.facts += self._facts(cluster_facts.of_endpoints(cluster, assignment))
        reachable = (
            any(verdict.endpoints.values())
            or verdict.by_name
            or any(
                found.type == Cluster.ORIGINAL_DST for name in verdict.clusters if (found := self.clusters.get(name))
            )
        )
        if not reachable and verdict.virtual_host:
            verdict.status = 503
            verdict.failure = f"there is no endpoint in {', '.join(verdict.clusters)}"

    def _facts(self, found: Iterable[Fact]) -> Iterable[Fact]:
        return found if self._detailed else ()


def _binds(listener: Listener, address: str) -> bool:
    return listener.address.socket_address.address in (address, "0.0.0.0", "::")


def _route_name(route: Route, index: int) -> str:
    return route.name or f"#{index + 1}"


def _addresses(assignment: ClusterLoadAssignment) -> Iterator[str]:
    for locality in assignment.endpoints:
        for endpoint in locality.lb_endpoints:
            yield facts.address_in_words(endpoint.endpoint.address)
