"""The decorators that make plain functions derived values, maps and indexes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from fairlead.derive.collections import Collection, ComputedCollection, Index, KeyedMap
from fairlead.derive.nodes import Computed, Graph, HasGraph

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
G = TypeVar("G", bound=Hashable)
P = ParamSpec("P")
W = TypeVar("W", bound=HasGraph)


class Derived(Generic[P, V]):
    """A derived function; calling it answers from memory where possible."""

    def __init__(self, function: Callable[..., V]) -> None:
        self._function = function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> V:
        """The up-to-date result; arguments are positional and hashable, the first has a graph."""
        return cast(V, self._node(args).read())

    def _node(self, arguments: tuple[Any, ...]) -> Computed:
        graph: Graph = arguments[0].graph
        known = graph._memo.get(self._function)
        if known is None:
            known = graph._memo[self._function] = {}
        node = known.get(arguments)
        if node is None:
            node = known[arguments] = Computed(graph, self._function, arguments)
        return cast(Computed, node)


def derived(function: Callable[Concatenate[W, P], V]) -> Derived[Concatenate[W, P], V]:
    """Make a pure function `(world, *arguments) -> value` a derived value."""
    return Derived(function)


def _followed(keys: Callable[..., Any], arguments: tuple[Any, ...]) -> Computed | Collection[Any, Any]:
    if isinstance(keys, Derived):
        return keys._node(arguments)
    return cast(Collection[Any, Any], keys(*arguments))


def derived_map(
    keys: Callable[Concatenate[W, P], frozenset[K] | Collection[K, Any]],
    reads: Callable[..., Iterable[Collection[Any, Any]]] | None = None,
) -> Callable[[Callable[..., V | None]], Callable[Concatenate[W, P], KeyedMap[K, V]]]:
    """Make `(world, *arguments, key) -> value | None` a keyed map, returned by a call without the key.

    `keys(world, *arguments)` says for which keys: it is a `@derived` function that returns a frozenset, or any
    function that returns a collection, whose keys are then followed without ever being compared as a whole.
    `reads(world, *arguments)` are collections that are brought up to date before the first of the members and the set
    of keys is computed: by `refresh_steps` in small steps, while a large one that nobody has said anything of is
    computed by its first reader in one.
    """

    def decorate(function: Callable[..., V | None]) -> Callable[Concatenate[W, P], KeyedMap[K, V]]:
        def make(graph: Graph, arguments: tuple[Any, ...]) -> KeyedMap[K, V]:
            before = cast(Any, reads)(*arguments) if reads else ()
            return KeyedMap(graph, function, arguments, _followed(keys, arguments), reads=before)

        return _memoised_collection(function, make)

    return decorate


def shared_map(
    keys: Callable[Concatenate[W, P], frozenset[K] | Collection[K, Any]],
    value: Callable[..., V | None],
    reads: Callable[..., Iterable[Collection[Any, Any]]] | None = None,
) -> Callable[[Callable[..., tuple[Any, ...]]], Callable[Concatenate[W, P], KeyedMap[K, V]]]:
    """Make a keyed map whose values are those of `value`, a `@derived` function that other maps use as well.

    The decorated `(world, *arguments) -> arguments` says with which arguments, before the key. The map has no nodes of
    its own, as it would have if its function did nothing but call the other one. `keys` and `reads` are those of
    `derived_map`.
    """

    def decorate(function: Callable[..., tuple[Any, ...]]) -> Callable[Concatenate[W, P], KeyedMap[K, V]]:
        def make(graph: Graph, arguments: tuple[Any, ...]) -> KeyedMap[K, V]:
            first = (arguments[0], *function(*arguments))
            before = cast(Any, reads)(*arguments) if reads else ()
            followed = _followed(keys, arguments)

            def shared(key: K) -> Computed:
                return cast(Derived[..., V], value)._node((*first, key))

            return KeyedMap(graph, function, arguments, followed, reads=before, shared=shared)

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


C = TypeVar("C", bound=ComputedCollection[Any, Any])


def _memoised_collection(function: Callable[..., Any], make: Callable[[Graph, tuple[Any, ...]], C]) -> Callable[..., C]:
    def collection(*arguments: Any) -> C:
        graph: Graph = arguments[0].graph
        found = graph._memo.get(function, _EMPTY).get(arguments)
        if found is None:
            # What the making reads belongs to the collection, not to the computation that happens to ask first.
            outer, graph._active = graph._active, None
            try:
                found = make(graph, arguments)
            finally:
                graph._active = outer
            graph._memo.setdefault(function, {})[arguments] = found
        return cast(C, found)

    collection.__doc__ = function.__doc__
    collection.__name__ = function.__name__
    return collection


_EMPTY: dict[tuple[Any, ...], Any] = {}
