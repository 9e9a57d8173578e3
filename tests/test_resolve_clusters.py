"""Clusters: what DestinationRules, Services and ServiceEntries together mean, and what an edit costs."""

import ast
import inspect
from dataclasses import fields
from typing import Any

import pytest
import yaml
from fairlead.intent import (
    RUNTIME,
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
    UpstreamProtocol,
)
from fairlead.resolve import clusters, upstream_tls
from fairlead.resolve.scope import Locality, Viewer
from fairlead.world import World
from support.clusters import API, BACKEND, HOST, SECOND, entry, found, rule, service, told, with_policy
from support.worlds import put, world

# --- Discovery and protocol -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "backend", [Backend("unknown.default.svc.cluster.local", 80), Backend(HOST, 99), Backend(HOST, 80, "v9")]
)
def test_what_is_unknown_has_no_cluster(backend: Backend) -> None:
    outcome = clusters.cluster(world(service(), rule(subsets=[{"name": "v1"}])), Viewer("default"), backend)
    assert outcome.value is None
    assert not outcome.problems, "whoever refers to it tells"


@pytest.mark.parametrize(
    ("host", "discovery"),
    [("192.0.2.1", Discovery.LISTED), ("2001:db8::1", Discovery.LISTED), ("localhost", Discovery.STRICT_DNS)],
)
def test_our_own_services_are_where_the_world_says(host: str, discovery: Discovery) -> None:
    for locality in (Locality(), Locality("r", "z", "s")):
        cluster = clusters.placed(World(runtime=Endpoint(host, 7)), Viewer("default"), locality, RUNTIME)
        assert cluster is not None
        assert (cluster.discovery, cluster.protocol) == (discovery, UpstreamProtocol.HTTP2)
        assert [group.endpoints for group in cluster.localities] == [(Endpoint(host, 7),)]


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


@pytest.mark.istio_fields("ServiceEntry.{location,endpoints[].serviceAccount}")
def test_where_a_service_belongs_makes_no_difference() -> None:
    """In Istio it decides about automatic mutual TLS, which there is none of here."""
    listed = {"address": "a.example.com"}
    clusters_ = [
        found(world(entry(endpoints=[listed | more], location=location)), API)
        for location in ("MESH_EXTERNAL", "MESH_INTERNAL")
        for more in ({}, {"serviceAccount": "a"})
    ]
    assert len(set(clusters_)) == 1


def test_a_subset_resolves_its_own_names() -> None:
    listed = [{"address": "a.example.com", "labels": {"v": "1"}}, {"address": "b.example.com"}]
    made = world(entry(endpoints=listed), rule(host=API.host, subsets=[{"name": "one", "labels": {"v": "1"}}]))
    groups = found(made, Backend(API.host, 80, "one")).localities
    assert [item.address for group in groups for item in group.endpoints] == ["a.example.com"]


def test_one_name_only_is_resolved_round_robin() -> None:
    made = world(entry("DNS_ROUND_ROBIN", endpoints=[{"address": "b.example.com"}, {"address": "a.example.com"}]))
    placed = clusters.placed(made, Viewer("default"), Locality(), API)
    assert placed is not None
    assert [item.address for group in placed.localities for item in group.endpoints] == ["a.example.com"]
    assert told(made, API) == ["warning ignored-endpoints spec.endpoints"]


LISTED = [{"address": "a.example.com", "locality": "cn"}, {"address": "b.example.com", "locality": "eu"}]


@pytest.mark.parametrize(
    ("resolution", "policy", "region", "expected"),
    [
        ("DNS", {}, "eu", {"a.example.com": 0, "b.example.com": 0}),
        ("DNS", {"outlierDetection": {}}, "eu", {"a.example.com": 1, "b.example.com": 0}),
        ("DNS", {"outlierDetection": {}}, "cn", {"a.example.com": 0, "b.example.com": 1}),
        ("DNS", {"outlierDetection": {}}, "", {"a.example.com": 0, "b.example.com": 0}),
        ("DNS_ROUND_ROBIN", {"outlierDetection": {}}, "eu", {"b.example.com": 0}),
    ],
)
@pytest.mark.istio_fields("ServiceEntry.{resolution,endpoints[].locality}")
def test_names_nearby_are_preferred(
    resolution: str, policy: dict[str, Any], region: str, expected: dict[str, int]
) -> None:
    made = world(entry(resolution, endpoints=LISTED), rule(policy, API.host))
    placed = clusters.placed(made, Viewer("default"), Locality(region), API)
    assert placed is not None
    assert {item.address: group.priority for group in placed.localities for item in group.endpoints} == expected


def test_assigned_endpoints_are_no_part_of_their_cluster() -> None:
    made = world(service(), rule({"outlierDetection": {}}))
    assert clusters.placed(made, Viewer("default"), Locality("eu"), BACKEND) == found(made)


def test_what_cannot_be_found() -> None:
    made = world(entry("DYNAMIC_DNS", host="*.example.com"))
    backend = Backend("*.example.com", 80)
    assert clusters.cluster(made, Viewer("default"), backend).value is None
    assert told(made, backend) == ["error unsupported-value spec.resolution"]
    assert told(world(entry("NONE")), API) == ["warning no-resolution spec.resolution"]


def test_who_serves_a_host_is_told_to_the_others() -> None:
    made = world(service(), entry(host=HOST))
    assert told(made) == ["warning host-conflict spec.hosts"]
    (problem,) = clusters.cluster(made, Viewer("default"), BACKEND).problems
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
        (
            "{httpCookie: {name: c, ttl: 1s, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}}",
            HashKey(HashKeyKind.COOKIE, "c", SECOND, cookie_attributes=(("SameSite", "Lax"), ("Secure", ""))),
        ),
    ],
)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.loadBalancer.consistentHash.{httpHeaderName,httpCookie.{name,path,ttl,attributes[].{name,value}},useSourceIp,httpQueryParameterName}"
)
def test_what_requests_stick_by(written: str, expected: HashKey) -> None:
    made = with_policy(loadBalancer={"consistentHash": yaml.safe_load(written)})
    assert clusters.hash_keys(made, Viewer("default"), BACKEND) == (expected,)
    assert clusters.hash_keys(world(service()), Viewer("default"), BACKEND) == ()


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
    assert found(world(entry(), rule(policy, API.host)), API).locality_weighted is weighted


# --- Costs ------------------------------------------------------------------------------------------------------------

OTHER = Backend("other.default.svc.cluster.local", 80)


def settled() -> World:
    made = world(service(), service("other"), rule({}, subsets=[{"name": "v1"}]))
    ask(made)
    made.graph.computed.clear()
    return made


def ask(made: World) -> None:
    for backend in (BACKEND, Backend(HOST, 80, "v1"), OTHER):
        assert clusters.cluster(made, Viewer("default"), backend).value is not None


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
