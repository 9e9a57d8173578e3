"""Proxies in groups that are offered the same resources, and the tables that hold these.

A group is a selection with what else decides: locality, bind address, discovery of virtual hosts. Groups share every
table that does not depend on where they differ. A table exists as long as a group has it.
"""

import contextlib
from collections.abc import Hashable, Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any, Protocol, cast

import structlog

from fairlead import translation
from fairlead.derive import Changes, Collection
from fairlead.resolve.scope import Locality, Proxy, Selection
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
    virtual_host_discovery: bool

    @classmethod
    def of(cls, selected: Selection, proxy: Proxy) -> "GroupKey":
        """The group of a proxy."""
        return cls(selected, proxy.locality, proxy.bind_address, proxy.virtual_host_discovery)


class _Feed:
    """A table that follows a derived map."""

    def __init__(self, type_url: str, source: Collection[Any, Resource], due: "dict[_Feed, None]") -> None:
        """It puts itself into `due` when there is something to publish."""
        self.table = Table(type_url)
        self.groups: set[Group] = set()
        """Those that have the table."""
        self.filled = False
        """The table has been made from the map at least once."""
        self._source = source
        self._changes: Changes[Any] = source.changes(lambda: due.setdefault(self), urgent=True)
        self._names: dict[Hashable, str] = {}

    def steps(self) -> Iterator[None]:
        """Compute what is due in small steps."""
        with contextlib.suppress(Exception):  # `publish` comes upon it as well, and tells
            yield from self._source.refresh_steps()

    def publish(self) -> bool:
        """Bring the table to the present; returns whether its content has changed."""
        changes: dict[str, Resource | None] = {}
        appeared: dict[str, Resource | None] = {}
        for key in self._changes.take():
            resource = self._source.get(key)
            before = self._names.pop(key, None)
            if before is not None:
                changes[before] = None
            if resource is not None:
                self._names[key] = resource.name
                appeared[resource.name] = resource
        self.filled = True
        return bool(self.table.update({**changes, **appeared}))

    def close(self) -> None:
        """End the following."""
        self._changes.close()


class Group:
    """The streams of one key, and the snapshot that they are offered."""

    def __init__(self, key: GroupKey, feeds: list[_Feed]) -> None:
        self.key = key
        self.feeds = feeds
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
        self._groups: dict[GroupKey, Group] = {}
        self._feeds: dict[Collection[Any, Any], _Feed] = {}
        self._due: dict[_Feed, None] = {}
        """The tables with something to publish."""

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def get(self, key: GroupKey, proxy: Proxy) -> Group:
        """The group of that key, made when it is new; its tables are filled by the next `steps` and `publish`."""
        group = self._groups.get(key)
        if group is None:
            maps = translation.resource_maps(self._world, key.selection, proxy)
            feeds = [self._feed(type_url, cast(Collection[Any, Resource], source)) for type_url, source in maps.items()]
            group = self._groups[key] = Group(key, feeds)
            self.unfilled[group] = None
            for feed in feeds:
                feed.groups.add(group)
        return group

    def _feed(self, type_url: str, source: Collection[Any, Resource]) -> _Feed:
        feed = self._feeds.get(source)
        if feed is None:
            feed = self._feeds[source] = _Feed(type_url, source, self._due)
        return feed

    def steps(self, new: Set[Group]) -> Iterator[None]:
        """Compute what changes have made due, and the tables of these new groups, in small steps.

        Between two of them the caller may do other things. Tables that no change concerns cost nothing.
        """
        yield from self._world.graph.settle_steps(urgent=True)
        for feed in _unfilled_feeds(new):
            yield from feed.steps()

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


def _unfilled_feeds(groups: Iterable[Group]) -> Iterable[_Feed]:
    """In the order in which they are built on each other."""
    return dict.fromkeys(feed for group in groups for feed in group.feeds if not feed.filled)
