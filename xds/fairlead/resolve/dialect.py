"""What a dialect must be able to answer, in words that all of them share.

A dialect (Istio, Gateway API, Knative ...) is a module-like object that reads its own kinds and answers the questions
of `Dialect`. Merging - which servers share a listener, which routes a virtual host has - is done once, for all of
them, by `fairlead.resolve.listeners` and `fairlead.resolve.virtual_hosts`.
"""

import enum
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from fairlead.derive import Collection
from fairlead.intent import Route, TcpConnections, TlsTermination
from fairlead.problems import FieldPath, ObjectKey
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Proxy, Selection
from fairlead.world import World


class ServerProtocol(enum.Enum):
    """What a server does with the bytes that arrive."""

    HTTP = "http"
    """Plaintext HTTP."""
    HTTPS = "https"
    """TLS is terminated, HTTP inside."""
    TLS = "tls"
    """TLS is terminated, bytes inside are passed on."""
    TLS_PASSTHROUGH = "tls-passthrough"
    """TLS is routed by SNI, not decrypted."""
    TCP = "tcp"
    """Plaintext bytes are passed on."""


@dataclass(frozen=True, slots=True)
class Server:
    """Something that listens: one server of an Istio Gateway, one listener of a Gateway API Gateway ..."""

    gateway: ObjectKey
    path: FieldPath
    """The field of the object that says so, for messages."""
    name: str
    """Unique among the servers of the gateway."""
    port: int
    """As declared, before a Service maps it."""
    bind: str
    """IP address or absolute path of a unix socket; empty when the user did not choose."""
    protocol: ServerProtocol
    hosts: tuple[str, ...]
    """Host names served, lower case, without namespace; `*` and `*.x` are wildcards."""
    route_table: str = ""
    """Name of the route table; for HTTP and HTTPS only. Servers with the same name share their virtual hosts."""
    tls: TlsTermination | None = None
    """For HTTPS and TLS only."""
    https_redirect: bool = False
    """Plaintext requests to the hosts are redirected to https; for HTTP only."""
    grpc_web: bool = False


class VirtualHostKey(NamedTuple):
    """Identity of a virtual host for a selection."""

    route_table: str
    domain: str
    """Host name, lower case; `*` and `*.x` are wildcards."""


@dataclass(frozen=True, slots=True)
class HostRoutes:
    """What a dialect has for one virtual host."""

    routes: tuple[Route, ...]
    """In order of precedence."""
    require_tls: bool = False
    origin: tuple[ObjectKey, ...] = ()


@dataclass(frozen=True, slots=True)
class ConnectionRoute:
    """Where the connections of a TLS or TCP server go."""

    server_names: tuple[str, ...]
    """SNI, within the hosts of the server; empty: all connections of the server."""
    connections: TcpConnections
    origin: tuple[ObjectKey, ...]


class Dialect(Protocol):
    """The questions that every dialect answers. All answers are derived values or collections of them."""

    def gateways(self, world: World, proxy: Proxy) -> tuple[ObjectKey, ...]:
        """The Gateways of this dialect that the proxy serves, older ones first."""
        ...

    def servers(self, world: World, selection: Selection) -> Outcome[tuple[Server, ...]]:
        """What listens, in order: where two servers exclude each other the first one serves."""
        ...

    def virtual_hosts(self, world: World, selection: Selection) -> Collection[VirtualHostKey, frozenset[ObjectKey]]:
        """The virtual hosts that this dialect has routes or redirects for -> the objects that contribute."""
        ...

    def host_routes(self, world: World, selection: Selection, key: VirtualHostKey) -> Outcome[HostRoutes]:
        """The routes of one virtual host."""
        ...

    def connection_routes(
        self, world: World, selection: Selection, server: Server
    ) -> Outcome[tuple[ConnectionRoute, ...]]:
        """Where the connections of a TLS, TLS_PASSTHROUGH or TCP server go, in order of precedence."""
        ...
