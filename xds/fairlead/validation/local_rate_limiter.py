"""Rules for ASMLocalRateLimiters."""

from collections.abc import Iterator

from fairlead.models.asm import (
    ASMLocalRateLimiter,
    HeaderMatcher,
    LimitConfig,
    LimitOverride,
    LocalRateLimit,
    QueryParameterMatcher,
    RequestMatcher,
    Span,
    TargetKind,
    Traffic,
)
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common

_SHORTEST_INTERVAL = 50_000_000
"""Nanoseconds: Envoy refuses less (LocalRateLimit.token_bucket)."""
_LONGEST_INTERVAL = 9_000_000_000
"""Seconds, 285 years: Envoy refuses what it cannot count in nanoseconds."""
_MOST_HEADERS = 9
"""Envoy allows ten (LocalRateLimit.response_headers_to_add), of which x-local-rate-limit is one."""
_MOST_OF_BOTH = 6
"""Each of them doubles the ways in which none of them matches, of which Envoy has to try all."""
_STATUS_CODES = frozenset(
    {*range(400, 418), 421, 422, 423, 424, 426, 428, 429, 431, *range(500, 509), 510, 511},
)
"""Of errors, those that Envoy's API knows (envoy.type.v3.StatusCode)."""
_HEADER_MATCHES = (
    "regex_match",
    "exact_match",
    "prefix_match",
    "suffix_match",
    "present_match",
    "is_exact_match_empty",
)
_QUERY_MATCHES = ("exact_match", "prefix_match", "suffix_match", "regex_match", "contains_match", "present_match")


def local_rate_limiter(obj: ASMLocalRateLimiter) -> Iterator[Problem]:
    """What is wrong with an ASMLocalRateLimiter."""
    spec = obj.spec
    if not spec.configs:
        yield error("missing-field", "configs is missing, so that nothing is limited", path=("spec", "configs"))
    if spec.apply_to_traffic is Traffic.WAYPOINT:
        yield error(
            "unsupported-value",
            "requests to waypoints cannot be limited yet",
            path=("spec", "applyToTraffic"),
            hint="limit them at the sidecars of the service (sidecar_inbound), or at the gateway",
        )
    for index, config in enumerate(spec.configs):
        path = ("spec", "configs", index)
        if config.workload_selector is None and spec.workload_selector is None:
            hint = "write workloadSelector below spec, with the labels of the proxies"
            yield error("missing-field", "workloadSelector is missing", path=("spec", "workloadSelector"), hint=hint)
        is_gateway = spec.is_gateway if config.is_gateway is None else config.is_gateway
        if is_gateway and spec.apply_to_traffic not in (None, Traffic.GATEWAY):
            yield error(
                "conflicting-fields",
                "isGateway and applyToTraffic name different proxies",
                path=("spec", "applyToTraffic"),
                hint="leave one of them out",
            )
        yield from _config(config, path)


def _config(config: LocalRateLimit, path: FieldPath) -> Iterator[Problem]:
    if config.match is None and not config.target_services:
        hint = 'to limit all requests, write match: {vhost: {name: "*"}}'
        yield error("missing-field", "neither match nor target_services is there", path=(*path, "match"), hint=hint)
    if config.match is not None and config.target_services:
        message = "only one of match, target_services can be set"
        yield error("conflicting-fields", message, path=(*path, "target_services"))
    if config.match is not None:
        vhost, where = config.match.vhost, (*path, "match", "vhost")
        if not vhost.name:
            yield error("invalid-host", "the name of the virtual host is empty", path=(*where, "name"))
        if vhost.port:
            yield from common.port(vhost.port, (*where, "port"))
        for index, header in enumerate(vhost.route.header_match):
            yield from _header_match(header, (*where, "route", "header_match", index))
    for index, target in enumerate(config.target_services):
        where = (*path, "target_services", index)
        if target.port:
            yield from common.port(target.port, (*where, "port"))
        if target.section_name and target.kind is not TargetKind.VIRTUAL_SERVICE:
            message = f"a {target.kind.value} has no routes with names"
            yield error("conflicting-fields", message, path=(*where, "section_name"), hint="name a VirtualService")
    yield from _limit(config.limit, (*path, "limit"))
    both = [override for override in config.limit_overrides if _asks_for_both(override.request_match)]
    if len(both) > _MOST_OF_BOTH:
        message = f"{len(both)} overrides match headers and query parameters at once, {_MOST_OF_BOTH} are allowed"
        yield error("too-many", message, path=(*path, "limit_overrides"))
    for index, override in enumerate(config.limit_overrides):
        yield from _override(override, config.limit, (*path, "limit_overrides", index))


