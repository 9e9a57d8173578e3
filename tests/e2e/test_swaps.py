"""Make before break, on the real thing: a route's service is replaced under load, again and again; no request fails.

A control plane that sends the types as they come shows a 503 in each swap: the route names a cluster that is not there
yet, or not any more, or has no endpoints yet.
"""

import asyncio
import contextlib
import http.client
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from e2e.objects import (
    FRONT,
    HTTP,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    gateway,
    http_server,
    service,
    together,
    virtual_service,
)
from e2e.observing import in_sync, problems, running
from fairlead.cli.bootstrap import Protocol, ProxyIdentity, XdsServer, bootstrap_document
from fairlead.playground.client import ask, connect
from fairlead.playground.envoy import Envoy, free_port
from support.stack import Stack, until

pytestmark = pytest.mark.e2e

SWAPS = 20
BACKENDS = {"even": 9001, "odd": 9002}


@dataclass
class Traffic:
    """Requests from several threads, until stopped: some on one connection each, some on a new one for each request."""

    address: str
    answers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BACKENDS, 0))
    failures: list[str] = field(default_factory=list)
    connections: int = 0
    """How often those that keep their connection had to open one."""
    _stopped: bool = False

    def ask_on_one_connection(self) -> None:
        connection = connect(self.address, HTTP)
        while not self._stopped:
            self.connections += connection.sock is None
            self._ask(connection)
            time.sleep(0.002)
        connection.close()

    def ask_on_new_connections(self) -> None:
        while not self._stopped:
            with contextlib.closing(connect(self.address, HTTP)) as connection:
                self._ask(connection)
            time.sleep(0.002)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        try:
            answer = ask(connection, "a.test", "/")
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
            connection.close()
            return
        if answer.status == 200 and answer.backend in self.answers:
            self.answers[answer.backend] += 1
        else:
            self.failures.append(f"status {answer.status}: {answer.body[:80]!r}")

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        asks = (self.ask_on_one_connection, self.ask_on_new_connections)
        tasks = [asyncio.create_task(asyncio.to_thread(how)) for how in asks * 2]
        try:
            yield
        finally:
            self._stopped = True
            await asyncio.gather(*tasks)


def objects(number: int) -> str:
    """All that there is of the swap of that number: its own service and no other, and a route to it, never retried."""
    name = f"shop-{number}"
    routes = f"http: [{{retries: {{attempts: 0}}, route: [{{destination: {{host: {name}}}}}]}}]"
    return together(virtual_service("shop", "a.test", routes), service(name, 80, list(BACKENDS.values())[number % 2]))


def bootstrap(stack: Stack, variant: str) -> dict[str, object]:
    document = bootstrap_document(
        ProxyIdentity(
            id="edge", namespace=PROXY_NAMESPACE, labels=tuple(PROXY_LABELS.items()), bind_address=stack.address
        ),
        XdsServer(address=f"127.0.0.1:{running(stack).xds_port}"),
        protocol=Protocol.SOTW if variant == "sotw" else Protocol.DELTA,
        admin_port=free_port(),
    )
    if variant == "delta without VHDS":
        del document["node"]["metadata"]["VHDS"]
    return document


@pytest.mark.parametrize("variant", ["delta", "delta without VHDS", "sotw"])
async def test_services_are_swapped_under_load(stack: Stack, variant: str) -> None:
    stack.write("site.yaml", together(FRONT, gateway(http_server())))
    stack.write("shop.yaml", objects(0))
    for name, port in BACKENDS.items():
        await stack.backend(name, port)
    await stack.serve("--deletion-grace", "0")  # so that the old service goes in the same change
    traffic = Traffic(stack.address)
    async with Envoy(bootstrap(stack, variant), stack.tmp_path) as envoy:
        await in_sync(stack)
        async with traffic.flowing():
            for number in range(1, SWAPS + 1):
                stack.write("shop.yaml", objects(number))
                backend = list(BACKENDS)[number % 2]
                before = traffic.answers[backend]
                await until(lambda: traffic.answers[backend] > before + 5, "the new service answers")  # noqa: B023
            await in_sync(stack)
        stats = await envoy.stats(r"cluster_(added|removed)$|update_rejected$|update_failure$|init_fetch_timeout$")
    assert traffic.failures == []
    assert traffic.connections == 2
    assert stats.pop("cluster_manager.cluster_added") >= SWAPS
    assert stats.pop("cluster_manager.cluster_removed") >= SWAPS - 1
    assert {name: count for name, count in stats.items() if count} == {}
    assert await problems(stack) == []
