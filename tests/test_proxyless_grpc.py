"""gRPC's own xDS client, the one inside `grpcio`: what it asks for, what it takes, what it does when we are gone.

It is a client of services, without a proxy: a channel to ``xds:///name`` asks for the listener of that name. What it
needs are listeners with an `api_listener`, named like services, as meshes serve them. No object makes such a listener
here: a Gateway's are for proxies that accept connections. So the tests below serve tables of their own, to a real gRPC
client, by the real server; and one shows what becomes of a client that asks for a gateway's listener.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead._pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from fairlead._pb.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from fairlead.protocol.events import SyncState
from fairlead.server.connection import StateOfTheWorldConnection
from fairlead.snapshot import wire
from fairlead.snapshot.messages import DiscoveryRequest
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION, SHORT_NAMES
from support import proxyless_client
from support.istio import TO_SHOP, gateway, http, service, virtual_service
from support.server import Server
from support.stack import free_port, until
from support.tables import Tables, serving


class Client:
    """A child process with channels; see `support.proxyless_client`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def tell(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n".encode())
        async with asyncio.timeout(30):
            answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
            return answer

    async def call(self, name: str, within: float = 10.0) -> dict[str, Any]:
        return await self.tell(f"call xds:///{name} {within}")


@contextlib.asynccontextmanager
async def proxyless(address: str, *, reads_errors: bool = True) -> AsyncIterator[Client]:
    server = {
        "server_uri": address,
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["xds_v3"],
    }
    node = {"id": "proxyless", "metadata": {"NAMESPACE": "edge", "LABELS": {"app": "edge"}}}
    environment = {
        **os.environ,
        "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps({"xds_servers": [server], "node": node}),
        "GRPC_EXPERIMENTAL_XDS_DATA_ERROR_HANDLING": str(reads_errors).lower(),
        "GRPC_VERBOSITY": "NONE",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, proxyless_client.__file__), stdin=-1, stdout=-1, env=environment
    )
    try:
        yield Client(process)
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[DiscoveryRequest]:
    """What clients have said, in the order of arrival."""
    noted: list[DiscoveryRequest] = []
    receive = StateOfTheWorldConnection._receive

    def note(connection: StateOfTheWorldConnection, data: bytes) -> None:
        noted.append(wire.decode_discovery_request(data))
        receive(connection, data)

    monkeypatch.setattr(StateOfTheWorldConnection, "_receive", note)
    return noted


def asked(requests: list[DiscoveryRequest]) -> list[tuple[str, tuple[str, ...]]]:
    """What was asked for, without repetitions."""
    found = ((SHORT_NAMES[request.type_url], tuple(sorted(request.names))) for request in requests)
    return list(dict.fromkeys(found))


# --- A service --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """Port of a gRPC service that says what it is told."""

    async def answer(request: bytes, _context: object) -> bytes:
        return request

    service, method = proxyless_client.METHOD.strip("/").split("/")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(answer)})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


ADS = {"ads": {}, "resource_api_version": "V3"}


def listener(name: str, routes: str) -> Resource:
    manager = HttpConnectionManager()
    manager.rds.route_config_name = routes
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = 2
    router = manager.http_filters.add(name="router")
    router.typed_config.Pack(Router())
    made = Listener(name=name)
    made.api_listener.api_listener.Pack(manager)
    return Resource(LISTENER, name, made.SerializeToString())


def route(name: str, **prefixes: str) -> Resource:
    """`prefixes`: cluster -> prefix of paths."""
    made = RouteConfiguration(name=name)
    host = made.virtual_hosts.add(name="all", domains=["*"])
    for cluster, prefix in prefixes.items():
        host.routes.add(match={"prefix": prefix}, route={"cluster": cluster})
    return Resource(ROUTE_CONFIGURATION, name, made.SerializeToString())


