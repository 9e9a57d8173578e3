"""What sidecars reach, and where; what they take in for their applications."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fairlead import diagnosis, translation
from fairlead.intent import Forward
from fairlead.resolve.scope import Proxy
from fairlead.resolve.selection import selection
from fairlead.server.groups import GroupKey
from fairlead.snapshot import types
from fairlead.world import World
from support.istio import items, shown
from support.sidecars import (
    SIDECAR,
    answer,
    egress,
    hosts,
    listeners,
    names,
    problems,
    resource,
    resources,
    service,
    sidecar,
    sidecar_proxy,
    virtual_service,
)
from support.worlds import put, world

# --- Outbound ---------------------------------------------------------------------------------------------------------


def test_each_service_has_a_virtual_host_on_each_of_its_http_ports() -> None:
    made = world(
        service("reviews", "{name: http, port: 9080}", "{name: grpc-api, port: 9081}", more="clusterIP: 10.1.1.1"),
        service("ratings", "{name: web, port: 9080}", namespace="other"),
    )
    assert {name: host.domains for name, host in hosts(made).items()} == {
        "9080/reviews.default.svc.cluster.local:9080": (
            "reviews.default.svc.cluster.local", "reviews", "reviews.default", "reviews.default.svc", "10.1.1.1"
        ),
        "9081/reviews.default.svc.cluster.local:9081": (
            "reviews.default.svc.cluster.local", "reviews", "reviews.default", "reviews.default.svc", "10.1.1.1"
        ),
        "9080/ratings.other.svc.cluster.local:9080": (
            "ratings.other.svc.cluster.local", "ratings.other", "ratings.other.svc"
        ),
    }  # fmt: skip
    assert resources(made, types.LISTENER) == {"127.0.0.2_9080", "127.0.0.2_9081"}
    assert resources(made, types.ROUTE_CONFIGURATION) == {"9080", "9081"}
    assert resources(made, types.CLUSTER) == {
        "outbound|9080||reviews.default.svc.cluster.local",
        "outbound|9081||reviews.default.svc.cluster.local",
        "outbound|9080||ratings.other.svc.cluster.local",
        "PassthroughCluster",
    }


def test_without_a_virtual_service_there_is_istios_default_route() -> None:
    (host,) = hosts(world(service("reviews"))).values()
    (route,) = host.routes
    assert route.name == "default"
    assert isinstance(route.action, Forward)
    assert route.action.timeout is None
    assert route.action.retry is not None
    assert route.action.retry.attempts == 2


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        (
            resource("ServiceEntry", "e", "{hosts: [reviews.default], ports: [{number: 80, name: http}]}"),
            "reviews.default",
        ),
        (virtual_service("v", "reviews.default.svc"), "reviews.default.svc"),
        (service("another", more="clusterIP: 10.1.1.1"), "10.1.1.1"),
    ],
    ids=["service-entry", "virtual-service", "address"],
)
def test_no_domain_is_in_two_virtual_hosts(other: str, taken: str) -> None:
    """Envoy refuses the whole route table otherwise."""
    made = world(service("reviews", more="clusterIP: 10.1.1.1"), other)
    domains = [domain for host in hosts(made).values() for domain in host.domains]
    assert max(Counter(domains).values()) == 1
    assert taken in domains


@pytest.mark.istio_fields("VirtualService.gateways[]", "VirtualService.exportTo[]")
@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([virtual_service("v", "a")], "200"),
        ([virtual_service("v", "a.default.svc.cluster.local")], "200"),
        ([virtual_service("v", "*.default.svc.cluster.local")], "200"),
        ([virtual_service("v", "*")], "200"),
        ([virtual_service("v", "a", more="gateways: [edge]")], "a.default.svc.cluster.local"),
        ([virtual_service("v", "a", more="gateways: [edge, mesh]")], "200"),
        ([virtual_service("v", "a", namespace="other")], "a.default.svc.cluster.local"),
        ([virtual_service("v", "a.default.svc.cluster.local", namespace="other")], "200"),
        (
            [virtual_service("v", "a.default.svc.cluster.local", namespace="other", more="exportTo: [.]")],
            "a.default.svc.cluster.local",
        ),
        ([virtual_service("old", "a", 201, created=1), virtual_service("new", "a", 202, created=2)], "201"),
        ([virtual_service("exact", "a", 201, created=2), virtual_service("wild", "*.local", 202, created=1)], "201"),
        ([virtual_service("long", "*.svc.cluster.local", 201), virtual_service("b", "*.local", 202)], "201"),
        (
            [resource("VirtualService", "v", "{hosts: [a], tcp: [{route: [{destination: {host: a}}]}]}")],
            "a.default.svc.cluster.local",
        ),
    ],
    ids=["short", "full", "wildcard", "every", "gateway-only", "both", "short-elsewhere", "elsewhere", "private",
         "oldest", "exact-first", "longest", "tcp-only"],
)  # fmt: skip
def test_the_virtual_service_of_a_host(objects: list[str], expected: str) -> None:
    made = world(service("a"), *objects)
    assert answer(hosts(made)["80/a.default.svc.cluster.local:80"]) == expected


def test_virtual_services_of_one_host_are_not_merged_on_the_mesh() -> None:
    made = world(service("a"), virtual_service("old", "a", created=1), virtual_service("new", "a", created=2))
    (problem,) = problems(made)
    assert (problem.code, problem.key and problem.key.name) == ("duplicate-host", "new")
    assert "VirtualService default/old" in problem.message


def test_a_host_without_a_service_is_on_port_80() -> None:
    made = world(virtual_service("v", "only.example.com", 204))
    assert hosts(made).keys() == {"80/only.example.com:80"}
    assert resources(made, types.LISTENER) == {"127.0.0.2_80"}


def test_services_that_are_not_exported_are_not_seen() -> None:
    hidden = """
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: other, annotations: {networking.istio.io/exportTo: "."}}
spec: {ports: [{name: http, port: 80}]}
"""
    made = world(service("a"), hidden)
    assert names(made) == "a"
    assert names(made, sidecar_proxy(namespace="other")) == "ah"


def test_services_of_tcp_and_tls_on_their_ports() -> None:
    made = world(
        service("db", "{name: mysql, port: 3306}"),
        service("vault", "{name: https, port: 443}"),
        resource(
            "ServiceEntry",
            "e",
            "{hosts: [api.example.com], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}",
        ),
        service("web", "{name: http, port: 443}", namespace="other"),
    )
    found = {name: sorted(shown(chain) for chain in item.filter_chains) for name, item in listeners(made).items()}
    assert found == {
        "outbound 127.0.0.1_3306": ["any -> db:3306"],
        "outbound 127.0.0.1_443": [
            "any -> 443",
            "passed api.example.com -> api:443",
            "passed vault,vault.default,vault.default.svc,vault.default.svc.cluster.local -> vault:443",
        ],
    }


@pytest.mark.istio_fields(
    "VirtualService.tls[].match[].sniHosts[]",
    "VirtualService.tls[].match[].gateways[]",
    "VirtualService.tcp[].match[].sourceLabels{}",
)
def test_tls_and_tcp_routes_of_virtual_services() -> None:
    made = world(
        service("db", "{name: tcp, port: 3306}"),
        service("db2", "{name: tcp, port: 1}"),
        service("vault", "{name: tls, port: 443}"),
        resource("VirtualService", "db", """
  hosts: [db]
  tcp:
  - {match: [{sourceLabels: {team: red}}], route: [{destination: {host: db, port: {number: 3306}}}]}
  - route: [{destination: {host: db}, weight: 90}, {destination: {host: db2}, weight: 10}]
