"""Services that proxies call for each request: how long a call takes, and how many of them a processor can answer.

A service under measurement has a processor of its own, the caller another. Beside each stands one that does nothing.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from fairlead.intent import RuntimeConfiguration
from fairlead.playground.envoy import free_port
from support.runtime import RedisServer, RuntimeProcess, asked, descriptor, limiting
from support.stack import until

from bench.calls import Caller
from bench.measurements import Figure, Row, Series, folder_in_memory
from bench.servers import CLIENT_CORE, SERVER_CORE, Server, on_core

AT_ONCE = 32
SECONDS = 3.0
"""Of each measurement."""

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
    return [row for calls in (floor, limits, shared) for row in calls.rows]
