"""Rules of Istio that no single field says, by requests through one real Envoy: what holds where nothing is written."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from e2e.objects import (
    FRONT,
    HTTP,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    gateway,
    http_server,
    resource,
    service,
    together,
    virtual_service,
)
from fairlead.playground.backend import Backend
from support.stack import Client, Stack, until

pytestmark = pytest.mark.e2e

ONE, TWO, COPY, GRPC, CLOSED = 9001, 9002, 9003, 9004, 9099
PLAIN_FIRST, BYTES_FIRST, HIGH = 9081, 9082, 9083
TO_ONE, TO_TWO = "route: [{destination: {host: one}}]", "route: [{destination: {host: two}}]"

HOSTS = {
    "default.test": f"- {TO_ONE}",
    "off.test": f"- {{retries: {{attempts: 0}}, {TO_ONE}}}",
    "grpc.test": "- route: [{destination: {host: grpc}}]",
    "grpc-off.test": "- {retries: {attempts: 0}, route: [{destination: {host: grpc}}]}",
    "half.test": "- route: [{destination: {host: half}}]",
    "mirror.test": f"- {{mirror: {{host: copy}}, {TO_ONE}}}",
    "ports.test": "- route: [{destination: {host: ports}}]",
    "paths.test": f"""
      - {{match: [{{uri: {{exact: /exact}}}}], rewrite: {{uri: /whole}}, {TO_ONE}}}
      - {{match: [{{uri: {{prefix: /foo}}}}], rewrite: {{uri: /bar}}, {TO_ONE}}}
      - {{match: [{{uri: {{regex: "/r/.*"}}}}], rewrite: {{uri: /all}}, {TO_ONE}}}
      - {{match: [{{uri: {{prefix: /}}, ignoreUriCase: true}}], {TO_TWO}}}""",
    "hosts.test": f"""
      - match: [{{uri: {{prefix: /set}}}}]
        headers: {{request: {{set: {{host: of-route.test}}}}}}
        route: [{{destination: {{host: one}}, headers: {{request: {{set: {{host: of-destination.test}}}}}}}}]
      - match: [{{uri: {{prefix: /weighted}}}}]
        rewrite: {{authority: of-route.test}}
        route:
        - {{destination: {{host: one}}, weight: 1, headers: {{request: {{set: {{":authority": of-share.test}}}}}}}}
        - {{destination: {{host: two}}, weight: 0}}
      - {TO_ONE}""",
    "redirects.test": """
      - {match: [{uri: {prefix: /default}}], redirect: {scheme: https, port: 443}}
      - {match: [{uri: {prefix: /other}}], redirect: {scheme: https, port: 80}}
      - {match: [{uri: {prefix: /both}}], redirect: {uri: /new, authority: other.test}}""",
    "faults.test": f"""
      - {{match: [{{uri: {{prefix: /abort}}}}], fault: {{abort: {{httpStatus: 418}}}}, {TO_ONE}}}
      - {{match: [{{uri: {{prefix: /delay}}}}], fault: {{delay: {{fixedDelay: 100s}}}}, {TO_ONE}}}""",
}
"""Host -> `http` of its VirtualService."""

ENDPOINTS = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{ports: [{{name: http, port: 80}}, {{name: other, port: 81}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"""
HALF = resource(
    "networking.istio.io/v1",
    "ServiceEntry",
    "half",
    f"""
    hosts: [half.default.svc.cluster.local]
    resolution: STATIC
    ports: [{{number: 80, name: http, protocol: HTTP}}]
    endpoints: [{{address: 127.0.0.1, ports: {{http: {CLOSED}}}}}, {{address: 127.0.0.1, ports: {{http: {ONE}}}}}]""",
)


def dated(text: str, year: int) -> str:
    """The object as one that was made in that year."""
    return text.replace("namespace: default}", f'namespace: default, creationTimestamp: "{year}-01-01T00:00:00Z"}}', 1)


