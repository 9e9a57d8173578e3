"""Clusters: how endpoints are found, chosen and talked to."""

from google.protobuf.message import Message

from fairlead._pb.envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from fairlead._pb.envoy.config.common.matcher.v3 import matcher_pb2
from fairlead._pb.envoy.config.core.v3 import address_pb2, base_pb2, protocol_pb2, proxy_protocol_pb2
from fairlead._pb.envoy.config.endpoint.v3 import endpoint_pb2
from fairlead._pb.envoy.extensions.clusters.common.dns.v3 import dns_pb2
from fairlead._pb.envoy.extensions.clusters.dns.v3 import dns_cluster_pb2
from fairlead._pb.envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2
from fairlead._pb.envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from fairlead._pb.envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from fairlead._pb.envoy.extensions.upstreams.tcp.v3 import tcp_protocol_options_pb2
from fairlead.intent import (
    Cluster,
    ConnectionPool,
    Discovery,
    EndpointAssignment,
    LoadBalancer,
    LoadBalancing,
    OutlierDetection,
    TcpKeepalive,
    UpstreamProtocol,
)
from fairlead.render import dynamic_forward_proxy, tls
from fairlead.render.encoding import AGGREGATED, duration, packed, resource, whole_seconds, write_duration
from fairlead.render.endpoints import write_localities
from fairlead.render.metadata import made_of
from fairlead.render.names import cluster_name
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource

_Cluster = cluster_pb2.Cluster
_HttpProtocolOptions = http_protocol_options_pb2.HttpProtocolOptions

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TCP_OPTIONS = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions"

_DESTINATION_RULE = "DestinationRule"

_UNLIMITED = 0xFFFF_FFFF

# What Envoy does without being told: most clusters are like that, and say nothing.
_PLAIN_HTTP1 = _HttpProtocolOptions()
_PLAIN_HTTP1.explicit_http_config.http_protocol_options.SetInParent()


def cluster(intent: Cluster) -> Resource:
    """A Cluster."""
    name = cluster_name(intent.backend)
    pool = intent.connection_pool
    message = _Cluster(name=name)
    rule = next((key for key in intent.origin if key.kind == _DESTINATION_RULE), None)
    if rule is not None:
        message.metadata.CopyFrom(made_of(rule))
    _write_discovery(message, intent)
    _write_load_balancing(message, intent)
    write_duration(message.connect_timeout, pool.connect_timeout)
    _write_limits(message.circuit_breakers.thresholds.add(), pool)
    if intent.buffer_limit is not None:
        message.per_connection_buffer_limit_bytes.value = intent.buffer_limit
    if pool.keepalive is not None:
        _write_keepalive(message.upstream_connection_options.tcp_keepalive, pool.keepalive)
    if intent.protocol is UpstreamProtocol.TCP:
        _write_tcp_options(message, pool)
    else:
        _write_http_options(message, intent)
    if intent.outlier_detection is not None:
        _write_outlier_detection(message, intent.outlier_detection)
    if (socket := _transport_socket(intent)) is not None:
        message.transport_socket.CopyFrom(socket)
    return resource(types.CLUSTER, name, message, intent.origin)


def endpoint_assignment(intent: EndpointAssignment) -> Resource:
    """A ClusterLoadAssignment."""
    name = cluster_name(intent.backend)
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    write_localities(message, intent.localities)
    return resource(types.CLUSTER_LOAD_ASSIGNMENT, name, message, intent.origin)


# --- Discovery --------------------------------------------------------------------------------------------------------


def _write_discovery(message: cluster_pb2.Cluster, intent: Cluster) -> None:
    match intent.discovery:
        case Discovery.LISTED:
            message.type = _Cluster.STATIC
            message.load_assignment.cluster_name = message.name
            write_localities(message.load_assignment, intent.localities)
        case Discovery.ASSIGNED:
            message.type = _Cluster.EDS
            message.eds_cluster_config.eds_config.CopyFrom(AGGREGATED)
            message.eds_cluster_config.service_name = message.name
        case Discovery.STRICT_DNS | Discovery.LOGICAL_DNS:
            message.cluster_type.name = "envoy.cluster.dns"
            message.cluster_type.typed_config.CopyFrom(packed(_dns(intent)))
            message.load_assignment.cluster_name = message.name
            write_localities(message.load_assignment, intent.localities)
        case Discovery.ORIGINAL_DESTINATION:
            message.type = _Cluster.ORIGINAL_DST
        case Discovery.REQUESTED_HOST:
            message.cluster_type.name = dynamic_forward_proxy.CLUSTER_TYPE
            configuration = dynamic_forward_proxy.cluster_config(intent.dns_refresh_rate)
            message.cluster_type.typed_config.CopyFrom(packed(configuration))


