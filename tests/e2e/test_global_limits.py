"""How many requests proxies let pass together: ASMGlobalRateLimiters, on proxies with two worker threads.

Limits here are mostly for a day, so that no window ends within a test and counts are exact. Each request comes on a
connection of its own, so that both workers get some.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from e2e.objects import FRONT, PROXY_LABELS, PROXY_NAMESPACE, gateway, http_server, resource, service, together
from fairlead.playground.backend import Backend
from fairlead.playground.client import Answer, ask, connect
from fairlead.playground.envoy import Envoy, free_port
from support.runtime import Client, RedisServer
from support.stack import ControlPlane, Stack, loopback, until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("global-limits")]

HTTP = 8080
BACKEND = 9001


def virtual_service(name: str) -> str:
    text = f"hosts: [{name}.test]\ngateways: [edge]\nhttp: [{{route: [{{destination: {{host: shop}}}}]}}]"
    return resource("networking.istio.io/v1", "VirtualService", name, text)


def limiter(name: str, config: str, service: str = "") -> str:
    """A limit of the host `NAME.test`, and the host."""
    text = f"""
workloadSelector: {{labels: {{istio: ingressgateway}}}}
isGateway: true
rateLimitService: {{{service}}}
configs: [{{match: {{vhost: {{name: {name}.test, port: 80}}}}, {config}}}]
"""
    found = resource("istio.alibabacloud.com/v1", "ASMGlobalRateLimiter", name, text, PROXY_NAMESPACE)
    return together(virtual_service(name), found)


def limit(quota: int, unit: str = "DAY") -> str:
    return f"limit: {{unit: {unit}, quota: {quota}}}"


def override(match: str, quota: int) -> str:
    return f"{{request_match: {{{match}}}, {limit(quota)}}}"


def rate_limit_service(host: str, port: int) -> str:
    """A service of gRPC on a port of loopback, which the proxies know as HOST:8081."""
    text = f"""
