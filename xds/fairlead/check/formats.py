"""Problems as text for people and as JSON for scripts."""

import enum
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from fairlead.check.catalogue import ENTRIES
from fairlead.problems import Position, Problem, Related, Severity, format_path

LineOf = Callable[[Position], str]
"""Gives the text of a line, empty when it cannot be read."""

_SECRET_KINDS = ("Secret", "ASMCredential")
_BASE64 = re.compile(r"[A-Za-z0-9+/=]{40,}|^\s*[A-Za-z0-9+/=]{16,}\s*$")
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """By file, line and column; errors before warnings of the same place. Those without a place come last."""
    nowhere = Position("\U0010ffff", 0, 0)
    return sorted(
        set(problems),
        key=lambda found: (
            found.position or nowhere,
            _ORDER[found.severity],
            found.code,
            str(found.key),
            found.message,
        ),
    )


class Role(enum.Enum):
    """What a piece of text is, so that a terminal can colour it."""

    PLAIN = enum.auto()
    PLACE = enum.auto()
    ERROR = enum.auto()
    WARNING = enum.auto()
    INFO = enum.auto()
    MARK = enum.auto()
    """Line numbers, carets, and what introduces a further line."""


class Piece(NamedTuple):
    """A piece of text."""

    text: str
    role: Role = Role.PLAIN


_ROLES = {Severity.ERROR: Role.ERROR, Severity.WARNING: Role.WARNING, Severity.INFO: Role.INFO}


def as_text(problems: Sequence[Problem], line_of: LineOf) -> Iterator[Piece]:
    """Each problem as a compiler shows it: place, sentence, the line with a caret, why it matters, what to do.

    Why it matters is told once for each code.
    """
    explained: set[str] = set()
    for problem in problems:
        yield from _one_as_text(problem, line_of, explain=problem.code not in explained)
        explained.add(problem.code)


def _one_as_text(problem: Problem, line_of: LineOf, *, explain: bool) -> Iterator[Piece]:
    if problem.position:
        yield Piece(f"{problem.position}: ", Role.PLACE)
    yield Piece(f"{problem.severity}[{problem.code}]", _ROLES[problem.severity])
    yield Piece(f" {problem.message}")
    if problem.key:
        yield Piece(f" ({problem.key}{_at(problem)})")
    yield Piece("\n")
    if problem.position:
        yield from _quote(problem.position, _without_keys(line_of(problem.position), problem))
    entry = ENTRIES.get(problem.code)
    if explain and entry is not None:
        yield from _note("why", entry.why)
    hint = problem.hint or (entry.fix if entry is not None else "")
    if hint:
        yield from _note("hint", hint)
    for related in problem.related:
        where = f"{related.position}: " if related.position else ""
        subject = f" ({related.key})" if related.key else ""
        yield from _note("see", f"{where}{related.message}{subject}")
    yield Piece("\n")


def _quote(position: Position, line: str) -> Iterator[Piece]:
    if line.strip():
        number = str(position.line)
        yield Piece(f"  {number} | ", Role.MARK)
        yield Piece(f"{line}\n")
        # Tabs are kept, so that the caret stands where the terminal shows the column.
        indent = "".join("\t" if character == "\t" else " " for character in line[: position.column - 1])
        yield Piece(f"  {' ' * len(number)} | {indent.ljust(position.column - 1)}^\n", Role.MARK)


def _note(name: str, text: str) -> Iterator[Piece]:
    yield Piece(f"  {name}: ", Role.MARK)
    yield Piece(f"{text}\n")


def _without_keys(line: str, problem: Problem) -> str:
    """The line without what may be of a private key: values of Secrets, and long texts of base64's characters."""
    if problem.key is not None and problem.key.kind in _SECRET_KINDS and problem.path[:1] != ("metadata",):
        name, colon, _ = line.partition(":")
        return f"{name}: [redacted]" if colon else "[redacted]"
    return _BASE64.sub("[redacted]", line)


def _at(problem: Problem) -> str:
    return f", {format_path(problem.path)}" if problem.path else ""


def summary(problems: Sequence[Problem], objects: int, *, suppressed: int = 0, hidden: int = 0) -> str:
    """One line: how much was looked at, what was found, and what of it is not shown."""
    found = {severity: sum(problem.severity is severity for problem in problems) for severity in Severity}
    parts = [_count(found[Severity.ERROR], "error"), _count(found[Severity.WARNING], "warning")]
    if found[Severity.INFO]:
        parts.append(_count(found[Severity.INFO], "note"))
    if suppressed:
        parts.append(f"{suppressed} suppressed")
    if hidden:
        parts.append(f"{_count(hidden, 'note')} not shown (--notes)")
    return f"{_count(objects, 'object')}: {', '.join(parts)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def as_json(problems: Sequence[Problem]) -> str:
    """A JSON list of objects with the fields of a problem, the place flattened."""
    return json.dumps([_one_as_json(problem) for problem in problems], indent=2)


def _one_as_json(problem: Problem) -> dict[str, Any]:
    return {
        "severity": problem.severity.value,
        "code": problem.code,
        **_place(problem),
        "message": problem.message,
        "hint": problem.hint,
        "related": [{"message": related.message, **_place(related)} for related in problem.related],
    }


def _place(found: Problem | Related) -> dict[str, Any]:
    position = found.position
    return {
        "file": position.file if position else None,
        "line": position.line if position else None,
        "column": position.column if position else None,
        "object": found.key._asdict() if found.key else None,
        "path": format_path(found.path),
    }
