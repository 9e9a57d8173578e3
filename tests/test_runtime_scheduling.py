"""The scheduler as proxies see it, in its process; and buckets in a real Redis, which several of them share."""

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from fairlead._pb.envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from fairlead._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from fairlead.http2 import frames
from fairlead.http2.frames import ErrorCode, Setting
from fairlead.intent import SLOTS_TAG, Quota, RuntimeConfiguration, SchedulingPolicy, policy_name
from fairlead.runtime.counters import CountersUnavailableError, Hit
from fairlead.runtime.outcomes import Outcomes
from fairlead.runtime.redis_counters import RedisCounters
from fairlead.runtime.scheduling.buckets import Bucket, MemoryBuckets
from fairlead.runtime.scheduling.labels import labels_of
from fairlead.runtime.scheduling.redis_buckets import TAKE, RedisBuckets
from fairlead.runtime.scheduling.service import SchedulingService
from redis.asyncio import Redis
from support.http2 import Client as HttpClient
from support.http2 import data, message
from support.runtime import Client, RedisServer, RuntimeProcess
from support.scheduling import SECOND, concurrency, policy, queueing, quota, workload
from support.stack import until

USER = "http.request.header.user"


def configuration(*policies: SchedulingPolicy) -> RuntimeConfiguration:
    return RuntimeConfiguration(scheduling=policies)


def request(*policies: SchedulingPolicy, **headers: str) -> CheckRequest:
    """As Envoy asks on a route that names the first selector of each policy."""
    found = CheckRequest()
    found.attributes.context_extensions.update({policy_name(each.origin): "0" for each in policies})
    found.attributes.request.http.headers.update({":method": "GET", **headers})
    return found


def status(response: CheckResponse) -> int:
    return response.denied_response.status.code if response.HasField("denied_response") else 200


async def statuses(client: Client, asked: CheckRequest, times: int) -> Counter[int]:
    return Counter(map(status, await asyncio.gather(*(client.check(asked, timeout=20) for _ in range(times)))))


def slots(response: CheckResponse) -> str:
    return response.dynamic_metadata.fields["slots"].string_value


async def test_answers() -> None:
    rate = policy("rate", 430, quota=quota(2, 1, 60), by_label=USER)
    places = policy("places", concurrency=concurrency(1), by_label=USER)
    async with RuntimeProcess(configuration(rate, places)) as runtime, runtime.client() as client:
        answers = [await client.check(request(rate, user="kim"), timeout=20, wait_for_ready=True) for _ in range(3)]
        assert list(map(status, answers)) == [200, 200, 430]
        (option,) = answers[-1].denied_response.headers
        assert (option.header.key, int(option.header.value)) == ("retry-after", pytest.approx(60, abs=1))
        assert await statuses(client, request(rate), 5) == {200: 5}, "requests without the label pass"
        assert await statuses(client, request(policy("unknown", quota=quota(1, 1))), 5) == {200: 5}

        held = await client.check(request(places, user="kim"))
        assert status(held) == 200
        assert slots(held)
        assert await statuses(client, request(places, user="kim"), 3) == {503: 3}
        await client.log({"other": "tag"}, {SLOTS_TAG: "unknown"}, {SLOTS_TAG: slots(held)})
        assert await statuses(client, request(places, user="kim"), 3) == {200: 1, 503: 2}
        of = "QuotaLimiting istio-system/rate"
        await until(lambda: runtime.outcomes[of, "limited"] == 1, "it is counted")
        assert runtime.outcomes[of, "allowed"] == 7


