"""Keyed collections: inputs, maps of derived values, indexes; each tells its readers which keys changed."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, KeysView
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

    __slots__ = ("_collection", "_keys", "_notify")

    def __init__(self, collection: Collection[K, Any], notify: Callable[[], None] | None) -> None:
        self._collection = collection
        self._notify = notify
        self._keys: set[K] = set(collection._values)
        collection._readers.append(self)

    def _add(self, key: K) -> None:
        if not self._keys and self._notify is not None:
            self._notify()
        self._keys.add(key)

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

    def changes(self, notify: Callable[[], None] | None = None, *, urgent: bool = False) -> Changes[K]:
        """A place in this collection from which to ask for the changed keys; `Changes.close` ends it.

        `notify` is called when there are some where there were none; it may only take note of that. What an `urgent`
        reader waits for, `Graph.settle_steps` can do before all else.
        """
        if urgent:
            self._make_urgent()
        return Changes(self, notify)

    def _make_urgent(self) -> None:
        """Inputs have nothing to compute."""

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
            reader._add(key)

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

    def refresh(self) -> None:
        """An input is always up to date."""

    def delete(self, key: K) -> None:
        """Take a fact away; nothing happens when there is none."""
        self.graph._begin_epoch()
        self._store(key, None)


class ComputedCollection(Collection[K, V]):
    """A collection that is computed."""

    def __init__(self, graph: Graph, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        super().__init__(graph)
        self._function = function
        self._arguments = arguments
        self._computed = False
        """It has been brought up to date once, or could not be: from then on it is pending when it has to be again."""
        self._settled = -1
        """The epoch in which it has last been found up to date."""
        self._settling = False
        self._marked = True
        """Something that it depends on has changed."""
        self._urgent = False
        self._upstream: Upstream = frozenset()
        self._self_upstream = frozenset((self,))
        self._told: Exception | None = None
        """The failure that was last told."""

    @property
    def _name(self) -> str:
        return self._function.__qualname__

    def refresh(self) -> None:
        """See `Collection.refresh`; a collection that depends on itself is refused."""
        if self._is_current():
            return
        if self._settling and self.graph._active is not None:
            raise RuntimeError(f"{self!r} is read by what it is computed from")
        super().refresh()

    def _is_current(self) -> bool:
        # Whatever is due in any collection is pending, or is computed from what is.
        graph = self.graph
        return self._settled == graph.epoch or (self._computed and not graph._pending)

    def refresh_steps(self) -> Iterator[None]:
        """See `Collection.refresh_steps`."""
        if self._is_current() or self._settling:
            return
        self._settling, finished = True, False
        try:
            for collection in self._upstream:
                if not collection._is_current():
                    yield from collection.refresh_steps()
            # Marks made while settling belong to this epoch, and members may read collections that are new to us.
            while self._marked:
                self._marked = False
                yield from self._settle()
            finished = True
        except Exception:
            self._computed = True  # so that its readers are asked again
            raise
        finally:
            self._settling = False
            if not finished:
                self._mark()
        self._computed = True
        self._settled = self.graph.epoch
        self.graph._pending.pop(self, None)

    def _settle(self) -> Iterator[None]:
        raise NotImplementedError

    def _mark(self) -> None:
        """Something has to be computed, or may have to be."""
        self._marked = True
        self._settled = -1
        if self._computed:
            self.graph._pending[self] = None

    def _make_urgent(self) -> None:
        if not self._urgent:
            self._urgent = True
            for collection in self._upstream:
                collection._make_urgent()

    def _depend_on(self, upstream: Upstream) -> None:
        if upstream is self._upstream:
            return
        before, self._upstream = self._upstream, self.graph._union(self._upstream, upstream)
        if self._urgent and self._upstream is not before:
            for collection in self._upstream:
                collection._make_urgent()

    def _drop_if_unread(self) -> None:
        if not self._readers and not self._slots and not self._key_set.dependents:
            self.graph._forget(self._function, self._arguments, self)
            self.graph._pending.pop(self, None)
            self.graph._unions.clear()
            self._drop()

    def _drop(self) -> None:
        raise NotImplementedError


class KeyedMap(ComputedCollection[K, V]):
    """One derived value per key; made by `@derived_map`. A key whose function returns None is absent."""

    def __init__(
        self,
        graph: Graph,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keys: Computed | Collection[K, Any],
        *,
        reads: Iterable[Collection[Any, Any]] = (),
        shared: Callable[[K], Computed] | None = None,
    ) -> None:
        """`shared` gives the node of a key where it belongs to no map; its last argument is the key."""
        super().__init__(graph, function, arguments)
        self._shared = shared
        self._members: dict[K, Computed] = {}
        self._due: set[K] = set()
        self._key_node: Computed | None = None
        self._key_changes: Changes[K] | None = None
        self._key_failure: Exception | None = None
        self._known_keys: frozenset[K] = frozenset()
        self._changed_keys: set[K] = set()
        """Those that may have come or gone."""
        self._upstream = self._upstream.union(*(collection._self_upstream for collection in reads))
        if isinstance(keys, Computed):
            self._key_node = keys
            keys.add_dependent(self)
        else:
            self._key_changes = keys.changes(self._mark)
            self._upstream |= keys._self_upstream

    def mark(self, _state: int, source: Slot | Computed) -> None:
        """The computed set of keys, or a shared value, may be another one now."""
        if source is self._key_node:
            self._mark()
        else:
            self._member_is_due(cast(Computed, source).arguments[-1])

    def _member_is_due(self, key: K) -> None:
        self._due.add(key)
        self._mark()

    def _settle(self) -> Iterator[None]:
        keys = self._present_keys()
        while self._changed_keys:
            key = self._changed_keys.pop()
            if key not in keys:
                self._remove(key)
            elif key not in self._members:
                self._add(key)
            yield
        while self._due:
            key = self._due.pop()
            self._settle_member(key, self._members[key])
            yield
        self._changed_keys.clear()  # a set that has been large keeps its memory otherwise
        self._due.clear()

    def _settle_member(self, key: K, member: Computed) -> None:
        member.refresh()
        self._due.discard(key)  # a shared value marks the map when it changes just now
        self._depend_on(member.upstream)
        if member.failure is None:
            self._store(key, member.value)
        elif self.graph.on_failure is not None:
            self.graph.on_failure(self._name, key, member.failure)
        else:
            self._due.add(key)
            raise member.failure

    def _present_keys(self) -> Container[K]:
        """The keys that there are now; notes which may have come or gone since the last time."""
        if self._key_node is not None:
            self._key_node.refresh()
            self._depend_on(self._key_node.upstream)
            self._report_key_failure(self._key_node)
            keys: frozenset[K] = self._key_node.value
            if keys is not self._known_keys:
                self._changed_keys |= keys ^ self._known_keys
                self._known_keys = keys
            return keys
        if self._key_changes is not None:
            self._changed_keys |= self._key_changes.take()
            return self._key_changes._collection._values
        return ()

    def _report_key_failure(self, node: Computed) -> None:
        """Let the last keys stay, if there are any; what has never been computed must not be taken for empty."""
        failure, told, self._key_failure = node.failure, self._key_failure, node.failure
        if failure is not None and (self.graph.on_failure is None or node.value is None):
            raise failure
        if failure is not None and failure is not told and self.graph.on_failure is not None:
            self.graph.on_failure(node.function.__qualname__, node.arguments[1:], failure)

    def _add(self, key: K) -> None:
        if self._shared is None:
            member = Computed(self.graph, self._function, (*self._arguments, key), self)
        else:
            member = self._shared(key)
            member.add_dependent(self)
        self._members[key] = member
        self._due.add(key)

    def _remove(self, key: K) -> None:
        member = self._members.pop(key, None)
        if member is not None:
            self._drop_member(member)
            self._due.discard(key)
            self._store(key, None)

    def _drop_member(self, member: Computed) -> None:
        if self._shared is None:
            member.drop()
        else:
            member.remove_dependent(self)

    def _drop(self) -> None:
        for member in self._members.values():
            self._drop_member(member)
        self._members.clear()
        self._due.clear()
        if self._key_changes is not None:
            self._key_changes.close()
        if self._key_node is not None:
            self._key_node.remove_dependent(self)
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
        super().__init__(graph, function, arguments)
        self._source = source
        self._source_changes = source.changes(self._mark)
        self._groups_of: dict[K, tuple[G, ...]] = {}
        self._changed_keys: set[K] = set()
        self._moved: dict[G, dict[K, bool]] = {}
        """Group -> the keys that have to join (True) or to leave it."""
        self._upstream = source._self_upstream

    def _settle(self) -> Iterator[None]:
        self._changed_keys |= self._source_changes.take()
        while self._changed_keys:
            self._regroup(self._changed_keys.pop())
            yield
        self._changed_keys.clear()  # a set that has been large keeps its memory otherwise
        while self._moved:
            group, moved = self._moved.popitem()
            members = self._values.get(group, frozenset()).difference(moved)
            members |= {key for key, joins in moved.items() if joins}
            self._store(group, members or None)
            yield

    def _regroup(self, key: K) -> None:
        value = self._source._values.get(key)
        try:
            groups = () if value is None else tuple(dict.fromkeys(self._function(*self._arguments, key, value)))
        except Exception as failure:
            if self.graph.on_failure is None:
                self._changed_keys.add(key)
                raise
            self.graph.on_failure(self._name, key, failure)
            return
        before = self._groups_of.get(key, ())
        if groups:
            self._groups_of[key] = groups
        else:
            self._groups_of.pop(key, None)
        if groups != before:
            for group in set(before).symmetric_difference(groups):
                self._moved.setdefault(group, {})[key] = group in groups

    def _drop(self) -> None:
        self._source_changes.close()
        self._groups_of.clear()
