"""The HTTP filters of every connection manager."""

from google.protobuf.message import Message

from fairlead._pb.envoy.extensions.filters.http.cors.v3 import cors_pb2
from fairlead._pb.envoy.extensions.filters.http.fault.v3 import fault_pb2
from fairlead._pb.envoy.extensions.filters.http.grpc_stats.v3 import config_pb2 as grpc_stats_pb2
from fairlead._pb.envoy.extensions.filters.http.grpc_web.v3 import grpc_web_pb2
from fairlead._pb.envoy.extensions.filters.http.router.v3 import router_pb2
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpFilter,
)
from fairlead._pb.google.protobuf import wrappers_pb2
from fairlead.intent import HttpConnections
from fairlead.render import dynamic_forward_proxy
from fairlead.render.breakers import BREAKER
from fairlead.render.encoding import packed
from fairlead.render.global_limits import global_limit_filter
from fairlead.render.limits import limit_filter
from fairlead.render.names import CORS_FILTER, FAULT_FILTER
from fairlead.render.scheduling import scheduling_filter


def _filter(name: str, configuration: Message) -> HttpFilter:
    return HttpFilter(name=name, typed_config=packed(configuration))


_GRPC_WEB = _filter("envoy.filters.http.grpc_web", grpc_web_pb2.GrpcWeb())

# Those that routes configure are always there, so that a route's faults and CORS policy need no new listener.
_COMMON = (
    _filter(
        "envoy.filters.http.grpc_stats",
        grpc_stats_pb2.FilterConfig(emit_filter_state=True, stats_for_all_methods=wrappers_pb2.BoolValue(value=False)),
    ),
    _filter(FAULT_FILTER, fault_pb2.HTTPFault()),
    _filter(CORS_FILTER, cors_pb2.Cors()),
)
_ROUTER = _filter("envoy.filters.http.router", router_pb2.Router())
_SILENT_ROUTER = _filter("envoy.filters.http.router", router_pb2.Router(suppress_envoy_headers=True))


def http_filters(connections: HttpConnections) -> tuple[HttpFilter, ...]:
    """The filters that requests pass, in order."""
    router = _ROUTER if connections.options.debug_headers else _SILENT_ROUTER
    found = (_GRPC_WEB, *_COMMON) if connections.grpc_web else _COMMON
    # Behind CORS: preflights are answered before they count. What the proxy itself rejects counts for no service.
    governance = connections.governance
    found = (*found, *map(limit_filter, governance.limits), *map(global_limit_filter, governance.rate_limit_services))
    if governance.scheduling is not None:
        found = (*found, scheduling_filter(governance.scheduling))
    if governance.breakers:
        # Behind what rejects requests or lets them wait, and what makes faults: none of it says anything of a service.
        found = (*found, BREAKER)
    if (rate := connections.dns_refresh_rate) is not None:
        found = (*found, _filter(dynamic_forward_proxy.FILTER, dynamic_forward_proxy.filter_config(rate)))
    return (*found, router)
