"""Sidecar: what a sidecar serves and sees (istio.io/latest/docs/reference/config/networking/sidecar)."""

import enum
from typing import ClassVar

from fairlead.models.base import KubernetesObject, Model
from fairlead.models.istio.common import NETWORKING_GROUP, NETWORKING_VERSIONS, UInt32, WorkloadSelector
from fairlead.models.istio.destination_rule import ConnectionPoolSettings
from fairlead.models.istio.gateway import ServerTLSSettings
from fairlead.models.istio.virtual_service import Destination


class CaptureMode(enum.Enum):
    """How connections reach a listener."""

    DEFAULT = "DEFAULT"
    IPTABLES = "IPTABLES"
    NONE = "NONE"
    """The application addresses the listener itself."""


class SidecarPort(Model, frozen=True, kw_only=True):
    """The port of a listener."""

    number: UInt32 = 0
    """Where the listener binds; 0 for a unix socket."""
    protocol: str = ""
    """What is done with the bytes: as that of a service's port; `HTTP_PROXY`, outbound only, is a forward proxy."""
    name: str = ""
    """Inbound it tells the protocol where `protocol` does not; else it is without effect."""
    target_port: UInt32 = 0
    """Deprecated, and without effect."""


class IstioIngressListener(Model, frozen=True, kw_only=True):
    """Connections to the workload."""

    port: SidecarPort
    """Where others connect to."""
    bind: str = ""
    """IP address; empty for that of the workload."""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    """Nothing is captured: `IPTABLES` is reported, and there is a listener as with `NONE`."""
    default_endpoint: str = ""
    """`127.0.0.1:port`, `0.0.0.0:port`, `[::1]:port`, `[::]:port` or `unix://path`."""
    tls: ServerTLSSettings | None = None
    """TLS that ends at the sidecar: `SIMPLE` or `MUTUAL`, with certificates from files of the proxy."""
    connection_pool: ConnectionPoolSettings | None = None
    """Limits of the connections to the application, in place of `inboundConnectionPool`."""


class IstioEgressListener(Model, frozen=True, kw_only=True):
    """Connections from the workload."""

    port: SidecarPort | None = None
    """Absent for the listener of all that no other one has."""
    bind: str = ""
    """IP address or `unix://path`; empty for the proxy's own choice."""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    """Nothing is captured: `IPTABLES` is reported, and there is a listener as with `NONE`."""
    hosts: tuple[str, ...]
    """`namespace/host`: `*` for any, `.` for the own namespace, `~` for none; `~namespace/host` takes away."""


class OutboundTrafficMode(enum.Enum):
    """What is done with connections to unknown services."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"


class OutboundTrafficPolicy(Model, frozen=True, kw_only=True):
    """Connections to unknown services."""

    mode: OutboundTrafficMode = OutboundTrafficMode.REGISTRY_ONLY
    """`ALLOW_ANY`: requests to unknown hosts go where DNS says, if only the application can send them."""
    egress_proxy: Destination | None = None


class SidecarSpec(Model, frozen=True, kw_only=True):
    """What the selected sidecars serve and see."""

    workload_selector: WorkloadSelector | None = None
    """Absent for all workloads of the namespace."""
    ingress: tuple[IstioIngressListener, ...] = ()
    """In place of the ports that Services in front of the workload have."""
    egress: tuple[IstioEgressListener, ...] = ()
    """Empty for all services."""
    inbound_connection_pool: ConnectionPoolSettings | None = None
    """Limits of the connections to the application."""
    outbound_traffic_policy: OutboundTrafficPolicy | None = None


class Sidecar(KubernetesObject, frozen=True, kw_only=True):
    """What sidecars serve and see."""

    group: ClassVar[str] = NETWORKING_GROUP
    kind: ClassVar[str] = "Sidecar"
    versions: ClassVar[tuple[str, ...]] = NETWORKING_VERSIONS

    spec: SidecarSpec
