"""Route configurations, virtual hosts and routes.

A virtual host is encoded once, as it stands within a RouteConfiguration. The RouteConfiguration is those bytes joined;
as a resource of its own (VHDS) the same bytes are followed by its longer name.
"""

from collections.abc import Iterable

from fairlead._pb.envoy.config.route.v3 import route_components_pb2, route_pb2
from fairlead._pb.envoy.extensions.filters.common.fault.v3 import fault_pb2 as common_fault_pb2
from fairlead._pb.envoy.extensions.filters.http.cors.v3 import cors_pb2
from fairlead._pb.envoy.extensions.filters.http.fault.v3 import fault_pb2
from fairlead._pb.google.protobuf import wrappers_pb2
from fairlead.intent import (
    Cors,
    DirectResponse,
    Fault,
    Forward,
    GlobalLimit,
    Redirect,
    Route,
    RouteBreaker,
    RouteLimit,
    RouteScheduling,
    RouteTable,
    VirtualHost,
)
from fairlead.render import actions, matches
from fairlead.render.breakers import write_breaker
from fairlead.render.encoding import AGGREGATED, duration, encode, packed, resource, share, whole_seconds
from fairlead.render.global_limits import write_global_limit
from fairlead.render.headers import write_headers
from fairlead.render.limits import write_limit
from fairlead.render.metadata import is_route, made_of
from fairlead.render.names import CORS_FILTER, FAULT_FILTER, SCHEDULING_FILTER
from fairlead.render.rejections import write_object
from fairlead.render.scheduling import asking_for
from fairlead.snapshot import types, wire
from fairlead.snapshot.resource import Composition, Resource

_VIRTUAL_HOST_NAME = route_components_pb2.VirtualHost.NAME_FIELD_NUMBER
_VIRTUAL_HOSTS = route_pb2.RouteConfiguration.VIRTUAL_HOSTS_FIELD_NUMBER
_MAX_DIRECT_RESPONSE_BYTES = 1 << 20


# --- Route configurations ---------------------------------------------------------------------------------------------


def route_configuration(table: RouteTable, virtual_hosts: Iterable[Resource]) -> Resource:
    """A RouteConfiguration of the encoded `virtual_hosts`, as `virtual_host` returns them, in that order."""
    composition = Composition(encode(_configuration(table)), _VIRTUAL_HOSTS, tuple(virtual_hosts))
    return Resource.composed(types.ROUTE_CONFIGURATION, table.name, composition, table.origin)


def route_configuration_with_discovery(table: RouteTable) -> Resource:
    """A RouteConfiguration whose virtual hosts are resources of their own, see `virtual_host_resource`."""
    message = _configuration(table)
    message.vhds.config_source.CopyFrom(AGGREGATED)
    return resource(types.ROUTE_CONFIGURATION, table.name, message, table.origin)


def _configuration(table: RouteTable) -> route_pb2.RouteConfiguration:
    return route_pb2.RouteConfiguration(
        name=table.name,
        ignore_port_in_host_matching=not table.with_ports,
        # A route may come before its cluster, and stay when the cluster goes: that is a 503, not a refusal.
        validate_clusters=wrappers_pb2.BoolValue(value=False),
        max_direct_response_body_size_bytes=wrappers_pb2.UInt32Value(value=_MAX_DIRECT_RESPONSE_BYTES),
    )


# --- Virtual hosts ----------------------------------------------------------------------------------------------------


def virtual_host(host: VirtualHost) -> Resource:
    """A virtual host as it stands within a RouteConfiguration, under its short name."""
    message = route_components_pb2.VirtualHost(
        name=host.name, domains=host.domains, include_request_attempt_count=host.attempt_count
    )
    if host.require_tls:
        message.require_tls = route_components_pb2.VirtualHost.ALL
    for entry in host.routes:
        route = message.routes.add()
        write_route(route, entry)
        if host.forwarded_host and route.HasField("route"):
            route.route.append_x_forwarded_host = True
    # What policies add to routes may be what a proxy refuses.
    governing = (policy.name.key for entry in host.routes for policy in entry.policies)
    return resource(types.VIRTUAL_HOST, host.name, message, tuple(dict.fromkeys((*host.origin, *governing))))


