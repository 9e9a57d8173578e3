"""Requests that wait for our own services to let them pass: Envoy's external authorization filter.

The filter is off unless a route names policies, so that another policy changes routes, not listeners.
"""

from collections.abc import Iterable

from fairlead._pb.envoy.config.accesslog.v3 import accesslog_pb2
from fairlead._pb.envoy.config.core.v3 import config_source_pb2, grpc_service_pb2
from fairlead._pb.envoy.extensions.access_loggers.grpc.v3 import als_pb2
from fairlead._pb.envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpFilter,
)
from fairlead._pb.envoy.type.metadata.v3 import metadata_pb2
from fairlead._pb.envoy.type.tracing.v3 import custom_tag_pb2
from fairlead._pb.google.protobuf import any_pb2, wrappers_pb2
from fairlead.intent import PATIENCE, RUNTIME, SLOTS_TAG, RouteScheduling, SchedulingFilter, policy_name
from fairlead.render.encoding import duration, packed
from fairlead.render.names import SCHEDULING_FILTER, cluster_name

_V3 = config_source_pb2.ApiVersion.V3
_SLOTS = "slots"
"""In the metadata that the answer brings: what a request holds until it ends."""
_LOG = "fairlead.scheduling"


def _service() -> grpc_service_pb2.GrpcService:
    return grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster_name(RUNTIME)),
        timeout=duration(PATIENCE),
    )


def scheduling_filter(found: SchedulingFilter) -> HttpFilter:
    """The filter, which routes have to enable."""
    message = ext_authz_pb2.ExtAuthz(
        transport_api_version=_V3,
        grpc_service=_service(),
        # Without an answer requests pass, and are counted as `ext_authz.error`.
        failure_mode_allow=True,
    )
    for name in found.withheld:
        message.disallowed_headers.patterns.add(exact=name)
    return HttpFilter(name=SCHEDULING_FILTER, disabled=True, typed_config=packed(message))


def asking_for(policies: Iterable[RouteScheduling]) -> any_pb2.Any:
    """Enable the filter for a route, and name the policies with their selectors."""
    settings = ext_authz_pb2.CheckSettings(
        context_extensions={policy_name(policy.name.key): ",".join(map(str, policy.selectors)) for policy in policies}
    )
    return packed(ext_authz_pb2.ExtAuthzPerRoute(check_settings=settings))


def log_of_ends() -> accesslog_pb2.AccessLog:
    """Tells our own services at once when a request has ended that holds something, whatever its end was."""
    log = als_pb2.HttpGrpcAccessLogConfig()
    common = log.common_config
    common.log_name = _LOG
    common.transport_api_version = _V3
    common.grpc_service.envoy_grpc.cluster_name = cluster_name(RUNTIME)
    common.buffer_size_bytes.value = 0  # or else it would be told up to a second later
    slots = custom_tag_pb2.CustomTag(tag=SLOTS_TAG)
    slots.metadata.kind.request.SetInParent()
    slots.metadata.metadata_key.CopyFrom(
        metadata_pb2.MetadataKey(key=SCHEDULING_FILTER, path=[metadata_pb2.MetadataKey.PathSegment(key=_SLOTS)])
    )
    common.custom_tags.append(slots)
    holds_something = accesslog_pb2.MetadataFilter(match_if_key_not_found=wrappers_pb2.BoolValue(value=False))
    holds_something.matcher.filter = SCHEDULING_FILTER
    holds_something.matcher.path.add(key=_SLOTS)
    holds_something.matcher.value.present_match = True
    return accesslog_pb2.AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=accesslog_pb2.AccessLogFilter(metadata_filter=holds_something),
        typed_config=packed(log),
    )
