"""Several servers on the same files: any of them may serve a proxy, and a proxy that moves is sent nothing again."""

import asyncio
import contextlib
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from fairlead.errors import SettingsError
from fairlead.playground.envoy import free_port
from fairlead.server.ports import check_free
from fairlead.server.settings import Address
from fairlead.sources.files.store import _SCHEMA, FILE_NAME, Store
from support.istio import TO_SHOP, gateway, http, service, virtual_service
from support.stack import ControlPlane, until
from support.xds_client import XdsClient

OBJECTS = gateway("edge", http()), virtual_service("a", f"http: [{{{TO_SHOP}}}]"), service("shop")
PROXY = {"LABELS": {"app": "edge"}, "NAMESPACE": "edge", "VHDS": True}
MANY = 100


class Servers:
    """Servers with one folder, one port and one state folder; clients that come back when their stream ends."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "objects"
        self.folder.mkdir()
        (self.folder / "all.yaml").write_text("---".join(OBJECTS))
        self.port = free_port()
        arguments = ("--reuse-port", "--xds-address", f"127.0.0.1:{self.port}")
        self.both = [
            ControlPlane(self.folder, tmp_path / f"log-{name}", tmp_path / "state", arguments) for name in ("a", "b")
        ]
        self.clients: list[XdsClient] = []
        self._exits: dict[XdsClient, contextlib.AsyncExitStack] = {}

    async def connect(self, befores: Iterable[XdsClient | None]) -> None:
        """Clients, of which those that have been here before hold what they held."""
        for before in befores:
            client = XdsClient(f"127.0.0.1:{self.port}", delta=True, metadata=PROXY, before=before)
            self._exits[client] = contextlib.AsyncExitStack()
            await self._exits[client].enter_async_context(client)
            self.clients.append(client)

    async def served(self, *, by: int) -> list[int]:
        """Wait until all clients are in step, and served by so many servers; those whose stream has ended come back."""

        async def counts() -> list[int] | None:
            ended = [client for client in self.clients if client.error is not None]
            for client in ended:
                self.clients.remove(client)
                await self._exits.pop(client).aclose()
            await self.connect(ended)
            alive = [server for server in self.both if server.process and server.process.returncode is None]
            found = [await server.status() for server in alive]
            streams = [len(status["proxies"]) for status in found]
            settled = all(status["settled"] for status in found)
            return streams if settled and sum(streams) == MANY and len(streams) == by else None

        found: list[int] = await until(counts, f"all are served by {by}", within=30)
        return found

    async def change(self, port: int) -> None:
        """Another port of the service, and with it another cluster, for all clients."""
        (self.folder / ".new").write_text("---".join([*OBJECTS[:2], service("shop", f"{{port: {port}}}")]))
        (self.folder / ".new").rename(self.folder / "all.yaml")
        for client in self.clients:
            await client.until(
                lambda client=client: client.names("cds") == {f"outbound|{port}||shop.edge.svc.cluster.local"}
            )  # type: ignore[misc]

    async def close(self) -> None:
        for exits in self._exits.values():
            await exits.aclose()
        for server in self.both:
            if server.process is not None and server.process.returncode is None:
                await server.stop()


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    servers = Servers(tmp_path)
    try:
        await asyncio.gather(*(server.start() for server in servers.both))
        yield servers
    finally:
        await servers.close()


async def test_clients_are_spread_and_move_without_being_sent_anything_again(servers: Servers) -> None:
    first, second = servers.both
    await servers.connect([None] * MANY)
    assert min(await servers.served(by=2)) > 0
    await servers.change(81)
    await servers.served(by=2)

    stayed = set(servers.clients)
    await first.kill()
    await servers.served(by=1)
    assert 0 < len(moved := set(servers.clients) - stayed) < MANY
    assert not {name for client in moved for _, names in client.received for name in names}
    await servers.change(82)

    await first.start()
    assert second.process is not None
    second.process.terminate()  # which sends all away, to the first
    stayed = set(servers.clients)
    await until(lambda: second.process and second.process.returncode == 0, "it has ended")
    await servers.served(by=1)
    assert not stayed.intersection(servers.clients)
    assert not {name for client in servers.clients for _, names in client.received for name in names}
    await servers.change(83)
    for server in servers.both:
        assert "state-" not in server.log_text()
        assert "rror" not in server.log_text()


async def test_a_port_is_shared_by_those_only_who_say_so() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as shared:
        address = Address(*shared.getsockname())
        check_free(address, "--xds-address", reuse_port=True)
        with pytest.raises(SettingsError, match="Address already in use"):
            check_free(address, "--xds-address", reuse_port=False)
    with (
        socket.create_server(("127.0.0.1", 0)) as own,
        pytest.raises(SettingsError, match=r"--xds-address 127\.0\.0\.1:\d+ cannot be listened on"),
    ):
        check_free(Address(*own.getsockname()), "--xds-address", reuse_port=True)


async def test_servers_may_make_the_database_at_the_same_time(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";"):
        other.execute(statement)
    opening = asyncio.create_task(asyncio.to_thread(Store, tmp_path))
    await asyncio.wait([opening], timeout=0.3)  # it has found nothing, and waits for its turn to make it
    other.execute("COMMIT")
    store = await opening
    assert not store.damaged
    assert store.entries() == {}
    store.close()
    other.close()
