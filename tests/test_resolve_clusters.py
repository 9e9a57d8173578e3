"""Clusters: what DestinationRules, Services and ServiceEntries together mean, and what is told of the rest."""

import ast
import inspect
from dataclasses import fields
from typing import Any

import pytest
import yaml
from fairlead.intent import (
    Backend,
    Cluster,
    ConnectionPool,
    Discovery,
    Endpoint,
    HashKey,
    HashKeyKind,
    LoadBalancer,
    LoadBalancing,
    LocalityEndpoints,
    OutlierDetection,
    TcpKeepalive,
    TlsOrigination,
    UpstreamProtocol,
    Validation,
)
from fairlead.problems import Severity, format_path
from fairlead.resolve import clusters, upstream_tls
from fairlead.world import World
from support.worlds import put, world

SECOND = 1_000_000_000
HOST = "shop.default.svc.cluster.local"
BACKEND = Backend(HOST, 80)


def service(name: str = "shop", port_name: str = "http", **spec: Any) -> str:
    ports = [{"name": port_name, "port": 80}]
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports, **spec}}
    )


def rule(policy: dict[str, Any] | None = None, host: str = "shop", **spec: Any) -> str:
    written = {"host": host, "trafficPolicy": policy or {}, **spec}
    return yaml.safe_dump(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "rule"},
            "spec": written,
        }
    )


def entry(resolution: str = "DNS", *, host: str = "api.example.com", protocol: str = "HTTP", **spec: Any) -> str:
    ports = [{"number": 80, "name": "web", "protocol": protocol}]
    return yaml.safe_dump(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "api"},
            "spec": {"hosts": [host], "ports": ports, "resolution": resolution, **spec},
        }
    )


API = Backend("api.example.com", 80)


def found(made: World, backend: Backend = BACKEND) -> Cluster:
    outcome = clusters.cluster(made, "default", backend)
    assert outcome.value is not None
    return outcome.value


def told(made: World, backend: Backend = BACKEND) -> list[str]:
    """`severity code path` of each problem, after a look at what every problem needs."""
    problems = clusters.cluster(made, "default", backend).problems
    for problem in problems:
        assert problem.key is not None
        assert not problem.message.endswith(".")
    return [f"{problem.severity} {problem.code} {format_path(problem.path)}" for problem in problems]


def with_policy(**policy: Any) -> World:
    return world(service(), rule(policy))


# --- Discovery and protocol -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "backend", [Backend("unknown.default.svc.cluster.local", 80), Backend(HOST, 99), Backend(HOST, 80, "v9")]
)
def test_what_is_unknown_has_no_cluster(backend: Backend) -> None:
    outcome = clusters.cluster(world(service(), rule(subsets=[{"name": "v1"}])), "default", backend)
    assert outcome.value is None
    assert not outcome.problems, "whoever refers to it tells"


def test_a_service_without_rules_has_the_defaults() -> None:
    cluster = found(world(service()))
    assert cluster == Cluster(
        BACKEND,
        Discovery.ASSIGNED,
        UpstreamProtocol.HTTP1,
        origin=cluster.origin,
        connection_pool=ConnectionPool(connect_timeout=10 * SECOND),
    )
    assert [str(key) for key in cluster.origin] == ["Service default/shop"]


@pytest.mark.parametrize(
    ("text", "backend", "discovery", "names"),
    [
        (service(), BACKEND, Discovery.ASSIGNED, []),
        (service(clusterIP="None"), BACKEND, Discovery.ASSIGNED, []),
        (service(type="ExternalName", externalName="example.com"), BACKEND, Discovery.STRICT_DNS, ["example.com:80"]),
        (entry("STATIC", endpoints=[{"address": "10.0.0.1"}]), API, Discovery.ASSIGNED, []),
        (entry("DNS"), API, Discovery.STRICT_DNS, ["api.example.com:80"]),
        (
            entry(
                "DNS", endpoints=[{"address": "b.example.com"}, {"address": "a.example.com", "ports": {"web": 8080}}]
            ),
            API,
            Discovery.STRICT_DNS,
            ["a.example.com:8080", "b.example.com:80"],
        ),
        (entry("DNS_ROUND_ROBIN"), API, Discovery.LOGICAL_DNS, ["api.example.com:80"]),
        (entry("NONE"), API, Discovery.ASSIGNED, []),
    ],
)
@pytest.mark.istio_fields("ServiceEntry.resolution")
def test_how_endpoints_are_found(text: str, backend: Backend, discovery: Discovery, names: list[str]) -> None:
    cluster = found(world(text), backend)
    assert cluster.discovery is discovery
    assert [f"{item.address}:{item.port}" for group in cluster.localities for item in group.endpoints] == names


