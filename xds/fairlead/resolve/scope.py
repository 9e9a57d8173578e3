"""Which objects apply to a proxy.

A proxy is reduced to its `Selection`: two proxies with equal selections are sent the same resources, but for their
locality and bind address, which are added where they matter.
"""

import enum
from dataclasses import dataclass

from fairlead.problems import ObjectKey


class Role(enum.Enum):
    """What a proxy is for."""

    GATEWAY = "gateway"
    SIDECAR = "sidecar"
    WAYPOINT = "waypoint"


@dataclass(frozen=True, slots=True)
class Locality:
    """Where a proxy runs; empty parts are unknown."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


@dataclass(frozen=True, slots=True)
class Proxy:
    """What a proxy says of itself, as far as it decides what the proxy is sent."""

    role: Role = Role.GATEWAY
    namespace: str = "default"
    labels: frozenset[tuple[str, str]] = frozenset()
    locality: Locality = Locality()
    bind_address: str = ""
    """IP address for listeners whose address the user did not choose; empty for all addresses of the host."""
    virtual_host_discovery: bool = False
    """Virtual hosts are sent one by one (VHDS) instead of within their RouteConfiguration."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What applies to a proxy, compared by value: the key of everything that is made for a group of proxies."""

    role: Role
    namespace: str
    """Of the proxies: decides which Secrets they may have and which objects they can see."""
    gateways: tuple[ObjectKey, ...] = ()
    """The Gateways, of all dialects, that the proxies serve; older ones first."""
    ports: tuple[tuple[int, int], ...] = ()
    """Port of the Service in front of the proxies -> port to listen on, sorted; where there is no such Service, or
    it does not have the port, the port itself is listened on."""
