"""Limits that a service counts: Envoy's rate limit filter, and what routes have it ask the service for.

The filter says which service is asked and how; what is asked for is the routes' own, so that a change of a limit is
one of routes (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rate_limit_filter).
"""

from collections.abc import Iterator

from fairlead._pb.envoy.config.core.v3 import config_source_pb2, grpc_service_pb2
from fairlead._pb.envoy.config.ratelimit.v3 import rls_pb2
from fairlead._pb.envoy.config.route.v3 import route_components_pb2
from fairlead._pb.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit, RateLimitPerRoute
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpFilter,
)
from fairlead.intent import CountedRequests, GlobalLimit, RateLimitService
from fairlead.render import rate_limits
from fairlead.render.encoding import duration, packed
from fairlead.render.names import cluster_name, rate_limit_filter_name


def global_limit_filter(service: RateLimitService) -> HttpFilter:
    """The filter that asks a service, for those routes that say what for."""
    message = RateLimit(
        domain=service.domain,
        timeout=duration(service.timeout),
        failure_mode_deny=service.fail_closed,
        enable_x_ratelimit_headers=RateLimit.DRAFT_VERSION_03,
        rate_limit_service=rls_pb2.RateLimitServiceConfig(
            grpc_service=grpc_service_pb2.GrpcService(
                envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster_name(service.backend))
            ),
            transport_api_version=config_source_pb2.ApiVersion.V3,
        ),
    )
    return HttpFilter(name=rate_limit_filter_name(service), typed_config=packed(message))


def write_global_limit(message: route_components_pb2.Route, limit: GlobalLimit) -> None:
    """Have the requests of a route counted."""
    found = RateLimitPerRoute(rate_limits=[entry for counted in limit.counted for entry in _rate_limits(counted)])
    message.typed_per_filter_config[rate_limit_filter_name(limit.service)].CopyFrom(packed(found))


def _rate_limits(counted: CountedRequests) -> Iterator[route_components_pb2.RateLimit]:
    """Each way to be among the requests; all make the same descriptor."""
    values = rate_limits.values(
        counted.by_header,
        counted.by_query_parameter,
        [key for key, value in counted.entries if not value],
    )
    for way in counted.ways:
        fixed = [entry for entry in counted.entries if entry[1]]
        first, conditions, filler = fixed[:1], fixed[1 : 1 + len(way)], fixed[1 + len(way) :]
        yield route_components_pb2.RateLimit(
            actions=[
                *(rate_limits.fixed(*entry) for entry in first),
                *(rate_limits.condition(*entry, condition) for entry, condition in zip(conditions, way, strict=True)),
                *(rate_limits.fixed(*entry) for entry in filler),
                *values,
            ]
        )
