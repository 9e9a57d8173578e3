"""Problems that somebody has looked at and does not want to be told of.

A code is named as ours or as that of `istioctl analyze`. What cannot be read has no annotations, so that the faults for
which an object is not accepted are suppressed on the command line only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fairlead.check.catalogue import ENTRIES
from fairlead.models.base import KubernetesObject
from fairlead.problems import ObjectKey, Problem, warning
from fairlead.world import World

ANNOTATIONS = ("fairlead.dev/suppress", "galley.istio.io/analyze-suppress")
"""On an object: codes, separated by commas, or `*` for all. The second is Istio's name for it."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """One code, for objects whose `Kind/namespace/name` has a pattern."""

    codes: frozenset[str]
    objects: str = "*"

    def covers(self, problem: Problem) -> bool:
        """Whether it is about the problem."""
        return problem.code in self.codes and fnmatchcase(_subject(problem.key), self.objects)


def parse(text: str) -> Suppression:
    """Read `code` or `code=Kind/namespace/name`, where `*` stands for anything.

    Raises `ValueError` when there is no such code.
    """
    code, _, objects = text.partition("=")
    found = _codes(code.strip())
    if not found:
        raise ValueError(f"there is no problem code {code.strip()!r}")
    return Suppression(found, objects.strip() or "*")


def _subject(key: ObjectKey | None) -> str:
    if key is None:
        return ""
    return "/".join(part for part in (key.kind, key.namespace, key.name) if part)


def _codes(name: str) -> frozenset[str]:
    if name == "*":
        return frozenset(ENTRIES)
    if name in ENTRIES:
        return frozenset({name})
    return frozenset(entry.code for entry in ENTRIES.values() if name in entry.istio)


def unsuppressed(world: World, problems: Iterable[Problem], suppressions: Iterable[Suppression]) -> list[Problem]:
    """The problems that are left, in their order."""
    rules = tuple(suppressions)
    annotated = dict(_annotated(world))
    return [
        problem
        for problem in problems
        if problem.code not in annotated.get(problem.key, ()) and not any(rule.covers(problem) for rule in rules)
    ]


def _annotated(world: World) -> Iterator[tuple[ObjectKey | None, frozenset[str]]]:
    for obj in world:
        codes = [code for _, code in _named(obj)]
        if codes:
            yield obj.key, frozenset().union(*map(_codes, codes))


def _named(obj: KubernetesObject) -> Iterator[tuple[str, str]]:
    """The annotations, and the codes that each names."""
    for annotation in ANNOTATIONS:
        for code in obj.metadata.annotations.get(annotation, "").split(","):
            if code.strip():
                yield annotation, code.strip()


def unknown_suppressions(world: World) -> Iterator[Problem]:
    """Annotations that suppress what does not exist. Istio's own codes are many more than the ones that are known."""
    for obj in world:
        for annotation, code in _named(obj):
            if annotation == ANNOTATIONS[0] and not _codes(code):
                message = f"there is no problem code {code!r}, so that nothing is suppressed"
                yield warning("unknown-suppression", message, key=obj.key, path=("metadata", "annotations", annotation))
