"""The world: every accepted object, by kind, as the inputs of all derived values."""

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import NamedTuple, TypeVar

from fairlead.derive import Graph, Input
from fairlead.intent import Backend
from fairlead.models.base import KubernetesObject

T = TypeVar("T", bound=KubernetesObject)


class ObjectName(NamedTuple):
    """Where an object is found among those of its kind."""

    namespace: str
    """Empty for kinds that have no namespace."""
    name: str


class Retained(NamedTuple):
    """What proxies still refer to, beside what objects make them refer to."""

    backends: frozenset[Backend]
    credentials: frozenset[str]
    """Names, as in `credentialName`."""


class World:
    """All accepted objects. Derived functions take it as their first argument."""

    def __init__(self, *, strict_secret_names: bool = False) -> None:
        """`strict_secret_names`: Secrets whose names ASM reserves are not served."""
        self.graph = Graph()
        self.strict_secret_names = strict_secret_names
        self.retained: Input[Hashable, Retained] = Input(self.graph)
        """Selection -> what its proxies need for what they keep of an earlier state; nothing without proxies."""
        self._inputs: dict[type[KubernetesObject], Input[ObjectName, KubernetesObject]] = {}

    def objects(self, kind: type[T]) -> Input[ObjectName, T]:
        """The objects of a kind, by name; reads inside derived functions are recorded."""
        found = self._inputs.get(kind)
        if found is None:
            found = self._inputs[kind] = Input(self.graph)
        return found  # type: ignore[return-value]  # a mapping from type to collection of that type

    def put(self, obj: KubernetesObject) -> None:
        """Add an object or replace the one of the same name."""
        self.objects(type(obj)).set(ObjectName(obj.metadata.namespace, obj.metadata.name), obj)

    def remove(self, kind: type[KubernetesObject], name: ObjectName) -> None:
        """Take an object away; nothing happens when there is none."""
        self.objects(kind).delete(name)

    def __iter__(self) -> Iterator[KubernetesObject]:
        """All objects; not recorded."""
        return (obj for found in self._inputs.values() for name in found.keys() if (obj := found.get(name)))  # noqa: SIM118  # no dict

    def count(self) -> dict[str, int]:
        """Kind -> number of objects, for those that there are; for people, so not recorded."""
        counts: Counter[str] = Counter()  # two API groups may have a kind of the same name
        for kind, found in self._inputs.items():
            counts[kind.kind] += len(found.keys())
        return dict(+counts)

    def size(self) -> int:
        """Number of all objects."""
        return sum(self.count().values())
