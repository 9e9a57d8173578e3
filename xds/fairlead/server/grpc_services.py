"""Health and reflection, by gRPC's libraries.

Both tell nothing of proxies or objects. A health check is answered to whoever can connect; what stays open is let in as
streams of proxies are.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import cache
from typing import NoReturn, TypeVar

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection

from fairlead.errors import LimitError
from fairlead.http2.call import Call
from fairlead.http2.frames import StatusCode
from fairlead.http2.server import Handler
from fairlead.server.admission import Admission, admitted, first_request, status_of
from fairlead.server.introspection import HEALTH_CHECK, HEALTH_WATCH, REFLECTION
from fairlead.snapshot.descriptors import envoy_pool

_T = TypeVar("_T")
_M = TypeVar("_M", bound=Message)


class GrpcServices:
    """Both services of one server."""

    def __init__(self, services: Iterable[str], admission: Admission) -> None:
        """`services` are the other ones of the server. They are told to serve from the moment when it is started."""
        self._services = tuple(services)
        self._admission = admission
        self._health = health.HealthServicer()
        own = dict.fromkeys(path.split("/")[1] for path in (HEALTH_CHECK, *REFLECTION))
        self._reflection = reflection.ReflectionServicer((*self._services, *own), pool=_Pools())
        self.handlers: Mapping[str, Handler] = {
            HEALTH_CHECK: self._check,
            HEALTH_WATCH: self._watch,
            # The stable version of reflection has the same messages under another name.
            **dict.fromkeys(REFLECTION, self._reflect),
        }
        """By path."""

    async def start(self) -> None:
        """The services serve, each by its name as well as all together."""
        for service in self._services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """From now on they do not."""
        await self._health.enter_graceful_shutdown()

    async def _check(self, call: Call) -> None:
        request = await _only_request(call, health_pb2.HealthCheckRequest)
        context = _Context(call)
        await context.write(await self._health.Check(request, context))

    async def _watch(self, call: Call) -> None:
        request = await _only_request(call, health_pb2.HealthCheckRequest)
        async with admitted(call, self._admission):
            await self._health.Watch(request, _Context(call))

    async def _reflect(self, call: Call) -> None:
        async with admitted(call, self._admission):
            requests = _requests(call, reflection_pb2.ServerReflectionRequest)
            async for answer in self._reflection.ServerReflectionInfo(requests, call):
                await _Context(call).write(answer)


class _Context:
    """A call as gRPC's libraries see it."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def write(self, message: Message) -> None:
        await self._call.write(message.SerializeToString())

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        await self._call.abort(StatusCode(code.value[0]), details)


async def _requests(call: Call, kind: type[_M]) -> AsyncIterator[_M]:
    data = await first_request(call.read)
    while isinstance(data, bytes):
        try:
            yield kind.FromString(data)
        except DecodeError:
            await call.abort(StatusCode.INVALID_ARGUMENT, f"the request cannot be decoded as a {kind.__name__}")
        data = await call.read()


async def _only_request(call: Call, kind: type[_M]) -> _M:
    try:
        request = await anext(_requests(call, kind), None)
    except LimitError as error:
        await call.abort(status_of(error), str(error))
    if request is None:
        await call.abort(StatusCode.INVALID_ARGUMENT, "there is no request")
    return request


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