"""),
        resource("VirtualService", "vault", """
  hosts: [vault.default.svc.cluster.local]
  tls:
  - match: [{sniHosts: ['*.default.svc.cluster.local'], gateways: [mesh]}]
    route: [{destination: {host: db2}}]
"""),
    )  # fmt: skip
    found = listeners(made)
    (chain,) = found["outbound 127.0.0.1_3306"].filter_chains
    assert shown(chain) == "any -> db:3306, db2:1"
    (chain,) = found["outbound 127.0.0.1_443"].filter_chains
    assert shown(chain) == "passed vault.default.svc.cluster.local -> db2:1"


def test_of_two_tcp_services_on_a_port_the_first_is_reached_and_the_other_told_of() -> None:
    made = world(service("a", "{name: tcp, port: 1}"), service("b", "{name: tcp, port: 1}"))
    (listener,) = listeners(made).values()
    assert [shown(chain) for chain in listener.filter_chains] == ["any -> a:1"]
    (problem,) = problems(made)
    assert (problem.code, problem.key and problem.key.name) == ("server-conflict", "b")
    assert "a.default.svc.cluster.local (Service default/a)" in problem.message


def test_http_comes_before_tcp_on_a_port() -> None:
    made = world(service("a", "{name: tcp, port: 1}"), service("b", "{name: http, port: 1}"))
    (listener,) = listeners(made).values()
    assert [shown(chain) for chain in listener.filter_chains] == ["any -> 1"]
    (problem,) = problems(made)
    assert (problem.code, problem.key and problem.key.name) == ("server-conflict", "a")
    assert "HTTP requests, as those to b.default.svc.cluster.local (Service default/b)" in problem.message


# --- Scope ------------------------------------------------------------------------------------------------------------

SERVICES = (
    service("a"),
    service("b"),
    service("c", namespace="other"),
    service("d", namespace="third"),
    resource("ServiceEntry", "e", "{hosts: [x.example.com], ports: [{number: 80, name: http}]}", namespace="other"),
)


@pytest.mark.istio_fields("Sidecar.egress[].hosts[]")
@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        (["*/*"], "abcdx"),
        (["./*"], "ab"),
        (["other/*"], "cx"),
        (["./*", "third/*"], "abd"),
        (["./a.default.svc.cluster.local"], "a"),
        (["other/a.default.svc.cluster.local"], ""),
        (["*/*.example.com"], "x"),
        (["other/*.svc.cluster.local"], "c"),
        (["~/*"], ""),
        (["*/*", "~other/*"], "abd"),
    ],
)
def test_egress_hosts(imports: list[str], expected: str) -> None:
    made = world(*SERVICES, sidecar(egress(*imports)))
    assert names(made) == expected
    assert len(resources(made, types.CLUSTER) - {"PassthroughCluster"}) == len(expected)


SELECTED = sidecar(f"{egress('third/*')}, workloadSelector: {{labels: {{team: %s}}}}", "selected")


@pytest.mark.istio_fields("Sidecar.workloadSelector.labels{}")
@pytest.mark.parametrize(
    ("sidecars", "expected"),
    [
        ([], "abcdx"),
        ([sidecar(egress("other/*"))], "cx"),
        ([sidecar(egress("other/*"), namespace="other")], "abcdx"),
        ([sidecar(egress("./*"), namespace="istio-system")], "ab"),
        ([sidecar(egress("./*"), namespace="istio-system"), sidecar(egress("other/*"))], "cx"),
        ([sidecar(egress("other/*")), SELECTED % "blue"], "d"),
        ([sidecar(egress("other/*")), SELECTED % "red"], "cx"),
        ([sidecar(egress("other/*"), created=2), sidecar(egress("third/*"), "s", created=1)], "d"),
        ([sidecar("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")], "abcdx"),
    ],
    ids=["none", "namespace", "another-namespace", "root", "root-and-own", "selected", "not-selected", "oldest",
         "no-egress"],
)  # fmt: skip
def test_which_sidecar_governs(sidecars: list[str], expected: str) -> None:
    assert names(world(*SERVICES, *sidecars)) == expected


def test_a_younger_sidecar_for_the_same_workloads_is_told_of() -> None:
    made = world(sidecar(egress("./*"), "b", created=1), sidecar(egress("./*"), "a", created=2))
    (problem,) = problems(made)
    assert (problem.code, problem.key and problem.key.name) == ("rule-without-effect", "a")


@pytest.mark.istio_fields("Sidecar.egress[].{port.number, port.protocol, port.name, bind}")
def test_an_egress_listener_with_a_port_has_it_for_itself() -> None:
    made = world(
        *SERVICES,
        service("f", "{name: http, port: 81}"),
        sidecar(
            "egress: [{port: {number: 80, protocol: HTTP, name: x}, bind: 127.0.0.9, hosts: ['./*']}, {hosts: ['*/*']}]"
        ),
    )
    assert names(made) == "abf"
    assert resources(made, types.LISTENER) == {"127.0.0.9_80", "127.0.0.2_81"}


def test_an_http_proxy_port_knows_services_by_host_and_port() -> None:
    made = world(service("a", "{name: http, port: 80}", "{name: tcp, port: 81}"))
    proxy = sidecar_proxy(http_proxy_port=15080)
    found = {name: host for name, host in hosts(made, proxy).items() if name.startswith("http_proxy/")}
    assert {name.rpartition(":")[2]: [route.name for route in host.routes] for name, host in found.items()} == {
        "80": ["connect", "default"], "81": ["connect"]
    }  # fmt: skip
    assert {"a:80", "a"} <= set(found["http_proxy/a.default.svc.cluster.local:80"].domains)
    assert "a" not in found["http_proxy/a.default.svc.cluster.local:81"].domains
    assert "127.0.0.2_15080" in resources(made, types.LISTENER, proxy)


@pytest.mark.istio_fields("Sidecar.egress[].captureMode", "Sidecar.ingress[].captureMode")
@pytest.mark.parametrize(
    ("spec", "code", "path"),
    [
        ("egress: [{hosts: ['./*'], captureMode: IPTABLES, port: {number: 1, protocol: HTTP}}]", "unsupported-value",
         ("spec", "egress", 0, "captureMode")),
        ("ingress: [{port: {number: 1, protocol: HTTP}, captureMode: IPTABLES}]", "unsupported-value",
         ("spec", "ingress", 0, "captureMode")),
    ],
)  # fmt: skip
def test_what_is_not_done_is_told(spec: str, code: str, path: tuple[str | int, ...]) -> None:
    assert {(problem.code, problem.path) for problem in problems(world(sidecar(spec)))} == {(code, path)}


# --- Inbound ----------------------------------------------------------------------------------------------------------

FRONT = service(
    "front", "{name: http, port: 80, targetPort: 8080}", "{name: tcp, port: 90}", more="selector: {app: caller}"
)


def test_the_ports_behind_the_services_that_select_the_workload() -> None:
    made = world(
        FRONT,
        service("others", "{name: http, port: 80, targetPort: 7070}", more="selector: {app: other}"),
        resource(
            "ServiceEntry",
            "e",
            """
  hosts: [e.com]
  resolution: STATIC
  ports: [{number: 70, name: http, targetPort: 7000}]
  workloadSelector: {labels: {team: blue}}
