"""Rules for DestinationRules (istio.io/latest/docs/reference/config/networking/destination-rule)."""

from collections.abc import Iterator

from fairlead.models.istio.destination_rule import (
    ClientTLSMode,
    ClientTLSSettings,
    ConnectionPoolSettings,
    DestinationRule,
    H2UpgradePolicy,
    HTTPSettings,
    OutlierDetection,
    PortTrafficPolicy,
    TCPSettings,
    TrafficPolicy,
    TunnelSettings,
)
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common
from fairlead.validation.istio import checks
from fairlead.validation.istio.load_balancer import load_balancer


def destination_rule(obj: DestinationRule) -> Iterator[Problem]:
    """What is wrong with a DestinationRule."""
    spec = obj.spec
    yield from checks.service_host(spec.host, ("spec", "host"))
    if spec.traffic_policy is not None:
        yield from _policy(spec.traffic_policy, ("spec", "trafficPolicy"))
    path: FieldPath = ("spec", "subsets")
    for index, subset in enumerate(spec.subsets):
        where = (*path, index)
        yield from checks.dns_label(subset.name, "subset", (*where, "name"))
        yield from checks.labels(subset.labels, (*where, "labels"))
        if subset.traffic_policy is not None:
            yield from _policy(subset.traffic_policy, (*where, "trafficPolicy"))
    names = ((subset.name, (*path, index, "name")) for index, subset in enumerate(spec.subsets))
    yield from common.unique(names, "subset")
    yield from checks.export_to(spec.export_to, obj.metadata.namespace, ("spec", "exportTo"))
    if spec.workload_selector is not None:
        where = ("spec", "workloadSelector", "matchLabels")
        everything = "all proxies of the namespace"
        yield from checks.selector(spec.workload_selector.match_labels, everything, where)
        for index, value in enumerate(spec.export_to):
            if value not in {".", obj.metadata.namespace}:
                message = f"with workloadSelector the rule is its own namespace's, and cannot be exported to {value!r}"
                yield error("invalid-export", message, path=("spec", "exportTo", index), hint="leave exportTo out")


def _policy(policy: TrafficPolicy, path: FieldPath) -> Iterator[Problem]:
    if policy == TrafficPolicy():
        yield error("empty-policy", "the traffic policy is empty", path=path, hint="leave it out")
    yield from _blocks(policy, path)
    if policy.tunnel is not None:
        yield from _tunnel(policy.tunnel, (*path, "tunnel"))
        if policy.proxy_protocol is not None:
            message = "tunnel and proxyProtocol exclude each other"
            yield error("conflicting-fields", message, path=(*path, "proxyProtocol"), hint="keep one of them")
    if policy.retry_budget is not None:
        where: FieldPath = (*path, "retryBudget")
        if policy.retry_budget.percent is not None:
            yield from common.percent(policy.retry_budget.percent, (*where, "percent"))
        yield from checks.duration(policy.retry_budget.budget_interval, (*where, "budgetInterval"))
    yield from common.at_most(policy.port_level_settings, 4096, (*path, "portLevelSettings"))
    ports: set[int] = set()
    for index, settings in enumerate(policy.port_level_settings):
        where = (*path, "portLevelSettings", index)
        if settings.port is None:
            yield error("missing-field", "the settings name no port", path=(*where, "port"), hint="set port.number")
        else:
            number = settings.port.number
            yield from common.port(number, (*where, "port", "number"))
            if number in ports:
                message = f"there are several settings of port {number}, of which the first are used"
                yield warning("duplicate-port", message, path=(*where, "port", "number"), hint="merge them")
            ports.add(number)
        if settings == PortTrafficPolicy(port=settings.port):
            yield error("empty-policy", "the settings of the port are empty", path=where, hint="leave them out")
        yield from _blocks(settings, where)


def _blocks(policy: TrafficPolicy | PortTrafficPolicy, path: FieldPath) -> Iterator[Problem]:
    """The parts that the policy of a service and that of a port have in common."""
    if policy.load_balancer is not None:
        yield from load_balancer(policy.load_balancer, (*path, "loadBalancer"))
    if policy.connection_pool is not None:
        yield from connection_pool(policy.connection_pool, (*path, "connectionPool"))
    if policy.outlier_detection is not None:
        yield from _outliers(policy.outlier_detection, (*path, "outlierDetection"))
    if policy.tls is not None:
        yield from _tls(policy.tls, (*path, "tls"))


def connection_pool(settings: ConnectionPoolSettings, path: FieldPath) -> Iterator[Problem]:
    """Limits and times of connections, to a service or to the workload of a Sidecar."""
    if settings == ConnectionPoolSettings():
        yield error("empty-policy", "the connection pool has neither tcp nor http", path=path, hint="leave it out")
    if settings.tcp is not None:
        yield from _tcp(settings.tcp, (*path, "tcp"))
    if settings.http is not None:
        yield from _http(settings.http, (*path, "http"))


def _tcp(tcp: TCPSettings, path: FieldPath) -> Iterator[Problem]:
    yield from checks.not_negative(tcp.max_connections, (*path, "maxConnections"))
    yield from checks.duration(tcp.connect_timeout, (*path, "connectTimeout"))
    yield from checks.duration(tcp.max_connection_duration, (*path, "maxConnectionDuration"))
    yield from checks.duration(tcp.idle_timeout, (*path, "idleTimeout"), minimum=0)  # 0 is for no limit
    if tcp.tcp_keepalive is not None:
        yield from checks.duration(tcp.tcp_keepalive.time, (*path, "tcpKeepalive", "time"))
        yield from checks.duration(tcp.tcp_keepalive.interval, (*path, "tcpKeepalive", "interval"))


