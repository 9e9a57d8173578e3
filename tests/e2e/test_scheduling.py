"""Which requests wait, and in which order they go: scheduling policies, on two sidecars with two worker threads each.

All requests are for one workload, which has a service with a policy of its own on each of its ports. Rates are several
times those of the documentation, and times as much shorter; the literal ones are in `test_scheduling_literal`.
"""

import asyncio
import contextlib
import math
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from e2e.bare_http import Connection, answering
from e2e.objects import FRONT, PROXY_LABELS, PROXY_NAMESPACE, gateway, http_server, resource, together, virtual_service
from fairlead.playground.backend import Backend
from fairlead.playground.envoy import Envoy, free_port
from support.stack import Stack, loopback, until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("scheduling")]

APP = {"app": "httpbin"}
GATEWAY = 8080
LITERAL = (Path(__file__).parents[1] / "asm" / "quota-scheduling.yaml").read_text()
"""As ASM's documentation prints it: the selectors are within the scheduler."""
PRINTED = "httpbin-00001-private"
NAMES = ("short", "long", "alone", "offered", "late", "rate", "places", "queue", "called", "killed", "edited", PRINTED)
SATURATED = NAMES[:3]
PORTS = {name: free_port() for name in NAMES}
"""Of the services, and on 127.0.0.1 of their applications."""
USERS = """
- {name: guest, label_matcher: {match_labels: {http.request.header.user_type: guest}}, parameters: {priority: 50%s}}
- name: subscriber
  label_matcher: {match_labels: {http.request.header.user_type: subscriber}}
  parameters: {priority: 200%s}
"""


