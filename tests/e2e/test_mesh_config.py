"""What the MeshConfig does to requests, on a real Envoy."""

import asyncio
import json
import socket
import textwrap
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
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
    service,
    together,
    virtual_service,
)
from e2e.observing import in_sync
from fairlead.playground.backend import Backend
from support.stack import Client, Stack, until

pytestmark = pytest.mark.e2e

ONE = 9001


def config_map(mesh: str) -> str:
    text = textwrap.indent(textwrap.dedent(mesh), "    ")
    return (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n{text}"
    )


TCP = """
  - port: {number: 9100, name: tcp, protocol: TCP}
    hosts: ["*"]"""
OBJECTS = together(
    FRONT,
    service("one", 80, ONE),
    gateway(http_server(), TCP),
    virtual_service(
        "v",
        "a.test",
        """http:
  - match: [{uri: {prefix: /host}}]
    rewrite: {authority: inner.test}
    route: [{destination: {host: one}}]
  - match: [{uri: {prefix: /a/b}}]
    name: nested
    directResponse: {status: 200, body: {string: nested}}
  - route: [{destination: {host: one}}]""",
    ),
    virtual_service("tcp", "*", "tcp: [{route: [{destination: {host: one}}]}]"),
)


@dataclass
class Mesh:
    stack: Stack
    client: Client
    backend: Backend
    log: Path

    async def configure(self, mesh: str) -> None:
        """Write a MeshConfig, and wait until the proxy has it."""
        self.stack.write("mesh.yaml", config_map(mesh))
        await in_sync(self.stack)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """The answer to a request on a connection of its own: on others a listener that is drained may answer."""
        named = {name if "under" in name else name.replace("_", "-"): value for name, value in headers.items()}
        named["connection"] = "close"
        return await self.client.get(f"http://a.test:{HTTP}{path}", headers=named)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with Stack(tmp_path_factory.mktemp("mesh")) as stack:
        log = stack.tmp_path / "access.log"
        stack.write("objects.yaml", OBJECTS)
        stack.write("mesh.yaml", config_map(f"accessLogFile: {log}"))
        await stack.serve()
        await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
        backend = await stack.backend("one", ONE)
        async with stack.client() as client:
            yield Mesh(stack, client, backend, log)


in_mesh = pytest.mark.asyncio(loop_scope="module")
Look = Callable[[httpx.Response], object]


def arrived(name: str) -> Look:
    """A header of the request as the backend saw it."""
    return lambda answer: headers_of(answer).get(name)


def headers_of(answer: httpx.Response) -> dict[str, str]:
    assert "x-backend" in answer.headers, answer.text
    found: dict[str, str] = answer.json()["headers"]
    return found


def header(name: str) -> Look:
    return lambda answer: answer.headers.get(name)


TOPOLOGY, HEADERS = (
    "defaultConfig: {{gatewayTopology: {{{}}}}}".format,
    "defaultConfig: {{proxyHeaders: {{{}}}}}".format,
)
CONNECTIONS = "defaultConfig: {{connectionSettings: {{{}}}}}".format
mark = pytest.mark
CASES: list[tuple[pytest.MarkDecorator, str, str, dict[str, str], Look, object, object]] = [
    # the field, the MeshConfig, what is asked with which headers, what is looked at, without and with the field
    (
        mark.istio_fields("MeshConfig.defaultConfig.gatewayTopology.numTrustedProxies"),
        TOPOLOGY("numTrustedProxies: 1"),
        "/",
        {"x_forwarded_for": "9.9.9.9, 8.8.8.8"},
        arrived("x-envoy-external-address"),
        "127.0.0.1",
        "8.8.8.8",
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.gatewayTopology.numTrustedProxies"),
        TOPOLOGY("numTrustedProxies: 1"),
        "/",
        {"x_forwarded_proto": "https"},
        arrived("x-forwarded-proto"),
        "http",
        "https",
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.gatewayTopology.forwardClientCertDetails"),
        TOPOLOGY("forwardClientCertDetails: ALWAYS_FORWARD_ONLY"),
        "/",
        {"x_forwarded_client_cert": "By=me"},
        arrived("x-forwarded-client-cert"),
        None,
        "By=me",
    ),
    (
        mark.istio_fields("MeshConfig.pathNormalization.normalization"),
        "pathNormalization: {normalization: MERGE_SLASHES}",
        "/a//b",
        {},
        lambda answer: answer.text == "nested",
        False,
        True,
    ),
    (
        mark.istio_fields("MeshConfig.pathNormalization.normalization"),
        "pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}",
        "/a%2Fb",
        {},
        lambda answer: answer.text == "nested",
        False,
        True,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.server.value"),
        HEADERS("server: {value: edge}"),
        "/",
        {},
        header("server"),
        "istio-envoy",
        "edge",
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.server.disabled"),
        HEADERS("server: {disabled: true}"),
        "/",
        {},
        header("server"),
        "istio-envoy",
        None,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.requestId.disabled"),
        HEADERS("requestId: {disabled: true}"),
        "/",
        {},
        lambda answer: "x-request-id" in headers_of(answer),
        True,
        False,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.attemptCount.disabled"),
        HEADERS("attemptCount: {disabled: true}"),
        "/",
        {},
        arrived("x-envoy-attempt-count"),
        "1",
        None,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.envoyDebugHeaders.disabled"),
        HEADERS("envoyDebugHeaders: {disabled: true}"),
        "/",
        {},
        lambda answer: "x-envoy-upstream-service-time" in answer.headers,
        True,
        False,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.xForwardedHost.enabled"),
        HEADERS("xForwardedHost: {enabled: true}"),
        "/host",
        {},
        arrived("x-forwarded-host"),
        None,
        "a.test",
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.proxyHeaders.xForwardedPort.enabled"),
        HEADERS("xForwardedPort: {enabled: true}"),
        "/",
        {},
        arrived("x-forwarded-port"),
        None,
        str(HTTP),
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.connectionSettings.httpHeadersWithUnderscoresAction"),
        CONNECTIONS("httpHeadersWithUnderscoresAction: HEADERS_WITH_UNDERSCORES_DROP_HEADER"),
        "/",
        {"x_under_score": "1"},
        arrived("x_under_score"),
        "1",
        None,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.connectionSettings.profile"),
        CONNECTIONS("profile: EDGE"),
        "/a%2Fb",
        {},
        lambda answer: (answer.status_code, answer.headers.get("location", "")),
        (200, ""),
        (307, "/a/b"),
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.connectionSettings.{profile,httpHeadersWithUnderscoresAction}"),
        CONNECTIONS("profile: EDGE"),
        "/",
        {"x_under_score": "1"},
        lambda answer: answer.status_code,
        200,
        400,
    ),
    (
        mark.istio_fields("MeshConfig.defaultConfig.connectionSettings.httpMaxStreamDuration"),
        CONNECTIONS("httpMaxStreamDuration: 50ms"),
        "/delay/0.5",
        {},
        lambda answer: answer.status_code,
        200,
        504,
    ),
    (
        mark.istio_fields("MeshConfig.defaultHttpRetryPolicy"),
        "defaultHttpRetryPolicy: {attempts: 2, retryOn: 5xx, backoff: 1ms}",
        "/status/503",
        {},
        arrived("x-envoy-attempt-count"),
        "1",
        "3",
    ),
]