def _dns(intent: Cluster) -> dns_cluster_pb2.DnsCluster:
    return dns_cluster_pb2.DnsCluster(
        dns_refresh_rate=duration(intent.dns_refresh_rate),
        respect_dns_ttl=True,
        dns_jitter=duration(100_000_000),
        # Names that have addresses of both families are reached over IPv4, which more networks can.
        dns_lookup_family=dns_pb2.V4_PREFERRED,
        all_addresses_in_single_endpoint=intent.discovery is Discovery.LOGICAL_DNS,
    )


# --- Load balancing ---------------------------------------------------------------------------------------------------


def _write_load_balancing(message: cluster_pb2.Cluster, intent: Cluster) -> None:
    if intent.discovery in {Discovery.ORIGINAL_DESTINATION, Discovery.REQUESTED_HOST}:
        message.lb_policy = _Cluster.CLUSTER_PROVIDED
        return
    if intent.locality_weighted:
        message.common_lb_config.locality_weighted_lb_config.SetInParent()
    balancer = intent.load_balancer
    match balancer.algorithm:
        case LoadBalancing.LEAST_REQUEST:
            message.lb_policy = _Cluster.LEAST_REQUEST
            _write_warmup(message.least_request_lb_config.slow_start_config, balancer)
        case LoadBalancing.ROUND_ROBIN:
            message.lb_policy = _Cluster.ROUND_ROBIN
            _write_warmup(message.round_robin_lb_config.slow_start_config, balancer)
        case LoadBalancing.RANDOM:
            message.lb_policy = _Cluster.RANDOM
        case LoadBalancing.RING_HASH:
            message.lb_policy = _Cluster.RING_HASH
            if balancer.minimum_ring_size is not None:
                message.ring_hash_lb_config.minimum_ring_size.value = balancer.minimum_ring_size
        case LoadBalancing.MAGLEV:
            message.lb_policy = _Cluster.MAGLEV
            if balancer.maglev_table_size is not None:
                message.maglev_lb_config.table_size.value = balancer.maglev_table_size


def _write_warmup(message: cluster_pb2.Cluster.SlowStartConfig, balancer: LoadBalancer) -> None:
    if balancer.warmup is None:
        return
    write_duration(message.slow_start_window, balancer.warmup)
    if balancer.warmup_aggression is not None:
        message.aggression.default_value = balancer.warmup_aggression
    if balancer.warmup_minimum_percent is not None:
        message.min_weight_percent.value = balancer.warmup_minimum_percent


# --- Connections ------------------------------------------------------------------------------------------------------


def _write_limits(message: circuit_breaker_pb2.CircuitBreakers.Thresholds, pool: ConnectionPool) -> None:
    # Envoy's own limits are 1024, and 3 for retries: far too low to be put upon somebody who asked for none.
    message.max_connections.value = _UNLIMITED if pool.max_connections is None else pool.max_connections
    message.max_pending_requests.value = _UNLIMITED if pool.max_pending_requests is None else pool.max_pending_requests
    message.max_requests.value = _UNLIMITED if pool.max_requests is None else pool.max_requests
    message.max_retries.value = _UNLIMITED if pool.max_retries is None else pool.max_retries
    message.track_remaining = True
    if pool.retry_budget is not None:
        message.retry_budget.budget_percent.value = pool.retry_budget.percent
        message.retry_budget.min_retry_concurrency.value = pool.retry_budget.minimum


def _write_keepalive(message: address_pb2.TcpKeepalive, keepalive: TcpKeepalive) -> None:
    message.SetInParent()
    if keepalive.probes is not None:
        message.keepalive_probes.value = keepalive.probes
    if keepalive.time is not None:
        message.keepalive_time.value = whole_seconds(keepalive.time)
    if keepalive.interval is not None:
        message.keepalive_interval.value = whole_seconds(keepalive.interval)


def _transport_socket(intent: Cluster) -> base_pb2.TransportSocket | None:
    socket = None if intent.tls is None else tls.origination(intent.tls)
    if intent.proxy_protocol_version is None:
        return socket
    version = proxy_protocol_pb2.ProxyProtocolConfig
    return _socket(
        "upstream_proxy_protocol",
        upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport(
            config=version(version=version.V2 if intent.proxy_protocol_version == 2 else version.V1),
            transport_socket=socket or _socket("raw_buffer", raw_buffer_pb2.RawBuffer()),
        ),
    )


def _socket(name: str, configuration: Message) -> base_pb2.TransportSocket:
    return base_pb2.TransportSocket(name=f"envoy.transport_sockets.{name}", typed_config=packed(configuration))


# --- Protocols --------------------------------------------------------------------------------------------------------