def test_names_to_resolve_are_grouped_by_locality() -> None:
    listed = [
        {"address": "b.example.com", "locality": "eu/b", "weight": 2},
        {"address": "a.example.com", "locality": "cn/a"},
        {"address": "c.example.com", "locality": "eu/b"},
    ]
    assert found(world(entry(endpoints=listed)), API).localities == (
        LocalityEndpoints("cn", "a", endpoints=(Endpoint("a.example.com", 80),)),
        LocalityEndpoints("eu", "b", endpoints=(Endpoint("b.example.com", 80, 2), Endpoint("c.example.com", 80))),
    )


def test_a_subset_resolves_its_own_names() -> None:
    listed = [{"address": "a.example.com", "labels": {"v": "1"}}, {"address": "b.example.com"}]
    made = world(entry(endpoints=listed), rule(host=API.host, subsets=[{"name": "one", "labels": {"v": "1"}}]))
    groups = found(made, Backend(API.host, 80, "one")).localities
    assert [item.address for group in groups for item in group.endpoints] == ["a.example.com"]


def test_one_name_only_is_resolved_round_robin() -> None:
    made = world(entry("DNS_ROUND_ROBIN", endpoints=[{"address": "b.example.com"}, {"address": "a.example.com"}]))
    groups = found(made, API).localities
    assert [item.address for group in groups for item in group.endpoints] == ["a.example.com"]
    assert told(made, API) == ["warning ignored-endpoints spec.endpoints"]


def test_what_cannot_be_found() -> None:
    made = world(entry("DYNAMIC_DNS", host="*.example.com"))
    backend = Backend("*.example.com", 80)
    assert clusters.cluster(made, "default", backend).value is None
    assert told(made, backend) == ["error unsupported-value spec.resolution"]
    assert told(world(entry("NONE")), API) == ["warning no-resolution spec.resolution"]


def test_who_serves_a_host_is_told_to_the_others() -> None:
    made = world(service(), entry(host=HOST))
    assert told(made) == ["warning host-conflict spec.hosts"]
    (problem,) = clusters.cluster(made, "default", BACKEND).problems
    assert str(problem.key) == "ServiceEntry default/api"


SIMPLE = {"tls": {"mode": "SIMPLE", "sni": "x"}}


def http(**settings: Any) -> dict[str, Any]:
    return {"connectionPool": {"http": settings}}


@pytest.mark.parametrize(
    ("port_name", "policy", "protocol"),
    [
        ("http", {}, UpstreamProtocol.HTTP1),
        ("web", {}, UpstreamProtocol.HTTP1),
        ("http2", {}, UpstreamProtocol.HTTP2),
        ("grpc", {}, UpstreamProtocol.HTTP2),
        ("tcp", {}, UpstreamProtocol.TCP),
        ("https", {}, UpstreamProtocol.TCP),
        ("https", SIMPLE, UpstreamProtocol.HTTP1),
        ("tls", SIMPLE, UpstreamProtocol.HTTP1),
        ("tcp", SIMPLE, UpstreamProtocol.TCP),
        ("http", http(h2UpgradePolicy="UPGRADE"), UpstreamProtocol.HTTP2),
        ("http", http(h2UpgradePolicy="DO_NOT_UPGRADE"), UpstreamProtocol.HTTP1),
        ("http2", http(h2UpgradePolicy="DO_NOT_UPGRADE"), UpstreamProtocol.HTTP2),
        ("https", SIMPLE | http(h2UpgradePolicy="UPGRADE"), UpstreamProtocol.HTTP2),
        ("tcp", http(h2UpgradePolicy="UPGRADE"), UpstreamProtocol.TCP),
        ("http", http(useClientProtocol=True, h2UpgradePolicy="UPGRADE"), UpstreamProtocol.DOWNSTREAM),
        ("http2", http(useClientProtocol=True), UpstreamProtocol.DOWNSTREAM),
        ("tcp", http(useClientProtocol=True), UpstreamProtocol.TCP),
    ],
)
@pytest.mark.istio_fields("DestinationRule.trafficPolicy.connectionPool.http.{h2UpgradePolicy,useClientProtocol}")
def test_what_is_spoken(port_name: str, policy: dict[str, Any], protocol: UpstreamProtocol) -> None:
    assert found(world(service(port_name=port_name), rule(policy))).protocol is protocol


