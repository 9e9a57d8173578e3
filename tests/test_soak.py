"""Hundreds of streams, for a while, with all that can happen to them; then everybody holds the last state.

Objects change all the time. Proxies lose their streams and come back, refuse clusters, do not read, answer what was
never said, and ask for what does not exist. When that ends, each of them has what a fresh one is given, whoever comes
back then is sent nothing, and when all have left, nothing is left of them.
"""

import asyncio
import gc
import random
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from fairlead.protocol import ledger
from fairlead.protocol.conversation import Conversation
from fairlead.protocol.stream import Stream
from fairlead.server import hub
from fairlead.server.connection import Connection
from support.envoy_model import EnvoyModel
from support.server import Server
from support.stack import until
from support.variants import APPS, VARIANTS
from support.xds_client import DELTA, SOTW, open_channel, raw_stream

GHOSTS = ("eds", "rds", "sds")
SETTLED_WITHIN = 60.0
"""Seconds; a bound for machines that do much else."""


class Proxy:
    """A proxy, whatever happens to it."""

    def __init__(
        self, server: Server, name: str, *, delta: bool, chance: random.Random, metadata: dict[str, Any]
    ) -> None:
        self.model = EnvoyModel(delta=delta, node_id=name, metadata=metadata, refuse=self._refuses, judges=False)
        self.misbehaves = True
        self._server = server
        self._chance = chance
        self._stream: asyncio.Task[None] | None = None

    def _refuses(self, kind: str, body: bytes) -> bool:
        # Other contents than other proxies, but the same ones each time.
        return self.misbehaves and kind == "cds" and zlib.crc32(body, id(self) & 0xFFFFFFFF) % 8 == 0

    async def live(self) -> None:
        """Until cancelled."""
        async with open_channel(self._server.address) as channel:
            while True:
                call = raw_stream(channel, DELTA if self.model.delta else SOTW)
                self._stream = asyncio.create_task(self._converse(call))
                try:
                    await asyncio.wait([self._stream])
                    if not self._stream.cancelled():
                        self._stream.result()
                finally:
                    self._stream.cancel()
                    call.cancel()

    def cut(self) -> None:
        """Lose the stream, at whatever moment; it comes back at once."""
        if self._stream is not None:
            self._stream.cancel()

    async def _converse(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        if not self.misbehaves:
            for kind in GHOSTS:
                self.model.want(kind, set())
        for request in self.model.connect():
            await call.write(request)
        while isinstance(data := await call.read(), bytes):
            if self._happens(0.02):
                await asyncio.sleep(self._chance.random())  # it does not read for a while
            for request in [*self.model.take(data), *self._mischief()]:
                await call.write(request)

    def _mischief(self) -> Iterator[bytes]:
        if self._happens(0.05):
            yield self.model.speak_stale(self._chance.choice(sorted(self.model.opened)))
        for kind in GHOSTS:
            if self._happens(0.05):
                yield from self.model.want(kind, {"ghost"})
            elif self.model.extra[kind] and not self._happens(0.5):
                yield from self.model.want(kind, set())

    def _happens(self, probability: float) -> bool:
        return self.misbehaves and self._chance.random() < probability


KINDS = [
    (delta, {"NAMESPACE": "edge", "LABELS": {"app": app}, **more})
    for app in APPS
    for delta, more in ((False, {}), (True, {"VHDS": True}), (False, {"BIND_ADDRESS": "::1"}), (True, {}))
]
"""Half of the proxies speak delta, and half of these discover virtual hosts."""

LAST_OF_SERVICE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: edge}}
spec: {{host: {name}, trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: {seconds}s}}}}}}}}
"""


def write_last(server: Server) -> None:
    """A state in which no cluster is what it ever was, and that gives every proxy something of every type."""
    for number, variants in enumerate(VARIANTS):
        server.write(f"{number}.yaml", "" if "kind: DestinationRule" in variants[0] else variants[0])
    rules = [LAST_OF_SERVICE.format(name=name, seconds=77) for name in ("shop", "store")]
    server.write("rules.yaml", "---".join(rules))


def alive() -> list[object]:
    """The objects that streams are made of, by whatever test: who keeps the list keeps also what others left."""
    gc.collect()
    return [
        found for found in gc.get_objects() if isinstance(found, Connection | Stream | Conversation | ledger.Ledger)
    ]


async def in_step(server: Server, proxies: list[Proxy], *, after: int = 0) -> None:
    """Wait until all hold what fresh proxies hold, on streams whose number is greater than `after`."""
    fresh = proxies[-len(KINDS) :]

    def all_hold_the_same() -> bool:
        connections = server.xds.connections
        return (
            len(connections) == len(proxies)
            and min(connection.number for connection in connections) > after
            and all(proxy.model.held == fresh[number % len(KINDS)].model.held for number, proxy in enumerate(proxies))
            and server.status().settled
        )

    try:
        await until(all_hold_the_same, "all hold what fresh ones do", SETTLED_WITHIN)
    except AssertionError as error:
        for number, proxy in enumerate(proxies):
            for kind, held in proxy.model.held.items():
                other = fresh[number % len(KINDS)].model.held[kind]
                differs = sorted(name for name in held.keys() | other.keys() if held.get(name) != other.get(name))
                if differs:
                    error.add_note(f"proxy-{number}, {kind}: {differs}")
        status = server.status()
        error.add_note(f"{len(server.xds.connections)} of {len(proxies)} streams, hub settled: {server.hub.settled}")
        for told in status.proxies:
            late = {kind: found for kind, found in told.types.items() if found.state in ("stale", "not sent")}
            if late:
                error.add_note(f"{told.id}: {late}")
        raise


async def soak(folder: Path, *, streams: int, seconds: float, seed: int) -> None:
    assert streams % len(KINDS) == 0
    chance = random.Random(seed)
    async with Server(folder, *(variants[0] for variants in VARIANTS)) as server, asyncio.TaskGroup() as tasks:
        at_rest = alive()
        proxies: list[Proxy] = []
        lives: list[asyncio.Task[None]] = []

        def begin(count: int) -> None:
            for number in range(len(proxies), len(proxies) + count):
                delta, metadata = KINDS[number % len(KINDS)]
                proxies.append(Proxy(server, f"proxy-{number}", delta=delta, chance=chance, metadata=metadata))
                lives.append(tasks.create_task(proxies[-1].live()))

        begin(streams)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            number = chance.randrange(len(VARIANTS))
            server.write(f"{number}.yaml", "" if chance.random() < 0.1 else chance.choice(VARIANTS[number]))
            if chance.random() < 0.3:
                for proxy in chance.sample(proxies, chance.choice((1, 1, 5, streams // 4))):
                    proxy.cut()
            await asyncio.sleep(chance.choice((0.0, 0.02, 0.1)))

        for proxy in proxies:
            proxy.misbehaves = False
            proxy.cut()
        write_last(server)
        begin(len(KINDS))
        for proxy in proxies[-len(KINDS) :]:
            proxy.misbehaves = False
        await in_step(server, proxies)
        assert all(proxies[-len(KINDS)].model.held[kind] for kind in ("cds", "eds", "lds", "rds"))
        newest = max(connection.number for connection in server.xds.connections)
        for proxy in proxies:
            proxy.cut()
        await in_step(server, proxies, after=newest)
        assert {proxy.model.resources for proxy in proxies if proxy.model.delta} == {0}

        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        await until(lambda: not server.xds.connections and not server.hub._streams, "all have left", SETTLED_WITHIN)

        def nothing_is_left() -> bool:
            left = Counter(type(found).__name__ for found in alive())
            left.subtract(type(found).__name__ for found in at_rest)
            assert not any(left.values()), left
            return True

        await until(nothing_is_left, "nothing is left of their streams", SETTLED_WITHIN)
        assert len(list(server.hub._groups)) == 0
        assert [event for event in server.log if "exc_info" in event] == [], "faults of our own"


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that has refused something holds up removals for that long."""
    monkeypatch.setattr(ledger, "REMOVAL_PATIENCE", 1.0)


@pytest.fixture(autouse=True)
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What proxies had is kept for their return for that long."""
    monkeypatch.setattr(hub, "_RETURN_WITHIN", 0.0)


@pytest.mark.timeout(240)
async def test_all_end_up_with_the_last_state(tmp_path: Path) -> None:
    await soak(tmp_path, streams=80, seconds=4, seed=1)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_memory_is_that_of_before(tmp_path: Path) -> None:
    """After a first time, which fills caches, what Python holds does not grow by what hundreds of streams did."""
    blocks = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        await soak(folder, streams=200, seconds=60, seed=number)
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    assert blocks[1] < blocks[0] * 1.1
