"""What GitHub's code scanning takes of SARIF 2.1.0, as a JSON schema: strict where the standard is.

Sources: docs.oasis-open.org/sarif/sarif/v2.1.0, sections 3.13 to 3.52; docs.github.com, "SARIF support for code
scanning".
"""

from typing import Any

_TEXT = {"type": "string", "minLength": 1}


def _object(properties: dict[str, Any], required: str = "") -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


_MESSAGE = _object({"text": _TEXT, "markdown": _TEXT}, "text")
_PHYSICAL_LOCATION = _object(
    {
        # The root of the repository is what a relative one is relative to; GitHub shows no others.
        "artifactLocation": _object({"uri": {**_TEXT, "format": "uri-reference"}}, "uri"),
        "region": _object(
            {"startLine": {"type": "integer", "minimum": 1}, "startColumn": {"type": "integer", "minimum": 1}},
            "startLine",
        ),
    },
    "artifactLocation region",
)
_RULE = _object(
    {
        "id": {**_TEXT, "maxLength": 255},
        "name": {"type": "string", "pattern": "^[A-Z][A-Za-z0-9]*$", "maxLength": 255},
        "shortDescription": _object({"text": {**_TEXT, "maxLength": 1024}}, "text"),
        "fullDescription": _object({"text": {**_TEXT, "maxLength": 1024}}, "text"),
        "help": _MESSAGE,
    },
    "id name shortDescription fullDescription help",
)
_RESULT = _object(
    {
        "ruleId": _TEXT,
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": _MESSAGE,
        "locations": _list(_object({"physicalLocation": _PHYSICAL_LOCATION}, "physicalLocation"), maxItems=10),
        "relatedLocations": _list(
            _object(
                {"id": {"type": "integer", "minimum": 0}, "message": _MESSAGE, "physicalLocation": _PHYSICAL_LOCATION},
                "id message physicalLocation",
            ),
            minItems=1,
            uniqueItems=True,
        ),
        "partialFingerprints": {"type": "object", "additionalProperties": _TEXT, "minProperties": 1},
    },
    "ruleId ruleIndex level message locations partialFingerprints",
)
_DRIVER = _object(
    {"name": _TEXT, "version": _TEXT, "rules": _list(_RULE, uniqueItems=True, maxItems=25_000)}, "name version rules"
)
_RUN = _object(
    {
        "tool": _object({"driver": _DRIVER}, "driver"),
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "results": _list(_RESULT, maxItems=25_000),
    },
    "tool results",
)
SCHEMA = _object({"$schema": _TEXT, "version": {"const": "2.1.0"}, "runs": _list(_RUN, minItems=1)}, "version runs") | {
    "$schema": "http://json-schema.org/draft-07/schema#"
}
