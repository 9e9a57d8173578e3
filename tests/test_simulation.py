"""The simulation against hand-written Envoy resources, row by row as Envoy's documentation has it."""

from typing import Any

import pytest
from fairlead._pb import POOL
from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import VirtualHost
from fairlead._pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from fairlead.simulation import Request, Simulation, Verdict
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource
from google.protobuf import json_format

EXTENSIONS = "type.googleapis.com/envoy.extensions."


def resource(type_url: str, message: Any, name: str, content: dict[str, Any]) -> Resource:
    encoded = json_format.ParseDict(content, message, descriptor_pool=POOL)
    return Resource(type_url, name, encoded.SerializeToString(deterministic=True))


def http(name: str, table: str, server_names: list[str] | None = None) -> dict[str, Any]:
    chain: dict[str, Any] = {
        "name": name,
        "filters": [
            {
                "name": "http",
                "typed_config": {
                    "@type": EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "rds": {"route_config_name": table},
                },
            }
        ],
    }
    if server_names is not None:
        chain["filter_chain_match"] = {"server_names": server_names}
        chain["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": EXTENSIONS + "transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": f"secret-of-{name}"}]},
            },
        }
    return chain


def tcp(name: str, cluster: str, server_names: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "filter_chain_match": {"server_names": server_names, "transport_protocol": "tls"},
        "filters": [
            {
                "name": "tcp",
                "typed_config": {
                    "@type": EXTENSIONS + "filters.network.tcp_proxy.v3.TcpProxy",
                    "stat_prefix": "x",
                    "cluster": cluster,
                },
            }
        ],
    }


def listener(port: int, *chains: dict[str, Any]) -> Resource:
    address = {"socket_address": {"address": "0.0.0.0", "port_value": port}}
    content = {"name": f"0.0.0.0_{port}", "address": address, "filter_chains": list(chains)}
    return resource(types.LISTENER, Listener(), f"0.0.0.0_{port}", content)


def cluster(name: str, *endpoints: str) -> list[Resource]:
    addresses = [
        {"socket_address": {"address": e.split(":")[0], "port_value": int(e.split(":")[1])}} for e in endpoints
    ]
    assignment = {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}} for address in addresses]}],
    }
    return [
        resource(types.CLUSTER, Cluster(), name, {"name": name, "type": "EDS"}),
        resource(types.CLUSTER_LOAD_ASSIGNMENT, ClusterLoadAssignment(), name, assignment),
    ]


def routes(name: str, *hosts: dict[str, Any]) -> Resource:
    return resource(types.ROUTE_CONFIGURATION, RouteConfiguration(), name, {"name": name, "virtual_hosts": list(hosts)})


def forward(match: dict[str, Any], cluster: str = "one", **more: Any) -> dict[str, Any]:
    return {"name": f"to-{cluster}", "match": match, "route": {"cluster": cluster, **more}}


