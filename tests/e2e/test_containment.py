"""One virtual host that a real Envoy refuses does not keep the others from it, nor takes away what it had.

No YAML is known that Fairlead takes and Envoy 1.40 refuses, so a fault is put into the rendering: a path that holds
`fault` becomes a regular expression that cannot be compiled, of which Envoy says so without saying where.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fairlead._pb.envoy.config.route.v3.route_components_pb2 import Route as RouteMessage
from fairlead.cli.bootstrap import Protocol, ProxyIdentity, XdsServer, bootstrap_document
from fairlead.intent import Route
from fairlead.playground.envoy import Envoy, free_port
from fairlead.protocol.events import SyncState
from fairlead.render import routes
from support.istio import gateway, http, virtual_service
from support.server import Server
from support.stack import loopback, until

pytestmark = pytest.mark.e2e

PORT = 8080
WORDS = "missing ): fault((("


@pytest.fixture(params=["delta", "sotw"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    write_route = routes.write_route

    def write_faulty_route(message: RouteMessage, entry: Route) -> None:
        write_route(message, entry)
        if "fault" in str(entry.match):
            message.match.safe_regex.regex = "fault((("

    monkeypatch.setattr(routes, "write_route", write_faulty_route)
    folder = tmp_path / "objects"
    folder.mkdir()
    async with Server(folder, gateway("edge", http(PORT))) as found:
        yield found


class Proxy:
    """A real Envoy, and a client of it."""

    def __init__(self, server: Server, folder: Path, protocol: str, name: str) -> None:
        self.address = loopback()
        identity = ProxyIdentity(id=name, namespace="edge", labels=(("app", "edge"),), bind_address=self.address)
        document = bootstrap_document(
            identity, XdsServer(address=server.address), protocol=Protocol(protocol), admin_port=free_port()
        )
        self.envoy = Envoy(document, folder)
        self.client = httpx.AsyncClient(trust_env=False, timeout=20)

    async def __aenter__(self) -> "Proxy":
        await self.envoy.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
        await self.envoy.stop()

    async def statuses(self, *hosts: str) -> list[int]:
        url = f"http://{self.address}:{PORT}/"
        return [(await self.client.get(url, headers={"host": f"{host}.test"})).status_code for host in hosts]

    async def serves(self, **statuses: int) -> None:
        await until(lambda: self._serves(statuses), f"{statuses}")

    async def _serves(self, statuses: dict[str, int]) -> bool:
        return await self.statuses(*statuses) == list(statuses.values())

    async def refusals(self) -> int:
        return sum((await self.envoy.stats(r"(vhds|rds).*\.update_rejected$")).values())


def host(name: str, status: int, path: str = "/") -> str:
    rule = f"http: [{{match: [{{uri: {{prefix: {path}}}}}], directResponse: {{status: {status}}}}}]"
    return virtual_service(name, rule, hosts=f"{name}.test")


def write(server: Server, *hosts: str) -> None:
    """All in one file, so that they change at once."""
    server.write("hosts.yaml", "---".join(hosts))


async def test_a_virtual_host_that_is_refused(server: Server, tmp_path: Path, protocol: str) -> None:
    write(server, host("a", 201), host("b", 201), host("c", 201))
    async with Proxy(server, tmp_path, protocol, "first") as first:
        await first.serves(a=201, b=201, c=201)
        write(server, host("a", 202, "/fault"), host("b", 202), host("c", 201), host("d", 202))
        await first.serves(a=201, b=202, c=201, d=202)

        event = await server.logged("a proxy refused resources")
        place = f"VirtualService edge/a ({server.folder}/hosts.yaml:2:1)"
        assert (event["proxy"], event["error"], event["objects"]) == ("first", WORDS, [place])
        status = await server.settled()
        (kind,) = [kind for kind in status.proxies[0].types.values() if kind.state is SyncState.REJECTED]
        assert (kind.error, kind.objects) == (WORDS, (place,))
        assert "a.test" in kind.refused[0]
        (problem,) = status.problems
        assert (problem.code, problem.object, problem.line) == ("refused-by-proxy", "VirtualService edge/a", 2)
        assert WORDS in problem.message

        # A proxy that comes now has all but the one, as soon as it is ready.
        async with Proxy(server, tmp_path, protocol, "second") as second:
            await second.serves(a=404, b=202, c=201, d=202)
            refused: Any = await until(lambda: _refused(server, 2), "both are told of")
            assert "proxy first and 1 more refused" in refused

        # Others change as they please, and what has been refused is not offered again.
        refusals = await first.refusals()
        write(server, host("a", 202, "/fault"), host("b", 202), host("c", 203), host("d", 203))
        await first.serves(a=201, b=202, c=203, d=203)
        assert await first.refusals() == refusals

        write(server, host("a", 204), host("b", 202), host("c", 203), host("d", 203))
        await first.serves(a=204)
        assert (await server.settled()).problems == ()
        assert {kind.state for kind in server.status().proxies[0].types.values()} == {SyncState.SYNCED}
    lines = [event for event in server.events("a proxy refused resources") if event["proxy"] == "first"]
    assert len(lines) == 1, "not once for each trial"


def _refused(server: Server, proxies: int) -> str:
    status = server.status()
    rejected = [
        proxy for proxy in status.proxies if SyncState.REJECTED in {kind.state for kind in proxy.types.values()}
    ]
    return status.problems[0].message if len(rejected) == proxies and status.problems else ""
