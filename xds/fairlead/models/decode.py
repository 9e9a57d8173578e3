"""From plain data to typed objects, with every fault told."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fairlead.models.base import KubernetesObject
from fairlead.problems import ObjectKey, Problem


class Decoded(NamedTuple):
    """An object, or why there is none."""

    object: KubernetesObject | None
    """None when a problem is an error, or when the kind is not read."""
    problems: tuple[Problem, ...] = ()
    key: ObjectKey | None = None
    """The object's identity, known for faulty objects as well; None when they have no valid name."""


def decode(data: Mapping[str, Any]) -> Decoded:
    """Decode an object."""
    raise NotImplementedError
