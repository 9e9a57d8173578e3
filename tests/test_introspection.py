"""Health and reflection as gRPC's tools and Kubernetes ask for them.

`grpcurl` and `grpc_health_probe` come as binaries of their own and are not at hand in tests; gRPC's stubs ask alike.
"""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from fairlead.server import admission
from fairlead.server.csds import CLIENT_STATUS_SERVICE
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from support.server import Server
from support.xds_client import ended, open_channel

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Reflection:
    """What `grpcurl` does: asks for descriptors, and puts them together."""

    def __init__(self, channel: grpc.aio.Channel, version: str) -> None:
        self._call: Any = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )()

    async def ask(self, **question: str) -> Any:
        await self._call.write(reflection_pb2.ServerReflectionRequest(**question))
        return await asyncio.wait_for(self._call.read(), 20)

    async def services(self) -> list[str]:
        answer = await self.ask(list_services="")
        return [service.name for service in answer.list_services_response.service]

    async def pool_of(self, symbol: str) -> descriptor_pool.DescriptorPool:
        """A pool of what is needed to understand a symbol, and of nothing else."""
        pool = descriptor_pool.DescriptorPool()
        answer = await self.ask(file_containing_symbol=symbol)
        left = list(
            map(descriptor_pb2.FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
        )
        known: set[str] = set()
        while left:
            ready = [file for file in left if known.issuperset(file.dependency)]
            assert ready, [file.name for file in left]
            for file in ready:
                pool.Add(file)
                known.add(file.name)
            left = [file for file in left if file.name not in known]
        return pool


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_every_service_can_be_described(tmp_path: Path, version: str) -> None:
    async with Server(tmp_path) as server, open_channel(server.address) as channel:
        reflection = Reflection(channel, version)
        names = await reflection.services()
        assert {ADS, "envoy.service.status.v3.ClientStatusDiscoveryService", "grpc.health.v1.Health"} <= set(names)
        assert len(names) >= 13
        for name in names:
            service = (await reflection.pool_of(name)).FindServiceByName(name)
            # Whoever knows a name can call what is described under it.
            for method in service.methods:
                if not method.client_streaming:
                    continue  # of Envoy's services, these are for REST
                call: Any = channel.stream_stream(f"/{name}/{method.name}")()
                await call.done_writing()
                assert await call.code() is not grpc.StatusCode.UNIMPLEMENTED, method.full_name


async def test_messages_within_others_and_what_does_not_exist(tmp_path: Path) -> None:
    async with Server(tmp_path) as server, open_channel(server.address) as channel:
        reflection = Reflection(channel, "v1")
        pool = await reflection.pool_of("envoy.config.cluster.v3.Cluster")
        assert pool.FindMessageTypeByName("envoy.config.cluster.v3.Cluster").fields_by_name["lb_policy"]
        answer = await reflection.ask(file_containing_symbol="envoy.NoSuchThing")
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        answer = await reflection.ask(file_by_filename="envoy/service/discovery/v3/ads.proto")
        assert answer.file_descriptor_response.file_descriptor_proto


async def test_health_while_it_serves_and_while_it_stops(tmp_path: Path) -> None:
    async with Server(tmp_path) as server, open_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", ADS, "envoy.service.status.v3.ClientStatusDiscoveryService"):
            assert (await health.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND
        watching = health.Watch(health_pb2.HealthCheckRequest(service=ADS))
        assert (await watching.read()).status == SERVING
        stopping = asyncio.create_task(server.xds.stop(0.5))
        assert (await asyncio.wait_for(watching.read(), 20)).status == NOT_SERVING
        watching.cancel()
        await stopping


@pytest.mark.parametrize("what", ["reflection", "watch", "status"])
async def test_what_stays_open_is_let_in_as_streams_of_proxies_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It counts as a stream of its peer, who may have two here; a health check does not."""
    monkeypatch.setattr(admission, "STREAMS_OF_THIS_HOST", 2)
    request = health_pb2.HealthCheckRequest()
    async with Server(tmp_path) as server, server.client() as client, open_channel(server.address) as channel:
        await client.until(lambda: client.received)
        first = Reflection(channel, "v1")
        assert await first.services()
        if what == "reflection":
            call: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")()
        elif what == "watch":
            call = health_pb2_grpc.HealthStub(channel).Watch(request)
        else:
            call = channel.stream_stream(f"/{CLIENT_STATUS_SERVICE}/StreamClientStatus")()
        code, words = await ended(call)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "this host has 2 streams open; 2 are allowed" in words
        assert (await health_pb2_grpc.HealthStub(channel).Check(request)).status == SERVING
