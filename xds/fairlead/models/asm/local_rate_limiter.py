"""Limits of requests that each proxy counts for itself."""

from typing import ClassVar

import msgspec

from fairlead.models.asm.governing import Governed, GoverningSpec, RequestMatcher, Span
from fairlead.models.base import KubernetesObject, Model
from fairlead.models.istio.common import Int32


class LimitConfig(Model, frozen=True, kw_only=True, rename="lower"):
    """A token bucket, and the answer to requests that find it empty."""

    fill_interval: Span
    quota: Int32
    """Size of the bucket, and what is added in each interval."""
    status: Int32 = 429
    per_downstream_connection: bool = False
    custom_response_body: str | None = None
    response_headers_to_add: dict[str, str] = msgspec.field(default_factory=dict)
    response_header_to_add: dict[str, str] = msgspec.field(default_factory=dict)
    """The older name of the same."""


class LimitOverride(Model, frozen=True, kw_only=True, rename="lower"):
    """Requests that have a bucket of their own instead."""

    request_match: RequestMatcher
    limit: LimitConfig


class LocalRateLimit(Governed, frozen=True, kw_only=True, rename="lower"):
    """A limit, and the requests that it is for."""

    limit: LimitConfig
    limit_overrides: tuple[LimitOverride, ...] = ()


class ASMLocalRateLimiterSpec(GoverningSpec, frozen=True, kw_only=True):
    """Limits of the requests that each of the selected proxies lets pass."""

    configs: tuple[LocalRateLimit, ...] = ()


class ASMLocalRateLimiter(KubernetesObject, frozen=True, kw_only=True):
    """Limits of requests, counted by each proxy for itself."""

    group: ClassVar[str] = "istio.alibabacloud.com"
    kind: ClassVar[str] = "ASMLocalRateLimiter"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")

    spec: ASMLocalRateLimiterSpec