""",
        ),
    )
    found = {name: shown(item.filter_chains[0]) for name, item in listeners(made).items() if name.startswith("inbound")}
    assert found == {
        "inbound 0.0.0.0_8080": "any -> inbound|8080||",
        "inbound 0.0.0.0_90": "any -> :90",
        "inbound 0.0.0.0_7000": "any -> inbound|7000||",
    }
    assert {"10.0.0.1_8080", "10.0.0.1_90", "10.0.0.1_7000"} <= resources(made, types.LISTENER)
    assert {"inbound|8080||", "inbound|90||", "inbound|7000||"} <= resources(made, types.CLUSTER)


def test_a_named_target_port_is_looked_up_in_endpoint_slices() -> None:
    front = service("front", "{name: http, port: 80, targetPort: web}", more="selector: {app: caller}")
    (problem,) = problems(world(front))
    assert problem.code == "named-target-port"
    slices = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: front-1, labels: {kubernetes.io/service-name: front}}
addressType: IPv4
ports: [{name: http, port: 8081}]
endpoints: [{addresses: [10.0.0.1]}]
"""
    made = world(front, slices)
    assert not problems(made)
    assert "10.0.0.1_8081" in resources(made, types.LISTENER)
    assert "inbound|8081||" in resources(made, types.CLUSTER)


