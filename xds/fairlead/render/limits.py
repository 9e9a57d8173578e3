"""Limits of requests: Envoy's local rate limit filter, and the answer to what is above a limit.

The buckets are part of the filter, not of the routes: Envoy makes all routes of a table anew when one of them changes,
and would fill all buckets with it. Routes only name their limit, in their metadata, from where the filter takes it as
a descriptor (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter). The
filter's configuration is a resource of its own (ECDS), so that a change of it is in force at once for the connections
that there are, and drains none.
"""

from collections.abc import Iterable

from fairlead._pb.envoy.config.accesslog.v3 import accesslog_pb2
from fairlead._pb.envoy.config.core.v3 import base_pb2
from fairlead._pb.envoy.config.core.v3.config_source_pb2 import ExtensionConfigSource
from fairlead._pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from fairlead._pb.envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from fairlead._pb.envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from fairlead._pb.envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    ResponseMapper,
)
from fairlead._pb.envoy.type.metadata.v3 import metadata_pb2
from fairlead._pb.envoy.type.v3 import percent_pb2, token_bucket_pb2
from fairlead._pb.google.protobuf import wrappers_pb2
from fairlead.intent import (
    Condition,
    LimitFilter,
    LimitOverride,
    RequestLimit,
    Requests,
    RouteLimit,
    RuleName,
    TokenBucket,
    ways,
)
from fairlead.render import rate_limits
from fairlead.render.encoding import AGGREGATED, duration, packed, resource
from fairlead.render.names import LIMITS_METADATA, limit_filter_name
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource

_YES = "1"
_CONDITION, _OVERRIDE, _VALUE = "condition", "override", "value"
"""Keys of descriptors' entries."""
_BODY = "body"
"""In a route's metadata; names of limits have slashes."""
_STAT_PREFIX = "http_local_rate_limiter"
_HEADER = ("x-local-rate-limit", "true")
_MAX_VALUES = 10_000
"""Buckets for single values that are kept; those not used for longest go first."""
_ALWAYS = base_pb2.RuntimeFractionalPercent(
    default_value=percent_pb2.FractionalPercent(numerator=100, denominator=percent_pb2.FractionalPercent.HUNDRED)
)
# Only the filter's own answers, not those of services; %RESPONSE_FLAGS% does not say it yet when the answer is made.
_LIMITED_WITH_BODY = (
    "response.code_details == 'local_rate_limited' && "
    f"'{_BODY}' in xds.route_metadata.filter_metadata['{LIMITS_METADATA}']"
)


# --- Routes -----------------------------------------------------------------------------------------------------------


def write_limit(message: base_pb2.Metadata, limit: RouteLimit) -> None:
    """Name the limit of a route, and the answer's body, in its metadata."""
    fields = message.filter_metadata[LIMITS_METADATA].fields
    fields[str(limit.name)].string_value = _YES
    if limit.body:
        fields[_BODY].string_value = limit.body


# --- Filters ----------------------------------------------------------------------------------------------------------


_NO_LIMITS = local_rate_limit_pb2.LocalRateLimit(stat_prefix=_STAT_PREFIX)


def limit_filter(limits: LimitFilter) -> HttpFilter:
    """A filter whose limits are discovered by its name; as long as there are none, all requests pass."""
    discovery = ExtensionConfigSource(
        config_source=AGGREGATED,
        default_config=packed(_NO_LIMITS),
        type_urls=[f"type.googleapis.com/{_NO_LIMITS.DESCRIPTOR.full_name}"],
    )
    return HttpFilter(name=limit_filter_name(limits), config_discovery=discovery)


