"""ASMCircuitBreakers: requests that do not reach services which are too slow or fail too often."""

from dataclasses import replace

from fairlead.intent import Breaker, BrokenAnswer, RouteBreaker, RuleName
from fairlead.models.asm.circuit_breaker import (
    ASMCircuitBreaker,
    ASMCircuitBreakerSpec,
    BreakerConfig,
    CircuitBreaking,
    CustomResponse,
    Percent,
)
from fairlead.models.asm.governing import Traffic
from fairlead.resolve.governance.rules import ANY_HOST, Kind, Policy, Rule, Target


def _policy(name: RuleName, _spec: ASMCircuitBreakerSpec, config: CircuitBreaking) -> Policy:
    written = config.breaker_config
    return Policy(RouteBreaker(name, _breaker(written), _answer(written.custom_response)))


def _breaker(config: BreakerConfig) -> Breaker:
    return Breaker(
        window=config.window_size,
        break_duration=config.break_duration,
        slow_time=config.slow_request_rt or 0,
        slow_requests=config.max_slow_requests or 0,
        average_time=config.average_request_rt or 0,
        error_percent=_percent(config.error_percent),
        gateway_error_percent=_percent(config.gateway_error_percent),
        least_requests=config.min_request_amount,
    )


def _percent(percent: Percent | None) -> int:
    return 0 if percent is None else percent.value


def _answer(response: CustomResponse) -> BrokenAnswer:
    return BrokenAnswer(response.status_code, tuple(sorted(response.header_to_add.items())), response.body or "")


def of_circuit(breaker: RouteBreaker, rule: Rule, target: Target) -> RouteBreaker:
    """The breaker of a route, which shares its circuit with those that the rule names together.

    These are the routes of a host and port, or those with the name that the rule has; virtual hosts of one
    VirtualService are one host. A rule for all hosts has a circuit for each.
    """
    host = min(target.names) if rule.host == ANY_HOST else rule.host
    ports = ",".join(map(str, sorted(target.ports)))
    return replace(breaker, circuit=f"{host}|{ports}|{rule.route}")


BREAKERS = Kind(ASMCircuitBreaker, _policy, Traffic.SIDECAR_OUTBOUND, only_forwarded=True)
