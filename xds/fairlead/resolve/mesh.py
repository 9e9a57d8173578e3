"""Settings of the whole mesh, from the MeshConfig.

Each setting is a derived value of its own, so that a change of one recomputes only what depends on it.
"""

import json
from dataclasses import replace
from typing import Any

from fairlead.derive import derived, derived_map
from fairlead.intent import (
    AccessLog,
    EscapedSlashes,
    ForwardedCertificate,
    HeadersWithUnderscores,
    HttpLimits,
    HttpOptions,
    Nanoseconds,
)
from fairlead.models.base import Duration
from fairlead.models.core import ConfigMap
from fairlead.models.decode import decode_leniently
from fairlead.models.istio import destination_rule as models
from fairlead.models.istio.mesh_config import (
    CONFIG_MAP_KEY,
    AccessLogEncoding,
    MeshConfig,
    NormalizationType,
    OutboundTrafficMode,
    OutboundTrafficPolicy,
    TLSConfig,
)
from fairlead.models.istio.proxy_config import (
    ConnectionProfile,
    ConnectionSettings,
    ForwardClientCertDetails,
    HeadersWithUnderscoresAction,
    PathWithEscapedSlashesAction,
    ProxyConfig,
    ProxyHeaders,
)
from fairlead.models.istio.virtual_service import HTTPRetry
from fairlead.problems import FieldPath, ObjectKey, Problem, error
from fairlead.resolve.outcome import Outcome
from fairlead.validation.istio.log_format import DEFAULT_JSON, DEFAULT_TEXT
from fairlead.validation.istio.mesh_config import mesh_config, proxy_config
from fairlead.world import MESH_CONFIG, ObjectName, World

DEFAULT_DNS_REFRESH_RATE: Nanoseconds = 60_000_000_000
KEY = ObjectKey(ConfigMap.group, ConfigMap.kind, MESH_CONFIG.namespace, MESH_CONFIG.name)
"""The object that the MeshConfig is in."""
PATH: FieldPath = ("data", CONFIG_MAP_KEY)
"""The field of that object."""


@derived
def _read(world: World) -> Outcome[MeshConfig]:
    found = world.objects(ConfigMap).get(MESH_CONFIG)
    return Outcome(MeshConfig()) if found is None else Outcome(*mesh_config(found))


@derived
def _setting(world: World, field: str) -> Any:
    return getattr(_read(world).value, field)


@derived
def _names(world: World) -> frozenset[ObjectName]:
    return frozenset() if world.objects(ConfigMap).get(MESH_CONFIG) is None else frozenset({MESH_CONFIG})


@derived_map(_names)
def reviews(world: World, _name: ObjectName) -> tuple[Problem, ...] | None:
    """What is wrong with the fields of the MeshConfig."""
    return _read(world).problems or None


# --- Who sees what ----------------------------------------------------------------------------------------------------


def root_namespace(world: World) -> str:
    """The namespace whose objects hold for all others."""
    found: str = _setting(world, "root_namespace")
    return found


def service_export(world: World, export_to: tuple[str, ...]) -> tuple[str, ...]:
    """Namespaces that see a Service or ServiceEntry that is exported to these."""
    return export_to or _setting(world, "default_service_export_to")


def virtual_service_export(world: World, export_to: tuple[str, ...]) -> tuple[str, ...]:
    """Namespaces that see a VirtualService that is exported to these."""
    return export_to or _setting(world, "default_virtual_service_export_to")


def destination_rule_export(world: World, export_to: tuple[str, ...]) -> tuple[str, ...]:
    """Namespaces that see a DestinationRule that is exported to these."""
    return export_to or _setting(world, "default_destination_rule_export_to")


# --- Listeners --------------------------------------------------------------------------------------------------------


@derived
def access_log(world: World) -> AccessLog | None:
    """The access log of requests and connections; None when there is none."""
    file: str = _setting(world, "access_log_file")
    if not file:
        return None
    written: str = _setting(world, "access_log_format")
    if _setting(world, "access_log_encoding") is AccessLogEncoding.JSON:
        # Made anew, so that spaces that mean nothing change no listener.
        return AccessLog(file, json.dumps(json.loads(written) if written else DEFAULT_JSON), is_json=True)
    written = written or DEFAULT_TEXT
    return AccessLog(file, written if written.endswith("\n") else f"{written}\n")


@derived
def listener_log(world: World) -> AccessLog | None:
    """The access log of connections that no filter chain takes; None when there is none."""
    return None if _setting(world, "disable_envoy_listener_log") else access_log(world)


