"""ProxyConfig of the mesh: what proxies do by themselves (istio.io/latest/docs/reference/config/istio.mesh.v1alpha1).

It is `defaultConfig` of the MeshConfig, and the value of `PROXY_CONFIG` in a node's metadata. Fields that configure the
process of a proxy rather than its listeners are left to whoever starts it.
"""

import enum
from collections.abc import Mapping
from typing import ClassVar

from fairlead.models.base import Model
from fairlead.models.istio.common import UInt32

_OF_THE_PROCESS = "it configures the process of a proxy: give Envoy the option, or write it into its bootstrap"
_TRACING = "tracing is not supported yet"


class ForwardClientCertDetails(enum.Enum):
    """What is done with the header `x-forwarded-client-cert`."""

    UNDEFINED = "UNDEFINED"
    SANITIZE = "SANITIZE"
    FORWARD_ONLY = "FORWARD_ONLY"
    APPEND_FORWARD = "APPEND_FORWARD"
    SANITIZE_SET = "SANITIZE_SET"
    ALWAYS_FORWARD_ONLY = "ALWAYS_FORWARD_ONLY"


class ProxyProtocolConfiguration(Model, frozen=True, kw_only=True):
    """Connections to the listeners of gateways begin with a PROXY protocol header."""


class Topology(Model, frozen=True, kw_only=True):
    """What stands in front of gateways."""

    num_trusted_proxies: UInt32 = 0
    """So many addresses at the end of `x-forwarded-for` are believed."""
    forward_client_cert_details: ForwardClientCertDetails = ForwardClientCertDetails.UNDEFINED
    proxy_protocol: ProxyProtocolConfiguration | None = None


class Disabled(Model, frozen=True, kw_only=True):
    """A header that can be switched off."""

    disabled: bool | None = None
    """It is not added."""


class Enabled(Model, frozen=True, kw_only=True):
    """A header that can be switched on."""

    enabled: bool | None = None
    """It is added."""


class ServerHeader(Model, frozen=True, kw_only=True):
    """The header `server` of responses."""

    disabled: bool | None = None
    """The one of the service is left as it is."""
    value: str = ""
    """Empty for `istio-envoy`."""


class SetCurrentClientCertDetails(Model, frozen=True, kw_only=True):
    """What `x-forwarded-client-cert` says of the client's certificate."""

    subject: bool | None = None
    """The subject."""
    cert: bool | None = None
    """The whole certificate."""
    chain: bool | None = None
    """The whole chain."""
    dns: bool | None = None
    """Its DNS names."""
    uri: bool | None = None
    """Its URIs."""


class ProxyHeaders(Model, frozen=True, kw_only=True):
    """Headers that proxies add."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "metadataExchangeHeaders": "Envoy as it is exchanges none",
        "preserveHttp1HeaderCase": "",
    }

    forwarded_client_cert: ForwardClientCertDetails = ForwardClientCertDetails.UNDEFINED
    """Before what `gatewayTopology` says."""
    set_current_client_cert_details: SetCurrentClientCertDetails | None = None
    request_id: Disabled | None = None
    """`x-request-id`."""
    server: ServerHeader | None = None
    attempt_count: Disabled | None = None
    """`x-envoy-attempt-count`."""
    envoy_debug_headers: Disabled | None = None
    """Others that begin with `x-envoy-`."""
    x_forwarded_host: Enabled | None = None
    """`x-forwarded-host`, when the host is replaced."""
    x_forwarded_port: Enabled | None = None
    """`x-forwarded-port`."""


class ConnectionProfile(enum.Enum):
    """A set of defaults for connections."""

    UNSPECIFIED = "UNSPECIFIED"
    SIDECAR = "SIDECAR"
    EDGE = "EDGE"


class ProxyConfig(Model, frozen=True, kw_only=True):
    """What proxies do by themselves."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "connectionSettings": "limit connections and streams by Envoy's bootstrap",
        "envoyAccessLogService": "use accessLogFile",
        "privateKeyProvider": "Envoy as it is built by default has none",
        "tracing": _TRACING,
        "zipkinAddress": _TRACING,
        **dict.fromkeys(
            """
            availabilityZone binaryPath caCertificatesPem concurrency configPath controlPlaneAuthPolicy customConfigFile
            discoveryAddress discoveryRefreshDelay drainDuration envoyMetricsService envoyMetricsServiceAddress
            extraStatTags fileFlushInterval fileFlushMinSizeKb holdApplicationUntilProxyStarts image interceptionMode
            meshId proxyAdminPort proxyBootstrapTemplatePath proxyMetadata proxyStatsMatcher readinessProbe
            runtimeValues sds serviceCluster statNameLength statsCompression statsdUdpAddress statusPort
            terminationDrainDuration tracingServiceName
            """.split(),  # noqa: SIM905  # legible as words
            _OF_THE_PROCESS,
        ),
    }

    gateway_topology: Topology = Topology()
    proxy_headers: ProxyHeaders = ProxyHeaders()
