"""Keyed collections: inputs, maps of derived values, indexes; each tells its readers which keys changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, KeysView
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from fairlead.derive.nodes import Computed, Graph, Slot

if TYPE_CHECKING:
    from fairlead.derive.nodes import Upstream

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
G = TypeVar("G", bound=Hashable)


class Changes(Generic[K]):
    """A reader's place in a collection: which keys have changed since it last looked.

    To begin with, these are all keys.
    """

    __slots__ = ("_collection", "_keys")

    def __init__(self, collection: Collection[K, Any]) -> None:
        self._collection = collection
        self._keys: set[K] = set(collection._values)
        collection._readers.append(self)

    def take(self) -> set[K]:
        """The keys added, changed or removed since the last call, all keys at the first; refreshes the collection."""
        self._collection.refresh()
        keys, self._keys = self._keys, set()
        return keys

    def close(self) -> None:
        """End the reading; a collection that nobody reads any more is dropped."""
        self._collection._readers.remove(self)
        self._collection._drop_if_unread()


class Collection(Generic[K, V]):
    """A mapping whose readers learn which keys changed. Reads inside derived functions are recorded by key."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._values: dict[K, V] = {}
        self._slots: dict[K, Slot] = {}
        self._key_set = Slot(self, None)
        self._readers: list[Changes[K]] = []
        self._self_upstream: Upstream = frozenset()

    def get(self, key: K) -> V | None:
        """The value of `key`, None when there is none; the absence is recorded too."""
        active = self.graph._active
        if active is not None:
            slot = self._slots.get(key)
            if slot is None:
                slot = self._slots[key] = Slot(self, key)
            self._record(active, slot)
        self.refresh()
        return self._values.get(key)

    def keys(self) -> KeysView[K]:
        """All keys, in no promised order; recorded as a dependency on the set of keys, not on the values."""
        active = self.graph._active
        if active is not None:
            self._record(active, self._key_set)
        self.refresh()
        return self._values.keys()

    def _record(self, active: Computed, slot: Slot) -> None:
        active.depend_on(slot)
        active.upstream = self.graph._union(active.upstream, self._self_upstream)

    def changes(self) -> Changes[K]:
        """A place in this collection from which to ask for the changed keys; `Changes.close` ends it."""
        return Changes(self)

    def refresh(self) -> None:
        """Bring the collection up to date."""
        for _ in self.refresh_steps():
            pass

    def refresh_steps(self) -> Iterator[None]:
        """Bring the collection up to date in small steps, between which the caller may do other things.

        Inputs must not change until the iterator has ended.
        """
        return iter(())

    def _store(self, key: K, value: V | None) -> None:
        """Set or (None) delete a key, and tell who has read it, unless it is equal already."""
        old = self._values.get(key)
        if old is value or (old is not None and value is not None and old == value):
            return
        if value is None:
            del self._values[key]
        else:
            self._values[key] = value
        slot = self._slots.get(key)
        if slot is not None:
            slot.changed()
        if (old is None) is not (value is None):
            self._key_set.changed()
        for reader in self._readers:
            reader._keys.add(key)

    def _forget_slot(self, slot: Slot) -> None:
        if slot is not self._key_set:
            self._slots.pop(cast(K, slot.key), None)
        self._drop_if_unread()

    def _drop_if_unread(self) -> None:
        """Inputs live for ever; derived collections go with their last reader."""


class Input(Collection[K, V]):
    """Facts that the outside sets. Values are immutable, and compared to find out whether anything changed."""

    def set(self, key: K, value: V) -> None:
        """Add or replace a fact; nothing happens when it is equal to the present one."""
        self.graph._begin_epoch()
        self._store(key, value)

    def delete(self, key: K) -> None:
        """Take a fact away; nothing happens when there is none."""
        self.graph._begin_epoch()
        self._store(key, None)


