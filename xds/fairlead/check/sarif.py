"""Problems as SARIF 2.1.0 (docs.oasis-open.org/sarif/sarif/v2.1.0), for code review.

GitHub's code scanning reads of it: rules with help, one location of each result, related locations, fingerprints
(docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from fairlead.check.catalogue import ENTRIES
from fairlead.problems import Position, Problem, Related, Severity, format_path

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_FINGERPRINT = "fairleadProblem/v1"


def as_sarif(problems: Sequence[Problem], version: str) -> str:
    """A SARIF log; `version` is that of Fairlead."""
    codes = sorted({problem.code for problem in problems})
    rules = {code: index for index, code in enumerate(codes)}
    driver = {"name": "fairlead", "version": version, "rules": [_rule(code) for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(problem, rules[problem.code]) for problem in problems],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(code: str) -> dict[str, Any]:
    entry = ENTRIES[code]
    meaning = f"{entry.meaning[:1].upper()}{entry.meaning[1:]}."
    return {
        "id": code,
        "name": "".join(part.capitalize() for part in code.split("-")),
        "shortDescription": {"text": meaning},
        "fullDescription": {"text": f"{meaning} {entry.why}"},
        "help": {
            "text": f"{entry.why} {entry.fix}",
            "markdown": f"**Why it matters**: {entry.why}\n\n**What to do**: {entry.fix}",
        },
    }


def _result(problem: Problem, rule: int) -> dict[str, Any]:
    text = f"{problem.message}. {problem.hint}".rstrip(". ")
    result: dict[str, Any] = {
        "ruleId": problem.code,
        "ruleIndex": rule,
        "level": _LEVELS[problem.severity],
        "message": {"text": f"{problem.key}: {text}" if problem.key else text},
        "partialFingerprints": {_FINGERPRINT: _fingerprint(problem)},
    }
    if problem.position:
        result["locations"] = [_location(problem.position)]
    related = [_related(place, number) for number, place in enumerate(problem.related, 1) if place.position]
    if related:
        result["relatedLocations"] = related
    return result


def _location(position: Position) -> dict[str, Any]:
    path = PurePath(position.file)
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    region = {"startLine": position.line, "startColumn": position.column}
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}


def _related(place: Related, number: int) -> dict[str, Any]:
    assert place.position is not None
    text = f"{place.key}: {place.message}" if place.key else place.message
    return {"id": number, "message": {"text": text}, **_location(place.position)}


def _fingerprint(problem: Problem) -> str:
    """Stays the same when lines are added above: what tells problems apart but their place in the file."""
    parts = (
        problem.code,
        str(problem.key or ""),
        format_path(problem.path),
        problem.position.file if problem.position else "",
        problem.message,
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
