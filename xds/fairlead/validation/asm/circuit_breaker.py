"""Rules for ASMCircuitBreakers."""

from collections.abc import Iterator

from fairlead.models.asm.circuit_breaker import (
    ASMCircuitBreaker,
    BreakerConfig,
    CircuitBreaking,
    CustomResponse,
    Percent,
)
from fairlead.problems import FieldPath, Problem, error
from fairlead.validation import common
from fairlead.validation.asm import governing

_SHORTEST_WINDOW = 10_000_000
"""Nanoseconds."""
_LONGEST_WINDOW = 12_000_000_000
"""Nanoseconds; ASM's documentation."""
_MOST_BODY = 1 << 16
"""Bytes: it is part of each route."""
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding"})
"""Headers that Envoy writes by itself."""


def circuit_breaker(obj: ASMCircuitBreaker) -> Iterator[Problem]:
    """What is wrong with an ASMCircuitBreaker."""
    yield from governing.proxies(obj.spec, obj.spec.configs, "watched")
    for index, config in enumerate(obj.spec.configs):
        yield from _config(config, ("spec", "configs", index))


def _config(config: CircuitBreaking, path: FieldPath) -> Iterator[Problem]:
    yield from governing.requests(config, path)
    if config.match is not None and config.match.vhost.route.header_match:
        yield error(
            "unsupported-field",
            "a breaker cannot be for requests with some headers only; the object is not served",
            path=(*path, "match", "vhost", "route", "header_match"),
            hint="give these requests a route of their own in the VirtualService, and name it in name_match",
        )
    where = (*path, "breaker_config")
    yield from _times(config.breaker_config, where)
    yield from _conditions(config.breaker_config, where)
    yield from _response(config.breaker_config.custom_response, (*where, "custom_response"))


def _times(config: BreakerConfig, path: FieldPath) -> Iterator[Problem]:
    if not _SHORTEST_WINDOW <= config.window_size <= _LONGEST_WINDOW:
        message = f"a window of {config.window_size / 1e9:g} s is not between 10 ms and 12 s"
        yield error("out-of-range", message, path=(*path, "window_size"))
    for field in ("break_duration", "slow_request_rt", "average_request_rt"):
        if getattr(config, field) == 0:
            yield error("out-of-range", f"{field} is 0", path=(*path, field), hint="write a duration such as 0.5s")


def _conditions(config: BreakerConfig, path: FieldPath) -> Iterator[Problem]:
    if config.max_slow_requests is not None and config.slow_request_rt is None:
        message = "max_slow_requests without slow_request_rt: nothing says which requests are slow"
        yield error("missing-field", message, path=(*path, "max_slow_requests"), hint="write slow_request_rt")
    elif config.max_slow_requests is None and config.slow_request_rt is not None:
        message = "slow_request_rt without max_slow_requests: nothing says how many slow requests are too many"
        yield error("missing-field", message, path=(*path, "slow_request_rt"), hint="write max_slow_requests")
    elif config.max_slow_requests == 0:
        message = "max_slow_requests is 0; the circuit opens with the request of this number, 1 is the least"
        yield error("out-of-range", message, path=(*path, "max_slow_requests"))
    elif all(
        found is None
        for found in (
            config.max_slow_requests,
            config.average_request_rt,
            config.error_percent,
            config.gateway_error_percent,
        )
    ):
        hint = "write slow_request_rt and max_slow_requests, error_percent, gateway_error_percent or average_request_rt"
        yield error("missing-field", "nothing says when the circuit opens", path=path, hint=hint)
    yield from _share(config.error_percent, (*path, "error_percent"))
    yield from _share(config.gateway_error_percent, (*path, "gateway_error_percent"))


def _share(percent: Percent | None, path: FieldPath) -> Iterator[Problem]:
    if percent is not None and not 1 <= percent.value <= 100:
        yield error("out-of-range", f"{percent.value} % is not between 1 % and 100 %", path=(*path, "value"))


def _response(response: CustomResponse, path: FieldPath) -> Iterator[Problem]:
    yield from common.status(response.status_code, (*path, "status_code"))
    for name, value in response.header_to_add.items():
        where = (*path, "header_to_add", name)
        yield from common.header_name(name, where)
        yield from common.header_value(value, where)
        if name.lower() in _FRAMING:
            yield error("invalid-header", f"{name} is what the proxy itself writes", path=where, hint="leave it out")
    if response.body == "":
        yield error("missing-field", "the body is empty", path=(*path, "body"), hint="leave it out for none")
    elif response.body is not None and (size := len(response.body.encode())) > _MOST_BODY:
        message = f"the body has {size} bytes, {_MOST_BODY} are allowed"
        yield error("out-of-range", message, path=(*path, "body"), hint="answer with a redirect to where it is")
