"""Rules for kinds of Alibaba Cloud Service Mesh."""

from collections.abc import Callable, Iterable
from typing import Any

from fairlead.models.asm.circuit_breaker import ASMCircuitBreaker
from fairlead.models.asm.credential import ASMCredential
from fairlead.models.asm.global_rate_limiter import ASMGlobalRateLimiter
from fairlead.models.asm.local_rate_limiter import ASMLocalRateLimiter
from fairlead.models.asm.scheduling import KINDS
from fairlead.models.base import KubernetesObject
from fairlead.problems import Problem
from fairlead.validation.asm.circuit_breaker import circuit_breaker
from fairlead.validation.asm.credential import credential
from fairlead.validation.asm.global_rate_limiter import global_rate_limiter
from fairlead.validation.asm.local_rate_limiter import local_rate_limiter
from fairlead.validation.asm.scheduling import scheduling_policy

RULES: dict[type[KubernetesObject], Callable[[Any], Iterable[Problem]]] = {
    ASMCircuitBreaker: circuit_breaker,
    ASMCredential: credential,
    ASMGlobalRateLimiter: global_rate_limiter,
    ASMLocalRateLimiter: local_rate_limiter,
    **dict.fromkeys(KINDS, scheduling_policy),
}
"""The rules of each kind."""
