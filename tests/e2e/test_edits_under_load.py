"""More than a hundred edits of every kind at a steady load, on a real Envoy: no request fails, no connection ends.

Some clients keep their connection, others open a new one for each request; half of each use TLS. Requests are never
retried, so that nothing is hidden. Objects are in files of their own, and of an edit that concerns several the one that
refers is written before the one that is referred to.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
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
    virtual_service,
)
from e2e.observing import in_sync, told
from e2e.traffic import Traffic
from fairlead.playground.client import Answer, ask, certificate, connect
from support.stack import Stack, until

pytestmark = pytest.mark.e2e

ROUNDS = 5
BACKENDS = {"one": 9001, "two": 9002, "moved": 9003}
EXTRA = 8081
"""The port of a server that comes and goes."""


@dataclass
class Site:
    """What there is, and how it is edited."""

    stack: Stack
    traffic: Traffic
    number: int = 0
    """Of the edit; the route tells it in each answer."""
    ports: dict[str, list[int]] = field(default_factory=lambda: {"v1": [9001], "v2": [9002]})
    """Version of the shop -> the ports of its endpoints."""

    def gateway(self, *servers: str) -> None:
        self.stack.write("gateway.yaml", gateway(http_server(), https_server("a.test", "cert"), *servers))

    def certificate(self) -> None:
        self.stack.write("secret.yaml", secret("cert", issued("shop", "a.test")))

    def endpoints(self) -> None:
        slices = [
            f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: shop-{version}-{port}
  labels: {{kubernetes.io/service-name: shop, version: {version}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"""
            for version, ports in self.ports.items()
            for port in ports
        ]
        self.stack.write("endpoints.yaml", "---".join(slices))

    def service(self, port: int = 80) -> None:
        ports = f"[{{name: http, port: {port}}}]"
        self.stack.write(
            "service.yaml", f"apiVersion: v1\nkind: Service\nmetadata: {{name: shop}}\nspec: {{ports: {ports}}}"
        )

    def subsets(self, *names: str) -> None:
        listed = ", ".join(f"{{name: {name}, labels: {{version: v{name[1]}}}}}" for name in names)
        rule = resource("networking.istio.io/v1", "DestinationRule", "shop", f"host: shop\nsubsets: [{listed}]")
        self.stack.write("rule.yaml", rule)

    def route(self, **shares: int) -> None:
        """Weights of destinations: of subsets, and of services whose names are longer."""
        self.route_to({f"host: shop, subset: {to}" if len(to) == 2 else f"host: {to}": of for to, of in shares.items()})

    def route_to(self, shares: dict[str, int]) -> None:
        self.number += 1
        listed = ", ".join(f"{{destination: {{{to}}}, weight: {weight}}}" for to, weight in shares.items())
        headers = f'{{response: {{set: {{x-edit: "{self.number}"}}}}}}'
        spec = f"http: [{{retries: {{attempts: 0}}, headers: {headers}, route: [{listed}]}}]"
        self.stack.write("route.yaml", virtual_service("shop", "a.test", spec))

    async def taken(self, *backends: str) -> None:
        """Wait until all clients get answers of the newest route, from one of these."""

        def as_wanted(answer: Answer) -> bool:
            return answer.headers.get("x-edit") == str(self.number) and answer.backend in backends

        await self.traffic.all_see(f"edit {self.number} is in force", as_wanted)

    async def answers(self, host: str, status: int | None, port: int = HTTP) -> None:
        """Wait until a host answers with that status; None: the port is closed."""

        def answered() -> int | None:
            connection = connect(self.stack.address, port)
            try:
                return ask(connection, host, "/").status
            except ConnectionRefusedError:
                return None
            finally:
                connection.close()

        async def as_wanted() -> bool:
            return await asyncio.to_thread(answered) == status

        await until(as_wanted, f"{host} on {port} is answered with {status}")

    async def presented(self, name: str) -> bytes:
        """The certificate that is presented for a server name; nothing when the handshake is refused."""
        try:
            return await asyncio.to_thread(certificate, self.stack.address, HTTPS, name)
        except OSError:
            return b""

    async def presents(self, name: str, other_than: bytes = b"") -> bool:
        return await self.presented(name) not in (b"", other_than)

    async def refuses(self, name: str) -> bool:
        return not await self.presented(name)


