"""The intermediate representation: what a proxy shall do, without a word of where it was written or of Envoy.

`fairlead.resolve` writes it from all dialects; `fairlead.render` turns it into Envoy messages and reads nothing else.
Order is meaning: routes are tried first to last, the first filter chain that matches serves. Every node that can be
at fault carries `origin`, the objects that it comes from. All types are immutable and compared by value.

Durations are whole nanoseconds, fractions whole parts per million.
"""

import enum
from dataclasses import dataclass, field

from fairlead.problems import ObjectKey

Origin = tuple[ObjectKey, ...]
Nanoseconds = int
PartsPerMillion = int


# --- What requests are matched by -------------------------------------------------------------------------------------


class StringMatchKind(enum.Enum):
    """How a text is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"
    """RE2, on the whole text."""


@dataclass(frozen=True, slots=True)
class StringMatch:
    """A comparison of a text."""

    kind: StringMatchKind
    value: str
    ignore_case: bool = False


class PathMatchKind(enum.Enum):
    """How the path of a request, without its query, is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    """Of the text: `/a` matches `/ab`."""
    SEGMENT_PREFIX = "segment-prefix"
    """Of whole segments: `/a` matches `/a` and `/a/b`, not `/ab`. The value has no slash at its end."""
    REGEX = "regex"
    """RE2, on the whole path."""


@dataclass(frozen=True, slots=True)
class PathMatch:
    """A comparison of the request's path."""

    kind: PathMatchKind
    value: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A comparison of a header's or query parameter's value."""

    name: str
    """Name of the header (pseudo-headers such as `:method` too) or of the query parameter."""
    value: StringMatch | None
    """None: it is enough that the header or parameter is present."""
    invert: bool = False
    """The request matches when the comparison fails; an absent header counts as an empty one, unless `value` is
    None."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests a route takes; all parts must hold. Without parts: every request."""

    path: PathMatch | None = None
    headers: tuple[ValueMatch, ...] = ()
    query_parameters: tuple[ValueMatch, ...] = ()


# --- What is done with them -------------------------------------------------------------------------------------------


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
class Backend:
    """Identity of a group of endpoints: one port of a service, or of a subset of it. It names a cluster."""

    host: str
    """Fully qualified name of the service."""
    port: int
    """Number of the service's port, not of the endpoints'."""
    subset: str = ""
    """Name of the subset, empty for all endpoints."""


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


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """The routes of one host name."""

    name: str
    """`host:port`, as Istio names it; unique in its route table."""
    domains: tuple[str, ...]
    """Host names without port; `*.x` and `*` are wildcards."""
    routes: tuple[Route, ...]
    origin: Origin
    require_tls: bool = False
    """Plaintext requests are redirected to https."""


# --- What listens -----------------------------------------------------------------------------------------------------


class TlsVersion(enum.Enum):
    """Versions of TLS."""

    TLS_1_0 = "1.0"
    TLS_1_1 = "1.1"
    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclass(frozen=True, slots=True)
class TlsParameters:
    """Limits of a handshake; None and empty mean the proxy's defaults."""

    minimum: TlsVersion | None = None
    maximum: TlsVersion | None = None
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()


class ClientCertificates(enum.Enum):
    """What a server asks of its clients."""

    NOT_REQUESTED = "not-requested"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Validation:
    """How the certificate of the other side is checked."""

    authorities: str = ""
    """Name of the credential that holds the CA certificates, or empty."""
    system_authorities: bool = False
    """Trust the CA certificates of the proxy's host."""
    subject_alternative_names: tuple[str, ...] = ()
    """One of these must be in the certificate, exactly; empty: any."""
    spki_hashes: tuple[str, ...] = ()
    """Base64 SHA-256 of public keys that are accepted."""
    certificate_hashes: tuple[str, ...] = ()
    """Hexadecimal SHA-256 of certificates that are accepted."""
    accept_untrusted: bool = False
    """Certificates are asked for but not verified."""


@dataclass(frozen=True, slots=True)
class TlsTermination:
    """TLS ends at this filter chain."""

    credentials: tuple[str, ...]
    """Names of the credentials whose key pairs are presented."""
    client_certificates: ClientCertificates = ClientCertificates.NOT_REQUESTED
    validation: Validation | None = None
    parameters: TlsParameters = TlsParameters()
    alpn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpConnections:
    """Connections that carry HTTP, served by a route table."""

    route_table: str
    """Name of the route table."""
    stat_prefix: str
    server_name: str = "istio-envoy"
    """Value of the `server` header."""
    trusted_hops: int = 0
    """Number of trusted proxies in front, for `x-forwarded-for`."""
    grpc_web: bool = False


@dataclass(frozen=True, slots=True)
class WeightedBackend:
    """A share of the connections."""

    backend: Backend
    weight: int = 1


@dataclass(frozen=True, slots=True)
class TcpConnections:
    """Connections that are passed on byte by byte."""

    stat_prefix: str
    backends: tuple[WeightedBackend, ...]
    idle_timeout: Nanoseconds | None = None
    hash_source_ip: bool = False


@dataclass(frozen=True, slots=True)
class FilterChain:
    """What happens to the connections of a listener that match."""

    name: str
    server_names: tuple[str, ...]
    """Names that TLS clients ask for (SNI), `*.x` for wildcards; empty: any, and connections without TLS too."""
    tls: TlsTermination | None
    """None: nothing is decrypted here."""
    connections: HttpConnections | TcpConnections
    origin: Origin
    passthrough: bool = False
    """The chain takes only TLS connections, and passes them on undecrypted."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An address that is listened on, and its filter chains."""

    name: str
    address: str
    """IP address or, with port 0, absolute path of a unix socket."""
    port: int
    filter_chains: tuple[FilterChain, ...]
    origin: Origin
    wildcard: bool = True
    """The address was not chosen by the user, so a proxy may bind another one instead."""
    proxy_protocol: bool = False
    """Connections begin with a PROXY protocol header."""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """What is common to the virtual hosts of a route table; they themselves are looked up by its name."""

    name: str
    origin: Origin


