"""Kubernetes' own kinds, as far as a proxy's configuration depends on them."""

import enum
from typing import ClassVar

import msgspec

from fairlead.models.base import KubernetesObject, Model, PortNumber


class Namespace(KubernetesObject, frozen=True, kw_only=True):
    """A namespace; its labels are what namespace selectors of the Gateway API choose by."""

    group: ClassVar[str] = ""
    kind: ClassVar[str] = "Namespace"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    namespaced: ClassVar[bool] = False
    ignored: ClassVar[frozenset[str]] = frozenset({"spec"})


class Protocol(enum.Enum):
    """Transport protocol of a port."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class ServiceType(enum.Enum):
    """How a Service is reached; only EXTERNAL_NAME changes what a proxy does."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_NAME = "ExternalName"


class ServicePort(Model, frozen=True, kw_only=True):
    """A port of a Service."""

    port: PortNumber
    name: str = ""
    protocol: Protocol = Protocol.TCP
    app_protocol: str = ""
    target_port: int | str | None = None
    """Port of the endpoints, or its name in their Pods; None means `port`."""
    node_port: int = 0


class ServiceSpec(Model, frozen=True, kw_only=True):
    """What a Service says."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {
            "allocateLoadBalancerNodePorts",
            "clusterIPs",
            "externalIPs",
            "externalTrafficPolicy",
            "healthCheckNodePort",
            "internalTrafficPolicy",
            "ipFamilies",
            "ipFamilyPolicy",
            "loadBalancerClass",
            "loadBalancerIP",
            "loadBalancerSourceRanges",
            "publishNotReadyAddresses",  # already in the conditions of EndpointSlices
            "sessionAffinity",
            "sessionAffinityConfig",
        }
    )

    type: ServiceType = ServiceType.CLUSTER_IP
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    """`None` (the text) for a headless Service."""
    external_name: str = ""
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = msgspec.field(default_factory=dict)
    traffic_distribution: str = ""


class Service(KubernetesObject, frozen=True, kw_only=True):
    """A name for a set of endpoints."""

    group: ClassVar[str] = ""
    kind: ClassVar[str] = "Service"
    versions: ClassVar[tuple[str, ...]] = ("v1",)

    spec: ServiceSpec = ServiceSpec()


class TargetReference(Model, frozen=True, kw_only=True):
    """The object that an endpoint stands for, mostly a Pod."""

    ignored: ClassVar[frozenset[str]] = frozenset({"apiVersion", "fieldPath", "resourceVersion", "uid"})

    kind: str = ""
    namespace: str = ""
    name: str = ""


class AddressType(enum.Enum):
    """What the addresses of an EndpointSlice are."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"
    FQDN = "FQDN"


class EndpointConditions(Model, frozen=True, kw_only=True):
    """State of an endpoint; None is unknown, which counts as ready and serving and not as terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(Model, frozen=True, kw_only=True):
    """One backend of a Service. All of its addresses reach the same one; consumers take the first."""

    ignored: ClassVar[frozenset[str]] = frozenset({"deprecatedTopology", "hints"})  # hints are for kube-proxy

    addresses: tuple[str, ...]
    conditions: EndpointConditions = EndpointConditions()
    hostname: str = ""
    node_name: str = ""
    zone: str = ""
    target_ref: TargetReference | None = None


class EndpointPort(Model, frozen=True, kw_only=True):
    """A port that all endpoints of an EndpointSlice listen on."""

    name: str = ""
    protocol: Protocol = Protocol.TCP
    port: PortNumber | None = None
    """None stands for all ports."""
    app_protocol: str = ""


class EndpointSlice(KubernetesObject, frozen=True, kw_only=True):
    """Some of the endpoints of the Service that its label `kubernetes.io/service-name` names."""

    group: ClassVar[str] = "discovery.k8s.io"
    kind: ClassVar[str] = "EndpointSlice"
    versions: ClassVar[tuple[str, ...]] = ("v1",)

    address_type: AddressType
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class EndpointAddress(Model, frozen=True, kw_only=True):
    """One address of an Endpoints object."""

    ip: str
    hostname: str = ""
    node_name: str = ""
    target_ref: TargetReference | None = None


class EndpointSubset(Model, frozen=True, kw_only=True):
    """Addresses times ports: each address has each of the ports."""

    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(KubernetesObject, frozen=True, kw_only=True):
    """The endpoints of the Service of the same name; EndpointSlices have replaced it."""

    group: ClassVar[str] = ""
    kind: ClassVar[str] = "Endpoints"
    versions: ClassVar[tuple[str, ...]] = ("v1",)

    subsets: tuple[EndpointSubset, ...] = ()


class Secret(KubernetesObject, frozen=True, kw_only=True):
    """Bytes by key, such as a certificate and its private key. Its repr shows the keys only."""

    group: ClassVar[str] = ""
    kind: ClassVar[str] = "Secret"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    ignored: ClassVar[frozenset[str]] = frozenset({"immutable"})

    type: str = "Opaque"
    data: dict[str, bytes] = msgspec.field(default_factory=dict)
    string_data: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def values(self) -> dict[str, bytes]:
        """`data` with `stringData` written over it, as Kubernetes stores it."""
        return self.data | {key: value.encode() for key, value in self.string_data.items()}

    def __repr__(self) -> str:
        return f"Secret(metadata={self.metadata!r}, type={self.type!r}, keys={sorted(self.values)!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("metadata", self.metadata), ("type", self.type), ("keys", sorted(self.values))]


class ConfigMap(KubernetesObject, frozen=True, kw_only=True):
    """Text and bytes by key."""

    group: ClassVar[str] = ""
    kind: ClassVar[str] = "ConfigMap"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    ignored: ClassVar[frozenset[str]] = frozenset({"immutable"})

    data: dict[str, str] = msgspec.field(default_factory=dict)
    binary_data: dict[str, bytes] = msgspec.field(default_factory=dict)


class PodStatus(Model, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Where a Pod is reached; the rest of its status is dropped."""

    pod_ip: str = msgspec.field(default="", name="podIP")
    phase: str = ""


class Pod(KubernetesObject, frozen=True, kw_only=True):
    """A workload: its labels and address, for selectors of ServiceEntries and of Services without EndpointSlices."""

    group: ClassVar[str] = ""
    kind: ClassVar[str] = "Pod"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    ignored: ClassVar[frozenset[str]] = frozenset({"spec"})

    status: PodStatus = PodStatus()
