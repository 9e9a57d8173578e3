"""ASMGlobalRateLimiters: limits that a service counts for all proxies together.

Proxies tell the service by a descriptor which limit a request belongs to; how many requests may pass is known to the
service alone, so that another quota is nothing that proxies are sent.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fairlead.derive import Input, derived, derived_index, derived_map
from fairlead.intent import (
    RUNTIME,
    Backend,
    Condition,
    CountedDescriptor,
    CountedRequests,
    GlobalLimit,
    RateLimitDomain,
    RateLimitService,
    Requests,
    RuleName,
    StringMatchKind,
    UpstreamProtocol,
    ValueMatch,
    ways,
)
from fairlead.models.asm.global_rate_limiter import (
    ASMGlobalRateLimiter,
    ASMGlobalRateLimiterSpec,
    GlobalLimitConfig,
    GlobalRateLimit,
    Unit,
)
from fairlead.models.asm.governing import Traffic
from fairlead.problems import ObjectKey, Problem, Related, warning
from fairlead.resolve import clusters, services
from fairlead.resolve.governance import requests, rules
from fairlead.resolve.governance.rules import Kind, Policy
from fairlead.resolve.scope import Selection
from fairlead.world import ObjectName, World

OWN_DOMAIN = "fairlead"
"""Of limits that name no service."""
_DEFAULT_TIMEOUT = 1_000_000_000
"""Envoy's own, 20 ms, is less than a busy service takes for an answer: requests would pass that are not counted."""
_WINDOWS = {Unit.SECOND: 1, Unit.MINUTE: 60, Unit.HOUR: 3600, Unit.DAY: 86_400}


# --- What proxies do --------------------------------------------------------------------------------------------------


def _policy(name: RuleName, spec: ASMGlobalRateLimiterSpec, config: GlobalRateLimit) -> Policy:
    service = _service(name.key, spec)
    counted = tuple(counted for counted, _ in _counted(name, spec, config))
    return Policy(GlobalLimit(name, service, counted), service)


def _service(key: ObjectKey, spec: ASMGlobalRateLimiterSpec) -> RateLimitService:
    written = spec.rate_limit_service
    timeout = written.timeout
    return RateLimitService(
        domain=_domain(key, spec),
        backend=Backend(services.qualify(written.host, key.namespace), written.port) if written.host else RUNTIME,
        timeout=_DEFAULT_TIMEOUT if timeout is None else timeout.seconds * 1_000_000_000 + timeout.nanos,
        fail_closed=written.failure_mode_deny,
    )


def _domain(key: ObjectKey, spec: ASMGlobalRateLimiterSpec) -> str:
    host = spec.rate_limit_service.host
    return services.qualify(host, key.namespace) if host else OWN_DOMAIN


# --- What is counted --------------------------------------------------------------------------------------------------


def _counted(
    name: RuleName, spec: ASMGlobalRateLimiterSpec, config: GlobalRateLimit
) -> Iterator[tuple[CountedRequests, GlobalLimitConfig]]:
    """Requests of an entry of `configs` that are counted together, and their limit.

    The first override that matches is instead of all others, and of the limit itself, whatever service counts: so each
    has the conditions that those before it do not hold.
    """
    identity = _identity(name, spec)
    root = _value(name.key, identity)
    holding, failing = requests.only(config), list[Requests]()
    for number, override in enumerate(config.limit_overrides):
        match = override.request_match
        own = requests.matching(match)
        names = requests.headers_with_values(match), requests.query_parameters_with_values(match)
        found = ways((_joined(holding, own),), failing)
        yield _requests((root, _value(name.key, f"{identity}/{number}")), found, *names), override.limit
        if _is_invertible(own):
            holding = _joined(holding, Requests((_inverted(own.headers[0]),)))
        else:
            failing.append(own)
    yield _requests((root, root), ways((holding,), failing)), config.limit


def _requests(
    values: tuple[str, str],
    found: tuple[tuple[Condition, ...], ...],
    by_header: tuple[str, ...] = (),
    by_query_parameter: tuple[str, ...] = (),
) -> CountedRequests:
    """`values`: what the service knows the limit by, and what it knows these requests by."""
    root, own = values
    conditions = [("header_match", own)] * max(map(len, found))
    each = [(name, "") for name in (*by_header, *by_query_parameter)]
    return CountedRequests((("generic_key", root), *conditions, *each), found, by_header, by_query_parameter)


def _joined(one: Requests, other: Requests) -> Requests:
    return Requests(one.headers + other.headers, one.query_parameters + other.query_parameters)


def _is_invertible(requests: Requests) -> bool:
    """Whether the requests are those with one header, and all others are those without it.

    An absent header is not the same as an empty one, except where an empty one does not match either.
    """
    if len(requests.headers) != 1 or requests.query_parameters:
        return False
    value = requests.headers[0].value
    return value is None or (value.kind is not StringMatchKind.REGEX and bool(value.value))


