"""Rules for ASMLocalRateLimiters."""

from collections.abc import Iterator

from fairlead.models.asm.governing import HeaderMatcher, QueryParameterMatcher, RequestMatcher, Span
from fairlead.models.asm.local_rate_limiter import ASMLocalRateLimiter, LimitConfig, LimitOverride, LocalRateLimit
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common
from fairlead.validation.asm import governing

_SHORTEST_INTERVAL = 50_000_000
"""Nanoseconds: Envoy refuses less (LocalRateLimit.token_bucket)."""
_LONGEST_INTERVAL = 9_000_000_000
"""Seconds, 285 years: Envoy refuses what it cannot count in nanoseconds."""
_MOST_HEADERS = 9
"""Envoy allows ten (LocalRateLimit.response_headers_to_add), of which x-local-rate-limit is one."""
_STATUS_CODES = frozenset(
    {*range(400, 418), 421, 422, 423, 424, 426, 428, 429, 431, *range(500, 509), 510, 511},
)
"""Of errors, those that Envoy's API knows (envoy.type.v3.StatusCode)."""


def local_rate_limiter(obj: ASMLocalRateLimiter) -> Iterator[Problem]:
    """What is wrong with an ASMLocalRateLimiter."""
    yield from governing.proxies(obj.spec, obj.spec.configs, "limited")
    for index, config in enumerate(obj.spec.configs):
        yield from _config(config, ("spec", "configs", index))


def _config(config: LocalRateLimit, path: FieldPath) -> Iterator[Problem]:
    yield from governing.requests(config, path)
    yield from _limit(config.limit, (*path, "limit"))
    yield from governing.overrides([override.request_match for override in config.limit_overrides], path)
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
    yield from _limit(override.limit, (*path, "limit"))
    if base.per_downstream_connection and _has_values(match):
        message = "buckets for each value cannot be counted for each connection"
        yield error("conflicting-fields", message, path=where, hint="leave distinct or per_downstream_connection out")
    for field in ("status", "per_downstream_connection", "custom_response_body", "response_headers_to_add"):
        given = getattr(override.limit, field)
        if given not in (getattr(base, field), getattr(LimitConfig(fill_interval=Span(), quota=1), field)):
            message = f"{field} of an override has no effect: Envoy answers as the limit itself says"
            yield warning("no-effect", message, path=(*path, "limit", field), hint="write it into limit")


def _has_values(match: RequestMatcher) -> bool:
    matchers: tuple[HeaderMatcher | QueryParameterMatcher, ...] = (*match.header_match, *match.query_match)
    return match.distinct or any(item.distinct for item in matchers)