async def test_who_gives_up_leaves_the_queue() -> None:
    queue = policy("queue", quota=quota(1, 2), queueing=queueing())
    async with RuntimeProcess(configuration(queue)) as runtime, runtime.client() as client:
        await client.check(request(queue), timeout=20, wait_for_ready=True)
        calls = [client.check(request(queue), timeout=20) for _ in range(20)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        begin = time.monotonic()
        assert status(await client.check(request(queue), timeout=20)) == 200
        assert time.monotonic() - begin < 2, "twenty would take ten seconds"


async def test_what_is_no_request_is_refused_and_what_goes_wrong_lets_requests_pass() -> None:
    rate = policy("rate", quota=quota(1, 0))
    async with RuntimeProcess(configuration(rate)) as runtime, runtime.client() as client:
        asked = request(rate)
        asked.attributes.context_extensions[policy_name(rate.origin)] = "nonsense,7,"
        assert status(await client.check(asked, timeout=20, wait_for_ready=True)) == 200
        async with grpc.aio.insecure_channel(f"127.0.0.1:{runtime.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")(b"\xff\xff", timeout=20)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_labels() -> None:
    described = AttributeContext.HttpRequest(
        method="POST", path="/a/b?c=d", host="shop.test", scheme="https", size=7, protocol="HTTP/2"
    )
    described.headers.update(
        {
            ":path": "/a/b?c=d",
            "user-type": "guest",
            "x_y": "1",
            "baggage": "tenant=a%20b;ttl=1, http.method=PUT , broken, =x",
        }
    )
    assert labels_of(described) == {
        "http.method": "PUT",
        "http.target": "/a/b?c=d",
        "http.path": "/a/b",
        "http.host": "shop.test",
        "http.scheme": "https",
        "http.request_content_length": "7",
        "http.flavor": "2.0",
        "http.request.header.user_type": "guest",
        "http.request.header.x_y": "1",
        "http.request.header.baggage": described.headers["baggage"],
        "tenant": "a b",
    }


def test_of_two_headers_with_one_label_the_one_with_hyphens_counts() -> None:
    """Maps of protobuf have an order of their own."""
    for name in map(str, range(20)):
        described = AttributeContext.HttpRequest()
        described.headers.update({f"x-user-{name}": "guest", f"x_user-{name}": "admin", f"x-user_{name}": "admin"})
        assert labels_of(described)[f"http.request.header.x_user_{name}"] == "guest"


# --- Clients that go --------------------------------------------------------------------------------------------------


@pytest.fixture
async def proxy() -> AsyncIterator[tuple[SchedulingService, HttpClient]]:
    """A scheduler with one place, which requests wait for, and a connection to it."""
    service = SchedulingService(MemoryBuckets(asyncio.get_running_loop()).of, Outcomes())
    service.configure((PLACE,))
    async with HttpClient({"/test/Check": service.check}) as client:
        await client.greet()
        yield service, client


PLACE = policy(concurrency=concurrency(1), queueing=queueing())


async def ask(client: HttpClient, stream: int) -> CheckResponse | None:
    """Ask whether a request may pass; None while it waits."""
    await client.send(
        client.headers(stream, path="/test/Check"), data(stream, message(request(PLACE).SerializeToString()), end=True)
    )
    return told(client, stream)


def told(client: HttpClient, stream: int) -> CheckResponse | None:
    messages = client.of(stream).messages
    return CheckResponse.FromString(messages[0]) if messages else None


async def test_who_goes_before_the_answer_has_come_holds_no_place(proxy: tuple[SchedulingService, HttpClient]) -> None:
    """The answer is on its way when the proxy ends the call."""
    _, client = proxy
    for stream in (1, 3, 5):
        found = await ask(client, stream)
        assert found is not None
        assert slots(found)
        await client.send(frames.reset(stream, ErrorCode.CANCEL))


async def test_who_goes_in_the_moment_of_a_verdict_holds_no_place(proxy: tuple[SchedulingService, HttpClient]) -> None:
    service, client = proxy
    held = await ask(client, 1)
    assert held is not None
    assert [await ask(client, stream) for stream in (3, 5)] == [None, None]
    service.ended(slots(held))  # the next has it, and is about to be told
    client.connection.data_received(frames.reset(3, ErrorCode.CANCEL))
    await client.settle()
    assert told(client, 3) is None
    assert slots(told(client, 5) or CheckResponse())


async def test_who_goes_while_the_answer_cannot_be_sent_holds_no_place(
    proxy: tuple[SchedulingService, HttpClient],
) -> None:
    _, client = proxy
    await client.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}))
    assert await ask(client, 1) is None
    await client.send(frames.reset(1, ErrorCode.CANCEL), frames.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 16}))
    assert slots(await ask(client, 3) or CheckResponse())


# --- Redis ------------------------------------------------------------------------------------------------------------


