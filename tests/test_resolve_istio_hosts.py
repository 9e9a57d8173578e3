"""On which virtual hosts VirtualServices are served, and in which order."""

import pytest
from fairlead.problems import Severity
from support.istio import (
    SHOPS,
    TO_SHOP,
    all_hosts,
    all_problems,
    gateway,
    http,
    only_host,
    service,
    tls,
    virtual_service,
)
from support.worlds import put, world

HTTP_80 = ("http.80", "a.example.com")
REDIRECT = "tls: {httpsRedirect: true}"


# --- On which virtual hosts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("served", "routed", "domains"),
    [
        ('"*"', "a.com", {"a.com"}),
        ('"*"', '"*"', {"*"}),
        ('"*.com"', "a.com, b.org", {"a.com"}),
        ("a.com, b.com, c.org", '"*.com"', {"a.com", "b.com"}),
        ('"*.com", b.com', '"*.b.com", b.com', {"*.b.com", "b.com"}),
        ("A.com", "a.COM", {"a.com"}),
        ("edge/a.com", "a.com", {"a.com"}),
        ("./a.com", "a.com", {"a.com"}),
        ("'*/a.com'", "a.com", {"a.com"}),
        ("other/a.com", "a.com", set()),
        ("other/a.com, edge/b.com", '"*"', {"b.com"}),
        ("shop.edge.svc.cluster.local", "shop", {"shop.edge.svc.cluster.local"}),
    ],
)
@pytest.mark.istio_fields(
    "Gateway.servers[].hosts[]",
    "VirtualService.hosts[]",
)
def test_hosts_of_servers_and_virtual_services_meet(served: str, routed: str, domains: set[str]) -> None:
    made = world(
        gateway("edge", http(hosts=served)), virtual_service("v", f"http: [{{{TO_SHOP}}}]", hosts=routed), SHOPS
    )
    assert {key for key, host in all_hosts(made).items() if host.routes} == {("http.80", domain) for domain in domains}
    review = [problem.code for problem in all_problems(made)]
    assert review == ([] if domains and "b.org" not in routed else ["no-matching-host"])


def test_names_and_domains_of_virtual_hosts() -> None:
    made = world(
        gateway("edge", http(), tls("a.example.com"), http(81, '"*"', "bind: 127.0.0.1")),
        gateway("old", http(82, '"2001:db8::1"', "tls: {httpsRedirect: true}")),
        service("front", "{port: 80, targetPort: 8080}, {port: 443, targetPort: 8443}", "{app: edge}"),
        virtual_service("v", f"http: [{{{TO_SHOP}}}]"),
        SHOPS,
    )
    assert {key: (host.name, host.domains) for key, host in all_hosts(made).items()} == {
        ("http.8080", "a.example.com"): ("a.example.com:80", ("a.example.com",)),
        ("https.443.https.edge.edge", "a.example.com"): ("a.example.com:443", ("a.example.com",)),
        ("http.81.127.0.0.1", "a.example.com"): ("a.example.com:81", ("a.example.com",)),
        ("http.82", "2001:db8::1"): ("2001:db8::1:82", ("[2001:db8::1]",)),
    }


def test_virtual_hosts_are_named_after_the_port_of_the_oldest_server() -> None:
    ports = range(80, 89)
    front = service("front", ", ".join(f"{{port: {port}, targetPort: 8080}}" for port in ports), "{app: edge}")
    gateways = [gateway(f"g{port}", http(port, f"h{port}.com", REDIRECT), created=100 - port) for port in ports]
    assert {host.name.partition(":")[2] for host in all_hosts(world(front, *gateways)).values()} == {"88"}


