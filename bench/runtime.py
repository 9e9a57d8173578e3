"""Services that proxies call for each request: how long a call takes, and how many of them a processor can answer.

A service under measurement has a processor of its own, the caller another. Beside each stands one that does nothing.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from fairlead._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from fairlead.intent import RuntimeConfiguration, policy_name
from fairlead.playground.envoy import free_port
from support.runtime import RedisServer, RuntimeProcess, asked, descriptor, limiting
from support.scheduling import policy, queueing, quota, workload
from support.stack import until

from bench.calls import Caller
from bench.measurements import Figure, Row, Series, folder_in_memory
from bench.servers import CLIENT_CORE, SERVER_CORE, Server, on_core

AT_ONCE = 32
SECONDS = 3.0
"""Of each measurement."""

_CHECK = "/envoy.service.auth.v3.Authorization/Check"
_HEADERS = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "en-US,en;q=0.5",
    "accept-encoding": "gzip, deflate, br, zstd",
    "cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "x-forwarded-for": "192.0.2.7",
    "x-forwarded-proto": "https",
    "x-request-id": "5a9a8c1e-9b7d-4c0e-8a7e-0123456789ab",
    "user_type": "subscriber",
}
_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


@dataclass
class Calls:
    """What is measured of one service."""

    alone: Series
    together: Series
    each: Figure

    @classmethod
    def of(cls, what: str, floor: "Calls | None" = None) -> "Calls":
        return cls(
            Series(f"{what}, one call after the other", floor=floor and floor.alone),
            Series(f"{what}, {AT_ONCE} calls at once", floor=floor and floor.together),
            Figure("- processor time of the service for each", "us", floor=floor and floor.each),
        )

    @property
    def rows(self) -> Sequence[Row]:
        return self.alone, self.together, self.each

    async def measure(self, server: Server, path: str, message: bytes) -> None:
        host, _, port = server.address.rpartition(":")
        with on_core(CLIENT_CORE):
            _, caller = await asyncio.get_running_loop().create_connection(
                lambda: Caller(path, message), host, int(port)
            )
            for series, at_once in ((self.alone, 1), (self.together, AT_ONCE)):
                await caller.call(at_once, 0.5)
                caller.seconds = series.seconds
                used = server.processor_seconds
                await caller.call(at_once, SECONDS)
                self.each.value = (server.processor_seconds - used) * 1e6 / len(series.seconds)
            caller.close()


@contextlib.asynccontextmanager
async def empty() -> AsyncIterator[Server]:
    """The floor."""
    address = f"127.0.0.1:{free_port()}"
    with on_core(SERVER_CORE):
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.empty_service", address)
    try:
        yield await _listening(Server(address, process.pid))
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def runtime(configuration: RuntimeConfiguration, redis_url: str = "") -> AsyncIterator[Server]:
    """The process of the runtime services."""
    async with RuntimeProcess(configuration, redis_url=redis_url) as services:
        await until(lambda: services.supervisor.process_id, "it is started")
        server = await _listening(Server(f"127.0.0.1:{services.port}", services.process_id))
        os.sched_setaffinity(services.process_id, {SERVER_CORE})
        yield server


async def _listening(server: Server) -> Server:
    host, _, port = server.address.rpartition(":")

    async def answers() -> bool:
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        return True

    await until(answers, "it listens")
    return server


async def measure() -> Sequence[Row]:
    configuration = limiting(descriptor(1_000_000_000, route="shop"))
    message = asked({"route": "shop"}).SerializeToString()
    floor = Calls.of("a service that does nothing")
    limits = Calls.of("a limit, counted in memory", floor)
    shared = Calls.of("a limit, counted in Redis", floor)
    async with empty() as server:
        await floor.measure(server, _RATE_LIMIT, message)
    async with runtime(configuration) as server:
        await limits.measure(server, _RATE_LIMIT, message)
    with folder_in_memory() as folder:
        async with RedisServer(folder) as redis, runtime(configuration, redis.url) as server:
            await shared.measure(server, _RATE_LIMIT, message)
    scheduled = await _scheduled()
    return [row for calls in (floor, limits, shared, *scheduled) for row in calls.rows]


async def _scheduled() -> Sequence[Calls]:
    """What a request with the headers of a browser costs that need not wait."""
    priorities = queueing(workload("guest", 50), workload("subscriber", 200))
    settings = policy("shop", quota=quota(1e9, 1e9), queueing=priorities)
    message = CheckRequest()
    message.attributes.context_extensions[policy_name(settings.origin)] = "0"
    http = message.attributes.request.http
    http.method, http.path, http.host = "GET", "/cart?id=7", "shop.test"
    http.scheme, http.protocol = "https", "HTTP/1.1"
    http.headers.update({":method": "GET", ":path": http.path, ":authority": http.host, ":scheme": "https", **_HEADERS})
    floor = Calls.of("a service that does nothing, asked of a request")
    scheduled = Calls.of("a quota with priorities, in memory", floor)
    async with empty() as server:
        await floor.measure(server, _CHECK, message.SerializeToString())
    async with runtime(RuntimeConfiguration(scheduling=(settings,))) as server:
        await scheduled.measure(server, _CHECK, message.SerializeToString())
    return floor, scheduled
