"""`fairlead explain` at a running server: proxies that are connected, and what it answers to odd questions."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fairlead.cli.main import app
from fairlead.server.admin import AdminServer
from fairlead.server.explaining import explaining
from fairlead.server.settings import Address
from support.istio import TO_SHOP, gateway, http, service, virtual_service
from support.server import Server
from typer.testing import CliRunner

SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop, namespace: edge, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{port: 8000}]
endpoints: [{addresses: [127.0.0.1]}]
"""
OBJECTS = (gateway("edge", http()), virtual_service("a", f"http: [{{{TO_SHOP}}}]"), service("shop"), SLICE)
URL = "http://a.example.com:80/cart"


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[tuple[Server, Address]]:
    async with Server(tmp_path, *OBJECTS) as server:
        questions = [explaining(server.hub, server.xds)]
        admin = AdminServer(Address("127.0.0.1", 0), server.hub.ready.is_set, questions=questions)
        task = asyncio.create_task(admin.run())
        try:
            yield server, admin.address
        finally:
            admin.stop()
            await task


async def asked(address: Address, *arguments: str) -> tuple[int, str]:
    command = ["explain", *arguments, "--admin-address", str(address)]
    result = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("virtual_host_discovery", [True, False])
async def test_proxies_that_are_connected(tmp_path: Path, virtual_host_discovery: bool) -> None:
    async with (
        serving(tmp_path) as (server, address),
        server.client(node_id="edge-1", VHDS=virtual_host_discovery) as client,
        server.client(node_id="edge-2", VHDS=virtual_host_discovery) as other,
    ):
        await client.until(lambda: client.names("rds"))
        await other.until(lambda: other.names("rds"))
        code, text = await asked(address, URL)
        assert code == 0, text
        for line in (
            "  goes to shop.edge.svc.cluster.local:80",
            "route #1: it takes every request",
        ):
            assert line in text.splitlines(), text
        assert re.search("at proxy edge-[12], and 1 like it", text)
        assert "from VirtualService edge/a (" in text
        assert ", and 1 like it" not in (await asked(address, URL, "--proxy", "edge-2"))[1]
        code, text = await asked(address, "http://b.example.com/")
        assert code == 1
        assert "has the host on port 80 (http)" in text


async def test_sidecars(tmp_path: Path) -> None:
    """What the application asks for goes out; what comes to the workload's address goes to the application."""
    where = {"ROLE": "sidecar", "BIND_ADDRESS": "127.0.0.2", "INSTANCE_IPS": "10.0.0.2"}
    async with serving(tmp_path) as (server, address), server.client(node_id="side-1", **where) as client:
        server.write("3.yaml", SLICE)
        server.write("2.yaml", service("shop", "{port: 80, targetPort: 8000}", selector="{app: edge}"))
        await client.until(lambda: len(client.names("lds")) == 2 and client.names("rds"))
        for host in ("shop", "shop.edge", "shop.edge.svc.cluster.local"):
            code, text = await asked(address, f"http://{host}/cart")
            assert code == 0, text
            assert "goes to shop.edge.svc.cluster.local:80" in text
            assert "address: 127.0.0.2:80" in text
            assert "from Service edge/shop (" in text
        code, text = await asked(address, "http://10.0.0.2:8000/cart")
        assert code == 0, text
        assert "address: 10.0.0.2:8000" in text
        assert "goes to the application behind port 8000" in text
        code, text = await asked(address, "http://nobody/cart")
        assert code == 0, text
        assert "goes to whatever DNS says of nobody" in text


async def test_a_host_that_is_held(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, address), server.client(node_id="edge-1") as client:
        await client.until(lambda: client.names("rds"))
        # One more route before the other: what is held does not have it.
        new = "{match: [{uri: {exact: /new}}], route: [{destination: {host: shpo}}]}"
        server.write("1.yaml", virtual_service("a", f"http: [{new}, {{{TO_SHOP}}}]"))
        await server.logged("held")
        code, text = await asked(address, URL)
        assert code == 0, text
        assert re.search(r"route #1: it takes every request\n    from VirtualService edge/a \(.*1.yaml:2:1\)\n", text)
        assert "error[held]" in text


async def test_what_it_answers_to_odd_questions(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, address), httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://{address}/explain", params={"url": "ftp://a"})
        assert (answer.status_code, "use one of http" in answer.text) == (400, True)
        code, text = await asked(address, URL)
        assert (code, "no proxy is connected" in text) == (2, True)
        async with server.client(node_id="edge-1") as proxy:
            await proxy.until(lambda: proxy.names("rds"))
            code, text = await asked(address, URL, "--proxy", "edge-3")
            assert (code, "no proxy 'edge-3' is connected" in text) == (2, True)
