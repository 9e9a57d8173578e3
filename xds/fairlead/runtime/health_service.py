"""gRPC's health checks (https://github.com/grpc/grpc/blob/master/doc/health-checking.md), for who asks once."""

from collections.abc import Callable, Mapping

from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from fairlead.http2.call import Call
from fairlead.http2.frames import StatusCode

SERVICE = "grpc.health.v1.Health"


class HealthService:
    """Tells whether services do what they are there for."""

    def __init__(self, services: Mapping[str, Callable[[], bool]]) -> None:
        """`services` -> whether it can serve now."""
        self._services = services

    async def check(self, call: Call) -> None:
        """Serve one call; the empty name stands for all services."""
        try:
            name = HealthCheckRequest.FromString(await call.read() or b"").service
        except DecodeError:
            await call.abort(StatusCode.INVALID_ARGUMENT, "this is no HealthCheckRequest")
        if name and name not in self._services:
            await call.abort(StatusCode.NOT_FOUND, "there is no such service")
        serving = self._services[name]() if name else all(serves() for serves in self._services.values())
        status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        await call.answer(HealthCheckResponse(status=status).SerializeToString())
