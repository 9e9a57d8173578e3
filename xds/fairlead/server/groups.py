"""Proxies in groups that are offered the same resources, and the tables that hold these.

A group is a selection with what else decides: locality, addresses, discovery of virtual hosts. Groups share every
table that does not depend on where they differ. A table exists as long as a group has it, and holds what is derived
from objects, but for what is held (`fairlead.holding`).
"""

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import structlog

from fairlead import translation
from fairlead.derive import Changes, Collection, Input
from fairlead.holding import HeldProblems, Holding
from fairlead.intent import Backend
from fairlead.resolve.dialect import VirtualHostKey
from fairlead.resolve.scope import Locality, Proxy, Selection
from fairlead.resolve.sidecar.listeners import Direction
from fairlead.resolve.sidecar.listeners import Key as SidecarListener
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Snapshot, Table
from fairlead.world import World

log = structlog.get_logger()


class Subscriber(Protocol):
    """A stream, as those see it who decide what it is offered."""

    @property
    def proxy(self) -> Proxy:
        """What decides about what it is offered."""
        ...

    def offer(self, snapshot: Snapshot) -> None:
        """Serve from this snapshot from now on."""
        ...

    def wake(self) -> None:
        """Tables of the snapshot have changed."""
        ...


@dataclass(frozen=True, slots=True)
class GroupKey:
    """What makes proxies be offered the same."""

    selection: Selection
    locality: Locality
    bind_address: str
    address: str
    virtual_host_discovery: bool

    @classmethod
    def of(cls, selected: Selection, proxy: Proxy) -> "GroupKey":
        """The group of a proxy."""
        return cls(selected, proxy.locality, proxy.bind_address, proxy.address, proxy.virtual_host_discovery)


_Overlay = Callable[[Any, Resource | None, Resource | None], Resource | None]
"""Key, what is derived, what is published -> what is to be published."""


class _Feed:
    """A table that follows a derived map."""

    def __init__(
        self, type_url: str, source: Collection[Any, Resource], overlay: _Overlay | None, due: "dict[_Feed, None]"
    ) -> None:
        """It puts itself into `due` when there is something to publish."""
        self.table = Table(type_url)
        self.groups: set[Group] = set()
        """Those that have the table."""
        self.filled = False
        """The table has been made from the map at least once."""
        self._source = source
        self._overlay = overlay
        self._due = due
        self._changes: Changes[Any] = source.changes(lambda: due.setdefault(self), urgent=True)
        self._again: set[Any] = set()
        """Keys of which something else may have to be published though what is derived has not changed."""
        self._names: dict[Hashable, str] = {}

    def steps(self) -> Iterator[None]:
        """Compute what is due in small steps."""
        with contextlib.suppress(Exception):  # `publish` comes upon it as well, and tells
            yield from self._source.refresh_steps()

    def again(self, keys: Iterable[Any]) -> None:
        """Look at these keys when publishing next."""
        self._again.update(keys)
        if self._again:
            self._due.setdefault(self)

    def publish(self) -> bool:
        """Bring the table to the present; returns whether its content has changed."""
        changes: dict[str, Resource | None] = {}
        appeared: dict[str, Resource | None] = {}
        for key in self._changes.take() | self._again:
            resource = self._source.get(key)
            before = self._names.pop(key, None)
            if self._overlay is not None:
                resource = self._overlay(key, resource, None if before is None else self.table.get(before))
            if before is not None:
                changes[before] = None
            if resource is not None:
                self._names[key] = resource.name
                appeared[resource.name] = resource
        self._again.clear()
        self.filled = True
        return bool(self.table.update({**changes, **appeared}))

    def close(self) -> None:
        """End the following."""
        self._changes.close()


class Group:
    """The streams of one key, and the snapshot that they are offered."""

    def __init__(self, key: GroupKey, feeds: list[_Feed], holding: Holding) -> None:
        self.key = key
        self.feeds = feeds
        self.holding = holding
        self.snapshot = Snapshot(key, [feed.table for feed in feeds])
        self.members: set[Subscriber] = set()
        self.filled = False
        """All tables have been published at least once, so that one that is empty is meant to be."""


