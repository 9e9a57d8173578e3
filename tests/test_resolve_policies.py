"""Connections, outlier detection and TLS of clusters, and what is told of policies that are not translated."""

import pytest
import yaml
from fairlead.intent import (
    Backend,
    ConnectionPool,
    OutlierDetection,
    Pings,
    RetryBudget,
    TcpKeepalive,
    TlsOrigination,
    Validation,
)
from fairlead.problems import Severity, format_path
from fairlead.resolve import clusters
from fairlead.resolve.scope import Viewer
from support.clusters import API, BACKEND, HOST, SECOND, entry, found, rule, service, told, with_policy
from support.worlds import put, world

# --- Connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tcp", "http_settings", "expected"),
    [
        ("{}", "{}", ConnectionPool()),
        (
            "{maxConnections: 1, connectTimeout: 30ms, maxConnectionDuration: 1h, idleTimeout: 5s}",
            "{}",
            ConnectionPool(
                max_connections=1,
                connect_timeout=30_000_000,
                max_connection_duration=3600 * SECOND,
                idle_timeout=5 * SECOND,
            ),
        ),
        ("{idleTimeout: 5s}", "{idleTimeout: 6s}", ConnectionPool(idle_timeout=6 * SECOND)),
        ("{tcpKeepalive: {}}", "{}", ConnectionPool(keepalive=TcpKeepalive())),
        (
            "{tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}}",
            "{}",
            ConnectionPool(keepalive=TcpKeepalive(3, 7200 * SECOND, 75 * SECOND)),
        ),
        (
            "{}",
            "{http1MaxPendingRequests: 1, http2MaxRequests: 2, maxRequestsPerConnection: 3, maxRetries: 4}",
            ConnectionPool(max_pending_requests=1, max_requests=2, max_requests_per_connection=3, max_retries=4),
        ),
        (
            "{}",
            "{maxConcurrentStreams: 5, http2KeepAlive: {interval: 7s}, h2UpgradePolicy: UPGRADE}",
            ConnectionPool(max_concurrent_streams=5, pings=Pings(7 * SECOND, 20 * SECOND)),
        ),
        (
            "{}",
            "{http2KeepAlive: {interval: 7s, timeout: 1s}, h2UpgradePolicy: UPGRADE}",
            ConnectionPool(pings=Pings(7 * SECOND, SECOND)),
        ),
        (
            "{}",
            "{http2KeepAlive: {timeout: 1s}, h2UpgradePolicy: UPGRADE}",
            ConnectionPool(),
        ),
        ("{}", "{maxConcurrentStreams: 5, http2KeepAlive: {interval: 7s}}", ConnectionPool()),
    ],
)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.connectionPool.{tcp.{maxConnections,connectTimeout,tcpKeepalive.{probes,time,interval},maxConnectionDuration,idleTimeout},http.{http1MaxPendingRequests,http2MaxRequests,maxRequestsPerConnection,maxRetries,idleTimeout,maxConcurrentStreams,http2KeepAlive.{interval,timeout}}}"
)
def test_connections(tcp: str, http_settings: str, expected: ConnectionPool) -> None:
    pool = {"tcp": yaml.safe_load(tcp), "http": yaml.safe_load(http_settings)}
    assert found(with_policy(connectionPool=pool)).connection_pool == expected


def test_idle_connections_without_http_end_by_the_time_of_tcp() -> None:
    pool = {"tcp": {"idleTimeout": "5s"}, "http": {"idleTimeout": "6s"}}
    made = world(service(port_name="tcp"), rule({"connectionPool": pool}))
    assert found(made).connection_pool.idle_timeout == 5 * SECOND


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", RetryBudget(20, 3)),
        ("{percent: 0}", RetryBudget(0, 3)),
        ("{percent: 25.5, minRetryConcurrency: 5}", RetryBudget(25.5, 5)),
    ],
)
@pytest.mark.istio_fields("DestinationRule.trafficPolicy.retryBudget.{percent,minRetryConcurrency}")
def test_budgets_of_retries(written: str, expected: RetryBudget) -> None:
    assert found(with_policy(retryBudget=yaml.safe_load(written))).connection_pool.retry_budget == expected