def service(name: str) -> str:
    port = PORTS[name]
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: httpbin}}, ports: [{{name: http, port: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"""


def policy(kind: str, name: str, root: str, fields: str, *, point: str = "ingress") -> str:
    selector = f"{{service: {name}.default.svc.cluster.local, control_point: {point}}}"
    indented = fields.strip().replace("\n", "\n  ")
    spec = f"{root}:\n  {indented}\n  selectors: [{selector}]"
    return resource("istio.alibabacloud.com/v1", kind, name, spec, "istio-system")


def quota(name: str, capacity: float, rate: float, *, timeout: str = "", default: str = "") -> str:
    more = f", queue_timeout: {timeout}" if timeout else ""
    workloads = (USERS % (more, more)).strip().replace("\n", "\n  ")
    fields = f"""
bucket_capacity: {capacity}
fill_amount: {rate}
rate_limiter: {{interval: 1s}}
scheduler:
  default_workload_parameters: {{{default}}}
  workloads:
  {workloads}
"""
    return policy("QuotaSchedulingPolicy", name, "quota_scheduler", fields)


def rate(name: str, capacity: int, *, seconds: int = 3600, point: str = "ingress") -> str:
    fields = f"bucket_capacity: {capacity}\nfill_amount: 1\nparameters: {{interval: {seconds}s}}"
    return policy("RateLimitingPolicy", name, "rate_limiter", fields, point=point)


OBJECTS = (
    FRONT,
    gateway(http_server()),
    virtual_service("called", "called.test", "http: [{route: [{destination: {host: called}}]}]"),
    *map(service, PORTS),
    LITERAL,
    # None of them, or as many as come in a moment in which this machine does other things, are kept for later.
    quota("short", 1, 25, timeout="1s"),
    quota("long", 1, 25, timeout="5s"),
    quota("alone", 1, 25),
    quota("offered", 40, 20, default="queue_timeout: 0s"),
    quota("late", 1, 1, default="queue_timeout: 1.5s"),
    quota("killed", 1, 1),
    rate("rate", 3),
    rate("called", 4, point="egress"),
    rate("edited", 2),
    policy(
        "ConcurrencyLimitingPolicy",
        "places",
        "concurrency_limiter",
        "max_concurrency: 3\nparameters: {max_inflight_duration: 60s}",
    ),
    policy(
        "ConcurrencySchedulingPolicy",
        "queue",
        "concurrency_scheduler",
        "max_concurrency: 1\nconcurrency_limiter: {max_inflight_duration: 60s}\nscheduler: {}",
    ),
)
LOG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: %s
    accessLogFormat: "%%PATH%% %%RESPONSE_CODE%% %%RESPONSE_FLAGS%% %%RESPONSE_CODE_DETAILS%%\\n"
"""


class Mesh:
    """A control plane, the two sidecars of a workload, and a gateway."""

    def __init__(self, stack: Stack, http: httpx.AsyncClient) -> None:
        self.stack, self.http = stack, http
        self.sidecars: list[Envoy] = []
        self.addresses = [loopback(), loopback()]
        self.log = stack.tmp_path / "access.log"
        self._asked = 0

    async def ask(self, name: str, user: str = "", *, path: str = "/", header: str = "user_type") -> httpx.Response:
        """Ask for a service, at one of the two sidecars after the other."""
        self._asked += 1
        address = self.addresses[self._asked % 2]
        headers = {header: user} if user else {}
        return await self.http.get(f"http://{address}:{PORTS[name]}{path}", headers=headers)

    async def statuses(self, name: str, times: int, **more: str) -> Counter[int]:
        """Ask that many times at once."""
        answers = await asyncio.gather(*(self.ask(name, **more) for _ in range(times)))
        return Counter(answer.status_code for answer in answers)

    async def saturate(self, name: str, clients: dict[str, int], seconds: float) -> dict[str, int]:
        """How many requests of each user pass in that time, when clients send the next as soon as they are answered.

        It begins when those have passed that find the bucket full, in the order in which they come, and everybody has
        come.
        """
        counts: Counter[str] = Counter()
        passed: Counter[str] = Counter()
        begin = math.inf

        async def client(user: str, number: int) -> None:
            nonlocal begin
            headers = {"user_type" if number % 2 else "User-Type": user}
            async with Connection.to(self.addresses[number // 2 % 2], PORTS[name]) as connection:
                while time.monotonic() < begin + seconds:
                    status = await connection.status(**headers)
                    assert status in {200, 503}
                    now = time.monotonic()
                    counts[user] += status == 200 and begin <= now < begin + seconds
                    passed[user] += status == 200
                    if begin == math.inf and all(passed[each] >= 10 for each in clients):
                        begin = now

        await asyncio.gather(*(client(user, number) for user, many in clients.items() for number in range(many)))
        return dict(counts)

    async def counted(self, name: str) -> dict[str, int]:
        """What became of the requests that a policy has decided about: outcome -> number."""
        assert self.stack.fairlead is not None
        found = {}
        for line in (await self.stack.fairlead.admin("/metrics") or "").splitlines():
            if line.startswith("fairlead_requests_total{") and f'name="{name}"' in line:
                found[line.partition('outcome="')[2].partition('"')[0]] = int(float(line.split()[-1]))
        return found

    async def under_way(self, name: str) -> int:
        """How many requests have reached the service's sidecars, and not ended."""
        stat = rf"^http\.inbound.*_{PORTS[name]}\.downstream_rq_active$"
        return sum([sum((await each.stats(stat)).values()) for each in self.sidecars])

    async def errors(self) -> int:
        """How often our services have not answered."""
        return sum([sum((await each.stats(r"^http.*ext_authz\.error$")).values()) for each in self.sidecars])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with Stack(tmp_path_factory.mktemp("scheduling")) as stack, contextlib.AsyncExitStack() as exits:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)  # so that both workers get some
        http = await exits.enter_async_context(httpx.AsyncClient(limits=limits, timeout=30, trust_env=False))
        made = Mesh(stack, http)
        stack.write("objects.yaml", together(*OBJECTS, LOG % made.log))
        await stack.serve()
        for address in made.addresses:
            made.sidecars.append(
                await stack.envoy(role="sidecar", labels=APP, address=loopback(), own_address=address, concurrency=2)
            )
        await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS, concurrency=2)
        await exits.enter_async_context(answering(*(PORTS[name] for name in SATURATED)))
        for name, port in PORTS.items():
            if name in SATURATED:
                continue
            await exits.enter_async_context(Backend(name, port, "127.0.0.1"))
        await stack.backend("called", PORTS["called"])
        yield made


async def test_shares_are_as_the_priorities_whatever_the_timeouts(mesh: Mesh) -> None:
    """Two services at once, for 4 s: one with short timeouts, one with long ones."""
    both = {"guest": 40, "subscriber": 40}
    for found in await asyncio.gather(mesh.saturate("short", both, 4), mesh.saturate("long", both, 4)):
        assert 60 <= sum(found.values()) <= 105, "never more, and less only where this machine has other work"
        assert found["subscriber"] / found["guest"] == pytest.approx(4, rel=0.1)


async def test_one_class_alone_gets_all(mesh: Mesh) -> None:
    found = await mesh.saturate("alone", {"guest": 15}, 2)
    assert 30 <= found["guest"] <= 53


async def test_under_three_times_as_many_requests_the_quota_and_a_burst_pass(mesh: Mesh) -> None:
    """60 a second for 3 s; nobody waits."""
    begin = time.monotonic()
    asked = []
    for number in range(180):
        asked.append(asyncio.create_task(mesh.ask("offered", "nobody")))
        await asyncio.sleep(max(0.0, begin + number / 60 - time.monotonic()))
    statuses = Counter(answer.status_code for answer in await asyncio.gather(*asked))
    took = time.monotonic() - begin
    assert statuses[200] + statuses[503] == 180
    assert 0.85 * (40 + 20 * took) <= statuses[200] <= 40 + 20 * took + 1, "never more"

    async def are_counted() -> bool:
        found = await mesh.counted("offered")
        return sum(found.values()) == 180 and found["rejected"] == statuses[503]

    await until(are_counted, f"the metrics tell {statuses}")


async def _is(found: Awaitable[object], expected: object) -> bool:
    return await found == expected


async def test_what_is_above_the_quota_waits_and_is_rejected_at_the_deadline(mesh: Mesh) -> None:
    begin = time.monotonic()

    async def asked() -> tuple[int, float]:
        answer = await mesh.ask("late", path="/late")
        return answer.status_code, time.monotonic() - begin

    answers = sorted(await asyncio.gather(*(asked() for _ in range(4))))
    assert [status for status, _ in answers] == [200, 200, 503, 503]
    assert answers[1][1] == pytest.approx(1, abs=0.5)
    assert all(took < 2.5 for _, took in answers)
    await until(lambda: "/late 503 UAEX ext_authz_denied" in mesh.log.read_text(), "the access log tells of it")
    await until(lambda: _is(mesh.counted("late"), {"allowed": 1, "queued": 1, "rejected": 2}), "the metrics tell it")


async def test_the_printed_manifest(mesh: Mesh) -> None:
    """Ten at once, then ten a second, for both sidecars together; nobody is rejected."""
    begin = time.monotonic()
    assert await mesh.statuses(PRINTED, 23, user="guest") == {200: 23}
    assert time.monotonic() - begin >= 1.25
    begin = time.monotonic()
    assert await mesh.statuses("places", 3) == {200: 3}
    assert time.monotonic() - begin < 1, "other services are left alone"


async def test_both_sidecars_share_one_bucket_and_say_when_to_come_back(mesh: Mesh) -> None:
    assert await mesh.statuses("rate", 20) == {200: 3, 429: 17}
    assert 3590 < int((await mesh.ask("rate")).headers["retry-after"]) <= 3600


async def test_callers_may_hold_requests_by_where_they_go(mesh: Mesh) -> None:
    url = f"http://{mesh.stack.address}:{GATEWAY}/"
    answers = await asyncio.gather(*(mesh.http.get(url, headers={"host": "called.test"}) for _ in range(9)))
    assert Counter(answer.status_code for answer in answers) == {200: 4, 429: 5}
    assert await mesh.statuses("called", 9) == {200: 9}, "at its own sidecars there is no policy"


async def test_as_many_requests_are_under_way_as_there_are_places(mesh: Mesh) -> None:
    for _ in range(2):  # afterwards all places are free again
        assert await mesh.statuses("places", 9, path="/delay/0.5") == {200: 3, 429: 6}


async def test_requests_that_their_clients_give_up_are_under_way_no_longer(mesh: Mesh) -> None:
    asked = [asyncio.create_task(mesh.ask("places", path="/delay/20")) for _ in range(3)]
    await until(lambda: _is(mesh.under_way("places"), 3), "they are under way")
    assert await mesh.statuses("places", 2) == {429: 2}
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)

    async def all_are_free() -> bool:
        return await mesh.statuses("places", 3, path="/delay/0.2") == {200: 3}

    await until(all_are_free, "the places are free again", within=5)


async def test_requests_wait_for_a_place(mesh: Mesh) -> None:
    begin = time.monotonic()
    assert await mesh.statuses("queue", 4, path="/delay/0.3") == {200: 4}
    assert time.monotonic() - begin >= 1.2, "one after the other"


async def test_a_client_that_gives_up_waiting_takes_nothing(mesh: Mesh) -> None:
    first = asyncio.create_task(mesh.ask("queue", path="/delay/0.8"))
    await until(lambda: _is(mesh.under_way("queue"), 1), "one has the place")
    impatient = [asyncio.create_task(mesh.ask("queue", path="/delay/20")) for _ in range(3)]
    await until(lambda: _is(mesh.under_way("queue"), 4), "the others wait")
    for task in impatient:
        task.cancel()
    await asyncio.gather(*impatient, return_exceptions=True)
    last = await mesh.ask("queue")
    assert ((await first).status_code, last.status_code) == (200, 200)


async def test_another_quota_is_in_force_at_once_and_drains_nothing(mesh: Mesh) -> None:
    assert await mesh.statuses("edited", 5) == {200: 2, 429: 3}
    before = await _listener_changes(mesh)
    edited = together(*OBJECTS, LOG % mesh.log).replace(
        rate("edited", 2), rate("edited", 50).replace("3600s", "0.001s")
    )
    mesh.stack.write("objects.yaml", edited)

    async def has_more() -> bool:
        return await mesh.statuses("edited", 20) == {200: 20}

    await until(has_more, "the other quota is in force")
    assert await _listener_changes(mesh) == before


async def _listener_changes(mesh: Mesh) -> list[dict[str, int]]:
    return [await each.stats("listener_manager.listener_(modified|in_place_updated|added)") for each in mesh.sidecars]


def _runtime_process(mesh: Mesh) -> int:
    assert mesh.stack.fairlead is not None
    assert mesh.stack.fairlead.process is not None
    parent = mesh.stack.fairlead.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (found,) = [
        int(pid) for pid in children if b"fairlead.runtime.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return found


async def test_without_an_answer_requests_pass_and_are_counted(mesh: Mesh) -> None:
    """First our services die, and are started again; then all of Fairlead is gone. Comes last."""
    before = await mesh.errors()
    asked = [asyncio.create_task(mesh.ask("killed")) for _ in range(6)]
    await until(lambda: sum(task.done() for task in asked) >= 1, "one has passed, the others wait")
    os.kill(_runtime_process(mesh), signal.SIGKILL)
    begin = time.monotonic()
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert time.monotonic() - begin < 3
    assert await mesh.errors() >= before + 3

    async def waits_again() -> bool:
        begin = time.monotonic()
        return await mesh.statuses("killed", 2) == {200: 2} and time.monotonic() - begin > 0.7

    await until(waits_again, "the services are there again", within=20)
    assert mesh.stack.fairlead is not None
    await mesh.stack.fairlead.kill()
    before = await mesh.errors()
    assert await mesh.statuses("killed", 10) == {200: 10}
    assert await mesh.errors() == before + 10
