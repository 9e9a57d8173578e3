"""Derived values: pure functions whose results are kept, and recomputed only when what they read has changed.

The pieces, from the inside out:

`Input`
    A keyed collection of facts that the outside sets and deletes.
`@derived`
    A plain pure function of a world and hashable arguments. While it runs, everything that it reads - keys of
    collections, other derived functions - is recorded. It runs again only when one of those has changed, and a
    result equal to the old one stops the wave there (early cutoff).
`@derived_map`
    A keyed collection: one derived value per key of another collection. It recomputes only the keys that are due.
`@derived_index`
    A keyed collection that turns another one around: group -> the keys whose value belongs to that group.

Collections pass on *which keys* changed, so that an aggregate of 50,000 members costs one member's work per edit.

Theory of operation. A change of an input begins a new *epoch*, and marks what read it as DIRTY, what depends on that
as CHECK (perhaps dirty). Marked members of a map queue up in the map. Nothing else happens until somebody asks. A
question first brings the collections up to date that the answer is known to depend on (`_Computed.upstream`), for
only then have all marks arrived; then a CHECK node asks its dependencies, and a DIRTY node runs. What has been
verified in this epoch is answered at once. Nodes that nobody reads any more are dropped.

Functions must be pure and must not change inputs. One thread uses a graph at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, KeysView
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
G = TypeVar("G", bound=Hashable)
P = ParamSpec("P")

_CLEAN, _CHECK, _DIRTY = 0, 1, 2


class HasGraph(Protocol):
    """What the first argument of every derived function offers."""

    @property
    def graph(self) -> Graph:
        """The graph that keeps the derived values."""
        ...


W = TypeVar("W", bound=HasGraph)


class Graph:
    """All derived values over one set of inputs."""

    def __init__(self) -> None:
        self.epoch = 0
        self.computed: Counter[str] = Counter()
        """How often each derived function has run, by qualified name; for tests and metrics."""
        self.on_failure: Callable[[str, Hashable, Exception], None] | None = None
        """Called with function name, key and exception when a member of a map cannot be computed. The member then
        keeps its last value. Without a callback the exception is raised."""
        self._active: _Computed | None = None
        self._memo: dict[Hashable, Any] = {}
        self._unions: dict[tuple[_Upstream, _Upstream], _Upstream] = {}

    def _union(self, a: _Upstream, b: _Upstream) -> _Upstream:
        """`a | b`, interned: the sets of upstream collections are few and shared by very many nodes."""
        if b <= a:
            return a
        union = self._unions.get((a, b))
        if union is None:
            union = self._unions[a, b] = a | b
        return union

    def _begin_epoch(self) -> None:
        if self._active is not None:
            raise RuntimeError(f"{self._active.function.__qualname__} changes an input while it is computed")
        self.epoch += 1


class _Slot:
    """One key of a collection, as far as computations have read it."""

    __slots__ = ("collection", "dependents", "key")

    def __init__(self, collection: Collection[Any, Any], key: Hashable) -> None:
        self.collection = collection
        self.key = key
        self.dependents: set[_Computed] = set()

    def changed(self) -> None:
        for dependent in self.dependents:
            dependent.mark(_DIRTY)

    def remove_dependent(self, dependent: _Computed) -> None:
        self.dependents.discard(dependent)
        if not self.dependents:
            self.collection._forget_slot(self)


class _Computed:
    """One call of a derived function: its value and what it read."""

    __slots__ = (
        "arguments",
        "dependencies",
        "dependents",
        "failure",
        "function",
        "graph",
        "held",
        "memo_key",
        "owner",
        "running",
        "state",
        "upstream",
        "value",
        "verified",
    )

    def __init__(self, graph: Graph, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.graph = graph
        self.function = function
        self.arguments = arguments
        self.memo_key: Hashable = None
        self.owner: tuple[KeyedMap[Any, Any], Hashable] | None = None
        self.held = False
        self.dependencies: dict[_Slot | _Computed, None] = {}
        self.dependents: set[_Computed] = set()
        self.upstream: _Upstream = frozenset()
        self.state = _DIRTY
        self.verified = -1
        self.running = False
        self.value: Any = None
        self.failure: Exception | None = None

    def mark(self, state: int) -> None:
        if self.state >= state:
            return
        was_clean = self.state == _CLEAN
        self.state = state
        if was_clean:
            if self.owner is not None:
                self.owner[0]._due.add(self.owner[1])
            for dependent in self.dependents:
                dependent.mark(_CHECK)

    def read(self) -> Any:
        """The value, brought up to date, recorded as a dependency of the running computation."""
        active = self.graph._active
        if active is not None:
            active.depend_on(self)
        self.refresh()
        if active is not None:
            active.upstream = self.graph._union(active.upstream, self.upstream)
        if self.failure is not None:
            raise self.failure
        return self.value

    def depend_on(self, dependency: _Slot | _Computed) -> None:
        self.dependencies[dependency] = None
        dependency.dependents.add(self)

    def refresh(self) -> None:
        if self.verified == self.graph.epoch:
            return
        if self.running:
            raise RuntimeError(f"{self.function.__qualname__}{self.arguments[1:]} depends on itself")
        for collection in self.upstream:
            collection.refresh()
        if self.state == _CHECK:
            for dependency in self.dependencies:
                if isinstance(dependency, _Computed):
                    dependency.refresh()
                    if self.state == _DIRTY:
                        break
            else:
                self.state = _CLEAN
        if self.state == _DIRTY:
            self._run()
        self.verified = self.graph.epoch

    def _run(self) -> None:
        graph = self.graph
        graph.computed[self.function.__qualname__] += 1
        before, self.dependencies = self.dependencies, {}
        self.upstream = frozenset()
        outer, graph._active = graph._active, self
        self.running = True
        failed_before, self.failure = self.failure, None
        value = self.value
        try:
            value = self.function(*self.arguments)
        except Exception as failure:  # noqa: BLE001
            # A failure is a result too: it is worth another try only when something that was read has changed.
            self.failure = failure
        finally:
            graph._active = outer
            self.running = False
        for dependency in before:
            if dependency not in self.dependencies:
                dependency.remove_dependent(self)
        self.state = _CLEAN
        if value != self.value or self.failure is not failed_before:
            self.value = value
            for dependent in self.dependents:
                dependent.mark(_DIRTY)

    def remove_dependent(self, dependent: _Computed) -> None:
        self.dependents.discard(dependent)
        if not self.dependents and not self.held:
            self.drop()

    def drop(self) -> None:
        """Forget this node; what only it has read goes too."""
        if self.memo_key is not None:
            self.graph._memo.pop(self.memo_key, None)
        dependencies, self.dependencies = self.dependencies, {}
        for dependency in dependencies:
            dependency.remove_dependent(self)


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
        self._slots: dict[K, _Slot] = {}
        self._key_set = _Slot(self, None)
        self._readers: list[Changes[K]] = []
        self._self_upstream: _Upstream = frozenset()

    def get(self, key: K) -> V | None:
        """The value of `key`, None when there is none; the absence is recorded too."""
        active = self.graph._active
        if active is not None:
            slot = self._slots.get(key)
            if slot is None:
                slot = self._slots[key] = _Slot(self, key)
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

    def _record(self, active: _Computed, slot: _Slot) -> None:
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

    def _forget_slot(self, slot: _Slot) -> None:
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


class _Refreshed(Collection[K, V]):
    """A collection that is computed."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self._settled = -1
        self._settling = False
        self._upstream: _Upstream = frozenset()
        self._self_upstream = frozenset((self,))
        self._memo_key: Hashable = None

    def refresh(self) -> None:
        if self._settling and self.graph._active is not None:
            raise RuntimeError(f"{self!r} is read by what it is computed from")
        super().refresh()

    def refresh_steps(self) -> Iterator[None]:
        if self._settled == self.graph.epoch or self._settling:
            return
        self._settling = True
        try:
            for collection in self._upstream:
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


