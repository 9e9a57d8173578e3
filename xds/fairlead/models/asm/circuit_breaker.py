"""Breakers: when the answers of a service are too slow or too often errors, it gets no requests for a while."""

from typing import ClassVar

import msgspec

from fairlead.models.asm.governing import Governed, GoverningSpec
from fairlead.models.base import Duration, KubernetesObject, Model
from fairlead.models.istio.common import Int32, UInt32


class Percent(Model, frozen=True, kw_only=True, rename="lower"):
    """A share."""

    value: Int32 = 0


class CustomResponse(Model, frozen=True, kw_only=True, rename="lower"):
    """What is answered in place of the service."""

    status_code: Int32 = 503
    header_to_add: dict[str, str] = msgspec.field(default_factory=dict)
    body: str | None = None


class BreakerConfig(Model, frozen=True, kw_only=True, rename="lower"):
    """When the circuit opens: one of the conditions is enough."""

    window_size: Duration = Duration(10_000_000_000)
    """Requests that have ended before are not counted."""
    break_duration: Duration = Duration(30_000_000_000)
    """How long it stays open."""
    slow_request_rt: Duration | None = None
    """What takes longer is slow."""
    max_slow_requests: UInt32 | None = None
    """With so many slow requests it opens."""
    average_request_rt: Duration | None = None
    """When requests take longer on average it opens."""
    error_percent: Percent | None = None
    """With this share of 5xx it opens."""
    gateway_error_percent: Percent | None = None
    """With this share of 502, 503, 504 it opens."""
    min_request_amount: UInt32 = 0
    """With fewer requests, average and shares say nothing."""
    custom_response: CustomResponse = CustomResponse()


class CircuitBreaking(Governed, frozen=True, kw_only=True, rename="lower"):
    """A breaker, and the requests that it is for."""

    breaker_config: BreakerConfig


class ASMCircuitBreakerSpec(GoverningSpec, frozen=True, kw_only=True):
    """Breakers, which each of the selected proxies has for itself."""

    configs: tuple[CircuitBreaking, ...] = ()


class ASMCircuitBreaker(KubernetesObject, frozen=True, kw_only=True):
    """Keeps requests from services that are too slow or fail too often."""

    group: ClassVar[str] = "istio.alibabacloud.com"
    kind: ClassVar[str] = "ASMCircuitBreaker"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")

    spec: ASMCircuitBreakerSpec
