"""ProxyConfig of the mesh: what proxies do by themselves (istio.io/latest/docs/reference/config/istio.mesh.v1alpha1).

It is `defaultConfig` of the MeshConfig, and the value of `PROXY_CONFIG` in a node's metadata. Fields that configure the
process of a proxy rather than its listeners are left to whoever starts it.
"""

import enum
from collections.abc import Mapping
from typing import ClassVar

from fairlead.models.base import Duration, Model
from fairlead.models.istio.common import Int32, UInt32

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
    """A set of defaults for connections; EDGE is Envoy's advice for proxies whose clients are strangers."""

    SIDECAR = "SIDECAR"
    EDGE = "EDGE"


class HeadersWithUnderscoresAction(enum.Enum):
    """What is done with headers that have an underscore in their name."""

    UNSPECIFIED = "HEADERS_WITH_UNDERSCORES_UNSPECIFIED"
    ALLOW = "HEADERS_WITH_UNDERSCORES_ALLOW"
    REJECT_REQUEST = "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST"
    DROP_HEADER = "HEADERS_WITH_UNDERSCORES_DROP_HEADER"


class PathWithEscapedSlashesAction(enum.Enum):
    """What is done with slashes that are written as `%2F` or `%5C`."""

    UNSPECIFIED = "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED"
    KEEP_UNCHANGED = "KEEP_UNCHANGED"
    REJECT_REQUEST = "REJECT_REQUEST"
    UNESCAPE_AND_REDIRECT = "UNESCAPE_AND_REDIRECT"
    UNESCAPE_AND_FORWARD = "UNESCAPE_AND_FORWARD"


class ConnectionSettings(Model, frozen=True, kw_only=True):
    """Limits of clients' connections and requests; absent ones are the profile's, else Envoy's."""

    unsupported: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("globalDownstreamConnectionLimit", "listenerConnectionLimit"),
        "set the limit in the overload manager of Envoy's bootstrap",
    )

    profile: ConnectionProfile = ConnectionProfile.SIDECAR
    """EDGE is for gateways only."""
    listener_per_connection_buffer_limit_bytes: Int32 | None = None
    """EDGE: 32 KiB."""
    cluster_per_connection_buffer_limit_bytes: Int32 | None = None
    """Of connections to services."""
    http_idle_timeout: Duration | None = None
    """Of connections; EDGE: 1 h."""
    http_max_connection_duration: Duration | None = None
    """Then the connection is drained."""
    http_drain_timeout: Duration | None = None
    """How long a connection that is drained may go on."""
    http_request_timeout: Duration | None = None
    """Until the whole request has arrived; EDGE: 5 min."""
    http_request_headers_timeout: Duration | None = None
    """Until the request's headers have arrived; EDGE: 60 s."""
    http_stream_idle_timeout: Duration | None = None
    """How long a request may be silent; absent for any time, EDGE: 5 min."""
    http_max_stream_duration: Duration | None = None
    """From the beginning of a request to the end of its answer."""
    http_max_concurrent_streams: Int32 | None = None
    """Requests at once on an HTTP/2 connection; EDGE: 100."""
    http2_initial_stream_window_size: Int32 | None = None
    """Bytes; EDGE: 64 KiB."""
    http2_initial_connection_window_size: Int32 | None = None
    """Bytes; EDGE: 1 MiB."""
    http_headers_with_underscores_action: HeadersWithUnderscoresAction = HeadersWithUnderscoresAction.UNSPECIFIED
    """EDGE: such requests are rejected."""
    http_merge_slashes: bool | None = None
    """Before `pathNormalization`; EDGE: true."""
    http_path_with_escaped_slashes_action: PathWithEscapedSlashesAction = PathWithEscapedSlashesAction.UNSPECIFIED
    """Before `pathNormalization`; EDGE: decoded, and the client is redirected."""


class ProxyConfig(Model, frozen=True, kw_only=True):
    """What proxies do by themselves."""

    unsupported: ClassVar[Mapping[str, str]] = {
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
    connection_settings: ConnectionSettings = ConnectionSettings()