def server(port: int, protocol: str, name: str) -> str:
    return f'\n  - port: {{number: {port}, name: {name}, protocol: {protocol}}}\n    hosts: ["*"]'


def objects() -> str:
    older = gateway(http_server(), server(PLAIN_FIRST, "HTTP", "h1"), server(BYTES_FIRST, "TCP", "t1"))
    younger = gateway(
        server(PLAIN_FIRST, "TCP", "t2"), server(BYTES_FIRST, "HTTP", "h2"), server(80, "HTTP", "h3"), name="younger"
    )
    tcp = "tcp: [{match: [{port: %d}], route: [{destination: {host: two, port: {number: 80}}}]}]"
    return together(
        FRONT,
        *(service(name, 80, port) for name, port in (("one", ONE), ("two", TWO), ("copy", COPY), ("grpc", GRPC))),
        ENDPOINTS.format(name="ports", port=TWO),
        HALF,
        dated(older, 2020),
        dated(younger, 2024),
        *(virtual_service(host, host, f"http:\n{routes}") for host, routes in HOSTS.items()),
        # Of two for one host the older one is tried first, but for its route for everything.
        dated(virtual_service("z-old", "merged.test", f"http: [{{{TO_ONE}}}]"), 2020),
        dated(
            virtual_service("a-new", "merged.test", f"http: [{{match: [{{uri: {{prefix: /two}}}}], {TO_TWO}}}]"), 2024
        ),
        virtual_service("addresses", "2001:db8::1", f"http: [{{{TO_TWO}}}]"),
        virtual_service("younger", "younger.test", f"http: [{{{TO_TWO}}}]", gateways="younger"),
        virtual_service("bytes-t1", "bytes.test", tcp % BYTES_FIRST),
        virtual_service("bytes-t2", "bytes.test", tcp % PLAIN_FIRST, gateways="younger"),
    )


