"""MeshConfig: settings of the whole mesh (istio.io/latest/docs/reference/config/istio.mesh.v1alpha1).

It is no object, but the text of the key `mesh` in the ConfigMap `istio` of the namespace `istio-system`.
"""

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from fairlead.models.base import Duration, Model
from fairlead.models.istio.destination_rule import H2UpgradePolicy, LocalityLoadBalancerSetting, TcpKeepalive
from fairlead.models.istio.gateway import TLSProtocol
from fairlead.models.istio.proxy_config import ProxyConfig
from fairlead.models.istio.virtual_service import HTTPRetry
from fairlead.models.label_selector import LabelSelector

CONFIG_MAP_NAMESPACE = "istio-system"
CONFIG_MAP_NAME = "istio"
CONFIG_MAP_KEY = "mesh"
"""Where Istio's installation puts the MeshConfig."""

_NOT_CAPTURED = "no connections are captured: sidecars have listeners of their own"
_NO_INGRESS = "write a Gateway and a VirtualService for each Ingress"
_NO_CONTROL_PLANE = "it configures Istio's own control plane or certificate authority"
_NO_IDENTITIES = "no certificates are issued: write mode MUTUAL, or ISTIO_MUTUAL and a Secret workload-certificate"
_NO_PROVIDERS = "use accessLogFile for access logs; Envoy's own statistics are at /stats/prometheus of its admin port"


class AccessLogEncoding(enum.Enum):
    """How lines of the access log are written."""

    TEXT = "TEXT"
    JSON = "JSON"


class NormalizationType(enum.Enum):
    """What is done to paths before routes are chosen; DEFAULT is BASE."""

    DEFAULT = "DEFAULT"
    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


class ProxyPathNormalization(Model, frozen=True, kw_only=True):
    """Normalisation of paths."""

    normalization: NormalizationType = NormalizationType.DEFAULT


class TLSConfig(Model, frozen=True, kw_only=True):
    """Limits of handshakes, where nothing else is said."""

    min_protocol_version: TLSProtocol = TLSProtocol.TLS_AUTO
    ecdh_curves: tuple[str, ...] = ()
    """Unknown ones are left out with a warning."""
    cipher_suites: tuple[str, ...] = ()
    """Unknown ones are left out with a warning."""


class OutboundTrafficMode(enum.Enum):
    """What sidecars do with requests to unknown hosts."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"
    ALLOW_ANY_DYNAMIC_DNS = "ALLOW_ANY_DYNAMIC_DNS"
    """The same here."""


class OutboundTrafficPolicy(Model, frozen=True, kw_only=True):
    """Requests to unknown hosts."""

    unsupported: ClassVar[Mapping[str, str]] = {"tls": "applications encrypt what they send to unknown hosts"}

    mode: OutboundTrafficMode = OutboundTrafficMode.ALLOW_ANY
    """`REGISTRY_ONLY`: answered with 502. Else they go where DNS says, if only the application can send them."""


class MeshConfig(Model, frozen=True, kw_only=True):
    """Settings of the whole mesh."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "ca": _NO_CONTROL_PLANE,
        "caCertificates": _NO_IDENTITIES,
        "certificates": _NO_CONTROL_PLANE,
        "configSources": "name folders or files on the command line",
        "defaultInboundHttpRetryPolicy": "requests that reach a workload are not sent to it again",
        "defaultProviders": _NO_PROVIDERS,
        "defaultTrafficPolicy": "write a DestinationRule for the hosts",
        "enableAutoMtls": _NO_IDENTITIES,
        "enableEnvoyAccessLogService": "use accessLogFile",
        "enablePrometheusMerge": "Envoy's own statistics are at /stats/prometheus of its admin port",
        "enableTracing": "tracing is not supported yet",
        "extensionProviders": _NO_PROVIDERS,
        "hboneIdleTimeout": "there are no waypoints",
        "inboundClusterStatName": "statistics of clusters have the clusters' names",
        "inboundTrafficPolicy": _NOT_CAPTURED,
        "ingressClass": _NO_INGRESS,
        "ingressControllerMode": _NO_INGRESS,
        "ingressSelector": _NO_INGRESS,
        "ingressService": _NO_INGRESS,
        "meshMTLS": _NO_IDENTITIES,
        "outboundClusterStatName": "statistics of clusters have the clusters' names",
        "protocolDetectionTimeout": "name the protocol of the port",
        "proxyHttpPort": "use fairlead bootstrap --http-proxy-port",
        "proxyInboundListenPort": _NOT_CAPTURED,
        "proxyListenPort": _NOT_CAPTURED,
        "serviceEntryVisibility": "use exportTo of the ServiceEntries",
        "serviceScopeConfigs": "there is one cluster only",
        "serviceSettings": "there is one cluster only",
        "trustDomain": "no policy that names workloads is read yet",
        "trustDomainAliases": "no policy that names workloads is read yet",
        "verifyCertificateAtClient": "name the authorities in DestinationRules",
        "zoneAwareLbSetting": "use localityLbSetting",
    }

    root_namespace: str = "istio-system"
    """DestinationRules of this namespace hold for services that have none of their own."""
    access_log_file: str = ""
    """A file of the proxy, such as /dev/stdout; empty for no access log."""
    access_log_format: str = ""
    """Envoy's format strings, or a JSON object of them; empty for Istio's own."""
    access_log_encoding: AccessLogEncoding = AccessLogEncoding.TEXT
    disable_envoy_listener_log: bool = False
    """No log of the connections that no server takes."""
    connect_timeout: Duration | None = None
    """To services; absent for 10 s."""
    tcp_keepalive: TcpKeepalive | None = None
    """Of connections to services whose DestinationRule has none."""
    default_http_retry_policy: HTTPRetry | None = None
    """Of routes that have no `retries`."""
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    """Of services whose DestinationRule has none."""
    dns_refresh_rate: Duration | None = None
    """Absent for 60 s."""
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
    """Of sidecars whose Sidecar has none; absent for `ALLOW_ANY`."""
    h2_upgrade_policy: H2UpgradePolicy = msgspec.field(default=H2UpgradePolicy.DO_NOT_UPGRADE, name="h2UpgradePolicy")
    path_normalization: ProxyPathNormalization = ProxyPathNormalization()
    default_service_export_to: tuple[str, ...] = ()
    """Of Services and ServiceEntries without `exportTo`; empty for all namespaces, as are those below."""
    default_virtual_service_export_to: tuple[str, ...] = ()
    """Of VirtualServices without `exportTo`."""
    default_destination_rule_export_to: tuple[str, ...] = ()
    """Of DestinationRules without `exportTo`."""
    discovery_selectors: tuple[LabelSelector, ...] = ()
    """Objects of namespaces that none of these selects count as absent; empty for all namespaces."""
    tls_defaults: TLSConfig = TLSConfig()
    default_config: ProxyConfig = ProxyConfig()