def cluster(name: str, *, of_a_kind_unknown: bool = False) -> Resource:
    kind = Cluster.ORIGINAL_DST if of_a_kind_unknown else Cluster.EDS
    made = Cluster(name=name, type=kind, lb_policy=Cluster.ROUND_ROBIN)
    made.eds_cluster_config.eds_config.ads.SetInParent()
    made.eds_cluster_config.eds_config.resource_api_version = 2
    return Resource(CLUSTER, name, made.SerializeToString())


def endpoints(name: str, port: int) -> Resource:
    made = ClusterLoadAssignment(cluster_name=name)
    locality = made.endpoints.add(load_balancing_weight={"value": 1})
    locality.locality.region = "here"
    address = locality.lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    return Resource(CLUSTER_LOAD_ASSIGNMENT, name, made.SerializeToString())


def put(tables: Tables, *resources: Resource) -> None:
    for resource in resources:
        tables.put(resource.type_url, {resource.name: resource})


def echo_tables(port: int) -> Tables:
    tables = Tables()
    put(tables, listener("echo", "routes"), route("routes", one="/"), cluster("one"), endpoints("one", port))
    put(tables, listener("other", "other"), cluster("other"), endpoints("other", port))  # which nobody asks for
    return tables


# --- Tests ------------------------------------------------------------------------------------------------------------


async def test_names_are_asked_for_one_by_one(echo: int, requests: list[DiscoveryRequest]) -> None:
    async with serving(echo_tables(echo)) as server, proxyless(str(server.address)) as client:
        assert (await client.call("echo"))["body"] == "hello"
        names = [("lds", ("echo",)), ("rds", ("routes",)), ("cds", ("one",)), ("eds", ("one",))]
        assert asked(requests) == names
        (connection,) = server.connections
        statuses = connection.stream.status()
        await until(lambda: {status.state for status in statuses.values()} == {SyncState.SYNCED}, "all is acknowledged")
        assert not any(status.wildcard for status in statuses.values())


async def test_changes_are_followed(echo: int) -> None:
    tables = echo_tables(echo)
    async with serving(tables) as server, proxyless(str(server.address)) as client:
        assert (await client.call("echo"))["code"] == "OK"
        put(tables, cluster("two"), endpoints("two", echo), route("routes", two="/"))
        tables.put(CLUSTER, {"one": None})
        for _ in range(5):
            assert (await client.call("echo"))["code"] == "OK"
        put(tables, endpoints("two", free_port()))

        async def refused() -> bool:
            return (await client.call("echo"))["code"] == "UNAVAILABLE"

        await until(refused, "the new endpoint is used, where nobody is")


async def test_a_name_that_does_not_exist(echo: int, requests: list[DiscoveryRequest]) -> None:
    """Told at once and in words; clients that do not read those wait, and are served when it comes into being."""
    tables = echo_tables(echo)
    async with (
        serving(tables) as server,
        proxyless(str(server.address)) as reads,
        proxyless(str(server.address), reads_errors=False) as waits,
    ):
        answer = await reads.call("nowhere")
        assert answer["code"] == "UNAVAILABLE"
        assert "lds resource 'nowhere' does not exist" in answer["words"]
        assert answer["seconds"] < 5, "less than the 15 seconds that it would wait"
        assert asked(requests) == [("lds", ("nowhere",))]
        waiting = asyncio.create_task(waits.call("nowhere"))
        await until(lambda: len(requests) >= 4, "both have asked and acknowledged")
        assert not waiting.done()
        put(tables, listener("nowhere", "routes"))
        assert (await waiting)["code"] == "OK"
        await until(lambda: _is_served(reads, "nowhere"), "the other one is told as well")


async def _is_served(client: Client, name: str) -> bool:
    return (await client.call(name))["code"] == "OK"


