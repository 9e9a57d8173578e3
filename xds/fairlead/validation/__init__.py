"""Rules that a well-typed object may still break."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from fairlead.models.base import KubernetesObject
from fairlead.problems import Problem
from fairlead.validation import asm, core, gateway_api, istio

_RULES: dict[type[KubernetesObject], Callable[[Any], Iterable[Problem]]] = {
    **core.RULES,
    **istio.RULES,
    **gateway_api.RULES,
    **asm.RULES,
}


def validate(obj: KubernetesObject) -> tuple[Problem, ...]:
    """What is wrong with an object by itself: paths start at its root, and each problem names it."""
    rules = _RULES.get(type(obj))
    return () if rules is None else tuple(_of(obj, problem) for problem in rules(obj))


def _of(obj: KubernetesObject, problem: Problem) -> Problem:
    related = tuple(place._replace(key=place.key or obj.key) for place in problem.related)
    return replace(problem, key=obj.key, related=related)
