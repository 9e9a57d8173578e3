"""Attempts that must fail and do: whatever one client tries, another one is served as if nothing had happened."""

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from fairlead.certificates.issuing import Purpose
from fairlead.server import admission, flow
from fairlead.server.settings import Address
from fairlead.snapshot.limits import NAMES, NODE_BYTES
from support.identities import Identities, authority, of_namespace
from support.istio import TO_SHOP, gateway, http, service, virtual_service
from support.server import Server
from support.stack import until
from support.xds_client import BOUND, DELTA, SOTW, TYPES, XdsClient, ended, first_request, open_channel, raw_stream

EDGE, ROUTE, SHOP = gateway("edge", http()), virtual_service("a", f"http: [{{{TO_SHOP}}}]"), service("shop")
PROXY = {"LABELS": {"app": "edge"}, "NAMESPACE": "edge"}
Status = grpc.StatusCode
methods = pytest.mark.parametrize("method", [SOTW, DELTA])

_changes = itertools.count(1)


@contextlib.asynccontextmanager
async def nobody_else_notices(
    server: Server, credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[None]:
    """A proxy that is connected meanwhile is served a change afterwards, on the stream that it has had before."""
    async with XdsClient(
        server.address, delta=True, node_id="bystander", metadata=PROXY, credentials=credentials
    ) as other:
        await other.until(lambda: other.names("rds"))
        yield
        name = f"change{next(_changes)}"
        route = virtual_service(name, f"http: [{{route: [{{destination: {{host: {name}}}}}]}}]", hosts=f"{name}.test")
        server.write(f"{name}.yaml", f"{route}---{service(name)}")
        await other.until(lambda: f"outbound|80||{name}.edge.svc.cluster.local" in other.names("cds") or other.error)
        assert other.error is None
        await until(lambda: len(server.xds.connections) == 1, "of the attempt, no stream is left")


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return Identities(tmp_path)


@pytest.fixture
async def plain(folder: Path) -> AsyncIterator[Server]:
    async with Server(folder, EDGE, ROUTE, SHOP) as server:
        yield server


@pytest.fixture
async def mutual(folder: Path, identities: Identities) -> AsyncIterator[Server]:
    async with Server(folder, EDGE, ROUTE, SHOP, **identities.settings) as server:
        yield server


async def attempt(
    address: str,
    credentials: grpc.ChannelCredentials | None = None,
    *requests: bytes,
    method: str = SOTW,
    **metadata: Any,
) -> tuple[grpc.StatusCode, str]:
    """How a stream with these requests ends; without requests, with a first one that says what `metadata` says."""
    while True:
        async with open_channel(address, credentials) as channel:
            call = raw_stream(channel, method)
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                for request in requests or [first_request(method, metadata=metadata).SerializeToString()]:
                    await call.write(request)
            found = await ended(call)
        # What the client says of itself, when its write has failed before it has seen that it was refused.
        if found != (Status.INTERNAL, "Internal error from Core"):
            return found


# --- Who one is -------------------------------------------------------------------------------------------------------


@methods
@pytest.mark.parametrize(
    ("node_id", "metadata"),
    [
        ("", {"NAMESPACE": "payments"}),
        ("router~10.0.0.1~edge-1.payments~payments.svc.cluster.local", {}),
        ("router~10.0.0.1~edge-1.payments~payments.svc.cluster.local", {"NAMESPACE": "edge"}),
        ("router~10.0.0.1~edge-1.edge~edge.svc.cluster.local", {"NAMESPACE": "payments"}),
        ("", {"NAMESPACE": "payments", "ROLE": "sidecar"}),
    ],
)
async def test_another_namespace(
    mutual: Server, identities: Identities, method: str, node_id: str, metadata: dict[str, Any]
) -> None:
    own = identities.client(of_namespace("edge"))
    async with nobody_else_notices(mutual, own):
        for _ in range(3):
            request = first_request(method, node_id, metadata).SerializeToString()
            code, said = await attempt(mutual.address, own, request, method=method)
            assert code is Status.PERMISSION_DENIED
            assert "claims the namespace payments" in said
            assert f"the certificate of {of_namespace('edge')} is for edge" in said
            assert "correct the bootstrap, or issue a certificate" in said
        event = await mutual.logged("a client was refused")
        assert event["peer"].startswith("ipv4:127.0.0.1:")
        assert event["error"] == said
        assert len(mutual.events("a client was refused")) == 1, "a client that comes back in vain is logged once"


REFUSED_IN_WORDS: list[tuple[str, dict[str, Any], str]] = [
    (
        "no name at all",
        {"uris": ["urn:x"]},
        "the client certificate names no namespace; issue one with the URI spiffe:",
    ),
    ("a host name that names no namespace", {"hosts": ("www.edge.com",)}, "names no namespace"),
    ("names of two namespaces", {"hosts": ("a.edge.svc", "a.shop.svc")}, "names of several namespaces, edge, shop"),
    ("a SPIFFE id of another form", {"uris": ["spiffe://cluster.local/edge"]}, "is not of the form spiffe://"),
    ("one that only begins well", {"uris": [f"{of_namespace('edge')}/x"]}, "is not of the form"),
    ("one in capitals", {"uris": ["SPIFFE://cluster.local/ns/edge/sa/edge"]}, "is not of the form"),
    (
        "a SPIFFE id of another form beside a host name",
        {"uris": ["spiffe://x"], "hosts": ("a.edge.svc",)},
        "is not of the form",
    ),
    ("two SPIFFE ids", {"uris": [of_namespace("edge"), of_namespace("shop")]}, "has 2 SPIFFE ids; it must have one"),
]


@pytest.mark.parametrize(
    ("shown", "message"), [row[1:] for row in REFUSED_IN_WORDS], ids=[row[0] for row in REFUSED_IN_WORDS]
)
async def test_a_certificate_that_tells_no_namespace(
    mutual: Server, identities: Identities, shown: dict[str, Any], message: str
) -> None:
    credentials = identities.client(*shown.get("uris", ()), hosts=shown.get("hosts", ()))
    async with nobody_else_notices(mutual, identities.client(of_namespace("edge"))):
        code, said = await attempt(mutual.address, credentials, NAMESPACE="edge")
        assert code is Status.PERMISSION_DENIED
        assert message in said


async def test_another_trust_domain(folder: Path, identities: Identities) -> None:
    async with Server(folder, EDGE, ROUTE, SHOP, trust_domain="prod.example", **identities.settings) as server:
        own = identities.client(of_namespace("edge", trust_domain="prod.example"))
        async with nobody_else_notices(server, own):
            for shown, message in (
                (
                    identities.client(of_namespace("edge")),
                    "is of the trust domain cluster.local; --trust-domain is prod",
                ),
                # Host names tell no trust domain.
                (identities.client(hosts=("a.edge.svc",)), "names no namespace"),
            ):
                code, said = await attempt(server.address, shown, **PROXY)
                assert code is Status.PERMISSION_DENIED
                assert message in said


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(lambda made: made.shows(None), id="no certificate"),
        pytest.param(lambda made: made.client(of_namespace("edge"), issuer=authority("Other")), id="of another CA"),
        pytest.param(lambda made: made.client(of_namespace("edge"), issuer=authority()), id="of a CA of that name"),
        pytest.param(lambda made: made.client(of_namespace("edge"), ends=timedelta(seconds=-5)), id="expired"),
        pytest.param(lambda made: made.client(of_namespace("edge"), begins=timedelta(hours=1)), id="not yet valid"),
        pytest.param(lambda made: made.client(of_namespace("edge"), purpose=Purpose.SERVER), id="a server's"),
        pytest.param(lambda _: None, id="plaintext"),
    ],
)
async def test_who_is_not_let_in_at_all(
    mutual: Server, identities: Identities, shown: Callable[[Identities], grpc.ChannelCredentials | None]
) -> None:
    async with nobody_else_notices(mutual, identities.client(of_namespace("edge"))):
        code, _ = await attempt(mutual.address, shown(identities), **PROXY)
        assert code is Status.UNAVAILABLE
        assert len(mutual.events("proxy connected")) == 1


