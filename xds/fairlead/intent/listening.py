"""What listens: listeners, filter chains, TLS that ends here."""

import enum
from dataclasses import dataclass

from fairlead.intent.backends import Backend
from fairlead.intent.base import Nanoseconds, Origin
from fairlead.intent.governance import Governance
from fairlead.intent.routing import VirtualHost
from fairlead.intent.tls import TlsParameters, Validation
from fairlead.problems import Problem


class ClientCertificates(enum.Enum):
    """What a server asks of its clients."""

    NOT_REQUESTED = "not-requested"
    OPTIONAL = "optional"
    REQUIRED = "required"


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
class AccessLog:
    """A line for each request or connection."""

    path: str
    """A file of the proxy."""
    format: str
    """Envoy's format strings: text with its line end, or with `is_json` a JSON object of them."""
    is_json: bool = False


class ForwardedCertificate(enum.Enum):
    """What is done with the header that tells services of the client's certificate (`x-forwarded-client-cert`)."""

    SANITIZE = "sanitize"
    FORWARD_ONLY = "forward-only"
    APPEND_FORWARD = "append-forward"
    SANITIZE_SET = "sanitize-set"
    ALWAYS_FORWARD_ONLY = "always-forward-only"


class HeadersWithUnderscores(enum.Enum):
    """What is done with headers that have an underscore in their name."""

    ALLOW = "allow"
    REJECT_REQUEST = "reject-request"
    DROP_HEADER = "drop-header"


class EscapedSlashes(enum.Enum):
    """What is done with slashes that are written as `%2F` or `%5C`."""

    KEEP = "keep"
    REJECT_REQUEST = "reject-request"
    REDIRECT = "redirect"
    """They are decoded, and the client is redirected."""
    FORWARD = "forward"
    """They are decoded before a route is chosen."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of clients' connections and requests; None means the proxy's default, where nothing else is said."""

    idle_timeout: Nanoseconds | None = None
    max_connection_duration: Nanoseconds | None = None
    max_stream_duration: Nanoseconds | None = None
    stream_idle_timeout: Nanoseconds | None = None
    """None: requests may be silent as long as they like."""
    request_timeout: Nanoseconds | None = None
    request_headers_timeout: Nanoseconds | None = None
    drain_timeout: Nanoseconds | None = None
    max_concurrent_streams: int | None = None
    """HTTP/2 only, as are the next ones."""
    stream_window: int | None = None
    """Bytes."""
    connection_window: int | None = None
    """Bytes."""
    headers_with_underscores: HeadersWithUnderscores = HeadersWithUnderscores.ALLOW


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How HTTP is treated, whatever the route."""

    server_name: str | None = "istio-envoy"
    """Value of the header `server`; None leaves the service's own."""
    trusted_hops: int = 0
    """Number of trusted proxies in front, for `x-forwarded-for`."""
    forwarded_certificate: ForwardedCertificate = ForwardedCertificate.SANITIZE_SET
    certificate_details: tuple[str, ...] = ("subject", "cert", "dns", "uri")
    """What is told of the certificate: some of `subject`, `cert`, `chain`, `dns`, `uri`."""
    normalize_path: bool = True
    """Dot segments of paths are resolved, as RFC 3986 does it, before a route is chosen."""
    merge_slashes: bool = False
    """Slashes that follow each other become one."""
    escaped_slashes: EscapedSlashes = EscapedSlashes.KEEP
    limits: HttpLimits = HttpLimits()
    request_id: bool = True
    """Requests without `x-request-id` get one."""
    debug_headers: bool = True
    """Envoy tells of what it does by headers that begin with `x-envoy-`."""
    forwarded_port: bool = False
    """Services are told the port that the client used (`x-forwarded-port`)."""


@dataclass(frozen=True, slots=True)
class HttpConnections:
    """Connections that carry HTTP, served by a route table."""

    route_table: str
    """Name of the route table."""
    stat_prefix: str
    grpc_web: bool = False
    options: HttpOptions = HttpOptions()
    access_log: AccessLog | None = None
    edge: bool = True
    """Clients are strangers: what they say of those before them does not count."""
    forward_proxy: bool = False
    """Clients ask for any host, and for connections by CONNECT."""
    dns_refresh_rate: Nanoseconds | None = None
    """How often the hosts of requests are resolved that go to `ANY_HOST`, the same as there; None: none of them do."""
    inline: VirtualHost | None = None
    """The only virtual host, where it is not worth a route table that is looked up by its name."""
    governance: Governance = Governance()
    """What the policies of routes refer to."""


@dataclass(frozen=True, slots=True)
class WeightedBackend:
    """A share of the connections."""

    backend: Backend
    weight: int = 1
    missing: Problem | None = None
    """Why there is no such backend, so that proxies go on with what they have rather than take this."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Bytes travel in an HTTP request that asks the backend to pass them on."""

    target: str
    """`host:port` that the backend is asked for."""
    by_post: bool = False
    """The request is a POST instead of a CONNECT."""


@dataclass(frozen=True, slots=True)
class TcpConnections:
    """Connections that are passed on byte by byte."""

    stat_prefix: str
    backends: tuple[WeightedBackend, ...]
    idle_timeout: Nanoseconds | None = None
    max_duration: Nanoseconds | None = None
    hash_source_ip: bool = False
    tunnel: Tunnel | None = None
    access_log: AccessLog | None = None


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
    access_log: AccessLog | None = None
    """For connections that no filter chain takes."""
    buffer_limit: int | None = None
    """Bytes of each connection; None for the proxy's default."""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """What is common to the virtual hosts of a route table; they themselves are looked up by its name."""

    name: str
    origin: Origin
    with_ports: bool = False
    """The port of a request's host counts: virtual hosts differ by it."""
