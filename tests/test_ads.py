"""xDS over real gRPC: how streams begin, go on and end, and on which ports."""

import asyncio
import contextlib
import gc
import resource
import socket
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from fairlead.errors import SettingsError
from fairlead.server.ads import _SERVICES, XdsServer
from fairlead.server.connection import Connection
from fairlead.server.hub import Hub
from fairlead.server.settings import Address, Settings
from fairlead.sources.files.source import FilesSource
from support.istio import TO_SHOP, gateway, http, service, virtual_service
from support.server import Server
from support.stack import Stack, until
from support.xds_client import DELTA, SOTW, TYPES, XdsClient, ended, first_request, open_channel, raw_stream

EDGE, ROUTE, SHOP = gateway("edge", http()), virtual_service("a", f"http: [{{{TO_SHOP}}}]"), service("shop")
CLUSTER = "outbound|80||shop.edge.svc.cluster.local"
PROXY = {"LABELS": {"app": "edge"}, "NAMESPACE": "edge"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with Server(tmp_path, EDGE, ROUTE, SHOP) as found:
        yield found


@contextlib.asynccontextmanager
async def stream(
    server: Server, method: str = SOTW, target: str = ""
) -> AsyncIterator[grpc.aio.StreamStreamCall[bytes, bytes]]:
    async with open_channel(target or server.address) as channel:
        yield raw_stream(channel, method)


async def gone(server: Server) -> None:
    """All streams have ended, and nobody has been left behind."""
    await until(lambda: not server.xds.connections and not server.hub._streams, "no stream is left")


# --- How streams end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [SOTW, DELTA])
async def test_a_client_that_says_no_more_is_answered_first(server: Server, method: str) -> None:
    async with stream(server, method) as call:
        await call.write(first_request(method, metadata=PROXY).SerializeToString())
        await call.done_writing()
        answers = [answer async for answer in call]
        assert len(answers) == 1
        assert CLUSTER.encode() in answers[0]
        assert await call.code() is grpc.StatusCode.OK
    await gone(server)


@pytest.mark.parametrize("method", [SOTW, DELTA])
async def test_a_client_that_says_nothing_at_all(server: Server, method: str) -> None:
    async with stream(server, method) as call:
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
    assert server.log == []


@pytest.mark.parametrize("method", [SOTW, DELTA])
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("garbage", [b"\xff" * 20, b"\x0a\x7fshort", b"\x0a\x01\xff"])
async def test_garbage(server: Server, method: str, before: int, garbage: bytes) -> None:
    async with stream(server, method) as call:
        for _ in range(before):
            await call.write(first_request(method).SerializeToString())
        await call.write(garbage)
        code, details = await ended(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "cannot be decoded" in details
    await gone(server)
    await server.logged("a client broke the protocol")


@pytest.mark.parametrize(
    ("metadata", "details"),
    [
        ({"ROLE": "butler"}, "ROLE is 'butler'"),
        ({"LABELS": "app=edge"}, "LABELS is no mapping"),
        ({"BIND_ADDRESS": "ü" * 50_000}, "BIND_ADDRESS is 'üüü"),
    ],
)
async def test_a_node_that_cannot_be_understood(server: Server, metadata: dict[str, Any], details: str) -> None:
    """However long the words are, they do not exceed what clients take as a header."""
    async with stream(server) as call:
        await call.write(first_request(metadata=metadata).SerializeToString())
        code, said = await ended(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details in said
    assert server.xds.connections == set()


async def test_a_proxy_needs_no_node(server: Server) -> None:
    async with stream(server) as call:
        request = first_request()
        request.ClearField("node")
        await call.write(request.SerializeToString())
        assert DiscoveryResponse.FromString(await call.read()).type_url == TYPES["cds"]
        assert [proxy.id for proxy in server.status().proxies] == [""]


async def test_a_very_large_node(server: Server) -> None:
    metadata = {**PROXY, "NOISE": {f"key-{number}": "x" * 100 for number in range(7_000)}}
    async with stream(server) as call:
        await call.write(first_request(metadata=metadata).SerializeToString())
        assert CLUSTER.encode() in await call.read()
        (connection,) = server.xds.connections
        assert connection.node.metadata == {}, "nothing that is of no use is kept"


@pytest.mark.parametrize("service_name", sorted(service for service in _SERVICES if "Aggregated" not in service))
async def test_a_service_of_one_type(server: Server, service_name: str) -> None:
    """Requests need not name the type, and what does not exist is told at once."""
    state_of_the_world, incremental, type_url = _SERVICES[service_name]
    if state_of_the_world:
        async with stream(server, f"/{service_name}/{state_of_the_world}") as call:
            await call.write(DiscoveryRequest(resource_names=["none"]).SerializeToString())
            answer = DiscoveryResponse.FromString(await call.read())
            assert answer.type_url == type_url
            assert answer.resources or answer.resource_errors
    async with stream(server, f"/{service_name}/{incremental}") as call:
        await call.write(DeltaDiscoveryRequest(resource_names_subscribe=["none"]).SerializeToString())
        delta = DeltaDiscoveryResponse.FromString(await call.read())
        assert delta.type_url == type_url
        assert delta.resources or delta.removed_resources


async def test_an_unknown_method(server: Server) -> None:
    async with stream(server, "/envoy.service.discovery.v3.AggregatedDiscoveryService/Guess") as call:
        assert (await ended(call))[0] is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("delta", [False, True])
async def test_clients_that_vanish_at_any_moment(server: Server, delta: bool, caplog: pytest.LogCaptureFixture) -> None:
    method = DELTA if delta else SOTW
    for progress in range(5):  # requests and responses that have passed before
        for _ in range(3):
            async with stream(server, method) as call:
                for number in range(progress):
                    if number % 2:
                        await call.read()
                    else:
                        kind = ("cds", "lds", "cds")[number // 2]
                        await call.write(first_request(method, metadata=PROXY, kind=kind).SerializeToString())
                call.cancel()
    await gone(server)
    gc.collect()  # tasks that failed unnoticed speak up now
    assert caplog.records == []
    assert {event["event"] for event in server.log} <= {"proxy connected", "proxy disconnected"}
    async with server.client(delta=delta) as client:
        await client.until(lambda: client.names("cds"))


async def test_a_stream_whose_client_is_gone_while_we_write(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Changes go on while clients leave: whichever write comes upon it, it ends its own stream, without a word."""
    for number in range(12):
        async with stream(server) as call:
            await call.write(first_request(metadata=PROXY).SerializeToString())
            await call.read()
            name = f"v{number}"
            route = virtual_service(
                name, f"http: [{{route: [{{destination: {{host: {name}}}}}]}}]", hosts=f"{name}.test"
            )
            server.write("more.yaml", f"{route}---{service(name)}")
            if number % 2:
                call.cancel()
    await gone(server)
    gc.collect()
    assert caplog.records == []
    assert not [event for event in server.log if event["log_level"] == "error"]


@pytest.mark.parametrize("step", ["offer", "changed", "next_response"])
async def test_a_fault_of_ours_in_a_stream_ends_that_stream(
    server: Server, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async with server.client(node_id="other") as other, server.client(node_id="broken", app="inner") as broken:
        await other.until(lambda: other.names("rds"))
        await broken.until(lambda: "lds" in broken.held)
        (victim,) = (found for found in server.xds.connections if found.node.id == "broken")

        def fail(*_: object, **__: object) -> None:
            raise ValueError("a fault of ours")

        if step == "changed":  # only of tables that the stream has already
            server.write("inner.yaml", gateway("inner", http(), selector="{app: inner}"))
            await broken.until(lambda: broken.names("lds"))
        monkeypatch.setattr(victim.stream, step, fail)
        server.write("inner.yaml", gateway("inner", http(8081), selector="{app: inner}"))
        event = await server.logged("a stream failed")
        assert event["proxy"] == "broken"
        await broken.until(lambda: broken.error)
        assert broken.error is not None
        assert broken.error.code() is grpc.StatusCode.INTERNAL
        assert victim not in server.xds.connections
        server.write("2.yaml", service("shop", "{port: 81}"))
        await other.until(lambda: CLUSTER not in other.names("cds"))


async def test_streams_are_told_when_the_server_stops(server: Server) -> None:
    async with stream(server) as talks, stream(server, DELTA) as listens, stream(server) as silent:
        for call, method in ((talks, SOTW), (listens, DELTA)):
            await call.write(first_request(method, metadata=PROXY).SerializeToString())
            await call.read()
        await until(lambda: len(server.xds.connections) == 2, "both are connected")
        await server.xds.stop(0.5)
        for call in (talks, listens):
            assert await ended(call) == (grpc.StatusCode.UNAVAILABLE, "the control plane stops")
        assert (await ended(silent))[0] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    await gone(server)


async def test_a_client_that_does_not_read_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """Nor other clients: what it costs is one response."""
    routes = "---".join(
        virtual_service(f"v{number}", f"http: [{{{TO_SHOP}}}]", hosts=f"{'h' * 60}-{number}.test")
        for number in range(800)
    )
    async with (
        Server(tmp_path, EDGE, SHOP, routes) as server,
        stream(server, DELTA) as slow,
        server.client() as quick,
        asyncio.timeout(20),
    ):
        request = DeltaDiscoveryRequest(type_url=TYPES["rds"], resource_names_subscribe=["http.80"])
        request.node.metadata.update(PROXY)
        await slow.write(request.SerializeToString())  # and reads nothing
        await quick.until(lambda: quick.names("rds"))
        await server.xds.stop(0.5)


async def test_sigterm_drains_and_ends(stack: Stack) -> None:
    stack.write("all.yaml", f"{EDGE}---{ROUTE}---{SHOP}")
    fairlead = await stack.serve()
    async with open_channel(f"127.0.0.1:{fairlead.xds_port}") as channel:
        call = raw_stream(channel, SOTW)
        await call.write(first_request(metadata=PROXY).SerializeToString())
        await call.read()
        process = fairlead.process
        assert process is not None
        process.terminate()
        assert await ended(call) == (grpc.StatusCode.UNAVAILABLE, "the control plane stops")
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert "Traceback" not in fairlead.log_text()


async def test_one_line_for_each_event(tmp_path: Path) -> None:
    """See `test_telemetry` for what a node id can do to a line: nothing."""
    async with Server(tmp_path) as server:
        async with server.client(node_id="a\nb\x1b[31m") as client:
            await client.until(lambda: "lds" in client.held)
        await gone(server)
        assert [(event["event"], event["log_level"]) for event in server.log] == [
            ("proxy connected", "info"),
            ("proxy disconnected", "info"),
        ]


# --- What is offered --------------------------------------------------------------------------------------------------


async def test_a_proxy_is_sent_exactly_what_differs_when_its_gateway_changes(tmp_path: Path) -> None:
    """It is in another group then, and yet nothing that it has is sent again."""
    inner = gateway("inner", http(8080), selector="{app: inner}")
    both = virtual_service("a", f"http: [{{{TO_SHOP}}}]", gateways="edge, inner")
    more = virtual_service(
        "b", "http: [{route: [{destination: {host: more}}]}]", hosts="b.example.com", gateways="inner"
    )
    async with Server(tmp_path, EDGE, inner, both, more, SHOP, service("more")) as server, server.client() as client:
        await client.until(lambda: client.names("rds") and client.names("eds"))
        await server.settled()
        client.received.clear()
        server.write("1.yaml", gateway("inner", http(8080), selector="{app: edge}"))
        await client.until(lambda: len(client.names("rds")) == 2 and len(client.names("eds")) == 2)
        await server.settled()
        added = "outbound|80||more.edge.svc.cluster.local"
        differs = {("cds", added), ("eds", added), ("lds", "0.0.0.0_8080"), ("rds", "http.8080")}
        assert {(kind, name) for kind, names in client.received for name in names} == differs
        client.received.clear()
        server.write("1.yaml", inner)
        await client.until(lambda: client.names("lds") == {"0.0.0.0_80"} and client.names("cds") == {CLUSTER})
        assert [entry for entry in client.received if entry[0] in ("lds", "cds")] == [
            ("lds", ["-0.0.0.0_8080"]),
            ("cds", [f"-{added}"]),
        ]
        assert len(list(server.hub._groups)) == 1


async def test_a_proxy_follows_the_service_in_front_of_it(server: Server) -> None:
    async with server.client(delta=True) as client, server.client(delta=False) as other:
        for each in (client, other):
            await each.until(lambda each=each: each.names("rds") == {"http.80"})
        await server.settled()
        client.received.clear()
        server.write("front.yaml", service("front", "{port: 80, targetPort: 8080}", "{app: edge}"))
        for each in (client, other):
            await each.until(lambda each=each: each.names("lds") == {"0.0.0.0_8080"})
            await each.until(lambda each=each: each.names("rds") == {"http.8080"})
        assert ("cds", [CLUSTER]) not in client.received


async def test_streams_with_one_node_id(server: Server) -> None:
    """Each is served: replicas of a proxy that share an id, or one that reconnects before it was missed."""
    async with server.client(node_id="twin") as first:
        async with server.client(node_id="twin") as second, server.client(node_id="twin", delta=False) as third:
            for client in (first, second, third):
                await client.until(lambda client=client: client.names("rds"))
            assert [proxy.id for proxy in server.status().proxies] == ["twin"] * 3
        await until(lambda: len(server.status().proxies) == 1, "two have left")
        server.write("front.yaml", service("front", "{port: 80, targetPort: 8080}", "{app: edge}"))
        await first.until(lambda: first.names("lds") == {"0.0.0.0_8080"})


async def test_a_change_that_does_not_concern_a_stream_does_not_touch_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    wake = Connection.wake

    def note(connection: Connection) -> None:
        woken.append(connection.node.id)
        wake(connection)

    monkeypatch.setattr(Connection, "wake", note)
    async with server.client(node_id="edge") as edge, server.client(node_id="inner", app="inner") as inner:
        await edge.until(lambda: edge.names("rds"))
        await inner.until(lambda: "lds" in inner.held)
        await server.settled()
        server.write("2.yaml", service("shop", "{port: 81}"))
        await edge.until(lambda: CLUSTER not in edge.names("cds"))
        assert set(woken) == {"edge"}


async def test_nothing_is_listened_on_before_all_has_been_read(tmp_path: Path) -> None:
    hub = Hub(FilesSource([tmp_path / "missing"]))
    xds = XdsServer(hub, Settings(paths=(tmp_path,), xds_address=Address("127.0.0.1", 0)))
    assert xds.address.port == 0
    await xds.stop(0)


# --- Ports ------------------------------------------------------------------------------------------------------------


async def test_a_taken_port_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address(*taken.getsockname())
        with pytest.raises(
            SettingsError, match=f"--xds-address {address} cannot be listened on: Address already in use"
        ):
            XdsServer(Hub(FilesSource([tmp_path])), Settings(paths=(tmp_path,), xds_address=address))


async def test_a_unix_socket_is_for_this_user_only_and_replaces_one_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "xds.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    folder = tmp_path / "objects"
    folder.mkdir()
    async with Server(folder, EDGE, ROUTE, SHOP, xds_socket=path) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with XdsClient(f"unix:{path}", delta=True, metadata=PROXY) as client:
            await client.until(lambda: client.names("rds"))
            assert server.status().proxies[0].peer.startswith("unix:")
        with pytest.raises(SettingsError, match="is served by another process"):
            async with Server(folder, xds_socket=path):
                pass
        async with XdsClient(f"unix:{path}", delta=False, metadata=PROXY) as client:
            await client.until(lambda: client.names("rds"))
    async with Server(folder, xds_socket=path):
        assert path.is_socket()


async def test_a_unix_socket_does_not_replace_what_is_none(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("text")
    with pytest.raises(SettingsError, match="is no socket"):
        async with Server(tmp_path, xds_socket=path):
            pass
    assert path.read_text() == "text"
    with pytest.raises(SettingsError, match="--xds-socket"):
        async with Server(tmp_path, xds_socket=tmp_path / "no" / "such" / "folder"):
            pass


async def test_a_server_may_have_as_many_connections_as_the_system_lets_it(tmp_path: Path) -> None:
    """The usual limit of 1024 is less than what a restart of all proxies brings."""
    log = tmp_path / "log"
    command = (
        f"ulimit -Sn 256; ulimit -Hn 5000; exec {sys.executable} -m fairlead serve {tmp_path} --state-dir {tmp_path}"
    )
    addresses = "--xds-address 127.0.0.1:0 --admin-address 127.0.0.1:0"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_shell(f"{command} {addresses}", stdout=out, stderr=out)
    try:
        await until(lambda: "serving xDS" in log.read_text(), "it serves")
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (5000, 5000)
    finally:
        process.terminate()
        await process.wait()


# --- TLS --------------------------------------------------------------------------------------------------------------


class Identity:
    """Certificate files, and clients that trust them."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.files = {name: folder / f"{name}.pem" for name in ("certificate", "key", "authorities")}
        self.issue(self.authority)
        self.authority.cert_pem.write_to_path(self.files["authorities"])

    def issue(self, authority: trustme.CA) -> None:
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(self.files["key"])
        issued.cert_chain_pems[0].write_to_path(self.files["certificate"])

    def settings(self, *, mutual: bool = False) -> dict[str, Any]:
        return {
            "tls_certificate": self.files["certificate"],
            "tls_key": self.files["key"],
            "client_authorities": self.files["authorities"] if mutual else None,
        }

    @staticmethod
    def client(trusted: trustme.CA, shown: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
        key, chain = (shown.private_key_pem.bytes(), shown.cert_chain_pems[0].bytes()) if shown else (None, None)
        return grpc.ssl_channel_credentials(trusted.cert_pem.bytes(), key, chain)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path)


async def is_served(server: Server, credentials: grpc.ChannelCredentials | None) -> bool:
    async with open_channel(server.address, credentials) as channel:
        call = raw_stream(channel, SOTW)
        try:
            await call.write(first_request(metadata=PROXY).SerializeToString())
            return CLUSTER.encode() in await asyncio.wait_for(call.read(), 20)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            return False


async def test_tls(folder: Path, identity: Identity) -> None:
    async with Server(folder, EDGE, ROUTE, SHOP, **identity.settings()) as server:
        assert await is_served(server, identity.client(identity.authority))
        assert not await is_served(server, identity.client(trustme.CA()))
        assert not await is_served(server, None)


async def test_mutual_tls(folder: Path, identity: Identity) -> None:
    async with Server(folder, EDGE, ROUTE, SHOP, **identity.settings(mutual=True)) as server:
        known, unknown = (authority.issue_cert("proxy.edge.svc") for authority in (identity.authority, trustme.CA()))
        assert await is_served(server, identity.client(identity.authority, known))
        assert not await is_served(server, identity.client(identity.authority, unknown))
        assert not await is_served(server, identity.client(identity.authority))


async def test_replaced_certificates_are_in_force_at_once_and_broken_ones_never(
    folder: Path, identity: Identity
) -> None:
    new = trustme.CA()
    async with Server(folder, EDGE, ROUTE, SHOP, **identity.settings()) as server:
        old_client, new_client = identity.client(identity.authority), identity.client(new)
        assert await is_served(server, old_client)
        identity.issue(new)
        assert await is_served(server, new_client)
        assert not await is_served(server, old_client)
        key = identity.files["key"].read_bytes()
        for broken in (b"", key[: len(key) // 2], trustme.CA().issue_cert("other").private_key_pem.bytes()):
            identity.files["key"].write_bytes(broken)
            assert await is_served(server, new_client)
        identity.files["key"].unlink()
        assert await is_served(server, new_client)
        assert len(server.events("cannot be renewed")) == 4
        assert not server.events("PRIVATE KEY")
        identity.issue(identity.authority)
        assert await is_served(server, old_client)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("certificate", None, r"--tls-cert .*certificate\.pem cannot be read: No such file"),
        ("key", None, r"--tls-key .*key\.pem cannot be read: No such file"),
        ("authorities", None, r"--client-ca .*authorities\.pem cannot be read: No such file"),
        ("certificate", b"", r"--tls-cert .* and --tls-key "),
        ("key", b"junk", r"--tls-cert .* and --tls-key "),
        ("authorities", b"junk", r"--client-ca .*authorities\.pem: "),
    ],
)
async def test_certificates_that_cannot_be_used(
    folder: Path, identity: Identity, file: str, content: bytes | None, message: str
) -> None:
    if content is None:
        identity.files[file].unlink()
    else:
        identity.files[file].write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        Server(folder, **identity.settings(mutual=True))
