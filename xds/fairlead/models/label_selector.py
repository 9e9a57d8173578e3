"""Kubernetes' label selector, as the Gateway API and Istio's MeshConfig use it."""

import msgspec

from fairlead.models.base import Model

LABEL_OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})


class LabelSelectorRequirement(Model, frozen=True, kw_only=True):
    """A condition on one label."""

    key: str
    """Name of the label."""
    operator: str
    """`In`, `NotIn`, `Exists` or `DoesNotExist`."""
    values: tuple[str, ...] = ()
    """For `In` and `NotIn`."""


class LabelSelector(Model, frozen=True, kw_only=True):
    """All of its conditions have to hold."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Labels with these values."""
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()
