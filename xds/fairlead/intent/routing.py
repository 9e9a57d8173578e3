"""What is done with requests: routes, their actions, virtual hosts."""

import enum
from dataclasses import dataclass

from fairlead.intent.backends import Backend
from fairlead.intent.base import Nanoseconds, Origin, PartsPerMillion
from fairlead.intent.governance import RoutePolicy
from fairlead.intent.matching import Match, StringMatch
from fairlead.problems import FieldPath, Problem


@dataclass(frozen=True, slots=True)
class HeaderOperations:
    """Changes of headers: values that replace, values that are appended, names that are removed."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()

    def then(self, other: "HeaderOperations") -> "HeaderOperations":
        """These operations followed by others."""
        return HeaderOperations(self.set + other.set, self.add + other.add, self.remove + other.remove)


@dataclass(frozen=True, slots=True)
class Destination:
    """A share of the requests of a route."""

    backend: Backend | None
    """None when the reference cannot be resolved: this share is answered with `Forward.unresolved_status`."""
    weight: int = 1
    """Relative to the other destinations of the route; positive."""
    request_headers: HeaderOperations = HeaderOperations()
    response_headers: HeaderOperations = HeaderOperations()
    host: str = ""
    """Replaces the request's host for this share, when not empty."""
    missing: Problem | None = None
    """Why there is no such backend, so that proxies go on with routes that they have rather than take this one."""


@dataclass(frozen=True, slots=True)
class Retry:
    """When a request is tried again."""

    attempts: int
    """Additional attempts, at least 1."""
    conditions: tuple[str, ...]
    """Envoy's names, as in `x-envoy-retry-on`."""
    status_codes: tuple[int, ...] = ()
    per_try_timeout: Nanoseconds | None = None
    backoff: Nanoseconds | None = None
    """Base of the exponential back-off; None for the proxy's own (25 ms)."""
    avoid_previous_hosts: bool = True
    any_locality: bool = False
    """Later attempts leave the localities that failed."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of a share of the requests, whose answers are dropped."""

    backend: Backend
    share: PartsPerMillion = 1_000_000


class PathRewriteKind(enum.Enum):
    """How a path is rewritten."""

    PREFIX = "prefix"
    """The part that the route's path match took is replaced."""
    FULL = "full"
    """The whole path is replaced, the query stays."""
    REGEX = "regex"
    """What `pattern` finds is replaced."""


@dataclass(frozen=True, slots=True)
class PathRewrite:
    """A change of the path."""

    kind: PathRewriteKind
    value: str
    """The new text; for REGEX a substitution with `\\1` and so on."""
    pattern: str = ""
    """RE2, for REGEX only."""


class HashKeyKind(enum.Enum):
    """What a consistent hash is computed from."""

    HEADER = "header"
    COOKIE = "cookie"
    QUERY_PARAMETER = "query-parameter"
    SOURCE_IP = "source-ip"


@dataclass(frozen=True, slots=True)
class HashKey:
    """The part of a request that decides to which endpoint it sticks."""

    kind: HashKeyKind
    name: str = ""
    """Of the header, cookie or query parameter."""
    cookie_ttl: Nanoseconds | None = None
    """Set: the proxy makes the cookie when the request has none; 0 makes a session cookie."""
    cookie_path: str = ""
    cookie_attributes: tuple[tuple[str, str], ...] = ()
    """Names and values; an empty value is none."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request to a backend."""

    destinations: tuple[Destination, ...]
    timeout: Nanoseconds | None = None
    """For the whole request with its retries; None for no limit."""
    retry: Retry | None = None
    path_rewrite: PathRewrite | None = None
    host: str = ""
    """Replaces the request's host, when not empty."""
    mirrors: tuple[Mirror, ...] = ()
    hash_keys: tuple[HashKey, ...] = ()
    unresolved_status: int = 503
    """Answer to the share of a destination without backend."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with a redirect; parts that are not given are the request's own."""

    status: int
    """301, 302, 303, 307 or 308."""
    scheme: str = ""
    host: str = ""
    port: int | None = None
    path: PathRewrite | None = None
    """Of kind PREFIX or FULL."""


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """Answer at once."""

    status: int
    body: bytes = b""


Action = Forward | Redirect | DirectResponse


@dataclass(frozen=True, slots=True)
class Fault:
    """Faults that are injected into a share of the requests."""

    delay: Nanoseconds | None = None
    delay_share: PartsPerMillion = 0
    abort_status: int | None = None
    """HTTP status; at most one of this and `abort_grpc_status` is set."""
    abort_grpc_status: int | None = None
    abort_share: PartsPerMillion = 0


@dataclass(frozen=True, slots=True)
class Cors:
    """Cross-origin resource sharing."""

    allow_origins: tuple[StringMatch, ...]
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Nanoseconds | None = None
    allow_credentials: bool = False
    forward_unmatched_preflights: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """Requests that match, and what is done with them. The first route that matches takes the request."""

    name: str
    match: Match
    action: Action
    origin: Origin
    request_headers: HeaderOperations = HeaderOperations()
    response_headers: HeaderOperations = HeaderOperations()
    fault: Fault | None = None
    cors: Cors | None = None
    path: FieldPath = ()
    """Where it is written in the last object of `origin`: for people only."""
    stat_prefix: str = ""
    """Name of the route's own statistics; empty for none."""
    policies: tuple[RoutePolicy, ...] = ()
    """What else becomes of its requests: of each kind one at most."""


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """The routes of one host name."""

    name: str
    """`host:port`, as Istio names it; unique in its route table."""
    domains: tuple[str, ...]
    """Host names, without port unless the route table is one `with_ports`; `*.x` and `*` are wildcards."""
    routes: tuple[Route, ...]
    origin: Origin
    require_tls: bool = False
    """Plaintext requests are redirected to https."""
    attempt_count: bool = True
    """Services are told how often a request has been tried."""
    forwarded_host: bool = False
    """Services are told the host that the client asked for, where it is replaced (`x-forwarded-host`)."""