# --- Load balancing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", LoadBalancer()),
        ("{simple: UNSPECIFIED}", LoadBalancer(LoadBalancing.LEAST_REQUEST)),
        ("{simple: LEAST_CONN}", LoadBalancer(LoadBalancing.LEAST_REQUEST)),
        ("{simple: ROUND_ROBIN}", LoadBalancer(LoadBalancing.ROUND_ROBIN)),
        ("{simple: RANDOM}", LoadBalancer(LoadBalancing.RANDOM)),
        ("{simple: PASSTHROUGH}", LoadBalancer(LoadBalancing.LEAST_REQUEST)),
        ("{consistentHash: {useSourceIp: true}}", LoadBalancer(LoadBalancing.RING_HASH, minimum_ring_size=1024)),
        (
            "{consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 64}}}",
            LoadBalancer(LoadBalancing.RING_HASH, minimum_ring_size=64),
        ),
        (
            "{consistentHash: {useSourceIp: true, minimumRingSize: 32}}",
            LoadBalancer(LoadBalancing.RING_HASH, minimum_ring_size=32),
        ),
        ("{consistentHash: {useSourceIp: true, maglev: {}}}", LoadBalancer(LoadBalancing.MAGLEV)),
        (
            "{consistentHash: {useSourceIp: true, maglev: {tableSize: 251}}}",
            LoadBalancer(LoadBalancing.MAGLEV, maglev_table_size=251),
        ),
        ("{warmupDurationSecs: 30s}", LoadBalancer(warmup=30 * SECOND)),
        (
            "{simple: ROUND_ROBIN, warmup: {duration: 1m, minimumPercent: 20, aggression: 2}}",
            LoadBalancer(LoadBalancing.ROUND_ROBIN, warmup=60 * SECOND, warmup_minimum_percent=20, warmup_aggression=2),
        ),
        ("{simple: RANDOM, warmup: {duration: 1m}}", LoadBalancer(LoadBalancing.RANDOM)),
    ],
)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.loadBalancer.{simple,consistentHash.{ringHash.minimumRingSize,maglev.tableSize,minimumRingSize},warmup.{duration,minimumPercent,aggression},warmupDurationSecs}"
)
def test_load_balancing(written: str, expected: LoadBalancer) -> None:
    assert found(with_policy(loadBalancer=yaml.safe_load(written))).load_balancer == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{httpHeaderName: x-user}", HashKey(HashKeyKind.HEADER, "x-user")),
        ("{httpQueryParameterName: user}", HashKey(HashKeyKind.QUERY_PARAMETER, "user")),
        ("{useSourceIp: true}", HashKey(HashKeyKind.SOURCE_IP)),
        ("{httpCookie: {name: c}}", HashKey(HashKeyKind.COOKIE, "c")),
        (
            "{httpCookie: {name: c, path: /a, ttl: 0s}}",
            HashKey(HashKeyKind.COOKIE, "c", cookie_ttl=0, cookie_path="/a"),
        ),
    ],
)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.loadBalancer.consistentHash.{httpHeaderName,httpCookie.{name,path,ttl},useSourceIp,httpQueryParameterName}"
)
def test_what_requests_stick_by(written: str, expected: HashKey) -> None:
    made = with_policy(loadBalancer={"consistentHash": yaml.safe_load(written)})
    assert clusters.hash_keys(made, "default", BACKEND) == (expected,)
    assert clusters.hash_keys(world(service()), "default", BACKEND) == ()


