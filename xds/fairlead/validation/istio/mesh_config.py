"""The MeshConfig in a ConfigMap: what it says, and what is wrong with it.

A field that is at fault counts as absent, so that one slip does not take the others away.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from fairlead.models.core import ConfigMap
from fairlead.models.decode import decode_leniently
from fairlead.models.documents import parse
from fairlead.models.istio.destination_rule import TcpKeepalive
from fairlead.models.istio.mesh_config import (
    CONFIG_MAP_KEY,
    CONFIG_MAP_NAME,
    CONFIG_MAP_NAMESPACE,
    AccessLogEncoding,
    MeshConfig,
    TLSConfig,
)
from fairlead.models.istio.proxy_config import ConnectionSettings, ProxyConfig
from fairlead.models.label_selector import LABEL_OPERATORS, LabelSelector
from fairlead.problems import FieldPath, Problem, Severity, error, warning
from fairlead.validation import common
from fairlead.validation.istio import checks
from fairlead.validation.istio.http_route import retry_policy
from fairlead.validation.istio.load_balancer import locality
from fairlead.validation.istio.log_format import json_format, text_format
from fairlead.validation.istio.tls import known_names

_PATH = ("data", CONFIG_MAP_KEY)
_NO_NETWORKS = frozenset({"", "{}", "networks: {}"})
_MOST_TRUSTED_PROXIES = 100


def config_map(obj: ConfigMap) -> Iterator[Problem]:
    """What keeps a ConfigMap from being read as the mesh's; nothing for all others.

    What is wrong with single fields of the MeshConfig is told by `mesh_config`.
    """
    name = obj.metadata.name
    if obj.metadata.namespace != CONFIG_MAP_NAMESPACE or CONFIG_MAP_KEY not in obj.data:
        return
    if name.startswith(f"{CONFIG_MAP_NAME}-"):
        message = f"the MeshConfig of a revision has no effect: only that of the ConfigMap {CONFIG_MAP_NAME} is read"
        hint = f"name the ConfigMap {CONFIG_MAP_NAME}"
        yield warning("no-effect", message, path=("metadata", "name"), hint=hint)
    if name != CONFIG_MAP_NAME:
        return
    _, problems = _mapping(obj.data[CONFIG_MAP_KEY])
    yield from problems
    if obj.data.get("meshNetworks", "").strip() not in _NO_NETWORKS:
        message = "meshNetworks is not supported: endpoints of all networks are reached directly"
        yield warning("unsupported-field", message, path=("data", "meshNetworks"))


def mesh_config(obj: ConfigMap) -> tuple[MeshConfig, tuple[Problem, ...]]:
    """The MeshConfig of a ConfigMap that `config_map` has no fault with, and what is wrong with its fields."""
    data, problems = _mapping(obj.data.get(CONFIG_MAP_KEY, ""))
    if problems:
        return MeshConfig(), ()
    found, told = decode_leniently(MeshConfig, data, _PATH)
    faults = list(told)
    for field, rule in _RULES.items():
        value = getattr(found, field)
        of_field = tuple(rule(value, (*_PATH, common.api_name(found, field))))
        faults += of_field
        if any(problem.severity is Severity.ERROR for problem in of_field):
            found = found.__replace__(**{field: getattr(_DEFAULTS, field)})
    format_faults = tuple(_log_format(found))
    if format_faults:
        found = found.__replace__(access_log_format="")
    return found, tuple(replace(problem, key=obj.key) for problem in (*faults, *format_faults))


_DEFAULTS = MeshConfig()


def _mapping(text: str) -> tuple[Mapping[str, Any], tuple[Problem, ...]]:
    """The MeshConfig as plain data, or why it cannot be read."""
    parsed = parse(text.encode())
    syntax = [problem for problem in parsed.problems if problem.code != "not-an-object"]
    syntax += [problem for item in parsed.items for problem in item.problems]
    # The path leads on into the text: that is how its syntax error is found.
    faults = tuple(
        error(problem.code, problem.message, path=(*_PATH, *(problem.path or ("",))), hint=problem.hint)
        for problem in syntax
    )
    if faults:
        return {}, faults
    if not parsed.items:
        return {}, (error("invalid-value", "a MeshConfig is a mapping", path=_PATH),) if parsed.problems else ()
    return parsed.items[0].data, ()


# --- Rules of fields --------------------------------------------------------------------------------------------------


def _root_namespace(name: str, path: FieldPath) -> Iterator[Problem]:
    if not common.is_dns_label(name):
        yield error("invalid-name", f"{name!r} is no name of a namespace", path=path)


def _keepalive(settings: TcpKeepalive | None, path: FieldPath) -> Iterator[Problem]:
    if settings is not None:
        for name, value in (("time", settings.time), ("interval", settings.interval)):
            yield from checks.duration(value, (*path, name), minimum=checks.SECOND, resolution=checks.SECOND)


def _export_to(names: Iterable[str], path: FieldPath) -> Iterator[Problem]:
    # `.` is the namespace of each object, which no name of a namespace stands for.
    yield from checks.export_to(names, ".", path)


def _selectors(selectors: tuple[LabelSelector, ...], path: FieldPath) -> Iterator[Problem]:
    for index, selector in enumerate(selectors):
        where = (*path, index)
        yield from checks.labels(selector.match_labels, (*where, "matchLabels"))
        for number, asked in enumerate(selector.match_expressions):
            if asked.operator not in LABEL_OPERATORS:
                message = f"{asked.operator!r} is no operator; it has to be {', '.join(sorted(LABEL_OPERATORS))}"
                yield error("invalid-value", message, path=(*where, "matchExpressions", number, "operator"))


def _tls(settings: TLSConfig, path: FieldPath) -> Iterator[Problem]:
    yield from known_names(settings.cipher_suites, "cipher suite", (*path, "cipherSuites"))
    yield from known_names(settings.ecdh_curves, "curve", (*path, "ecdhCurves"))


def proxy_config(config: ProxyConfig, path: FieldPath) -> Iterator[Problem]:
    """What is wrong with the settings of proxies."""
    hops = config.gateway_topology.num_trusted_proxies
    if hops > _MOST_TRUSTED_PROXIES:
        message = f"there can be at most {_MOST_TRUSTED_PROXIES} trusted proxies, not {hops}"
        yield error("invalid-value", message, path=(*path, "gatewayTopology", "numTrustedProxies"))
    yield from _connection_settings(config.connection_settings, (*path, "connectionSettings"))
    if config.proxy_headers.server is not None:
        yield from common.header_value(config.proxy_headers.server.value, (*path, "proxyHeaders", "server", "value"))


_LEAST = {
    "listener_per_connection_buffer_limit_bytes": 1,
    "cluster_per_connection_buffer_limit_bytes": 1,
    "http_max_concurrent_streams": 1,
    "http2_initial_stream_window_size": 65_535,
    "http2_initial_connection_window_size": 65_535,
}
"""Envoy refuses less."""


def _connection_settings(settings: ConnectionSettings, path: FieldPath) -> Iterator[Problem]:
    for field, least in _LEAST.items():
        value = getattr(settings, field)
        if value is not None and value < least:
            name = common.api_name(settings, field)
            yield error("invalid-value", f"{name} has to be {least} at least, not {value}", path=(*path, name))


def _log_format(config: MeshConfig) -> Iterator[Problem]:
    path = (*_PATH, "accessLogFormat")
    if config.access_log_encoding is AccessLogEncoding.JSON:
        yield from json_format(config.access_log_format, path)
    else:
        yield from text_format(config.access_log_format, path)


_RULES: dict[str, Callable[[Any, FieldPath], Iterable[Problem]]] = {
    "root_namespace": _root_namespace,
    "connect_timeout": checks.duration,
    "tcp_keepalive": _keepalive,
    "default_http_retry_policy": lambda value, path: () if value is None else retry_policy(value, path),
    "locality_lb_setting": lambda value, path: () if value is None else locality(value, path),
    "dns_refresh_rate": checks.duration,
    "default_service_export_to": _export_to,
    "default_virtual_service_export_to": _export_to,
    "default_destination_rule_export_to": _export_to,
    "discovery_selectors": _selectors,
    "tls_defaults": _tls,
    "default_config": proxy_config,
}