async def test_a_stream_that_is_cut(echo: int, requests: list[DiscoveryRequest]) -> None:
    """Calls go on; the client comes back with the versions that it has, and no nonce."""
    tables, port = echo_tables(echo), free_port()
    async with contextlib.AsyncExitStack() as exits:
        async with serving(tables, port):
            client = await exits.enter_async_context(proxyless(f"127.0.0.1:{port}"))
            assert (await client.call("echo"))["code"] == "OK"
            await until(lambda: len(requests) >= 8, "all has been acknowledged")
        before = asked(requests)
        requests.clear()
        for _ in range(5):
            assert (await client.call("echo"))["code"] == "OK"
        async with serving(tables, port):
            await until(lambda: sorted(asked(requests)) == sorted(before), "it is back, with all names")
            first = {request.type_url: request for request in reversed(requests)}
            assert {request.nonce for request in first.values()} == {""}
            versions = {kind: request.version for kind, request in first.items()}
            assert all(
                version and version == tables.snapshot.tables[kind].version for kind, version in versions.items()
            )
            assert (await client.call("echo"))["code"] == "OK"
            put(tables, cluster("two"), endpoints("two", echo), route("routes", two="/"))
            await until(lambda: ("eds", ("two",)) in asked(requests), "it follows a change")
            assert (await client.call("echo"))["code"] == "OK"


async def test_a_server_that_is_not_there_yet(echo: int) -> None:
    port = free_port()
    async with proxyless(f"127.0.0.1:{port}") as client:
        assert (await client.call("echo", 1))["code"] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
        async with serving(echo_tables(echo), port):
            await until(lambda: _is_served(client, "echo"), "it has come back", within=20)


async def test_a_channel_that_is_closed_leaves_and_returns(echo: int, requests: list[DiscoveryRequest]) -> None:
    async with serving(echo_tables(echo)) as server, proxyless(str(server.address)) as client:
        for _ in range(2):
            assert (await client.call("echo"))["code"] == "OK"
            assert len(server.connections) == 1
            assert {request.type_url: request.version for request in reversed(requests)}[LISTENER] == ""
            await client.tell("close xds:///echo")
            await until(lambda: not server.connections, "its stream has ended")
            requests.clear()


async def test_a_resource_that_is_refused(echo: int, requests: list[DiscoveryRequest]) -> None:
    """What is without fault in the same response is used; what is refused is not sent again before it changes."""
    tables = echo_tables(echo)
    put(tables, route("routes", bad="/nobody/", one="/"), cluster("bad", of_a_kind_unknown=True))
    async with serving(tables) as server, proxyless(str(server.address)) as client:
        assert (await client.call("echo"))["code"] == "OK"
        (connection,) = server.connections
        await until(lambda: connection.stream.status()[CLUSTER].contained, "the refusal has arrived")
        (contained,) = connection.stream.status()[CLUSTER].contained
        assert contained.resource == "bad"
        assert "bad: INVALID_ARGUMENT" in contained.error.message
        seen = len(requests)
        for _ in range(5):
            assert (await client.call("echo"))["code"] == "OK"
        assert len(requests) == seen
        put(tables, cluster("bad"), endpoints("bad", echo))
        await until(lambda: connection.stream.status()[CLUSTER].error is None, "the mended one is accepted")
        assert (await client.call("echo"))["code"] == "OK"


async def test_a_listener_of_a_gateway_is_not_for_proxyless_clients(
    tmp_path: Path, requests: list[DiscoveryRequest]
) -> None:
    """It is refused, the operator is told which object it is made of, and proxies go on."""
    texts = gateway("edge", http()), virtual_service("a", f"http: [{{{TO_SHOP}}}]"), service("shop")
    async with Server(tmp_path, *texts) as server, server.client() as other, proxyless(server.address) as client:
        for _ in range(2):
            answer = await client.call("0.0.0.0_80")
            assert answer["code"] == "UNAVAILABLE"
            assert "LDS resource 0.0.0.0_80: invalid resource" in answer["words"]
        event = await server.logged("a proxy refused resources")
        assert (event["proxy"], event["objects"]) == ("proxyless", [f"Gateway edge/edge ({tmp_path}/0.yaml:2:1)"])
        assert len([request for request in requests if request.error]) < 10, "to find the fault takes some trials"
        answer = await client.call("a.example.com")
        assert "lds resource 'a.example.com' does not exist" in answer["words"]
        await other.until(lambda: other.names("rds"))
