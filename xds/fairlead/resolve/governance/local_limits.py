"""ASMLocalRateLimiters: limits that each proxy counts for itself."""

from fairlead.intent import LimitOverride, Rejection, RequestLimit, RouteLimit, RuleName, TokenBucket
from fairlead.models.asm.governing import Traffic
from fairlead.models.asm.local_rate_limiter import (
    ASMLocalRateLimiter,
    ASMLocalRateLimiterSpec,
    LimitConfig,
    LocalRateLimit,
)
from fairlead.resolve.governance import requests
from fairlead.resolve.governance.rules import Kind, Policy


def _policy(name: RuleName, _spec: ASMLocalRateLimiterSpec, config: LocalRateLimit) -> Policy:
    return Policy(RouteLimit(name, config.limit.custom_response_body or ""), _limit(name, config))


def _limit(name: RuleName, config: LocalRateLimit) -> RequestLimit:
    written = config.limit
    headers = written.response_headers_to_add or written.response_header_to_add
    return RequestLimit(
        name=name,
        bucket=_bucket(written),
        only=requests.only(config),
        overrides=tuple(
            LimitOverride(
                requests=requests.matching(override.request_match),
                bucket=_bucket(override.limit),
                by_header=requests.headers_with_values(override.request_match),
                by_query_parameter=requests.query_parameters_with_values(override.request_match),
            )
            for override in config.limit_overrides
        ),
        rejection=Rejection(written.status, tuple(sorted(headers.items()))),
        per_connection=written.per_downstream_connection,
    )


def _bucket(limit: LimitConfig) -> TokenBucket:
    return TokenBucket(limit.quota, limit.fill_interval.seconds * 1_000_000_000 + limit.fill_interval.nanos)


LOCAL_LIMITS = Kind(ASMLocalRateLimiter, _policy, Traffic.SIDECAR_INBOUND)