@pytest.mark.parametrize(
    ("reference", "namespace", "is_bound"),
    [
        ("edge", "edge", True),
        ("edge", "team", False),
        ("edge/edge", "team", True),
        ("./edge", "edge", True),
        ("./edge", "team", False),
        ("edge.edge", "team", True),
        ("edge.edge.svc.cluster.local", "team", True),
        ("mesh", "edge", False),
        ("mesh, edge", "edge", True),
        ("other, edge", "edge", True),
        ("", "edge", False),
    ],
)
@pytest.mark.istio_fields("VirtualService.gateways[]")
def test_virtual_services_name_their_gateways(reference: str, namespace: str, is_bound: bool) -> None:
    spec = f"http: [{{{TO_SHOP}}}]"
    made = world(gateway("edge", http()), virtual_service("v", spec, gateways=reference, namespace=namespace))
    assert (HTTP_80 in all_hosts(made)) == is_bound


@pytest.mark.parametrize(
    ("export_to", "is_seen"),
    [("", True), ("'*'", True), ("edge", True), ("edge, x", True), ("., x", False), (".", False), ("., '*'", True)],
)
@pytest.mark.istio_fields("VirtualService.exportTo[]")
def test_virtual_services_are_seen_where_they_are_exported(export_to: str, is_seen: bool) -> None:
    spec = f"http: [{{{TO_SHOP}}}]\nexportTo: [{export_to}]"
    made = world(gateway("edge", http()), virtual_service("v", spec, gateways="edge/edge", namespace="team"))
    assert (HTTP_80 in all_hosts(made)) == is_seen


def named(name: str, *, created: int = 0, more: str = "", namespace: str = "edge", export: str = "") -> str:
    routes = f"http: [{more} {{name: {namespace}-{name}, {TO_SHOP}}}]\nexportTo: [{export}]"
    return virtual_service(name, routes, created=created, gateways="edge/edge", namespace=namespace)


def test_routes_of_several_virtual_services_follow_each_other_by_age() -> None:
    one = f"{{name: one, match: [{{uri: {{exact: /1}}}}], {TO_SHOP}}},"
    two = f"{{name: two, match: [{{uri: {{exact: /2}}}}], {TO_SHOP}}},"
    made = world(gateway("edge", http()), named("a", created=3, more=one), named("b", created=2, more=two), SHOPS)
    put(made, named("c", namespace="z"), named("c", namespace="y"))
    host = only_host(made)
    # What takes everything comes last, in the same order.
    assert [route.name for route in host.routes] == ["two", "one", "y-c", "z-c", "edge-b", "edge-a"]
    assert [f"{key.namespace}/{key.name}" for key in host.origin] == ["y/c", "z/c", "edge/b", "edge/a"]
    assert [str(route.origin[0]) for route in host.routes[:2]] == ["VirtualService edge/b", "VirtualService edge/a"]


def test_of_two_virtual_services_that_take_everything_the_second_is_told_of() -> None:
    made = world(gateway("edge", http(), tls("a.example.com")), named("a"), named("b"), SHOPS)
    (problem,) = all_problems(made)
    assert (problem.code, problem.severity, problem.path) == ("duplicate-host", Severity.WARNING, ("spec", "hosts"))
    assert str(problem.key) == "VirtualService edge/b"
    assert "a.example.com" in problem.message
    assert "VirtualService edge/a" in problem.message
    partly = f"http: [{{match: [{{uri: {{prefix: /b}}}}], {TO_SHOP}}}]"
    put(made, virtual_service("b", partly, gateways="edge/edge"))
    assert all_problems(made) == set()


def test_virtual_services_for_the_proxys_namespace_only_come_before_public_ones() -> None:
    made = world(
        gateway("edge", http()),
        named("public", created=1, namespace="team"),
        named("shared", created=2, namespace="team", export="edge"),
        named("private", created=3, export="."),
        SHOPS,
    )
    assert [route.name for route in only_host(made).routes] == ["edge-private", "team-shared", "team-public"]


def test_one_host_by_two_gateways_of_a_virtual_service_has_its_routes_once() -> None:
    spec = f"http: [{{match: [{{gateways: [b]}}], name: by-b, {TO_SHOP}}}, {{name: all, {TO_SHOP}}}]"
    made = world(gateway("a", http()), gateway("b", http()), virtual_service("v", spec, gateways="a, b"), SHOPS)
    assert [route.name for route in only_host(made).routes] == ["by-b"]
    put(made, gateway("b", http(), selector="{app: other}"))
    assert [route.name for route in only_host(made).routes] == ["all"]


