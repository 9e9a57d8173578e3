"""From a file that is written to what a thousand proxies have acknowledged.

The proxies are simulated (`bench.proxies`) and live in this process; the server has a processor of its own. Beside each
figure stands that of the floor server (`bench.floor`), which sends the same bytes to the same proxies.
"""

import asyncio
import contextlib
import gc
import random
import resource
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from e2e.objects import (
    FRONT,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    gateway,
    http_server,
    service,
    together,
    virtual_service,
)

from bench.fleet import Fleet, NotConverged
from bench.measurements import Figure, Row, Series, folder_in_memory
from bench.servers import CLIENT_CORE, Answers, Server, fairlead, floor, floor_push, on_core

PROXIES = 1000
FIRST_PROXIES = 300
ROUTES = 1000
MANY_ROUTES = 10_000
SERVICES = 100
ROUNDS = 20
RECONNECTS = 5
_IDLE = 0.5
"""Seconds that a server has to come to rest."""


@dataclass(frozen=True)
class Edit:
    """A change of one file, and what tells that a proxy has it."""

    path: Path
    content: bytes
    marker: bytes


class Changes:
    """One kind of change, again and again."""

    def __init__(self, what: str, floor: "Changes | None" = None) -> None:
        self.total = Series(f"{what} -> all have acknowledged it", "delta")
        self.fan_out = Series("- of that, since the first has received it", "delta")
        self.server = Figure("- processor time of the server", "ms")
        self.proxies = Figure("- processor time of the simulated proxies", "ms")
        if floor is not None:
            self.total.floor, self.fan_out.floor = floor.total, floor.fan_out
            self.server.floor, self.proxies.floor = floor.server, floor.proxies
        self.response = b""
        """The last one that it caused."""

    async def measure(self, fleet: Fleet, server: Server, edit: Callable[[int], Edit]) -> None:
        used, own = server.processor_seconds, time.process_time()
        for number in range(1, ROUNDS + 1):
            # Changes that come in step with somebody's timer would measure that timer.
            await asyncio.sleep(random.uniform(0.1, 0.2))
            made = edit(number)
            beside = made.path.with_name(f".{made.path.name}.new")
            beside.write_bytes(made.content)
            fleet.responses.clear()
            change = await fleet.change(partial(beside.rename, made.path), made.marker)
            self.total.seconds.append(change.total)
            self.fan_out.seconds.append(change.fan_out)
        self.server.value = (server.processor_seconds - used) * 1000 / ROUNDS
        self.proxies.value = (time.process_time() - own) * 1000 / ROUNDS
        (self.response,) = (response.body for response in fleet.responses)


# --- Fairlead ---------------------------------------------------------------------------------------------------------


def _route(number: int, version: str) -> str:
    routes = f"""
        http:
        - match: [{{uri: {{prefix: /api}}, headers: {{x-tenant: {{exact: t{number}}}}}}}]
          timeout: 5s
          retries: {{attempts: 3, perTryTimeout: 2s, retryOn: 5xx}}
          headers: {{response: {{set: {{x-version: "{version}"}}}}}}
          route: [{{destination: {{host: s{number % SERVICES}, port: {{number: 80}}}}}}]
        - route: [{{destination: {{host: s{number % SERVICES}, port: {{number: 80}}}}}}]
        """
    return virtual_service(f"r{number}", f"r{number}.example.com", routes)


def _edited_route(folder: Path, number: int) -> Edit:
    version = f"version-{number}-end"
    return Edit(folder / "route.yaml", _route(0, version).encode(), version.encode())


def _edited_endpoint(folder: Path, number: int) -> Edit:
    text = service("s0", 80, 8080).replace("127.0.0.1", f"10.77.{number}.1")
    return Edit(folder / "service.yaml", text.encode(), f"10.77.{number}.1".encode())


@contextlib.asynccontextmanager
async def _site(routes: int) -> AsyncIterator[tuple[Server, Path]]:
    """Fairlead, and the folder that it serves."""
    with folder_in_memory() as folder:
        objects = folder / "objects"
        objects.mkdir()
        services = (service(f"s{number}", 80, 8080) for number in range(1, SERVICES))
        (objects / "front.yaml").write_text(together(FRONT, gateway(http_server()), *services))
        (objects / "routes.yaml").write_text(together(*(_route(number, "first") for number in range(1, routes))))
        for edit in (_edited_route(objects, 0), _edited_endpoint(objects, 0)):
            edit.path.write_bytes(edit.content)
        async with fairlead(objects, folder) as server:
            yield server, objects


