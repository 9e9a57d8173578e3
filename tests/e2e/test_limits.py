"""How many requests pass: ASMLocalRateLimiters, on proxies with two worker threads.

Buckets here are filled so slowly - within an hour, or never in the time of a test - that counts are exact: what passes
is what the bucket held. Each request comes on a connection of its own, so that both workers get some.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio
from e2e.objects import FRONT, PROXY_LABELS, PROXY_NAMESPACE, gateway, http_server, resource, service, together
from fairlead.playground.client import Answer, ask, connect
from fairlead.playground.envoy import Envoy
from support.stack import Stack, loopback, until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("limits")]

LITERAL = (Path(__file__).parents[1] / "asm" / "helloworld-limit.yaml").read_text()
"""As ASM's documentation prints it: two fields of the object are at one of its limits."""
HTTP = 8080
BACKEND = 9001
OTHER_LABELS = {"istio": "other-gateway"}


def virtual_service(name: str, *hosts: str, http: str = "") -> str:
    http = http or "[{route: [{destination: {host: shop}}]}]"
    return resource(
        "networking.istio.io/v1",
        "VirtualService",
        name,
        f"hosts: [{', '.join(hosts or (f'{name}.test',))}]\ngateways: [edge, other]\nhttp: {http}",
    )


def limiter(name: str, *configs: str, namespace: str = PROXY_NAMESPACE, spec: str = "isGateway: true") -> str:
    text = f"workloadSelector: {{labels: {{istio: ingressgateway}}}}\n{spec}\nconfigs:\n" + "\n".join(
        f"- {{{config}}}" for config in configs
    )
    return resource("istio.alibabacloud.com/v1", "ASMLocalRateLimiter", name, text, namespace)


def of(host: str, route: str = "") -> str:
    return f"match: {{vhost: {{name: {host}, port: 80, route: {{{route}}}}}}}"


def limit(quota: int, more: str = "", seconds: int = 3600) -> str:
    return f"limit: {{fill_interval: {{seconds: {seconds}}}, quota: {quota}, {more}}}"


def override(match: str, quota: int) -> str:
    return f"{{request_match: {{{match}}}, {limit(quota)}}}"


NAMES = [f"helloworld-go.default{suffix}" for suffix in ("", ".svc", ".svc.cluster.local", ".example.com")]
BOTH = "header_match: [{name: x-user, exact_match: gold}], query_match: [{name: q, prefix_match: a}]"
EACH = (
    FRONT,
    FRONT.replace("ingressgateway", "other-gateway").replace("istio-other-gateway", "other-gateway"),
    gateway(http_server()),
    gateway(http_server(), name="other", selector="istio: other-gateway"),
    service("shop", 80, BACKEND),
    virtual_service("helloworld", *NAMES),
    virtual_service("httpbin", "httpbin.default.example.com"),
    LITERAL,
    virtual_service("exact"),
    limiter("exact", f"{of('exact.test')}, {limit(60)}"),
    virtual_service("minute"),
    limiter("minute", f"{of('minute.test')}, {limit(2, seconds=60)}"),
    virtual_service("refilled"),
    limiter("refilled", f"{of('refilled.test')}, {limit(2, seconds=60)}"),
    virtual_service("busy"),
    limiter("busy", f"{of('busy.test')}, {limit(200, seconds=4)}"),
    virtual_service("instances"),
    limiter("instances", f"{of('instances.test')}, {limit(10)}"),
    virtual_service(
        "named",
        http="""
        - {name: buy, match: [{uri: {prefix: /buy}}], route: [{destination: {host: shop}}]}
        - {name: look, route: [{destination: {host: shop}}]}""",
    ),
    limiter("named", f"{of('named.test', 'name_match: buy')}, {limit(3)}", f"{of('named.test')}, {limit(5)}"),
    virtual_service("headers"),
    limiter(
        "headers",
        f"{of('headers.test', 'header_match: [{name: x-crawler, present_match: true}]')}, {limit(2)}",
    ),
    virtual_service("overrides"),
    limiter(
        "overrides",
        f"{of('overrides.test')}, {limit(3)}, limit_overrides: ["
        f"{override(BOTH, 6)}, {override('header_match: [{name: x-user, exact_match: gold}]', 4)}, "
        f"{override('query_match: [{name: q, prefix_match: a}]', 2)}]",
    ),
    virtual_service("distinct"),
    limiter(
        "distinct",
        f"{of('distinct.test')}, {limit(4)}, limit_overrides: ["
        f"{override('header_match: [{name: x-user, present_match: true, distinct: true}]', 2)}, "
        f"{override('query_match: [{name: user, present_match: true}], distinct: true', 1)}]",
    ),
    virtual_service("answer"),
    limiter(
        "answer",
        f"{of('answer.test')}, "
        + limit(
            1, """status: 503, custom_response_body: '{"err": "100% busy"}', response_header_to_add: {x-why: 5%}"""
        ),
    ),
    virtual_service("connections"),
    limiter("connections", f"{of('connections.test')}, {limit(2, 'per_downstream_connection: true')}"),
    virtual_service("kept"),
    limiter("kept", f"{of('kept.test')}, {limit(3)}"),
    virtual_service("unrelated"),
    virtual_service(
        "counted",
        http="""
        - {name: one, match: [{uri: {prefix: /one}}], route: [{destination: {host: shop}}]}
        - {name: rest, route: [{destination: {host: shop}}]}""",
    ),
    limiter("counted", f"{of('counted.test')}, {limit(15)}"),
    limiter("counted-route", f"{of('counted.test', 'name_match: one')}, {limit(1)}"),
    virtual_service("target"),
    limiter("target", f"target_services: [{{kind: VirtualService, namespace: default, name: target}}], {limit(3)}"),
    virtual_service("elsewhere"),
    limiter("elsewhere", f"{of('elsewhere.test')}, {limit(1)}", namespace="default"),
)
OBJECTS = together(*EACH)


