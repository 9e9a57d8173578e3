"""Sidecars on real Envoys: from an application by its sidecar to the sidecar of another one, and to that application.

Applications listen on 127.0.0.1, each sidecar on two loopback addresses of its own: one for its application, one for
others.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from e2e.objects import issued
from fairlead.playground.backend import Backend
from fairlead.playground.envoy import Envoy, free_port
from support.stack import Client, Stack, loopback, until

pytestmark = pytest.mark.e2e

PROXY_PORT = 15080
CALLER = {"app": "caller", "team": "blue"}


def service(name: str, ports: str, *, selector: str = "{}", namespace: str = "default") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {selector}, ports: [{ports}]}}
"""


def endpoints(
    name: str, address: str, port: int, *, port_name: str = "http", namespace: str = "default", labels: str = ""
) -> str:
    return f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{port}
  namespace: {namespace}
  labels: {{kubernetes.io/service-name: {name}, {labels}}}
addressType: IPv4
ports: [{{name: {port_name}, port: {port}}}]
endpoints: [{{addresses: [{address}]}}]
"""


def resource(kind: str, name: str, spec: str, *, namespace: str = "default") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def mesh_config(text: str) -> str:
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: '{text}'}}
"""


def tunnel(target: str) -> str:
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"


class Mesh:
    """A folder, and the sidecar of an application that calls others."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.outbound = loopback()

    def write(self, *texts: str) -> None:
        self.stack.write("mesh.yaml", "---".join(texts))

    async def start(self, *texts: str, protocol: str = "delta", **more: Any) -> Envoy:
        self.write(*texts)
        if self.stack.fairlead is None:
            await self.stack.serve()
        labels = more.pop("labels", CALLER)
        return await self.stack.envoy(protocol, role="sidecar", address=self.outbound, labels=labels, **more)

    def client(self) -> Any:
        return self.stack.client(address=self.outbound)


@pytest.fixture
def mesh(stack: Stack) -> Mesh:
    return Mesh(stack)


async def backends_of(client: Client, url: str, times: int = 200, **more: Any) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(times):
        answer = await client.get(url, **more)
        found[answer.headers.get("x-backend", str(answer.status_code))] += 1
    return found


@pytest.mark.parametrize("protocol", ["delta", "sotw"])
async def test_from_an_application_through_two_sidecars_to_another_one(mesh: Mesh, protocol: str) -> None:
    own, target = loopback(), free_port()
    objects = (
        service("reviews", f"{{name: http, port: 9080, targetPort: {target}}}", selector="{app: reviews}"),
        endpoints("reviews", own, target),
    )
    caller = await mesh.start(*objects, protocol=protocol)
    callee = await mesh.stack.envoy(
        protocol, role="sidecar", address=loopback(), own_address=own, labels={"app": "reviews"}
    )
    async with Backend("reviews", target, "127.0.0.1") as application, mesh.client() as client:
        for host in ("reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local:9080"):
            answer = await client.get("http://x:9080/reviews/1", headers={"host": host})
            assert (answer.status_code, answer.headers["x-backend"]) == (200, "reviews"), host
        assert len(application.requests) == 4
    counted = await callee.stats(f"cluster.inbound.{target}.*upstream_rq_total")
    assert list(counted.values()) == [4], "the other sidecar was in between"
    listeners = await caller.admin("/listeners")
    assert f"{mesh.outbound}_9080::{mesh.outbound}:9080" in listeners
    inbound = await callee.admin("/listeners")
    assert f"{own}_{target}::{own}:{target}" in inbound


@pytest.mark.istio_fields(
    "VirtualService.gateways[]",
    "VirtualService.http[].match[].sourceLabels{}",
    "VirtualService.http[].match[].sourceNamespace",
    "VirtualService.http[].match[].gateways[]",
)
async def test_virtual_services_without_gateways_route_for_sidecars(mesh: Mesh) -> None:
    virtual_service = """
  hosts: [reviews]
  http:
  - {match: [{headers: {x-tester: {exact: 'yes'}}}], route: [{destination: {host: reviews, subset: v2}}]}
  - {match: [{sourceLabels: {team: red}}], directResponse: {status: 418}}
  - {match: [{sourceNamespace: elsewhere}], directResponse: {status: 419}}
  - {match: [{gateways: [some], uri: {prefix: /g}}], directResponse: {status: 420}}
  - {match: [{gateways: [mesh], uri: {prefix: /mesh}}], directResponse: {status: 421}}
  - match: [{sourceLabels: {team: blue}}]
    route:
    - {destination: {host: reviews, subset: v1}, weight: 75}
    - {destination: {host: reviews, subset: v2}, weight: 25}