def _http(http: HTTPSettings, path: FieldPath) -> Iterator[Problem]:
    for name, limit in (
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ):
        yield from checks.not_negative(limit, (*path, name))
    yield from checks.duration(http.idle_timeout, (*path, "idleTimeout"))
    if http.h2_upgrade_policy is H2UpgradePolicy.UPGRADE and http.use_client_protocol:
        message = "useClientProtocol and h2UpgradePolicy UPGRADE exclude each other"
        yield error("conflicting-fields", message, path=(*path, "useClientProtocol"), hint="keep one of them")
    if http.http2_keep_alive is not None:
        yield from checks.duration(http.http2_keep_alive.interval, (*path, "http2KeepAlive", "interval"))
        yield from checks.duration(http.http2_keep_alive.timeout, (*path, "http2KeepAlive", "timeout"))


def _outliers(outliers: OutlierDetection, path: FieldPath) -> Iterator[Problem]:
    yield from checks.not_negative(outliers.consecutive_errors, (*path, "consecutiveErrors"))
    if outliers.consecutive_errors > 0:
        where = (*path, "consecutiveErrors")
        newer = outliers.consecutive_5xx_errors is not None or outliers.consecutive_gateway_errors is not None
        if newer:
            message = "consecutiveErrors is deprecated, and ignored beside its successors"
            yield warning("deprecated-field", message, path=where, hint="leave it out")
        else:
            message = "consecutiveErrors is deprecated; it is treated as consecutive5xxErrors"
            hint = f"write consecutive5xxErrors: {outliers.consecutive_errors}"
            yield warning("deprecated-field", message, path=where, hint=hint)
    if outliers.consecutive_local_origin_failures and not outliers.split_external_local_origin_errors:
        message = "consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors"
        where = (*path, "consecutiveLocalOriginFailures")
        yield error("conflicting-fields", message, path=where, hint="set splitExternalLocalOriginErrors to true")
    yield from checks.duration(outliers.interval, (*path, "interval"))
    yield from checks.duration(outliers.base_ejection_time, (*path, "baseEjectionTime"))
    yield from common.percent(outliers.max_ejection_percent, (*path, "maxEjectionPercent"))
    yield from common.percent(outliers.min_health_percent, (*path, "minHealthPercent"))
    for index, code in enumerate(outliers.outlier_detection_http_error_codes):
        yield from common.status(code, (*path, "outlierDetectionHttpErrorCodes", index), low=100)


_CLIENT_PAIR = {"client_certificate": "clientCertificate", "private_key": "privateKey"}
_CLIENT_FILES = {**_CLIENT_PAIR, "ca_certificates": "caCertificates", "ca_crl": "caCrl"}
_CLIENT_ALL = {
    **_CLIENT_FILES,
    "credential_name": "credentialName",
    "subject_alt_names": "subjectAltNames",
    "sni": "sni",
    "insecure_skip_verify": "insecureSkipVerify",
}


def _used(tls: ClientTLSSettings, fields: dict[str, str]) -> list[str]:
    return [name for field, name in fields.items() if getattr(tls, field)]


def _tls(tls: ClientTLSSettings, path: FieldPath) -> Iterator[Problem]:
    if tls.mode is ClientTLSMode.DISABLE:
        for name in _used(tls, _CLIENT_ALL):
            yield checks.no_effect(name, "mode DISABLE uses no TLS", (*path, name), "set mode to SIMPLE or MUTUAL")
        return
    if tls.mode is ClientTLSMode.ISTIO_MUTUAL:
        for name in _used(tls, {**_CLIENT_FILES, "credential_name": "credentialName"}):
            why = "mode ISTIO_MUTUAL uses the mesh's own certificates"
            yield checks.no_effect(name, why, (*path, name), "leave it out, or use mode MUTUAL")
        return
    if tls.credential_name:
        for name in _used(tls, _CLIENT_FILES):
            message = f"{name} cannot be combined with credentialName"
            yield error("conflicting-fields", message, path=(*path, name), hint="keep one of them")
    elif tls.mode is ClientTLSMode.MUTUAL:
        for field, name in _CLIENT_PAIR.items():
            if not getattr(tls, field):
                message = f"mode MUTUAL needs {name}"
                yield error("missing-certificate", message, path=(*path, name), hint="set it, or credentialName")
    else:
        for name in _used(tls, _CLIENT_PAIR):
            why = "mode SIMPLE shows no certificate"
            yield checks.no_effect(name, why, (*path, name), "use mode MUTUAL")
    if tls.insecure_skip_verify:
        fields = {"ca_certificates": "caCertificates", "subject_alt_names": "subjectAltNames"}
        # With MUTUAL the credential is, or may be, the client's own.
        if tls.mode is ClientTLSMode.SIMPLE:
            fields["credential_name"] = "credentialName"
        for name in _used(tls, fields):
            message = f"{name} says how to verify the server, and insecureSkipVerify not to"
            yield error("conflicting-fields", message, path=(*path, name), hint="keep one of them")


def _tunnel(tunnel: TunnelSettings, path: FieldPath) -> Iterator[Problem]:
    if tunnel.protocol not in {"", "CONNECT", "POST"}:
        message = f"{tunnel.protocol!r} is neither CONNECT nor POST"
        yield error("invalid-value", message, path=(*path, "protocol"))
    if not common.is_ip_address(tunnel.target_host):
        yield from common.host(tunnel.target_host, (*path, "targetHost"), wildcard=False)
    yield from common.port(tunnel.target_port, (*path, "targetPort"))