_ESCAPED_SLASHES = {
    PathWithEscapedSlashesAction.KEEP_UNCHANGED: EscapedSlashes.KEEP,
    PathWithEscapedSlashesAction.REJECT_REQUEST: EscapedSlashes.REJECT_REQUEST,
    PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT: EscapedSlashes.REDIRECT,
    PathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD: EscapedSlashes.FORWARD,
}
_UNDERSCORES = {
    HeadersWithUnderscoresAction.REJECT_REQUEST: HeadersWithUnderscores.REJECT_REQUEST,
    HeadersWithUnderscoresAction.DROP_HEADER: HeadersWithUnderscores.DROP_HEADER,
}
_MINUTE = 60 * 10**9  # nanoseconds
_EDGE = ConnectionSettings(
    listener_per_connection_buffer_limit_bytes=32 << 10,
    http_idle_timeout=Duration(60 * _MINUTE),
    http_stream_idle_timeout=Duration(5 * _MINUTE),
    http_request_timeout=Duration(5 * _MINUTE),
    http_request_headers_timeout=Duration(_MINUTE),
    http_max_concurrent_streams=100,
    http2_initial_stream_window_size=64 << 10,
    http2_initial_connection_window_size=1 << 20,
    http_headers_with_underscores_action=HeadersWithUnderscoresAction.REJECT_REQUEST,
    http_merge_slashes=True,
    http_path_with_escaped_slashes_action=PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT,
)
"""The profile EDGE (envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge)."""
_FORWARDED_CERTIFICATES = {
    ForwardClientCertDetails.SANITIZE: ForwardedCertificate.SANITIZE,
    ForwardClientCertDetails.FORWARD_ONLY: ForwardedCertificate.FORWARD_ONLY,
    ForwardClientCertDetails.APPEND_FORWARD: ForwardedCertificate.APPEND_FORWARD,
    ForwardClientCertDetails.SANITIZE_SET: ForwardedCertificate.SANITIZE_SET,
    ForwardClientCertDetails.ALWAYS_FORWARD_ONLY: ForwardedCertificate.ALWAYS_FORWARD_ONLY,
}
_DEFAULTS = HttpOptions()


def own_config(data: object) -> tuple[str, tuple[Problem, ...]]:
    """What counts of the ProxyConfig that a gateway brings, in canonical form, and what is wrong with that.

    It takes the place of the mesh's `defaultConfig`. Clusters are the same for all proxies, with limits of the mesh's.
    """
    if not isinstance(data, dict):
        return "", (error("wrong-type", "a mapping is expected"),)
    counts = {name: data[name] for name in _OWN if name in data}
    config, problems = decode_leniently(ProxyConfig, counts, ())
    return json.dumps(counts, sort_keys=True), (*problems, *proxy_config(config, ()))


_OWN = ("connectionSettings", "gatewayTopology", "proxyHeaders")


@derived
def _proxy_config(world: World, own: str = "") -> ProxyConfig:
    found: ProxyConfig = _setting(world, "default_config")
    return decode_leniently(ProxyConfig, json.loads(own), ())[0] if own else found


def _connection_settings(config: ProxyConfig, *, gateway: bool) -> ConnectionSettings:
    """What is said of clients' connections, over what the profile says."""
    given = config.connection_settings
    if not gateway or given.profile is not ConnectionProfile.EDGE:
        return given
    own = {name: getattr(given, name) for name in given.__struct_fields__}
    unsaid = (None, HeadersWithUnderscoresAction.UNSPECIFIED, PathWithEscapedSlashesAction.UNSPECIFIED)
    return _EDGE.__replace__(**{name: value for name, value in own.items() if value not in unsaid})


def _limits(settings: ConnectionSettings) -> HttpLimits:
    underscores = settings.http_headers_with_underscores_action
    return HttpLimits(
        idle_timeout=settings.http_idle_timeout,
        max_connection_duration=settings.http_max_connection_duration,
        max_stream_duration=settings.http_max_stream_duration,
        stream_idle_timeout=settings.http_stream_idle_timeout,
        request_timeout=settings.http_request_timeout,
        request_headers_timeout=settings.http_request_headers_timeout,
        drain_timeout=settings.http_drain_timeout,
        max_concurrent_streams=settings.http_max_concurrent_streams,
        stream_window=settings.http2_initial_stream_window_size,
        connection_window=settings.http2_initial_connection_window_size,
        headers_with_underscores=_UNDERSCORES.get(underscores, HeadersWithUnderscores.ALLOW),
    )


@derived
def listener_buffer_limit(world: World, own: str = "") -> int | None:
    """Bytes of each connection to a gateway; None for the proxy's default."""
    return _connection_settings(_proxy_config(world, own), gateway=True).listener_per_connection_buffer_limit_bytes


@derived
def http_options(world: World, own: str = "") -> HttpOptions:
    """How gateways treat HTTP, whatever the route."""
    return _http_options(world, own, gateway=True)


