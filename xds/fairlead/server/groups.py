"""Proxies in groups that are offered the same resources, and the tables that hold these.

A group is a selection with what else decides: locality, bind address, discovery of virtual hosts. Groups share every
table that does not depend on where they differ. A table exists as long as a group has it.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from fairlead import translation
from fairlead.derive import Changes, Collection, Graph, Input, derived_map
from fairlead.resolve.scope import Locality, Proxy, Selection
from fairlead.resolve.selection import selection
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Snapshot, Table
from fairlead.world import World


class Fleet:
    """The proxies that are connected, as an input of derived values beside the world's."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.proxies: Input[Proxy, int] = Input(world.graph)
        """Proxy -> number of its streams."""

    @property
    def graph(self) -> Graph:
        """The world's graph."""
        return self.world.graph

    def arrive(self, proxy: Proxy) -> None:
        """A stream of this proxy has come."""
        self.proxies.set(proxy, (self.proxies.get(proxy) or 0) + 1)

    def leave(self, proxy: Proxy) -> None:
        """A stream of this proxy is gone."""
        streams = (self.proxies.get(proxy) or 0) - 1
        if streams > 0:
            self.proxies.set(proxy, streams)
        else:
            self.proxies.delete(proxy)


@derived_map(lambda fleet: fleet.proxies)
def selections(fleet: Fleet, proxy: Proxy) -> Selection:
    """Each connected proxy -> what applies to it."""
    return selection(fleet.world, proxy)


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
        self.users = 0
        self._source = source
        self._changes: Changes[Any] = source.changes()
        self._names: dict[Hashable, str] = {}

    def steps(self) -> Iterator[None]:
        """Compute what is due in small steps."""
        return self._source.refresh_steps()

    def take(self) -> dict[str, Resource | None]:
        """Name -> resource, or None, of what has changed."""
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
        return {**changes, **appeared}

    def close(self) -> None:
        self._changes.close()


class Group:
    """The proxies of one key, and the snapshot that they are offered."""

    def __init__(self, key: GroupKey, feeds: list[_Feed]) -> None:
        self.key = key
        self.feeds = feeds
        self.snapshot = Snapshot(key, [feed.table for feed in feeds])


class Groups:
    """All groups that have proxies."""

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
        return group

    def _feed(self, type_url: str, source: Collection[Any, Resource]) -> _Feed:
        feed = self._feeds.get(source)
        if feed is None:
            feed = self._feeds[source] = _Feed(type_url, source)
        feed.users += 1
        return feed

    def keep_only(self, used: set[GroupKey]) -> None:
        """Forget the other groups, and the tables that only they had."""
        for key in self._groups.keys() - used:
            for feed in self._groups.pop(key).feeds:
                feed.users -= 1
        for source in [source for source, feed in self._feeds.items() if not feed.users]:
            self._feeds.pop(source).close()

    def steps(self) -> Iterator[None]:
        """Compute what is due in all tables, in small steps between which the caller may do other things."""
        for selected in {key.selection for key in self._groups}:
            yield from translation.steps(self._world, selected)
        for feed in list(self._feeds.values()):
            yield from feed.steps()

    def publish(self) -> set[str]:
        """Bring all tables to the present at once; returns the type URLs of those that changed."""
        changes = [(feed.table, feed.take()) for feed in self._feeds.values()]
        return {table.type_url for table, changed in changes if changed and table.update(changed)}