hosts: [{host}]
resolution: STATIC
ports: [{{number: 8081, name: grpc, protocol: GRPC, targetPort: {port}}}]
endpoints: [{{address: 127.0.0.1}}]
"""
    return resource("networking.istio.io/v1", "ServiceEntry", host.partition(".")[0], text, PROXY_NAMESPACE)


RUNTIME, CLOSED = free_port(), free_port()
OWN, NOBODY = "ratelimit.internal", "nobody.internal"
TIER, PARAMETER = "header_match: [{name: x-tier, exact_match: gold}]", "query_match: [{name: q, prefix_match: a}]"
OBJECTS = together(
    FRONT,
    gateway(http_server()),
    service("shop", 80, BACKEND),
    rate_limit_service(OWN, RUNTIME),
    rate_limit_service(NOBODY, CLOSED),
    virtual_service("unlimited"),
    limiter("warm", limit(100_000)),
    limiter("exact", limit(60)),
    limiter("busy", limit(40, "SECOND")),
    limiter(
        "overrides",
        f"{limit(3)}, limit_overrides: ["
        f"{override(f'{TIER}, {PARAMETER}', 6)}, {override(TIER, 4)}, {override(PARAMETER, 2)}]",
    ),
    limiter(
        "distinct",
        f"{limit(4)}, limit_overrides: ["
        f"{override('header_match: [{name: x-user, present_match: true, distinct: true}]', 2)}, "
        f"{override('query_match: [{name: user, present_match: true}], distinct: true', 1)}]",
    ),
    limiter("answer", limit(1)),
    limiter("edited", limit(5)),
    limiter("named", limit(7), f"host: {OWN}, port: 8081, timeout: {{seconds: 5}}"),
    limiter("open", limit(1), f"host: {NOBODY}, port: 8081"),
    limiter("closed", limit(1), f"host: {NOBODY}, port: 8081, failure_mode_deny: true"),
)


class Limits:
    """A control plane, and two gateways that are limited together."""

    def __init__(self, stack: Stack, envoys: dict[str, Envoy], addresses: dict[str, str]) -> None:
        self.stack, self.envoys, self.addresses = stack, envoys, addresses

    def ask(self, name: str, path: str = "/", *, at: str = "first", **headers: str) -> Answer:
        with contextlib.closing(connect(self.addresses[at], HTTP)) as connection:
            return ask(connection, f"{name}.test", path, {key.replace("_", "-"): text for key, text in headers.items()})

    async def passed(self, name: str, times: int, path: str = "/", **headers: str) -> int:
        """How many requests of that many pass, of which each proxy gets every other one."""

        def one(number: int) -> int:
            return self.ask(name, path, at=("first", "second")[number % 2], **headers).status

        def all_of_them() -> Counter[int]:
            with ThreadPoolExecutor(4) as threads:
                return Counter(threads.map(one, range(times)))

        found = await asyncio.to_thread(all_of_them)
        assert set(found) <= {200, 429}, found
        return found[200]

    async def are_counted(self) -> None:
        """Wait until both proxies are told by the service what is left."""

        def answers() -> bool:
            return all("x-ratelimit-limit" in self.ask("warm", at=at).headers for at in self.addresses)

        await until(lambda: asyncio.to_thread(answers), "the rate limit service answers")


@contextlib.asynccontextmanager
async def gateways(stack: Stack, xds_addresses: tuple[str, str] = ("", "")) -> AsyncIterator[Limits]:
    await stack.backend("shop", BACKEND)
    addresses = {"first": stack.address, "second": loopback()}
    envoys = {
        name: await stack.envoy(
            protocol="sotw" if name == "second" else "delta",
            namespace=PROXY_NAMESPACE,
            labels=PROXY_LABELS,
            address=address,
            xds_address=xds_address,
            concurrency=2,
        )
        for (name, address), xds_address in zip(addresses.items(), xds_addresses, strict=True)
    }
    found = Limits(stack, envoys, addresses)
    await found.are_counted()
    yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def limits(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Limits]:
    async with Stack(tmp_path_factory.mktemp("global-limits")) as stack:
        stack.write("objects.yaml", OBJECTS)
        await stack.serve("--runtime-address", f"{stack.address}:{RUNTIME}")
        async with gateways(stack) as found:
            yield found


async def test_what_passes_at_two_proxies_is_the_quota(limits: Limits) -> None:
    assert await limits.passed("exact", 300) == 60
    assert await limits.passed("unlimited", 30) == 30


@pytest.mark.parametrize("seconds", [2, pytest.param(10, marks=pytest.mark.long)])
async def test_under_five_times_as_many_requests_each_window_lets_its_quota_pass(limits: Limits, seconds: int) -> None:
    """From the beginning of a window until shortly before the end of another, by the clock of the service."""

    def ask_all_the_time() -> tuple[Counter[int], int]:
        statuses: Counter[int] = Counter()
        begin = int(time.time()) + 1
        time.sleep(begin + 0.01 - time.time())
        with ThreadPoolExecutor(4) as threads:
            while time.time() < begin + seconds - 0.2:
                found = threads.map(lambda number: limits.ask("busy", at=("first", "second")[number % 2]), range(40))
                statuses.update(answer.status for answer in found)
        return statuses, int(time.time()) - begin + 1

    statuses, windows = await asyncio.to_thread(ask_all_the_time)
    assert set(statuses) == {200, 429}
    assert 40 * seconds <= statuses[200] <= 40 * windows
    assert sum(statuses.values()) > 5 * 40 * seconds


async def test_overrides_are_counted_for_themselves_and_the_first_that_matches_counts(limits: Limits) -> None:
    assert await limits.passed("overrides", 20, "/?q=abc", x_tier="gold") == 6
    assert await limits.passed("overrides", 20, "/?q=b", x_tier="gold") == 4
    assert await limits.passed("overrides", 20, "/?q=abc", x_tier="silver") == 2
    assert await limits.passed("overrides", 20, "/?q=b") == 3, "none of it was taken from the limit itself"


async def test_each_value_may_be_counted_for_itself(limits: Limits) -> None:
    for user in ("anna", "bert", "chris"):
        assert await limits.passed("distinct", 5, x_user=user) == 2
        assert await limits.passed("distinct", 5, f"/?user={user}") == 1
    assert await limits.passed("distinct", 8) == 4


async def test_clients_are_told_what_is_left(limits: Limits) -> None:
    first, second = [await asyncio.to_thread(limits.ask, "answer") for _ in range(2)]
    assert (first.status, second.status, second.body) == (200, 429, b"")
    assert "x-envoy-ratelimited" not in first.headers
    assert second.headers["x-envoy-ratelimited"] == "true"
    assert second.headers["x-ratelimit-limit"] == "1, 1;w=86400"
    assert second.headers["x-ratelimit-remaining"] == "0"
    assert 0 <= int(second.headers["x-ratelimit-reset"]) <= 86400
    assert second.headers["content-length"] == "0"
    assert "x-ratelimit-limit" not in (await asyncio.to_thread(limits.ask, "unlimited")).headers


async def test_our_service_may_be_named(limits: Limits) -> None:
    """By a ServiceEntry, as one of somebody else's would be."""
    assert await limits.passed("named", 30) == 7
    found = await limits.envoys["first"].stats("cluster.outbound.8081..ratelimit.internal.upstream_rq_2xx$")
    assert sum(found.values()) > 0


async def test_without_an_answer_requests_pass_or_are_refused_as_the_object_says(limits: Limits) -> None:
    assert {(await asyncio.to_thread(limits.ask, "open")).status for _ in range(5)} == {200}
    assert {(await asyncio.to_thread(limits.ask, "closed")).status for _ in range(5)} == {500}


