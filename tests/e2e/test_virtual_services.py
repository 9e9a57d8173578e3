"""Fields of Gateways and VirtualServices that need objects or requests of an unusual kind, on one real Envoy."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from e2e.objects import (
    FRONT,
    HTTP,
    HTTPS,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    gateway,
    http_server,
    https_server,
    issued,
    resource,
    secret,
    service,
    together,
    virtual_service,
)
from fairlead.playground.backend import Backend
from fairlead.playground.envoy import Envoy
from support.stack import Client, Stack, until

pytestmark = pytest.mark.e2e

ONE, TWO, UPGRADES = 9001, 9002, 9003
GRPC_WEB, BOUND = 9081, 9082
TO_ONE, TO_TWO = "route: [{destination: {host: one}}]", "route: [{destination: {host: two}}]"

HOSTS = {
    "labels.test": f"""
      - {{match: [{{sourceLabels: {{istio: ingressgateway}}}}], {TO_ONE}}}
      - {TO_TWO}""",
    "other-labels.test": f"""
      - {{match: [{{sourceLabels: {{istio: egressgateway}}}}], {TO_ONE}}}
      - {TO_TWO}""",
    "namespace.test": f"""
      - {{match: [{{sourceNamespace: elsewhere}}], {TO_ONE}}}
      - {{match: [{{sourceNamespace: {PROXY_NAMESPACE}}}], {TO_TWO}}}""",
    "gateways.test": f"""
      - {{match: [{{gateways: [second]}}], {TO_ONE}}}
      - {TO_TWO}""",
    "port.test": f"""
      - {{match: [{{port: 81}}], {TO_ONE}}}
      - {{match: [{{port: 80}}], {TO_TWO}}}""",
    "subset.test": """
      - match: [{uri: {prefix: /2}}]
        route: [{destination: {host: both, subset: v2, port: {number: 80}}}]
      - route: [{destination: {host: both, subset: v1}}]""",
    "root.test": """
      - match: [{uri: {prefix: /a}}]
        delegate: {name: leaf, namespace: team}
      - match: [{uri: {prefix: /b}}]
        delegate: {name: leaf}""",
    "grpc.test": f"""
      - fault: {{abort: {{grpcStatus: UNAVAILABLE, percentage: {{value: 100}}}}}}
        {TO_ONE}""",
    "preflight.test": f"""
      - corsPolicy: {{allowOrigins: [{{prefix: "https://friend"}}], unmatchedPreflights: IGNORE}}
        {TO_ONE}""",
    "derived.test": """
      - redirect: {authority: other.test, derivePort: FROM_REQUEST_PORT}""",
    "statistics.test": f"""
      - {{match: [{{uri: {{prefix: /counted}}, statPrefix: counted}}], {TO_ONE}}}
      - {TO_ONE}""",
    "mirrors.test": f"""
      - mirrors:
        - {{destination: {{host: two}}, percentage: {{value: 100}}}}
        - {{destination: {{host: one}}, percentage: {{value: 0}}}}
        {TO_ONE}""",
    "upgrades.test": "\n      - route: [{destination: {host: upgrades}}]",
    "secure.test": f"\n      - {TO_ONE}",
}
"""Host -> `http` of its VirtualService."""

LEAF = resource(
    "networking.istio.io/v1",
    "VirtualService",
    "leaf",
    """
    http:
    - {match: [{uri: {prefix: /a/two}}], route: [{destination: {host: two.default.svc.cluster.local}}]}
    - {match: [{uri: {prefix: /a}}], route: [{destination: {host: one.default.svc.cluster.local}}]}""",
    namespace="team",
)
OWN_LEAF = resource(
    "networking.istio.io/v1", "VirtualService", "leaf", "http: [{route: [{destination: {host: two}}], name: leaf}]"
)
PRIVATE = resource(
    "networking.istio.io/v1",
    "VirtualService",
    "private",
    f"hosts: [private.test]\ngateways: [edge]\nexportTo: [.]\nhttp: [{{{TO_ONE}}}]",
)
SHARED = PRIVATE.replace("private", "shared").replace("exportTo: [.]", f"exportTo: [{PROXY_NAMESPACE}]")
BOTH = """
apiVersion: v1
kind: Service
metadata: {name: both, namespace: default}
spec: {selector: {app: both}, ports: [{name: http, port: 80}, {name: other, port: 81}]}
"""


def endpoint(version: str, port: int) -> str:
    """A Pod, and the EndpointSlice with it."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: both-{version}, namespace: default, labels: {{app: both, version: {version}}}}}