@pytest.mark.parametrize(
    ("setting", "weighted"),
    [
        ({}, False),
        ({"enabled": True}, False),
        ({"distribute": [{"from": "a", "to": {"b": 100}}]}, True),
        ({"failover": [{"from": "a", "to": "b"}]}, True),
        ({"failoverPriority": ["topology.kubernetes.io/zone"]}, True),
        ({"enabled": False, "failover": [{"from": "a", "to": "b"}]}, False),
    ],
)
def test_when_localities_have_weights(setting: dict[str, Any], weighted: bool) -> None:
    policy = {"loadBalancer": {"localityLbSetting": setting}, "outlierDetection": {}}
    assert found(with_policy(**policy)).locality_weighted is weighted
    assert not found(world(entry(), rule(policy, API.host)), API).locality_weighted


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
            "{maxConcurrentStreams: 5, h2UpgradePolicy: UPGRADE}",
            ConnectionPool(max_concurrent_streams=5),
        ),
        ("{}", "{maxConcurrentStreams: 5}", ConnectionPool()),
    ],
)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.connectionPool.{tcp.{maxConnections,connectTimeout,tcpKeepalive.{probes,time,interval},maxConnectionDuration,idleTimeout},http.{http1MaxPendingRequests,http2MaxRequests,maxRequestsPerConnection,maxRetries,idleTimeout,maxConcurrentStreams}}"
)
def test_connections(tcp: str, http_settings: str, expected: ConnectionPool) -> None:
    pool = {"tcp": yaml.safe_load(tcp), "http": yaml.safe_load(http_settings)}
    assert found(with_policy(connectionPool=pool)).connection_pool == expected


def test_idle_connections_without_http_end_by_the_time_of_tcp() -> None:
    pool = {"tcp": {"idleTimeout": "5s"}, "http": {"idleTimeout": "6s"}}
    made = world(service(port_name="tcp"), rule({"connectionPool": pool}))
    assert found(made).connection_pool.idle_timeout == 5 * SECOND


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
        ("{mode: ISTIO_MUTUAL}", None),
    ],
)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.tls.{mode,credentialName,sni,subjectAltNames[],insecureSkipVerify}"
)
def test_tls(written: str, expected: TlsOrigination | None) -> None:
    assert found(with_policy(tls=yaml.safe_load(written))).tls == expected


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
    tls = found(world(service(port_name="http2"), rule(SIMPLE))).tls
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
        (
            "loadBalancer: {consistentHash: {httpCookie: {name: c, attributes: [{name: SameSite}]}}}",
            "unsupported-field loadBalancer.consistentHash.httpCookie.attributes",
        ),
        ("loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}", "no-effect loadBalancer.warmup"),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true}, warmupDurationSecs: 1s}",
            "no-effect loadBalancer.warmupDurationSecs",
        ),
        ("loadBalancer: {localityLbSetting: {}}", "no-outlier-detection loadBalancer.localityLbSetting"),
        ("loadBalancer: {localityLbSetting: {enabled: false}}", ""),
        ("{loadBalancer: {localityLbSetting: {}}, outlierDetection: {}}", ""),
        ("loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 100}}]}}", ""),
        (
            "{loadBalancer: {localityLbSetting: {failoverPriority: [a=b, own]}}, outlierDetection: {}}",
            "unsupported-value loadBalancer.localityLbSetting.failoverPriority[1]",
        ),
        (
            "connectionPool: {http: {http2KeepAlive: {interval: 1s}}}",
            "unsupported-field connectionPool.http.http2KeepAlive",
        ),
        ("connectionPool: {http: {maxConcurrentStreams: 1}}", "no-effect connectionPool.http.maxConcurrentStreams"),
        ("outlierDetection: {consecutiveErrors: 1}", "deprecated-field outlierDetection.consecutiveErrors"),
        (
            "outlierDetection: {outlierDetectionHttpErrorCodes: [429]}",
            "unsupported-field outlierDetection.outlierDetectionHttpErrorCodes",
        ),
        (
            "outlierDetection: {consecutiveLocalOriginFailures: 1}",
            "no-effect outlierDetection.consecutiveLocalOriginFailures",
        ),
        ("tls: {mode: SIMPLE, sni: x, caCertificates: /ca.pem}", "unsupported-field tls.caCertificates"),
        ("tls: {mode: SIMPLE, sni: x, caCrl: /crl.pem}", "unsupported-field tls.caCrl"),
        ("tls: {mode: SIMPLE, sni: x, caCertificates: system}", ""),
        (
            "tls: {mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem}",
            "unsupported-field tls.clientCertificate, unsupported-field tls.privateKey, missing-credential tls",
        ),
        ("tls: {mode: ISTIO_MUTUAL}", "no-workload-certificates tls.mode"),
        ("tunnel: {targetHost: a, targetPort: 1}", "unsupported-field tunnel"),
        ("retryBudget: {percent: 10}", "unsupported-field retryBudget"),
        ("connectionPool: {http: {http1MaxPendingRequests: 1}}", ""),
    ],
)
def test_what_is_not_translated_is_told_where_it_is_written(policy: str, expected: str) -> None:
    written = yaml.safe_load(policy)
    problems = clusters.cluster(with_policy(**written), "default", BACKEND).problems
    assert ", ".join(f"{item.code} {format_path(item.path[2:])}" for item in problems) == expected
    assert all(item.path[:2] == ("spec", "trafficPolicy") for item in problems)
    assert all(str(item.key) == "DestinationRule default/rule" for item in problems)
    errors = [item.code for item in problems if item.severity is Severity.ERROR]
    assert errors == (["no-workload-certificates"] if "ISTIO_MUTUAL" in policy else [])


