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
    protocol: str = ""
    name: str = ""
    target_port: UInt32 = 0
    """Deprecated, and without effect."""


class IstioIngressListener(Model, frozen=True, kw_only=True):
    """Connections to the workload."""

    port: SidecarPort
    bind: str = ""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    default_endpoint: str = ""
    """`127.0.0.1:port`, `0.0.0.0:port`, `[::1]:port`, `[::]:port` or `unix://path`."""
    tls: ServerTLSSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None


class IstioEgressListener(Model, frozen=True, kw_only=True):
    """Connections from the workload."""

    port: SidecarPort | None = None
    """Absent for the listener of all that no other one has."""
    bind: str = ""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    hosts: tuple[str, ...]
    """`namespace/host`: `*` for any, `.` for the own namespace, `~` for none; `~namespace/host` takes away."""


class OutboundTrafficMode(enum.Enum):
    """What is done with connections to unknown services."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"


class OutboundTrafficPolicy(Model, frozen=True, kw_only=True):
    """Connections to unknown services."""

    mode: OutboundTrafficMode = OutboundTrafficMode.REGISTRY_ONLY
    egress_proxy: Destination | None = None


class SidecarSpec(Model, frozen=True, kw_only=True):
    """What the selected sidecars serve and see."""

    workload_selector: WorkloadSelector | None = None
    """Absent for all workloads of the namespace."""
    ingress: tuple[IstioIngressListener, ...] = ()
    egress: tuple[IstioEgressListener, ...] = ()
    inbound_connection_pool: ConnectionPoolSettings | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None


class Sidecar(KubernetesObject, frozen=True, kw_only=True):
    """What sidecars serve and see."""

    group: ClassVar[str] = NETWORKING_GROUP
    kind: ClassVar[str] = "Sidecar"
    versions: ClassVar[tuple[str, ...]] = NETWORKING_VERSIONS

    spec: SidecarSpec
