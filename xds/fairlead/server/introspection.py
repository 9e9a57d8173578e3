"""gRPC's own services beside xDS, for tools and probes: health, and reflection."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from fairlead.http2.call import Call
from fairlead.http2.server import Handler
from fairlead.server.admission import Admission

if TYPE_CHECKING:
    from fairlead.server.grpc_services import GrpcServices

HEALTH_CHECK, HEALTH_WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION = tuple(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1alpha", "v1"))


class Introspection:
    """Health and reflection of one server, made when somebody asks: gRPC's libraries take 10 MB."""

    def __init__(self, services: Iterable[str], admission: Admission) -> None:
        """`services` are the other ones of the server. They are told to serve from the moment when it is started."""
        self._services = tuple(services)
        self._admission = admission
        self._made: GrpcServices | None = None
        self._stopping = False
        self.handlers: Mapping[str, Handler] = {
            path: partial(self._answer, path) for path in (HEALTH_CHECK, HEALTH_WATCH, *REFLECTION)
        }
        """By path."""

    async def stop(self) -> None:
        """From now on the services are told not to serve."""
        self._stopping = True
        if self._made is not None:
            await self._made.stop()

    async def _answer(self, path: str, call: Call) -> None:
        if self._made is None:
            from fairlead.server.grpc_services import GrpcServices

            self._made = GrpcServices(self._services, self._admission)
            await self._made.start()
            if self._stopping:
                await self._made.stop()
        await self._made.handlers[path](call)