@pytest.mark.parametrize(
    ("address", "bind_address", "expected", "codes"),
    [
        ("10.0.0.1", "127.0.0.2", {"10.0.0.1_8080", "10.0.0.1_90", "127.0.0.2_80", "127.0.0.2_90"}, set()),
        ("", "127.0.0.2", {"127.0.0.2_8080", "127.0.0.2_90", "127.0.0.2_80"}, {"server-conflict"}),
        ("10.0.0.1", "", {"10.0.0.1_8080", "10.0.0.1_90", "127.0.0.1_80"}, {"server-conflict"}),
        ("", "", {"127.0.0.1_80"}, {"server-conflict", "no-workload-address"}),
        ("127.0.0.1", "", {"127.0.0.1_80"}, {"server-conflict", "no-workload-address"}),
    ],
)
def test_no_listener_takes_the_port_of_the_application(
    address: str, bind_address: str, expected: set[str], codes: set[str]
) -> None:
    made = world(FRONT)
    proxy = sidecar_proxy(address=address, bind_address=bind_address)
    assert resources(made, types.LISTENER, proxy) == expected
    assert {problem.code for problem in problems(made, proxy)} == codes


NAME = "10.0.0.1_9000"


@pytest.mark.istio_fields(
    "Sidecar.ingress[].{port.number, port.protocol, port.name, bind, defaultEndpoint, connectionPool}"
)
@pytest.mark.parametrize(
    ("listener", "name", "endpoint"),
    [
        ("port: {number: 9000, protocol: HTTP, name: a}", NAME, ("127.0.0.1", 9000)),
        ("port: {number: 9000, protocol: TCP}, defaultEndpoint: '127.0.0.1:8000'", NAME, ("127.0.0.1", 8000)),
        ("port: {number: 9000, protocol: HTTP}, defaultEndpoint: 'unix:///run/app'", NAME, ("/run/app", 0)),
        ("port: {number: 9000, protocol: HTTP, name: a}, bind: 10.0.0.7", "10.0.0.7_9000", ("127.0.0.1", 9000)),
    ],
)  # fmt: skip
def test_the_ingress_of_a_sidecar_replaces_services(listener: str, name: str, endpoint: tuple[str, int]) -> None:
    made = world(FRONT, sidecar(f"ingress: [{{{listener}, connectionPool: {{tcp: {{maxConnections: 3}}}}}}]"))
    assert {found for found in resources(made, types.LISTENER) if not found.startswith("127.")} == {name}
    clusters = {
        backend.port: outcome.value
        for backend, outcome in items(translation.cluster_outcomes(made, selection(made, SIDECAR).shared))
        if not backend.host
    }
    assert clusters.keys() == {9000}
    cluster = clusters[9000]
    assert cluster is not None
    (found,) = cluster.localities[0].endpoints
    assert (found.address, found.port) == endpoint
    assert cluster.connection_pool.max_connections == 3


