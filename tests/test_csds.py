"""Who has what, asked for as `grpcdebug xds status` does: by CSDS, over gRPC.

The tools themselves come as binaries of their own and are not at hand in tests; a stub by hand asks what they ask.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from e2e.objects import issued, secret
from fairlead._pb.envoy.admin.v3 import config_dump_shared_pb2 as states
from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.service.status.v3 import csds_pb2
from fairlead._pb.envoy.type.matcher.v3.node_pb2 import NodeMatcher
from fairlead._pb.envoy.type.matcher.v3.string_pb2 import StringMatcher
from fairlead._pb.envoy.type.matcher.v3.struct_pb2 import StructMatcher
from fairlead.server import csds
from fairlead.server.csds import CLIENT_STATUS_SERVICE
from fairlead.snapshot import types
from support.istio import TO_SHOP, gateway, http, service, tls, virtual_service
from support.server import Server
from support.xds_client import XdsClient, open_channel

OBJECTS = (
    gateway("edge", http()),
    gateway("tls", tls('"*.example.com"')),
    virtual_service("a", f"http: [{{{TO_SHOP}}}]"),
    service("shop"),
    secret("cert", issued("a.example.com", "a.example.com"), "edge"),
)
CLUSTER = "outbound|80||shop.edge.svc.cluster.local"


class Asker:
    """A client of the service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        serializer = csds_pb2.ClientStatusRequest.SerializeToString
        deserializer = csds_pb2.ClientStatusResponse.FromString
        self._fetch: Any = channel.unary_unary(f"/{CLIENT_STATUS_SERVICE}/FetchClientStatus", serializer, deserializer)
        self.stream: Any = channel.stream_stream(
            f"/{CLIENT_STATUS_SERVICE}/StreamClientStatus", serializer, deserializer
        )

    async def fetch(self, *node_ids: StringMatcher, exclude: bool = False) -> dict[str, csds_pb2.ClientConfig]:
        matchers = [NodeMatcher(node_id=node_id) for node_id in node_ids]
        request = csds_pb2.ClientStatusRequest(node_matchers=matchers, exclude_resource_contents=exclude)
        answer = await self._fetch(request, timeout=20)
        assert len({config.node.id for config in answer.config}) == len(answer.config)
        return {config.node.id: config for config in answer.config}

    async def refused(self, request: csds_pb2.ClientStatusRequest) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await self._fetch(request, timeout=20)
        return failure.value.code(), failure.value.details() or ""


@contextlib.asynccontextmanager
async def asking(server: Server, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Asker]:
    async with open_channel(server.address, credentials) as channel:
        yield Asker(channel)


def resources(config: csds_pb2.ClientConfig, type_url: str) -> dict[str, csds_pb2.ClientConfig.GenericXdsConfig]:
    return {found.name: found for found in config.generic_xds_configs if found.type_url == type_url}


async def test_what_a_client_has(tmp_path: Path) -> None:
    before = time.time()
    async with Server(tmp_path, *OBJECTS) as server, asking(server) as asker:
        assert await asker.fetch() == {}
        async with server.client(node_id="edge-1") as client:
            await client.until(lambda: client.names("eds") and client.names("sds") and client.names("rds"))
            await server.settled()
            config = (await asker.fetch())["edge-1"]
            assert not config.xds_config  # out of use
            found = {
                (types.SHORT_NAMES[each.type_url], each.name, each.client_status, each.config_status)
                for each in config.generic_xds_configs
            }
            acked = states.ACKED, csds_pb2.SYNCED
            held = {(kind, name) for kind in ("cds", "eds", "lds", "rds", "sds") for name in client.names(kind)}
            assert found == {(kind, name, *acked) for kind, name in held}
            assert len(held) >= 6
            for each in config.generic_xds_configs:
                assert len(each.version_info) == 16
                assert before - 1 < each.last_updated.ToSeconds() <= time.time()
                assert not each.HasField("error_state")


async def test_contents_but_those_of_secrets(tmp_path: Path) -> None:
    async with (
        Server(tmp_path, *OBJECTS) as server,
        asking(server) as asker,
        server.client(node_id="edge-1") as client,
    ):
        await client.until(lambda: client.names("eds") and client.names("sds"))
        await server.settled()
        config = (await asker.fetch())["edge-1"]
        cluster = Cluster()
        assert resources(config, types.CLUSTER)[CLUSTER].xds_config.Unpack(cluster)
        assert cluster.name == CLUSTER
        assert not resources(config, types.SECRET)["kubernetes://cert"].HasField("xds_config")
        assert b"PRIVATE KEY" not in config.SerializeToString()
        without = (await asker.fetch(exclude=True))["edge-1"]
        assert not any(each.HasField("xds_config") for each in without.generic_xds_configs)
        async with server.client(node_id="edge-2") as other:
            await other.until(lambda: other.names("eds"))
            # For one client only: those of a thousand would be gigabytes.
            of_two = await asker.fetch()
            assert not any(
                each.HasField("xds_config") for config in of_two.values() for each in config.generic_xds_configs
            )
            of_one = (await asker.fetch(StringMatcher(exact="edge-2")))["edge-2"]
            assert any(each.HasField("xds_config") for each in of_one.generic_xds_configs)