# --- Redirects of servers, and empty tables ---------------------------------------------------------------------------


@pytest.mark.istio_fields("Gateway.servers[].tls.httpsRedirect")
def test_servers_redirect_their_hosts_with_and_without_routes() -> None:
    made = world(
        gateway("edge", http(80, '"*.example.com", b.org', REDIRECT)),
        gateway("other", http(80, "c.org")),
        virtual_service("v", f"http: [{{{TO_SHOP}}}]", hosts="a.example.com, c.org", gateways="edge, other"),
        SHOPS,
    )
    found = all_hosts(made)
    assert {domain: (host.require_tls, len(host.routes)) for (_, domain), host in found.items()} == {
        "*.example.com": (True, 0),
        "b.org": (True, 0),
        "a.example.com": (True, 1),
        "c.org": (False, 1),
    }
    assert [str(key) for key in found["http.80", "b.org"].origin] == ["Gateway edge/edge"]


def test_a_table_without_routes_answers_404_and_names_its_gateway() -> None:
    made = world(gateway("edge", http(81), tls("x.com")))
    found = all_hosts(made)
    assert set(found) == {("http.81", "*"), ("https.443.https.edge.edge", "*")}
    host = found["http.81", "*"]
    assert (host.name, host.domains, host.routes, host.require_tls) == ("blackhole:81", ("*",), (), False)
    assert [str(key) for key in host.origin] == ["Gateway edge/edge"]
    put(made, virtual_service("v", f"http: [{{{TO_SHOP}}}]"), SHOPS)
    assert set(all_hosts(made)) == {("http.81", "a.example.com"), ("https.443.https.edge.edge", "*")}


def test_a_virtual_service_without_http_routes_has_no_virtual_hosts() -> None:
    tcp = virtual_service("v", "tcp: [{route: [{destination: {host: shop}}]}]", hosts="a.com")
    assert set(all_hosts(world(gateway("edge", http()), tcp, SHOPS))) == {("http.80", "*")}


def test_servers_that_are_not_served_have_no_virtual_hosts() -> None:
    made = world(
        gateway("edge", tls("a.example.com"), tls("a.example.com", "second")),
        virtual_service("v", f"http: [{{{TO_SHOP}}}]"),
        SHOPS,
    )
    assert set(all_hosts(made)) == {("https.443.https.edge.edge", "a.example.com")}


# --- Reviews ----------------------------------------------------------------------------------------------------------


def test_a_gateway_that_does_not_exist_is_told_of() -> None:
    made = world(virtual_service("v", f"http: [{{{TO_SHOP}}}]", gateways="mesh, gone, edge/away"), SHOPS)
    problems = sorted(all_problems(made), key=lambda problem: problem.path)
    assert [(problem.code, problem.path[2], problem.severity) for problem in problems] == [
        ("unknown-gateway", 1, Severity.WARNING),
        ("unknown-gateway", 2, Severity.WARNING),
    ]
    assert ["edge/gone" in problems[0].message, "edge/away" in problems[1].message] == [True, True]
    put(made, gateway("gone", http(), selector="{app: other}"), gateway("away", http()))
    assert all_problems(made) == set()


def test_hosts_that_no_server_has_are_told_of_with_those_that_it_has() -> None:
    hosts = ", ".join(f"h{number}.com" for number in range(9))
    made = world(
        gateway("edge", http(80, hosts), http(81, "z.com")), virtual_service("v", f"http: [{{{TO_SHOP}}}]"), SHOPS
    )
    (problem,) = all_problems(made)
    assert (problem.code, problem.path) == ("no-matching-host", ("spec", "gateways", 0))
    assert problem.hint == "the Gateway has h0.com, h1.com, h2.com, h3.com, h4.com and others"
