"""Which names a client wants of one type: explicit names, the wildcard, or both.

Rules (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return):

- The name ``*`` is the wildcard; it is subscribed to and unsubscribed from as any other name.
- A client that has never named anything wants everything, of the types for which that makes sense.
- In the state-of-the-world variant that ends with the first name, for good: no names are then none.
- In the incremental variant only the first request decides; names come on top, and only ``*`` unsubscribes from it.
- The empty name names nothing. A name given twice counts once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

WILDCARD = "*"

_Names = frozenset[str]
_pool: WeakValueDictionary[int, _Names] = WeakValueDictionary()


def shared(names: _Names) -> _Names:
    """An equal set, the same object for all who ask: a fleet's streams subscribe to the same names, thousands each."""
    known = _pool.setdefault(hash(names), names)
    return known if known == names else names


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client wants of one type on one stream."""

    names: frozenset[str] = frozenset()
    """Explicit names, without the wildcard."""
    wildcard: bool = False
    named: bool = False
    """Whether the client has ever given a list of names."""

    def __contains__(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def listed(self, names: Iterable[str], implicit_wildcard: bool) -> "Subscription":
        """After a state-of-the-world request, which names all that is wanted."""
        given = frozenset(names)
        return self._with(
            given, wildcard=WILDCARD in given or (not given and not self.named and implicit_wildcard), given=given
        )

    def changed(
        self, subscribe: Iterable[str], unsubscribe: Iterable[str], implicit_wildcard: bool = False
    ) -> "Subscription":
        """After an incremental request; `implicit_wildcard` for the first one of a type that has it."""
        given, dropped = frozenset(subscribe), frozenset(unsubscribe)
        wildcard = self.wildcard or WILDCARD in given or (not given and implicit_wildcard)
        return self._with((self.names | given) - dropped, wildcard=wildcard and WILDCARD not in dropped, given=given)

    def _with(self, names: _Names, *, wildcard: bool, given: _Names) -> "Subscription":
        if WILDCARD in names or "" in names:
            names -= {WILDCARD, ""}
        names = self.names if names == self.names else shared(names)
        return replace(self, names=names, wildcard=wildcard, named=self.named or bool(given))
