"""Who serves limits that proxies share: a process of `fairlead serve`, or `fairlead ratelimit` by itself."""

import asyncio
import contextlib
import re
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from e2e.objects import (
    FRONT,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    gateway,
    http_server,
    resource,
    route,
    service,
    together,
)
from fairlead.playground.client import ask, connect
from fairlead.playground.envoy import free_port
from support.runtime import RedisServer
from support.stack import ControlPlane, Stack, loopback, until

pytestmark = pytest.mark.e2e

HTTP, BACKEND = 8080, 9001
OBJECTS = together(FRONT, gateway(http_server()), service("shop", 80, BACKEND), route("shop", "*", "shop"))


def limiter(quota: int, unit: str = "HOUR", more: str = "") -> str:
    spec = f"""
    workloadSelector: {{labels: {{istio: ingressgateway}}}}
    isGateway: true
    rateLimitService: {{timeout: {{seconds: 5}}, {more}}}
    configs: [{{name: all, match: {{vhost: {{name: "*"}}}}, limit: {{unit: {unit}, quota: {quota}}}}}]
    """
    return resource("istio.alibabacloud.com/v1", "ASMGlobalRateLimiter", "shop", spec, PROXY_NAMESPACE)


class Gateways:
    """Two gateways with the same configuration."""

    def __init__(self, stack: Stack) -> None:
        self.addresses = (stack.address, loopback())
        self._stack = stack
        self._threads = ThreadPoolExecutor(16)

    async def start(self) -> None:
        for address in self.addresses:
            await self._stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS, address=address, concurrency=2)

    def _ask(self, address: str) -> int:
        with contextlib.closing(connect(address, HTTP)) as connection:
            return ask(connection, "shop.test", "/").status

    async def statuses(self, number: int) -> Counter[int]:
        """Answers to so many concurrent requests, half of them at each."""
        loop = asyncio.get_running_loop()
        asking = (loop.run_in_executor(self._threads, self._ask, self.addresses[n % 2]) for n in range(number))
        return Counter(await asyncio.gather(*asking))

    async def until(self, status: int) -> int:
        """Wait until requests are answered so; returns how many were asked, of which the last one was."""
        asked = 0

        async def so() -> bool:
            nonlocal asked
            asked += 1
            return (await self.statuses(1))[status] == 1

        await until(so, f"the answer is {status}")
        return asked


@pytest.fixture
async def gateways(stack: Stack) -> AsyncIterator[Gateways]:
    stack.write("objects.yaml", OBJECTS)
    await stack.backend("shop", BACKEND)
    return Gateways(stack)


def counted(admin_port: int) -> dict[str, int]:
    """Outcome -> number of requests."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    labels = r'kind="ASMGlobalRateLimiter",name="shop",namespace="istio-system",outcome="(\w+)"'
    found = re.findall(rf"^fairlead_requests_total{{{labels}}} (\S+)$", text, re.MULTILINE)
    return {outcome: int(float(number)) for outcome, number in found}


def runs(process: int) -> bool:
    command = Path(f"/proc/{process}/cmdline")
    return command.exists() and bool(command.read_bytes())


async def test_a_server_limits_requests_of_all_its_gateways(stack: Stack, gateways: Gateways) -> None:
    async with RedisServer(stack.tmp_path) as redis:
        await limits_requests(stack, gateways, await stack.serve("--redis-url", redis.url))


async def limits_requests(stack: Stack, gateways: Gateways, fairlead: ControlPlane) -> None:
    await gateways.start()
    await gateways.until(200)
    assert "runtime services start" not in fairlead.log_text(), "nobody needs them"

    stack.write("limiter.yaml", limiter(0))
    await gateways.until(429)
    stack.write("limiter.yaml", limiter(25, "DAY"))  # whose counters are others
    await gateways.until(200)
    assert await gateways.statuses(100) == {200: 24, 429: 76}
    await until(lambda: counted(fairlead.admin_port).get("allowed") == 25, "it is told")
    assert counted(fairlead.admin_port)["limited"] >= 77

    (process,) = map(int, re.findall(r"runtime services start .*process=\S*?(\d+)", fairlead.log_text()))
    await fairlead.kill()
    await until(lambda: not runs(process), "the process ends with its parent")
    assert await gateways.statuses(10) == {200: 10}, "proxies fail open"

    await fairlead.start()
    await gateways.until(429)
    assert await gateways.statuses(20) == {429: 20}
    assert "allowed" not in counted(fairlead.admin_port), "Redis remembers what was counted before"
    process = [*map(int, re.findall(r"runtime services start .*process=\S*?(\d+)", fairlead.log_text()))][-1]
    assert runs(process)
    await fairlead.stop()
    assert not runs(process)


async def test_services_of_their_own(stack: Stack, gateways: Gateways) -> None:
    stack.write("limiter.yaml", limiter(0, more="failure_mode_deny: true"))
    fairlead = await stack.serve("--no-runtime")
    admin_port = free_port()
    address = ("--runtime-address", f"127.0.0.1:{fairlead.runtime_port}", "--admin-address", f"127.0.0.1:{admin_port}")
    command = (sys.executable, "-m", "fairlead", "ratelimit", str(stack.folder), *address)
    await gateways.start()
    await gateways.until(500)
    process = await asyncio.create_subprocess_exec(*command, "--state-dir", str(stack.tmp_path / "s"), stderr=-1)
    try:
        await gateways.until(429)
        stack.write("limiter.yaml", limiter(25, "DAY", "failure_mode_deny: true"))
        await gateways.until(200)
        assert await gateways.statuses(100) == {200: 24, 429: 76}
        await until(lambda: counted(admin_port).get("allowed") == 25, "it is told")
        assert counted(fairlead.admin_port) == {}
    finally:
        process.terminate()
        _, said = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0, said
    assert re.search(r"serving .*address=127", re.sub(r"\x1b\[[\d;]*m", "", said.decode()))
    assert await gateways.statuses(10) == {500: 10}, "proxies fail closed, as the object says"
