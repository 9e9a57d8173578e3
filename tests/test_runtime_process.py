"""The process of the runtime services: it counts, tells what has happened, takes edits, and is always there."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable
from pathlib import Path

import grpc
import grpc.aio
import pytest
import structlog
from fairlead.intent import RuntimeConfiguration
from fairlead.runtime import supervisor
from grpc_health.v1 import health_pb2
from support.runtime import RedisServer, RuntimeProcess, descriptor, limiting
from support.stack import until

NAME = "ASMGlobalRateLimiter default/shop"
A = {"a": "1"}


async def passed(asking: list[Awaitable[bool]]) -> int:
    return sum(await asyncio.gather(*asking))


async def test_a_limit_is_exact_and_edits_take_effect() -> None:
    async with RuntimeProcess(limiting(descriptor(25, a="1"))) as runtime, runtime.client() as client:
        assert await passed([client.passes(A) for _ in range(100)]) == 25
        runtime.supervisor.configure(limiting(descriptor(110, a="1")))
        await until(lambda: client.passes(A), "the edit is in force")
        await until(lambda: runtime.outcomes[NAME, "allowed"] == 26, "it is told")
        assert runtime.supervisor.starts == 1


async def test_nothing_is_started_before_there_is_something_to_do() -> None:
    async with RuntimeProcess(RuntimeConfiguration()) as runtime:
        await asyncio.sleep(0.05)
        assert runtime.supervisor.starts == 0
        runtime.supervisor.configure(limiting(descriptor(1, a="1")))
        async with runtime.client() as client:
            assert await client.passes(A)
            runtime.supervisor.configure(RuntimeConfiguration())
            await until(lambda: passed([client.passes(A) for _ in range(2)]), "nothing is limited any more")


async def test_what_proxies_tell_is_counted() -> None:
    async with RuntimeProcess(limiting(descriptor(1, a="1"))) as runtime, runtime.client() as client:
        tags = {"fairlead.object": "ASMLocalRateLimiter default/x", "fairlead.outcome": "limited"}
        strange = [{}, {"fairlead.object": "x"}, {"fairlead.outcome": "limited"}, tags | {"fairlead.outcome": "odd"}]
        await client.log(tags, *strange, tags)
        await client.log(tags)
        await until(lambda: runtime.outcomes["ASMLocalRateLimiter default/x", "limited"] == 3, "it is told")
        assert {of for of, _ in runtime.outcomes} <= {"ASMLocalRateLimiter default/x", ""}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "stuck"])
async def test_a_process_that_is_dead_or_stuck_is_replaced(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_GLANCE", 0.1)
    async with RuntimeProcess(limiting(descriptor(1, a="1"))) as runtime:
        with structlog.testing.capture_logs() as logged:
            async with runtime.client() as client:
                assert await client.passes(A)
            os.kill(runtime.process_id, number)
            # Whoever connects while there is no process waits for the next.
            async with runtime.client() as client:
                assert await client.passes(A), "it begins to count anew"
                assert not await client.passes(A)
        assert runtime.supervisor.starts == 2
        await until(lambda: not runtime.supervisor.trouble, "all is well again")
        ended = [event for event in logged if "are started again" in event["event"]]
        assert [event["reason"] for event in ended] == [f"it ended with {-signal.SIGKILL}"]


async def test_nobody_waits_for_a_process_that_does_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.runtime.supervisor._FIRST_PAUSE", 0.3)

    async def connects(port: int) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    async with RuntimeProcess(limiting(descriptor(1, a="1"))) as runtime, runtime.client() as client:
        for number in (1, 2):
            await until(lambda number=number: runtime.supervisor.starts == number, "it is started")
            assert await connects(runtime.port)
            os.kill(runtime.process_id, signal.SIGKILL)
        await until(lambda: runtime.supervisor.process_id is None, "it has ended again")
        assert not await connects(runtime.port)
        assert await client.passes(A), "the next one listens anew"


async def test_a_port_that_is_taken_is_told_and_tried_again() -> None:
    async with RuntimeProcess(limiting(descriptor(1, a="1"))) as first, first.client() as client:
        assert await client.passes(A)
        second = RuntimeProcess(limiting(descriptor(1, a="1")), port=first.port, reuse_port=False)
        with structlog.testing.capture_logs() as logged:
            async with second:
                await until(lambda: len(logged) > 1, "it is told more than once")
                assert "in use" in second.supervisor.trouble
        assert second.supervisor.starts == 0
        assert {event["log_level"] for event in logged} == {"error"}
        assert "in use" in logged[0]["reason"]
        pauses = [event["seconds"] for event in logged]
        assert pauses[1] == 2 * pauses[0]


async def test_faults_of_the_process_are_logged_by_its_parent() -> None:
    with structlog.testing.capture_logs() as logged:
        async with RuntimeProcess(limiting(descriptor(1, a="1"))) as runtime:
            reader, writer = await until(lambda: asyncio.open_connection("127.0.0.1", runtime.port), "it listens")
            writer.write(b"GET / HTTP/1.1\r\n\r\n" + b" " * 100)
            await reader.read()
            writer.close()
            told = "a client broke the protocol of the runtime services"
            await until(lambda: any(event["event"] == told for event in logged), "it is logged")
    (event,) = (event for event in logged if event["event"] == told)
    assert event["log_level"] == "warning"
    assert event["peer"].startswith("ipv4:127.0.0.1:")


async def test_what_cannot_be_decoded_harms_nobody() -> None:
    async with RuntimeProcess(limiting(descriptor(1, a="1"))) as runtime, runtime.client() as client:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{runtime.port}") as channel:
            for method in (
                "ratelimit.v3.RateLimitService/ShouldRateLimit",
                "accesslog.v3.AccessLogService/StreamAccessLogs",
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(f"/envoy.service.{method}")(b"\xff" * 9, wait_for_ready=True)
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/envoy.service.ratelimit.v3.RateLimitService/Other")(b"")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await client.passes(A)


# --- Redis ------------------------------------------------------------------------------------------------------------


async def health(port: int, service: str = "") -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        return (await check(health_pb2.HealthCheckRequest(service=service), wait_for_ready=True)).status  # type: ignore[no-any-return]


async def test_two_processes_on_one_redis_count_as_one(tmp_path: Path) -> None:
    """They listen on the same port, too: the kernel spreads connections over them."""
    configuration = limiting(descriptor(25, a="1"), descriptor(3, user=""))
    async with (
        RedisServer(tmp_path) as redis,
        RuntimeProcess(configuration, redis_url=redis.url) as one,
        RuntimeProcess(configuration, redis_url=redis.url, port=one.port) as two,
        contextlib.AsyncExitStack() as connections,
    ):
        await until(lambda: one.supervisor.starts and two.supervisor.starts, "both listen")
        clients = [await connections.enter_async_context(one.client()) for _ in range(25)]
        assert await passed([client.passes(A) for client in clients * 4]) == 25
        for user in ("kim", "ann"):
            assert await passed([client.passes({"user": user}) for client in clients]) == 3
        for each in (one, two):
            await until(lambda each=each: each.outcomes, "both were asked")


async def test_without_redis_the_answer_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        async with (
            RedisServer(tmp_path) as redis,
            RuntimeProcess(limiting(descriptor(1000, a="1")), redis_url=redis.url) as runtime,
            runtime.client() as client,
        ):
            assert await client.passes(A)
            assert await health(runtime.port) == health_pb2.HealthCheckResponse.SERVING
            await redis.stop()
            for _ in range(3):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await client.ask(A)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await client.passes({"unknown": "x"}), "what needs no counter passes"
            assert await health(runtime.port) == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await health(runtime.port, "envoy.service.accesslog.v3.AccessLogService") == 1
            await redis.start()
            assert await client.passes(A)
            assert await health(runtime.port) == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health(runtime.port, "other")
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            await until(lambda: any("answers again" in event["event"] for event in logged), "all is logged")
    told = [(event["log_level"], event["event"]) for event in logged if "counted" in event["event"]]
    assert told == [
        ("error", "requests cannot be counted: proxies do what failure modes say"),
        ("info", "Redis answers again: requests are counted"),
    ]


# --- The end of it ----------------------------------------------------------------------------------------------------

PARENT = """
import asyncio, structlog, sys
from support.runtime import RuntimeProcess, descriptor, limiting
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
async def main():
    async with RuntimeProcess(limiting(descriptor(1, a="1"))) as runtime, runtime.client() as client:
        await client.passes({"a": "1"})
        print(runtime.process_id, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stuck"])
def test_no_process_is_left_when_its_parent_is_killed(*, stopped: bool) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if stopped:
            os.kill(child, signal.SIGSTOP)
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_a_stop_answers_what_was_asked_and_tells_it() -> None:
    async with RuntimeProcess(limiting(descriptor(1000, a="1"))) as runtime, runtime.client() as client:
        await client.ask(A)
        child = runtime.process_id
        asking = [asyncio.create_task(client.passes(A)) for _ in range(50)]
        await asyncio.sleep(0)
        os.kill(child, signal.SIGTERM)  # a supervisor of all may tell it to both
        assert await passed([*asking]) == 50
        await runtime.supervisor.stop()
        await until(lambda: not Path(f"/proc/{child}").exists(), "the process has ended")
        assert runtime.outcomes[NAME, "allowed"] == 51
