"""The nodes of the graph: what is read, what is computed, and who depends on whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from fairlead.derive.collections import Collection, ComputedCollection, KeyedMap

    Upstream = frozenset[ComputedCollection[Any, Any]]
    """The computed collections that a value depends on, directly or through others."""
    Dependent: TypeAlias = "Computed | KeyedMap[Any, Any]"
    """What is marked when something changes: computations, and maps that follow computed keys or values."""
    Dependents: TypeAlias = "Dependent | tuple[Dependent, ...] | set[Dependent]"
    """A single one stands for itself, and few are in a tuple: there is a node for every part of every value, and a set
    takes more memory than all else of it."""

CLEAN, CHECK, DIRTY = 0, 1, 2

_FEW = 8


def _all(dependents: Dependents) -> Iterable[Dependent]:
    return dependents if isinstance(dependents, (tuple, set)) else (dependents,)


def _with(dependents: Dependents, one: Dependent) -> Dependents:
    if isinstance(dependents, set):
        dependents.add(one)
        return dependents
    if not isinstance(dependents, tuple):
        return dependents if dependents is one else (dependents, one)
    if one in dependents:
        return dependents
    if not dependents:
        return one
    return (*dependents, one) if len(dependents) < _FEW else {*dependents, one}


def _without(dependents: Dependents, one: Dependent) -> Dependents:
    if isinstance(dependents, set):
        dependents.discard(one)
        return dependents
    return tuple(other for other in _all(dependents) if other is not one)


class HasGraph(Protocol):
    """What the first argument of every derived function offers."""

    @property
    def graph(self) -> Graph:
        """The graph that keeps the derived values."""
        ...


class Graph:
    """All derived values over one set of inputs."""

    def __init__(self) -> None:
        self.epoch = 0
        self.computed: Counter[str] = Counter()
        """How often each derived function has run, by qualified name; for tests and metrics."""
        self.on_failure: Callable[[str, Hashable, Exception], None] | None = None
        """Called with function name, key and exception when a member of a map or index cannot be computed, or with
        the arguments for a key when the keys of a map cannot. What it is about then stays as it was. Without a callback
        the exception is raised, and always when there are no keys that could stay."""
        self._active: Computed | None = None
        self._memo: dict[Callable[..., Any], dict[tuple[Any, ...], Any]] = {}
        """Function -> arguments -> the node or collection."""
        self._pending: dict[ComputedCollection[Any, Any], None] = {}
        """The collections that have something to recompute, of those that have been computed before."""
        self._unions: dict[tuple[Upstream, Upstream], Upstream] = {}

    def _union(self, a: Upstream, b: Upstream) -> Upstream:
        """`a | b`, interned: the sets of upstream collections are few and shared by very many nodes."""
        if b is a or b <= a:
            return a
        union = self._unions.get((a, b))
        if union is None:
            union = self._unions[a, b] = a | b
        return union

    def _begin_epoch(self) -> None:
        if self._active is not None:
            raise RuntimeError(f"{self._active.function.__qualname__} changes an input while it is computed")
        self.epoch += 1

    def _forget(self, function: Callable[..., Any], arguments: tuple[Any, ...], what: object) -> None:
        found = self._memo.get(function, {})
        if found.get(arguments) is what:
            del found[arguments]
            if not found:
                del self._memo[function]

    def settle_steps(self, *, urgent: bool) -> Iterator[None]:
        """Bring what changes concern up to date in small steps: work for the change, whatever there is beside it.

        That is those collections that have been computed before; with `urgent` only what those are computed from that
        have an urgent reader. What a failure keeps from being computed is told to `on_failure`, and tried again by
        the next call. Inputs must not change until the iterator has ended.
        """
        failed: set[ComputedCollection[Any, Any]] = set()
        while True:
            due = [each for each in self._pending if (each._urgent or not urgent) and each not in failed]
            if not due:
                return
            for collection in due:
                try:
                    yield from collection.refresh_steps()
                except Exception as failure:
                    if self.on_failure is None:
                        raise
                    failed.add(collection)
                    if failure is not collection._told:
                        collection._told = failure
                        self.on_failure(collection._name, collection._arguments[1:], failure)


class Slot:
    """One key of a collection, as far as computations have read it."""

    __slots__ = ("collection", "dependents", "key")

    def __init__(self, collection: Collection[Any, Any], key: Hashable) -> None:
        self.collection = collection
        self.key = key
        self.dependents: Dependents = ()

    def changed(self) -> None:
        """What the key stands for is another value now."""
        for dependent in _all(self.dependents):
            dependent.mark(DIRTY, self)

    def add_dependent(self, dependent: Dependent) -> None:
        """A computation reads this."""
        self.dependents = _with(self.dependents, dependent)

    def remove_dependent(self, dependent: Dependent) -> None:
        """A computation does not read this any more; what nobody reads is dropped."""
        self.dependents = _without(self.dependents, dependent)
        if not self.dependents:
            self.collection._forget_slot(self)


class Computed:
    """One call of a derived function: its value and what it read."""

    __slots__ = (
        "arguments",
        "dependencies",
        "dependents",
        "failure",
        "function",
        "graph",
        "owner",
        "reading",
        "state",
        "upstream",
        "value",
        "verified",
    )

    def __init__(
        self,
        graph: Graph,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        owner: KeyedMap[Any, Any] | None = None,
    ) -> None:
        self.graph = graph
        self.function = function
        self.arguments = arguments
        self.owner = owner
        """The map that this is a member of, under the last argument; otherwise it is in the graph's memory."""
        self.dependencies: tuple[Slot | Computed, ...] = ()
        self.reading: dict[Slot | Computed, None] | None = None
        """What has been read so far, while the function runs."""
        self.dependents: Dependents = ()
        self.upstream: Upstream = _NOTHING
        self.state = DIRTY
        self.verified = -1
        self.value: Any = None
        self.failure: Exception | None = None

    def mark(self, state: int, _source: Slot | Computed) -> None:
        """Something that this depends on is, or may be, another value now."""
        if self.state >= state:
            return
        was_clean = self.state == CLEAN
        self.state = state
        if was_clean:
            if self.owner is not None:
                self.owner._member_is_due(self.arguments[-1])
            for dependent in _all(self.dependents):
                dependent.mark(CHECK, self)

    def read(self) -> Any:
        """The value, brought up to date, recorded as a dependency of the running computation."""
        active = self.graph._active
        if active is not None:
            active.depend_on(self)
        self.refresh()
        if active is not None and self.upstream is not active.upstream:
            active.upstream = self.graph._union(active.upstream, self.upstream)
        if self.failure is not None:
            raise self.failure
        return self.value

    def depend_on(self, dependency: Slot | Computed) -> None:
        """Record a reading."""
        assert self.reading is not None
        if dependency not in self.reading:
            self.reading[dependency] = None
            dependency.add_dependent(self)

    def refresh(self) -> None:
        """Bring the value up to date, running the function only if something that it read has changed."""
        graph = self.graph
        if self.verified == graph.epoch:
            return
        if self.reading is not None:
            raise RuntimeError(f"{self.function.__qualname__}{self.arguments[1:]} depends on itself")
        if graph._pending:
            for collection in self.upstream:
                collection.refresh()
        if self.state == CHECK:
            for dependency in self.dependencies:
                if isinstance(dependency, Computed):
                    dependency.refresh()
                    if self.state == DIRTY:
                        break
            else:
                self.state = CLEAN
        if self.state == DIRTY:
            self._run()
        self.verified = graph.epoch

    def _run(self) -> None:
        graph = self.graph
        graph.computed[self.function.__qualname__] += 1
        before = self.dependencies
        reading = self.reading = {}
        self.upstream = _NOTHING
        outer, graph._active = graph._active, self
        failed_before, self.failure = self.failure, None
        value = self.value
        try:
            value = self.function(*self.arguments)
        except Exception as failure:  # noqa: BLE001
            # A failure is a result too: it is worth another try only when something that was read has changed.
            self.failure = failure
        finally:
            graph._active = outer
            self.reading = None
            self.dependencies = tuple(reading)
        for dependency in before:
            if dependency not in reading:
                dependency.remove_dependent(self)
        self.state = CLEAN
        if value != self.value or self.failure is not failed_before:
            self.value = value
            for dependent in _all(self.dependents):
                dependent.mark(DIRTY, self)

    def add_dependent(self, dependent: Dependent) -> None:
        """A computation, or a map, reads this."""
        self.dependents = _with(self.dependents, dependent)

    def remove_dependent(self, dependent: Dependent) -> None:
        """A computation does not read this any more; what nobody reads is dropped."""
        self.dependents = _without(self.dependents, dependent)
        if not self.dependents and self.owner is None:
            self.drop()

    def drop(self) -> None:
        """Forget this node; what only it has read goes too."""
        if self.owner is None:
            self.graph._forget(self.function, self.arguments, self)
        dependencies, self.dependencies = self.dependencies, ()
        for dependency in dependencies:
            dependency.remove_dependent(self)


_NOTHING: Upstream = frozenset()