_Upstream = frozenset[_Refreshed[Any, Any]]
"""The computed collections that a value depends on, directly or through others."""


class KeyedMap(_Refreshed[K, V]):
    """One derived value per key; made by `@derived_map`. A key whose function returns None is absent."""

    def __init__(
        self,
        graph: Graph,
        function: Callable[..., V | None],
        arguments: tuple[Any, ...],
        keys: _Computed | Collection[K, Any],
    ) -> None:
        super().__init__(graph)
        self._function = function
        self._arguments = arguments
        self._members: dict[K, _Computed] = {}
        self._due: set[K] = set()
        self._key_node: _Computed | None = None
        self._key_changes: Changes[K] | None = None
        self._known_keys: frozenset[K] = frozenset()
        if isinstance(keys, _Computed):
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

    def _settle_member(self, key: K, member: _Computed) -> None:
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

    def _add(self, key: K) -> None:
        member = _Computed(self.graph, self._function, (*self._arguments, key))
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


class Index(_Refreshed[G, frozenset[K]]):
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
            new = frozenset() if value is None else frozenset(self._function(*self._arguments, key, value))
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


class Derived(Generic[P, V]):
    """A derived function; calling it answers from memory where possible."""

    def __init__(self, function: Callable[..., V]) -> None:
        self._function = function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> V:
        """The up-to-date result; arguments are positional and hashable, the first has a graph."""
        return cast(V, self._node(args).read())

    def _node(self, arguments: tuple[Any, ...]) -> _Computed:
        graph: Graph = arguments[0].graph
        memo_key = (self._function, arguments[1:])
        node = graph._memo.get(memo_key)
        if node is None:
            node = graph._memo[memo_key] = _Computed(graph, self._function, arguments)
            node.memo_key = memo_key
        return cast(_Computed, node)


