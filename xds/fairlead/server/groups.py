"""Proxies in groups that are offered the same resources, and the tables that hold these.

A group is a selection with what else decides: locality, bind address, discovery of virtual hosts. Groups share every
table that does not depend on where they differ. A table exists as long as a group has it.
"""

import contextlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
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

    def __init__(self, type_url: str, source: Collection[Any, Resource]) -> None:
        self.table = Table(type_url)
        self.groups: set[Group] = set()
        """Those that have the table."""
        self.filled = False
        """The table has been made from the map at least once."""
        self._source = source
        self._changes: Changes[Any] = source.changes()
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
        self._groups: dict[GroupKey, Group] = {}
        self._feeds: dict[Collection[Any, Any], _Feed] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def get(self, key: GroupKey, proxy: Proxy) -> Group:
        """The group of that key, made when it is new; its tables are filled by the next `steps` and `publish`."""
        group = self._groups.get(key)
        if group is None:
            maps = translation.resource_maps(self._world, key.selection, proxy)
            feeds = [self._feed(type_url, cast(Collection[Any, Resource], source)) for type_url, source in maps.items()]
            group = self._groups[key] = Group(key, feeds)
            for feed in feeds:
                feed.groups.add(group)
        return group

    def _feed(self, type_url: str, source: Collection[Any, Resource]) -> _Feed:
        feed = self._feeds.get(source)
        if feed is None:
            feed = self._feeds[source] = _Feed(type_url, source)
        return feed

    def steps(self, groups: Iterable[Group]) -> Iterator[None]:
        """Compute what is due in the tables of these, in small steps between which the caller may do other things."""
        groups = list(groups)
        for selected in {group.key.selection for group in groups}:
            with contextlib.suppress(Exception):  # as in `_Feed.steps`
                yield from translation.steps(self._world, selected)
        for feed in _feeds(groups):
            yield from feed.steps()

    def publish(self, groups: Iterable[Group]) -> set[Group]:
        """Bring the tables of these to the present at once; returns the groups of which a table has changed.

        A table that cannot be computed stays as it is.
        """
        groups = list(groups)
        changed: set[Group] = set()
        for feed in _feeds(groups):
            try:
                if feed.publish():
                    changed |= feed.groups
            except Exception:
                log.exception("a table could not be computed; its last state is kept", type_url=feed.table.type_url)
        for group in groups:
            group.filled = group.filled or all(feed.filled for feed in group.feeds)
        return changed

    def drop_unused(self, unfinished: Sequence[Group]) -> Iterator[None]:
        """Forget the groups without members, and the tables that only they had, in small steps.

        Those that are `unfinished` stay: they will have members.
        """
        for group in [group for group in self if not group.members and group not in unfinished]:
            del self._groups[group.key]
            for feed in group.feeds:
                feed.groups.discard(group)
        for source in [source for source, feed in self._feeds.items() if not feed.groups]:
            self._feeds.pop(source).close()
            yield


def _feeds(groups: Iterable[Group]) -> Iterable[_Feed]:
    """Those of all of them, in the order in which they are built on each other."""
    return dict.fromkeys(feed for group in groups for feed in group.feeds)