async def test_a_certificate_that_expires_while_connected(mutual: Server, identities: Identities) -> None:
    """What has begun goes on until the connection is renewed, but nothing begins any more."""
    async with nobody_else_notices(mutual, identities.client(of_namespace("edge"))):
        credentials = identities.client(of_namespace("edge"), ends=timedelta(seconds=2))
        async with open_channel(mutual.address, credentials) as channel:
            request = first_request(metadata=PROXY).SerializeToString()

            async def refused() -> bool:
                call = raw_stream(channel, SOTW)
                await call.write(request)
                if isinstance(await call.read(), bytes):
                    call.cancel()
                    return False
                return await call.code() is Status.PERMISSION_DENIED and "expired on" in (await call.details() or "")

            async def refused_at_last() -> bool:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    return await refused()
                return bool(mutual.events("the client certificate expired on"))

            assert not await refused()
            await until(refused_at_last, "new streams are refused")


async def test_replaced_client_authorities_are_in_force_at_once(mutual: Server, identities: Identities) -> None:
    new = authority("New")
    old_client, new_client = (
        identities.client(of_namespace("edge"), issuer=issuer) for issuer in (identities.authority, new)
    )

    async def is_served(credentials: grpc.ChannelCredentials) -> bool:
        async with open_channel(mutual.address, credentials) as channel:
            call = raw_stream(channel, SOTW)
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(first_request(metadata=PROXY).SerializeToString())
                return isinstance(await call.read(), bytes)
            return False

    async with nobody_else_notices(mutual, old_client):
        assert (await is_served(old_client), await is_served(new_client)) == (True, False)
        identities.trust(new)
        assert (await is_served(old_client), await is_served(new_client)) == (False, True)
        identities.authorities.write_bytes(b"junk")
        assert (await is_served(old_client), await is_served(new_client)) == (False, True)