@pytest.mark.istio_fields("Sidecar.inboundConnectionPool")
def test_limits_of_the_connections_to_the_application() -> None:
    made = world(FRONT, sidecar("inboundConnectionPool: {http: {http2MaxRequests: 7}}"))
    outcomes = translation.cluster_outcomes(made, selection(made, SIDECAR).shared)
    found = [outcome.value for backend, outcome in items(outcomes) if not backend.host]
    assert [cluster.connection_pool.max_requests for cluster in found if cluster is not None] == [7, 7]


@pytest.mark.parametrize(
    ("listener", "code"),
    [
        ("bind: 127.0.0.1", "server-conflict"),
        ("bind: 0.0.0.0", "server-conflict"),
    ],
)
def test_an_ingress_that_cannot_be_served_is_told_of(listener: str, code: str) -> None:
    made = world(sidecar(f"ingress: [{{port: {{number: 9000, protocol: HTTP, name: a}}, {listener}}}]"))
    assert not resources(made, types.LISTENER)
    (problem,) = problems(made)
    assert problem.code == code


# --- What is shared, and what a change costs --------------------------------------------------------------------------


@contextmanager
def computed(made: World, *proxies: Proxy) -> Iterator[Counter[str]]:
    def everything() -> None:
        for proxy in proxies:
            selected = selection(made, proxy)
            for found in translation.resource_maps(made, selected, proxy).values():
                found.refresh()
            for index in diagnosis.problem_indexes(made, selected, proxy.locality):
                index.refresh()

    everything()
    before, counts = made.graph.computed.copy(), Counter[str]()
    yield counts
    everything()
    counts.update(made.graph.computed - before)


