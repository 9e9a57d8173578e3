"""Rules for ASMGlobalRateLimiters."""

from collections.abc import Iterator

from fairlead.models.asm.global_rate_limiter import (
    ASMGlobalRateLimiter,
    GlobalLimitConfig,
    GlobalRateLimit,
    RateLimitService,
)
from fairlead.models.asm.governing import Span
from fairlead.problems import FieldPath, Problem, error
from fairlead.validation import common
from fairlead.validation.asm import governing

_LONGEST_TIMEOUT = 3600
"""Seconds. No request waits for longer, and Envoy would refuse what it cannot count in milliseconds."""


def global_rate_limiter(obj: ASMGlobalRateLimiter) -> Iterator[Problem]:
    """What is wrong with an ASMGlobalRateLimiter."""
    spec = obj.spec
    yield from governing.proxies(spec, spec.configs, "limited")
    yield from _service(spec.rate_limit_service, ("spec", "rateLimitService"))
    for index, config in enumerate(spec.configs):
        yield from _config(config, ("spec", "configs", index))


def _service(service: RateLimitService, path: FieldPath) -> Iterator[Problem]:
    if service.host:
        yield from common.host(service.host, (*path, "host"), wildcard=False)
        if service.port:
            yield from common.port(service.port, (*path, "port"))
        else:
            hint = "name the port at which the service takes gRPC; examples of ASM have 8081"
            yield error("missing-field", "port is missing", path=(*path, "port"), hint=hint)
    elif service.port:
        message = f"port {service.port} is of no service, since host is missing"
        hint = "name the service, or leave both out for Fairlead's own"
        yield error("missing-field", message, path=(*path, "host"), hint=hint)
    if service.timeout is not None:
        yield from _timeout(service.timeout, (*path, "timeout"))


def _timeout(timeout: Span, path: FieldPath) -> Iterator[Problem]:
    if not 0 <= timeout.nanos < 1_000_000_000:
        yield error("out-of-range", f"{timeout.nanos} is no part of a second", path=(*path, "nanos"))
    elif not 0 <= timeout.seconds <= _LONGEST_TIMEOUT:
        message = f"a timeout of {timeout.seconds} s is longer than an hour, or negative"
        yield error("out-of-range", message, path=(*path, "seconds"))
    elif timeout.seconds * 1_000_000_000 + timeout.nanos < 1_000_000:
        hint = "Envoy waits for a millisecond at least"
        yield error("out-of-range", "the timeout is too short", path=path, hint=hint)


def _config(config: GlobalRateLimit, path: FieldPath) -> Iterator[Problem]:
    yield from governing.requests(config, path)
    yield from _limit(config.limit, (*path, "limit"))
    yield from governing.overrides([override.request_match for override in config.limit_overrides], path)
    for index, override in enumerate(config.limit_overrides):
        yield from _limit(override.limit, (*path, "limit_overrides", index, "limit"))


def _limit(limit: GlobalLimitConfig, path: FieldPath) -> Iterator[Problem]:
    if limit.quota < 0:
        message = f"a quota of {limit.quota} is negative"
        yield error("out-of-range", message, path=(*path, "quota"), hint="0 lets nothing pass")
