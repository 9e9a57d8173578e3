"""Scenarios of `test_xds_scenarios` that need the server: over real gRPC, with objects or with tables of the test."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from fairlead.protocol.conversation import Conversation
from fairlead.protocol.ledger import Ledger
from fairlead.protocol.stream import Stream
from fairlead.server import ads
from fairlead.server.connection import Connection
from fairlead.snapshot.types import CLUSTER, SEND_ORDER, SHORT_NAMES
from support.istio import TO_SHOP, gateway, http, service, virtual_service
from support.server import Server
from support.stack import until
from support.tables import Tables, serving
from support.xds_client import BOUND, DELTA, SOTW, TYPES, ended, first_request, open_channel, raw_stream
from support.xds_script import resource

EDGE, ROUTE, SHOP = gateway("edge", http()), virtual_service("a", f"http: [{{{TO_SHOP}}}]"), service("shop")
CLUSTERS = {"outbound|80||shop.edge.svc.cluster.local"}
PROXY = {"LABELS": {"app": "edge"}, "NAMESPACE": "edge"}
Call = grpc.aio.StreamStreamCall[bytes, bytes]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(tmp_path, EDGE, ROUTE, SHOP) as found:
        yield found


@contextlib.asynccontextmanager
async def stream(address: str, method: str) -> AsyncIterator[Call]:
    async with open_channel(address) as channel, asyncio.timeout(BOUND):
        yield raw_stream(channel, method)


# --- Types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [SOTW, DELTA])
async def test_a_request_without_a_type_ends_an_aggregated_stream(server: Server, method: str) -> None:
    async with stream(server.address, method) as call, server.client() as other:
        request = first_request(method, metadata=PROXY)
        request.type_url = ""
        await call.write(request.SerializeToString())
        code, details = await ended(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "type_url" in details
        await other.until(lambda: other.names("rds"))


METHODS = [
    (f"/{service}/{method}", variant, type_url)
    for service, (state_of_the_world, delta, type_url) in ads._SERVICES.items()
    for method, variant in ((state_of_the_world, SOTW), (delta, DELTA))
    if type_url and method
]


@pytest.mark.parametrize(("method", "variant", "type_url"), METHODS, ids=[method for method, _, _ in METHODS])
async def test_streams_of_one_type_imply_it_and_refuse_others(
    server: Server, method: str, variant: str, type_url: str
) -> None:
    async with stream(server.address, method) as call:
        request = first_request(variant, metadata=PROXY)
        request.type_url = ""
        if isinstance(request, DeltaDiscoveryRequest):
            request.resource_names_subscribe.append("name")
        else:
            request.resource_names.append("name")
        await call.write(request.SerializeToString())
        answer = (DeltaDiscoveryResponse if variant == DELTA else DiscoveryResponse).FromString(await call.read())
        assert answer.type_url == type_url
        request.type_url = next(other for other in SEND_ORDER if other != type_url)
        await call.write(request.SerializeToString())
        code, details = await ended(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert request.type_url in details


# --- Nodes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [SOTW, DELTA])
async def test_only_the_first_request_needs_a_node(server: Server, method: str) -> None:
    async with stream(server.address, method) as call:
        await call.write(first_request(method, "edge", PROXY).SerializeToString())
        assert names(method, await call.read()) == CLUSTERS
        for node in ({"LABELS": {"app": "other"}}, None):  # another one is not listened to
            request = first_request(method, "other", node, kind="lds" if node else "rds")
            if node is None:
                request.ClearField("node")
            wanted = (
                request.resource_names_subscribe
                if isinstance(request, DeltaDiscoveryRequest)
                else request.resource_names
            )
            wanted.extend(["0.0.0.0_80", "http.80"])
            await call.write(request.SerializeToString())
            assert names(method, await call.read()) & {"0.0.0.0_80", "http.80"}
        assert [proxy.id for proxy in server.status().proxies] == ["edge"]


def names(method: str, data: bytes) -> set[str]:
    """The names of resources, as far as the test knows them; empty resources do not count."""
    known = {*CLUSTERS, "0.0.0.0_80", "http.80"}
    if method == DELTA:
        return {
            item.name for item in DeltaDiscoveryResponse.FromString(data).resources if len(item.resource.value) > 20
        }
    bodies = [item.value for item in DiscoveryResponse.FromString(data).resources if len(item.value) > 20]
    return {name for name in known if any(name.encode() in body for body in bodies)}


@pytest.mark.parametrize("delta", [False, True])
async def test_a_proxy_that_nothing_is_meant_for_waits_for_what_comes(server: Server, delta: bool) -> None:
    async with server.client(delta=delta, app="lonely") as client:
        await client.until(lambda: {"cds", "lds"} <= client.held.keys())
        assert not client.names("cds") | client.names("lds")
        await server.settled()
        server.write("new.yaml", gateway("new", http(8080), selector="{app: lonely}"))
        await client.until(lambda: client.names("lds"))


# --- Ends -------------------------------------------------------------------------------------------------------------


def alive() -> dict[str, int]:
    """How many objects there are that streams are made of."""
    gc.collect()
    found = [type(item) for item in gc.get_objects()]
    kinds = (Connection, Stream, Conversation, Ledger)
    return {kind.__name__: sum(issubclass(each, kind) for each in found) for kind in kinds}


async def test_nothing_is_left_of_streams_that_were_cut(server: Server) -> None:
    before = alive()
    async with contextlib.AsyncExitStack() as clients:
        for number in range(8):
            client = await clients.enter_async_context(server.client(delta=bool(number % 2), VHDS=number > 4))
            await client.until(lambda client=client: client.names("rds"))
        assert alive()["Connection"] == before["Connection"] + 8
        assert alive()["Ledger"] > before["Ledger"] + 8
    await until(lambda: not server.xds.connections and not server.hub._streams, "all have left")
    await until(lambda: alive() == before, "nothing is left of them")


# --- Tables of the test -----------------------------------------------------------------------------------------------


def put(tables: Tables, type_url: str, content: dict[str, str]) -> None:
    tables.put(type_url, {name: resource(type_url, name, body) if body else None for name, body in content.items()})


async def test_a_client_with_common_limits_gets_ten_thousand_large_resources() -> None:
    """gRPC takes 4 MiB unless told otherwise; all are sent, in as many responses as that needs, and once more."""
    tables = Tables()
    wanted = {f"cluster-{number}": "x" * 1000 for number in range(10_000)}
    put(tables, CLUSTER, wanted)
    async with serving(tables) as xds, stream(str(xds.address), DELTA) as call:
        await call.write(first_request(DELTA).SerializeToString())
        for _ in range(2):
            found: dict[str, str] = {}
            responses = 0
            while found.keys() != wanted.keys():
                response = DeltaDiscoveryResponse.FromString(await call.read())
                assert not found.keys() & {item.name for item in response.resources}
                found |= {item.name: item.version for item in response.resources}
                responses += 1
                await call.write(
                    DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce=response.nonce).SerializeToString()
                )
            assert responses == 4
            assert found == tables.snapshot.tables[CLUSTER].versions()
            put(tables, CLUSTER, dict.fromkeys(wanted, "y" * 1000))


@pytest.mark.parametrize("method", [SOTW, DELTA])
async def test_changes_of_all_types_cross_requests(method: str) -> None:
    """Neither side waits for the other: a client may ask, and tables may change, as often as they like."""
    kinds = [kind for kind in SEND_ORDER if SHORT_NAMES[kind] != "vhds" or method == DELTA]
    tables = Tables()
    for kind in kinds:
        put(tables, kind, {"a/a": "0", "a/b": "0"})
    held: dict[str, dict[str, bytes]] = {kind: {} for kind in kinds}
    async with serving(tables) as xds, stream(str(xds.address), method) as call:

        async def read() -> None:
            while isinstance(data := await call.read(), bytes):
                response: Any = (DeltaDiscoveryResponse if method == DELTA else DiscoveryResponse).FromString(data)
                for item in response.resources:
                    body = item.resource.value if method == DELTA else item.value
                    if body:  # else it says that there are no virtual hosts
                        held[response.type_url][name_of(body)] = body
                await write(request(response.type_url, response.nonce))

        def request(kind: str, nonce: str = "") -> bytes:
            made = first_request(method, kind=SHORT_NAMES[kind])
            made.response_nonce = nonce
            if isinstance(made, DiscoveryRequest):
                made.resource_names.append("*")
            elif not nonce:
                made.resource_names_subscribe.append("*")
            return made.SerializeToString()

        writing = asyncio.Lock()

        async def write(data: bytes) -> None:
            async with writing:
                await call.write(data)

        reader = asyncio.create_task(read())
        for number in range(100):
            for kind in kinds:
                put(tables, kind, {"a/a": str(number), "a/b": str(number) if number % 2 else ""})
                await write(request(kind))
        newest = {
            kind: {name: found.body for name in ("a/a", "a/b") if (found := tables.snapshot.tables[kind].get(name))}
            for kind in kinds
        }
        assert all(len(resources) == 2 for resources in newest.values())
        await until(lambda: held == newest or reader.done(), "the client has the newest of all types")
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader
        assert held == newest


def name_of(body: bytes) -> str:
    return body[2 : 2 + body[1]].decode()


# --- What is sent -----------------------------------------------------------------------------------------------------


async def test_nothing_sent_expires(server: Server) -> None:
    """A resource with a time to live vanishes from the proxy when heartbeats stop: with the control plane, say."""
    async with stream(server.address, DELTA) as call:
        for kind, name in (("cds", ""), ("eds", min(CLUSTERS)), ("lds", ""), ("rds", "http.80")):
            request = first_request(DELTA, metadata=PROXY, kind=kind)
            assert isinstance(request, DeltaDiscoveryRequest)
            request.resource_names_subscribe.extend([name] if name else [])
            await call.write(request.SerializeToString())
        seen: set[str] = set()
        while len(seen) < 4:
            response = DeltaDiscoveryResponse.FromString(await call.read())
            seen.add(response.type_url)
            assert response.resources
            assert not any(item.HasField("ttl") or item.cache_control.do_not_cache for item in response.resources)


def test_all_methods_are_tried() -> None:
    assert {type_url for _, _, type_url in METHODS} == set(TYPES.values())
