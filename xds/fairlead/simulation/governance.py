"""What ASM's objects say of the requests of a route, in words: limits, breakers, scheduling."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fairlead._pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import RateLimit, Route
from fairlead._pb.envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz, ExtAuthzPerRoute
from fairlead._pb.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from fairlead._pb.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit as SharedRateLimit
from fairlead._pb.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimitPerRoute
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from fairlead._pb.envoy.type.metadata.v3.metadata_pb2 import MetadataKey
from fairlead._pb.google.protobuf.duration_pb2 import Duration
from fairlead.simulation import matching
from fairlead.simulation.facts import duration_in_words
from fairlead.simulation.values import Fact, Request
from fairlead.simulation.words import backend

_LIMITS = "fairlead.limits"
"""In a route's metadata: the names of its limits."""
_BREAKER = "fairlead.breaker"
"""In a route's metadata: when its circuit opens, and what is answered then."""


Entries = tuple[tuple[str, str], ...]
"""Of a descriptor: what requests that are counted together have in common."""


class _Bucket(NamedTuple):
    words: str
    entries: Entries
    """An empty value stands for any."""


class _Limit(NamedTuple):
    buckets: list[_Bucket]
    descriptors: list[RateLimit]
    """How requests are told apart."""


class Governance:
    """The rules of one proxy's routes, as its filters know them."""

    def __init__(self, discovered: Mapping[str, TypedExtensionConfig]) -> None:
        """`discovered`: what listeners leave to discovery, by the names of filters."""
        self._discovered = discovered
        self._limits: dict[str, dict[str, _Limit]] = {}
        """Name of a filter -> name of a limit -> the limit: read once, since one filter has all limits."""

    def of_route(self, route: Route, manager: HttpConnectionManager, request: Request) -> Iterator[Fact]:
        """What holds for a request that takes a route."""
        metadata, settings = route.metadata.filter_metadata, route.typed_per_filter_config
        named = metadata[_LIMITS].fields if _LIMITS in metadata else {}
        for item in manager.http_filters:
            config = self._discovered[item.name].typed_config if item.name in self._discovered else item.typed_config
            kind = config.TypeName()
            if named and kind == LocalRateLimit.DESCRIPTOR.full_name:
                if item.name not in self._limits:
                    self._limits[item.name] = _local_limits(LocalRateLimit.FromString(config.value))
                for name in sorted(named):
                    if name in self._limits[item.name]:
                        yield from _local_limit(self._limits[item.name][name], route, request)
            elif item.name in settings and kind == SharedRateLimit.DESCRIPTOR.full_name:
                of_route = RateLimitPerRoute.FromString(settings[item.name].value)
                yield _shared_limit(SharedRateLimit.FromString(config.value), of_route, route, request)
            elif item.name in settings and kind == ExtAuthz.DESCRIPTOR.full_name:
                policies = ExtAuthzPerRoute.FromString(settings[item.name].value)
                yield _scheduling(ExtAuthz.FromString(config.value), policies)
        if _BREAKER in metadata:
            fields = metadata[_BREAKER].fields
            yield _breaker(fields["policy"].string_value, fields["answer"].string_value)


# --- Limits -----------------------------------------------------------------------------------------------------------


def _local_limits(message: LocalRateLimit) -> dict[str, _Limit]:
    found: dict[str, _Limit] = {}
    each = " for each connection" if message.local_rate_limit_per_downstream_connection else ""
    for descriptor in message.descriptors:
        entries = tuple((entry.key, entry.value) for entry in descriptor.entries)
        name, bucket, values = entries[0][0], descriptor.token_bucket, [key for key, value in entries if not value]
        by_value = " for each value" if values else ""
        words = f"{bucket.max_tokens} in {duration_in_words(bucket.fill_interval)}{by_value}{each}"
        found.setdefault(name, _Limit([], [])).buckets.append(_Bucket(words, entries))
    for limit in message.rate_limits:
        found[limit.actions[0].metadata.descriptor_key].descriptors.append(limit)
    return found


def _local_limit(limit: _Limit, route: Route, request: Request) -> Iterator[Fact]:
    counted = [_entries(descriptor, route, request) for descriptor in limit.descriptors]
    for bucket in limit.buckets:
        is_own = any(entries is not None and _is_of(entries, bucket.entries) for entries in counted)
        name, override = bucket.entries[0][0], dict(bucket.entries).get("override")
        which = "" if len(bucket.entries) == 1 else " for this request" if is_own else " for other requests"
        yield Fact("limit", f"{bucket.words}{which} ({name}{f', {override}' if override else ''})")


