"""Pings in both directions: those of clients end no connection, and a peer that does not answer ours is gone."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self, TypeVar

import pytest
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from fairlead.cli.bootstrap import Protocol, ProxyIdentity, XdsServer, bootstrap_document
from fairlead.playground.envoy import Envoy, free_port
from fairlead.server import admission
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, PingAckReceived
from support.istio import TO_SHOP, gateway, http, service, virtual_service
from support.server import Server
from support.stack import Stack, until
from support.xds_client import SOTW, first_request

OBJECTS = gateway("edge", http()), virtual_service("a", f"http: [{{{TO_SHOP}}}]"), service("shop")
PROXY = {"LABELS": {"app": "edge"}, "NAMESPACE": "edge"}
PINGS = 200

E = TypeVar("E", bound=Event)


class Peer:
    """An HTTP/2 connection with one xDS stream, byte by byte. It answers pings only while it reads."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._http = H2Connection(H2Configuration(client_side=True))
        self._events: list[Event] = []

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, int(self._port))
        self._http.initiate_connection()
        self._send()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def _send(self) -> None:
        self._writer.write(self._http.data_to_send())

    def open(self) -> None:
        """Open the stream."""
        headers = {":method": "POST", ":scheme": "http", ":path": SOTW, ":authority": "fairlead", "te": "trailers"}
        self._http.send_headers(1, [*headers.items(), ("content-type", "application/grpc")])

    def ask(self, kind: str) -> None:
        """Ask for a type for the first time."""
        request = first_request(metadata=PROXY, kind=kind).SerializeToString()
        self._http.send_data(1, struct.pack(">BL", 0, len(request)) + request)
        self._send()

    def ping(self, number: int) -> None:
        self._http.ping(struct.pack(">Q", number))
        self._send()

    async def next(self, kind: type[E]) -> E:
        """Read up to the next event of a kind; a connection that ends fails the test."""
        async with asyncio.timeout(20):
            while True:
                while self._events:
                    event = self._events.pop(0)
                    assert not isinstance(event, ConnectionTerminated), event
                    if isinstance(event, kind):
                        return event
                data = await self._reader.read(65536)
                assert data, "the server has closed the connection"
                self._events = self._http.receive_data(data)
                self._send()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(tmp_path, *OBJECTS) as found:
        yield found


@pytest.mark.parametrize("asks", [True, False], ids=["with a stream", "without one"])
async def test_clients_may_ping_as_often_as_they_like(server: Server, asks: bool) -> None:
    """By default gRPC ends a connection after a few pings (`too_many_pings`); Envoy's may come every second."""
    async with Peer(server.address) as peer:
        if asks:
            peer.open()
            peer.ask("cds")
            await peer.next(DataReceived)
        for number in range(PINGS):
            peer.ping(number)
            assert (await peer.next(PingAckReceived)).ping_data == struct.pack(">Q", number)
        if not asks:
            peer.open()
        peer.ask("lds")
        data = await peer.next(DataReceived)
        assert DiscoveryResponse.FromString(data.data[5:]).resources


async def test_a_peer_that_answers_no_pings_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose host lost its power: nothing says that the connection has ended."""
    monkeypatch.setattr(admission, "PING_AFTER", 0.3)
    monkeypatch.setattr(admission, "PONG_WITHIN", 0.2)
    async with Server(tmp_path, *OBJECTS) as server, Peer(server.address) as silent, server.client() as other:
        await other.until(lambda: other.names("rds"))
        silent.open()
        silent.ask("cds")
        await silent.next(DataReceived)
        assert len(server.status().proxies) == 2
        await until(lambda: len(server.status().proxies) == 1, "who does not read is gone")
        await server.settled()
        assert other.error is None


@pytest.mark.long
@pytest.mark.e2e
@pytest.mark.timeout(120)
@pytest.mark.parametrize("protocol", list(Protocol))
async def test_an_envoy_that_pings_every_second_keeps_its_stream(stack: Stack, protocol: Protocol) -> None:
    for number, text in enumerate(OBJECTS):
        stack.write(f"{number}.yaml", text)
    fairlead = await stack.serve()
    identity = ProxyIdentity(id="proxy", namespace="edge", labels=(("app", "edge"),), bind_address=stack.address)
    xds = XdsServer(address=f"127.0.0.1:{fairlead.xds_port}")
    document = bootstrap_document(identity, xds, protocol=protocol, admin_port=free_port())
    (cluster,) = document["static_resources"]["clusters"]
    (options,) = cluster["typed_extension_protocol_options"].values()
    keepalive = options["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]
    keepalive |= {"interval": "1s", "timeout": "1s"}

    async def old() -> bool:
        proxies = (await fairlead.status())["proxies"]
        return [proxy["connected_seconds"] > 35 for proxy in proxies] == [True]

    async with Envoy(document, stack.tmp_path) as envoy:
        await until(old, "the stream has lasted", within=60)
        stats = await envoy.stats(r"cluster\.fairlead\.(upstream_cx_total|http2\.keepalive_timeout)$")
        assert stats == {"cluster.fairlead.upstream_cx_total": 1, "cluster.fairlead.http2.keepalive_timeout": 0}