LOG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: %s
    accessLogFormat: "%%REQ(:AUTHORITY)%% %%RESPONSE_CODE%% %%RESPONSE_FLAGS%% %%RESPONSE_CODE_DETAILS%%\\n"
"""


class Limits:
    """A control plane, two gateways that are limited, and one with other labels that is not."""

    def __init__(self, stack: Stack, envoys: dict[str, Envoy], addresses: dict[str, str]) -> None:
        self.stack, self.envoys, self.addresses = stack, envoys, addresses

    def ask(self, host: str, path: str = "/", *, at: str = "first", **headers: str) -> Answer:
        with contextlib.closing(connect(self.addresses[at], HTTP)) as connection:
            return ask(connection, host, path, {name.replace("_", "-"): value for name, value in headers.items()})

    async def statuses(self, host: str, times: int, path: str = "/", *, at: str = "first", **headers: str) -> list[int]:
        def one(_number: int) -> int:
            return self.ask(host, path, at=at, **headers).status

        def all_of_them() -> list[int]:
            with ThreadPoolExecutor(4) as threads:
                return list(threads.map(one, range(times)))

        return await asyncio.to_thread(all_of_them)

    async def passed(self, host: str, times: int, path: str = "/", *, at: str = "first", **headers: str) -> int:
        """How many requests of that many pass; the others are above the limit."""
        found = Counter(await self.statuses(host, times, path, at=at, **headers))
        assert set(found) <= {200, 429}, found
        return found[200]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def limits(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Limits]:
    async with Stack(tmp_path_factory.mktemp("limits")) as stack:
        stack.write("objects.yaml", OBJECTS)
        stack.write("log.yaml", LOG % (stack.tmp_path / "access.log"))
        await stack.serve()
        await stack.backend("shop", BACKEND)
        addresses = {"first": stack.address, "second": loopback(), "other": loopback()}
        envoys = {
            name: await stack.envoy(
                protocol="sotw" if name == "second" else "delta",
                namespace=PROXY_NAMESPACE,
                labels=OTHER_LABELS if name == "other" else PROXY_LABELS,
                address=address,
                concurrency=2,
            )
            for name, address in addresses.items()
        }
        yield Limits(stack, envoys, addresses)


async def test_what_passes_is_what_the_bucket_holds(limits: Limits) -> None:
    assert await limits.passed("exact.test", 300) == 60


@pytest.mark.parametrize("seconds", [3, pytest.param(10, marks=pytest.mark.long)])
async def test_under_five_times_as_many_requests_what_passes_is_exact(limits: Limits, seconds: int) -> None:
    """50 a second, after a burst of 200: as much as the tokens of the time between the first and the last request."""

    def ask_all_the_time() -> tuple[Counter[int], float, float]:
        statuses: Counter[int] = Counter()
        first_sent = first_answered = last_sent = last_answered = time.monotonic()
        with ThreadPoolExecutor(4) as threads:
            while last_answered - first_sent < seconds:
                last_sent = time.monotonic()
                statuses.update(threads.map(lambda _: limits.ask("busy.test").status, range(40)))
                last_answered = time.monotonic()
                first_answered = last_answered if first_answered == first_sent else first_answered
        return statuses, last_sent - first_answered, last_answered - first_sent

    statuses, least, most = await asyncio.to_thread(ask_all_the_time)
    assert sum(statuses.values()) > 5 * 50 * most
    assert 200 + 50 * least - 1 <= statuses[200] <= 200 + 50 * most + 1, (statuses, least, most)
    assert set(statuses) == {200, 429}


async def test_each_proxy_counts_for_itself(limits: Limits) -> None:
    assert await limits.passed("instances.test", 30) == 10
    assert await limits.passed("instances.test", 30, at="second") == 10


async def test_proxies_with_other_labels_or_in_another_namespace_are_not_limited(limits: Limits) -> None:
    assert await limits.passed("instances.test", 30, at="other") == 30
    assert await limits.passed("elsewhere.test", 10) == 10


async def test_the_printed_manifest_limits_the_host_by_any_of_its_names(limits: Limits) -> None:
    """A burst of 60, then 30 a second: as many as the time of the test allows, and no more."""
    begin = time.monotonic()
    found = Counter(await limits.statuses("helloworld-go.default.example.com", 300))
    most = 60 + 30 * (time.monotonic() - begin)
    assert set(found) <= {200, 429}
    assert 60 <= found[200] <= most + 1

    async def passes() -> bool:
        return await limits.passed(NAMES[2], 1) == 1

    await until(passes, "tokens come back")
    assert await limits.passed("httpbin.default.example.com", 100) == 100, "others are not limited"


async def test_the_status_tells_at_how_many_proxies_a_limit_is_in_force(limits: Limits) -> None:
    assert limits.stack.fairlead is not None
    rules = (await limits.stack.fairlead.status())["rules"]
    found = {rule["object"]: rule for rule in rules if rule["path"] == "spec.configs[0]"}
    for name in ("exact", "helloworld"):
        rule = found[f"ASMLocalRateLimiter {PROXY_NAMESPACE}/{name}"]
        assert (rule["selected"], rule["proxies"], rule["at"], rule["reason"]) == (2, 2, ["proxy-1", "proxy-2"], "")
    rule = found["ASMLocalRateLimiter default/elsewhere"]
    assert (rule["selected"], rule["proxies"]) == (0, 0)
    assert rule["reason"] == (
        "no gateway in namespace default with istio: ingressgateway is connected, "
        "but there are in namespace istio-system"
    )


async def test_rejected_requests_are_counted_by_the_object(limits: Limits) -> None:
    """By our own services, which proxies without limits do not know."""
    passed = [await limits.passed("counted.test", 40, at=at) for at in ("first", "second")]
    assert passed == [15, 15]
    assert await limits.passed("counted.test", 10, "/one") == 1
    fairlead = limits.stack.fairlead
    assert fairlead is not None
    for name, number in (("counted", 2 * 25), ("counted-route", 9)):
        of = f"ASMLocalRateLimiter {PROXY_NAMESPACE}/{name}"

        async def counted(of: str = of, number: int = number) -> bool:
            return await fairlead.requests(of, "limited") == number

        await until(counted, f"{number} requests are told of {of}")
    assert await limits.envoys["first"].stats("cluster.fairlead-runtime.upstream_rq_total$")
    assert not await limits.envoys["other"].stats("fairlead-runtime")


async def test_the_third_request_within_a_minute_is_above_a_quota_of_two(limits: Limits) -> None:
    assert [await limits.statuses("minute.test", 1) for _ in range(3)] == [[200], [200], [429]]


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_within_the_minute_tokens_come_back_one_by_one(limits: Limits) -> None:
    begin = time.monotonic()
    assert await limits.passed("refilled.test", 10) == 2

    async def passes() -> bool:
        return await limits.passed("refilled.test", 1) == 1

    for _ in range(2):
        await until(passes, "a token comes back", within=32)
    assert 59 <= time.monotonic() - begin <= 61


async def test_a_named_route_has_a_bucket_of_its_own(limits: Limits) -> None:
    assert await limits.passed("named.test", 20, "/buy") == 3
    assert await limits.passed("named.test", 20, "/look") == 5, "the limit of the host is for its other routes"


async def test_only_requests_with_a_header_may_be_limited(limits: Limits) -> None:
    assert await limits.passed("headers.test", 10) == 10
    assert await limits.passed("headers.test", 10, x_crawler="yes") == 2
    assert await limits.passed("headers.test", 10) == 10


async def test_overrides_have_buckets_of_their_own_and_the_first_that_matches_counts(limits: Limits) -> None:
    assert await limits.passed("overrides.test", 20, "/?q=abc", x_user="gold") == 6
    assert await limits.passed("overrides.test", 20, "/?q=b", x_user="gold") == 4
    assert await limits.passed("overrides.test", 20, "/?q=abc", x_user="silver") == 2
    assert await limits.passed("overrides.test", 20, "/?q=b") == 3, "none of it was taken from the limit itself"


async def test_each_value_may_have_a_bucket(limits: Limits) -> None:
    for user in ("anna", "bert", "chris"):
        assert await limits.passed("distinct.test", 5, x_user=user) == 2
        assert await limits.passed("distinct.test", 5, f"/?user={user}") == 1
    assert await limits.passed("distinct.test", 8) == 4


async def test_the_answer_is_the_one_that_is_written(limits: Limits) -> None:
    assert (await asyncio.to_thread(limits.ask, "answer.test")).status == 200
    answer = await asyncio.to_thread(limits.ask, "answer.test")
    assert (answer.status, answer.body) == (503, b'{"err": "100% busy"}')
    assert (answer.headers["x-why"], answer.headers["x-local-rate-limit"]) == ("5%", "true")


async def test_without_anything_written_the_answer_is_envoys(limits: Limits) -> None:
    before = await limits.envoys["second"].stats("http_local_rate_limiter.*enforced$")
    found = [await asyncio.to_thread(limits.ask, "target.test", at="second") for _ in range(4)]
    assert [answer.status for answer in found] == [200, 200, 200, 429], "by the name of its VirtualService"
    assert found[-1].body == b"local_rate_limited"
    assert found[-1].headers["x-local-rate-limit"] == "true"
    after = await limits.envoys["second"].stats("http_local_rate_limiter.*enforced$")
    assert sum(after.values()) == sum(before.values()) + 1
    log = limits.stack.tmp_path / "access.log"
    await until(lambda: "target.test 429 RL local_rate_limited\n" in log.read_text(), "the access log tells of it")


async def test_each_connection_may_have_a_bucket(limits: Limits) -> None:
    def on_one() -> list[int]:
        with contextlib.closing(connect(limits.addresses["first"], HTTP)) as connection:
            return [ask(connection, "connections.test", "/").status for _ in range(4)]

    assert await asyncio.to_thread(on_one) == [200, 200, 429, 429]
    assert await asyncio.to_thread(on_one) == [200, 200, 429, 429]


@pytest.mark.parametrize("at", ["first", "second"])
async def test_a_push_of_something_else_fills_no_bucket(limits: Limits, at: str) -> None:
    """The other host is in the same route table, of which Envoy makes all anew."""
    assert await limits.passed("kept.test", 10, at=at) == 3
    status = {"first": 418, "second": 451}[at]
    changed = f"[{{directResponse: {{status: {status}}}}}]"
    limits.stack.write(
        "objects.yaml",
        OBJECTS.replace(virtual_service("unrelated"), virtual_service("unrelated", http=changed)),
    )

    async def has_changed() -> bool:
        return await limits.statuses("unrelated.test", 1, at=at) == [status]

    await until(has_changed, "the other host has changed")
    assert await limits.passed("kept.test", 10, at=at) == 0


async def test_another_quota_is_in_force_at_once_and_drains_no_connection(limits: Limits) -> None:
    """Comes before the last: with a limit, all buckets of its proxies are made anew."""
    changed = "listener_manager.listener_(modified|in_place_updated)"
    listeners = await limits.envoys["first"].stats(changed)
    with contextlib.closing(connect(limits.addresses["first"], HTTP)) as connection:

        def on_the_open_one() -> int:
            return ask(connection, "exact.test", "/").status

        while await asyncio.to_thread(on_the_open_one) == 200:
            pass
        before, after = limiter("exact", f"{of('exact.test')}, {limit(60)}"), f"{of('exact.test')}, {limit(25)}"
        limits.stack.write("objects.yaml", OBJECTS.replace(before, limiter("exact", after)))

        async def has_tokens() -> bool:
            return await asyncio.to_thread(on_the_open_one) == 200

        await until(has_tokens, "the bucket is made anew")
        found = [await asyncio.to_thread(on_the_open_one) for _ in range(60)]
    assert found.count(200) == 24
    assert await limits.passed("exact.test", 30) == 0, "new connections take from the same bucket"
    assert await limits.envoys["first"].stats(changed) == listeners


async def test_when_the_last_limit_is_gone_nothing_is_refused(limits: Limits) -> None:
    """Comes last."""
    assert limits.stack.fairlead is not None
    with contextlib.closing(connect(limits.addresses["first"], HTTP)) as connection:

        def on_the_open_one() -> int:
            return ask(connection, "minute.test", "/").status

        while await asyncio.to_thread(on_the_open_one) == 200:
            pass
        limits.stack.write("objects.yaml", together(*(each for each in EACH if "RateLimiter" not in each)))

        async def passes() -> bool:
            return [await asyncio.to_thread(on_the_open_one) for _ in range(5)] == [200] * 5

        await until(passes, "there is no limit any more")

    async def all_is_well() -> bool:
        found = await limits.stack.fairlead.status()  # type: ignore[union-attr]
        states = {state["state"] for proxy in found["proxies"] for state in proxy["types"].values()}
        return states == {"synced"}

    await until(all_is_well, "all proxies have taken in all", within=25)
