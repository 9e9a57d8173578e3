"""What goes into a simulation, and what comes out."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request, as a client sends it to a proxy."""

    port: int
    """Of the proxy's listener."""
    host: str
    """The `Host` header; its port is only needed by forward proxies."""
    path: str = "/"
    """With the query."""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers, with lower-case names."""
    tls: bool = False
    server_name: str | None = None
    """SNI; None with `tls`: the host."""
    listener_address: str = ""
    """IP address that the client connects to; empty where only one listener has the port."""
    source_address: str = ""
    """IP address of the client, empty when it is not known."""

    @property
    def asked_server_name(self) -> str:
        """The SNI that the client sends; empty without TLS."""
        if not self.tls:
            return ""
        return self.host if self.server_name is None else self.server_name


class Fact(NamedTuple):
    """Something that is set, in words."""

    label: str
    """Such as `timeout`."""
    text: str


class Stage(enum.StrEnum):
    """What is decided at a step."""

    LISTENER = "listener"
    FILTER_CHAIN = "filter chain"
    VIRTUAL_HOST = "virtual host"
    ROUTE = "route"
    CLUSTER = "cluster"


@dataclass(kw_only=True)
class Step:
    """One decision on the way of a request, and what else is set there."""

    stage: Stage
    name: str
    """Of what was chosen; for a route without a name its number."""
    within: tuple[str, ...] = ()
    """Names of what it is a part of: the listener of a filter chain; route configuration, and virtual host."""
    index: int = 0
    """Of a route: how many stand before it."""
    why: str = ""
    """Why it was chosen."""
    not_chosen: list[tuple[str, str]] = field(default_factory=list)
    """What came before it, or would have been possible, and why it was not chosen."""
    facts: list[Fact] = field(default_factory=list)
    """In simulations in detail only."""


@dataclass(kw_only=True)
class Verdict:
    """Where a request ends. Fields are filled as far as the request gets."""

    refused: bool = False
    """No listener, or none of its filter chains, takes the connection."""
    listener: str = ""
    filter_chain: str = ""
    secrets: tuple[str, ...] = ()
    """Names of the certificates that the filter chain presents."""
    client_certificate_required: bool = False
    route_table: str = ""
    virtual_host: str = ""
    route: str = ""
    status: int | None = None
    """Set when the proxy answers itself, or when no endpoint can."""
    location: str = ""
    """Where a redirect points."""
    clusters: dict[str, float] = field(default_factory=dict)
    """Cluster -> its share of such requests, between 0 and 1."""
    endpoints: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Cluster -> addresses of its endpoints."""
    by_name: set[str] = field(default_factory=set)
    """Clusters that connect to the request's host, wherever DNS says that it is."""
    path: str = ""
    """As the backend sees it."""
    host: str = ""
    """As the backend sees it."""
    request_headers: dict[str, str] = field(default_factory=dict)
    """Headers that the proxy sets on the way to the backend."""
    response_headers: dict[str, str] = field(default_factory=dict)
    """Headers that the proxy sets on the way back."""
    rules: list[str] = field(default_factory=list)
    """Limits and the like of the route, in words."""
    steps: list[Step] = field(default_factory=list)
    """What was decided, in order."""
    failure: str = ""
    """Why the request came to no end that anybody has configured."""

    @property
    def reasons(self) -> list[str]:
        """What was not chosen at each step, and why; at last why it ended badly, if it did."""
        found = [f"{step.stage} {name}: {why}" for step in self.steps for name, why in step.not_chosen]
        return [*found, self.failure] if self.failure else found
