"""The pages of the admin endpoint, over real HTTP, with a client that is served."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from e2e.objects import issued, secret
from fairlead.server.admin import AdminServer, status_page
from fairlead.server.metrics import Metrics
from fairlead.server.pages import pages
from fairlead.server.settings import Address
from fairlead.server.watchdog import Watchdog
from support.istio import TO_SHOP, gateway, http, service, tls, virtual_service
from support.server import Server
from support.stack import until

OBJECTS = (
    gateway("edge", http()),
    gateway("tls", tls('"*.example.com"')),
    virtual_service("a", f"http: [{{{TO_SHOP}}}]"),
    service("shop"),
)
PAIR = issued("a.example.com", "a.example.com")

Get = Callable[[str], Awaitable[httpx.Response]]


@asynccontextmanager
async def serving(tmp_path: Path, *texts: str) -> AsyncIterator[tuple[Server, Get]]:
    async with Server(tmp_path, *texts, secret("cert", PAIR, "edge")) as server:
        views = pages(server.hub, server.xds, Metrics(server.hub, server.xds, Watchdog(lambda: None)))
        admin = AdminServer(Address("127.0.0.1", 0), server.hub.ready.is_set, [status_page(server.status), *views])
        task = asyncio.create_task(admin.run())
        try:
            async with httpx.AsyncClient(base_url=f"http://{admin.address}", trust_env=False) as client:
                yield server, client.get
        finally:
            admin.stop()
            await task


async def found(get: Get, path: str) -> Any:
    answer = await get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_list_of_all_pages(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, get):
        text = (await get("/")).text
        paths = [line.split()[0] for line in text.splitlines()]
        assert {"/healthz", "/ready", "/status", "/metrics", "/debug/syncz", "/debug/config_dump"} <= set(paths)
        for path in paths:
            assert (await get(path)).status_code == (404 if path == "/debug/config_dump" else 200), path
        for path in ("/debug", "/debug/list"):
            assert (await get(path)).text == text
        assert (await get("/metrics")).headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_who_is_connected_and_how_far(tmp_path: Path) -> None:
    async with serving(tmp_path, *OBJECTS) as (server, get), server.client(node_id="edge-1") as client:
        await client.until(lambda: client.names("eds") and client.names("sds") and client.names("rds"))
        await server.settled()
        (proxy,) = await found(get, "/debug/syncz")
        assert (proxy["proxy"], proxy["namespace"]) == ("edge-1", "edge")
        assert {proxy[name]["state"] for name in ("cds", "eds", "lds", "rds", "sds")} == {"synced"}
        connections = await found(get, "/debug/connections")
        assert connections["totalClients"] == 1
        (connection,) = connections["clients"]
        assert connection["connectionId"].startswith("edge-1-")
        assert connection["watches"]["cds"] == ["*"]
        assert connection["watches"]["sds"] == ["kubernetes://cert"]


async def dump(get: Get, proxy: str) -> dict[str, Any]:
    answer = await found(get, f"/debug/config_dump?proxy={proxy}")
    return {config["@type"].rpartition(".")[2]: config for config in answer["configs"]}


async def test_what_a_proxy_is_offered(tmp_path: Path) -> None:
    async with serving(tmp_path, *OBJECTS) as (server, get):
        async with server.client(node_id="inline") as inline, server.client(node_id="vhds", VHDS=True) as vhds:
            for client in (inline, vhds):
                await client.until(lambda client=client: client.names("rds") and client.names("sds"))  # type: ignore[misc]
            found = await dump(get, "inline")
            (cluster,) = found["ClustersConfigDump"]["dynamic_active_clusters"]
            assert cluster["cluster"]["name"] == "outbound|80||shop.edge.svc.cluster.local"
            assert len(cluster["version_info"]) == 16
            assert len(found["ListenersConfigDump"]["dynamic_listeners"]) == 2
            (offered,) = found["SecretsConfigDump"]["dynamic_active_secrets"]
            assert offered["name"] == "kubernetes://cert"
            assert "certificate_chain" in offered["secret"]["tls_certificate"]
            routes = found["RoutesConfigDump"]["dynamic_route_configs"]
            assert any(route["route_config"].get("virtual_hosts") for route in routes)
            # Whether virtual hosts are sent one by one or not, they are shown within their route configuration.
            discovered = (await dump(get, "vhds"))["RoutesConfigDump"]["dynamic_route_configs"]
            names = [host["name"] for route in discovered for host in route["route_config"].get("virtual_hosts", ())]
            assert any("a.example.com" in name for name in names)
        await until(lambda: server.status().proxies == (), "they have left")
        assert (await get("/debug/config_dump?proxy=inline")).status_code == 404


async def test_who_can_be_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path, *OBJECTS) as (server, get), server.client(node_id="edge-1") as client:
        await client.until(lambda: client.names("rds"))
        answer = await get("/debug/config_dump")
        assert answer.status_code == 404
        assert "edge-1" in answer.text


async def test_private_keys_are_nowhere(tmp_path: Path) -> None:
    async with serving(tmp_path, *OBJECTS) as (server, get), server.client(node_id="edge-1") as client:
        await client.until(lambda: client.names("sds"))
        key = PAIR.key_pem.reveal()
        line = key.decode().splitlines()[1]
        assert line in client.held["sds"]["kubernetes://cert"].decode(errors="replace")  # it is served
        for path in [line.split()[0] for line in (await get("/")).text.splitlines()]:
            text = (await get(f"{path}?proxy=edge-1")).text
            assert line not in text, path
            assert base64.b64encode(key).decode()[40:120] not in text, path