"""
    objects = (
        service("reviews", "{name: http, port: 9080}"),
        endpoints("reviews", "127.0.0.1", 9011, labels="version: v1"),
        endpoints("reviews", "127.0.0.1", 9012, labels="version: v2"),
        resource("VirtualService", "reviews", virtual_service),
        resource(
            "DestinationRule",
            "reviews",
            """
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
""",
        ),
    )
    await mesh.stack.backend("v1", 9011)
    await mesh.stack.backend("v2", 9012)
    await mesh.start(*objects)
    async with mesh.client() as client:
        tested = await backends_of(client, "http://reviews:9080/", 20, headers={"x-tester": "yes"})
        assert tested == {"v2": 20}
        counted = await backends_of(client, "http://reviews:9080/", 400)
        assert set(counted) == {"v1", "v2"}
        assert 60 <= counted["v2"] <= 145, counted
        assert (await client.get("http://reviews:9080/mesh")).status_code == 421
        assert (await client.get("http://reviews:9080/gate")).status_code == 200
    red = loopback()
    await mesh.stack.envoy(role="sidecar", address=red, labels={"team": "red"})
    async with mesh.stack.client(address=red) as client:
        assert (await client.get("http://reviews:9080/")).status_code == 418


@pytest.mark.istio_fields(
    "Sidecar.egress[].hosts[]", "Sidecar.workloadSelector.labels{}", "Sidecar.outboundTrafficPolicy.mode"
)
async def test_a_sidecar_says_what_is_reached(mesh: Mesh) -> None:
    objects = (
        service("near", "{name: http, port: 80}"),
        service("far", "{name: http, port: 80}", namespace="far"),
        endpoints("near", "127.0.0.1", 9011),
        endpoints("far", "127.0.0.1", 9012, namespace="far"),
    )
    await mesh.stack.backend("near", 9011)
    await mesh.stack.backend("far", 9012)
    envoy = await mesh.start(*objects)
    async with mesh.client() as client:
        assert (await client.get("http://near:80/")).headers["x-backend"] == "near"
        assert (await client.get("http://far.far:80/")).headers["x-backend"] == "far"
        sidecar = """
  workloadSelector: {labels: {app: caller}}
  egress: [{hosts: ['./*']}]
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
"""
        mesh.write(*objects, resource("Sidecar", "narrow", sidecar))

        async def is_blocked() -> bool:
            return (await client.get("http://far.far:80/")).status_code == 502

        await until(is_blocked, "the other namespace is out of scope")
        assert (await client.get("http://near:80/")).headers["x-backend"] == "near"
        assert (await client.get("http://unknown:80/")).status_code == 502
        assert not await envoy.stats("cluster.outbound_80__far"), "nor is there a cluster for it"


@pytest.mark.istio_fields("ServiceEntry.addresses[]")
async def test_services_of_tcp_and_service_entries(mesh: Mesh) -> None:
    entry = """
  hosts: [api.example.com]
  addresses: [192.0.2.7]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: 9031}}]
