"""Scheduling with the numbers of ASM's manifest: ten requests a second, guests 50, subscribers 200.

Two sidecars of the service share the rate. Requests come from many clients, each of which sends the next as soon as it
is answered.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from e2e.objects import together
from fairlead.playground.backend import Backend
from fairlead.playground.envoy import free_port
from support.stack import Stack, loopback, until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(180)]

LITERAL = (Path(__file__).parents[1] / "asm" / "quota-scheduling.yaml").read_text()
"""As ASM's documentation prints it: the selectors are within the scheduler."""
PORT, OTHER_PORT = free_port(), free_port()
"""On 127.0.0.1, where the applications are."""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {selector: {app: httpbin}, ports: [{name: http, port: %d}]}
"""
SCHEMA = """
apiVersion: istio.alibabacloud.com/v1
kind: QuotaSchedulingPolicy
metadata: {name: quotascheduling, namespace: istio-system}
spec:
  quota_scheduler:
    bucket_capacity: 10
    fill_amount: 10
    rate_limiter: {interval: 1s}
    scheduler:
      workloads:
      - name: guest
        label_matcher: {match_labels: {http.request.header.user_type: guest}}
        parameters: {priority: 50.0, queue_timeout: TIMEOUT}
      - name: subscriber
        label_matcher: {match_labels: {http.request.header.user_type: subscriber}}
        parameters: {priority: 200.0, queue_timeout: TIMEOUT}
    selectors: [{service: httpbin-00001-private.default.svc.cluster.local}]
"""


class Clients:
    """Send requests to both sidecars."""

    def __init__(self, http: httpx.AsyncClient, addresses: list[str], stack: Stack) -> None:
        self._http, self._addresses, self.stack = http, addresses, stack

    async def ask(self, number: int, header: str, user: str, port: int = PORT) -> httpx.Response:
        return await self._http.get(f"http://{self._addresses[number % 2]}:{port}/", headers={header: user})

    async def saturate(self, clients: dict[str, int], seconds: float) -> dict[str, list[float]]:
        """How long the requests of each user took that passed in that time."""
        found: dict[str, list[float]] = {user: [] for user in clients}
        begin = time.monotonic() + 3  # by then the burst is over
        end = begin + seconds

        async def client(user: str, number: int) -> None:
            while (sent := time.monotonic()) < end:
                answer = await self.ask(number, "user_type" if number % 3 else "user-type", user)
                assert answer.status_code in {200, 503}
                now = time.monotonic()
                if answer.status_code == 200 and begin <= now < end:
                    found[user].append(now - sent)

        await asyncio.gather(*(client(user, number) for user, many in clients.items() for number in range(many)))
        return found


@pytest.fixture
async def clients(stack: Stack) -> AsyncIterator[Clients]:
    services = [SERVICE % ("httpbin-00001-private", PORT), SERVICE % ("httpbin-00002-private", OTHER_PORT)]
    stack.write("services.yaml", together(*services))
    stack.write("policy.yaml", LITERAL)
    await stack.serve()
    addresses = [loopback(), loopback()]
    for address in addresses:
        sidecar = {"role": "sidecar", "labels": {"app": "httpbin"}, "concurrency": 2}
        await stack.envoy(address=loopback(), own_address=address, **sidecar)  # type: ignore[arg-type]
    limits = httpx.Limits(max_connections=None)
    async with (
        Backend("httpbin", PORT, "127.0.0.1"),
        Backend("another", OTHER_PORT, "127.0.0.1"),
        httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as http,
    ):
        yield Clients(http, addresses, stack)


async def test_thirty_a_second_for_twenty_seconds(clients: Clients) -> None:
    """The manifest as it is printed: nobody is rejected before 15 s, so the last wait long after."""
    begin, answers = time.monotonic(), []

    async def ask(number: int) -> None:
        answer = await clients.ask(number, "user_type", "guest")
        answers.append((time.monotonic() - begin, answer.status_code))

    asked = []
    for number in range(600):
        asked.append(asyncio.create_task(ask(number)))
        await asyncio.sleep(max(0.0, begin + number / 30 - time.monotonic()))
    passed = sum(status == 200 and when <= 20 for when, status in answers)
    assert passed == pytest.approx(10 + 10 * 20, rel=0.05)
    others = await asyncio.gather(*(clients.ask(number, "a", "b", OTHER_PORT) for number in range(40)))
    assert {answer.status_code for answer in others} == {200}, "the policy is for the other service"
    await asyncio.gather(*asked)
    assert {status for _, status in answers} == {200, 503}
    late = [when for when, status in answers if status == 503]
    assert min(late) >= 14.9, "they have waited for 15 s"


@pytest.mark.parametrize("queue_timeout", ["2s", "10s"])
async def test_four_to_one_for_ten_seconds(clients: Clients, queue_timeout: str) -> None:
    clients.stack.write("policy.yaml", SCHEMA.replace("TIMEOUT", queue_timeout))

    async def is_known() -> bool:
        answers = await asyncio.gather(*(clients.ask(number, "user_type", "guest") for number in range(40)))
        return queue_timeout != "2s" or any(answer.status_code == 503 for answer in answers)

    await until(is_known, "the timeout is known", within=30)
    found = await clients.saturate({"guest": 16, "subscriber": 16}, 10)
    guests, subscribers = found["guest"], found["subscriber"]
    assert len(guests) + len(subscribers) == pytest.approx(100, rel=0.05)
    assert len(subscribers) / len(guests) == pytest.approx(4, rel=0.1)
    if queue_timeout == "10s":
        assert statistics.mean(subscribers) < statistics.mean(guests) / 2


async def test_guests_alone_get_all(clients: Clients) -> None:
    found = await clients.saturate({"guest": 16}, 10)
    assert len(found["guest"]) == pytest.approx(100, rel=0.05)