def test_settings_of_http_have_no_effect_on_bytes() -> None:
    pool = {"connectionPool": {"http": {"useClientProtocol": True, "h2UpgradePolicy": "UPGRADE"}}}
    assert told(world(service(port_name="tcp"), rule(pool))) == [
        "warning no-effect spec.trafficPolicy.connectionPool.http.useClientProtocol",
        "warning no-effect spec.trafficPolicy.connectionPool.http.h2UpgradePolicy",
    ]


def test_localities_cannot_be_preferred_among_names() -> None:
    policy = {"outlierDetection": {}, "loadBalancer": {"localityLbSetting": {}}}
    expected = ["warning unsupported-field spec.trafficPolicy.loadBalancer.localityLbSetting"]
    assert told(world(entry(), rule(policy, API.host)), API) == expected
    listed = [{"address": "a.example.com", "locality": "a"}, {"address": "b.example.com", "locality": "b"}]
    del policy["loadBalancer"]
    expected = ["warning unsupported-field spec.trafficPolicy.outlierDetection"]
    assert told(world(entry(endpoints=listed), rule(policy, API.host)), API) == expected
    assert told(world(entry(endpoints=listed[:1]), rule(policy, API.host)), API) == []


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


# --- Costs ------------------------------------------------------------------------------------------------------------

OTHER = Backend("other.default.svc.cluster.local", 80)


def settled() -> World:
    made = world(service(), service("other"), rule({}, subsets=[{"name": "v1"}]))
    ask(made)
    made.graph.computed.clear()
    return made


def ask(made: World) -> None:
    for backend in (BACKEND, Backend(HOST, 80, "v1"), OTHER):
        assert clusters.cluster(made, "default", backend).value is not None


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (rule({"outlierDetection": {}}, subsets=[{"name": "v1"}]), 2),
        (rule({}, subsets=[{"name": "v1", "trafficPolicy": {"outlierDetection": {}}}]), 1),
        (rule({}, subsets=[{"name": "v1", "labels": {"v": "1"}}]), 1),
        (service("other", port_name="http2"), 1),
        (service("third"), 0),
        (service("other", selector={"app": "x"}), 0),
        (entry(), 0),
    ],
)
def test_an_edit_recomputes_only_the_clusters_that_it_concerns(edit: str, expected: int) -> None:
    made = settled()
    put(made, edit)
    ask(made)
    assert made.graph.computed["cluster"] == expected


def test_every_field_of_a_policy_is_read() -> None:
    """A field that Istio adds to a block must be translated or told of: nothing is dropped without a word."""
    source = inspect.getsource(clusters) + inspect.getsource(upstream_tls)
    read = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    models = clusters.models
    blocks = (
        models.LoadBalancerSettings,
        models.ConsistentHashLB,
        models.TCPSettings,
        models.HTTPSettings,
        models.TcpKeepalive,
        models.OutlierDetection,
        models.ClientTLSSettings,
        models.WarmupConfiguration,
        models.HTTPCookie,
    )
    assert {name for block in blocks for name in block.__struct_fields__} <= read | {"zone_aware_lb_setting"}
    assert {field.name for field in fields(clusters.Policy)} <= read