class ComputedCollection(Collection[K, V]):
    """A collection that is computed."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self._settled = -1
        self._settling = False
        self._upstream: Upstream = frozenset()
        self._self_upstream = frozenset((self,))
        self._memo_key: Hashable = None

    def refresh(self) -> None:
        """See `Collection.refresh`; a collection that depends on itself is refused."""
        if self._settled == self.graph.epoch:
            return
        if self._settling and self.graph._active is not None:
            raise RuntimeError(f"{self!r} is read by what it is computed from")
        super().refresh()

    def refresh_steps(self) -> Iterator[None]:
        """See `Collection.refresh_steps`."""
        if self._settled == self.graph.epoch or self._settling:
            return
        self._settling = True
        try:
            for collection in self._upstream:
                if collection._settled != self.graph.epoch:
                    yield from collection.refresh_steps()
            # Marks made while settling belong to this epoch, and members may read collections that are new to us.
            yield from self._settle()
            self._settled = self.graph.epoch
        finally:
            self._settling = False

    def _settle(self) -> Iterator[None]:
        raise NotImplementedError

    def _drop_if_unread(self) -> None:
        if not self._readers and not self._slots and not self._key_set.dependents and self._memo_key is not None:
            self.graph._memo.pop(self._memo_key, None)
            self.graph._unions.clear()
            self._drop()

    def _drop(self) -> None:
        raise NotImplementedError


class KeyedMap(ComputedCollection[K, V]):
    """One derived value per key; made by `@derived_map`. A key whose function returns None is absent."""

    def __init__(
        self,
        graph: Graph,
        function: Callable[..., V | None],
        arguments: tuple[Any, ...],
        keys: Computed | Collection[K, Any],
    ) -> None:
        super().__init__(graph)
        self._function = function
        self._arguments = arguments
        self._members: dict[K, Computed] = {}
        self._due: set[K] = set()
        self._key_node: Computed | None = None
        self._key_changes: Changes[K] | None = None
        self._key_failure: Exception | None = None
        self._known_keys: frozenset[K] = frozenset()
        if isinstance(keys, Computed):
            self._key_node = keys
            keys.held = True
        else:
            self._key_changes = keys.changes()
            self._upstream = keys._self_upstream

    def _settle(self) -> Iterator[None]:
        self._settle_keys()
        while self._due:
            key = self._due.pop()
            self._settle_member(key, self._members[key])
            yield

    def _settle_member(self, key: K, member: Computed) -> None:
        member.refresh()
        self._upstream = self.graph._union(self._upstream, member.upstream)
        if member.failure is None:
            self._store(key, member.value)
        elif self.graph.on_failure is not None:
            self.graph.on_failure(self._function.__qualname__, key, member.failure)
        else:
            self._due.add(key)
            raise member.failure

    def _settle_keys(self) -> None:
        if self._key_node is not None:
            self._key_node.refresh()
            self._upstream = self.graph._union(self._upstream, self._key_node.upstream)
            self._report_key_failure(self._key_node)
            keys: frozenset[K] = self._key_node.value
            if keys is not self._known_keys:
                for key in self._known_keys - keys:
                    self._remove(key)
                for key in keys - self._known_keys:
                    self._add(key)
                self._known_keys = keys
        elif self._key_changes is not None:
            source = self._key_changes._collection
            for key in self._key_changes.take():
                if key not in source._values:
                    self._remove(key)
                elif key not in self._members:
                    self._add(key)

    def _report_key_failure(self, node: Computed) -> None:
        """Let the last keys stay, if there are any; what has never been computed must not be taken for empty."""
        failure, told, self._key_failure = node.failure, self._key_failure, node.failure
        if failure is not None and (self.graph.on_failure is None or node.value is None):
            raise failure
        if failure is not None and failure is not told and self.graph.on_failure is not None:
            self.graph.on_failure(node.function.__qualname__, node.arguments[1:], failure)

    def _add(self, key: K) -> None:
        member = Computed(self.graph, self._function, (*self._arguments, key))
        member.owner = (self, key)
        member.held = True
        self._members[key] = member
        self._due.add(key)

    def _remove(self, key: K) -> None:
        member = self._members.pop(key, None)
        if member is not None:
            member.drop()
            self._due.discard(key)
            self._store(key, None)

    def _drop(self) -> None:
        for member in self._members.values():
            member.drop()
        self._members.clear()
        self._due.clear()
        if self._key_changes is not None:
            self._key_changes.close()
        if self._key_node is not None:
            self._key_node.held = False
            if not self._key_node.dependents:
                self._key_node.drop()
        self._key_changes = self._key_node = None


class Index(ComputedCollection[G, frozenset[K]]):
    """Group -> the keys of another collection that belong to it; made by `@derived_index`."""

    def __init__(
        self,
        graph: Graph,
        function: Callable[..., Iterable[G]],
        arguments: tuple[Any, ...],
        source: Collection[K, Any],
    ) -> None:
        super().__init__(graph)
        self._function = function
        self._arguments = arguments
        self._source = source
        self._source_changes = source.changes()
        self._groups_of: dict[K, frozenset[G]] = {}
        self._upstream = source._self_upstream

    def _settle(self) -> Iterator[None]:
        joined: dict[G, set[K]] = {}
        left: dict[G, set[K]] = {}
        for key in self._source_changes.take():
            value = self._source._values.get(key)
            old = self._groups_of.get(key, frozenset())
            try:
                new = frozenset() if value is None else frozenset(self._function(*self._arguments, key, value))
            except Exception as failure:
                if self.graph.on_failure is None:
                    raise
                self.graph.on_failure(self._function.__qualname__, key, failure)
                continue
            if new:
                self._groups_of[key] = new
            else:
                self._groups_of.pop(key, None)
            for group in new - old:
                joined.setdefault(group, set()).add(key)
            for group in old - new:
                left.setdefault(group, set()).add(key)
        for group in joined.keys() | left.keys():
            members = self._values.get(group, frozenset()) - left.get(group, set()) | joined.get(group, set())
            self._store(group, members or None)
        yield

    def _drop(self) -> None:
        self._source_changes.close()
        self._groups_of.clear()