status: {{podIP: 127.0.0.1, phase: Running}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: both-{version}, namespace: default, labels: {{kubernetes.io/service-name: both}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [127.0.0.1], targetRef: {{kind: Pod, name: both-{version}, namespace: default}}}}]
"""


SUBSETS = resource(
    "networking.istio.io/v1",
    "DestinationRule",
    "both",
    "host: both\nsubsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]",
)


def objects(folder: Path) -> str:
    pair = issued("secure", "secure.test")
    special = f"""
  - port: {{number: {GRPC_WEB}, name: grpc-web, protocol: GRPC-WEB}}
    hosts: ["*"]
  - port: {{number: {BOUND}, name: bound, protocol: HTTP}}
    bind: 127.0.0.1
    hosts: ["*"]
  - port: {{number: 0, name: socket, protocol: HTTP}}
    bind: unix://{folder}/edge.sock
    hosts: ["*"]"""
    return together(
        FRONT,
        service("one", 80, ONE),
        service("two", 80, TWO),
        service("upgrades", 80, UPGRADES),
        BOTH,
        endpoint("v1", ONE),
        endpoint("v2", TWO),
        SUBSETS,
        gateway(http_server(), https_server("secure.test", "secure"), special),
        gateway(http_server("gateways.test"), name="second"),
        *(
            virtual_service(host, host, f"http:{http}", gateways="edge, second" if host == "gateways.test" else "edge")
            for host, http in HOSTS.items()
        ),
        LEAF,
        OWN_LEAF,
        PRIVATE,
        SHARED,
        secret("secure", pair),
    )


@dataclass
class Edge:
    stack: Stack
    envoy: Envoy
    client: Client
    one: Backend
    two: Backend

    async def get(self, url: str, **headers: str) -> httpx.Response:
        host, _, path = url.partition("/")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(f"http://{host}:{HTTP}/{path}", headers=named)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with Stack(tmp_path_factory.mktemp("vs")) as stack:
        stack.write("objects.yaml", objects(stack.tmp_path))
        await stack.serve()
        envoy = await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
        one = await stack.backend("one", ONE)
        two = await stack.backend("two", TWO)
        upgrades = await asyncio.start_server(echo_after_upgrade, stack.address, UPGRADES)
        async with upgrades, stack.client() as client:
            yield Edge(stack, envoy, client, one, two)


async def echo_after_upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Agrees to any upgrade, and sends back what comes then."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        while data := await reader.read(1024):
            writer.write(data)
    writer.close()


on_edge = pytest.mark.asyncio(loop_scope="module")
mark = pytest.mark


def by(name: str) -> Callable[[httpx.Response], bool]:
    """Who answered."""
    return lambda answer: answer.headers.get("x-backend") == name


def has(**headers: str | None) -> Callable[[httpx.Response], bool]:
    """Headers of the response; None stands for one that is not there."""
    return lambda answer: all(answer.headers.get(name.replace("_", "-")) == value for name, value in headers.items())


PREFLIGHT = {"access_control_request_method": "PUT"}
REQUESTS: list[tuple[pytest.MarkDecorator, str, dict[str, str], Callable[[httpx.Response], bool]]] = [
    (mark.istio_fields("VirtualService.http[].match[].sourceLabels{}"), "labels.test/", {}, by("one")),
    (mark.istio_fields("VirtualService.http[].match[].sourceLabels{}"), "other-labels.test/", {}, by("two")),
    (mark.istio_fields("VirtualService.http[].match[].sourceNamespace"), "namespace.test/", {}, by("two")),
    (mark.istio_fields("VirtualService.http[].match[].gateways[]"), "gateways.test/", {}, by("one")),
    (mark.istio_fields("VirtualService.http[].match[].port"), "port.test/", {}, by("two")),
    (mark.istio_fields("VirtualService.http[].route[].destination.subset"), "subset.test/", {}, by("one")),
    (
        mark.istio_fields("VirtualService.http[].route[].destination.{subset,port.number}"),
        "subset.test/2",
        {},
        by("two"),
    ),
    (mark.istio_fields("VirtualService.http[].delegate.{name,namespace}"), "root.test/a/two", {}, by("two")),
    (mark.istio_fields("VirtualService.http[].delegate.{name,namespace}"), "root.test/a/three", {}, by("one")),
    (mark.istio_fields("VirtualService.http[].delegate.name"), "root.test/b", {}, by("two")),
    (
        mark.istio_fields("VirtualService.http[].delegate.name"),
        "root.test/c",
        {},
        lambda answer: answer.status_code == 404,
    ),
    (
        mark.istio_fields("VirtualService.http[].fault.abort.grpcStatus"),
        "grpc.test/",
        {"content_type": "application/grpc"},
        has(grpc_status="14"),
    ),
    (
        mark.istio_fields("VirtualService.http[].redirect.derivePort"),
        "derived.test/x",
        {},
        has(location="http://other.test/x"),
    ),
    (mark.istio_fields("VirtualService.exportTo[]"), "private.test/", {}, lambda answer: answer.status_code == 404),
    (mark.istio_fields("VirtualService.exportTo[]"), "shared.test/", {}, by("one")),
]


@on_edge
@pytest.mark.parametrize(
    ("url", "headers", "expected"),
    [pytest.param(*row, id=row[0], marks=shown) for shown, *row in REQUESTS],
)
async def test_request(
    edge: Edge, url: str, headers: dict[str, str], expected: Callable[[httpx.Response], bool]
) -> None:
    answer = await edge.get(url, **headers)
    assert expected(answer), (answer.status_code, answer.headers, answer.text)


@on_edge
@pytest.mark.istio_fields("VirtualService.http[].corsPolicy.{unmatchedPreflights,allowOrigins[].prefix}")
async def test_a_preflight_of_a_stranger_is_answered_by_the_proxy(edge: Edge) -> None:
    for origin, allowed in (("https://friend.test", "https://friend.test"), ("https://stranger.test", None)):
        headers = {"origin": origin, "access-control-request-method": "PUT"}
        answer = await edge.client.request("OPTIONS", f"http://preflight.test:{HTTP}/", headers=headers)
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert "x-backend" not in answer.headers


@on_edge
@pytest.mark.istio_fields("VirtualService.http[].match[].statPrefix")
async def test_statistics_of_a_match(edge: Edge) -> None:
    for path in ("counted", "counted/2", "other"):
        assert (await edge.get(f"statistics.test/{path}")).status_code == 200
    counted = await edge.envoy.stats("vhost.*route.counted.upstream_rq_completed$")
    assert sum(counted.values()) == 2


@on_edge
@pytest.mark.istio_fields("VirtualService.http[].mirrors[].{destination.host,percentage.value}")
async def test_mirrors(edge: Edge) -> None:
    answer = await edge.get("mirrors.test/copied")
    assert by("one")(answer)
    await until(lambda: [seen for seen in edge.two.requests if seen["path"] == "/copied"], "the copy arrives")


@on_edge
async def test_websockets(edge: Edge) -> None:
    reader, writer = await asyncio.open_connection(edge.stack.address, HTTP)
    writer.write(
        b"GET /chat HTTP/1.1\r\nhost: upgrades.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n\r\n"
    )
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 101")
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.readexactly(5), 10) == b"hello"
    writer.close()


@on_edge
@pytest.mark.istio_fields("Gateway.servers[].port.protocol")
async def test_http_2_with_and_without_tls(edge: Edge) -> None:
    async with edge.stack.client(http2=True) as client:
        answer = await client.get(f"https://secure.test:{HTTPS}/")
        assert (answer.http_version, answer.headers["x-backend"]) == ("HTTP/2", "one")
    async with httpx.AsyncClient(http1=False, http2=True, trust_env=False) as client:
        url = f"http://{edge.stack.address}:{HTTP}/"
        answer = await client.get(url, headers={"host": "labels.test"})
        assert (answer.http_version, answer.headers["x-backend"]) == ("HTTP/2", "one")


@on_edge
@pytest.mark.istio_fields("Gateway.servers[].port.protocol")
async def test_grpc_web(edge: Edge) -> None:
    """What a browser sends is sent on as gRPC."""
    for port, arrives_as in ((GRPC_WEB, "application/grpc"), (HTTP, "application/grpc-web")):
        url = f"http://labels.test:{port}/a.B/C"
        await edge.client.request("POST", url, headers={"content-type": "application/grpc-web"}, content=b"")
        seen = edge.one.requests[-1]
        assert (seen["path"], seen["headers"]["content-type"]) == ("/a.B/C", arrives_as)


@on_edge
@pytest.mark.istio_fields("Gateway.servers[].bind")
async def test_addresses(edge: Edge) -> None:
    assert by("one")(await edge.client.get(f"http://labels.test:{BOUND}/"))

    def over_socket() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(edge.stack.tmp_path / "edge.sock"))
            connection.sendall(b"GET / HTTP/1.1\r\nhost: labels.test\r\nconnection: close\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(65536), b""))

    assert (await asyncio.to_thread(over_socket)).startswith(b"HTTP/1.1 200")
