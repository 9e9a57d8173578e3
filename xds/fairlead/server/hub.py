"""The centre of the server: updates of objects come in, tables are brought to the present, streams are woken.

One loop does all that, in waves. A wave takes in everything that has happened since the last one - updates of objects,
proxies that came and went -, computes what is due in slices of a few milliseconds between which streams are served,
then publishes all tables at once. The first event after idle starts a wave at once; what comes meanwhile is in the
next one, so a burst costs two waves, whatever its size.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Protocol

import structlog

from fairlead import translation
from fairlead.problems import ObjectKey, Position, Problem, Severity
from fairlead.resolve.scope import Proxy
from fairlead.resolve.selection import selection_problems
from fairlead.server.groups import Fleet, GroupKey, Groups, selections
from fairlead.snapshot.table import Snapshot
from fairlead.sources.base import Source, Update
from fairlead.world import World

_SLICE = 0.01
"""Seconds of computing between which the event loop lives."""

log = structlog.get_logger()


class Subscriber(Protocol):
    """A stream, as the hub sees it."""

    @property
    def proxy(self) -> Proxy:
        """What decides about what it is offered."""
        ...

    def offer(self, snapshot: Snapshot) -> None:
        """Serve from this snapshot from now on."""
        ...

    def wake(self) -> None:
        """The tables of the snapshot have changed."""
        ...


class Hub:
    """The world, the groups of proxies, and the loop that keeps them in step."""

    def __init__(self, source: Source, *, strict_secret_names: bool = False) -> None:
        self.world = World(strict_secret_names=strict_secret_names)
        self.world.graph.on_failure = self._report_failure
        self.ready = asyncio.Event()
        """Set when all objects have been read and translated once; before that nothing may be answered."""
        self._source = source
        self._fleet = Fleet(self.world)
        self._groups = Groups(self.world)
        self._selection_changes = selections(self._fleet).changes()
        self._updates: list[Update] = []
        self._arrived: list[Subscriber] = []
        self._left: list[Subscriber] = []
        self._wake = asyncio.Event()
        self._subscribers: dict[Proxy, dict[Subscriber, GroupKey]] = {}
        self._source_problems: tuple[Problem, ...] = ()
        self._problems: dict[Problem, Problem] = {}

    # --- What happens ---

    def connect(self, subscriber: Subscriber) -> None:
        """A stream has begun; it is offered a snapshot in the next wave."""
        self._arrived.append(subscriber)
        self._wake.set()

    def disconnect(self, subscriber: Subscriber) -> None:
        """A stream has ended."""
        self._left.append(subscriber)
        self._wake.set()

    async def deliver(self, update: Update) -> None:
        """Objects have changed."""
        self._updates.append(update)
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._source.run(self.deliver))
            tasks.create_task(self._waves())

    # --- Waves ---

    async def _waves(self) -> None:
        synced = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            updates, self._updates = self._updates, []
            for update in updates:
                self._apply(update)
                synced = synced or update.synced
            if synced:
                await self._wave()
                self._report_problems()
                self.ready.set()

    def _apply(self, update: Update) -> None:
        for kind, name in update.removed:
            self.world.remove(kind, name)
        for obj in update.put:
            self.world.put(obj)
        self._source_problems = update.problems

    async def _wave(self) -> None:
        arrived = self._admit()
        await _in_slices(selections(self._fleet).refresh_steps())
        moved = self._assign(arrived)
        await _in_slices(self._groups.steps())
        changed = self._groups.publish()
        for subscriber, snapshot in moved:
            subscriber.offer(snapshot)
        self._groups.keep_only({key for keys in self._subscribers.values() for key in keys.values()})
        if changed:
            for subscribers in self._subscribers.values():
                for subscriber in subscribers:
                    subscriber.wake()

    def _admit(self) -> list[Subscriber]:
        arrived, self._arrived = self._arrived, []
        left, self._left = self._left, []
        for subscriber in arrived:
            self._fleet.arrive(subscriber.proxy)
        for subscriber in left:
            if subscriber in arrived:
                arrived.remove(subscriber)
            else:
                subscribers = self._subscribers.get(subscriber.proxy, {})
                subscribers.pop(subscriber, None)
                if not subscribers:
                    self._subscribers.pop(subscriber.proxy, None)
            self._fleet.leave(subscriber.proxy)
        return arrived

    def _assign(self, arrived: list[Subscriber]) -> list[tuple[Subscriber, Snapshot]]:
        """Find the groups of streams that are new, or whose selection has changed."""
        moving = list(arrived)
        for proxy in self._selection_changes.take():
            moving += self._subscribers.get(proxy, {})
        moved = []
        for subscriber in moving:
            proxy = subscriber.proxy
            selected = selections(self._fleet).get(proxy)
            if selected is None:
                continue  # it could not be computed, which has been reported
            key = GroupKey.of(selected, proxy)
            self._subscribers.setdefault(proxy, {})[subscriber] = key
            moved.append((subscriber, self._groups.get(key, proxy).snapshot))
        return moved

    def _report_failure(self, function: str, key: object, failure: Exception) -> None:
        log.error("a value could not be computed; its last one is kept", function=function, key=key, exc_info=failure)

    # --- Problems ---

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong now, with places."""
        return tuple(self._problems.values())

    def _report_problems(self) -> None:
        """Log each problem once, when it appears, and once more when it is solved."""
        found = set(self._source_problems) | translation.review_problems(self.world)
        for group in self._groups:
            found |= translation.problems(self.world, group.key.selection, group.key.locality)
        for proxy in self._subscribers:
            found.update(selection_problems(self.world, proxy))
        before, self._problems = self._problems, {}
        for problem in found:
            self._problems[problem] = before.get(problem) or self._place(problem)
        for problem in self._problems.keys() - before.keys():
            _log_problem(self._problems[problem])
        for problem in before.keys() - self._problems.keys():
            log.info("solved", **_problem_fields(before[problem]))

    def locate_object(self, key: ObjectKey) -> Position | None:
        """Where an object is written."""
        return self._source.locate(key, ())

    def _place(self, problem: Problem) -> Problem:
        if problem.position is None and problem.key is not None:
            return problem.at(self._source.locate(problem.key, problem.path))
        return problem


def _log_problem(problem: Problem) -> None:
    level = log.error if problem.severity is Severity.ERROR else log.warning
    level(problem.message, **_problem_fields(problem), hint=problem.hint)


def _problem_fields(problem: Problem) -> dict[str, str]:
    return {"code": problem.code, "at": str(problem.position or ""), "object": str(problem.key or "")}


async def _in_slices(steps: Iterator[None]) -> None:
    until = time.perf_counter() + _SLICE
    for _ in steps:
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + _SLICE