TABLE = routes(
    "http",
    {
        "name": "exact",
        "domains": ["shop.example.com"],
        "response_headers_to_add": [
            {"header": {"key": "x-level", "value": "host"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
        "routes": [
            forward({"path": "/exact"}, prefix_rewrite="/new"),
            forward({"path_separated_prefix": "/segment"}, "two"),
            forward({"prefix": "/text", "case_sensitive": False}, "two", prefix_rewrite="/"),
            forward({"safe_regex": {"regex": "/r[0-9]+"}}, "two"),
            forward({"prefix": "/", "headers": [{"name": "x-a", "string_match": {"exact": "1"}}]}, "two"),
            forward({"prefix": "/", "headers": [{"name": "x-b", "present_match": True, "invert_match": True}],
                     "query_parameters": [{"name": "q", "string_match": {"prefix": "v"}}]}, "two"),
            {"match": {"prefix": "/moved"}, "redirect": {"host_redirect": "new.example.com", "https_redirect": True,
                                                          "prefix_rewrite": "/there", "response_code": "FOUND"}},
            {"match": {"prefix": "/teapot"}, "direct_response": {"status": 418}},
            {"name": "split", "match": {"prefix": "/split"}, "route": {"weighted_clusters": {"clusters": [
                {"name": "one", "weight": 90}, {"name": "two", "weight": 10}]}}},
            forward({"prefix": "/missing"}, "nowhere", cluster_not_found_response_code="INTERNAL_SERVER_ERROR"),
            forward({"prefix": "/empty"}, "empty"),
        ],
    },
    {"name": "wildcard", "domains": ["*.example.com"], "routes": [forward({"prefix": "/"})]},
    {"name": "longer-wildcard", "domains": ["*.b.example.com"], "routes": [forward({"prefix": "/"})]},
    {"name": "tls-only", "domains": ["safe.example.com"], "require_tls": "ALL", "routes": [forward({"prefix": "/"})]},
)  # fmt: skip


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return Simulation(
        [
            TABLE,
            routes("empty-table"),
            listener(8080, http("plain", "http")),
            listener(
                8443,
                http("exact-sni", "http", ["shop.example.com"]),
                http("wildcard-sni", "empty-table", ["*.example.com"]),
                tcp("through", "one", ["raw.example.com"]),
            ),
            *cluster("one", "127.0.0.1:1"),
            *cluster("two", "127.0.0.1:2", "127.0.0.1:3"),
            *cluster("empty"),
        ]
    )


def ask(simulation: Simulation, path: str, host: str = "shop.example.com", **more: Any) -> Verdict:
    return simulation.send(Request(port=more.pop("port", 8080), host=host, path=path, **more))


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/exact", {}, {"clusters": {"one": 1.0}, "path": "/new"}),
        ("/segment", {}, {"clusters": {"two": 1.0}}),
        ("/segment/more", {}, {"clusters": {"two": 1.0}}),
        ("/segments", {}, {"status": 404}),
        ("/TEXTual", {}, {"clusters": {"two": 1.0}, "path": "/ual"}),
        ("/r42", {}, {"clusters": {"two": 1.0}}),
        ("/r42x", {}, {"status": 404}),
        ("/any", {"x-a": "1"}, {"clusters": {"two": 1.0}}),
        ("/any", {"x-a": "2"}, {"status": 404}),
        ("/any?q=value", {}, {"clusters": {"two": 1.0}, "path": "/any?q=value"}),
        ("/any?q=value", {"x-b": ""}, {"status": 404}),
        ("/moved/on?x=1", {}, {"status": 302, "location": "https://new.example.com/there/on?x=1"}),
        ("/teapot", {}, {"status": 418}),
        ("/split", {}, {"clusters": {"one": 0.9, "two": 0.1}}),
        ("/missing", {}, {"status": 500}),
        ("/empty", {}, {"status": 503}),
    ],
)
def test_routes(simulation: Simulation, path: str, headers: dict[str, str], expected: dict[str, Any]) -> None:
    verdict = ask(simulation, path, headers=headers)
    assert {key: getattr(verdict, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("shop.example.com", "exact"),
        ("other.example.com", "wildcard"),
        ("a.b.example.com", "longer-wildcard"),
        ("example.com", ""),
    ],
)
def test_virtual_hosts(simulation: Simulation, host: str, expected: str) -> None:
    assert ask(simulation, "/exact", host).virtual_host == expected


@pytest.mark.parametrize(
    ("port", "tls", "name", "chain"),
    [
        (8080, False, "shop.example.com", "plain"),
        (8080, True, "shop.example.com", ""),
        (8443, True, "shop.example.com", "exact-sni"),
        (8443, True, "other.example.com", "wildcard-sni"),
        (8443, True, "raw.example.com", "through"),
        (8443, True, "example.org", ""),
        (8443, False, "shop.example.com", ""),
        (9999, False, "shop.example.com", ""),
    ],
)
def test_filter_chains(simulation: Simulation, port: int, tls: bool, name: str, chain: str) -> None:
    verdict = ask(simulation, "/exact", name, port=port, tls=tls)
    assert (verdict.filter_chain, verdict.refused) == (chain, not chain)


def test_what_is_told_besides(simulation: Simulation) -> None:
    verdict = ask(simulation, "/segment", port=8443, tls=True)
    assert verdict.secrets == ("secret-of-exact-sni",)
    assert verdict.endpoints == {"two": ("127.0.0.1:2", "127.0.0.1:3")}
    assert verdict.response_headers == {"x-level": "host"}
    assert "route to-one: path /segment is not /exact" in verdict.reasons
    assert ask(simulation, "/", "safe.example.com").location == "https://safe.example.com/"


# --- Filter chains of all kinds ---------------------------------------------------------------------------------------


def only_for(name: str, **match: Any) -> dict[str, Any]:
    return {**http(name, "http"), "filter_chain_match": match}


SOURCES = [{"address_prefix": "10.0.0.0", "prefix_len": 8}], [{"address_prefix": "10.1.0.0", "prefix_len": 16}]


@pytest.mark.parametrize(
    ("request_", "chain", "not_chosen"),
    [
        ({"source_address": "192.0.2.1"}, "any", {"ten": "it is for clients of 10.0.0.0/8"}),
        ({"source_address": "10.2.0.1"}, "ten", {"any": "ten fits better"}),
        ({"source_address": "10.1.0.1"}, "ten-one", {"ten": "ten-one fits better"}),
        ({}, "any", {"ten": "it is for clients of 10.0.0.0/8, and no client address is given"}),
        ({"tls": True, "source_address": "10.1.0.1"}, "named", {"any": "named fits better"}),
        ({"tls": True, "server_name": "b"}, "tls", {"named": "it is for server name shop.example.com"}),
        ({"tls": True, "server_name": ""}, "tls", {"named": "it is for server name shop.example.com, and the client"}),
        (
            {},
            "any",
            {"other-port": "it is for port 9999", "tls": "it is for TLS", "named": "it is for TLS with server"},
        ),
    ],
)
def test_one_criterion_comes_after_the_other(request_: Any, chain: str, not_chosen: dict[str, str]) -> None:
    chains = [
        only_for("any"),
        only_for("other-port", destination_port=9999),
        only_for("ten", source_prefix_ranges=SOURCES[0]),
        only_for("ten-one", source_prefix_ranges=SOURCES[1]),
        only_for("tls", transport_protocol="tls"),
        only_for("named", transport_protocol="tls", server_names=["shop.example.com"]),
    ]
    found = Simulation([TABLE, listener(8080, *chains)]).send(
        Request(port=8080, host="shop.example.com", path="/teapot", **request_)
    )
    assert found.filter_chain == chain
    (step,) = (step for step in found.steps if step.stage == "filter chain")
    reasons = dict(step.not_chosen)
    assert {name: why for name, why in not_chosen.items() if not reasons[name].startswith(why)} == {}
    assert chain not in reasons


def test_a_default_filter_chain_takes_what_is_left() -> None:
    only = listener(8080, only_for("other", destination_port=1))
    message = Listener.FromString(only.body)
    json_format.ParseDict({"default_filter_chain": http("rest", "http")}, message, descriptor_pool=POOL)
    found = Simulation([TABLE, Resource(types.LISTENER, only.name, message.SerializeToString())])
    assert ask(found, "/teapot").filter_chain == "rest"


# --- Besides ----------------------------------------------------------------------------------------------------------


def test_virtual_hosts_that_are_resources_of_their_own() -> None:
    host = {"name": "http/own", "domains": ["own.example.com"], "routes": [forward({"prefix": "/"})]}
    own = resource(types.VIRTUAL_HOST, VirtualHost(), "http/own", host)
    found = Simulation([TABLE, own, listener(8080, http("plain", "http")), *cluster("one", "127.0.0.1:1")])
    assert ask(found, "/", "own.example.com").virtual_host == "own"
    assert ask(found, "/teapot").virtual_host == "exact"


@pytest.mark.parametrize(("percent", "status"), [(100, 503), (99, None)])
def test_a_fault_for_every_request_is_the_answer(percent: int, status: int | None) -> None:
    fault = {
        "@type": EXTENSIONS + "filters.http.fault.v3.HTTPFault",
        "abort": {"http_status": 503, "percentage": {"numerator": percent}},
    }
    route = {**forward({"prefix": "/"}), "typed_per_filter_config": {"envoy.filters.http.fault": fault}}
    table = routes("http", {"name": "faulty", "domains": ["*"], "routes": [route]})
    found = Simulation([table, listener(8080, http("plain", "http")), *cluster("one", "127.0.0.1:1")])
    verdict = ask(found, "/")
    assert (verdict.status, bool(verdict.clusters), verdict.failure) == (status, status is None, "")


@pytest.mark.parametrize(
    ("match", "request_", "why"),
    [
        ({"path": "/a"}, {"path": "/b"}, "path /b is not /a"),
        ({"prefix": "/a"}, {"path": "/b"}, "path /b does not begin with /a"),
        ({"prefix": "/A", "case_sensitive": False}, {"path": "/b"}, "path /b does not begin with /A in any case"),
        ({"path_separated_prefix": "/a"}, {"path": "/ab"}, "path /ab is not /a or below it"),
        ({"safe_regex": {"regex": "/a+"}}, {"path": "/b"}, "path /b does not match the regular expression /a+"),
        ({"string_match": {"exact": "1"}}, {}, "header x is absent, and the route wants one that is 1"),
        ({"string_match": {"prefix": "1"}}, {"x": "2"}, "header x is 2, and the route wants one that begins with 1"),
        ({"string_match": {"suffix": "1"}}, {"x": ""}, "header x is '', and the route wants one that ends with 1"),
        ({"string_match": {"contains": "1"}}, {"x": "2"}, "header x is 2, and the route wants one that contains 1"),
        ({"string_match": {"safe_regex": {"regex": "1"}}}, {"x": "2"}, "that matches the regular expression 1"),
        ({"string_match": {"exact": "1"}, "invert_match": True}, {"x": "1"}, "wants one that is not 1"),
        ({"present_match": True}, {}, "header x is absent"),
        ({"present_match": True, "invert_match": True}, {"x": "1"}, "wants one that is absent"),
        ({"name": ":method", "string_match": {"exact": "PUT"}}, {}, "is GET, and the route wants one that is PUT"),
    ],
)  # fmt: skip
def test_why_a_route_does_not_match(match: dict[str, Any], request_: dict[str, str], why: str) -> None:
    of_path = {"path", "prefix", "path_separated_prefix", "safe_regex"} & match.keys()
    full = match if of_path else {"prefix": "/", "headers": [{"name": "x", **match}]}
    table = routes("http", {"name": "host", "domains": ["*"], "routes": [forward(full)]})
    found = Simulation([table, listener(8080, http("plain", "http"))])
    headers = {} if of_path else request_
    verdict = ask(found, request_.get("path", "/") if of_path else "/", headers=headers)
    assert verdict.status == 404
    assert verdict.reasons[0].endswith(why), verdict.reasons
