"""How a server stops: streams are ended one after another, each with a reason; and what it tells systemd."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryResponse,
)
from fairlead.playground.envoy import free_port
from fairlead.server import drain, systemd
from support.istio import TO_SHOP, gateway, http, service, virtual_service
from support.server import Server
from support.stack import ControlPlane, until
from support.xds_client import DELTA, SOTW, XdsClient, ended, first_request, open_channel, raw_stream

OBJECTS = gateway("edge", http()), virtual_service("a", f"http: [{{{TO_SHOP}}}]"), service("shop")
PROXY = {"LABELS": {"app": "edge"}, "NAMESPACE": "edge"}
STOPS = (grpc.StatusCode.UNAVAILABLE, "the control plane stops")
ROUTES = "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(tmp_path, *OBJECTS) as found:
        yield found


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(server.address) as found:
        yield found


async def answered(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    """A stream that has got its first response."""
    call = raw_stream(channel, SOTW)
    await call.write(first_request(metadata=PROXY).SerializeToString())
    await call.read()
    return call


async def test_streams_end_one_after_another(
    server: Server, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "_PACE", 1)
    clock = asyncio.get_running_loop().time
    calls = [await answered(channel) for _ in range(5)]
    times = []

    async def follow(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        assert await ended(call) == STOPS
        times.append(clock())

    followers = [asyncio.create_task(follow(call)) for call in calls]
    start = clock()
    await server.xds.stop(1.0)
    await asyncio.gather(*followers)
    # None before its turn, however busy the machine is.
    assert all(time - start >= 0.2 * number for number, time in enumerate(sorted(times)))


async def test_who_is_still_there_is_served_and_nobody_is_let_in(
    server: Server, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "_PACE", 0.01)
    async with server.client() as one, server.client() as two, server.client(delta=False) as three:
        clients = (one, two, three)
        for client in clients:
            await client.until(lambda client=client: client.names("rds"))
        await channel.channel_ready()
        stopping = asyncio.create_task(server.xds.stop(60))
        await until(lambda: sum(client.error is not None for client in clients) == 1, "the first one is told")
        server.write("2.yaml", service("shop", "{port: 81}"))
        for client in clients:
            if client.error is None:
                await client.until(
                    lambda client=client: client.names("cds") == {"outbound|81||shop.edge.svc.cluster.local"}
                )
        for target in (channel, open_channel(server.address)):
            call = raw_stream(target, SOTW)
            assert (await ended(call))[0] is grpc.StatusCode.UNAVAILABLE
        assert not stopping.done()
        stopping.cancel()


async def test_a_stream_gets_its_first_response_before_it_ends(
    server: Server, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waits for it longer than the others take to end holds the end up; one that says nothing does not."""
    connect = server.hub.connect
    waiting = []
    monkeypatch.setattr(server.hub, "connect", waiting.append)
    call, silent = raw_stream(channel, SOTW), raw_stream(channel, SOTW)
    await call.write(first_request(metadata=PROXY).SerializeToString())
    await until(lambda: waiting, "a stream waits")
    stopping = asyncio.create_task(server.xds.stop(60))
    await asyncio.wait([stopping], timeout=0.1)  # it has its chance to do wrong
    connect(waiting[0])
    assert DiscoveryResponse.FromString(await call.read()).resources
    assert await ended(call) == STOPS
    await stopping
    assert (await ended(silent))[0] is not grpc.StatusCode.OK


async def test_a_stream_that_gets_no_response_ends_in_time(server: Server, channel: grpc.aio.Channel) -> None:
    call = raw_stream(channel, ROUTES)
    await call.write(first_request(metadata=PROXY, kind="rds").SerializeToString())
    await until(lambda: server.xds.connections, "it is there")
    await server.xds.stop(0.1)
    assert await ended(call) == STOPS


# --- The process ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def served(tmp_path: Path, *arguments: str) -> AsyncIterator[ControlPlane]:
    folder = tmp_path / "objects"
    folder.mkdir()
    (folder / "all.yaml").write_text("---".join(OBJECTS))
    fairlead = ControlPlane(folder, tmp_path / "log", tmp_path / "state", arguments)
    try:
        await fairlead.start()
        yield fairlead
    finally:
        if fairlead.process is not None and fairlead.process.returncode is None:
            await fairlead.kill()


async def process_ends(fairlead: ControlPlane) -> int:
    assert fairlead.process is not None
    return await asyncio.wait_for(fairlead.process.wait(), 15)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_stops_and_the_second_ends(tmp_path: Path, number: signal.Signals) -> None:
    async with served(tmp_path, "--drain-seconds", "600") as fairlead:
        assert fairlead.process is not None
        async with open_channel(f"127.0.0.1:{fairlead.xds_port}") as channel:
            talks, waits = await answered(channel), raw_stream(channel, ROUTES)
            await waits.write(first_request(metadata=PROXY, kind="rds").SerializeToString())
            status = await until(lambda: connected(fairlead, 2), "both are there")
            assert status["synced"]
            fairlead.process.send_signal(number)
            assert await ended(talks) == STOPS
            assert await fairlead.admin("/healthz") == "ok\n"
            assert await fairlead.admin("/ready") is None
            fairlead.process.send_signal(number)
            assert await process_ends(fairlead) == -number
        assert "stopping" in fairlead.log_text()
        assert "Traceback" not in fairlead.log_text()