def _is_of(entries: Entries, wanted: Entries) -> bool:
    return len(entries) == len(wanted) and all(
        key == name and text in {"", value} for (key, value), (name, text) in zip(entries, wanted, strict=True)
    )


def _shared_limit(found: SharedRateLimit, of_route: RateLimitPerRoute, route: Route, request: Request) -> Fact:
    service = backend(found.rate_limit_service.grpc_service.envoy_grpc.cluster_name)
    counted = [_entries(descriptor, route, request) for descriptor in of_route.rate_limits]
    names = dict.fromkeys("/".join(value for _, value in entries) for entries in counted if entries is not None)
    if not names:
        return Fact("limit", f"for all proxies, counted by {service}; not for this request")
    without = "is refused" if found.failure_mode_deny else "passes"
    answer = f"what is not answered in {duration_in_words(found.timeout)} {without}"
    return Fact("limit", f"for all proxies, counted by {service}; {answer} ({', '.join(names)})")


def _entries(limit: RateLimit, route: Route, request: Request) -> Entries | None:
    """The descriptor of a request, None when it has none."""
    found: list[tuple[str, str]] = []
    headers, parameters = matching.headers_of(request), matching.parameters_of(request)
    for action in limit.actions:
        key, value = "", None
        match action.WhichOneof("action_specifier"):
            case "metadata":
                key, value = action.metadata.descriptor_key, _of_metadata(action.metadata.metadata_key, route)
            case "generic_key":
                key = action.generic_key.descriptor_key or "generic_key"
                value = action.generic_key.descriptor_value
            case "header_value_match":
                of_headers = action.header_value_match
                key = of_headers.descriptor_key or "header_match"
                matches = all(
                    matching.header_matches(header, headers.get(header.name.lower())) for header in of_headers.headers
                )
                value = of_headers.descriptor_value if matches is _expected(of_headers) else None
            case "query_parameter_value_match":
                of_query = action.query_parameter_value_match
                key = of_query.descriptor_key or "query_match"
                matches = all(
                    matching.parameter_matches(parameter, parameters.get(parameter.name))
                    for parameter in of_query.query_parameters
                )
                value = of_query.descriptor_value if matches is _expected(of_query) else None
            case "request_headers":
                key = action.request_headers.descriptor_key
                value = headers.get(action.request_headers.header_name.lower())
            case "query_parameters":
                key = action.query_parameters.descriptor_key
                value = parameters.get(action.query_parameters.query_parameter_name)
        if value is None:
            return None
        found.append((key, value))
    return tuple(found)


def _expected(action: RateLimit.Action.HeaderValueMatch | RateLimit.Action.QueryParameterValueMatch) -> bool:
    return not action.HasField("expect_match") or action.expect_match.value


def _of_metadata(key: MetadataKey, route: Route) -> str | None:
    fields = route.metadata.filter_metadata[key.key].fields if key.key in route.metadata.filter_metadata else {}
    name = key.path[0].key
    return fields[name].string_value if name in fields else None


# --- Scheduling and breakers ------------------------------------------------------------------------------------------


def _scheduling(found: ExtAuthz, of_route: ExtAuthzPerRoute) -> Fact:
    service = backend(found.grpc_service.envoy_grpc.cluster_name)
    names = [name.replace("/", " ", 1) for name in sorted(of_route.check_settings.context_extensions)]
    without = "passes" if found.failure_mode_allow else "is refused"
    answer = f"what is not answered in {duration_in_words(found.grpc_service.timeout)} {without}"
    return Fact("scheduling", f"asks {service} when to pass; {answer} ({', '.join(names)})")


def _breaker(policy: str, answer: str) -> Fact:
    """When a route's circuit opens, and for how long; the numbers are those that `envoy/breaker/policy.h` lists."""
    *texts, circuit = policy.split(" ", 8)
    window, opened, slow_time, slow, average, errors, gateway_errors, least = map(int, texts)
    conditions = [f"{slow} slower than {_time(slow_time)}"] if slow else []
    if average:
        conditions.append(f"an average above {_time(average)}")
    conditions += [f"{share} % {what}" for share, what in ((errors, "5xx"), (gateway_errors, "502, 503, 504")) if share]
    of_several = f" of {least} requests or more" if least and (average or errors or gateway_errors) else ""
    status = answer.partition("\n")[0]
    words = f"{' or '.join(conditions)}{of_several} in {_time(window)}: {status} for {_time(opened)}"
    return Fact("breaker", f"{words} ({circuit.partition('|')[0]})")


def _time(nanoseconds: int) -> str:
    return duration_in_words(Duration(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9))
