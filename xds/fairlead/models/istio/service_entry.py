"""ServiceEntry: a service of one's own making (istio.io/latest/docs/reference/config/networking/service-entry)."""

import enum
from typing import ClassVar

from fairlead.models.base import KubernetesObject, Model
from fairlead.models.istio.common import NETWORKING_GROUP, NETWORKING_VERSIONS, UInt32, WorkloadSelector
from fairlead.models.istio.workload_entry import WorkloadEntrySpec


class Location(enum.Enum):
    """Whether a service is part of the mesh."""

    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class Resolution(enum.Enum):
    """How the hosts of a service are found."""

    NONE = "NONE"
    """The connection's own destination."""
    STATIC = "STATIC"
    """The addresses of the endpoints."""
    DNS = "DNS"
    """All addresses of the endpoints' names, or of the service's host."""
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    """The first address of the name, whenever a connection is made."""
    DYNAMIC_DNS = "DYNAMIC_DNS"
    """The addresses of the host that a request names."""


class ServicePort(Model, frozen=True, kw_only=True):
    """A port of a service."""

    number: UInt32
    """A cluster for each port."""
    protocol: str = ""
    """Empty for a guess from the traffic."""
    name: str
    """By which endpoints name the port."""
    target_port: UInt32 = 0
    """0 for `number`."""


class ServiceEntrySpec(Model, frozen=True, kw_only=True):
    """Hosts, ports and endpoints of a service."""

    hosts: tuple[str, ...]
    """A service for each of them."""
    addresses: tuple[str, ...] = ()
    """At sidecars, IP addresses are further names of the service; blocks are without effect, as all are at gateways."""
    ports: tuple[ServicePort, ...] = ()
    location: Location = Location.MESH_EXTERNAL
    """Without effect: it decides about automatic mutual TLS, which there is none of."""
    resolution: Resolution = Resolution.NONE
    """NONE is reported: only endpoints that are listed are used. So is DYNAMIC_DNS: the host is not reached."""
    endpoints: tuple[WorkloadEntrySpec, ...] = ()
    workload_selector: WorkloadSelector | None = None
    """Of WorkloadEntries and pods in the same namespace."""
    export_to: tuple[str, ...] = ()
    """Namespaces that see it: `.`, `*`, `~` or names; empty for the mesh's default."""
    subject_alt_names: tuple[str, ...] = ()
    """The service's certificate must have one of them, where its DestinationRule names none."""


class ServiceEntry(KubernetesObject, frozen=True, kw_only=True):
    """A service that Kubernetes does not know."""

    group: ClassVar[str] = NETWORKING_GROUP
    kind: ClassVar[str] = "ServiceEntry"
    versions: ClassVar[tuple[str, ...]] = NETWORKING_VERSIONS

    spec: ServiceEntrySpec
