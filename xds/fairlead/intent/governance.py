"""What becomes of requests beside their routes: limits that each proxy counts, or a service for all; breakers."""

import enum
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.intent.backends import RUNTIME, Backend
from fairlead.intent.base import Nanoseconds, Origin
from fairlead.intent.conditions import Condition, Requests
from fairlead.problems import ObjectKey


class RuleName(NamedTuple):
    """Which part of which object says so."""

    key: ObjectKey
    number: int
    """In the object's `configs`."""

    def __str__(self) -> str:
        return f"{self.key.namespace}/{self.key.name}/{self.number}"


# --- Limits that each proxy counts for itself -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """It is full at first, each request takes one token, and in each interval as many come back as it holds."""

    size: int
    interval: Nanoseconds


@dataclass(frozen=True, slots=True)
class LimitOverride:
    """Requests that have a bucket of their own, and take nothing from that of the limit."""

    requests: Requests
    bucket: TokenBucket
    by_header: tuple[str, ...] = ()
    """There is a bucket for each value of these headers ..."""
    by_query_parameter: tuple[str, ...] = ()
    """... and of these query parameters."""


@dataclass(frozen=True, slots=True, order=True)
class Rejection:
    """The answer to a request that finds its bucket empty, except for the body, which is the route's."""

    status: int = 429
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """A limit that routes share: what all of them take comes from one bucket."""

    name: RuleName
    """What routes call it by; unique."""
    bucket: TokenBucket
    only: Requests = Requests()
    """Other requests are not limited."""
    overrides: tuple[LimitOverride, ...] = ()
    """The first whose conditions hold is taken."""
    rejection: Rejection = Rejection()
    per_connection: bool = False
    """Each connection has buckets of its own."""


class LimitFilter(NamedTuple):
    """The limits of a proxy whose requests are rejected alike: what enforces them is known to it by one name."""

    inbound: bool
    """They are for what comes to the workload of a sidecar; else for all that leaves the proxy."""
    per_connection: bool
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class RouteLimit:
    """That a route is limited."""

    name: RuleName
    """Of the RequestLimit."""
    body: str = ""
    """Of the answer to requests above the limit; empty for Envoy's own."""


# --- Limits that a service counts -------------------------------------------------------------------------------------


class RateLimitService(NamedTuple):
    """A service that proxies ask for each request whether it is above a limit."""

    domain: str
    """What its limits belong to."""
    backend: Backend
    timeout: Nanoseconds
    """How long a request waits for the answer."""
    fail_closed: bool = False
    """Without an answer requests are refused; else they pass."""


@dataclass(frozen=True, slots=True)
class CountedRequests:
    """Requests that the service counts together, or by the values of something."""

    entries: tuple[tuple[str, str], ...]
    """What the service is asked for, as in `CountedDescriptor`: the first one names the limit; one for each condition
    of the longest of `ways` follows; then for each of what has values one without a value."""
    ways: tuple[tuple[Condition, ...], ...]
    """They exclude each other: a request is counted when all conditions of one of them hold."""
    by_header: tuple[str, ...] = ()
    by_query_parameter: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GlobalLimit:
    """That requests of a route are counted by a service, which alone knows how many of them may pass."""

    name: RuleName
    service: RateLimitService
    counted: tuple[CountedRequests, ...]
    """No request is among two of them."""


# --- Breakers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a circuit opens: when one of the thresholds is reached that are not 0."""

    window: Nanoseconds
    """Requests that have ended before are not counted."""
    break_duration: Nanoseconds
    """How long it stays open."""
    slow_time: Nanoseconds = 0
    """What takes longer is slow."""
    slow_requests: int = 0
    average_time: Nanoseconds = 0
    error_percent: int = 0
    """Of 5xx."""
    gateway_error_percent: int = 0
    """Of 502, 503, 504."""
    least_requests: int = 0
    """With fewer, average and shares say nothing."""


@dataclass(frozen=True, slots=True)
class BrokenAnswer:
    """What is answered while the circuit is open."""

    status: int = 503
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""


@dataclass(frozen=True, slots=True)
class RouteBreaker:
    """That a route has a breaker."""

    name: RuleName
    breaker: Breaker
    answer: BrokenAnswer = BrokenAnswer()
    circuit: str = ""
    """What is counted together, of those that have this breaker."""


class CommonFilter(enum.Enum):
    """Filters that are the same for all connections, and on all proxies."""

    BREAKER = "breaker"


# --- Scheduling -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RouteScheduling:
    """That requests of a route pass, or wait, as a policy says that is decided outside of proxies."""

    name: RuleName
    """Of the SchedulingPolicy."""
    selectors: tuple[int, ...]
    """The policy's selectors that are about the route."""


class SchedulingFilter(NamedTuple):
    """What is the same for all routes that ask our own services whether, and when, a request passes."""

    withheld: tuple[str, ...]
    """Headers that the services are not told: they are secrets, and no policy asks for them."""


# --- All of them ------------------------------------------------------------------------------------------------------

RoutePolicy = RouteLimit | GlobalLimit | RouteBreaker | RouteScheduling
"""What becomes of the requests of a route; each has a `name`."""
DiscoveredFilter = LimitFilter | CommonFilter
"""A filter that is told apart from listeners, so that a change of it changes none of them."""


@dataclass(frozen=True, slots=True)
class Governance:
    """What connections have to know of the policies of their routes."""

    limits: tuple[LimitFilter, ...] = ()
    rate_limit_services: tuple[RateLimitService, ...] = ()
    """Those that count requests of routes."""
    breakers: bool = False
    """Whether routes may have some."""
    scheduling: SchedulingFilter | None = None
    """There where routes may ask our own services whether, and when, a request passes."""
    origin: Origin = ()

    @property
    def backends(self) -> tuple[Backend, ...]:
        """Who is asked about requests, or told of them."""
        asked = [service.backend for service in self.rate_limit_services]
        told = self.limits or self.breakers or self.scheduling is not None
        return tuple(dict.fromkeys((*asked, RUNTIME) if told else asked))