@in_mesh
@pytest.mark.parametrize(
    ("config", "path", "headers", "look", "without", "with_it"),
    [pytest.param(*row, id=f"{row[0]} {row[1]}", marks=shown) for shown, *row in CASES],
)
async def test_request(  # noqa: PLR0917  # a row of the table
    mesh: Mesh, config: str, path: str, headers: dict[str, str], look: Look, without: object, with_it: object
) -> None:
    async def seen(wanted: object) -> bool:
        found = look(await mesh.get(path, **headers))
        assert found == wanted
        return True

    log = f"accessLogFile: {mesh.log}\n"
    await mesh.configure(log)
    await until(lambda: seen(without), f"{without!r} is seen")
    await mesh.configure(log + config)
    await until(lambda: seen(with_it), f"{with_it!r} is seen")


@in_mesh
@pytest.mark.istio_fields("MeshConfig.{accessLogFile,accessLogEncoding,accessLogFormat}")
async def test_the_access_log_of_requests(mesh: Mesh) -> None:
    async def line(path: str, config: str, begin: str) -> str:
        """A line about a request, with this MeshConfig, that begins like that."""
        await mesh.configure(f"accessLogFile: {mesh.log}\n{config}")

        async def logged() -> list[str]:
            await mesh.get(path, user_agent="test")
            return [line for line in mesh.log.read_text().splitlines() if path in line and line.startswith(begin)]

        found: list[str] = await until(logged, f"a line about {path}")
        return found[-1]

    text = await line("/text", "", "[20")
    assert '] "GET /text HTTP/1.1" 200 - via_upstream - "-" 0 ' in text
    assert '"test"' in text
    assert "outbound|80||one.default.svc.cluster.local" in text
    structured = json.loads(await line("/json", "accessLogEncoding: JSON", "{"))
    assert (structured["path"], structured["response_code"], structured["user_agent"]) == ("/json", 200, "test")
    assert await line("/own", "accessLogFormat: 'path %PATH%'", "path") == "path /own"


@in_mesh
@pytest.mark.istio_fields("MeshConfig.{accessLogFile,disableEnvoyListenerLog}")
async def test_the_access_log_of_connections(mesh: Mesh) -> None:
    await mesh.configure(
        f"accessLogFile: {mesh.log}\naccessLogFormat: '%UPSTREAM_CLUSTER_RAW% %BYTES_RECEIVED% by TCP'"
    )

    async def logged() -> bool:
        with socket.create_connection((mesh.stack.address, 9100), timeout=5) as connection:
            connection.sendall(b"x")
        return "outbound|80||one.default.svc.cluster.local 1 by TCP" in mesh.log.read_text()

    await until(logged, "a line about a connection")


@in_mesh
@pytest.mark.istio_fields("MeshConfig.defaultConfig.gatewayTopology.proxyProtocol")
async def test_the_proxy_protocol(mesh: Mesh) -> None:
    await mesh.configure(TOPOLOGY("proxyProtocol: {}"))

    def client_seen() -> str:
        """The address of the client as the backend is told, of a connection that begins with the header."""
        with socket.create_connection((mesh.stack.address, HTTP), timeout=5) as connection:
            connection.sendall(b"PROXY TCP4 9.9.9.9 8.8.8.8 1234 80\r\n")
            connection.sendall(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200"), answer
        return str(json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]["x-forwarded-for"])

    async def told() -> bool:
        return await asyncio.to_thread(client_seen) == "9.9.9.9"

    await until(told, "the backend is told the client's address")
    with pytest.raises(httpx.TransportError):
        async with mesh.stack.client() as other:
            await other.get(f"http://a.test:{HTTP}/")
