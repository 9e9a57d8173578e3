"""Requests and responses of the xDS transport protocol as values: what `wire` decodes to and encodes from.

Both variants of the protocol share one response: what differs is how its resources were framed.
See https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol and Envoy's `discovery.proto`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FAILED_PRECONDITION = 9
"""`google.rpc.Code.FAILED_PRECONDITION`."""
NOT_FOUND = 5
"""`google.rpc.Code.NOT_FOUND`."""


@dataclass(frozen=True, slots=True)
class Node:
    """What a proxy says of itself; a claim until the peer's identity is checked against it."""

    id: str
    cluster: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """`core.v3.Node.metadata` as plain JSON values."""
    region: str = ""
    zone: str = ""
    sub_zone: str = ""
    user_agent: str = ""
    """Name of the client's implementation, such as `envoy`."""
    user_agent_version: str = ""


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """A `google.rpc.Status`: why a client refused a response, or why a resource cannot be served."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class DiscoveryRequest:
    """A request of the state-of-the-world variant: a full list of names."""

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    nonce: str = ""
    """The nonce of the response that this answers; empty when it answers none."""
    error: ErrorDetail | None = None
    """Set when the response was refused, and only then."""
    node: Node | None = None


@dataclass(frozen=True, slots=True)
class DeltaDiscoveryRequest:
    """A request of the incremental variant: changes of the set of names."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    """What the client holds, by name; of meaning in the first request of a type on a stream only."""
    nonce: str = ""
    error: ErrorDetail | None = None
    node: Node | None = None


@dataclass(slots=True)
class Response:
    """A response of either variant; `wire` adds what identifies this server and encodes it.

    Not frozen: that takes five times as long to make, and each stream of a fleet makes its own.
    """

    type_url: str
    nonce: str
    """Never used before on its stream."""
    version: str
    """`version_info` (state of the world) or `system_version_info` (delta): a hash of the whole type's content."""
    frames: tuple[bytes, ...] = field(default=(), repr=False)
    """Items of the response's `resources`, tags and lengths included: to be joined as they are."""
    removed: tuple[str, ...] = ()
    """`DeltaDiscoveryResponse.removed_resources`."""
    errors: tuple[tuple[str, ErrorDetail], ...] = ()
    """`resource_errors`: names that were asked for and cannot be served, and why."""

    @property
    def size(self) -> int:
        """Bytes of its frames, which is nearly all of it when it is large."""
        return sum(map(len, self.frames))