# --- Where requests go ------------------------------------------------------------------------------------------------


class LoadBalancing(enum.Enum):
    """How an endpoint is chosen."""

    LEAST_REQUEST = "least-request"
    ROUND_ROBIN = "round-robin"
    RANDOM = "random"
    RING_HASH = "ring-hash"
    MAGLEV = "maglev"


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """How an endpoint is chosen, with the parameters of the algorithm."""

    algorithm: LoadBalancing = LoadBalancing.LEAST_REQUEST
    minimum_ring_size: int | None = None
    maglev_table_size: int | None = None
    warmup: Nanoseconds | None = None
    """New endpoints get their full share only after this time."""
    warmup_minimum_percent: float | None = None
    warmup_aggression: float | None = None


@dataclass(frozen=True, slots=True)
class TcpKeepalive:
    """Keep-alive probes of upstream connections; None for the operating system's values."""

    probes: int | None = None
    time: Nanoseconds | None = None
    interval: Nanoseconds | None = None


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """Limits of the connections to a backend; None means no limit, or the proxy's default where it says so."""

    max_connections: int | None = None
    connect_timeout: Nanoseconds = 10_000_000_000
    keepalive: TcpKeepalive | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None
    max_requests_per_connection: int | None = None
    max_connection_duration: Nanoseconds | None = None
    idle_timeout: Nanoseconds | None = None
    """None: the proxy's default of one hour."""
    max_concurrent_streams: int | None = None


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When an endpoint is taken out of the rotation; None means the proxy's default, 0 counts switch a check off."""

    consecutive_5xx: int | None = None
    consecutive_gateway_failures: int | None = None
    split_local_origin: bool = False
    consecutive_local_origin_failures: int | None = None
    interval: Nanoseconds | None = None
    base_ejection_time: Nanoseconds | None = None
    max_ejection_percent: int | None = None
    minimum_health_percent: int = 0
    """Below this share of healthy endpoints all of them are used again (panic); 0 for never."""
    always_eject_one: bool = False


@dataclass(frozen=True, slots=True)
class TlsOrigination:
    """TLS towards the backend."""

    server_name: str = ""
    """SNI; empty: the request's host, where the proxy knows it."""
    credential: str = ""
    """Name of the credential that is presented, or empty."""
    validation: Validation | None = None
    """None: the certificate of the backend is not checked."""
    match_request_host: bool = False
    """The certificate must be valid for the request's host."""
    parameters: TlsParameters = TlsParameters()
    alpn: tuple[str, ...] = ()


class UpstreamProtocol(enum.Enum):
    """What is spoken to the endpoints."""

    TCP = "tcp"
    HTTP1 = "http1"
    HTTP2 = "http2"
    DOWNSTREAM = "downstream"
    """The version of HTTP that the client speaks."""


class Discovery(enum.Enum):
    """How the proxy learns the endpoints of a cluster."""

    ASSIGNED = "assigned"
    """We tell it (EDS)."""
    STRICT_DNS = "strict-dns"
    """It resolves host names; every address is an endpoint."""
    LOGICAL_DNS = "logical-dns"
    """It resolves one host name, and connects to the first address."""
    ORIGINAL_DESTINATION = "original-destination"
    """It connects to where the client wanted to go."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that serves a backend."""

    address: str
    """IP address, host name (DNS discovery only) or, with port 0, absolute path of a unix socket."""
    port: int
    weight: int = 1
    healthy: bool = True


@dataclass(frozen=True, slots=True)
class LocalityEndpoints:
    """Endpoints of one place, and how much the place is preferred."""

    region: str = ""
    zone: str = ""
    subzone: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    priority: int = 0
    """0 is used first; the next only when too few endpoints of the former are healthy."""
    weight: int | None = None
    """Share of this locality among those of its priority; None when endpoints alone decide."""


@dataclass(frozen=True, slots=True)
class EndpointAssignment:
    """The endpoints of a backend, as one proxy shall prefer them."""

    backend: Backend
    localities: tuple[LocalityEndpoints, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Cluster:
    """How the endpoints of a backend are found and talked to."""

    backend: Backend
    discovery: Discovery
    protocol: UpstreamProtocol
    origin: Origin
    localities: tuple[LocalityEndpoints, ...] = ()
    """The host names to resolve; only for DNS discovery."""
    load_balancer: LoadBalancer = LoadBalancer()
    connection_pool: ConnectionPool = ConnectionPool()
    outlier_detection: OutlierDetection | None = None
    tls: TlsOrigination | None = None
    proxy_protocol_version: int | None = None
    """1 or 2: connections begin with a PROXY protocol header of this version."""
    locality_weighted: bool = False
    """Localities' weights decide before endpoints' weights do."""


# --- Credentials ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyPairCredential:
    """A certificate to present, with its private key, which no representation shows."""

    name: str
    """The name that `TlsTermination.credentials` and `TlsOrigination.credential` use."""
    certificate_chain: bytes
    """PEM, the leaf first."""
    private_key: bytes = field(repr=False)
    """PEM."""
    ocsp_staple: bytes | None = None
    """DER."""
    origin: Origin = ()


@dataclass(frozen=True, slots=True)
class AuthoritiesCredential:
    """CA certificates to check the other side with."""

    name: str
    """The name that `Validation.authorities` uses."""
    certificates: bytes
    """PEM."""
    revocation_list: bytes | None = None
    """PEM."""
    origin: Origin = ()


Credential = KeyPairCredential | AuthoritiesCredential