def _fleet(count: int) -> Fleet:
    return Fleet(count, PROXY_LABELS, PROXY_NAMESPACE)


async def _answers(server: Server) -> tuple[Answers, Answers]:
    """What a proxy is sent when it is new, and when it comes back."""
    fleet, found = _fleet(1), []
    for _ in range(2):
        fleet.responses.clear()
        await fleet.connect(server.address)
        answers: dict[str, list[bytes]] = defaultdict(list)
        for response in fleet.responses:
            answers[response.type_url].append(response.body)
        found.append(answers)
        await fleet.disconnect()
    return found[0], found[1]


# --- Rows -------------------------------------------------------------------------------------------------------------


async def _connected(fleet: Fleet, server: Server, memory: Figure) -> None:
    # What the first proxies cost is what it takes to serve any: buffers, tables. Each one after them costs its own.
    first = _fleet(FIRST_PROXIES)
    await first.connect(server.address)
    await asyncio.sleep(_IDLE)
    before = server.memory
    await fleet.connect(server.address)
    await asyncio.sleep(_IDLE)
    memory.value = (server.memory - before) / len(fleet.proxies) / 1024
    await first.disconnect()


async def _reconnected(fleet: Fleet, server: Server, series: Series) -> None:
    for _ in range(RECONNECTS):
        await asyncio.sleep(_IDLE)
        before = fleet.resources
        series.seconds.append(await fleet.connect(server.address))
        if fleet.resources != before:
            raise NotConverged(f"{fleet.resources - before} resources were sent to proxies that had them")
        await fleet.disconnect()


async def measure() -> list[Row]:
    """All rows, each behind its floor."""
    _allow_files(2 * (FIRST_PROXIES + PROXIES))
    floor_route, floor_endpoint = Changes("the bytes of an edited route"), Changes("the bytes of a changed endpoint")
    route = Changes("one of 1,000 routes edited", floor_route)
    endpoint = Changes("one endpoint changed, 1,000 routes", floor_endpoint)
    many_route = Changes("one of 10,000 routes edited", floor_route)
    many_endpoint = Changes("one endpoint changed, 10,000 routes", floor_endpoint)
    floor_reconnect = Series("1,000 proxies: the bytes of their return", "delta")
    reconnect = Series("1,000 unchanged proxies come back -> all complete", "delta", floor_reconnect)
    floor_memory = Figure("memory per idle proxy: a bare stream", "KiB")
    memory = Figure("memory per idle proxy, 1,000 routes", "KiB", floor_memory)
    many_memory = Figure("memory per idle proxy, 10,000 routes", "KiB", floor_memory)

    with on_core(CLIENT_CORE), _collector_at_rest():
        async with _site(ROUTES) as (server, objects):
            first, again = await _answers(server)
            fleet = _fleet(PROXIES)
            await _connected(fleet, server, memory)
            await route.measure(fleet, server, partial(_edited_route, objects))
            await endpoint.measure(fleet, server, partial(_edited_endpoint, objects))
            await fleet.disconnect()
            await _reconnected(fleet, server, reconnect)
        with folder_in_memory() as folder:
            push = floor_push(folder)
            async with floor(folder, first) as server:
                bare = _fleet(PROXIES)
                await _connected(bare, server, floor_memory)
                for changes, series in ((floor_route, route), (floor_endpoint, endpoint)):
                    edit = Edit(push, series.response, series.response)
                    await changes.measure(bare, server, partial(_always, edit))
            async with floor(folder, again) as server:
                await _reconnected(fleet, server, floor_reconnect)
        async with _site(MANY_ROUTES) as (server, objects):
            fleet = _fleet(PROXIES)
            await _connected(fleet, server, many_memory)
            await many_route.measure(fleet, server, partial(_edited_route, objects))
            await many_endpoint.measure(fleet, server, partial(_edited_endpoint, objects))

    kinds = (floor_route, route, many_route, floor_endpoint, endpoint, many_endpoint)
    rows: list[Row] = [row for each in kinds for row in (each.total, each.fan_out, each.server, each.proxies)]
    return [*rows, floor_reconnect, reconnect, floor_memory, memory, many_memory]


def _always(edit: Edit, _number: int) -> Edit:
    return edit


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count)), hard))


@contextlib.contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Without the collector, whose pauses would be taken for the server's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