@dataclass
class Unavailable:
    """Answers each request with gRPC's status 14."""

    asked: Counter[str] = field(default_factory=Counter)
    """Host -> how many requests."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                host = next(line for line in head.decode().lower().split("\r\n") if line.startswith("host:"))
                self.asked[host.removeprefix("host:").strip()] += 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\n")
                writer.write(b"content-length: 0\r\n\r\n")
        writer.close()


@dataclass
class Edge:
    stack: Stack
    client: Client
    one: Backend
    copy: Backend
    grpc: Unavailable

    async def get(self, url: str, port: int = HTTP, **headers: str) -> httpx.Response:
        host, _, path = url.partition("/")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(f"http://{host}:{port}/{path}", headers=named)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with Stack(Path(tmp_path_factory.mktemp("rules"))) as stack:
        stack.write("objects.yaml", objects())
        await stack.serve()
        await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
        one, _two, copy = [
            await stack.backend(name, port) for name, port in (("one", ONE), ("two", TWO), ("copy", COPY))
        ]
        grpc = Unavailable()
        server = await asyncio.start_server(grpc.serve, stack.address, GRPC)
        async with stack.client() as client:
            yield Edge(stack, client, one, copy, grpc)
        server.close()


on_edge = pytest.mark.asyncio(loop_scope="module")


@on_edge
@pytest.mark.parametrize(("host", "attempts"), [("grpc.test", 3), ("grpc-off.test", 1)])
@pytest.mark.istio_fields("VirtualService.http[].retries.attempts")
async def test_without_a_word_grpc_calls_to_an_unavailable_service_are_sent_again(
    edge: Edge, host: str, attempts: int
) -> None:
    answer = await edge.get(f"{host}/", content_type="application/grpc", te="trailers")
    assert (answer.headers["grpc-status"], edge.grpc.asked[host]) == ("14", attempts)


@on_edge
@pytest.mark.parametrize("host", ["default.test", "off.test"])
@pytest.mark.parametrize("status", [500, 503])
async def test_no_request_that_was_answered_is_sent_again_without_a_word(edge: Edge, host: str, status: int) -> None:
    before = len(edge.one.requests)
    assert (await edge.get(f"{host}/status/{status}")).status_code == status
    assert [seen["headers"]["x-envoy-attempt-count"] for seen in edge.one.requests[before:]] == ["1"]


@on_edge
async def test_without_a_word_a_closed_endpoint_costs_no_request(edge: Edge) -> None:
    assert {(await edge.get("half.test/")).status_code for _ in range(12)} == {200}


PATHS = {
    "exact": "/whole",
    "foo": "/bar",
    "foobar": "/barbar",
    "foo/x?q=1": "/bar/x",
    "r/x/y": "/all",
}


@on_edge
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.istio_fields("VirtualService.http[].{match[].uri.{exact,prefix,regex},rewrite.uri}")
async def test_rewrites_take_the_place_of_what_matched(edge: Edge, path: str) -> None:
    answer = await edge.get(f"paths.test/{path}")
    assert (answer.headers["x-backend"], answer.json()["path"]) == ("one", PATHS[path])


BACKENDS = {
    # Of a service with two ports and none of them named, it is the one that the gateway's server declares.
    "ports.test/": "two",
    "paths.test/Other": "two",
    "merged.test/two": "two",
    "merged.test/": "one",
    "MERGED.test/two": "two",
    "merged.test:80/two": "two",
    "younger.test/": "two",
    "[2001:db8::1]/": "two",
    "faults.test/abort": "one",
    "faults.test/delay": "one",
}


@on_edge
@pytest.mark.parametrize("url", BACKENDS)
@pytest.mark.istio_fields(
    "VirtualService.http[].route[].destination.port.number", "VirtualService.{hosts[],gateways[]}"
)
async def test_who_answers(edge: Edge, url: str) -> None:
    host, _, path = url.partition("/")
    answer = await edge.client.get(f"http://any.test:{HTTP}/{path}", headers={"host": host})
    assert (answer.status_code, answer.headers.get("x-backend")) == (200, BACKENDS[url])


@on_edge
@pytest.mark.parametrize(
    ("path", "host"), [("set", "of-route.test"), ("weighted", "of-route.test"), ("", "hosts.test")]
)
@pytest.mark.istio_fields(
    "VirtualService.http[].{rewrite.authority,headers.request.set{},route[].headers.request.set{}}"
)
async def test_the_host_of_the_route_goes_before_that_of_its_only_destination(edge: Edge, path: str, host: str) -> None:
    assert (await edge.get(f"hosts.test/{path}")).json()["headers"]["host"] == host


@on_edge
@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("default/x", "https://redirects.test/default/x"),
        ("other/x", "https://redirects.test:80/other/x"),
        ("both/x", "http://other.test/new"),
    ],
)
@pytest.mark.istio_fields("VirtualService.http[].redirect.{scheme,port,uri,authority}")
async def test_redirects_name_no_port_that_goes_without_saying(edge: Edge, path: str, location: str) -> None:
    answer = await edge.get(f"redirects.test/{path}")
    assert (answer.status_code, answer.headers["location"]) == (301, location)


@on_edge
@pytest.mark.istio_fields("VirtualService.http[].mirror.host")
async def test_a_copy_has_the_host_of_the_original(edge: Edge) -> None:
    for number in range(5):
        await edge.get(f"mirror.test/{number}")
    await until(lambda: len(edge.copy.requests) == 5, "all are copied")
    assert {seen["headers"]["host"] for seen in edge.copy.requests} == {"mirror.test"}


@on_edge
@pytest.mark.istio_fields("Gateway.servers[].port.{number,protocol}")
async def test_of_two_gateways_that_exclude_each_other_the_older_one_serves(edge: Edge) -> None:
    answer = await edge.get("default.test/", PLAIN_FIRST)
    assert (answer.headers["x-backend"], answer.headers["server"]) == ("one", "istio-envoy")
    answer = await edge.get("default.test/", BYTES_FIRST)
    assert (answer.headers["x-backend"], answer.headers.get("server")) == ("two", None)