"""
    objects = (
        service("echo", "{name: tcp-echo, port: 7000}"),
        endpoints("echo", "127.0.0.1", 9021, port_name="tcp-echo"),
        resource("ServiceEntry", "api", entry),
    )
    await mesh.stack.backend("echo", 9021)
    await mesh.stack.backend("api", 9031)
    await mesh.start(*objects)
    async with mesh.client() as client:
        # The bytes are passed on as they are, so an HTTP request does for a test.
        answer = await client.get("http://anything:7000/")
        assert answer.headers["x-backend"] == "echo"
        assert "x-envoy-upstream-service-time" not in answer.headers
        for host in ("api.example.com", "192.0.2.7"):
            assert (await client.get("http://x:80/", headers={"host": host})).headers["x-backend"] == "api"


@pytest.fixture
async def asked_through(mesh: Mesh) -> Callable[..., Awaitable[str]]:
    """Sends requests on one connection to the HTTP proxy port; what it answers, lower case, but for bodies."""

    async def ask(*requests: str) -> str:
        reader, writer = await asyncio.open_connection(mesh.outbound, PROXY_PORT)
        text = ""
        for request in requests:
            writer.write(request.encode())
            text += (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.close()
        return text.lower()

    return ask


async def test_an_http_proxy_port(mesh: Mesh, asked_through: Callable[..., Awaitable[str]]) -> None:
    objects = (
        service("near", "{name: http, port: 8123}"),
        endpoints("near", "127.0.0.1", 9011),
        service("raw", "{name: tcp, port: 7000}"),
        endpoints("raw", "127.0.0.1", 9012, port_name="tcp"),
    )
    await mesh.stack.backend("near", 9011)
    await mesh.stack.backend("raw", 9012)
    await mesh.start(*objects, mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), http_proxy_port=PROXY_PORT)
    ask = asked_through
    assert "x-backend: near" in await ask("GET http://near:8123/a HTTP/1.1\r\nHost: near:8123\r\n\r\n")
    assert " 502 " in await ask("GET http://near:8124/a HTTP/1.1\r\nHost: near:8124\r\n\r\n")
    assert " 502 " in await ask("GET http://localhost:1/ HTTP/1.1\r\nHost: localhost:1\r\n\r\n")
    answers = await ask(tunnel("raw.default:7000"), "GET /b HTTP/1.1\r\nHost: raw\r\n\r\n")
    assert answers.startswith("http/1.1 200")
    assert "x-backend: raw" in answers
    assert not (await ask(tunnel("localhost:1"))).startswith("http/1.1 200")


# --- Unknown hosts ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def far() -> AsyncIterator[Backend]:
    """Where `localhost` leads: that is a name that is resolved without a network."""
    async with Backend("far", free_port(), "127.0.0.1") as backend:
        yield backend


@pytest.mark.parametrize("protocol", ["delta", "sotw"])
async def test_unknown_hosts_are_reached_by_their_names(
    mesh: Mesh, asked_through: Callable[..., Awaitable[str]], far: Backend, protocol: str
) -> None:
    """By default, as in Istio."""
    objects = (service("near", "{name: http, port: 8123}"), endpoints("near", "127.0.0.1", 9011))
    await mesh.stack.backend("near", 9011)
    envoy = await mesh.start(*objects, protocol=protocol, http_proxy_port=PROXY_PORT)
    name = f"localhost:{far.port}"
    request = f"GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n"
    async with mesh.client() as client:
        assert (await client.get("http://near:8123/")).headers["x-backend"] == "near"
        # The listener is that of port 8123; the port of the host is what counts.
        for host in (name, f"127.0.0.1:{far.port}"):
            answer = await client.get("http://x:8123/a", headers={"host": host})
            assert (answer.status_code, answer.headers["x-backend"]) == (200, "far"), host
            assert far.requests[-1]["headers"]["host"] == host
        assert (await client.get("http://x:8123/", headers={"host": "name.invalid"})).status_code == 503
    assert "x-backend: far" in await asked_through(request)
    answers = await asked_through(tunnel(name), "GET /b HTTP/1.1\r\nHost: any\r\n\r\n")
    assert answers.startswith("http/1.1 200")
    assert "x-backend: far" in answers
    # How often names are resolved is said by the listeners and the cluster alike, or Envoy refuses them.
    mesh.write(*objects, mesh_config("dnsRefreshRate: 7s"))

    async def is_changed() -> bool:
        refreshed = (await envoy.admin("/config_dump")).count('"dns_refresh_rate": "7s"')
        return refreshed == len(("cluster", "listener of 8123", "HTTP proxy port"))

    await until(is_changed, "names are resolved every 7 s")
    assert "x-backend: far" in await asked_through(request)


async def test_a_name_that_leads_back_to_the_sidecar_is_no_endless_loop(mesh: Mesh) -> None:
    envoy = await mesh.start(service("near", "{name: http, port: 8123}"))
    async with mesh.client() as client:
        answer = await client.get("http://x:8123/", headers={"host": f"{mesh.outbound}:8123"})
    assert answer.status_code == 508
    assert (await envoy.stats("cluster.PassthroughCluster.upstream_rq_total")).popitem()[1] == 2


@pytest.mark.istio_fields("Sidecar.outboundTrafficPolicy.mode", "MeshConfig.outboundTrafficPolicy.mode")
async def test_a_sidecar_goes_before_the_mesh_in_what_becomes_of_unknown_hosts(mesh: Mesh, far: Backend) -> None:
    near = service("near", "{name: http, port: 8123}")
    by_mesh = mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
    allowed = resource("Sidecar", "any", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}")
    blocked = resource("Sidecar", "any", "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}")
    await mesh.start(near, by_mesh)
    async with mesh.client() as client:
        for objects, status in (
            ((near, by_mesh), 502),
            ((near, by_mesh, allowed), 200),
            ((near, blocked), 502),
            ((near,), 200),
        ):
            mesh.write(*objects)

            async def is_answered(status: int = status) -> bool:
                asked = await client.get("http://x:8123/", headers={"host": f"localhost:{far.port}"})
                return asked.status_code == status

            await until(is_answered, f"unknown hosts are answered with {status}")


async def test_strangers_find_no_forward_proxy(mesh: Mesh, far: Backend) -> None:
    sidecar = """
  outboundTrafficPolicy: {mode: ALLOW_ANY}
  egress:
  - {port: {number: 8123, protocol: HTTP, name: http}, bind: 0.0.0.0, hosts: ['*/*']}
  - {hosts: ['*/*']}
