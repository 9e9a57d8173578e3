"""Limits of requests that a service counts for many proxies."""

import enum
from typing import ClassVar

from fairlead.models.asm.governing import Governed, GoverningSpec, RequestMatcher, Span
from fairlead.models.base import KubernetesObject, Model
from fairlead.models.istio.common import Int32, UInt32


class RateLimitService(Model, frozen=True, kw_only=True, rename="lower"):
    """Who counts: any service of Envoy's `envoy.service.ratelimit.v3.RateLimitService`."""

    host: str = ""
    """Name of a service, which is its domain too; empty for Fairlead's own."""
    port: UInt32 = 0
    timeout: Span | None = None
    """How long a request waits for the service's answer."""
    failure_mode_deny: bool = False
    """Requests are refused while the service does not answer. ASM has no such field."""


class Unit(enum.Enum):
    """A window of time: what is counted begins anew with each."""

    SECOND = "SECOND"
    MINUTE = "MINUTE"
    HOUR = "HOUR"
    DAY = "DAY"


class GlobalLimitConfig(Model, frozen=True, kw_only=True, rename="lower"):
    """How many requests pass in each window of time, at all proxies together."""

    unit: Unit
    quota: Int32


class GlobalLimitOverride(Model, frozen=True, kw_only=True, rename="lower"):
    """Requests that are counted by themselves instead."""

    request_match: RequestMatcher
    limit: GlobalLimitConfig


class GlobalRateLimit(Governed, frozen=True, kw_only=True, rename="lower"):
    """A limit, and the requests that it is for."""

    limit: GlobalLimitConfig
    limit_overrides: tuple[GlobalLimitOverride, ...] = ()


class ASMGlobalRateLimiterSpec(GoverningSpec, frozen=True, kw_only=True):
    """Limits of the requests that the selected proxies let pass together."""

    rate_limit_service: RateLimitService = RateLimitService()
    configs: tuple[GlobalRateLimit, ...] = ()


class ASMGlobalRateLimiter(KubernetesObject, frozen=True, kw_only=True):
    """Limits of requests, counted for all proxies together."""

    group: ClassVar[str] = "istio.alibabacloud.com"
    kind: ClassVar[str] = "ASMGlobalRateLimiter"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")

    spec: ASMGlobalRateLimiterSpec