@pytest.mark.parametrize(("written", "version"), [("{}", 1), ("{version: V1}", 1), ("{version: V2}", 2)])
@pytest.mark.istio_fields("DestinationRule.trafficPolicy.proxyProtocol.version")
def test_the_proxy_protocol(written: str, version: int) -> None:
    assert found(with_policy(proxyProtocol=yaml.safe_load(written))).proxy_protocol_version == version


# --- Outlier detection ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", OutlierDetection(always_eject_one=True)),
        (
            "{consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3m}",
            OutlierDetection(
                consecutive_5xx=1, interval=SECOND, base_ejection_time=180 * SECOND, always_eject_one=True
            ),
        ),
        ("{consecutive5xxErrors: 0, maxEjectionPercent: 50}", OutlierDetection(0, max_ejection_percent=50)),
        (
            "{consecutiveGatewayErrors: 3, maxEjectionPercent: 100, minHealthPercent: 40}",
            OutlierDetection(consecutive_gateway_failures=3, max_ejection_percent=100, minimum_health_percent=40),
        ),
        (
            "{baseEjectionTime: 20s, consecutiveErrors: 3, interval: 5s, maxEjectionPercent: 100}",
            OutlierDetection(3, interval=5 * SECOND, base_ejection_time=20 * SECOND, max_ejection_percent=100),
        ),
        (
            "{outlierDetectionHttpErrorCodes: [429, 503], maxEjectionPercent: 1}",
            OutlierDetection(error_codes=(429, 503), max_ejection_percent=1),
        ),
        ("{consecutiveErrors: 1, maxEjectionPercent: 1}", OutlierDetection(1, max_ejection_percent=1)),
        (
            "{consecutiveErrors: 3, consecutive5xxErrors: 7, maxEjectionPercent: 1}",
            OutlierDetection(7, max_ejection_percent=1),
        ),
        (
            "{consecutiveErrors: 3, consecutiveGatewayErrors: 7, maxEjectionPercent: 1}",
            OutlierDetection(consecutive_gateway_failures=7, max_ejection_percent=1),
        ),
        (
            "{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, maxEjectionPercent: 1}",
            OutlierDetection(split_local_origin=True, consecutive_local_origin_failures=2, max_ejection_percent=1),
        ),
        (
            "{consecutiveLocalOriginFailures: 2, maxEjectionPercent: 1}",
            OutlierDetection(max_ejection_percent=1),
        ),
    ],
)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.outlierDetection.{consecutive5xxErrors,consecutiveGatewayErrors,consecutiveErrors,splitExternalLocalOriginErrors,consecutiveLocalOriginFailures,interval,baseEjectionTime,maxEjectionPercent,minHealthPercent}"
)
def test_outlier_detection(written: str, expected: OutlierDetection) -> None:
    assert found(with_policy(outlierDetection=yaml.safe_load(written))).outlier_detection == expected


# --- TLS --------------------------------------------------------------------------------------------------------------

