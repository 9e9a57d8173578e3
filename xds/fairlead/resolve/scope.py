"""Which objects apply to a proxy.

A proxy is reduced to its `Selection`: two proxies with equal selections are sent the same resources, but for their
locality and bind address, which are added where they matter.
"""

import enum
from dataclasses import dataclass, replace
from typing import NamedTuple

from fairlead.problems import ObjectKey
from fairlead.world import ObjectName

Labels = frozenset[tuple[str, str]]
"""Names and values of labels."""


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
    labels: Labels = frozenset()
    locality: Locality = Locality()
    bind_address: str = ""
    """IP address for listeners whose address the user did not choose; empty for all addresses of the host."""
    virtual_host_discovery: bool = False
    """Virtual hosts are sent one by one (VHDS) instead of within their RouteConfiguration."""
    address: str = ""
    """IP address at which others reach the workload of a sidecar; empty when it is not known."""
    http_proxy_port: int = 0
    """Port at which a sidecar is a forward proxy for its applications; 0 for none."""
    config: str = ""
    """The gateway's own ProxyConfig, see `fairlead.resolve.mesh.own_config`; empty for the mesh's."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What a sidecar stands before, as far as it decides what the sidecar listens on."""

    services: tuple[ObjectKey, ...] = ()
    """The Services and ServiceEntries that select the workload, the oldest first."""
    has_address: bool = False
    """Others reach it at an address of its own, other than the application's."""
    beside_application: bool = True
    """What the sidecar listens on for its applications has the same address as they, or as others reach them."""


class Selector(NamedTuple):
    """Which proxies a Gateway is for."""

    namespace: str
    """Of the proxies; empty for any."""
    labels: Labels
    """The proxies have all of these."""


class Viewer(NamedTuple):
    """Who calls services: the part of a selection that decides how."""

    namespace: str
    labels: Labels = frozenset()
    """Those that DestinationRules ask for."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What applies to a proxy, compared by value: the key of everything that is made for a group of proxies.

    It names selectors, not the Gateways behind them: one more Gateway for the same proxies is the same selection.
    """

    role: Role
    namespace: str
    """Of the proxies: decides which Secrets they may have and which objects they can see."""
    selectors: frozenset[Selector] = frozenset()
    """The selectors of Gateways, of all dialects, that the proxies satisfy."""
    ports: tuple[tuple[int, int], ...] = ()
    """Port of the Service in front of the proxies -> port to listen on, sorted; where there is no such Service, or
    it does not have the port, the port itself is listened on."""
    labels: Labels = frozenset()
    """Those of the proxies' labels that routes ask for."""
    caller_labels: Labels = frozenset()
    """Those of the proxies' labels that DestinationRules ask for."""
    sidecar: ObjectName | None = None
    """The Sidecar that says what the proxies see."""
    http_proxy_port: int = 0
    """As in `Proxy`."""
    config: str = ""
    """As in `Proxy`."""
    on_loopback: bool = False
    """Nobody but their own machine reaches what sidecars listen on for their applications."""
    workload: Workload | None = None
    """What sidecars stand before; None for gateways, and for what all sidecars with the same scope share."""

    @property
    def viewer(self) -> Viewer:
        """The proxies as those who call services."""
        return Viewer(self.namespace, self.caller_labels)

    def __hash__(self) -> int:
        # Nearly every derived value is looked up by its selection.
        return hash((self.namespace, self.selectors, self.sidecar))

    @property
    def shared(self) -> "Selection":
        """The part that decides about all that leaves the proxies: many workloads have it in common."""
        return self if self.workload is None else replace(self, workload=None)