async def test_several_processes_share_a_bucket_in_redis(tmp_path: Path) -> None:
    rate = policy("rate", 429, quota=quota(30, 0))
    queue = policy("queue", quota=quota(1, 20), queueing=queueing(workload("a", 1), workload("b", 4)))
    async with (
        RedisServer(tmp_path) as redis,
        RuntimeProcess(configuration(rate, queue), redis_url=redis.url) as one,
        RuntimeProcess(configuration(rate, queue), redis_url=redis.url) as other,
        one.client() as first,
        other.client() as second,
    ):
        for client in (first, second):
            await client.check(request(), timeout=20, wait_for_ready=True)
        found = await asyncio.gather(statuses(first, request(rate), 50), statuses(second, request(rate), 50))
        assert found[0] + found[1] == {200: 30, 429: 70}
        begin = time.monotonic()
        found = await asyncio.gather(statuses(first, request(queue), 15), statuses(second, request(queue), 16))
        assert found[0] + found[1] == {200: 31}
        assert time.monotonic() - begin == pytest.approx(1.5, abs=0.5), "twenty a second, after the first"
        await redis.stop()
        assert await statuses(first, request(rate), 10) == {200: 10}, "without Redis nobody is held up"
        await redis.start()

        async def is_limited() -> bool:
            return (await statuses(first, request(rate), 40))[429] > 0

        await until(is_limited, "Redis answers again, and has forgotten all")


@pytest.mark.parametrize(
    "settings",
    [Quota(3, 2, 50_000_000), Quota(2, 3, 80_000_000, continuous=False), Quota(2.5, 1, 40_000_000, starts_empty=True)],
)
async def test_a_bucket_in_redis_does_as_one_in_memory_does(settings: Quota, tmp_path: Path) -> None:
    """Both are told the time."""
    source = random.Random(7)
    script = TAKE.replace("redis.call('TIME')", "{tonumber(ARGV[9]), 0}")
    assert script != TAKE
    arguments = (
        *(settings.capacity, settings.fill_amount, settings.interval / SECOND),
        *(int(settings.continuous), int(settings.starts_empty), 3_600_000),
    )
    now = 1000.0
    bucket = Bucket(settings, now)
    async with RedisServer(tmp_path) as server, Redis.from_url(server.url) as redis:
        for number in range(300):
            count, longest = source.choice([0.9, 1.4, 2.3]), source.choice([0.0, 0.031, 0.3])
            if source.random() < 0.2:
                bucket.fill(settings, now)
                bucket.give_back(settings, count)
                await redis.eval(script, 1, "key", -count, 1e18, *arguments, now)
            else:
                expected = bucket.take(settings, count, longest, now)
                found = float(await redis.eval(script, 1, "key", count, longest, *arguments, now))
                assert found == pytest.approx(expected, abs=1e-5), number
            now += source.choice([0.0, 0.0123, 0.0617])


@pytest.mark.parametrize("continuous", [True, False])
async def test_a_bucket_in_redis_owes_nothing_when_the_clock_is_set_back(continuous: bool, tmp_path: Path) -> None:
    script = TAKE.replace("redis.call('TIME')", "{tonumber(ARGV[9]), 0}")
    arguments = (2, 1, 1, int(continuous), 0, 3_600_000)

    async with RedisServer(tmp_path) as server, Redis.from_url(server.url) as redis:
        waits = [float(await redis.eval(script, 1, "key", 1, 10.0, *arguments, now)) for now in (1000, 400, 400, 401)]
    assert waits == [0, 0, 1, 1]


async def test_a_redis_that_does_not_answer_holds_up_one_request_at_a_time() -> None:
    """It takes connections, and says nothing."""
    loop, window = asyncio.get_running_loop(), Hit("domain", (("a", "1"),), of_value=False, window=60, number=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        buckets, counters = RedisBuckets(url), RedisCounters(url)
        tokens = buckets.of(policy(quota=quota(1, 0)))

        async def take() -> float:
            told: asyncio.Future[float] = loop.create_future()
            tokens.take("", 1, 0, told.set_result)
            return await told

        async def count() -> None:
            with pytest.raises(CountersUnavailableError):
                await counters.add([window], time.time())

        for ask in (take, count):
            begin = loop.time()
            await asyncio.gather(*(ask() for _ in range(1200)))
            assert loop.time() - begin < 2, "all wait until it is known, which takes a second"
            first = asyncio.create_task(ask())
            await asyncio.sleep(0)
            begin = loop.time()
            await asyncio.gather(*(ask() for _ in range(1200)))
            assert loop.time() - begin < 0.9
            assert not first.done()
            first.cancel()
        await buckets.close()
        await counters.close()
