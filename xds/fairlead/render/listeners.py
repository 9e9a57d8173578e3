"""Listeners and their filter chains.

A listener's bytes are those of its filter chains behind what is the listener's own, so that a chain is the same bytes
whatever else the listener has: Envoy then drains the connections of changed chains only.
"""

from dataclasses import replace
from functools import lru_cache

from google.protobuf.message import Message

from fairlead._pb.envoy.config.core.v3 import config_source_pb2, protocol_pb2
from fairlead._pb.envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from fairlead._pb.envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2
from fairlead._pb.envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)
from fairlead._pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from fairlead._pb.envoy.type.v3 import hash_policy_pb2
from fairlead._pb.google.protobuf import wrappers_pb2
from fairlead.intent import (
    EscapedSlashes,
    FilterChain,
    ForwardedCertificate,
    HeadersWithUnderscores,
    HttpConnections,
    HttpLimits,
    HttpOptions,
    Listener,
    Nanoseconds,
    RouteTable,
    TcpConnections,
)
from fairlead.render import access_logs, rejections, tls
from fairlead.render.encoding import AGGREGATED, duration, encode, packed, resource, write_address, write_duration
from fairlead.render.http_filters import http_filters
from fairlead.render.limits import write_bodies
from fairlead.render.metadata import made_of
from fairlead.render.names import HTTP_LOG, TCP_LOG, UNRESOLVED_CLUSTER, cluster_name
from fairlead.render.routes import route_configuration, virtual_host
from fairlead.render.scheduling import log_of_ends
from fairlead.snapshot import types
from fairlead.snapshot.resource import Composition, Resource

_VIRTUAL_SERVICE = "VirtualService"

_FILTER_CHAINS = listener_pb2.Listener.FILTER_CHAINS_FIELD_NUMBER
_FILTER_CHAIN = "type.googleapis.com/envoy.config.listener.v3.FilterChain"

_Filter = listener_components_pb2.Filter

_HANDSHAKE_TIMEOUT: Nanoseconds = 15_000_000_000

# Envoy's own value, said aloud because others wait for ever: one missing route table then keeps a listener away.
_ROUTES = config_source_pb2.ConfigSource(initial_fetch_timeout=duration(15_000_000_000))
_ROUTES.MergeFrom(AGGREGATED)


# --- Listeners --------------------------------------------------------------------------------------------------------


def listener(intent: Listener) -> Resource:
    """A Listener."""
    own = listener_pb2.Listener(name=intent.name, listener_filters=_listener_filters(intent))
    write_address(own.address, intent.address, intent.port)
    # Spreads a burst of new connections over all worker threads.
    own.max_connections_to_accept_per_socket_event.value = 1
    if intent.buffer_limit is not None:
        own.per_connection_buffer_limit_bytes.value = intent.buffer_limit
    if intent.access_log is not None:
        own.access_log.append(access_logs.of_unmatched_connections(intent.access_log))
    chains = tuple(filter_chain(chain) for chain in intent.filter_chains)
    return Resource.composed(
        types.LISTENER, intent.name, Composition(encode(own), _FILTER_CHAINS, chains), intent.origin
    )


def bind(unbound: Resource, ip_address: str, name: str = "") -> Resource:
    """The Listener `unbound`, whose address is of an IP, on the same port of another IP address.

    `name`: what it is called there; empty for the same name.
    """
    assert unbound.composition is not None
    own = listener_pb2.Listener.FromString(unbound.composition.head)
    own.address.socket_address.address = ip_address
    own.name = name or unbound.name
    return Resource.composed(unbound.type_url, own.name, replace(unbound.composition, head=encode(own)), unbound.origin)


def _listener_filters(intent: Listener) -> list[listener_components_pb2.ListenerFilter]:
    filters = []
    if intent.proxy_protocol:  # first: it stands before all that the client itself sends
        filters.append(_listener_filter("envoy.filters.listener.proxy_protocol", proxy_protocol_pb2.ProxyProtocol()))
    if any(chain.server_names or _takes_only_tls(chain) for chain in intent.filter_chains):
        filters.append(_listener_filter("envoy.filters.listener.tls_inspector", tls_inspector_pb2.TlsInspector()))
    return filters


