"""An explanation as plain values, and as JSON: fields may be added to that, none changes its meaning."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from fairlead.problems import FieldPath, ObjectKey, Position, format_path
from fairlead.simulation import Fact, Stage
from fairlead.status import ProblemStatus

Locate = Callable[[ObjectKey, FieldPath], Position | None]
"""Where a field of an object is written."""


class Source(NamedTuple):
    """An object that something comes from."""

    key: ObjectKey
    path: FieldPath = ()
    position: Position | None = None

    def __str__(self) -> str:
        return f"{self.key} ({self.position})" if self.position else str(self.key)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        position = self.position._asdict() if self.position else {"file": "", "line": 0, "column": 0}
        return {**self.key._asdict(), "path": format_path(self.path), **position}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Source":
        """What `as_json` gave, but for the path, which the position stands for."""
        position = Position(data["file"], data["line"], data["column"]) if data["file"] else None
        return cls(ObjectKey(data["group"], data["kind"], data["namespace"], data["name"]), (), position)


class Other(NamedTuple):
    """What was not chosen, and why."""

    name: str
    why: str
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    """One decision on the way."""

    stage: Stage
    name: str
    """Of what was chosen; empty when nothing was."""
    why: str
    not_chosen: tuple[Other, ...]
    facts: tuple[Fact, ...]
    sources: tuple[Source, ...]


class Hint(NamedTuple):
    """What could be meant, or what is missing."""

    text: str
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of a request at one proxy, and why."""

    proxy: str
    asked: str
    accepted: bool
    """A listener of the proxy takes the connection."""
    served: bool
    """It ends as somebody has configured: at a backend, or with an answer of the proxy; else something is missing."""
    outcome: str
    """Where it ends, in a sentence."""
    stops: tuple[Stop, ...]
    astray: bool = False
    """Nothing of the proxy is for the request, nor for one like it: one looks for objects that should be."""
    hints: tuple[Hint, ...] = ()
    problems: tuple[ProblemStatus, ...] = ()
    """What is wrong with the objects that are involved."""

    def keys(self) -> set[ObjectKey]:
        """The objects that are involved."""
        found = [source for stop in self.stops for source in stop.sources]
        found += [source for hint in self.hints for source in hint.sources]
        return {source.key for source in found}

    def located(self, locate: Locate) -> "Explanation":
        """The same with the places of all objects."""

        def place(sources: Iterable[Source]) -> tuple[Source, ...]:
            return tuple(source._replace(position=locate(source.key, source.path)) for source in sources)

        stops = tuple(
            replace(
                stop,
                sources=place(stop.sources),
                not_chosen=tuple(other._replace(sources=place(other.sources)) for other in stop.not_chosen),
            )
            for stop in self.stops
        )
        return replace(self, stops=stops, hints=tuple(Hint(hint.text, place(hint.sources)) for hint in self.hints))

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, with the names of the fields."""
        return {
            "proxy": self.proxy,
            "asked": self.asked,
            "accepted": self.accepted,
            "served": self.served,
            "outcome": self.outcome,
            "steps": [_stop_as_json(stop) for stop in self.stops],
            "astray": self.astray,
            "hints": [{"text": hint.text, "objects": _sources_as_json(hint.sources)} for hint in self.hints],
            "problems": [asdict(problem) for problem in self.problems],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Explanation":
        """What `as_json` gave; raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        return cls(
            proxy=data["proxy"],
            asked=data["asked"],
            accepted=data["accepted"],
            served=data["served"],
            outcome=data["outcome"],
            stops=tuple(map(_stop_from_json, data["steps"])),
            astray=data["astray"],
            hints=tuple(Hint(hint["text"], _sources_from_json(hint["objects"])) for hint in data["hints"]),
            problems=tuple(ProblemStatus(**problem) for problem in data["problems"]),
        )


def _stop_as_json(stop: Stop) -> dict[str, Any]:
    return {
        "stage": stop.stage.value,
        "name": stop.name,
        "why": stop.why,
        "not_chosen": [
            {"name": other.name, "why": other.why, "objects": _sources_as_json(other.sources)}
            for other in stop.not_chosen
        ],
        "facts": [fact._asdict() for fact in stop.facts],
        "objects": _sources_as_json(stop.sources),
    }


def _stop_from_json(data: dict[str, Any]) -> Stop:
    return Stop(
        stage=Stage(data["stage"]),
        name=data["name"],
        why=data["why"],
        not_chosen=tuple(
            Other(other["name"], other["why"], _sources_from_json(other["objects"])) for other in data["not_chosen"]
        ),
        facts=tuple(Fact(**fact) for fact in data["facts"]),
        sources=_sources_from_json(data["objects"]),
    )


def _sources_as_json(sources: Iterable[Source]) -> list[dict[str, Any]]:
    return [source.as_json() for source in sources]


def _sources_from_json(data: Iterable[dict[str, Any]]) -> tuple[Source, ...]:
    return tuple(map(Source.from_json, data))
