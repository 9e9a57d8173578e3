"""Problems as text for people, as JSON for scripts, as SARIF for code review."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fairlead.problems import Position, Problem, Severity, format_path

_SECRET_KINDS = ("Secret", "ASMCredential")
_BASE64 = re.compile(r"[A-Za-z0-9+/=]{40,}|^\s*[A-Za-z0-9+/=]{16,}\s*$")
_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """By file, line and column; errors before warnings of the same place. Those without a place come last."""
    nowhere = Position("\U0010ffff", 0, 0)
    return sorted(
        set(problems),
        key=lambda found: (found.position or nowhere, found.severity.value, found.code, str(found.key), found.message),
    )


def as_text(problems: Sequence[Problem], line_of: Callable[[Position], str]) -> str:
    """Each problem as a compiler shows it: place, sentence, the line with a caret, what to do.

    `line_of` gives the text of a line, empty when it cannot be read.
    """
    return "\n".join(_one_as_text(problem, line_of) for problem in problems)


def _one_as_text(problem: Problem, line_of: Callable[[Position], str]) -> str:
    place = f"{problem.position}: " if problem.position else ""
    subject = f" ({problem.key}{_at(problem)})" if problem.key else ""
    lines = [f"{place}{problem.severity}[{problem.code}] {problem.message}{subject}"]
    if problem.position:
        line = _without_keys(line_of(problem.position), problem)
        if line.strip():
            number = str(problem.position.line)
            lines += [
                f"  {number} | {line}",
                f"  {' ' * len(number)} | {' ' * (problem.position.column - 1)}^",
            ]
    if problem.hint:
        lines.append(f"  hint: {problem.hint}")
    return "\n".join(lines) + "\n"


def _without_keys(line: str, problem: Problem) -> str:
    """The line without what may be of a private key: values of Secrets, and long texts of base64's characters."""
    if problem.key is not None and problem.key.kind in _SECRET_KINDS and problem.path[:1] != ("metadata",):
        name, colon, _ = line.partition(":")
        return f"{name}: [redacted]" if colon else "[redacted]"
    return _BASE64.sub("[redacted]", line)


def _at(problem: Problem) -> str:
    return f", {format_path(problem.path)}" if problem.path else ""


def summary(problems: Sequence[Problem], objects: int) -> str:
    """One line: how much was looked at, and what was found."""
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    warnings = len(problems) - errors
    return f"{_count(objects, 'object')}: {_count(errors, 'error')}, {_count(warnings, 'warning')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def as_json(problems: Sequence[Problem]) -> str:
    """A JSON list of objects with the fields of a problem, the place flattened."""
    return json.dumps([_one_as_json(problem) for problem in problems], indent=2)


def _one_as_json(problem: Problem) -> dict[str, Any]:
    position = problem.position
    return {
        "severity": problem.severity.value,
        "code": problem.code,
        "file": position.file if position else None,
        "line": position.line if position else None,
        "column": position.column if position else None,
        "object": problem.key._asdict() if problem.key else None,
        "path": format_path(problem.path),
        "message": problem.message,
        "hint": problem.hint,
    }


def as_sarif(problems: Sequence[Problem], version: str) -> str:
    """A SARIF 2.1.0 log (https://docs.oasis-open.org/sarif/sarif/v2.1.0/); `version` is that of Fairlead."""
    codes = sorted({problem.code for problem in problems})
    driver = {"name": "fairlead", "version": version, "rules": [{"id": code} for code in codes]}
    run = {"tool": {"driver": driver}, "results": [_one_as_sarif(problem) for problem in problems]}
    return json.dumps({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _one_as_sarif(problem: Problem) -> dict[str, Any]:
    text = f"{problem.message}. {problem.hint}".rstrip(". ")
    result: dict[str, Any] = {
        "ruleId": problem.code,
        "level": problem.severity.value,
        "message": {"text": f"{problem.key}: {text}" if problem.key else text},
    }
    if problem.position:
        region = {"startLine": problem.position.line, "startColumn": problem.position.column}
        location = {"artifactLocation": {"uri": problem.position.file}, "region": region}
        result["locations"] = [{"physicalLocation": location}]
    return result