def _limit(limit: LimitConfig, path: FieldPath) -> Iterator[Problem]:
    yield from _interval(limit.fill_interval, (*path, "fill_interval"))
    if limit.quota < 1:
        message = f"a quota of {limit.quota} lets nothing pass; Envoy wants 1 at least"
        yield error("out-of-range", message, path=(*path, "quota"))
    if limit.status not in _STATUS_CODES:
        message = f"{limit.status} is no status of an error that Envoy can answer with"
        yield error("invalid-status", message, path=(*path, "status"), hint="429 and 503 are common")
    if limit.custom_response_body == "":
        hint = "leave it out for Envoy's own, local_rate_limited"
        yield error("missing-field", "the body is empty", path=(*path, "custom_response_body"), hint=hint)
    if limit.response_header_to_add and limit.response_headers_to_add:
        message = "response_header_to_add is the older name of response_headers_to_add; one of them can be set"
        yield error("conflicting-fields", message, path=(*path, "response_header_to_add"))
    for field in ("response_header_to_add", "response_headers_to_add"):
        headers: dict[str, str] = getattr(limit, field)
        yield from common.at_most(headers, _MOST_HEADERS, (*path, field))
        for name, value in headers.items():
            yield from common.header_name(name, (*path, field, name))
            yield from common.header_value(value, (*path, field, name))


def _interval(interval: Span, path: FieldPath) -> Iterator[Problem]:
    if not 0 <= interval.nanos < 1_000_000_000:
        yield error("out-of-range", f"{interval.nanos} is no part of a second", path=(*path, "nanos"))
    elif not 0 <= interval.seconds <= _LONGEST_INTERVAL:
        yield error(
            "out-of-range",
            f"an interval of {interval.seconds} s is longer than 285 years, or negative",
            path=(*path, "seconds"),
        )
    elif interval.seconds * 1_000_000_000 + interval.nanos < _SHORTEST_INTERVAL:
        hint = "50 ms, which is nanos: 50000000, is the shortest that Envoy allows"
        yield error("out-of-range", "the interval is too short", path=path, hint=hint)


def _override(override: LimitOverride, base: LimitConfig, path: FieldPath) -> Iterator[Problem]:
    match, where = override.request_match, (*path, "request_match")
    yield from _request_match(match, where)
    yield from _limit(override.limit, (*path, "limit"))
    if base.per_downstream_connection and _has_values(match):
        message = "buckets for each value cannot be counted for each connection"
        yield error("conflicting-fields", message, path=where, hint="leave distinct or per_downstream_connection out")
    for field in ("status", "per_downstream_connection", "custom_response_body", "response_headers_to_add"):
        given = getattr(override.limit, field)
        if given not in (getattr(base, field), getattr(LimitConfig(fill_interval=Span(), quota=1), field)):
            message = f"{field} of an override has no effect: Envoy answers as the limit itself says"
            yield warning("no-effect", message, path=(*path, "limit", field), hint="write it into limit")


def _asks_for_both(match: RequestMatcher) -> bool:
    return bool(match.header_match and match.query_match)


def _has_values(match: RequestMatcher) -> bool:
    matchers: tuple[HeaderMatcher | QueryParameterMatcher, ...] = (*match.header_match, *match.query_match)
    return match.distinct or any(item.distinct for item in matchers)


def _request_match(match: RequestMatcher, path: FieldPath) -> Iterator[Problem]:
    if match.remote_address is not None:
        message = "requests cannot be told apart by their remote_address yet; the object is not served"
        yield error("unsupported-field", message, path=(*path, "remote_address"), hint="match a header instead")
    elif not match.header_match and not match.query_match:
        message = "request_match has no condition, so that nothing would be left for the limit itself"
        yield error("missing-field", message, path=path, hint="write header_match or query_match")
    for index, header in enumerate(match.header_match):
        yield from _header_match(header, (*path, "header_match", index))
    for index, parameter in enumerate(match.query_match):
        yield from _query_match(parameter, (*path, "query_match", index))


def _header_match(match: HeaderMatcher, path: FieldPath) -> Iterator[Problem]:
    yield from common.header_name(match.name.removeprefix(":"), (*path, "name"))
    yield from common.exactly_one(match, _HEADER_MATCHES, path)
    if match.regex_match is not None:
        yield from common.regex(match.regex_match, (*path, "regex_match"))


def _query_match(match: QueryParameterMatcher, path: FieldPath) -> Iterator[Problem]:
    if not match.name:
        yield error("missing-field", "the name is empty", path=(*path, "name"))
    yield from common.exactly_one(match, _QUERY_MATCHES, path)
    if match.present_match is False:
        message = "a query parameter cannot be asked to be absent"
        yield error("unsupported-value", message, path=(*path, "present_match"), hint="match the others instead")
    if match.regex_match is not None:
        yield from common.regex(match.regex_match, (*path, "regex_match"))
