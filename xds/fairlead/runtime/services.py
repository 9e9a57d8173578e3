"""All services on one port."""

import asyncio
import socket
import time
from collections.abc import Mapping

import structlog

from fairlead.http2.server import GrpcServer, Limits
from fairlead.intent import RuntimeConfiguration
from fairlead.runtime import access_log_service, health_service, limits, rate_limit_service
from fairlead.runtime.access_log_service import AccessLogService
from fairlead.runtime.counters import Counters, MemoryCounters
from fairlead.runtime.health_service import HealthService
from fairlead.runtime.outcomes import Object, Outcome, Outcomes
from fairlead.runtime.rate_limit_service import RateLimitService
from fairlead.runtime.scheduling import service as scheduling_service
from fairlead.runtime.scheduling.buckets import Buckets, MemoryBuckets
from fairlead.runtime.scheduling.service import SchedulingService

_LAST_ANSWERS = 1.0
"""Seconds in which calls are answered that are open when the services stop."""

_LIMITS = Limits(
    handshake_within=10.0,
    idle=3600.0,
    age=86_400.0,
    end=60.0,
    ping_after=30.0,
    pong_within=20.0,
    request_bytes=1 << 20,
    # A proxy gives calls up whenever its clients do, or when they take longer than it waits.
    strains_per_second=100_000.0,
)

_SILENT = 60.0
"""Seconds for which nothing more is said of clients that break the protocol."""

log = structlog.get_logger()


def counters(redis_url: str) -> Counters:
    """Where requests are counted; raises `ValueError` when a Redis has no such URL, `ImportError` without redis-py."""
    if not redis_url:
        return MemoryCounters()
    from fairlead.runtime.redis_counters import RedisCounters

    return RedisCounters(redis_url)


def buckets(redis_url: str) -> Buckets:
    """Where tokens are taken from; raises as `counters` does."""
    if not redis_url:
        return MemoryBuckets(asyncio.get_running_loop())
    from fairlead.runtime.scheduling.redis_buckets import RedisBuckets

    return RedisBuckets(redis_url)


class RuntimeServices:
    """The services, of one process and event loop."""

    def __init__(self, counters: Counters, buckets: Buckets) -> None:
        self._counters = counters
        self._buckets = buckets
        self._outcomes = Outcomes()
        self._scheduling = SchedulingService(buckets.of, self._outcomes)
        self._rate_limits = RateLimitService(counters, self._outcomes, time.time)
        access_logs = AccessLogService(self._outcomes, self._scheduling.ended)
        health = HealthService(
            {
                rate_limit_service.SERVICE: lambda: counters.available,
                access_log_service.SERVICE: lambda: True,
                scheduling_service.SERVICE: lambda: True,
            }
        )
        self._server = GrpcServer(
            {
                f"/{rate_limit_service.SERVICE}/ShouldRateLimit": self._rate_limits.should_rate_limit,
                f"/{scheduling_service.SERVICE}/Check": self._scheduling.check,
                f"/{access_log_service.SERVICE}/StreamAccessLogs": access_logs.stream_access_logs,
                f"/{health_service.SERVICE}/Check": health.check,
            },
            _LIMITS,
            self._broken,
        )
        self._silent_until = 0.0

    def configure(self, configuration: RuntimeConfiguration) -> None:
        """From now on decide by this; what has been counted stays."""
        self._rate_limits.limits = limits.Limits(configuration.rate_limits)
        self._scheduling.configure(configuration.scheduling)

    def take_outcomes(self) -> Mapping[tuple[Object, Outcome], int]:
        """The numbers of requests since they were taken last."""
        return self._outcomes.take()

    async def serve_on(self, bound: socket.socket) -> None:
        """Serve on a socket that is bound to an address."""
        await self._server.serve_on(bound, None)

    async def stop(self) -> None:
        """Answer what has been asked, and end."""
        await self._server.stop(_LAST_ANSWERS)
        await self._counters.close()
        await self._buckets.close()

    def _broken(self, peer: str, what: str) -> None:
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _SILENT
            log.warning("a client broke the protocol of the runtime services", peer=peer, error=what)
