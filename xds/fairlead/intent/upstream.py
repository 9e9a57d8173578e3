"""Where requests go: backends, clusters, endpoints, TLS that starts here."""

import enum
from dataclasses import dataclass

from fairlead.intent.backends import Backend
from fairlead.intent.base import Nanoseconds, Origin
from fairlead.intent.tls import TlsParameters, Validation


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
class Pings:
    """HTTP/2 pings, by which connections are found that are dead."""

    interval: Nanoseconds
    timeout: Nanoseconds
    """Without an answer for so long the connection is closed."""


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many retries may be under way, in place of a number."""

    percent: float
    """Of all requests under way."""
    minimum: int
    """As many always may."""


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """Limits of the connections to a backend; None means no limit, or the proxy's default where it says so."""

    max_connections: int | None = None
    connect_timeout: Nanoseconds = 10_000_000_000
    keepalive: TcpKeepalive | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None
    retry_budget: RetryBudget | None = None
    """Takes the place of `max_retries`."""
    max_requests_per_connection: int | None = None
    max_connection_duration: Nanoseconds | None = None
    idle_timeout: Nanoseconds | None = None
    """None: the proxy's default of one hour."""
    max_concurrent_streams: int | None = None
    pings: Pings | None = None
    """Of HTTP/2."""


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When an endpoint is taken out of the rotation; None means the proxy's default, 0 counts switch a check off."""

    consecutive_5xx: int | None = None
    error_codes: tuple[int, ...] = ()
    """Status codes that count in place of 5xx; empty for 5xx."""
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

    LISTED = "listed"
    """The cluster itself lists them."""
    ASSIGNED = "assigned"
    """We tell it (EDS)."""
    STRICT_DNS = "strict-dns"
    """It resolves host names; every address is an endpoint."""
    LOGICAL_DNS = "logical-dns"
    """It resolves one host name, and connects to the first address."""
    ORIGINAL_DESTINATION = "original-destination"
    """It connects to where the client wanted to go."""
    REQUESTED_HOST = "requested-host"
    """It resolves the host of each request, and connects to it; see `HttpConnections.dns_refresh_rate`."""


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
    """The endpoints that are listed, or the host names to resolve; empty where they are assigned."""
    buffer_limit: int | None = None
    """Bytes of each connection; None for the proxy's default."""
    dns_refresh_rate: Nanoseconds = 60_000_000_000
    """How often they are resolved, where the answers do not say how long they hold."""
    load_balancer: LoadBalancer = LoadBalancer()
    connection_pool: ConnectionPool = ConnectionPool()
    outlier_detection: OutlierDetection | None = None
    tls: TlsOrigination | None = None
    proxy_protocol_version: int | None = None
    """1 or 2: connections begin with a PROXY protocol header of this version."""
    locality_weighted: bool = False
    """Localities' weights decide before endpoints' weights do."""
