"""The centre of the server: updates of objects come in, tables are brought to the present, streams are woken.

One loop does all that, in waves. A wave takes in everything that has happened since the last one - updates of objects,
streams that came and went -, computes what is due in slices of a few milliseconds between which streams are served,
publishes all tables at once, and then tells what is wrong. The first event after idle starts a wave at once; what comes
meanwhile is in the next one, so a burst costs two waves, whatever its size.

A fault of our own in a wave is logged, and what it concerns stays as it was; all else goes on.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator

import structlog

from fairlead.errors import SourceError
from fairlead.intent import Endpoint, RuntimeConfiguration
from fairlead.problems import FieldPath, ObjectKey, Position, Problem
from fairlead.resolve import runtime as resolve_runtime
from fairlead.resolve.scope import Proxy
from fairlead.server.convergence import Convergence
from fairlead.server.counts import Counts
from fairlead.server.fleet import Fleet, selections
from fairlead.server.groups import Group, GroupKey, Groups, Subscriber
from fairlead.server.memory import give_back
from fairlead.server.problems import ProblemCounts, Problems
from fairlead.sources.base import Source, Update
from fairlead.world import DEFAULT_RUNTIME, World

_RETURN_WITHIN = 60.0
"""Seconds for which what proxies had is kept up to date after the last of them has left: when a connection is lost,
they all come back at once."""

_MOST_ABANDONED = 16
"""How many groups of proxies are kept so: those that were left last."""

_SLICE = 0.01
"""Seconds of computing between which the event loop lives."""

log = structlog.get_logger()


class Hub:
    """The world, the groups of proxies, and the loop that keeps them in step."""

    def __init__(
        self, source: Source, *, strict_secret_names: bool = False, runtime: Endpoint = DEFAULT_RUNTIME
    ) -> None:
        """`runtime` is where proxies reach the services that they call while they serve requests."""
        self.configure_runtime: Callable[[RuntimeConfiguration], None] = lambda _: None
        """Is told what these services decide by, whenever that has changed."""
        self.world = World(strict_secret_names=strict_secret_names, runtime=runtime)
        self.world.graph.on_failure = self._report_failure
        self.ready = asyncio.Event()
        """Set when all objects have been read and translated once; before that nothing may be answered."""
        self.counts = Counts()
        self.convergence = Convergence(self.counts)
        self._source = source
        self._fleet = Fleet(self.world)
        self._selection_changes = selections(self._fleet).changes(urgent=True)
        self._groups = Groups(self.world)
        self._problems = Problems(self._fleet, source.locate, self._groups.held_problems)
        self._event = asyncio.Event()
        self._updates: list[Update] = []
        self._noticed: float | None = None
        """When the first of what they tell was noticed."""
        self._arrived: dict[Subscriber, None] = {}
        self._left: dict[Subscriber, None] = {}
        self._streams: dict[Proxy, dict[Subscriber, Group | None]] = {}
        """The streams of each proxy, and the group that each has been offered the snapshot of."""
        self._homeless: dict[Subscriber, None] = {}
        """Streams that are new, or whose selection has changed."""
        self._regrouped = True
        """Groups have won or lost members since problems were last told."""
        self._grown = False
        """Groups have been computed from scratch."""
        self._abandoned: dict[Group, float] = {}
        """Groups whose last member has left, and until when they are kept: a time of the event loop."""
        self._unfinished: set[Group] = set()
        """New groups whose computing was given up for something more urgent."""
        self._busy = False
        self._runtime = RuntimeConfiguration()

    # --- What happens ---

    def connect(self, subscriber: Subscriber) -> None:
        """A stream has begun; it is offered a snapshot in the next wave."""
        self._arrived[subscriber] = None
        self._event.set()

    def disconnect(self, subscriber: Subscriber) -> None:
        """A stream has ended."""
        self._left[subscriber] = None
        self._event.set()

    async def deliver(self, update: Update) -> None:
        """Objects have changed."""
        self._updates.append(update)
        noticed = time.monotonic() if update.noticed is None else update.noticed
        self._noticed = min(noticed, self._noticed or noticed)
        self._event.set()

    @property
    def settled(self) -> bool:
        """Whether all that has happened is in the tables, and every stream has been offered its own."""
        return not (self._busy or self._event.is_set() or self._homeless)

    async def run(self) -> None:
        """Work until cancelled. Raises what ended the source, `SourceError` if it ended by itself."""
        tasks = [asyncio.create_task(self._source.run(self.deliver)), asyncio.create_task(self._waves())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise SourceError("the source of objects has ended: their changes would go unnoticed")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- Waves ---

    async def _waves(self) -> None:
        synced = False
        while True:
            await self._event.wait()
            self._event.clear()
            self._busy = True
            updates, self._updates = self._updates, []
            noticed, self._noticed = self._noticed, None
            self.counts.wave(updates, proxies=bool(self._arrived))
            for update in updates:
                self._apply(update)
                synced = synced or update.synced
            if synced:
                with _fault_logged("a change could not be carried out; the last state is kept"):
                    await self._wave(noticed)
                    self._busy = False
            told = True
            with _fault_logged("problems could not be told"):
                told = await self._tell(synced=synced)
            if synced and told:
                self.ready.set()

    def _apply(self, update: Update) -> None:
        for kind, name in update.removed:
            with _fault_logged("an object could not be removed", kind=kind.kind, name=name):
                self.world.remove(kind, name)
        for obj in update.put:
            with _fault_logged("an object could not be taken in; its last version is kept", object=str(obj.key)):
                self.world.put(obj)
        with _fault_logged("problems could not be taken in; the last ones stay"):
            self._problems.set_source(update.problems)

    async def _wave(self, noticed: float | None) -> None:
        self._admit()
        self._tell_runtime()
        await self._in_slices(selections(self._fleet).refresh_steps())
        for proxy in self._selection_changes.take():
            self._homeless.update(dict.fromkeys(self._streams.get(proxy, ())))
        moves = self._moves()
        # A stream that moves must not see the end of its old group before it is in its new one. But streams that are
        # new can wait: to compute a group from scratch must not hold up the others.
        moving = {group for subscriber, group in moves if self._streams[subscriber.proxy][subscriber] is not None}
        moving &= self._groups.unfilled.keys()
        await self._in_slices(self._groups.steps(moving))
        with self.convergence.publishing(noticed):
            self._publish(moving, moves)
        new = set(self._groups.unfilled)
        finished = not new or await self._in_slices(self._groups.steps(new), until=self._others_wait)
        self._unfinished = set() if finished else new
        if finished:
            self._publish(new, moves)
            self._grown = self._grown or bool(new)

    def _tell_runtime(self) -> None:
        # Before proxies are told: what the services know nothing of, they let pass.
        with _fault_logged("what the runtime services decide by could not be told; they keep what they have"):
            found = resolve_runtime.configuration(self.world)
            if found != self._runtime:
                self._runtime = found
                self.configure_runtime(found)

    def _publish(self, new: set[Group], moves: list[tuple[Subscriber, Group]]) -> None:
        for group in self._groups.publish(new):
            for subscriber in group.members - self._homeless.keys():
                subscriber.wake()
        for subscriber, group in moves:
            self._move(subscriber, group)

    def _admit(self) -> None:
        """Take in who came and who went."""
        arrived, self._arrived = self._arrived, {}
        left, self._left = self._left, {}
        for subscriber in arrived:
            self._streams.setdefault(subscriber.proxy, {})[subscriber] = None
            self._fleet.proxies.set(subscriber.proxy, True)
            self._homeless[subscriber] = None
        for subscriber in left:
            streams = self._streams.get(subscriber.proxy, {})
            group = streams.pop(subscriber, None)
            if group is not None:
                group.members.discard(subscriber)
                self._regrouped = True
                if not group.members:
                    self._keep_for_a_while(group)
            if not streams:
                self._streams.pop(subscriber.proxy, None)
                self._fleet.proxies.delete(subscriber.proxy)
            self._homeless.pop(subscriber, None)

    def _keep_for_a_while(self, group: Group) -> None:
        loop = asyncio.get_running_loop()
        self._abandoned.pop(group, None)
        self._abandoned[group] = loop.time() + _RETURN_WITHIN
        loop.call_later(_RETURN_WITHIN, self._look_at_groups)

    def _look_at_groups(self) -> None:
        self._regrouped = True
        self._event.set()

    def _in_use(self) -> set[Group]:
        """The groups without members that are not to be dropped yet."""
        now = asyncio.get_running_loop().time()
        awaited = [item for item in self._abandoned.items() if item[1] > now and not item[0].members]
        self._abandoned = dict(awaited[-_MOST_ABANDONED:])
        return self._unfinished | self._abandoned.keys()

    def _moves(self) -> list[tuple[Subscriber, Group]]:
        """The groups that streams without one, or with another one, belong to."""
        moves = []
        for subscriber in self._homeless:
            proxy = subscriber.proxy
            outcome = selections(self._fleet).get(proxy)
            if outcome is not None:  # else it could not be computed, which has been told
                with _fault_logged("a proxy has no place"):
                    before = self._streams[proxy][subscriber]
                    moves.append((subscriber, self._groups.get(GroupKey.of(outcome.value, proxy), proxy, before)))
        return moves

    def _move(self, subscriber: Subscriber, group: Group) -> None:
        if subscriber not in self._homeless or not group.filled:
            return  # to offer what has not been computed would empty the proxy
        del self._homeless[subscriber]
        streams = self._streams[subscriber.proxy]
        before, streams[subscriber] = streams[subscriber], group
        if before is group:
            subscriber.wake()
        else:
            subscriber.offer(group.snapshot)
            group.members.add(subscriber)
            self._regrouped = True
            if before is not None:
                before.members.discard(subscriber)

    def _report_failure(self, function: str, key: object, failure: Exception) -> None:
        log.error("a value could not be computed; its last one is kept", function=function, key=key, exc_info=failure)

    # --- Problems ---

    async def _tell(self, *, synced: bool) -> bool:
        """Find out what is wrong, and log what is new; returns whether that came to an end before the next event."""
        await asyncio.sleep(0)  # what has been published goes out first
        if synced:
            if self._regrouped:
                keys = [group.key for group in self._groups if group.members]
                self._problems.set_served({(key.selection, key.locality) for key in keys})
            if not await self._in_slices(self._problems.steps(), until=self._event.is_set):
                return False
            if self._regrouped or self._groups.unfilled:
                # Only now, for proxies that are expected once more have a use for what those that left had.
                self._regrouped = False
                await self._in_slices(self._groups.drop_unused(self._in_use()))
        await self._in_slices(self._problems.tell())
        if self._grown:
            self._grown = False
            give_back()
        return True

    @property
    def groups(self) -> Iterable[Group]:
        """All groups of streams that are offered the same."""
        return self._groups

    @property
    def problem_counts(self) -> ProblemCounts:
        """How many problems there are, and were."""
        return self._problems.counts()

    def problems(self) -> list[Problem]:
        """What is wrong now, with places."""
        return self._problems.present()

    def held(self) -> frozenset[Problem]:
        """Why virtual hosts are held at an earlier state, see `fairlead.holding`."""
        return frozenset(self._groups.held_problems.keys())

    def locate_object(self, key: ObjectKey) -> Position | None:
        """Where an object is written."""
        return self._source.locate(key, ())

    def locate(self, key: ObjectKey, path: FieldPath) -> Position | None:
        """Where a field of an object is written."""
        return self._source.locate(key, path)

    def _others_wait(self) -> bool:
        """Whether something has happened that must not wait for a new group.

        More streams of proxies that are new themselves can: were each of a thousand that come at once to start the
        computing over, it would not come to an end before the last of them.
        """
        arrived = (self._streams.get(subscriber.proxy, {}) for subscriber in self._arrived)
        return bool(self._updates) or any(group is not None for streams in arrived for group in streams.values())

    async def _in_slices(self, steps: Iterator[None], *, until: Callable[[], bool] = lambda: False) -> bool:
        """Let others have their turn every few milliseconds; returns whether the steps came to an end.

        They are given up for the next wave when `until` says so; what has been computed stays.
        """
        turn = time.perf_counter() + _SLICE
        for _ in steps:
            if time.perf_counter() > turn:
                await asyncio.sleep(0)
                if until():
                    if isinstance(steps, Generator):
                        steps.close()  # now, for half-done steps hold up those of the next wave
                    return False
                turn = time.perf_counter() + _SLICE
        return True


@contextlib.contextmanager
def _fault_logged(event: str, **details: object) -> Iterator[None]:
    """Go on after the block whatever it raises: one fault of ours must not become that of all proxies."""
    try:
        yield
    except Exception:
        log.exception(event, **details)
