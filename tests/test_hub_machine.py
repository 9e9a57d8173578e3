"""Any interleaving of edits and proxies, from objects to what proxies hold: a real hub, real streams, no sockets.

Proxies connect, answer late, refuse, lie, lose their stream and come back, while objects change and the hub is
interrupted anywhere. `support.envoy_model` judges what each is sent. In the end everybody holds what another hub makes
of the same objects, and a proxy that comes fresh holds the same; whoever comes back is sent nothing.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any

import pytest
import structlog
from fairlead.models.base import KubernetesObject
from fairlead.problems import FieldPath, ObjectKey, Position
from fairlead.protocol import ledger
from fairlead.resolve.scope import Proxy
from fairlead.server import connection as connections
from fairlead.server import convergence
from fairlead.server import hub as hubs
from fairlead.server.connection import Connection, DeltaConnection, StateOfTheWorldConnection
from fairlead.server.convergence import Progress
from fairlead.server.hub import Hub
from fairlead.snapshot.table import Snapshot, Table
from fairlead.sources.base import Deliver, Update
from fairlead.world import ObjectName
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from support.envoy_model import KINDS, EnvoyModel
from support.machines import run_machine
from support.variants import APPS, VARIANTS
from support.worlds import objects

# --- Objects ----------------------------------------------------------------------------------------------------------


POOL = [[objects(text)[0] for text in texts] for texts in VARIANTS]
AT_FIRST = 9
"""How many of them are there when the hub starts, in their first variant."""

EDITS = st.lists(
    st.sampled_from([(of, variant) for of, variants in enumerate(POOL) for variant in (None, *range(len(variants)))]),
    min_size=1,
    max_size=3,
)


def update(edits: list[tuple[int, int | None]]) -> Update:
    put: list[KubernetesObject] = []
    removed: list[tuple[type[KubernetesObject], ObjectName]] = []
    for of, variant in dict(edits).items():
        if variant is None:
            kind, metadata = type(POOL[of][0]), POOL[of][0].metadata
            removed.append((kind, ObjectName(metadata.namespace, metadata.name)))
        else:
            put.append(POOL[of][variant])
    return Update(tuple(put), tuple(removed), (), synced=True)


class Script:
    """A source that tells what the machine tells it to."""

    def __init__(self, *first: tuple[int, int | None]) -> None:
        self.deliver: Deliver | None = None
        self._first = list(first)

    async def run(self, deliver: Deliver) -> None:
        self.deliver = deliver
        await deliver(update(self._first))
        await asyncio.Event().wait()

    def locate(self, key: ObjectKey, path: FieldPath) -> Position | None:
        return None


# --- Time and proxies -------------------------------------------------------------------------------------------------


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when told to. It must never be left without something to do at once.

    It is a clock for others, too, that have the module `time` for that; `perf_counter` counts how often it is asked.
    """

    now = 1000.0
    asked = 0

    def time(self) -> float:
        return self.now

    monotonic = time

    def perf_counter(self) -> float:
        self.asked += 1
        return self.asked * 0.001