def _write_tcp_options(message: cluster_pb2.Cluster, pool: ConnectionPool) -> None:
    if pool.idle_timeout is not None:
        options = tcp_protocol_options_pb2.TcpProtocolOptions(idle_timeout=duration(pool.idle_timeout))
        message.typed_extension_protocol_options[_TCP_OPTIONS].CopyFrom(packed(options))


def _write_http_options(message: cluster_pb2.Cluster, intent: Cluster) -> None:
    options, pool = _HttpProtocolOptions(), intent.connection_pool
    match intent.protocol:
        case UpstreamProtocol.HTTP2:
            _write_http2_options(options.explicit_http_config.http2_protocol_options, pool)
        case UpstreamProtocol.DOWNSTREAM:
            options.use_downstream_protocol_config.http_protocol_options.SetInParent()
            _write_http2_options(options.use_downstream_protocol_config.http2_protocol_options, pool)
        case _:
            options.explicit_http_config.http_protocol_options.SetInParent()
    if pool.idle_timeout is not None:
        write_duration(options.common_http_protocol_options.idle_timeout, pool.idle_timeout)
    if pool.max_connection_duration is not None:
        write_duration(options.common_http_protocol_options.max_connection_duration, pool.max_connection_duration)
    if pool.max_requests_per_connection is not None:
        options.common_http_protocol_options.max_requests_per_connection.value = pool.max_requests_per_connection
    if intent.discovery is Discovery.REQUESTED_HOST:
        # Without TLS nothing comes of it, but Envoy refuses the cluster otherwise.
        options.upstream_http_protocol_options.auto_sni = True
        options.upstream_http_protocol_options.auto_san_validation = True
    if intent.tls is not None and not intent.tls.server_name:
        options.upstream_http_protocol_options.auto_sni = True
    if intent.tls is not None and intent.tls.match_request_host:
        options.upstream_http_protocol_options.auto_san_validation = True
    if intent.outlier_detection is not None and intent.outlier_detection.error_codes:
        _write_error_codes(options.outlier_detection.error_matcher, intent.outlier_detection.error_codes)
    if options != _PLAIN_HTTP1:
        message.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))


def _write_http2_options(message: protocol_pb2.Http2ProtocolOptions, pool: ConnectionPool) -> None:
    message.SetInParent()
    if pool.max_concurrent_streams is not None:
        message.max_concurrent_streams.value = pool.max_concurrent_streams
    if pool.pings is not None:
        write_duration(message.connection_keepalive.timeout, pool.pings.timeout)
        write_duration(message.connection_keepalive.interval, pool.pings.interval)


# --- Outlier detection ------------------------------------------------------------------------------------------------


def _write_outlier_detection(message: cluster_pb2.Cluster, detection: OutlierDetection) -> None:
    outliers = message.outlier_detection
    # Ejection by comparison with other endpoints is nothing that users asked for.
    outliers.enforcing_success_rate.value = 0
    _enforce(outliers, "consecutive_5xx", detection.consecutive_5xx)
    _enforce(outliers, "consecutive_gateway_failure", detection.consecutive_gateway_failures)
    if detection.split_local_origin:
        outliers.split_external_local_origin_errors = True
        outliers.enforcing_local_origin_success_rate.value = 0
        _enforce(outliers, "consecutive_local_origin_failure", detection.consecutive_local_origin_failures)
    if detection.interval is not None:
        write_duration(outliers.interval, detection.interval)
    if detection.base_ejection_time is not None:
        write_duration(outliers.base_ejection_time, detection.base_ejection_time)
    if detection.max_ejection_percent is not None:
        outliers.max_ejection_percent.value = detection.max_ejection_percent
    if detection.always_eject_one:
        outliers.always_eject_one_host.value = True
    balancing = message.common_lb_config
    balancing.healthy_panic_threshold.value = detection.minimum_health_percent
    # By default Envoy gathers changes of health for a second, in which ejected endpoints still get requests.
    write_duration(balancing.update_merge_window, 0)


def _write_error_codes(message: matcher_pb2.MatchPredicate, codes: tuple[int, ...]) -> None:
    rules = message.or_match.rules
    for code in codes if len(codes) > 1 else codes * 2:  # Envoy takes no disjunction of one
        header = rules.add().http_response_headers_match.headers.add(name=":status")
        header.string_match.exact = str(code)


def _enforce(outliers: outlier_detection_pb2.OutlierDetection, check: str, count: int | None) -> None:
    """Ejects an endpoint after `count` failures of a kind: always, or never when it is 0."""
    if count is not None:
        getattr(outliers, f"enforcing_{check}").value = 100 if count else 0
    if count:
        getattr(outliers, check).value = count
