"""The simulation against hand-written Envoy resources, row by row as Envoy's documentation has it."""

from typing import Any

import pytest
from fairlead._pb import POOL
from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
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