SYSTEM = Validation(system_authorities=True)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{mode: DISABLE, sni: x}", None),
        ("{mode: SIMPLE}", TlsOrigination(validation=SYSTEM, match_request_host=True)),
        ("{mode: SIMPLE, sni: x}", TlsOrigination("x", validation=SYSTEM)),
        ("{mode: SIMPLE, caCertificates: system}", TlsOrigination(validation=SYSTEM, match_request_host=True)),
        (
            "{mode: SIMPLE, subjectAltNames: [a, b]}",
            TlsOrigination(validation=Validation(system_authorities=True, subject_alternative_names=("a", "b"))),
        ),
        ("{mode: SIMPLE, insecureSkipVerify: true}", TlsOrigination()),
        (
            "{mode: SIMPLE, credentialName: own}",
            TlsOrigination(validation=Validation("kubernetes://own-cacert"), match_request_host=True),
        ),
        (
            "{mode: MUTUAL, credentialName: own, sni: x}",
            TlsOrigination("x", "kubernetes://own", Validation("kubernetes://own-cacert")),
        ),
        (
            "{mode: MUTUAL, credentialName: own, insecureSkipVerify: true}",
            TlsOrigination(credential="kubernetes://own"),
        ),
        (
            "{mode: SIMPLE, caCertificates: /ca.pem, caCrl: /crl.pem, sni: x}",
            TlsOrigination("x", validation=Validation("file-root:/ca.pem~/crl.pem")),
        ),
        (
            "{mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, sni: x}",
            TlsOrigination("x", "file-cert:/c.pem~/k.pem", SYSTEM),
        ),
        ("{mode: ISTIO_MUTUAL}", None),
    ],
)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.tls.{mode,credentialName,sni,subjectAltNames[],insecureSkipVerify,clientCertificate,privateKey,caCertificates,caCrl}"
)
def test_tls(written: str, expected: TlsOrigination | None) -> None:
    assert found(with_policy(tls=yaml.safe_load(written))).tls == expected


@pytest.mark.parametrize(
    ("port_name", "alpn"), [("http", ("istio",)), ("http2", ("istio", "h2")), ("https", ("istio",))]
)
@pytest.mark.istio_fields("DestinationRule.trafficPolicy.tls.mode")
def test_the_workload_certificate_of_the_namespace_is_for_the_mesh(port_name: str, alpn: tuple[str, ...]) -> None:
    secret = "{apiVersion: v1, kind: Secret, metadata: {name: workload-certificate, namespace: %s}}"
    made = world(service(port_name=port_name), rule({"tls": {"mode": "ISTIO_MUTUAL"}}), secret % "other")
    assert found(made).tls is None
    assert told(made) == ["error no-workload-certificates spec.trafficPolicy.tls.mode"]
    put(made, secret % "default")
    assert told(made) == []
    assert found(made).tls == TlsOrigination(
        server_name=f"outbound_.80_._.{HOST}",
        credential="kubernetes://workload-certificate",
        validation=Validation("kubernetes://workload-certificate-cacert"),
        alpn=alpn,
    )


@pytest.mark.istio_fields("ServiceEntry.subjectAltNames[]")
def test_names_of_the_service_entry_count_where_the_rule_has_none() -> None:
    listed = entry(subjectAltNames=["spiffe://a"])
    tls = found(world(listed, rule({"tls": {"mode": "SIMPLE"}}, API.host)), API).tls
    assert tls is not None
    assert tls.validation == Validation(system_authorities=True, subject_alternative_names=("spiffe://a",))
    assert not tls.match_request_host
    tls = found(world(listed, rule({"tls": {"mode": "SIMPLE", "subjectAltNames": ["b"]}}, API.host)), API).tls
    assert tls is not None
    assert tls.validation == Validation(system_authorities=True, subject_alternative_names=("b",))


def test_http2_is_offered_where_it_is_spoken() -> None:
    tls = found(world(service(port_name="http2"), rule({"tls": {"mode": "SIMPLE"}}))).tls
    assert tls is not None
    assert tls.alpn == ("h2",)


def test_bytes_have_no_host_to_match() -> None:
    made = world(service(port_name="tcp"), rule({"tls": {"mode": "SIMPLE"}}))
    tls = found(made).tls
    assert tls is not None
    assert not tls.match_request_host
    assert told(made) == ["warning no-server-name spec.trafficPolicy.tls"]


