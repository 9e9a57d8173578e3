"""Which namespaces routes may be attached from."""

from collections.abc import Callable, Mapping

from fairlead.models.core import Namespace
from fairlead.models.gateway_api import FromNamespaces, LabelSelector, LabelSelectorRequirement, RouteNamespaces
from fairlead.world import ObjectName, World

_NAME_LABEL = "kubernetes.io/metadata.name"
"""Kubernetes gives it to every namespace, so that files mostly leave it out."""

_Condition = Callable[[LabelSelectorRequirement, Mapping[str, str]], bool]

_OPERATORS: Mapping[str, _Condition] = {
    "In": lambda asked, labels: labels.get(asked.key) in asked.values,
    "NotIn": lambda asked, labels: labels.get(asked.key) not in asked.values,
    "Exists": lambda asked, labels: asked.key in labels,
    "DoesNotExist": lambda asked, labels: asked.key not in labels,
}
OPERATORS = frozenset(_OPERATORS)
"""Of Kubernetes' label selectors."""


def may_attach(world: World, allowed: RouteNamespaces, namespace: str, own: str) -> bool:
    """Whether routes of a namespace may be attached to what is in the namespace `own`."""
    match allowed.from_:
        case FromNamespaces.ALL:
            return True
        case FromNamespaces.SAME:
            return namespace == own
        case FromNamespaces.SELECTOR:
            return allowed.selector is not None and _selects(allowed.selector, _labels(world, namespace))
        case FromNamespaces.NONE:
            return False


def _labels(world: World, namespace: str) -> Mapping[str, str]:
    found = world.objects(Namespace).get(ObjectName("", namespace))
    return {_NAME_LABEL: namespace} | (found.metadata.labels if found is not None else {})


def _selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    # With an operator that is none nothing is selected, rather than too much.
    return selector.match_labels.items() <= labels.items() and all(
        asked.operator in _OPERATORS and _OPERATORS[asked.operator](asked, labels)
        for asked in selector.match_expressions
    )
