"""The nodes of the graph: what is read, what is computed, and who depends on whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fairlead.derive.collections import Collection, ComputedCollection, KeyedMap

    Upstream = frozenset[ComputedCollection[Any, Any]]
    """The computed collections that a value depends on, directly or through others."""

CLEAN, CHECK, DIRTY = 0, 1, 2


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
        self._memo: dict[Hashable, Any] = {}
        self._unions: dict[tuple[Upstream, Upstream], Upstream] = {}

    def _union(self, a: Upstream, b: Upstream) -> Upstream:
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


class Slot:
    """One key of a collection, as far as computations have read it."""

    __slots__ = ("collection", "dependents", "key")

    def __init__(self, collection: Collection[Any, Any], key: Hashable) -> None:
        self.collection = collection
        self.key = key
        self.dependents: set[Computed] = set()

    def changed(self) -> None:
        """What the key stands for is another value now."""
        for dependent in self.dependents:
            dependent.mark(DIRTY)

    def remove_dependent(self, dependent: Computed) -> None:
        """A computation does not read this any more; what nobody reads is dropped."""
        self.dependents.discard(dependent)
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
        self.dependencies: dict[Slot | Computed, None] = {}
        self.dependents: set[Computed] = set()
        self.upstream: Upstream = frozenset()
        self.state = DIRTY
        self.verified = -1
        self.running = False
        self.value: Any = None
        self.failure: Exception | None = None

    def mark(self, state: int) -> None:
        """Something that this depends on is, or may be, another value now."""
        if self.state >= state:
            return
        was_clean = self.state == CLEAN
        self.state = state
        if was_clean:
            if self.owner is not None:
                self.owner[0]._due.add(self.owner[1])
            for dependent in self.dependents:
                dependent.mark(CHECK)

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

    def depend_on(self, dependency: Slot | Computed) -> None:
        """Record a reading."""
        self.dependencies[dependency] = None
        dependency.dependents.add(self)

    def refresh(self) -> None:
        """Bring the value up to date, running the function only if something that it read has changed."""
        if self.verified == self.graph.epoch:
            return
        if self.running:
            raise RuntimeError(f"{self.function.__qualname__}{self.arguments[1:]} depends on itself")
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
        self.state = CLEAN
        if value != self.value or self.failure is not failed_before:
            self.value = value
            for dependent in self.dependents:
                dependent.mark(DIRTY)

    def remove_dependent(self, dependent: Computed) -> None:
        """A computation does not read this any more; what nobody reads is dropped."""
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