# --- What is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("loadBalancer: {simple: PASSTHROUGH}", "unsupported-value loadBalancer.simple"),
        ("loadBalancer: {consistentHash: {httpCookie: {name: c, attributes: [{name: SameSite}]}}}", ""),
        ("loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}", "no-effect loadBalancer.warmup"),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true}, warmupDurationSecs: 1s}",
            "no-effect loadBalancer.warmupDurationSecs",
        ),
        ("loadBalancer: {localityLbSetting: {}}", "no-outlier-detection loadBalancer.localityLbSetting"),
        ("loadBalancer: {localityLbSetting: {enabled: false}}", ""),
        ("{loadBalancer: {localityLbSetting: {}}, outlierDetection: {}}", ""),
        ("loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 100}}]}}", ""),
        ("connectionPool: {http: {http2KeepAlive: {interval: 1s}}}", "no-effect connectionPool.http.http2KeepAlive"),
        ("connectionPool: {http: {maxConcurrentStreams: 1}}", "no-effect connectionPool.http.maxConcurrentStreams"),
        ("outlierDetection: {consecutiveErrors: 1}", ""),
        ("outlierDetection: {outlierDetectionHttpErrorCodes: [429]}", ""),
        (
            "outlierDetection: {consecutiveLocalOriginFailures: 1}",
            "no-effect outlierDetection.consecutiveLocalOriginFailures",
        ),
        ("tls: {mode: SIMPLE, sni: x, caCertificates: /ca.pem, caCrl: /crl.pem}", ""),
        ("tls: {mode: SIMPLE, sni: x, caCertificates: system}", ""),
        ("tls: {mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem}", ""),
        ("tls: {mode: ISTIO_MUTUAL}", "no-workload-certificates tls.mode"),
        ("retryBudget: {percent: 10}", ""),
        ("tunnel: {targetHost: a, targetPort: 1}", "no-effect tunnel"),
        ("connectionPool: {http: {http1MaxPendingRequests: 1}}", ""),
    ],
)
def test_what_is_not_translated_is_told_where_it_is_written(policy: str, expected: str) -> None:
    written = yaml.safe_load(policy)
    problems = clusters.cluster(with_policy(**written), Viewer("default"), BACKEND).problems
    assert ", ".join(f"{item.code} {format_path(item.path[2:])}" for item in problems) == expected
    assert all(item.path[:2] == ("spec", "trafficPolicy") for item in problems)
    assert all(str(item.key) == "DestinationRule default/rule" for item in problems)
    errors = [item.code for item in problems if item.severity is Severity.ERROR]
    assert errors == (["no-workload-certificates"] if "ISTIO_MUTUAL" in policy else [])


def test_settings_of_http_have_no_effect_on_bytes() -> None:
    policy = {
        "connectionPool": {"http": {"useClientProtocol": True, "h2UpgradePolicy": "UPGRADE"}},
        "loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}},
        "outlierDetection": {"outlierDetectionHttpErrorCodes": [429]},
    }
    assert told(world(service(port_name="tcp"), rule(policy))) == [
        "warning no-effect spec.trafficPolicy.connectionPool.http.useClientProtocol",
        "warning no-effect spec.trafficPolicy.connectionPool.http.h2UpgradePolicy",
        "warning no-effect spec.trafficPolicy.loadBalancer.consistentHash",
        "warning no-effect spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes",
    ]
    bytes_too = {
        "loadBalancer": {"consistentHash": {"useSourceIp": True}},
        "tunnel": {"targetHost": "a", "targetPort": 1},
    }
    assert told(world(service(port_name="tcp"), rule(bytes_too))) == []


def test_the_path_leads_to_the_subset_and_port_at_fault() -> None:
    subset = {
        "name": "v1",
        "trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "PASSTHROUGH"}}]},
    }
    assert told(world(service(), rule(subsets=[subset])), Backend(HOST, 80, "v1")) == [
        "warning unsupported-value spec.subsets[0].trafficPolicy.portLevelSettings[0].loadBalancer.simple"
    ]


def test_the_node_of_a_proxy_is_not_known() -> None:
    assert told(world(service(trafficDistribution="PreferSameNode"))) == [
        "warning unsupported-value spec.trafficDistribution"
    ]