class Groups:
    """All groups that have streams."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.unfilled: dict[Group, None] = {}
        """Those of which not all tables have been published yet."""
        self.held_problems: HeldProblems = Input(world.graph)
        self._groups: dict[GroupKey, Group] = {}
        self._feeds: dict[Collection[Any, Any], _Feed] = {}
        self._due: dict[_Feed, None] = {}
        """The tables with something to publish."""
        self._holdings: dict[Selection, Holding] = {}
        self._due_holdings: dict[Holding, None] = {}
        """Those that have to decide anew what is held."""
        self._begun: set[Holding] = set()
        """Those of which something has been published."""

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def get(self, key: GroupKey, proxy: Proxy, before: Group | None = None) -> Group:
        """The group of that key, made when it is new; its tables are filled by the next `steps` and `publish`.

        `before`: the group that its first member has been in, so that what is held there is held here as well.
        """
        group = self._groups.get(key)
        if group is None:
            holding = self._holding(key.selection.shared, before)
            of_listeners = partial(_of_sidecar, holding.listener) if key.selection.workload else holding.listener
            overlays: dict[str, _Overlay] = {
                types.LISTENER: of_listeners,
                types.CLUSTER: partial(holding.cluster, key.locality),
                types.CLUSTER_LOAD_ASSIGNMENT: partial(holding.endpoints, key.locality),
                types.VIRTUAL_HOST: holding.virtual_host,
            }
            if not key.virtual_host_discovery:
                overlays[types.ROUTE_CONFIGURATION] = holding.route_configuration
            maps = translation.resource_maps(self._world, key.selection, proxy)
            feeds = [
                self._feed(type_url, cast(Collection[Any, Resource], source), overlays.get(type_url))
                for type_url, source in maps.items()
            ]
            group = self._groups[key] = Group(key, feeds, holding)
            self.unfilled[group] = None
            for feed in feeds:
                feed.groups.add(group)
            _again(group, (), (), holding.lost)
        return group

    def _holding(self, selection: Selection, before: Group | None) -> Holding:
        holding = self._holdings.get(selection)
        if holding is None:
            earlier = None if before is None else before.holding
            holding = Holding(self._world, selection, self.held_problems, earlier, self._decide)
            self._holdings[selection] = holding
            self._decide(holding)
        return holding

    def _decide(self, holding: Holding) -> None:
        self._due_holdings[holding] = None

    def _feed(self, type_url: str, source: Collection[Any, Resource], overlay: _Overlay | None) -> _Feed:
        feed = self._feeds.get(source)
        if feed is None:
            feed = self._feeds[source] = _Feed(type_url, source, overlay, self._due)
        return feed

    def steps(self, new: Set[Group]) -> Iterator[None]:
        """Compute what changes have made due, and the tables of these new groups, in small steps.

        Between two of them the caller may do other things. Tables that no change concerns cost nothing.
        """
        yield from self._world.graph.settle_steps(urgent=True)
        for feed in _unfilled_feeds(new):
            yield from feed.steps()
        # What comes from another selection does so before that one has gone on.
        coming = {group.holding for group in new} - self._begun
        for due in (coming & self._due_holdings.keys(), self._begun & self._due_holdings.keys()):
            for holding in due:
                yield from self._hold(holding)

    def _hold(self, holding: Holding) -> Iterator[None]:
        del self._due_holdings[holding]
        finished = False
        try:
            yield from holding.steps()
            finished = True
        except Exception:
            log.exception("what is held could not be decided; it stays as it was")
        finally:
            if not finished:
                self._decide(holding)
        touched = holding.take_touched()
        if any(touched):
            for group in self:
                if group.holding is holding:
                    _again(group, *touched)

    def publish(self, new: Set[Group]) -> set[Group]:
        """Bring all tables but those of other new groups to the present at once; returns the groups with changes.

        A table that cannot be computed stays as it is.
        """
        changed: set[Group] = set()
        for feed in (*(feed for feed in self._due if feed.filled), *_unfilled_feeds(new)):
            try:
                if feed.publish():
                    changed |= feed.groups
                self._due.pop(feed, None)
            except Exception:
                log.exception("a table could not be computed; its last state is kept", type_url=feed.table.type_url)
        for group in new:
            group.filled = all(feed.filled for feed in group.feeds)
            if group.filled:
                self.unfilled.pop(group, None)
                self._begun.add(group.holding)
                group.holding.forget_before()
        return changed

    def drop_unused(self, in_use: Set[Group]) -> Iterator[None]:
        """Forget the groups without members, and the tables that only they had, in small steps.

        Those that are `in_use` stay: they will have members, or have them again.
        """
        for group in [group for group in self if not group.members and group not in in_use]:
            del self._groups[group.key]
            self.unfilled.pop(group, None)
            for feed in group.feeds:
                feed.groups.discard(group)
        for source in [source for source, feed in self._feeds.items() if not feed.groups]:
            feed = self._feeds.pop(source)
            feed.close()
            self._due.pop(feed, None)
            yield
        for holding in set(self._holdings.values()) - {group.holding for group in self}:
            del self._holdings[holding.selection]
            holding.close()
            self._due_holdings.pop(holding, None)
            self._begun.discard(holding)


def _of_sidecar(
    overlay: _Overlay, key: SidecarListener, resource: Resource | None, published: Resource | None
) -> Resource | None:
    """What the overlay of listeners makes of one of a sidecar: nothing is held of what reaches the application."""
    direction, name = key
    return overlay(name, resource, published) if direction is Direction.OUTBOUND else resource


def _again(
    group: Group, hosts: Iterable[VirtualHostKey], listeners: Iterable[str], backends: Iterable[Backend]
) -> None:
    """Let the tables of a group look again at virtual hosts, at listeners and at backends."""
    is_sidecar = group.key.selection.workload is not None
    keys: dict[str, Iterable[Any]] = {
        types.LISTENER: [(Direction.OUTBOUND, name) for name in listeners] if is_sidecar else listeners,
        types.VIRTUAL_HOST: hosts,
        types.CLUSTER: backends,
        types.CLUSTER_LOAD_ASSIGNMENT: backends,
    }
    if not group.key.virtual_host_discovery:
        keys[types.ROUTE_CONFIGURATION] = {key.route_table for key in hosts}
    for feed in group.feeds:
        feed.again(keys.get(feed.table.type_url, ()))


def _unfilled_feeds(groups: Iterable[Group]) -> Iterable[_Feed]:
    """In the order in which they are built on each other."""
    return dict.fromkeys(feed for group in groups for feed in group.feeds if not feed.filled)