def filter_configuration(found: LimitFilter, limits: Iterable[RequestLimit]) -> Resource:
    """The limits of a filter, as the resource by which it is discovered."""
    message = local_rate_limit_pb2.LocalRateLimit(
        stat_prefix=_STAT_PREFIX,
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        always_consume_default_token_bucket=wrappers_pb2.BoolValue(value=False),
        local_rate_limit_per_downstream_connection=found.per_connection,
        response_headers_to_add=[_header(*header) for header in (*found.rejection.headers, _HEADER)],
    )
    message.status.code = found.rejection.status  # type: ignore[assignment]  # the numbers are those of HTTP
    # By name: an object that becomes older than another one changes no bucket.
    ordered = sorted(limits, key=lambda limit: limit.name)
    for limit in ordered:
        _write(message, limit)
    name = limit_filter_name(found)
    origin = tuple(dict.fromkeys(limit.name.key for limit in ordered))
    return resource(types.EXTENSION_CONFIG, name, TypedExtensionConfig(name=name, typed_config=packed(message)), origin)


def _header(name: str, value: str) -> base_pb2.HeaderValueOption:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, value=value.replace("%", "%%")),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _write(message: local_rate_limit_pb2.LocalRateLimit, limit: RequestLimit) -> None:
    earlier: list[Requests] = []
    for number, override in enumerate(limit.overrides):
        found = ways((limit.only, override.requests), earlier)
        _count(message, limit.name, found, override.bucket, f"override-{number}", override)
        earlier.append(override.requests)
    _count(message, limit.name, ways((limit.only,), earlier), limit.bucket)


def _count(  # noqa: PLR0917  # what is counted, and how much of it
    message: local_rate_limit_pb2.LocalRateLimit,
    name: RuleName,
    found: tuple[tuple[Condition, ...], ...],
    bucket: TokenBucket,
    mark: str = "",
    by: LimitOverride | None = None,
) -> None:
    """Count requests in one bucket, or in one for each value of something; each way makes the same descriptor."""
    length = max(map(len, found))
    sources = ((), ()) if by is None else (by.by_header, by.by_query_parameter)
    keys = [f"{_VALUE}-{number}" for number in range(sum(map(len, sources)))]
    marks = [(_OVERRIDE, mark)] if mark else []
    for way in found:
        message.rate_limits.add(
            actions=[
                _named(str(name)),
                *(rate_limits.condition(_CONDITION, _YES, condition) for condition in way),
                *[rate_limits.fixed(_CONDITION, _YES)] * (length - len(way)),
                *(rate_limits.fixed(*entry) for entry in marks),
                *rate_limits.values(*sources, keys),
            ]
        )
    entries = [(str(name), _YES), *[(_CONDITION, _YES)] * length, *marks, *((key, "") for key in keys)]
    message.descriptors.add(
        entries=[ratelimit_pb2.RateLimitDescriptor.Entry(key=key, value=value) for key, value in entries],
        token_bucket=_token_bucket(bucket),
    )
    if keys:
        message.max_dynamic_descriptors.value = _MAX_VALUES


def _named(limit: str) -> rate_limits.Action:
    """Only for routes that name the limit."""
    key = metadata_pb2.MetadataKey(key=LIMITS_METADATA, path=[metadata_pb2.MetadataKey.PathSegment(key=limit)])
    of_route = rate_limits.Action.MetaData.ROUTE_ENTRY
    return rate_limits.Action(
        metadata=rate_limits.Action.MetaData(descriptor_key=limit, metadata_key=key, source=of_route)
    )


def _token_bucket(bucket: TokenBucket) -> token_bucket_pb2.TokenBucket:
    return token_bucket_pb2.TokenBucket(
        max_tokens=bucket.size,
        tokens_per_fill=wrappers_pb2.UInt32Value(value=bucket.size),
        fill_interval=duration(bucket.interval),
    )


# --- Answers ----------------------------------------------------------------------------------------------------------


def write_bodies(message: HttpConnectionManager) -> None:
    """Let routes give the answer to what is above their limit a body; the filter has none to give."""
    mapper = ResponseMapper(
        filter=accesslog_pb2.AccessLogFilter(
            extension_filter=accesslog_pb2.ExtensionFilter(
                name="envoy.access_loggers.extension_filters.cel",
                typed_config=packed(cel_pb2.ExpressionFilter(expression=_LIMITED_WITH_BODY)),
            )
        )
    )
    mapper.body_format_override.text_format_source.inline_string = f"%METADATA(ROUTE:{LIMITS_METADATA}:{_BODY})%"
    message.local_reply_config.mappers.append(mapper)