def _http_options(world: World, own: str, *, gateway: bool) -> HttpOptions:
    config = _proxy_config(world, own)
    settings = _connection_settings(config, gateway=gateway)
    topology, headers = config.gateway_topology, config.proxy_headers
    # What is said of headers goes before what is said of what stands in front.
    certificate = headers.forwarded_client_cert
    if certificate is ForwardClientCertDetails.UNDEFINED:
        certificate = topology.forward_client_cert_details
    debug, port = headers.envoy_debug_headers, headers.x_forwarded_port
    normalization = _setting(world, "path_normalization").normalization
    decodes = normalization is NormalizationType.DECODE_AND_MERGE_SLASHES
    merges = decodes or normalization is NormalizationType.MERGE_SLASHES
    return HttpOptions(
        server_name=_server_name(headers),
        trusted_hops=topology.num_trusted_proxies,
        forwarded_certificate=_FORWARDED_CERTIFICATES.get(certificate, _DEFAULTS.forwarded_certificate),
        certificate_details=_certificate_details(headers),
        normalize_path=normalization is not NormalizationType.NONE,
        merge_slashes=merges if settings.http_merge_slashes is None else settings.http_merge_slashes,
        escaped_slashes=_ESCAPED_SLASHES.get(
            settings.http_path_with_escaped_slashes_action, EscapedSlashes.FORWARD if decodes else EscapedSlashes.KEEP
        ),
        limits=_limits(settings),
        request_id=headers.request_id is None or not headers.request_id.disabled,
        debug_headers=debug is None or not debug.disabled,
        forwarded_port=port is not None and bool(port.enabled),
    )


@derived
def sidecar_http_options(world: World) -> HttpOptions:
    """How sidecars treat HTTP: no proxies stand in front, and without certificates nobody's can be told."""
    options = _http_options(world, "", gateway=False)
    return replace(options, trusted_hops=0, forwarded_certificate=ForwardedCertificate.SANITIZE)


def _server_name(headers: ProxyHeaders) -> str | None:
    if headers.server is None:
        return _DEFAULTS.server_name
    return None if headers.server.disabled else headers.server.value or _DEFAULTS.server_name


def _certificate_details(headers: ProxyHeaders) -> tuple[str, ...]:
    chosen = headers.set_current_client_cert_details
    if chosen is None:
        return _DEFAULTS.certificate_details
    return tuple(name for name in ("subject", "cert", "chain", "dns", "uri") if getattr(chosen, name))


@derived
def proxy_protocol(world: World, own: str = "") -> bool:
    """Whether connections to gateways begin with a PROXY protocol header."""
    return _proxy_config(world, own).gateway_topology.proxy_protocol is not None


# --- Requests ---------------------------------------------------------------------------------------------------------


@derived
def attempt_count(world: World, own: str = "") -> bool:
    """Whether services are told how often a request has been tried."""
    header = _proxy_config(world, own).proxy_headers.attempt_count
    return header is None or not header.disabled


@derived
def forwarded_host(world: World, own: str = "") -> bool:
    """Whether services are told the host that was asked for, where it is replaced."""
    header = _proxy_config(world, own).proxy_headers.x_forwarded_host
    return header is not None and bool(header.enabled)


def retry_policy(world: World) -> HTTPRetry | None:
    """When requests are sent again whose route does not say it; None for Istio's own policy."""
    found: HTTPRetry | None = _setting(world, "default_http_retry_policy")
    return found


# --- Clusters ---------------------------------------------------------------------------------------------------------


def connect_timeout(world: World) -> Nanoseconds | None:
    """How long to wait for a connection to a service; None for the default."""
    found: int | None = _setting(world, "connect_timeout")
    return found


def tcp_keepalive(world: World) -> models.TcpKeepalive | None:
    """Keep-alive probes of connections to services; None for none."""
    found: models.TcpKeepalive | None = _setting(world, "tcp_keepalive")
    return found


@derived
def cluster_buffer_limit(world: World) -> int | None:
    """Bytes of each connection to a service; None for the proxy's default."""
    return _proxy_config(world).connection_settings.cluster_per_connection_buffer_limit_bytes


def dns_refresh_rate(world: World) -> Nanoseconds:
    """How often names are resolved."""
    found: int | None = _setting(world, "dns_refresh_rate")
    return DEFAULT_DNS_REFRESH_RATE if found is None else found


def outbound_traffic_mode(world: World) -> OutboundTrafficMode | None:
    """What is done with requests to unknown hosts where no Sidecar says it; None for Istio's default."""
    policy: OutboundTrafficPolicy | None = _setting(world, "outbound_traffic_policy")
    return None if policy is None else policy.mode


def upgrades_to_http2(world: World) -> bool:
    """Whether HTTP/2 is spoken with services whose ports say HTTP."""
    return _setting(world, "h2_upgrade_policy") is models.H2UpgradePolicy.UPGRADE


def locality_setting(world: World) -> models.LocalityLoadBalancerSetting | None:
    """Preferences among localities for services that have none of their own."""
    found: models.LocalityLoadBalancerSetting | None = _setting(world, "locality_lb_setting")
    return found


def tls_defaults(world: World) -> TLSConfig:
    """Limits of handshakes where nothing else is said."""
    found: TLSConfig = _setting(world, "tls_defaults")
    return found
