"""What listens: listeners, filter chains, TLS that ends here."""

import enum
from dataclasses import dataclass

from fairlead.intent.backends import Backend
from fairlead.intent.base import Nanoseconds, Origin
from fairlead.intent.tls import TlsParameters, Validation


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