def test_workloads_with_one_scope_share_all_but_their_listeners() -> None:
    made = world(FRONT, *(service(f"s{number}") for number in range(20)))
    others = sidecar_proxy(frozenset({("app", "other")}), address="10.0.0.2")
    maps = [translation.resource_maps(made, selection(made, proxy), proxy) for proxy in (SIDECAR, others)]
    assert [kind for kind in maps[0] if maps[0][kind] is not maps[1][kind]] == [types.LISTENER]


def test_sidecars_at_other_addresses_are_other_groups() -> None:
    made = world(FRONT)
    proxies = [SIDECAR, sidecar_proxy(address="10.0.0.2"), sidecar_proxy(bind_address="127.0.0.3")]
    assert len({GroupKey.of(selection(made, proxy), proxy) for proxy in proxies}) == 3
    assert len({selection(made, proxy) for proxy in proxies}) == 1


def test_an_edit_of_a_virtual_service_costs_one_virtual_host() -> None:
    made = world(*(service(f"s{number}") for number in range(20)), virtual_service("v", "s7"))
    with computed(made, SIDECAR, sidecar_proxy(frozenset(), address="10.0.0.2")) as counts:
        put(made, virtual_service("v", "s7", 404))
    assert (counts["virtual_hosts"], counts["virtual_host_leaves"]) == (1, 1)
    untouched = ("exposures", "listener", "cluster_outcomes", "cluster", "_sidecar_resources", "sidecar_listeners")
    assert {name: counts[name] for name in untouched} == dict.fromkeys(untouched, 0)


def test_one_more_service_costs_its_own() -> None:
    made = world(*(service(f"s{number}") for number in range(20)))
    with computed(made, SIDECAR) as counts:
        put(made, service("more"))
    costs = ("exposures", "virtual_hosts", "virtual_host_leaves", "cluster", "endpoint_assignment")
    assert {name: counts[name] for name in costs} == dict.fromkeys(costs, 1)
    assert counts["listener_resources"] == 0, "the listener of the port is the same"


def test_what_is_out_of_scope_costs_nothing() -> None:
    made = world(service("a"), service("b", namespace="other"), sidecar(egress("./*")))
    with computed(made, SIDECAR) as counts:
        put(made, service("c", namespace="other"), virtual_service("v", "b.other.svc.cluster.local", namespace="other"))
    assert not counts.keys() & {"exposures", "virtual_hosts", "listener", "_hosts"}