def _inverted(match: ValueMatch) -> ValueMatch:
    return ValueMatch(match.name, match.value, invert=not match.invert)


def _identity(name: RuleName, spec: ASMGlobalRateLimiterSpec) -> str:
    """What an entry of `configs` is known by, even when others come before it: its name, if that is its own."""
    written = [config.name for config in spec.configs]
    own = written[name.number]
    return own if own and own not in written[: name.number] else f"#{name.number}"


def _value(key: ObjectKey, identity: str) -> str:
    """What the service knows requests by: the text that ASM uses."""
    return f"RateLimit[{key.name}.{key.namespace}]-Id[{zlib.crc32(identity.encode())}]"


# Envoy's filter passes by what has no cluster: redirects and direct responses.
GLOBAL_LIMITS = Kind(ASMGlobalRateLimiter, _policy, Traffic.SIDECAR_INBOUND, only_forwarded=True)


# --- Whether proxies can ask ------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A service that users run."""

    service: RateLimitService
    key: ObjectKey
    """The object that names it."""


@derived
def asked(world: World, selection: Selection) -> frozenset[Asked]:
    """The services that proxies of a selection ask, for what comes to their workloads as well."""
    found = (rule for traffic in Traffic for rule in rules.of_selection(world, GLOBAL_LIMITS, selection, traffic))
    return frozenset(
        Asked(service, rule.key)
        for rule in found
        if isinstance(service := rule.policy.for_connections, RateLimitService) and service.backend != RUNTIME
    )


def unusable(world: World, selection: Selection, found: Asked) -> tuple[Problem, ...]:
    """Why proxies of a selection get no answer from a service."""
    service, path = found.service, ("spec", "rateLimitService")
    effect = "all requests are refused" if service.fail_closed else "nothing is limited"
    host, port = service.backend.host, service.backend.port
    view = services.find(world, selection.namespace, host)
    if view is None:
        message = f"no service {host} is known to proxies in namespace {selection.namespace}, so that {effect}"
        hint = "add a Service or ServiceEntry of that name, or leave rateLimitService out for Fairlead's own"
        return (warning("unknown-service", message, key=found.key, path=(*path, "host"), hint=hint),)
    if view.port(port) is None:
        known = ", ".join(str(port.number) for port in view.ports) or "none"
        message = f"{view.key} has no port {port} (its ports are {known}), so that {effect}"
        hint = "name the port at which the service takes gRPC"
        return (warning("unknown-port", message, key=found.key, path=(*path, "port"), hint=hint),)
    cluster = clusters.cluster(world, selection.viewer, service.backend).value
    if cluster is None or cluster.protocol is UpstreamProtocol.HTTP2:
        return ()
    return (
        warning(
            "not-grpc",
            f"port {port} of {view.key} is not said to speak gRPC, which it has to, so that {effect}",
            key=found.key,
            path=(*path, "port"),
            hint="give the port of the Service the name grpc, or appProtocol: grpc; that of a ServiceEntry, "
            "protocol: GRPC",
            related=(Related("here", view.key, ("spec", "ports")),),
        ),
    )


# --- What services know -----------------------------------------------------------------------------------------------


def _objects(world: World) -> Input[ObjectName, ASMGlobalRateLimiter]:
    return world.objects(ASMGlobalRateLimiter)


@derived_map(_objects)
def of_object(world: World, name: ObjectName) -> RateLimitDomain | None:
    """What an object adds to the domain of its service."""
    found = _objects(world).get(name)
    if found is None:
        return None
    descriptors: dict[tuple[tuple[str, str], ...], CountedDescriptor] = {}
    for number, config in enumerate(found.spec.configs):
        for counted, limit in _counted(RuleName(found.key, number), found.spec, config):
            descriptor = CountedDescriptor(counted.entries, limit.quota, _WINDOWS[limit.unit], found.key)
            descriptors.setdefault(counted.entries, descriptor)
    return RateLimitDomain(_domain(found.key, found.spec), tuple(descriptors.values()))


@derived_index(of_object)
def _by_domain(_world: World, _name: ObjectName, found: RateLimitDomain) -> Iterable[str]:
    return (found.name,)


@derived_map(_by_domain)
def _domains(world: World, domain: str) -> RateLimitDomain:
    names = sorted(_by_domain(world).get(domain) or ())
    found = (of_object(world).get(name) for name in names)
    return RateLimitDomain(domain, tuple(item for one in found if one is not None for item in one.descriptors))


@derived
def domains(world: World) -> tuple[RateLimitDomain, ...]:
    """What services have to know of all objects, whether or not proxies are limited by them; ordered by name."""
    found = (_domains(world).get(name) for name in sorted(_domains(world).keys()))
    return tuple(domain for domain in found if domain is not None)