class Watcher:
    """A subscriber that says nothing."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.offered: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()

    def offer(self, snapshot: Snapshot) -> None:
        self.offered.set_result(snapshot)

    def wake(self) -> None:
        pass


class Wire:
    """A proxy and its stream, with what is under way in both directions."""

    def __init__(self, hub: Hub, model: EnvoyModel) -> None:
        self.model = model
        self.requests: deque[bytes] = deque()
        self.responses: deque[bytes] = deque()
        self.connection: Connection | None = None
        self._hub = hub
        self._kind = DeltaConnection if model.delta else StateOfTheWorldConnection
        self._task: asyncio.Task[None] | None = None

    def dial(self) -> None:
        self.cut()
        self.requests.extend(self.model.connect())

    def cut(self) -> None:
        """The stream ends, and what is under way is lost."""
        self.requests.clear()
        self.responses = deque()  # what the server still writes to the old one reaches nobody
        if self.connection is not None:
            assert self._task is not None
            assert not self._task.done()
            self._task.cancel()
            self._hub.disconnect(self.connection)
            self.connection.progress.leave()
            self.connection = None

    @property
    def proxy(self) -> Proxy:
        assert self.connection is not None
        return self.connection.proxy

    def speak(self, loop: Loop, count: int = 1000) -> int:
        """Let requests arrive; returns how many did."""
        count = min(count, len(self.requests))
        for data in [self.requests.popleft() for _ in range(count)]:
            if self.connection is not None:
                self._arrived.put_nowait(data)
                continue
            self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
            self._room = asyncio.Event()
            progress = Progress(self._hub.convergence)
            self.connection = self._kind("peer", progress, self._hub.locate_object, "")
            self.connection.open(data)
            self._hub.connect(self.connection)
            self._task = loop.create_task(
                self.connection.converse(self._arrived.get, partial(self._write, self.responses))
            )
        return count

    def hear(self, count: int = 1000) -> int:
        """Let the proxy read; returns how many responses there were."""
        for done in range(count):
            if not self.responses:
                return done
            self.requests.extend(self.model.take(self.responses.popleft()))
            self._room.set()
        return count

    async def _write(self, responses: deque[bytes], _size: int, encode: Callable[[], bytes]) -> int:
        # Flow control: responses that nobody reads keep the writer.
        while len(responses) >= 2:
            self._room.clear()
            await self._room.wait()
        data = encode()
        responses.append(data)
        return len(data)


# --- The machine ------------------------------------------------------------------------------------------------------

REFUSED = ("cds",)
POISONS = [None, None, None, b"b.example.com", b"store", b"10.0.0.2", b"8081", b"nowhere"]
"""What proxies refuse resources of these types for that have it in them, if anything."""

proxies = st.integers(0, 3)
KINDS_OF_PROXIES = st.tuples(
    st.booleans(), st.sampled_from(APPS), st.sampled_from([True, True, False]), st.sampled_from(["", "::1"])
)
"""Variant of the protocol, label, whether virtual hosts are discovered, and the address to bind."""


class HubMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._exits = contextlib.ExitStack()
        self.log = self._exits.enter_context(structlog.testing.capture_logs())
        self.loop = Loop()
        patch = self._exits.enter_context(pytest.MonkeyPatch.context())
        for module in (connections, convergence, hubs):
            patch.setattr(module, "time", self.loop)
        self.present: dict[int, int | None] = dict.fromkeys(range(AT_FIRST), 0)
        self.source = Script(*self.present.items())
        self.hub = Hub(self.source)
        self.task = self.loop.create_task(self.hub.run())
        self.wires: list[Wire] = []
        self.poison: bytes | None = None
        """What is in a resource that is refused."""
        self.turn(1)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    # --- What happens ---

    @rule(turns=st.sampled_from([1, 3, 10, 40]))
    def turn(self, turns: int) -> None:
        """The hub and the streams go on for a while."""

        async def idle() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self._run(idle())
        assert not self.task.done()

    @rule(edits=EDITS)
    def edit(self, edits: list[tuple[int, int | None]]) -> None:
        if self.source.deliver is None:
            self.turn(3)
        assert self.source.deliver is not None
        self.present |= dict(edits)
        self._run(self.source.deliver(update(edits)))

    @rule(seconds=st.sampled_from([1, 7, ledger.REMOVAL_PATIENCE]))
    def wait(self, seconds: float) -> None:
        self.loop.now += seconds
        self.turn(1)

    @initialize(kinds=st.lists(KINDS_OF_PROXIES, min_size=1, max_size=3), poison=st.sampled_from(POISONS))
    def begin(self, kinds: list[tuple[bool, str, bool, str]], poison: bytes | None) -> None:
        self.poison = poison
        for kind in kinds:
            self.connect(kind)

    @rule(kind=KINDS_OF_PROXIES)
    def connect(self, kind: tuple[bool, str, bool, str]) -> None:
        if len(self.wires) < 4:
            delta, app, hosts, address = kind
            metadata = {"NAMESPACE": "edge", "LABELS": {"app": app}, "VHDS": hosts, "BIND_ADDRESS": address}
            name = f"proxy-{len(self.wires)}"
            model = EnvoyModel(delta=delta, node_id=name, metadata=metadata, refuse=self._refuse)
            self.wires.append(wire := Wire(self.hub, model))
            wire.dial()
            wire.speak(self.loop)

    def _refuse(self, kind: str, body: bytes) -> bool:
        return kind in REFUSED and self.poison is not None and self.poison in body

    def _chosen(self, which: int) -> Iterator[Wire]:
        if self.wires:
            yield self.wires[which % len(self.wires)]

    @rule(which=proxies, count=st.sampled_from([1, 2, 10]))
    def speak(self, which: int, count: int) -> None:
        for wire in self._chosen(which):
            wire.speak(self.loop, count)

    @rule(which=proxies, count=st.sampled_from([1, 2, 10]), turns=st.sampled_from([0, 3, 40]))
    def hear(self, which: int, count: int, turns: int) -> None:
        if turns:
            self.turn(turns)
        for wire in self._chosen(which):
            wire.hear(count)

    @rule(rounds=st.sampled_from([1, 3, 10]))
    def converse(self, rounds: int) -> None:
        """All answer as fast as they can, for a while."""
        for _ in range(rounds):
            self.turn(10)
            for wire in self.wires:
                wire.hear()
                wire.speak(self.loop)

    @rule(edits=EDITS, rounds=st.sampled_from([3, 10]))
    def edit_in_peace(self, edits: list[tuple[int, int | None]], rounds: int) -> None:
        self.converse(rounds)
        self.edit(edits)

    @rule(which=proxies)
    def reconnect(self, which: int) -> None:
        for wire in self._chosen(which):
            wire.dial()

    @rule(which=proxies)
    def vanish(self, which: int) -> None:
        for wire in self._chosen(which):
            wire.cut()

    @rule(which=proxies, kind=st.sampled_from(KINDS))
    def lie(self, which: int, kind: str) -> None:
        """Answer what was never said."""
        for wire in self._chosen(which):
            if wire.connection is not None and kind in wire.model.opened:
                wire.requests.append(wire.model.speak_stale(kind))

    @rule(which=proxies, kind=st.sampled_from(["eds", "rds", "sds"]), names=st.sampled_from([{"ghost"}, set()]))
    def imagine(self, which: int, kind: str, names: set[str]) -> None:
        """Ask for what does not exist, or not any more."""
        for wire in self._chosen(which):
            # In the state of the world, nobody sees a name that is dropped and asked for anew between two responses.
            if wire.connection is not None and (names or wire.model.delta):
                wire.requests.extend(wire.model.want(kind, set(names)))

    # --- What has to be true ---

    def teardown(self) -> None:
        try:
            self._judge()
        finally:
            self.task.cancel()
            for wire in self.wires:
                wire.cut()
            with contextlib.suppress(asyncio.CancelledError):
                self.loop.run_until_complete(self.task)
            self.loop.close()
            self._exits.close()

    def _judge(self) -> None:
        for wire in self.wires:
            if wire.connection is None and not wire.requests:
                wire.dial()
        self._settle()
        if self.hub.held():
            # What is held depends on what has been; another hub has nothing to hold.
            self.edit([(of, 0) for of in range(len(POOL))])
            self._settle()
            assert not self.hub.held()
        for wire in list(self.wires):
            other = EnvoyModel(delta=wire.model.delta, metadata=wire.model.metadata, refuse=self._refuse)
            self.wires.append(fresh := Wire(self.hub, other))
            fresh.dial()
        self._settle()
        tables = self._run(self._made_anew([wire.proxy for wire in self.wires]))
        for wire in self.wires:
            lacks = wire.model.lacks(tables[wire.proxy])
            assert lacks == {}, lacks
            wire.dial()
        self._settle()
        for wire in self.wires:
            lacks = wire.model.lacks(tables[wire.proxy])
            assert lacks == {}, lacks
            if wire.model.delta and self.poison is None:
                assert wire.model.resources == 0, "it had everything"
        assert [event for event in self.log if "exc_info" in event] == [], "faults of our own"

    async def _made_anew(self, proxies: list[Proxy]) -> dict[Proxy, Mapping[str, Table]]:
        """What another hub makes of the same objects for these proxies."""
        hub = Hub(Script(*self.present.items()))
        task = self.loop.create_task(hub.run())
        watchers = {proxy: Watcher(proxy) for proxy in proxies}
        for watcher in watchers.values():
            hub.connect(watcher)
        tables = {proxy: (await watcher.offered).tables for proxy, watcher in watchers.items()}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return tables

    def _settle(self) -> None:
        """Until nobody has anything to say, now and later."""
        for _ in range(60):
            self.turn(40)
            said = sum(wire.hear() + wire.speak(self.loop) for wire in self.wires)
            if said or not self.hub.settled:
                continue
            later = [connection.stream.wake_at for wire in self.wires if (connection := wire.connection)]
            if not any(later):
                return
            self.loop.now += ledger.REMOVAL_PATIENCE
        raise AssertionError("no end of responses")


@pytest.fixture(params=["ten steps", "one step"], autouse=True)
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much the hub computes at a time: so little that much comes between."""
    if request.param == "one step":
        monkeypatch.setattr(hubs, "_SLICE", 0.0)


@pytest.mark.timeout(300)
def test_any_interleaving_converges() -> None:
    run_machine(HubMachine, examples=120, steps=25)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_very_many_interleavings_converge() -> None:
    run_machine(HubMachine, examples=1000, steps=50)