"""
    services = [service("near", "{name: http, port: 8123}"), service("next", "{name: http, port: 8124}")]
    await mesh.start(*services, resource("Sidecar", "open", sidecar))
    async with mesh.client() as client:
        for port, status in ((8124, 200), (8123, 502)):
            answer = await client.get(f"http://x:{port}/", headers={"host": f"localhost:{far.port}"})
            assert answer.status_code == status, port


# --- Inbound, and TLS -------------------------------------------------------------------------------------------------


async def test_a_sidecar_says_what_is_taken_in(mesh: Mesh) -> None:
    own, port = loopback(), free_port()
    sidecar = f"""
  workloadSelector: {{labels: {{app: callee}}}}
  ingress:
  - {{port: {{number: 9200, protocol: HTTP, name: http}}, defaultEndpoint: '0.0.0.0:{port}', captureMode: NONE}}
"""
    mesh.write(resource("Sidecar", "callee", sidecar))
    await mesh.stack.serve()
    await mesh.stack.envoy(role="sidecar", address=loopback(), own_address=own, labels={"app": "callee"})
    async with Backend("callee", port, "127.0.0.1"), mesh.stack.client(address=own) as client:
        assert (await client.get("http://any:9200/")).headers["x-backend"] == "callee"


@pytest.mark.istio_fields("Sidecar.ingress[].tls")
@pytest.mark.parametrize(
    ("mode", "shown", "answers"), [("SIMPLE", False, True), ("MUTUAL", True, True), ("MUTUAL", False, False)]
)
async def test_a_sidecar_ends_tls(mesh: Mesh, mode: str, shown: bool, answers: bool) -> None:
    own, port, folder = loopback(), free_port(), mesh.stack.tmp_path
    authority = issued("Test CA")
    files = {"ca.pem": authority.certificate_pem, "pair.pem": b"", "key.pem": b"", "client.pem": b""}
    pair, client = issued("callee", "callee.test", issuer=authority), issued("caller", "caller.test", issuer=authority)
    files |= {"pair.pem": pair.certificate_pem, "key.pem": pair.key_pem.reveal()}
    files["client.pem"] = client.certificate_pem + client.key_pem.reveal()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    tls = f"mode: {mode}, serverCertificate: {folder}/pair.pem, privateKey: {folder}/key.pem"
    tls += f", caCertificates: {folder}/ca.pem" if mode == "MUTUAL" else ""
    sidecar = f"""
  workloadSelector: {{labels: {{app: callee}}}}
  ingress:
  - {{port: {{number: 9200, protocol: HTTPS, name: https}}, defaultEndpoint: '0.0.0.0:{port}', tls: {{{tls}}}}}
"""
    mesh.write(resource("Sidecar", "callee", sidecar))
    await mesh.stack.serve()
    await mesh.stack.envoy(role="sidecar", address=loopback(), own_address=own, labels={"app": "callee"})
    certificate = folder / "client.pem" if shown else None
    async with (
        Backend("callee", port, "127.0.0.1"),
        mesh.stack.client(address=own, client_certificate=certificate) as client_of,
    ):
        if answers:
            answer = await client_of.get("https://callee.test:9200/")
            assert answer.headers["x-backend"] == "callee"
        else:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await client_of.get("https://callee.test:9200/")


async def test_tls_connections_go_by_their_server_name(mesh: Mesh) -> None:
    folder = mesh.stack.tmp_path
    texts = []
    for number, name in enumerate(("one", "two")):
        pair = issued(name, f"{name}.test")
        (folder / f"{name}.pem").write_bytes(pair.certificate_pem + pair.key_pem.reveal())
        port = 9041 + number
        await mesh.stack.backend(name, port, ssl_certfile=folder / f"{name}.pem", ssl_keyfile=folder / f"{name}.pem")
        texts += [service(name, "{name: https, port: 443}"), endpoints(name, "127.0.0.1", port, port_name="https")]
    await mesh.start(*texts)
    for host, backend in (("one", "one"), ("two.default.svc.cluster.local", "two"), ("three", "")):
        async with mesh.client() as client:  # each with a connection of its own
            if backend:
                assert (await client.get(f"https://{host}:443/")).headers["x-backend"] == backend
            else:
                with pytest.raises((httpx.TransportError, ssl.SSLError)):
                    await client.get(f"https://{host}:443/")