def _listener_filter(name: str, configuration: Message) -> listener_components_pb2.ListenerFilter:
    return listener_components_pb2.ListenerFilter(name=name, typed_config=packed(configuration))


# --- Filter chains ----------------------------------------------------------------------------------------------------


# A change of one chain of a listener leaves the others as they are: those need not be encoded again.
@lru_cache(maxsize=4096)
def filter_chain(chain: FilterChain) -> Resource:
    """A FilterChain, to be put into a Listener."""
    message = listener_components_pb2.FilterChain(name=chain.name, filters=[_network_filter(chain.connections)])
    if chain.origin and chain.origin[0].kind == _VIRTUAL_SERVICE:
        # As Istio has it: at sidecars. Those of gateways come from their Gateways, and are not to change with routes.
        message.metadata.CopyFrom(made_of(chain.origin[0]))
    if chain.server_names or _takes_only_tls(chain):
        # That it is TLS is said, so that a chain for all names does not collide with one for plain text.
        message.filter_chain_match.CopyFrom(
            listener_components_pb2.FilterChainMatch(
                server_names=chain.server_names, transport_protocol="tls" if _takes_only_tls(chain) else ""
            )
        )
    if chain.tls is not None:
        message.transport_socket.CopyFrom(tls.termination(chain.tls))
        message.transport_socket_connect_timeout.CopyFrom(duration(_HANDSHAKE_TIMEOUT))
    return resource(_FILTER_CHAIN, chain.name, message, chain.origin)


def _takes_only_tls(chain: FilterChain) -> bool:
    return chain.passthrough or chain.tls is not None


def _network_filter(connections: HttpConnections | TcpConnections) -> _Filter:
    match connections:
        case HttpConnections():
            configuration = packed(_http_connection_manager(connections))
            return _Filter(name="envoy.filters.network.http_connection_manager", typed_config=configuration)
        case TcpConnections():
            return _Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(_tcp_proxy(connections)))


