"""Requests that proxies reject for an object: how our own services, which count them, are told of each.

Each kind of object has an access log of its own, because the proxy's reason for an answer tells the kind, and the
route's metadata the object.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fairlead._pb.envoy.config.accesslog.v3 import accesslog_pb2
from fairlead._pb.envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2
from fairlead._pb.envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from fairlead._pb.envoy.extensions.access_loggers.grpc.v3 import als_pb2
from fairlead._pb.envoy.type.metadata.v3 import metadata_pb2
from fairlead._pb.envoy.type.tracing.v3 import custom_tag_pb2
from fairlead._pb.google.protobuf import wrappers_pb2
from fairlead.intent import OBJECT_TAG, OUTCOME_TAG, RUNTIME, Governance, RouteBreaker, RouteLimit, RoutePolicy
from fairlead.render.encoding import packed
from fairlead.render.names import OBJECTS_METADATA, cluster_name

_BUFFER = 1 << 18
"""Bytes, of about 600 for each request, that are sent together. It is also what a worker keeps while nobody takes them:
with a quarter of it, some were lost at 15,000 in a second."""


class _Kind(NamedTuple):
    """Rejections for the objects of a kind."""

    details: str
    """What Envoy says of why it has answered by itself (`%RESPONSE_CODE_DETAILS%`)."""
    outcome: str
    flag: str = ""
    """What it says of it among others (`%RESPONSE_FLAGS%`), which is looked up in less time."""


_LOCAL_LIMIT = _Kind("local_rate_limited", "limited", "RL")
_BREAKER = _Kind("asm_circuit_open", "broken")  # breaker.wasm says so

_KINDS: dict[type[RoutePolicy], _Kind] = {RouteLimit: _LOCAL_LIMIT, RouteBreaker: _BREAKER}
"""What a service rejects that is asked is counted by the service."""


def write_object(message: base_pb2.Metadata, policy: RoutePolicy) -> None:
    """Tell of a route whose object its policy is, if proxies tell of what they reject for it."""
    if (kind := _KINDS.get(type(policy))) is not None:
        message.filter_metadata[OBJECTS_METADATA].fields[kind.details].string_value = str(policy.name.key)


def logs(governance: Governance) -> Iterator[accesslog_pb2.AccessLog]:
    """The access logs of connections; all others than rejected requests are left out soon."""
    if governance.limits:
        yield _log(_LOCAL_LIMIT)
    if governance.breakers:
        yield _log(_BREAKER)


def _log(kind: _Kind) -> accesslog_pb2.AccessLog:
    key = metadata_pb2.MetadataKey(key=OBJECTS_METADATA, path=[metadata_pb2.MetadataKey.PathSegment(key=kind.details)])
    of_route = custom_tag_pb2.CustomTag.Metadata(metadata_key=key)
    of_route.kind.route.SetInParent()
    config = als_pb2.HttpGrpcAccessLogConfig(
        common_config=als_pb2.CommonGrpcAccessLogConfig(
            log_name="fairlead",
            transport_api_version=config_source_pb2.ApiVersion.V3,
            grpc_service=grpc_service_pb2.GrpcService(
                envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster_name(RUNTIME))
            ),
            buffer_size_bytes=wrappers_pb2.UInt32Value(value=_BUFFER),
            custom_tags=[
                custom_tag_pb2.CustomTag(tag=OBJECT_TAG, metadata=of_route),
                custom_tag_pb2.CustomTag(tag=OUTCOME_TAG, literal=custom_tag_pb2.CustomTag.Literal(value=kind.outcome)),
            ],
        )
    )
    log = accesslog_pb2.AccessLog(name=f"fairlead.{kind.details}", typed_config=packed(config))
    by_details = accesslog_pb2.AccessLogFilter(
        extension_filter=accesslog_pb2.ExtensionFilter(
            name="envoy.access_loggers.extension_filters.cel",
            typed_config=packed(cel_pb2.ExpressionFilter(expression=f"response.code_details == '{kind.details}'")),
        )
    )
    if kind.flag:
        log.filter.and_filter.filters.add().response_flag_filter.flags.append(kind.flag)
        log.filter.and_filter.filters.append(by_details)
    else:
        log.filter.CopyFrom(by_details)
    return log
