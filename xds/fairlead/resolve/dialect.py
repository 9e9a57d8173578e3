"""What a dialect must be able to answer, in words that all of them share.

A dialect (Istio, Gateway API, Knative ...) is a module that reads its own kinds and answers the questions of
`Dialect`; `fairlead.resolve.dialects` lists them. Merging - which servers share a listener, which routes a virtual
host has - is done once, for all of them, by `fairlead.resolve.listeners` and `fairlead.resolve.virtual_hosts`.
"""

import enum
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from fairlead.derive import Collection
from fairlead.intent import Route, TcpConnections, TlsTermination
from fairlead.problems import FieldPath, ObjectKey, Problem
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection, Selector
from fairlead.world import ObjectName, World


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
    """The Gateway whose proxies listen."""
    created: str
    """The Gateway's creationTimestamp, empty if unknown: servers of older Gateways come first."""
    declared_by: ObjectKey
    """The object that `path` is in: the Gateway, or what is attached to it."""
    path: FieldPath
    """The field of the object that says so, for messages."""
    name: str
    """Unique among the servers of the gateway."""
    port: int
    """As declared, before a Service maps it."""
    bind: str
    """IP address or `unix://` and an absolute path; empty for the wildcard address."""
    protocol: ServerProtocol
    hosts: tuple[str, ...]
    """Host names served, lower case, without namespace; `*` and `*.x` are wildcards."""
    route_table: str = ""
    """Name of the route table, for HTTPS only. HTTP servers on one address share a table, see `route_table`."""
    tls: TlsTermination | None = None
    """For HTTPS and TLS only."""
    https_redirect: bool = False
    """Plaintext requests to the hosts are redirected to https; for HTTP only."""
    grpc_web: bool = False
    stat_prefix: str = ""
    """Prefix of the statistics of HTTPS connections; empty for one made of the listener's name."""

    def __hash__(self) -> int:
        # Thousands of servers are compared as sets: it is enough to tell those of one object apart.
        return hash((self.gateway, self.path))


def listening_port(selection: Selection, server: Server) -> int:
    """The port that the server's listener binds: the declared one, as the Service in front of the proxies maps it.

    It is 0 for a unix socket.
    """
    return dict(selection.ports).get(server.port, server.port)


def route_table(selection: Selection, server: Server) -> str:
    """Name of the server's route table, byte for byte as Istio names it; empty when it carries no HTTP."""
    if server.protocol is ServerProtocol.HTTP:
        suffix = f".{server.bind}" if server.bind else ""
        return f"http.{listening_port(selection, server)}{suffix}"
    return server.route_table


class VirtualHostKey(NamedTuple):
    """Identity of a virtual host for a selection."""

    route_table: str
    domain: str
    """Host name, lower case; `*` and `*.x` are wildcards."""


@dataclass(frozen=True, slots=True)
class HostRoutes:
    """What a dialect has for one virtual host."""

    routes: tuple[Route, ...] = ()
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
    """The questions that every dialect answers. All answers are derived values or collections of them.

    Problems that are the same for every proxy are told once, by `reviews`; the other answers carry those that depend
    on what the selection sees.
    """

    def selectors(self, world: World, /) -> Collection[Selector, frozenset[ObjectName]]:
        """Which proxies there are Gateways for -> the names of these Gateways."""
        ...

    def labels(self, world: World, /) -> Collection[tuple[str, str], Any]:
        """The labels of proxies that routes ask for; the values are the dialect's own affair."""
        ...

    def servers(self, world: World, selection: Selection, /) -> tuple[Server, ...]:
        """What listens; the servers of one Gateway in order, since the first of two that exclude each other serves."""
        ...

    def virtual_hosts(self, world: World, selection: Selection, /) -> Collection[VirtualHostKey, Any]:
        """The virtual hosts that this dialect has something to say about; the values are its own affair.

        Those of route tables that no listener uses are left out later.
        """
        ...

    def host_routes(self, world: World, selection: Selection, key: VirtualHostKey, /) -> Outcome[HostRoutes]:
        """The routes of one virtual host; nothing for a key that is not of this dialect."""
        ...

    def connection_routes(
        self, world: World, selection: Selection, server: Server, /
    ) -> Outcome[tuple[ConnectionRoute, ...]]:
        """Where the connections of a TLS, TLS_PASSTHROUGH or TCP server go, in order of precedence.

        Nothing for a server that is not of this dialect.
        """
        ...

    def reviews(self, world: World, /) -> tuple[Collection[Any, tuple[Problem, ...]], ...]:
        """What is wrong with objects of this dialect, whatever the proxy: object -> its problems."""
        ...
