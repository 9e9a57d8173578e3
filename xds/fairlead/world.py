"""The world: every accepted object, by kind, as the inputs of all derived values.

Objects of namespaces that the MeshConfig's `discoverySelectors` do not select are kept aside, as if they were not
there. The namespace `istio-system` is always selected: the selectors are in it.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from fairlead.derive import Graph, Input
from fairlead.intent import Backend, Endpoint
from fairlead.models.base import KubernetesObject
from fairlead.models.core import ConfigMap, Namespace
from fairlead.models.istio.mesh_config import CONFIG_MAP_NAME, CONFIG_MAP_NAMESPACE
from fairlead.models.label_selector import LabelSelector, LabelSelectorRequirement
from fairlead.validation.istio.mesh_config import mesh_config

_NAME_LABEL = "kubernetes.io/metadata.name"
"""Kubernetes gives it to every namespace, so that files mostly leave it out."""

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


DEFAULT_RUNTIME = Endpoint("127.0.0.1", 18002)
"""Where proxies reach the services that they call while they serve requests, if nobody says otherwise."""

MESH_CONFIG = ObjectName(CONFIG_MAP_NAMESPACE, CONFIG_MAP_NAME)
"""The ConfigMap that holds the MeshConfig."""


def labels_of_namespace(namespace: str, found: Namespace | None) -> Mapping[str, str]:
    """The labels of a namespace, of which there may be no object."""
    return {_NAME_LABEL: namespace} | (found.metadata.labels if found is not None else {})


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a selector selects what has these labels; with an operator that is none it selects nothing."""
    return selector.match_labels.items() <= labels.items() and all(
        _holds(asked, labels) for asked in selector.match_expressions
    )


def _holds(asked: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    match asked.operator:
        case "In":
            return labels.get(asked.key) in asked.values
        case "NotIn":
            return labels.get(asked.key) not in asked.values
        case "Exists":
            return asked.key in labels
        case "DoesNotExist":
            return asked.key not in labels
    return False


class World:
    """All accepted objects. Derived functions take it as their first argument."""

    def __init__(self, *, strict_secret_names: bool = False, runtime: Endpoint = DEFAULT_RUNTIME) -> None:
        """`strict_secret_names`: Secrets whose names ASM reserves are not served.

        `runtime` is where proxies reach our services that they call while they serve requests.
        """
        self.graph = Graph()
        self.strict_secret_names = strict_secret_names
        self.runtime = runtime
        self.retained: Input[Hashable, Retained] = Input(self.graph)
        """Selection -> what its proxies need for what they keep of an earlier state; nothing without proxies."""
        self._inputs: dict[type[KubernetesObject], Input[ObjectName, KubernetesObject]] = {}
        self._selectors: tuple[LabelSelector, ...] = ()
        self._selected: dict[str, bool] = {}
        """Namespace -> whether it is selected, as far as anybody has asked."""
        self._aside: dict[type[KubernetesObject], dict[ObjectName, KubernetesObject]] = {}

    def objects(self, kind: type[T]) -> Input[ObjectName, T]:
        """The objects of a kind, by name; reads inside derived functions are recorded."""
        found = self._inputs.get(kind)
        if found is None:
            found = self._inputs[kind] = Input(self.graph)
        return found  # type: ignore[return-value]  # a mapping from type to collection of that type

    def put(self, obj: KubernetesObject) -> None:
        """Add an object or replace the one of the same name."""
        kind, name = type(obj), ObjectName(obj.metadata.namespace, obj.metadata.name)
        if self._is_selected(name.namespace):
            self.objects(kind).set(name, obj)
        else:
            self._aside.setdefault(kind, {})[name] = obj
        self._select(kind, name)

    def remove(self, kind: type[KubernetesObject], name: ObjectName) -> None:
        """Take an object away; nothing happens when there is none."""
        self.objects(kind).delete(name)
        self._aside.get(kind, {}).pop(name, None)
        self._select(kind, name)

    def _is_selected(self, namespace: str) -> bool:
        if not self._selectors or namespace in ("", CONFIG_MAP_NAMESPACE):
            return True
        if namespace not in self._selected:
            found = self.objects(Namespace).get(ObjectName("", namespace))
            labels = labels_of_namespace(namespace, found)
            self._selected[namespace] = any(selects(selector, labels) for selector in self._selectors)
        return self._selected[namespace]

    def _select(self, kind: type[KubernetesObject], name: ObjectName) -> None:
        """Put aside or bring back what another object has changed the place of."""
        if kind is Namespace:
            before = self._selected.pop(name.name, None)
            if before is not None and before is not self._is_selected(name.name):
                self._sort()
        elif kind is ConfigMap and name == MESH_CONFIG:
            found = self.objects(ConfigMap).get(name)
            selectors = () if found is None else mesh_config(found)[0].discovery_selectors
            if selectors != self._selectors:
                self._selectors = selectors
                self._selected.clear()
                self._sort()

    def _sort(self) -> None:
        for kind in {*self._inputs, *self._aside}:
            found, aside = self.objects(kind), self._aside.setdefault(kind, {})
            coming = [name for name in aside if self._is_selected(name.namespace)]
            for name in [name for name in found.keys() if not self._is_selected(name.namespace)]:  # noqa: SIM118  # no dict
                obj = found.get(name)
                if obj is not None:
                    aside[name] = obj
                    found.delete(name)
            for name in coming:
                found.set(name, aside.pop(name))

    def __iter__(self) -> Iterator[KubernetesObject]:
        """All objects; not recorded."""
        return (obj for found in self._inputs.values() for name in found.keys() if (obj := found.get(name)))  # noqa: SIM118  # no dict

    def has(self, kind: str, name: ObjectName) -> bool:
        """Whether there is an object of a kind of that name; for people, so not recorded."""
        return any(each.kind == kind and name in found.keys() for each, found in self._inputs.items())  # noqa: SIM118  # no dict

    def count(self) -> dict[str, int]:
        """Kind -> number of objects, for those that there are; for people, so not recorded."""
        counts: Counter[str] = Counter()  # two API groups may have a kind of the same name
        for kind, found in self._inputs.items():
            counts[kind.kind] += len(found.keys())
        return dict(+counts)

    def size(self) -> int:
        """Number of all objects."""
        return sum(self.count().values())