def derived(function: Callable[Concatenate[W, P], V]) -> Derived[Concatenate[W, P], V]:
    """Make a pure function `(world, *arguments) -> value` a derived value."""
    return Derived(function)


def derived_map(
    keys: Callable[Concatenate[W, P], frozenset[K] | Collection[K, Any]],
) -> Callable[[Callable[..., V | None]], Callable[Concatenate[W, P], KeyedMap[K, V]]]:
    """Make `(world, *arguments, key) -> value | None` a keyed map, returned by a call without the key.

    `keys(world, *arguments)` says for which keys: it is a `@derived` function that returns a frozenset, or any
    function that returns a collection, whose keys are then followed without ever being compared as a whole.
    """

    def decorate(function: Callable[..., V | None]) -> Callable[Concatenate[W, P], KeyedMap[K, V]]:
        def make(graph: Graph, arguments: tuple[Any, ...]) -> KeyedMap[K, V]:
            if isinstance(keys, Derived):
                return KeyedMap(graph, function, arguments, keys._node(arguments))
            return KeyedMap(graph, function, arguments, cast(Callable[..., Collection[K, Any]], keys)(*arguments))

        return _memoised_collection(function, make)

    return decorate


def derived_index(
    source: Callable[Concatenate[W, P], Collection[K, V]],
) -> Callable[[Callable[..., Iterable[G]]], Callable[Concatenate[W, P], Index[G, K]]]:
    """Make `(world, *arguments, key, value) -> groups` an index, returned by a call without the last two.

    The function may use nothing but its arguments: it is not run again when something else changes.
    """

    def decorate(function: Callable[..., Iterable[G]]) -> Callable[Concatenate[W, P], Index[G, K]]:
        def make(graph: Graph, arguments: tuple[Any, ...]) -> Index[G, K]:
            return Index(graph, function, arguments, cast(Callable[..., Collection[K, V]], source)(*arguments))

        return _memoised_collection(function, make)

    return decorate


C = TypeVar("C", bound=_Refreshed[Any, Any])


def _memoised_collection(function: Callable[..., Any], make: Callable[[Graph, tuple[Any, ...]], C]) -> Callable[..., C]:
    def collection(*arguments: Any) -> C:
        graph: Graph = arguments[0].graph
        memo_key = (function, arguments[1:])
        found = graph._memo.get(memo_key)
        if found is None:
            # What the making reads belongs to the collection, not to the computation that happens to ask first.
            outer, graph._active = graph._active, None
            try:
                found = graph._memo[memo_key] = make(graph, arguments)
            finally:
                graph._active = outer
            found._memo_key = memo_key
        return cast(C, found)

    collection.__doc__ = function.__doc__
    collection.__name__ = function.__name__
    return collection