async def test_another_quota_is_in_force_at_once_and_proxies_are_not_sent_anything(limits: Limits) -> None:
    changed = "listener_manager.lds.update_success|rds.http.80.*config_reload$"
    before = await limits.envoys["first"].stats(changed)
    with contextlib.closing(connect(limits.addresses["first"], HTTP)) as connection:

        def on_the_open_one(times: int) -> list[int]:
            return [ask(connection, "edited.test", "/").status for _ in range(times)]

        assert await asyncio.to_thread(on_the_open_one, 7) == [200] * 5 + [429] * 2
        limits.stack.write("objects.yaml", OBJECTS.replace(limiter("edited", limit(5)), limiter("edited", limit(50))))

        async def passes() -> bool:
            return await asyncio.to_thread(on_the_open_one, 1) == [200]

        await until(passes, "more may pass")
        assert await asyncio.to_thread(on_the_open_one, 1) == [200]
    assert before
    assert await limits.envoys["first"].stats(changed) == before


async def test_several_servers_count_together_in_redis(tmp_path: Path) -> None:
    """Each with a service and a proxy of its own."""
    async with RedisServer(tmp_path) as redis, Stack(tmp_path) as stack, contextlib.AsyncExitStack() as exits:
        stack.write("objects.yaml", OBJECTS)
        servers = []
        for number in range(2):
            arguments = ("--redis-url", redis.url)
            server = ControlPlane(stack.folder, tmp_path / f"{number}.log", tmp_path / f"state-{number}", arguments)
            exits.push_async_callback(server.stop)
            await server.start()
            servers.append(server)
        first, second = (f"127.0.0.1:{server.xds_port}" for server in servers)
        async with gateways(stack, (first, second)) as limits:
            assert await limits.passed("exact", 200) == 60
            assert await limits.passed("overrides", 20, x_tier="gold") == 4

            async def outcomes() -> Counter[str]:
                found: Counter[str] = Counter()
                for number, server in enumerate(servers):
                    for line in (await server.admin("/metrics") or "").splitlines():
                        if line.startswith("fairlead_requests_total{") and 'name="exact"' in line:
                            outcome, _, count = line.partition('outcome="')[2].partition('"} ')
                            found[outcome] += int(float(count))
                            found[f"told by {number}"] = 1
                return found

            wanted = {"allowed": 60, "limited": 140, "told by 0": 1, "told by 1": 1}

            async def all_are_told() -> bool:
                return await outcomes() == wanted

            await until(all_are_told, "both servers have told what they have counted")


async def test_sidecars_count_what_comes_in_or_what_goes_out(tmp_path: Path) -> None:
    """Two callers share what they may send, and two workloads what they take in."""
    port = free_port()
    own, callers = [loopback(), loopback()], [loopback(), loopback()]
    objects = f"""
apiVersion: v1
kind: Service
metadata: {{name: shop}}
spec: {{selector: {{app: shop}}, ports: [{{name: http, port: 9080, targetPort: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: shop, labels: {{kubernetes.io/service-name: shop}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [{own[0]}]}}, {{addresses: [{own[1]}]}}]
"""
    async with Stack(tmp_path) as stack, Backend("shop", port, "127.0.0.1"):
        stack.write(
            "mesh.yaml",
            together(
                objects,
                limiter_of_sidecars("caller", "sidecar_outbound", limit(20)),
                limiter_of_sidecars("shop", "sidecar_inbound", limit(12)),
            ),
        )
        server = await stack.serve()
        sidecar = {"role": "sidecar", "concurrency": 2}
        outbound = [await stack.envoy(labels={"app": "caller"}, address=address, **sidecar) for address in callers]
        inbound = [
            await stack.envoy(labels={"app": "shop"}, address=loopback(), own_address=address, **sidecar)
            for address in own
        ]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.runtime_port}") as channel:
            await Client(channel).ask({"anything": "there"})  # as soon as there is a service

        def ask_in_turns() -> list[int]:
            statuses = []
            for number in range(40):
                with contextlib.closing(connect(callers[number % 2], 9080)) as connection:
                    statuses.append(ask(connection, "shop", "/").status)
            return statuses

        assert await asyncio.to_thread(ask_in_turns) == [200] * 12 + [429] * 28
        assert await sum_of(outbound, "cluster.outbound.9080.*ratelimit.over_limit$") == 20
        assert await sum_of(inbound, "cluster.inbound.*ratelimit.over_limit$") == 8
        rules = (await server.status())["rules"]
        assert {(rule["object"].rpartition("/")[2], rule["proxies"]) for rule in rules} == {("caller", 2), ("shop", 2)}


def limiter_of_sidecars(app: str, traffic: str, limit: str) -> str:
    text = f"""
workloadSelector: {{labels: {{app: {app}}}}}
applyToTraffic: {traffic}
configs: [{{target_services: [{{name: shop, port: 9080}}], {limit}}}]
"""
    return resource("istio.alibabacloud.com/v1", "ASMGlobalRateLimiter", app, text)


async def sum_of(envoys: list[Envoy], statistic: str) -> int:
    return sum([sum((await envoy.stats(statistic)).values()) for envoy in envoys])