async def connected(fairlead: ControlPlane, count: int) -> object:
    status = await fairlead.status()
    return len(status["proxies"]) == count and status


async def test_a_server_with_few_proxies_stops_at_once(tmp_path: Path) -> None:
    async with served(tmp_path, "--drain-seconds", "600") as fairlead:
        async with XdsClient(f"127.0.0.1:{fairlead.xds_port}", delta=True, metadata=PROXY) as client:
            await client.until(lambda: client.names("rds"))
            assert fairlead.process is not None
            fairlead.process.send_signal(signal.SIGHUP)  # means nothing
            fairlead.process.terminate()
            assert await process_ends(fairlead) == 0
        assert "nothing to reload" in fairlead.log_text()


async def came(port: int, versions: dict[str, str]) -> tuple[grpc.aio.Channel, Any, DeltaDiscoveryResponse]:
    """A proxy that holds these clusters, on a connection of its own, and what it is sent first."""
    channel = open_channel(f"127.0.0.1:{port}")
    call = raw_stream(channel, DELTA)
    request = first_request(DELTA, metadata=PROXY)
    assert isinstance(request, DeltaDiscoveryRequest)
    request.initial_resource_versions.update(versions)
    await call.write(request.SerializeToString())
    return channel, call, DeltaDiscoveryResponse.FromString(await call.read())


async def test_a_thousand_come_back_at_once(tmp_path: Path) -> None:
    """The server dies, and all of its clients are there as soon as it is: all are served, and sent nothing again."""
    async with served(tmp_path) as fairlead:
        clients = await asyncio.gather(*(came(fairlead.xds_port, {}) for _ in range(1000)))
        assert {len(answer.resources) for _, _, answer in clients} == {1}
        versions = {resource.name: resource.version for resource in clients[0][2].resources}
        await fairlead.kill()
        for channel, call, _ in clients:
            assert (await ended(call))[0] is grpc.StatusCode.UNAVAILABLE
            await channel.close()
        await fairlead.start()
        clients = await asyncio.gather(*(came(fairlead.xds_port, versions) for _ in range(1000)))
        assert {len(answer.resources) for _, _, answer in clients} == {0}
        for channel, _, _ in clients:
            await channel.close()


ENDING_SOURCE = """
import sys
from pathlib import Path
from fairlead.server.run import run
from fairlead.server.settings import Address, Settings
from fairlead.sources.files.source import FilesSource

class Source(FilesSource):
    async def run(self, deliver):
        async def stop_after_the_first(update):
            await deliver(update)
            if update.synced:
                raise {failure}
        await super().run(stop_after_the_first)

folder = Path(sys.argv[1])
anywhere = Address("127.0.0.1", 0)
run(Settings(paths=(folder,), xds_address=anywhere, admin_address=anywhere), Source([folder]))
"""


@pytest.mark.parametrize("failure", ["OSError('the disk is gone')", "ZeroDivisionError('a fault of ours')"])
async def test_a_server_whose_source_has_ended_ends(tmp_path: Path, failure: str) -> None:
    """Better than to serve on from what will never change again."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ENDING_SOURCE.format(failure=failure), str(tmp_path)), stderr=asyncio.subprocess.PIPE
    )
    said = (await asyncio.wait_for(process.communicate(), 30))[1].decode()
    assert process.returncode == 1
    assert failure.replace("('", ": ").replace("')", "") in said.splitlines()[-1]


# --- systemd ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["path", "abstract"])
def systemd_socket(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@fairlead-{os.getpid()}-{free_port()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(name.replace("@", "\0"))
        found.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield found


async def test_systemd_is_told(systemd_socket: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    receive = asyncio.get_running_loop().sock_recv
    async with served(tmp_path) as fairlead:
        said = [(await asyncio.wait_for(receive(systemd_socket, 100), 15)).decode()]
        while "READY=1" not in said or said[-2:] != ["WATCHDOG=1"] * 2:  # it lives before and after
            said.append((await asyncio.wait_for(receive(systemd_socket, 100), 15)).decode())
        assert said.count("READY=1") == 1
        assert fairlead.process is not None
        fairlead.process.terminate()
        while said[-1] != "STOPPING=1":
            said.append((await asyncio.wait_for(receive(systemd_socket, 100), 15)).decode())
        assert await process_ends(fairlead) == 0
        assert set(said) == {"READY=1", "WATCHDOG=1", "STOPPING=1"}


@pytest.mark.parametrize("name", ["", "/no/such/socket", "@no-such-socket"])
def test_nobody_has_to_listen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    systemd.notify(systemd.READY)


@pytest.mark.parametrize(
    ("limit", "process", "seconds"),
    [
        ("30000000", "", 30.0),
        ("30000000", "ours", 30.0),
        ("30000000", "1", None),  # meant for another process
        ("", "", None),
        ("0", "", None),
        ("soon", "", None),
    ],
)
def test_how_often_systemd_wants_to_hear(
    limit: str, process: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", limit)
    monkeypatch.setenv("WATCHDOG_PID", process.replace("ours", str(os.getpid())))
    assert systemd.watchdog_seconds() == seconds
