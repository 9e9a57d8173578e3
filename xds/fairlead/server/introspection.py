"""gRPC's own services beside xDS, for tools and probes: health, and reflection.

Both tell nothing of proxies or objects. A health check is answered to whoever can connect; what stays open is let in as
streams of proxies are.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from functools import cache
from typing import Any, TypeVar

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import aio as reflection

from fairlead.server.admission import Admission, EndableCall, admitted
from fairlead.snapshot.descriptors import envoy_pool

_T = TypeVar("_T")

_V1ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_REFLECTION = "ServerReflection"


class Introspection:
    """Health and reflection of one server."""

    def __init__(self, server: grpc.aio.Server, services: Iterable[str], admission: Admission) -> None:
        """Adds both to the server; `services` are its other ones. It serves from the moment when it is started."""
        self._services = tuple(services)
        self._health = _Health(admission)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        own = (_HEALTH, f"{_V1ALPHA}.{_REFLECTION}", f"{_V1}.{_REFLECTION}")
        reflecting = _Reflection((*self._services, *own), admission)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, server)
        # The stable version of reflection has the same messages under another name.
        method = grpc.stream_stream_rpc_method_handler(
            reflecting.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        handler = grpc.method_handlers_generic_handler(f"{_V1}.{_REFLECTION}", {"ServerReflectionInfo": method})
        server.add_generic_rpc_handlers((handler,))

    async def start(self) -> None:
        """The services serve, each by its name as well as all together."""
        for service in self._services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """From now on they do not."""
        await self._health.enter_graceful_shutdown()


class _Health(health.HealthServicer):  # type: ignore[misc]  # without types
    def __init__(self, admission: Admission) -> None:
        super().__init__()
        self._admission = admission

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: EndableCall) -> None:  # noqa: N802
        async with admitted(context, self._admission):
            await super().Watch(request, context)


class _Reflection(reflection.ReflectionServicer):  # type: ignore[misc]  # without types
    def __init__(self, services: Iterable[str], admission: Admission) -> None:
        super().__init__(services, pool=_Pools())
        self._admission = admission

    async def ServerReflectionInfo(self, requests: AsyncIterator[Any], context: EndableCall) -> AsyncIterator[Any]:  # noqa: N802
        async with admitted(context, self._admission):
            async for answer in super().ServerReflectionInfo(requests, context):
                yield answer


class _Pools:
    """Envoy's descriptors, then gRPC's, as if they were in one pool."""

    def FindFileByName(self, name: str) -> FileDescriptor:  # noqa: N802
        return _first(lambda pool: pool.FindFileByName(name))

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802
        return _first(lambda pool: pool.FindFileContainingSymbol(symbol))

    def FindMessageTypeByName(self, name: str) -> Descriptor:  # noqa: N802
        return _first(lambda pool: pool.FindMessageTypeByName(name))

    def FindExtensionByNumber(self, message: Descriptor, number: int) -> FieldDescriptor:  # noqa: N802
        return message.file.pool.FindExtensionByNumber(message, number)

    def FindAllExtensions(self, message: Descriptor) -> list[FieldDescriptor]:  # noqa: N802
        return message.file.pool.FindAllExtensions(message)


def _first(find: Callable[[descriptor_pool.DescriptorPool], _T]) -> _T:
    """What one of the pools has; raises `KeyError` when none does."""
    try:
        return find(envoy_pool())
    except KeyError:
        return find(_grpc_pool())


@cache
def _grpc_pool() -> descriptor_pool.DescriptorPool:
    """GRPC's descriptors: those of health and of both versions of reflection, of which it brings one."""
    pool = descriptor_pool.DescriptorPool()
    checking, reflecting = FileDescriptorProto(), FileDescriptorProto()
    health_pb2.DESCRIPTOR.CopyToProto(checking)
    reflection_pb2.DESCRIPTOR.CopyToProto(reflecting)
    stable = text_format.MessageToString(reflecting).replace("v1alpha", "v1")
    for file in (checking, reflecting, text_format.Parse(stable, FileDescriptorProto())):
        pool.Add(file)
    return pool