def _http_connection_manager(connections: HttpConnections) -> HttpConnectionManager:
    options = connections.options
    message = HttpConnectionManager(
        stat_prefix=connections.stat_prefix,
        codec_type=HttpConnectionManager.AUTO,
        http_filters=http_filters(connections),
        use_remote_address=wrappers_pb2.BoolValue(value=connections.edge),
        xff_num_trusted_hops=options.trusted_hops,
        forward_client_cert_details=_FORWARDED_CERTIFICATES[options.forwarded_certificate],
        upgrade_configs=[HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        proxy_100_continue=True,
        append_x_forwarded_port=options.forwarded_port,
        access_log=rejections.logs(connections.governance),
    )
    if options.server_name is None:
        message.server_header_transformation = HttpConnectionManager.PASS_THROUGH
    else:
        message.server_name = options.server_name
        message.server_header_transformation = HttpConnectionManager.OVERWRITE
    if not options.request_id:
        message.generate_request_id.value = False
    _write_certificate_details(message.set_current_client_cert_details, options)
    message.normalize_path.value = options.normalize_path
    message.merge_slashes = options.merge_slashes
    message.path_with_escaped_slashes_action = _ESCAPED_SLASHES[options.escaped_slashes]
    _write_limits(message, options.limits)
    if connections.access_log is not None:
        message.access_log.append(access_logs.of_all(connections.access_log, HTTP_LOG))
    if connections.governance.limits:
        write_bodies(message)
    if connections.governance.scheduling is not None:
        message.access_log.append(log_of_ends())
    if connections.forward_proxy:
        message.upgrade_configs.add(upgrade_type="CONNECT")
    if connections.inline is None:
        message.rds.CopyFrom(Rds(route_config_name=connections.route_table, config_source=_ROUTES))
    else:
        table = RouteTable(connections.route_table, connections.inline.origin)
        found = route_configuration(table, [virtual_host(connections.inline)])
        message.route_config.MergeFromString(found.body)
    return message


_FORWARDED_CERTIFICATES = {
    ForwardedCertificate.SANITIZE: HttpConnectionManager.SANITIZE,
    ForwardedCertificate.FORWARD_ONLY: HttpConnectionManager.FORWARD_ONLY,
    ForwardedCertificate.APPEND_FORWARD: HttpConnectionManager.APPEND_FORWARD,
    ForwardedCertificate.SANITIZE_SET: HttpConnectionManager.SANITIZE_SET,
    ForwardedCertificate.ALWAYS_FORWARD_ONLY: HttpConnectionManager.ALWAYS_FORWARD_ONLY,
}


def _write_certificate_details(
    message: HttpConnectionManager.SetCurrentClientCertDetails, options: HttpOptions
) -> None:
    if options.forwarded_certificate not in (ForwardedCertificate.SANITIZE_SET, ForwardedCertificate.APPEND_FORWARD):
        return  # the header is not made here
    message.SetInParent()
    for detail in options.certificate_details:
        if detail == "subject":
            message.subject.value = True
        else:
            setattr(message, detail, True)


_ESCAPED_SLASHES = {
    # Envoy's own default can be changed by whoever starts it.
    EscapedSlashes.KEEP: HttpConnectionManager.IMPLEMENTATION_SPECIFIC_DEFAULT,
    EscapedSlashes.REJECT_REQUEST: HttpConnectionManager.REJECT_REQUEST,
    EscapedSlashes.REDIRECT: HttpConnectionManager.UNESCAPE_AND_REDIRECT,
    EscapedSlashes.FORWARD: HttpConnectionManager.UNESCAPE_AND_FORWARD,
}
_UNDERSCORES = {
    HeadersWithUnderscores.REJECT_REQUEST: protocol_pb2.HttpProtocolOptions.REJECT_REQUEST,
    HeadersWithUnderscores.DROP_HEADER: protocol_pb2.HttpProtocolOptions.DROP_HEADER,
}


def _write_limits(message: HttpConnectionManager, limits: HttpLimits) -> None:
    # By default streams may be silent as long as they like: routes have timeouts.
    write_duration(message.stream_idle_timeout, limits.stream_idle_timeout or 0)
    common, http2 = message.common_http_protocol_options, message.http2_protocol_options
    for field, timeout in (
        (common.idle_timeout, limits.idle_timeout),
        (common.max_connection_duration, limits.max_connection_duration),
        (common.max_stream_duration, limits.max_stream_duration),
        (message.request_timeout, limits.request_timeout),
        (message.request_headers_timeout, limits.request_headers_timeout),
        (message.drain_timeout, limits.drain_timeout),
    ):
        if timeout is not None:
            field.SetInParent()
            write_duration(field, timeout)
    for number, limit in (
        (http2.max_concurrent_streams, limits.max_concurrent_streams),
        (http2.initial_stream_window_size, limits.stream_window),
        (http2.initial_connection_window_size, limits.connection_window),
    ):
        if limit is not None:
            number.value = limit
    if limits.headers_with_underscores in _UNDERSCORES:
        common.headers_with_underscores_action = _UNDERSCORES[limits.headers_with_underscores]


def _tcp_proxy(connections: TcpConnections) -> TcpProxy:
    message = TcpProxy(stat_prefix=connections.stat_prefix)
    if connections.access_log is not None:
        message.access_log.append(access_logs.of_all(connections.access_log, TCP_LOG))
    if connections.idle_timeout is not None:
        write_duration(message.idle_timeout, connections.idle_timeout)
    if connections.max_duration is not None:
        write_duration(message.max_downstream_connection_duration, connections.max_duration)
    if connections.tunnel is not None:
        message.tunneling_config.hostname = connections.tunnel.target
        message.tunneling_config.use_post = connections.tunnel.by_post
    match connections.backends:
        case ():
            message.cluster = UNRESOLVED_CLUSTER  # connections are closed
        case (only,):
            message.cluster = cluster_name(only.backend)
        case several:
            message.weighted_clusters.CopyFrom(
                TcpProxy.WeightedCluster(
                    clusters=[
                        TcpProxy.WeightedCluster.ClusterWeight(name=cluster_name(share.backend), weight=share.weight)
                        for share in several
                    ]
                )
            )
    if connections.hash_source_ip:
        message.hash_policy.add().source_ip.CopyFrom(hash_policy_pb2.HashPolicy.SourceIp())
    return message
