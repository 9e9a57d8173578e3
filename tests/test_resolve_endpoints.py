"""Endpoints: from EndpointSlices, Endpoints, Pods, WorkloadEntries and ServiceEntries."""

from typing import Any

import pytest
import yaml
from fairlead.intent import Backend, Endpoint, EndpointAssignment
from fairlead.models import core
from fairlead.models.istio.workload_entry import WorkloadEntry
from fairlead.problems import Problem, format_path
from fairlead.resolve import endpoints
from fairlead.resolve.scope import Locality, Viewer
from fairlead.world import ObjectName, World
from support.worlds import put, world

HOST = "shop.default.svc.cluster.local"
NOWHERE = Locality()
SHOP = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: admin, port: 81}]
"""


def document(kind: str, where: str, labels: dict[str, str] | None = None, **fields: Any) -> str:
    """An object `name` or `namespace/name`."""
    versions = {
        "EndpointSlice": "discovery.k8s.io/v1",
        "Endpoints": "v1",
        "Pod": "v1",
        "Service": "v1",
        "DestinationRule": "networking.istio.io/v1",
        "ServiceEntry": "networking.istio.io/v1",
        "WorkloadEntry": "networking.istio.io/v1",
    }
    namespace, _, name = where.rpartition("/")
    metadata = {"name": name, "namespace": namespace or "default", "labels": labels or {}}
    return yaml.safe_dump({"apiVersion": versions[kind], "kind": kind, "metadata": metadata, **fields})


def endpoint_slice(name: str, *addresses: str, **labels: str) -> str:
    return document(
        "EndpointSlice",
        name,
        {"kubernetes.io/service-name": "shop", **labels},
        addressType="IPv4",
        ports=[{"name": "http", "port": 8080}],
        endpoints=[{"addresses": [address]} for address in addresses],
    )


def assigned(
    made: World, host: str = HOST, port: int = 80, subset: str = "", locality: Locality = NOWHERE
) -> EndpointAssignment:
    found = endpoints.endpoint_assignment(made, Viewer("default"), locality, Backend(host, port, subset)).value
    assert found is not None
    return found


def addresses(made: World, host: str = HOST, port: int = 80, subset: str = "") -> list[str]:
    """`address:port`, with the weight if it is not 1."""
    return [
        f"{item.address}:{item.port}" + (f" x{item.weight}" if item.weight > 1 else "")
        for group in assigned(made, host, port, subset).localities
        for item in group.endpoints
    ]


def problems(made: World, host: str = HOST, subset: str = "", port: int = 80) -> list[Problem]:
    return list(endpoints.endpoint_assignment(made, Viewer("default"), NOWHERE, Backend(host, port, subset)).problems)


def shown(found: list[Problem]) -> list[str]:
    return [f"{item.code} {item.key} {format_path(item.path)}" for item in found]


# --- Kubernetes Services ----------------------------------------------------------------------------------------------


def test_the_ready_endpoints_of_all_slices_in_a_fixed_order() -> None:
    second = document(
        "EndpointSlice",
        "b",
        {"kubernetes.io/service-name": "shop"},
        addressType="IPv4",
        ports=[{"name": "metrics", "port": 1}, {"name": "http", "port": 8081}],
        endpoints=[
            {"addresses": ["10.0.0.3"], "conditions": {"ready": True}},
            {"addresses": ["10.0.0.4"], "conditions": {"ready": False}},
            {"addresses": ["10.0.0.5"], "conditions": {}},
        ],
    )
    made = world(SHOP, endpoint_slice("z", "10.0.0.9", "10.0.0.1"), second)
    assert addresses(made) == ["10.0.0.1:8080", "10.0.0.3:8081", "10.0.0.5:8081", "10.0.0.9:8080"]
    assert [key.name for key in assigned(made).origin] == ["shop", "b", "z"]


def test_a_service_without_endpoints_has_an_empty_assignment() -> None:
    assert assigned(world(SHOP)).localities == ()
    assert not problems(world(SHOP))


@pytest.mark.parametrize(
    "backend", [Backend("unknown.default.svc.cluster.local", 80), Backend(HOST, 99), Backend(HOST, 80, "v9")]
)
def test_what_is_unknown_has_no_assignment(backend: Backend) -> None:
    made = world(SHOP, endpoint_slice("a", "10.0.0.1"))
    assert endpoints.endpoint_assignment(made, Viewer("default"), NOWHERE, backend).value is None


def test_the_port_of_a_slice_is_found_by_name() -> None:
    made = world(SHOP, endpoint_slice("a", "10.0.0.1"))
    assert addresses(made, port=81) == []
    assert shown(problems(made, port=81)) == ["endpoint-port-mismatch EndpointSlice default/a ports"]
    assert not problems(made)


def test_a_slice_for_all_ports_has_the_number_of_the_service() -> None:
    made = world(SHOP, endpoint_slice("a", "10.0.0.1").replace("port: 8080", "port: null"))
    assert addresses(made) == ["10.0.0.1:80"]


def test_host_names_in_slices_are_left_out() -> None:
    made = world(SHOP, endpoint_slice("a", "example.com").replace("IPv4", "FQDN"))
    assert addresses(made) == []
    assert shown(problems(made)) == ["unsupported-value EndpointSlice default/a addressType"]


def test_a_pod_of_two_address_families_is_one_endpoint() -> None:
    pod = {"kind": "Pod", "name": "p"}

    def family(name: str, kind: str, *items: dict[str, Any]) -> str:
        labels = {"kubernetes.io/service-name": "shop"}
        ports = [{"name": "http", "port": 8080}]
        return document("EndpointSlice", name, labels, addressType=kind, ports=ports, endpoints=list(items))

    made = world(
        SHOP,
        family("a", "IPv6", {"addresses": ["::1"], "targetRef": pod}, {"addresses": ["::2"]}),
        family("b", "IPv4", {"addresses": ["10.0.0.1"], "targetRef": pod}),
    )
    assert addresses(made) == ["10.0.0.1:8080", "::2:8080"]


ENDPOINTS = document(
    "Endpoints",
    "shop",
    subsets=[
        {"addresses": [{"ip": "10.1.0.1"}], "ports": [{"name": "http", "port": 8080}]},
        {"notReadyAddresses": [{"ip": "10.1.0.2"}], "ports": [{"name": "http", "port": 8080}]},
        {"addresses": [{"ip": "10.1.0.3"}], "ports": [{"name": "admin", "port": 8081}]},
    ],
)


def test_endpoints_count_where_there_are_no_slices() -> None:
    made = world(SHOP, ENDPOINTS)
    assert addresses(made) == ["10.1.0.1:8080"]
    put(made, endpoint_slice("a", "10.0.0.1"))
    assert addresses(made) == ["10.0.0.1:8080"]


def test_the_port_of_endpoints_is_found_by_name() -> None:
    made = world(SHOP.replace("admin", "other"), ENDPOINTS)
    assert addresses(made, port=81) == []
    assert shown(problems(made, port=81)) == ["endpoint-port-mismatch Endpoints default/shop subsets"]
    assert not problems(made)
    assert not problems(world(SHOP, document("Endpoints", "shop", subsets=[])))


def pod(name: str, address: str, phase: str = "Running", **labels: str) -> str:
    return document("Pod", name, {"app": "shop", **labels}, status={"podIP": address, "phase": phase})


def test_pods_count_where_there_is_neither() -> None:
    made = world(
        SHOP, pod("a", "10.2.0.1"), pod("b", "10.2.0.2", "Failed"), pod("c", ""), pod("d", "10.2.0.4", app="x")
    )
    assert addresses(made) == ["10.2.0.1:8080"]
    assert addresses(made, port=81) == ["10.2.0.1:81"]
    put(made, SHOP.replace("8080", "web"))
    assert shown(problems(made)) == ["named-target-port Service default/shop spec.ports"]
    assert addresses(made) == ["10.2.0.1:80"]
    put(made, ENDPOINTS)
    assert addresses(made) == ["10.1.0.1:8080"]


def workload(name: str, labels: dict[str, str] | None = None, **spec: Any) -> str:
    return document("WorkloadEntry", name, labels, spec={"labels": {"app": "shop"}, **spec})


def test_a_service_selects_workload_entries_as_well() -> None:
    made = world(
        SHOP,
        endpoint_slice("a", "10.0.0.1"),
        workload("own", address="10.3.0.1", weight=5),
        workload("named", address="10.3.0.2", ports={"http": 9000}),
        workload("other", {"app": "other"}, address="10.3.0.3"),
    )
    assert addresses(made) == ["10.0.0.1:8080", "10.3.0.1:8080 x5", "10.3.0.2:9000"]
    assert addresses(made, port=81) == ["10.3.0.1:81 x5", "10.3.0.2:81"]


# --- Subsets ----------------------------------------------------------------------------------------------------------


def subsets(host: str = "shop", **policy: Any) -> str:
    listed = [
        {"name": "v1", "labels": {"version": "v1"}},
        {"name": "v2", "labels": {"version": "v2", "app": "shop"}},
        {"name": "all"},
    ]
    return document("DestinationRule", "rule", spec={"host": host, "subsets": listed, "trafficPolicy": policy})


def test_one_slice_for_each_version_tells_subsets_apart() -> None:
    made = world(
        SHOP,
        subsets(),
        endpoint_slice("one", "10.0.0.1", version="v1"),
        endpoint_slice("two", "10.0.0.2", version="v2", app="shop"),
    )
    assert [addresses(made, subset=name) for name in ("v1", "v2", "all")] == [
        ["10.0.0.1:8080"],
        ["10.0.0.2:8080"],
        ["10.0.0.1:8080", "10.0.0.2:8080"],
    ]
    assert [key.name for key in assigned(made, subset="v1").origin] == ["shop", "rule", "one"]


def slice_of_pods(*names: str) -> str:
    items = [
        {"addresses": [f"10.0.0.{number}"], "targetRef": {"kind": "Pod", "namespace": "default", "name": name}}
        for number, name in enumerate(names)
    ]
    labels = {"kubernetes.io/service-name": "shop", "version": "v1"}
    ports = [{"name": "http", "port": 8080}]
    return document("EndpointSlice", "pods", labels, addressType="IPv4", ports=ports, endpoints=items)


def test_labels_of_pods_come_before_those_of_their_slice() -> None:
    made = world(SHOP, subsets(), slice_of_pods("a", "b", "c"), pod("a", "", version="v1"), pod("b", "", version="v2"))
    assert addresses(made, subset="v1") == ["10.0.0.0:8080", "10.0.0.2:8080"]
    assert addresses(made, subset="v2") == ["10.0.0.1:8080"]


def test_an_empty_subset_is_told_of_where_it_is_defined() -> None:
    made = world(SHOP, subsets(), endpoint_slice("one", "10.0.0.1", version="v1"))
    assert addresses(made, subset="v2") == []
    (problem,) = problems(made, subset="v2")
    assert shown([problem]) == ["empty-subset DestinationRule default/rule spec.subsets[1].labels"]
    assert "none of the 1 endpoints of shop.default.svc.cluster.local has app=shop, version=v2" in problem.message
    assert not problems(world(SHOP, subsets()), subset="v2"), "the service has no endpoints at all"


# --- ServiceEntries ---------------------------------------------------------------------------------------------------


def entry(resolution: str, host: str = "api.example.com", **spec: Any) -> str:
    ports = [{"number": 80, "name": "http", "targetPort": 8080}]
    fields = {"hosts": [host], "ports": ports, "resolution": resolution, **spec}
    return document("ServiceEntry", "api", spec=fields)


API = "api.example.com"


@pytest.mark.istio_fields("ServiceEntry.{endpoints[].{address,ports{},weight},ports[].targetPort}")
def test_listed_endpoints() -> None:
    listed = [
        {"address": "10.0.0.1"},
        {"address": "10.0.0.2", "ports": {"http": 9000}, "weight": 3},
        {"address": "10.0.0.3", "ports": {"other": 9000}},
        {"address": "unix:///run/api.sock"},
    ]
    made = world(entry("STATIC", endpoints=listed))
    assert addresses(made, API) == ["/run/api.sock:0", "10.0.0.1:8080", "10.0.0.2:9000 x3", "10.0.0.3:8080"]


@pytest.mark.istio_fields("ServiceEntry.endpoints[].labels{}")
def test_subsets_of_listed_endpoints() -> None:
    listed = [{"address": "10.0.0.1", "labels": {"version": "v1"}}, {"address": "10.0.0.2"}]
    made = world(entry("STATIC", endpoints=listed), subsets(API))
    assert addresses(made, API, subset="v1") == ["10.0.0.1:8080"]


@pytest.mark.parametrize(
    ("resolution", "listed", "expected"),
    [
        ("STATIC", {"address": "example.com"}, "unusable-endpoint ServiceEntry default/api spec.endpoints[0].address"),
        ("STATIC", {"network": "n"}, "unusable-endpoint ServiceEntry default/api spec.endpoints[0].address"),
        ("DNS", {"address": "unix:///a"}, "unusable-endpoint ServiceEntry default/api spec.endpoints[0].address"),
    ],
)
def test_endpoints_that_cannot_be_used_as_written(resolution: str, listed: dict[str, Any], expected: str) -> None:
    made = world(entry(resolution, endpoints=[listed]))
    assert shown(list(endpoints.members(made, Viewer("default"), Backend(API, 80)).problems)) == [expected]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [({"app": "shop"}, ["10.2.0.1:8080", "10.3.0.1:8080"]), ({}, ["10.2.0.1:8080", "10.3.0.1:8080", "10.3.0.2:8080"])],
)
@pytest.mark.istio_fields(
    "ServiceEntry.workloadSelector.labels{}",
    "WorkloadEntry.labels{}",
)
def test_selected_workload_entries_and_pods(selector: dict[str, str], expected: list[str]) -> None:
    made = world(
        entry("STATIC", workloadSelector={"labels": selector}),
        pod("a", "10.2.0.1"),
        workload("a", address="10.3.0.1"),
        document("WorkloadEntry", "b", spec={"address": "10.3.0.2"}),
        workload("other/c", address="10.3.0.3"),
    )
    assert addresses(made, API) == expected


def members(made: World, host: str = API, subset: str = "") -> list[Endpoint]:
    return [item.endpoint for item in endpoints.members(made, Viewer("default"), Backend(host, 80, subset)).members]


def test_dns_without_endpoints_resolves_the_host_itself() -> None:
    assert members(world(entry("DNS"))) == [Endpoint(API, 8080)]
    assert members(world(entry("DNS", endpoints=[{"address": "a.example.com"}]))) == [Endpoint("a.example.com", 8080)]
    assert members(world(entry("STATIC"))) == []
    assert members(world(entry("DNS"), subsets(API)), subset="all") == [Endpoint(API, 8080)]


def test_a_wildcard_cannot_be_resolved() -> None:
    made = world(entry("DNS", "*.example.com"))
    found = endpoints.members(made, Viewer("default"), Backend("*.example.com", 80))
    assert found.members == ()
    assert shown(list(found.problems)) == ["unresolvable-host ServiceEntry default/api spec.hosts"]


def test_proxies_resolve_names_by_themselves() -> None:
    made = world(entry("DNS"))
    assert endpoints.endpoint_assignment(made, Viewer("default"), NOWHERE, Backend(API, 80)).value is None


# --- Localities -------------------------------------------------------------------------------------------------------


def places(made: World, locality: Locality, host: str = HOST) -> list[tuple[str, str, str, int]]:
    found = assigned(made, host, locality=locality).localities
    return [(group.region, group.zone, group.endpoints[0].address, group.priority) for group in found]


def zones(*zone_of: str) -> str:
    items = [{"addresses": [f"10.0.0.{number}"], "zone": zone} for number, zone in enumerate(zone_of)]
    labels = {"kubernetes.io/service-name": "shop"}
    ports = [{"name": "http", "port": 8080}]
    return document("EndpointSlice", "zones", labels, addressType="IPv4", ports=ports, endpoints=items)


NEAR_A = Locality("cn", "a")


@pytest.mark.parametrize(
    ("objects", "priorities"),
    [
        ([], [0, 0]),
        ([subsets(outlierDetection={})], [0, 1]),
        ([subsets(outlierDetection={}, loadBalancer={"localityLbSetting": {"enabled": False}})], [0, 0]),
        ([subsets(loadBalancer={"localityLbSetting": {"enabled": True}})], [0, 0]),
        ([SHOP + "  trafficDistribution: PreferClose"], [0, 1]),
        ([SHOP + "  trafficDistribution: PreferSameZone", subsets(loadBalancer={"localityLbSetting": {}})], [0, 0]),
        (
            [
                subsets(
                    outlierDetection={},
                    loadBalancer={"localityLbSetting": {"failoverPriority": ["own", "topology.kubernetes.io/zone=b"]}},
                )
            ],
            [1, 0],
        ),
        (
            [
                subsets(
                    outlierDetection={},
                    loadBalancer={"localityLbSetting": {"failoverPriority": ["topology.kubernetes.io/zone"]}},
                )
            ],
            [0, 1],
        ),
    ],
)
@pytest.mark.istio_fields("DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.{enabled,failover[].{from,to}}")
def test_when_the_nearer_zone_comes_first(objects: list[str], priorities: list[int]) -> None:
    made = world(SHOP, zones("a", "b"), *objects)
    found = {address: priority for _, _, address, priority in places(made, NEAR_A)}
    assert found == {"10.0.0.0": priorities[0], "10.0.0.1": priorities[1]}


@pytest.mark.istio_fields("WorkloadEntry.locality")
def test_labels_of_slices_and_workloads_say_where_they_are() -> None:
    made = world(
        SHOP,
        subsets(outlierDetection={}),
        endpoint_slice("a", "10.0.0.1", **{"istio-locality": "cn.a.1"}),
        workload("w", address="10.3.0.1", locality="eu/b"),
        workload("x", {"istio-locality": "us.c"}, address="10.3.0.2"),
    )
    assert places(made, Locality("eu", "b")) == [
        ("eu", "b", "10.3.0.1", 0),
        ("cn", "a", "10.0.0.1", 1),
        ("us", "c", "10.3.0.2", 1),
    ]


@pytest.mark.parametrize(
    ("distribution", "priorities"), [("PreferClose", [0, 1]), ("PreferSameZone", [0, 0]), ("PreferSameNode", [0, 0])]
)
def test_how_near_a_service_wants_its_endpoints(distribution: str, priorities: list[int]) -> None:
    made = world(
        SHOP + f"  trafficDistribution: {distribution}",
        endpoint_slice("near", "10.0.0.1", **{"istio-locality": "cn.a.1"}),
        endpoint_slice("next", "10.0.0.2", **{"istio-locality": "cn.a.2"}),
    )
    assert [priority for *_, priority in places(made, Locality("cn", "a", "1"))] == priorities


@pytest.mark.istio_fields("DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority[]")
def test_priorities_by_labels_of_pods() -> None:
    setting = {"failoverPriority": ["version=v2"]}
    made = world(
        SHOP,
        subsets(outlierDetection={}, loadBalancer={"localityLbSetting": setting}),
        slice_of_pods("a", "b"),
        pod("a", "", version="v1"),
        pod("b", "", version="v2"),
    )
    assert places(made, NOWHERE) == [("", "", "10.0.0.1", 0), ("", "", "10.0.0.0", 1)]


@pytest.mark.istio_fields("DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority[]")
def test_priorities_by_labels_of_the_proxy() -> None:
    setting = {"failoverPriority": ["version"]}
    made = world(
        SHOP,
        subsets(outlierDetection={}, loadBalancer={"localityLbSetting": setting}),
        slice_of_pods("a", "b"),
        pod("a", "", version="v1"),
        pod("b", "", version="v2"),
    )
    for version, preferred in (("v1", "10.0.0.0"), ("v2", "10.0.0.1")):
        viewer = Viewer("default", frozenset({("version", version)}))
        found = endpoints.endpoint_assignment(made, viewer, NOWHERE, Backend(HOST, 80)).value
        assert found is not None
        assert [group.endpoints[0].address for group in found.localities if group.priority == 0] == [preferred]


@pytest.mark.istio_fields("DestinationRule.trafficPolicy.loadBalancer.localityLbSetting.distribute[].{from,to{}}")
def test_shares_by_locality() -> None:
    shares = {"distribute": [{"from": "cn/*", "to": {"cn/a": 90, "cn/b": 10}}]}
    made = world(SHOP, zones("a", "b", "c"), subsets(loadBalancer={"localityLbSetting": shares}))
    found = assigned(made, locality=NEAR_A).localities
    assert [(group.zone, group.weight) for group in found] == [("a", 90), ("b", 10)]


# --- Costs ------------------------------------------------------------------------------------------------------------

OTHER = SHOP.replace("shop", "other")


def settled() -> World:
    made = world(SHOP, OTHER, subsets(), slice_of_pods("a", "b"), pod("a", "", version="v1"))
    put(made, endpoint_slice("other", "10.9.0.1").replace("service-name: shop", "service-name: other"))
    ask(made)
    made.graph.computed.clear()
    return made


def ask(made: World) -> None:
    for locality in (NOWHERE, NEAR_A):
        for backend in (Backend(HOST, 80), Backend("other.default.svc.cluster.local", 80), Backend(HOST, 80, "v1")):
            endpoints.endpoint_assignment(made, Viewer("default"), locality, backend)


@pytest.mark.parametrize(
    ("edit", "recomputed"),
    [
        # Two localities each; the subset of the other slice's Pods is not concerned.
        (
            endpoint_slice("other", "10.9.0.2").replace("service-name: shop", "service-name: other"),
            {"members": 1, "endpoint_assignment": 2},
        ),
        (endpoint_slice("new", "10.9.0.2").replace("service-name: shop", "service-name: third"), {}),
        # Only the subset asks for Pods, and for their labels alone.
        (pod("a", "10.7.7.7", version="v1"), {"_pod_labels": 1}),
        (pod("a", "", version="v2"), {"_pod_labels": 1, "members": 1, "endpoint_assignment": 2}),
        (pod("z", "", version="v1"), {}),
        (workload("w", {"app": "third"}, address="10.9.0.9"), {}),
    ],
)
def test_an_edit_costs_only_what_it_concerns(edit: str, recomputed: dict[str, int]) -> None:
    made = settled()
    put(made, edit)
    ask(made)
    assert made.graph.computed == recomputed


def test_what_goes_away_is_gone() -> None:
    made = world(SHOP, endpoint_slice("a", "10.0.0.1"), workload("w", address="10.3.0.1"))
    assert len(addresses(made)) == 2
    made.remove(core.EndpointSlice, ObjectName("default", "a"))
    made.remove(WorkloadEntry, ObjectName("default", "w"))
    assert addresses(made) == []