async def test_what_a_client_has_refused_and_what_does_not_exist(tmp_path: Path) -> None:
    async with (
        Server(tmp_path, *OBJECTS[:-1]) as server,
        asking(server) as asker,
        server.client(node_id="edge-1") as client,
    ):
        client.refuse = lambda kind, _names: f"cluster {CLUSTER}: no such policy" if kind == "cds" else ""
        await server.logged("a proxy refused resources")
        await client.until(lambda: ("lds", ["0.0.0.0_80"]) in client.received or client.names("lds"))
        await server.settled()
        config = (await asker.fetch())["edge-1"]
        refused = resources(config, types.CLUSTER)[CLUSTER]
        assert (refused.client_status, refused.config_status) == (states.NACKED, csds_pb2.ERROR)
        assert refused.error_state.details == f"cluster {CLUSTER}: no such policy"
        assert refused.error_state.version_info == refused.version_info
        assert refused.error_state.last_update_attempt.seconds > 0
        assert not refused.HasField("xds_config") or refused.xds_config.type_url == types.CLUSTER
        missing = resources(config, types.SECRET)
        assert {name: each.client_status for name, each in missing.items()} in (
            {},
            {"kubernetes://cert": states.DOES_NOT_EXIST},
        )


@pytest.mark.parametrize(
    ("matchers", "found"),
    [
        ([StringMatcher(exact="edge-1")], {"edge-1"}),
        ([StringMatcher(exact="edge")], set()),
        ([StringMatcher(exact="EDGE-1", ignore_case=True), StringMatcher(suffix="-2")], {"edge-1", "edge-2"}),
        ([StringMatcher(prefix="edge-")], {"edge-1", "edge-2"}),
        ([StringMatcher(contains="ide")], {"side"}),
    ],
)
async def test_clients_are_chosen_by_id(tmp_path: Path, matchers: list[StringMatcher], found: set[str]) -> None:
    async with contextlib.AsyncExitStack() as exits:
        server = await exits.enter_async_context(Server(tmp_path, *OBJECTS))
        for name in ("edge-1", "edge-2", "side"):
            client = await exits.enter_async_context(server.client(node_id=name))
            await client.until(lambda client=client: client.names("rds"))  # type: ignore[misc]
        asker = await exits.enter_async_context(asking(server))
        assert set(await asker.fetch(*matchers)) == found


async def test_each_request_of_a_stream_is_answered(tmp_path: Path) -> None:
    async with Server(tmp_path, *OBJECTS) as server, asking(server) as asker:
        call = asker.stream()
        await call.write(csds_pb2.ClientStatusRequest())
        assert not (await call.read()).config
        async with server.client(node_id="edge-1") as client:
            await client.until(lambda: client.names("rds"))
            await call.write(csds_pb2.ClientStatusRequest())
            assert [config.node.id for config in (await call.read()).config] == ["edge-1"]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "matcher",
    [
        NodeMatcher(node_id=StringMatcher(safe_regex={"regex": ".*"})),
        NodeMatcher(node_id=StringMatcher(exact="a"), node_metadatas=[StructMatcher()]),
        NodeMatcher(),
    ],
)
async def test_what_cannot_be_asked(tmp_path: Path, matcher: NodeMatcher) -> None:
    async with Server(tmp_path) as server, asking(server) as asker:
        code, words = await asker.refused(csds_pb2.ClientStatusRequest(node_matchers=[matcher]))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "node_id" in words


async def test_answers_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csds, "_LARGEST_ANSWER", 100)
    async with Server(tmp_path, *OBJECTS) as server, asking(server) as asker, server.client() as client:
        await client.until(lambda: client.names("rds"))
        code, words = await asker.refused(csds_pb2.ClientStatusRequest())
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "node_matchers" in words


async def test_a_client_is_told_of_its_own_namespace_only(tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    files = {name: tmp_path / name for name in ("tls_certificate", "tls_key", "client_authorities")}
    own.cert_chain_pems[0].write_to_path(files["tls_certificate"])
    own.private_key_pem.write_to_path(files["tls_key"])
    authority.cert_pem.write_to_path(files["client_authorities"])
    folder = tmp_path / "objects"
    folder.mkdir()

    def shown(namespace: str) -> grpc.ChannelCredentials:
        leaf = authority.issue_cert(f"proxy.{namespace}.svc")
        pem = leaf.cert_chain_pems[0].bytes()
        return grpc.ssl_channel_credentials(authority.cert_pem.bytes(), leaf.private_key_pem.bytes(), pem)

    async with Server(folder, *OBJECTS, **files) as server, contextlib.AsyncExitStack() as exits:
        for namespace in ("edge", "other"):
            client = XdsClient(
                server.address,
                delta=True,
                node_id=f"in-{namespace}",
                metadata={"NAMESPACE": namespace},
                credentials=shown(namespace),
            )
            await exits.enter_async_context(client)
            await client.until(lambda client=client: client.received)  # type: ignore[misc]
        for namespace in ("edge", "other"):
            async with asking(server, shown(namespace)) as asker:
                assert set(await asker.fetch()) == {f"in-{namespace}"}
        async with asking(server, grpc.ssl_channel_credentials(authority.cert_pem.bytes())) as asker:
            code, _ = await asker.refused(csds_pb2.ClientStatusRequest())
            assert code is grpc.StatusCode.UNAVAILABLE  # the handshake fails
