"""Rules that a well-typed object may still break."""

from dataclasses import replace

from fairlead.models.base import KubernetesObject
from fairlead.problems import Problem
from fairlead.validation import istio


def validate(obj: KubernetesObject) -> tuple[Problem, ...]:
    """What is wrong with an object by itself: paths start at its root, and each problem names it."""
    rules = _RULES.get(type(obj))
    return () if rules is None else tuple(replace(problem, key=obj.key) for problem in rules(obj))


_RULES = {**istio.RULES}
