"""How a cluster's endpoints are found, chosen and talked to, in words."""

from collections.abc import Iterator

from fairlead._pb.envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.core.v3.health_check_pb2 import HEALTHY, UNKNOWN, HealthStatus
from fairlead._pb.envoy.config.endpoint.v3.endpoint_components_pb2 import LocalityLbEndpoints
from fairlead._pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from fairlead._pb.envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from fairlead._pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from fairlead._pb.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from fairlead._pb.google.protobuf.any_pb2 import Any
from fairlead.simulation.facts import ISTIO_DEFAULT, address_in_words, duration_in_words
from fairlead.simulation.values import Fact

_CONNECT_TIMEOUT = "10s"
"""Istio's."""
_UNLIMITED = 0xFFFF_FFFF
_LIMITS = {
    "max_connections": "connections",
    "max_pending_requests": "waiting requests",
    "max_requests": "requests",
    "max_retries": "retries",
}


def of_cluster(cluster: Cluster) -> Iterator[Fact]:
    """What is set."""
    if resolves_requested_hosts(cluster):
        yield Fact("endpoints", "whatever DNS says of the request's host")
    elif cluster.HasField("cluster_type"):
        yield Fact("endpoints", "resolved by DNS")
    elif cluster.type == Cluster.ORIGINAL_DST:
        yield Fact("endpoints", "where the client wanted to go")
    yield Fact("balancing", _balancing(cluster))
    timeout = duration_in_words(cluster.connect_timeout)
    yield Fact("connect timeout", f"{timeout}; {ISTIO_DEFAULT}" if timeout == _CONNECT_TIMEOUT else timeout)
    limits = [text for found in cluster.circuit_breakers.thresholds for text in _limits(found)]
    limits += _http_limits(cluster)
    if limits:
        yield Fact("connection pool", ", ".join(limits))
    if cluster.HasField("outlier_detection"):
        yield Fact("outlier detection", ", ".join(_outliers(cluster)))
    yield Fact("TLS", _tls(cluster))


def resolves_requested_hosts(cluster: Cluster) -> bool:
    """Whether a cluster connects to whatever host a request is for."""
    return cluster.cluster_type.name == "envoy.clusters.dynamic_forward_proxy"


def of_endpoints(cluster: Cluster, assignment: ClusterLoadAssignment) -> Iterator[Fact]:
    """One fact for each endpoint."""
    for locality in assignment.endpoints:
        for endpoint in locality.lb_endpoints:
            words = [_health(endpoint.health_status)]
            words += filter(None, [_place(locality)])
            words.append(f"priority {locality.priority}")
            if endpoint.HasField("load_balancing_weight"):
                words.append(f"weight {endpoint.load_balancing_weight.value}")
            if locality.HasField("load_balancing_weight") and cluster.common_lb_config.HasField(
                "locality_weighted_lb_config"
            ):
                words.append(f"locality weight {locality.load_balancing_weight.value}")
            yield Fact("endpoint", f"{address_in_words(endpoint.endpoint.address)}  {', '.join(words)}")


def _health(status: HealthStatus) -> str:
    return "healthy" if status in (UNKNOWN, HEALTHY) else HealthStatus.Name(status).lower()


def _place(locality: LocalityLbEndpoints) -> str:
    place = locality.locality
    return f"{place.region}/{place.zone}/{place.sub_zone}".rstrip("/")


def _balancing(cluster: Cluster) -> str:
    words = Cluster.LbPolicy.Name(cluster.lb_policy).lower().replace("_", " ")
    return (
        f"{words}, localities by weight" if cluster.common_lb_config.HasField("locality_weighted_lb_config") else words
    )


def _limits(thresholds: CircuitBreakers.Thresholds) -> Iterator[str]:
    for field, words in _LIMITS.items():
        if thresholds.HasField(field) and (limit := getattr(thresholds, field).value) != _UNLIMITED:
            yield f"at most {limit} {words}"


def _http_limits(cluster: Cluster) -> Iterator[str]:
    for message in cluster.typed_extension_protocol_options.values():
        if message.TypeName() != HttpProtocolOptions.DESCRIPTOR.full_name:
            continue
        options = HttpProtocolOptions.FromString(message.value)
        common = options.common_http_protocol_options
        if common.HasField("max_requests_per_connection"):
            yield f"at most {common.max_requests_per_connection.value} requests on a connection"
        if common.HasField("idle_timeout"):
            yield f"idle for at most {duration_in_words(common.idle_timeout)}"
        if options.explicit_http_config.HasField("http2_protocol_options"):
            yield "HTTP/2"
        elif options.HasField("use_downstream_protocol_config"):
            yield "the client's version of HTTP"


def _outliers(cluster: Cluster) -> Iterator[str]:
    found = cluster.outlier_detection
    for check, words in (
        ("consecutive_5xx", "5xx answers"),
        ("consecutive_gateway_failure", "gateway errors"),
        ("consecutive_local_origin_failure", "local failures"),
    ):
        if found.HasField(check) and getattr(found, check).value:
            yield f"out after {getattr(found, check).value} {words} in a row"
    yield f"for {duration_in_words(found.base_ejection_time) if found.HasField('base_ejection_time') else '30s'}"
    if found.HasField("max_ejection_percent"):
        yield f"at most {found.max_ejection_percent.value} % of the endpoints"


def _tls(cluster: Cluster) -> str:
    if not cluster.HasField("transport_socket"):
        return "none: plaintext"
    return _socket(cluster.transport_socket.typed_config)


def _socket(socket: Any) -> str:
    name = socket.TypeName()
    if name == ProxyProtocolUpstreamTransport.DESCRIPTOR.full_name:
        inner = ProxyProtocolUpstreamTransport.FromString(socket.value).transport_socket.typed_config
        return f"{_socket(inner)}, after a PROXY protocol header"
    if name != UpstreamTlsContext.DESCRIPTOR.full_name:
        return "none: plaintext"
    context = UpstreamTlsContext.FromString(socket.value)
    common = context.common_tls_context
    words = [f"server name {context.sni}" if context.sni else "server name of the request"]
    words += [f"presents {found.name}" for found in common.tls_certificate_sds_secret_configs]
    kind = common.WhichOneof("validation_context_type")
    if kind is None:
        words.append("the backend's certificate is not checked")
    elif kind == "combined_validation_context":
        words.append(f"checked by {common.combined_validation_context.validation_context_sds_secret_config.name}")
        sans = common.combined_validation_context.default_validation_context.match_typed_subject_alt_names
        words += [f"for {found.matcher.exact}" for found in sans]
    else:
        words.append(f"checked by {common.validation_context.trusted_ca.filename or 'nothing'}")
        words += [f"for {found.matcher.exact}" for found in common.validation_context.match_typed_subject_alt_names]
    return ", ".join(words)
