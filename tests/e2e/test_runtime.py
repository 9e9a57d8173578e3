"""The runtime services as a real Envoy calls them, with two worker threads and a configuration that is not ours.

Only the cluster of the services is as we send it. Windows are of an hour, so that counts are exact: what passes is what
the window allows, unless an hour begins just then.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fairlead.intent import RUNTIME, Endpoint
from fairlead.playground.client import Answer, ask, connect
from fairlead.playground.envoy import Envoy, free_port
from fairlead.render import clusters as render_clusters
from fairlead.render.readable import readable
from fairlead.resolve import clusters
from fairlead.resolve.scope import Viewer
from fairlead.world import World
from support.runtime import OBJECT, RedisServer, RuntimeProcess, descriptor, limiting
from support.stack import loopback, until

pytestmark = pytest.mark.e2e

NAME = str(OBJECT)
TYPE = "type.googleapis.com/envoy.extensions"
OPEN, CLOSED, BACKEND = 8080, 8081, 9001
ROUTE = {"route": "r"}


def connections(*filters: dict[str, Any], action: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A filter chain for HTTP in which one route matches all."""
    router = {"name": "router", "typed_config": {"@type": f"{TYPE}.filters.http.router.v3.Router"}}
    routes = [{"match": {"prefix": "/"}, **action}]
    manager = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "h",
        "http_filters": [*filters, router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        **more,
    }
    return {"filters": [{"name": "http", "typed_config": manager}]}


def limited(*, deny: bool) -> dict[str, Any]:
    service = {"envoy_grpc": {"cluster_name": "fairlead-runtime"}}
    rate_limit = {
        "@type": f"{TYPE}.filters.http.ratelimit.v3.RateLimit",
        "domain": "fairlead",
        "timeout": "2s",
        "failure_mode_deny": deny,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limit_service": {"transport_api_version": "V3", "grpc_service": service},
    }
    log = {
        "@type": f"{TYPE}.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "common_config": {
            "log_name": "fairlead",
            "transport_api_version": "V3",
            "grpc_service": service,
            "buffer_flush_interval": "0.1s",
            "custom_tags": [
                {"tag": "fairlead.object", "literal": {"value": "ASMLocalRateLimiter default/x"}},
                {"tag": "fairlead.outcome", "literal": {"value": "limited"}},
            ],
        },
    }
    above = {"comparison": {"op": "EQ", "value": {"default_value": 429, "runtime_key": "x"}}}
    user = {"header_name": "x-user", "descriptor_key": "user"}
    return connections(
        {"name": "limits", "typed_config": rate_limit},
        action={
            "route": {
                "cluster": "backend",
                "rate_limits": [
                    {"actions": [{"generic_key": {"descriptor_key": "route", "descriptor_value": "r"}}]},
                    {"actions": [{"request_headers": user}]},
                ],
            }
        },
        access_log=[{"name": "log", "filter": {"status_code_filter": above}, "typed_config": log}],
    )


def socket_address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def endpoints(name: str, *addresses: tuple[str, int]) -> dict[str, Any]:
    members = [{"endpoint": {"address": socket_address(*address)}} for address in addresses]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": members}]}


def bootstrap(address: str, *ports: int) -> dict[str, Any]:
    chains = {
        OPEN: limited(deny=False),
        CLOSED: limited(deny=True),
        BACKEND: connections(action={"direct_response": {"status": 200}}),
    }
    cluster = clusters.cluster(World(runtime=Endpoint("127.0.0.1", ports[0])), Viewer("default"), RUNTIME).value
    assert cluster is not None
    services = readable(render_clusters.cluster(cluster))
    if len(ports) > 1:
        services["load_assignment"] = endpoints("fairlead-runtime", *(("127.0.0.1", port) for port in ports))
        services["lb_policy"] = "ROUND_ROBIN"
    return {
        "node": {"id": "static"},
        "admin": {"address": socket_address("127.0.0.1", free_port())},
        "static_resources": {
            "listeners": [
                {"name": str(port), "address": socket_address(address, port), "filter_chains": [chain]}
                for port, chain in chains.items()
            ],
            "clusters": [services, {"name": "backend", "load_assignment": endpoints("backend", (address, BACKEND))}],
        },
    }


class Proxy:
    """An Envoy that asks the services on these ports."""

    def __init__(self, envoy: Envoy, address: str) -> None:
        self.envoy = envoy
        self._address = address
        self._threads = ThreadPoolExecutor(32)

    async def get(self, port: int = OPEN, **headers: str) -> Answer:
        return (await self.many(1, port, **headers))[0]

    async def many(self, number: int, port: int = OPEN, **headers: str) -> list[Answer]:
        """Answers to concurrent requests on connections of their own, so that both workers get some."""
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._ask, port, headers) for _ in range(number))
        )

    def _ask(self, port: int, headers: dict[str, str]) -> Answer:
        with contextlib.closing(connect(self._address, port)) as connection:
            return ask(connection, "a.test", "/", headers={name.replace("_", "-"): v for name, v in headers.items()})

    async def statuses(self, number: int, port: int = OPEN, **headers: str) -> Counter[int]:
        return Counter(answer.status for answer in await self.many(number, port, **headers))


