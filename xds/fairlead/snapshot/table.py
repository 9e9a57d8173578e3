"""Tables of resources, shared by all streams that serve them, and their history.

A table is changed in place by its owner. What a stream has sent is not copied out of it: a stream keeps a *mark*, a
point in the table's history up to which it has seen everything, and asks what has changed since. History is a chain
of marks, each of which knows the next younger one: what lies before the oldest mark that somebody still holds is
garbage, and Python collects it.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from fairlead.snapshot import wire
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.types import SEND_ORDER

_REVISION = attrgetter("revision")

_PARTS_KEPT = 32
"""Selections of resources of which a table keeps the joined frames: a few groups of streams each want the same."""


class Variant(enum.Enum):
    """The two variants of the transport protocol, which frame resources differently."""

    STATE_OF_THE_WORLD = "sotw"
    DELTA = "delta"

    def frame(self, resource: Resource) -> bytes:
        """The resource as an item of a response."""
        return resource.delta_frame if self is Variant.DELTA else resource.state_of_the_world_frame


class Mark:
    """A point in a table's history, up to which its holder has seen all changes."""

    __slots__ = ("_before", "_next")

    def __init__(self) -> None:
        self._next: Mark | None = None
        self._before: Mapping[str, Resource | None] = {}

    def close(self, before: Mapping[str, Resource | None]) -> Mark:
        """End this point with the change after which `before` is what was there before; returns the next one."""
        self._before = before
        self._next = Mark()
        return self._next

    def before(self) -> Mapping[str, Resource | None]:
        """What has changed since: each name, and what it stood for at this point."""
        if self._next is None:
            return {}
        if self._next._next is None:
            return self._before
        before = dict(self._before)
        at: Mark | None = self._next
        while at is not None:
            for name, resource in at._before.items():
                before.setdefault(name, resource)
            at = at._next
        return before


@dataclass(frozen=True, slots=True)
class Part:
    """Resources that are sent in one response, and their frames, joined."""

    resources: tuple[Resource, ...]
    names: frozenset[str]
    frame: bytes = field(repr=False)

    @classmethod
    def of(cls, variant: Variant, resources: Iterable[Resource]) -> Part:
        """All these resources in one part."""
        resources = tuple(resources)
        return cls.joined(resources, map(variant.frame, resources))

    @classmethod
    def joined(cls, resources: Sequence[Resource], frames: Iterable[bytes]) -> Part:
        """All these resources, whose frames are at hand, in one part."""
        return cls(tuple(resources), frozenset(resource.name for resource in resources), b"".join(frames))


class Table:
    """The resources of one type that a group of proxies is offered, by name."""

    def __init__(self, type_url: str, resources: Iterable[Resource] = ()) -> None:
        self.type_url = type_url
        self.revision = 0
        """How often the content has changed."""
        self.mark = Mark()
        """The present, as a point in the table's history."""
        self._resources: dict[str, Resource] = {}
        self._digest = 0
        self._names: frozenset[str] | None = None
        self._versions: Mapping[str, str] | None = None
        self._parts: dict[tuple[Variant, frozenset[str], int | None], tuple[Part, ...] | None] = {}
        """None: asked for once."""
        self.update({resource.name: resource for resource in resources})

    def __len__(self) -> int:
        return len(self._resources)

    def __contains__(self, name: str) -> bool:
        return name in self._resources

    def get(self, name: str) -> Resource | None:
        """The resource of that name."""
        return self._resources.get(name)

    def names(self) -> frozenset[str]:
        """All names; the same object until the table changes."""
        if self._names is None:
            self._names = frozenset(self._resources)
        return self._names

    def versions(self) -> Mapping[str, str]:
        """The versions of all resources, by name; the same object until the table changes."""
        if self._versions is None:
            self._versions = {name: resource.version for name, resource in self._resources.items()}
        return self._versions

    def present(self, names: frozenset[str]) -> frozenset[str]:
        """Those of the names that exist."""
        here = self._resources.keys()
        return names if here >= names else frozenset(here & names)

    @property
    def version(self) -> str:
        """A hash of the content, whatever the order in which it came about; as stable as those of the resources."""
        return _version(self._digest)

    def version_with(self, resources: Iterable[Resource], without: Iterable[str] = ()) -> str:
        """The version of a table that holds these resources as well, and nothing else `without` these names."""
        digest = self._digest
        for resource in (*resources, *map(self._resources.get, without)):
            digest ^= _digest(resource)
        return _version(digest)

    def update(self, changes: Mapping[str, Resource | None]) -> frozenset[str]:
        """Put these resources, or remove them where the value is None; returns the names whose content changed."""
        before: dict[str, Resource | None] = {}
        for name, resource in changes.items():
            old = self._resources.get(name)
            if resource is None:
                self._resources.pop(name, None)
            else:
                self._resources[name] = resource  # with equal content as well, for it may have another origin
            if (old and old.version) != (resource and resource.version):
                before[name] = old
                self._digest ^= _digest(old) ^ _digest(resource)
        if before:
            self._names = self._versions = None
            self._parts.clear()
            self.revision += 1
            self.mark = self.mark.close(before)
        return frozenset(before)

    def parts(self, variant: Variant, names: frozenset[str], limit: int | None) -> tuple[Part, ...]:
        """These resources, which must exist, sorted by name and cut into parts of at most `limit` bytes.

        A resource that is larger has a part of its own. Whoever asks for the same again gets the same objects, until
        the table changes: a thousand streams that send the same share the bytes. What one stream alone needs is not
        kept: it can be as large as all resources together.
        """
        key = variant, names, limit
        if parts := self._parts.get(key):
            return parts
        parts = tuple(_cut(variant, [self._resources[name] for name in sorted(names)], limit))
        if len(self._parts) >= _PARTS_KEPT:
            self._parts.clear()
        self._parts[key] = parts if key in self._parts else None
        return parts


def _cut(variant: Variant, resources: list[Resource], limit: int | None) -> Iterable[Part]:
    frames = [variant.frame(resource) for resource in resources]
    start = size = 0
    for index, frame in enumerate(frames):
        if limit is not None and start < index and size + len(frame) > limit:
            yield Part.joined(resources[start:index], frames[start:index])
            start, size = index, 0
        size += len(frame)
    if resources:
        yield Part.joined(resources[start:], frames[start:])


def _digest(resource: Resource | None) -> int:
    # Of a set of resources it is the exclusive or, which knows no order and is changed by one of them in one step.
    if resource is None:
        return 0
    return int(wire.content_hash(f"{resource.name}\0{resource.version}".encode()), 16)


def _version(digest: int) -> str:
    return f"{digest:016x}"


class Snapshot:
    """What the proxies of one group are offered: a table for each type. Groups may have tables in common."""

    def __init__(self, group: Hashable, tables: Iterable[Table] = ()) -> None:
        self.group = group
        """What the group is, for those who assign proxies to groups."""
        self.tables: Mapping[str, Table] = {
            **{type_url: Table(type_url) for type_url in SEND_ORDER},
            **{table.type_url: table for table in tables},
        }

    def revisions(self) -> tuple[int, ...]:
        """How often each table has changed, in the order of `tables`."""
        return tuple(map(_REVISION, self.tables.values()))
