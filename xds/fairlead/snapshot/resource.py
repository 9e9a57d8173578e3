"""A resource: encoded once, versioned by its content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from weakref import WeakValueDictionary

from fairlead.problems import ObjectKey
from fairlead.snapshot import wire
from fairlead.snapshot.wire import content_hash, delta_discovery_response_item, discovery_response_item


@dataclass(frozen=True, eq=False)
class Composition:
    """What a resource is made of, where that is more than one thing: the virtual hosts of a RouteConfiguration, ...

    The items are those of one repeated field, each from objects of its own: a fault in one need not be one of all.
    """

    head: bytes = field(repr=False)
    """All other fields, encoded."""
    item_field: int
    """Number of the repeated field."""
    items: tuple[Resource, ...]
    """Under names of which none occurs twice."""

    @cached_property
    def frame_version(self) -> str:
        """Hash of all but the items."""
        return content_hash(self.head)

    @cached_property
    def by_name(self) -> Mapping[str, Resource]:
        """The items by their names."""
        return {item.name: item for item in self.items}

    @property
    def body(self) -> bytes:
        """The encoded message."""
        parts = [self.head]
        for item in self.items:
            parts += (wire.field_prefix(self.item_field, len(item.body)), item.body)
        return b"".join(parts)


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Resource:
    """An Envoy resource as bytes. Two resources are equal when type, name and content are."""

    type_url: str
    name: str
    body: bytes = field(repr=False)
    """The encoded message, deterministically."""
    origin: tuple[ObjectKey, ...] = ()
    """The objects that it comes from, for messages about it."""
    composition: Composition | None = field(default=None, repr=False)
    """What the body is made of, if of several things."""
    version: str = field(init=False)
    """Hash of the content, so that all replicas give the same version, before and after a restart."""
    _variants: WeakValueDictionary[tuple[str, frozenset[tuple[str, str | None]]], Resource] | None = field(
        init=False, default=None, repr=False
    )
    """Those with other items that somebody has."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", content_hash(self.body))

    @classmethod
    def composed(
        cls, type_url: str, name: str, composition: Composition, origin: tuple[ObjectKey, ...] = ()
    ) -> Resource:
        """A resource of several things."""
        return cls(type_url, name, composition.body, origin, composition)

    def with_items(self, others: Mapping[str, Resource | None], frame: Composition | None = None) -> Resource:
        """The resource with other items under these names; without those that are None.

        With `frame`, all but the items is as there. Whoever asks for the same gets the same object: a fleet that
        refuses an item refuses it a thousand times. As long as somebody has it: each trial makes another one.
        """
        if self.composition is None:
            raise ValueError(f"{self.name} has no items")
        frame = frame or self.composition
        key = frame.frame_version, frozenset((name, item.version if item else None) for name, item in others.items())
        if self._variants is None:
            object.__setattr__(self, "_variants", WeakValueDictionary())
            return self.with_items(others, frame)
        found = self._variants.get(key)
        if found is None:
            items = (others.get(item.name, item) for item in self.composition.items)
            composition = replace(frame, items=tuple(item for item in items if item is not None))
            found = self._variants[key] = Resource.composed(self.type_url, self.name, composition, self.origin)
        return found

    # Frames are not kept: a table keeps those that it has joined, which all streams share.

    @property
    def state_of_the_world_frame(self) -> bytes:
        """The resource as an item of `DiscoveryResponse.resources`."""
        return discovery_response_item(self.type_url, self.body)

    @property
    def delta_frame(self) -> bytes:
        """The resource as an item of `DeltaDiscoveryResponse.resources`."""
        return delta_discovery_response_item(self.type_url, self.name, self.version, self.body)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Resource)
            and self.name == other.name
            and self.body == other.body
            and self.type_url == other.type_url
            and self.origin == other.origin
        )

    def __hash__(self) -> int:
        return hash((self.type_url, self.name, self.version))