# --- Where one comes from ---------------------------------------------------------------------------------------------


def other_address() -> str:
    """An address of this machine that is not loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback; see test_admission for a made-up one")
        return str(probe.getsockname()[0])


@contextlib.asynccontextmanager
async def relayed(target: str, source: str) -> AsyncIterator[str]:
    """An address on loopback from which connections are passed on, such that they come from `source`."""
    host, _, port = target.rpartition(":")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
        await asyncio.gather(copy(reader, onward[1]), copy(onward[0], writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_plaintext_from_another_address_than_loopback(plain: Server) -> None:
    source = other_address()
    async with nobody_else_notices(plain), relayed(plain.address, source) as address:
        code, said = await attempt(address, **PROXY)
        assert code is Status.PERMISSION_DENIED
        assert said == f"{source} is not on loopback, and private keys would travel in plaintext; connect over TLS"
    async with relayed(plain.address, "127.0.0.3") as address, open_channel(address) as channel:
        call = raw_stream(channel, SOTW)
        await call.write(first_request(metadata=PROXY).SerializeToString())
        assert isinstance(await call.read(), bytes)


async def test_tls_without_a_certificate_from_another_address(folder: Path, identities: Identities) -> None:
    settings = identities.settings | {"client_authorities": None}
    anyone = identities.shows(None)
    async with (
        Server(folder, EDGE, ROUTE, SHOP, **settings) as server,
        nobody_else_notices(server, anyone),
        relayed(server.address, other_address()) as address,
    ):
        code, said = await attempt(address, anyone, **PROXY)
        assert code is Status.PERMISSION_DENIED
        assert "is not on loopback, and shows no certificate; the server needs --client-ca" in said


@pytest.mark.parametrize("host", ["::1", "localhost"])
async def test_loopback_by_other_names(folder: Path, host: str) -> None:
    """Who comes over it is on this host, be it over IPv6; the port is open on no other address."""
    async with Server(folder, EDGE, ROUTE, SHOP, xds_address=Address(host, 0)) as server:
        async with XdsClient(server.address, delta=True, metadata=PROXY) as client:
            await client.until(lambda: client.names("rds"))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(other_address(), server.xds.address.port)


# --- How much one asks for --------------------------------------------------------------------------------------------


@methods
@pytest.mark.parametrize("first", [True, False])
async def test_a_request_of_100_mb(plain: Server, method: str, first: bool) -> None:
    async with nobody_else_notices(plain):
        before = [] if first else [first_request(method, metadata=PROXY).SerializeToString()]
        code, said = await attempt(plain.address, None, *before, b"\x0a" + bytes(100_000_000), method=method)
        assert code is Status.RESOURCE_EXHAUSTED
        assert "larger than max (100000001 vs. 67108864)" in said


def _names(method: str, names: list[str], kind: str = "eds", field: str = "resource_names_subscribe") -> bytes:
    request = first_request(method, metadata=PROXY, kind=kind)
    if field == "initial_resource_versions":
        request.initial_resource_versions.update(dict.fromkeys(names, "1"))  # type: ignore[union-attr]
    else:
        getattr(request, "resource_names" if method == SOTW else field).extend(names)
    return request.SerializeToString()


@pytest.mark.parametrize("kind", ["cds", "eds", "sds"])
@pytest.mark.parametrize(
    ("method", "field"),
    [
        (SOTW, ""),
        (DELTA, "resource_names_subscribe"),
        (DELTA, "resource_names_unsubscribe"),
        (DELTA, "initial_resource_versions"),
    ],
)
async def test_100_000_names(plain: Server, method: str, field: str, kind: str) -> None:
    async with nobody_else_notices(plain):
        request = _names(method, [f"name-{number}" for number in range(100_000)], kind, field)
        assert await attempt(plain.address, None, request, method=method) == (
            Status.RESOURCE_EXHAUSTED,
            f"the request names 100000 resources of one type; {NAMES} are allowed",
        )


async def test_100_000_names_in_several_requests(plain: Server) -> None:
    async with nobody_else_notices(plain):
        requests = (
            _names(DELTA, [f"name-{number}" for number in range(first, first + 25_000)])
            for first in range(0, 100_000, 25_000)
        )
        assert await attempt(plain.address, None, *requests, method=DELTA) == (
            Status.RESOURCE_EXHAUSTED,
            f"the stream asks for 100000 names of {TYPES['eds']}; {NAMES} are allowed",
        )


@methods
async def test_30_million_names_of_nothing(plain: Server, method: str) -> None:
    """They fit into a request, and would take a gigabyte."""
    async with nobody_else_notices(plain):
        request = b"\x1a\x00" * (30 << 20)
        code, said = await attempt(plain.address, None, request, method=method)
        assert code is Status.RESOURCE_EXHAUSTED
        assert "holds more than" in said


async def test_a_status_request_of_many_mb(plain: Server) -> None:
    async with nobody_else_notices(plain):
        method = "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus"
        code, said = await attempt(plain.address, None, b"\x0a\x00" * (30 << 20), method=method)
        assert (code, said) == (Status.RESOURCE_EXHAUSTED, "the request has 62914560 bytes; 65536 are allowed")


@methods
async def test_50_000_names_are_fine(plain: Server, method: str) -> None:
    async with open_channel(plain.address) as channel:
        call = raw_stream(channel, method)
        await call.write(_names(method, [f"outbound|80||{number}.edge.svc.cluster.local" for number in range(50_000)]))
        assert isinstance(await asyncio.wait_for(call.read(), BOUND), bytes)


@methods
async def test_a_very_long_name(plain: Server, method: str) -> None:
    async with nobody_else_notices(plain):
        code, said = await attempt(plain.address, None, _names(method, ["x" * 5000]), method=method)
        assert (code, said) == (
            Status.RESOURCE_EXHAUSTED,
            "the request has a name of 5000 characters; 4096 are allowed",
        )


@methods
async def test_a_node_id_of_1_mb(plain: Server, method: str) -> None:
    async with nobody_else_notices(plain):
        request = first_request(method, "x" * 1_000_000, PROXY).SerializeToString()
        code, said = await attempt(plain.address, None, request, method=method)
        assert code is Status.RESOURCE_EXHAUSTED
        assert said == "the node id has 1000000 characters; 1024 are allowed"


@methods
async def test_a_node_of_several_mb(plain: Server, method: str) -> None:
    async with nobody_else_notices(plain):
        noise = {f"key-{number}": "x" * 100 for number in range(50_000)}
        code, said = await attempt(plain.address, method=method, NOISE=noise)
        assert code is Status.RESOURCE_EXHAUSTED
        assert f"bytes; {NODE_BYTES} are allowed" in said


# --- How many, how fast, how slow -------------------------------------------------------------------------------------


async def test_too_many_streams(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "STREAMS_OF_THIS_HOST", 5)
    request = first_request(metadata=PROXY).SerializeToString()
    async with (
        Server(folder, EDGE, ROUTE, SHOP) as server,
        nobody_else_notices(server),
        open_channel(server.address) as channel,
    ):
        calls = [raw_stream(channel, SOTW) for _ in range(4)]
        for call in calls:
            await call.write(request)
            await call.read()
        code, said = await attempt(server.address, None, request)
        assert (code, said) == (Status.RESOURCE_EXHAUSTED, "this host has 5 streams open; 5 are allowed")
        calls[0].cancel()
        await until(lambda: len(server.xds.connections) == 4, "one has gone")
        another = raw_stream(channel, SOTW)
        await another.write(request)
        assert isinstance(await another.read(), bytes)


async def test_one_identity_cannot_take_the_streams_of_another(
    mutual: Server, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "STREAMS_PER_PEER", 3)
    greedy = identities.client(of_namespace("edge", "greedy"))
    async with open_channel(mutual.address, greedy) as channel:
        calls = [raw_stream(channel, SOTW) for _ in range(3)]
        for call in calls:
            await call.write(first_request(metadata=PROXY).SerializeToString())
            await call.read()
        code, said = await attempt(mutual.address, greedy, **PROXY)
        assert code is Status.RESOURCE_EXHAUSTED
        assert said == f"{of_namespace('edge', 'greedy')} has 3 streams open; 3 are allowed"
        async with XdsClient(
            mutual.address, delta=True, metadata=PROXY, credentials=identities.client(of_namespace("edge"))
        ) as other:
            await other.until(lambda: other.names("rds"))


async def test_streams_that_come_fast_wait_for_their_turn_and_those_for_whom_it_is_far_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "STREAMS_OF_THIS_HOST", 4)
    monkeypatch.setattr(admission, "STREAMS_PER_SECOND", 20)

    async def come(channel: grpc.aio.Channel) -> tuple[grpc.StatusCode, str]:
        call = raw_stream(channel, SOTW)
        await call.done_writing()
        return await ended(call)

    async with (
        Server(folder, EDGE, ROUTE, SHOP) as server,
        nobody_else_notices(server),
        open_channel(server.address) as channel,
    ):
        assert [await come(channel) for _ in range(10)] == [(Status.OK, "")] * 10
        monkeypatch.setattr(admission, "STREAMS_PER_SECOND", 0.01)
        outcomes = [await come(channel) for _ in range(3)]
        assert outcomes[-1] == (
            Status.RESOURCE_EXHAUSTED,
            "this host opens streams faster than 0.01 a second; come back in a few seconds",
        )


@pytest.mark.parametrize(
    "method",
    [
        SOTW,
        DELTA,
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus",
    ],
)
async def test_a_stream_without_a_word(folder: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(admission, "FIRST_REQUEST_WITHIN", 0.3)
    async with (
        Server(folder, EDGE, ROUTE, SHOP) as server,
        nobody_else_notices(server),
        open_channel(server.address) as channel,
    ):
        assert await ended(raw_stream(channel, method)) == (
            Status.RESOURCE_EXHAUSTED,
            "no request came within 0.3 seconds of opening the stream",
        )


async def test_a_client_that_does_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "WRITE_WITHIN", 0.3)
    routes = "---".join(
        virtual_service(f"v{number}", f"http: [{{{TO_SHOP}}}]", hosts=f"{'h' * 50}-{number}.test")
        for number in range(2000)
    )
    async with (
        Server(folder, EDGE, SHOP, routes) as server,
        nobody_else_notices(server),
        open_channel(server.address) as channel,
    ):
        call = raw_stream(channel, DELTA)
        request = DeltaDiscoveryRequest(type_url=TYPES["rds"], resource_names_subscribe=["http.80"])
        request.node.CopyFrom(first_request(node_id="slow", metadata=PROXY).node)

        async def asked_for_more() -> bool:
            """It acknowledges what it has not read, and asks for it once more, until the server cannot send."""
            (slow,) = [found for found in server.xds.connections if found.node.id == "slow"] or [None]
            request.response_nonce = str(slow.stream._nonces if slow else "")
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(request.SerializeToString())
            return bool(server.events("did not take in a response"))

        await until(asked_for_more, "the server gives it up")
        await until(lambda: len(server.xds.connections) == 1, "its stream is no longer served")
        assert (await ended(call))[0] is Status.RESOURCE_EXHAUSTED
        event = await server.logged("a client was refused")
        assert event["error"] == "the client did not take in a response within 0.3 seconds"


# --- What is no xDS ---------------------------------------------------------------------------------------------------


async def closed_by_server(address: str, *messages: bytes, tls: ssl.SSLContext | None = None) -> None:
    """Connect, say that, and wait until the server closes the connection."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    with contextlib.suppress(ConnectionError):
        for message in messages:
            writer.write(message)
            await writer.drain()
        async with asyncio.timeout(BOUND):
            while await reader.read(1 << 16):
                pass
    writer.close()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # and SETTINGS


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="http 1"),
        pytest.param(bytes(range(256)) * 400, id="bytes"),
        pytest.param(PREFACE + b"\xff" * 1000, id="frames"),
        pytest.param(PREFACE + b"\x00\x00\x04\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff", id="headers"),
    ],
)
@pytest.mark.parametrize("encrypted", [False, True])
async def test_garbage_bytes(
    plain: Server, mutual: Server, identities: Identities, garbage: bytes, encrypted: bool
) -> None:
    server, own = (mutual, identities.client(of_namespace("edge"))) if encrypted else (plain, None)
    async with nobody_else_notices(server, own):
        for _ in range(10):
            await closed_by_server(server.address, garbage)


async def test_connections_that_stay_half_open(
    folder: Path, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "HANDSHAKE_WITHIN", 0.5)
    monkeypatch.setattr(admission, "IDLE_CONNECTION", 0.5)
    own = identities.client(of_namespace("edge"))
    hello = ssl.MemoryBIO()
    shaking = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="127.0.0.1")
    with contextlib.suppress(ssl.SSLWantReadError):
        shaking.do_handshake()
    beginning = hello.read()
    async with (
        Server(folder, EDGE, ROUTE, SHOP, **identities.settings) as server,
        nobody_else_notices(server, own),
        asyncio.TaskGroup() as attempts,
    ):
        for said in (b"", beginning[:50], beginning):
            for _ in range(20):
                attempts.create_task(closed_by_server(server.address, said))
    async with Server(folder) as plain:
        for said in (b"", PREFACE[:10], PREFACE):
            await closed_by_server(plain.address, said)