def virtual_host_resource(route_table: str, host: Resource) -> Resource:
    """What `virtual_host` returned, as a resource for VHDS.

    Envoy wants both names to be `<route configuration>/<short name>`, or else it cannot remove it later
    (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds).
    """
    name = f"{route_table}/{host.name}"
    body = host.body + wire.length_delimited(_VIRTUAL_HOST_NAME, name.encode())
    return Resource(types.VIRTUAL_HOST, name, body, host.origin)


# --- Routes -----------------------------------------------------------------------------------------------------------


def write_route(message: route_components_pb2.Route, entry: Route) -> None:
    """Which requests a route takes, and what is done with them."""
    message.name = entry.name
    if is_route(entry.origin):
        message.metadata.CopyFrom(made_of(entry.origin[0]))
    for policy in entry.policies:
        match policy:
            case RouteLimit():
                write_limit(message.metadata, policy)
            case GlobalLimit():
                write_global_limit(message, policy)
            case RouteBreaker():
                write_breaker(message, policy)
        write_object(message.metadata, policy)
    if scheduling := [policy for policy in entry.policies if isinstance(policy, RouteScheduling)]:
        message.typed_per_filter_config[SCHEDULING_FILTER].CopyFrom(asking_for(scheduling))
    message.stat_prefix = entry.stat_prefix
    matches.write_match(message.match, entry.match)
    request_headers, response_headers = entry.request_headers, entry.response_headers
    match entry.action:
        case Forward() as action:
            actions.write_forward(message.route, action, entry.match.path)
            if entry.match.connect:  # the tunnel ends here: its bytes are what the backend gets
                message.route.upgrade_configs.add(upgrade_type="CONNECT").connect_config.SetInParent()
            if (destination := actions.only_destination(action)) is not None:
                request_headers = request_headers.then(destination.request_headers)
                response_headers = response_headers.then(destination.response_headers)
        case Redirect() as action:
            actions.write_redirect(message.redirect, action, entry.match.path)
        case DirectResponse() as action:
            actions.write_direct_response(message.direct_response, action)
    write_headers(message, request_headers, response_headers)
    if entry.fault is not None:
        message.typed_per_filter_config[FAULT_FILTER].CopyFrom(packed(_fault(entry.fault)))
    if entry.cors is not None:
        message.typed_per_filter_config[CORS_FILTER].CopyFrom(packed(_cors(entry.cors)))


def _fault(fault: Fault) -> fault_pb2.HTTPFault:
    message = fault_pb2.HTTPFault()
    if fault.delay is not None:
        message.delay.CopyFrom(
            common_fault_pb2.FaultDelay(fixed_delay=duration(fault.delay), percentage=share(fault.delay_share))
        )
    if fault.abort_status is not None:
        message.abort.http_status = fault.abort_status
    elif fault.abort_grpc_status is not None:
        message.abort.grpc_status = fault.abort_grpc_status
    if message.HasField("abort"):
        message.abort.percentage.CopyFrom(share(fault.abort_share))
    return message


def _cors(cors: Cors) -> cors_pb2.CorsPolicy:
    return cors_pb2.CorsPolicy(
        allow_origin_string_match=[matches.string_matcher(origin) for origin in cors.allow_origins],
        allow_methods=",".join(cors.allow_methods),
        allow_headers=",".join(cors.allow_headers),
        expose_headers=",".join(cors.expose_headers),
        max_age="" if cors.max_age is None else str(whole_seconds(cors.max_age)),
        allow_credentials=wrappers_pb2.BoolValue(value=cors.allow_credentials),
        forward_not_matching_preflights=wrappers_pb2.BoolValue(value=cors.forward_unmatched_preflights),
    )