@contextlib.asynccontextmanager
async def proxy(folder: Path, *ports: int) -> AsyncIterator[Proxy]:
    address = loopback()
    async with Envoy(bootstrap(address, *ports), folder, concurrency=2) as envoy:
        yield Proxy(envoy, address)


async def test_requests_are_limited_and_counted_exactly(tmp_path: Path) -> None:
    configuration = limiting(descriptor(25, route="r"), descriptor(5, user="kim"), descriptor(3, user=""))
    async with RuntimeProcess(configuration) as runtime, proxy(tmp_path, runtime.port) as envoy:
        answers = await envoy.many(100)
        assert Counter(answer.status for answer in answers) == {200: 25, 429: 75}
        left = sorted(int(answer.headers["x-ratelimit-remaining"]) for answer in answers if answer.status == 200)
        assert left == [*range(25)]
        until_reset = 3600 - time.time() % 3600
        for answer in answers:
            assert answer.headers["x-ratelimit-limit"] == "25, 25;w=3600"
            assert abs(int(answer.headers["x-ratelimit-reset"]) - until_reset) <= 10
        assert {answer.headers.get("x-envoy-ratelimited") for answer in answers if answer.status == 429} == {"true"}
        await until(
            lambda: (
                runtime.outcomes
                == {(NAME, "allowed"): 25, (NAME, "limited"): 75, ("ASMLocalRateLimiter default/x", "limited"): 75}
            ),
            "what the service decided, and what the proxy told of, is counted",
        )

        runtime.supervisor.configure(
            limiting(descriptor(1000, route="r"), descriptor(5, user="kim"), descriptor(3, user=""))
        )
        await until(lambda: passes(envoy), "another limit is in force without a restart")
        for user, quota in (("kim", 5), ("ann", 3), ("bob", 3)):
            found = await envoy.statuses(20, x_user=user)
            assert found == {200: quota, 429: 20 - quota}, user
        answer = await envoy.get(x_user="bob")
        assert answer.headers["x-ratelimit-limit"] == "3, 1000;w=3600, 3;w=3600", "the limit that is nearest"
        assert answer.headers["x-ratelimit-remaining"] == "0"
        assert runtime.supervisor.starts == 1


async def test_headers_that_are_no_text_are_limited_and_counted_too(tmp_path: Path) -> None:
    configuration = limiting(descriptor(9, route="r"), descriptor(2, user=""))
    local = ("ASMLocalRateLimiter default/x", "limited")
    async with RuntimeProcess(configuration) as runtime, proxy(tmp_path, runtime.port) as envoy:
        assert await envoy.statuses(5, CLOSED, x_user="\xff\xfe") == {200: 2, 429: 3}
        await until(lambda: runtime.outcomes[local] == 3, "the proxy has told of them")
        assert await envoy.statuses(2, CLOSED, x_user="\xff\xfe", x_request_id="\xff") == {429: 2}
        await until(lambda: runtime.outcomes[local] == 5, "the proxy has told of them too")


async def passes(envoy: Proxy) -> bool:
    return (await envoy.get()).status == 200


async def test_two_processes_on_one_redis_are_exact(tmp_path: Path) -> None:
    configuration = limiting(descriptor(25, route="r"))
    async with (
        RedisServer(tmp_path) as redis,
        RuntimeProcess(configuration, redis_url=redis.url) as one,
        RuntimeProcess(configuration, redis_url=redis.url) as two,
        proxy(tmp_path, one.port, two.port) as envoy,
    ):
        assert await envoy.statuses(100) == {200: 25, 429: 75}
        for runtime in (one, two):
            await until(lambda runtime=runtime: sum(runtime.outcomes.values()) >= 25, "both were asked")
        await redis.stop()
        assert await envoy.statuses(10) == {200: 10}, "a failure is no limit ..."
        assert await envoy.statuses(10, CLOSED) == {500: 10}, "... unless the filter says so"
        await redis.start()

        async def counts_again() -> bool:
            return 500 not in await envoy.statuses(4, CLOSED)

        await until(counts_again, "both count again")
        await redis.forget()
        assert await envoy.statuses(50) == {200: 25, 429: 25}


async def test_proxies_do_what_their_failure_mode_says_while_there_is_no_service(tmp_path: Path) -> None:
    configuration = limiting(descriptor(2, route="r"))
    async with RuntimeProcess(configuration) as first, proxy(tmp_path, first.port) as envoy:
        assert await envoy.statuses(10) == {200: 2, 429: 8}
        os.kill(first.process_id, signal.SIGKILL)
        # Requests that come meanwhile wait for the next process, as far as the filter has time for them.
        await until(lambda: first.supervisor.starts == 2, "another one is started")
        assert await envoy.statuses(10, CLOSED) == {200: 2, 429: 8}
        await first.supervisor.stop()
        assert await envoy.statuses(10) == {200: 10}
        assert await envoy.statuses(10, CLOSED) == {500: 10}
        async with RuntimeProcess(configuration, port=first.port):
            await until(lambda: limits(envoy), "it is asked again")
            assert await envoy.statuses(3, CLOSED) == {429: 3}


async def limits(envoy: Proxy) -> bool:
    return (await envoy.get()).status == 429