async def edits(site: Site, turn: int) -> AsyncIterator[str]:
    """Each step is one edit that has taken effect, and all is at the end as it was at the beginning."""
    stack = site.stack
    site.route(v1=50, v2=50)
    await site.taken("one", "two")
    yield "weight changed"
    site.route(v1=0, v2=100)
    await site.taken("two")
    yield "weight changed to nothing"
    subset = f"z1{turn}"
    site.route_to({f"host: shop, subset: {subset}": 100})
    site.subsets("v1", "v2", subset)
    await site.taken("one")
    yield "subset added"
    site.route(v1=100)
    site.subsets("v1", "v2")
    await site.taken("one")
    yield "subset removed"
    new = f"shop-{turn}"
    site.route(**{new: 100})
    stack.write("new.yaml", service(new, 80, BACKENDS["two"]))
    await site.taken("two")
    yield "service added"
    site.route(v1=100)
    (stack.folder / "new.yaml").unlink()
    await site.taken("one")
    yield "service removed"
    host = f"b-{turn}.test"
    stack.write("host.yaml", virtual_service("host", host, "http: [{route: [{destination: {host: shop}}]}]"))
    await site.answers(host, 200)
    yield "host added"
    (stack.folder / "host.yaml").unlink()
    await site.answers(host, 404)
    yield "host removed"
    before = await site.presented("a.test")
    site.certificate()
    await until(lambda: site.presents("a.test", other_than=before), "the new certificate is presented")
    yield "certificate replaced"
    extra = f"""
  - port: {{number: {EXTRA}, name: extra, protocol: HTTP}}
    hosts: ["a.test"]"""
    site.gateway(extra)
    await site.answers("a.test", 200, EXTRA)
    yield "port of the gateway added"
    site.gateway()
    await site.answers("a.test", None, EXTRA)
    yield "port of the gateway removed"
    site.gateway(https_server(host, "cert", name="another"))
    await until(lambda: site.presents(host), "the new server is there")
    yield "server of another name added on a port in use"
    site.gateway()
    await until(lambda: site.refuses(host), "the other server is gone")
    yield "server of another name removed from a port in use"
    site.route_to({"host: shop, subset: v1, port: {number: 81}": 100})
    site.service(81)
    await site.taken("one")
    yield "port of the service changed"
    site.route(v1=100)
    site.service()
    await site.taken("one")
    yield "port of the service changed back"
    site.ports["v1"] = [BACKENDS["moved"]]
    site.endpoints()
    await site.traffic.all_see("the endpoint has moved", lambda answer: answer.backend == "moved")
    yield "endpoint moved"
    site.ports["v1"] = [BACKENDS["one"], BACKENDS["moved"]]
    site.endpoints()
    await until(lambda: site.traffic.backends() == {"one", "moved"}, "there are two endpoints")
    yield "endpoint added"
    site.ports["v1"] = [BACKENDS["one"]]
    site.endpoints()
    await site.traffic.all_see("one endpoint is gone", lambda answer: answer.backend == "one")
    yield "endpoint removed"
    site.route(v3=100)
    await told(stack, "held")
    yield "route to a subset that does not exist"
    site.route(v2=100)
    await site.taken("two")
    await told(stack)
    yield "route mended"
    site.subsets("v1")
    await told(stack, "held")
    yield "subset removed that is in use"
    (stack.folder / "service.yaml").unlink()
    await told(stack, "held")
    yield "service removed that is in use"
    site.subsets("v1", "v2")
    site.service()
    await told(stack)
    yield "both are back"
    site.route(v1=100)
    await site.taken("one")
    yield "as it was"


@pytest.mark.parametrize("protocol", ["delta", "sotw"])
async def test_a_hundred_edits_cost_no_request(stack: Stack, protocol: str) -> None:
    traffic = Traffic(stack.address, tls=True, clients=8)
    site = Site(stack, traffic)
    stack.write("front.yaml", FRONT)
    site.gateway()
    site.certificate()
    site.endpoints()
    site.service()
    site.subsets("v1", "v2")
    site.route(v1=100)
    for name, port in BACKENDS.items():
        await stack.backend(name, port, timeout_keep_alive=600)  # an idle connection may be used when it is closed
    await stack.serve("--deletion-grace", "0")  # what is removed goes in the same change
    envoy = await stack.envoy(protocol, namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
    done: list[str] = []
    async with traffic.flowing():
        await site.taken("one")
        for turn in range(ROUNDS):
            async for edit in edits(site, turn):
                done.append(edit)
                assert traffic.failures == [], done
        await in_sync(stack)
    stats = await envoy.stats(r"update_rejected$|update_failure$|init_fetch_timeout$|\.listener_in_place_updated$")
    assert traffic.failures == []
    assert len(done) >= 100
    assert traffic.answered > 10 * len(done)
    assert traffic.connections == 4, "no connection was ended"
    assert {name: count for name, count in stats.items() if count and "in_place" not in name} == {}
    await told(stack)


@pytest.mark.parametrize("protocol", ["delta", "sotw"])
async def test_connections_live_on_while_their_route_leads_nowhere(stack: Stack, protocol: str) -> None:
    traffic = Traffic(stack.address, port=EXTRA)
    site = Site(stack, traffic)
    server = f"\n  - port: {{number: {EXTRA}, name: tcp, protocol: TCP}}\n    hosts: ['*']"
    stack.write("gateway.yaml", gateway(server))
    site.endpoints()
    site.service()
    site.subsets("v1", "v2")

    def route(subset: str) -> None:
        spec = f"tcp: [{{route: [{{destination: {{host: shop, subset: {subset}}}}}]}}]"
        stack.write("route.yaml", virtual_service("raw", "*", spec))

    route("v1")
    for name, port in BACKENDS.items():
        await stack.backend(name, port, timeout_keep_alive=600)
    await stack.serve("--deletion-grace", "0")
    envoy = await stack.envoy(protocol, namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
    async with traffic.flowing():
        await traffic.all_see("one answers", lambda answer: answer.backend == "one")
        route("z2")
        await told(stack, "held")
        site.subsets("v2")
        (stack.folder / "service.yaml").unlink()
        await told(stack, "held")
        answered = traffic.answered
        await until(lambda: traffic.failures or traffic.answered > answered + 20, "one answers still")
        assert traffic.backends() == {"one"}
        assert await envoy.stats(r"listener_(modified|in_place_updated)$") == {
            "listener_manager.listener_modified": 0,
            "listener_manager.listener_in_place_updated": 0,
        }
        site.service()
        site.subsets("v1", "z2")
        await told(stack)
        # Those that have a connection keep it, as Envoy drains it for ten minutes.
        await until(
            lambda: traffic.failures or traffic.backends() == {"one", "two"}, "new connections go to the new one"
        )
    assert traffic.failures == []
    assert traffic.connections == 2
