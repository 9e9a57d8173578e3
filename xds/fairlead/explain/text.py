"""An explanation as text for a person in a hurry: the end first, then the way, then what could be meant."""

from collections.abc import Iterable, Iterator

from fairlead.explain.values import Explanation, Other, Source, Stop
from fairlead.simulation import Stage
from fairlead.status import ProblemStatus

_SHOWN = {Stage.FILTER_CHAIN: 5, Stage.ROUTE: 20}
"""How many of those that were not chosen are shown; of routes more, since their order is what people ask for."""


def as_text(explanation: Explanation) -> str:
    """The explanation, in lines."""
    return "\n".join(_lines(explanation)) + "\n"


def _lines(explanation: Explanation) -> Iterator[str]:
    yield explanation.asked
    yield f"  {explanation.outcome}"
    yield f"  at proxy {explanation.proxy}"
    for hint in explanation.hints:
        yield f"hint: {hint.text}{_places(hint.sources)}"
    for stop in explanation.stops:
        yield from _stop(stop)
    for problem in explanation.problems:
        yield from _problem(problem)


def _places(sources: Iterable[Source]) -> str:
    found = ", ".join(str(source.position) for source in sources if source.position)
    return f" ({found})" if found else ""


def _stop(stop: Stop) -> Iterator[str]:
    name = f" {stop.name}" if stop.name else ": none"
    yield f"{stop.stage}{name}" + (f": {stop.why}" if stop.why else "")
    for source in stop.sources:
        yield f"    from {source}"
    shown = stop.not_chosen[: _SHOWN.get(stop.stage, 5)]
    for other in shown:
        yield f"    not {_other(other)}"
    if len(stop.not_chosen) > len(shown):
        yield f"    not {len(stop.not_chosen) - len(shown)} more"
    for fact in stop.facts:
        yield f"    {fact.label}: {fact.text}"


def _other(other: Other) -> str:
    return f"{other.name}: {other.why}{_places(other.sources)}"


def _problem(problem: ProblemStatus) -> Iterator[str]:
    place = f"{problem.file}:{problem.line}:{problem.column}: " if problem.file else ""
    yield f"{place}{problem.severity}[{problem.code}] {problem.message} ({problem.object})"
    if problem.hint:
        yield f"  hint: {problem.hint}"
