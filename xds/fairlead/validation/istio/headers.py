"""Header names and values, as VirtualServices change and match them."""

import re
from collections.abc import Iterator

from fairlead.models.istio.virtual_service import HeaderOperations, Headers
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common
from fairlead.validation.istio.command_operators import COMMAND, COMMANDS, end_of_literal

# The names that Istio lets a match have; other characters of RFC 9110's tokens it refuses.
_MATCHED = re.compile(r"[-_A-Za-z0-9]+")
_CLAIM = re.compile(r"@request\.auth\.claims(?:\.[^\[\]]+|(?:\[[^\[\]]+\])+)")


def is_claim(name: str) -> bool:
    """Whether a name of a header to match stands for a claim of a JSON Web Token."""
    return _CLAIM.fullmatch(name) is not None


def matched_name(name: str, path: FieldPath) -> Iterator[Problem]:
    """Name of a header to match, or a claim."""
    if name.startswith("@") and not is_claim(name):
        hint = "write @request.auth.claims.name or @request.auth.claims[name][name]"
        yield error("invalid-header", f"{name!r} is no claim", path=path, hint=hint)
    elif not name.startswith("@") and not _MATCHED.fullmatch(name):
        hints = {":method": "use method", ":authority": "use authority", ":scheme": "use scheme", ":path": "use uri"}
        message = f"{name!r} is no name of a header that can be matched"
        yield error("invalid-header", message, path=path, hint=hints.get(name, "use letters, digits, - and _"))


def changes(headers: Headers | None, path: FieldPath) -> Iterator[Problem]:
    """Changes of a request's and a response's headers."""
    if headers is None:
        return
    if headers.request is not None:
        yield from _operations(headers.request, (*path, "request"), authority=True)
    if headers.response is not None:
        yield from _operations(headers.response, (*path, "response"), authority=False)


def is_authority(name: str) -> bool:
    """Whether a header's name is that of the authority, which Envoy changes in its own way."""
    return name.lower() in {"host", ":authority"}


def _operations(operations: HeaderOperations, path: FieldPath, *, authority: bool) -> Iterator[Problem]:
    """Changes of headers; with `authority` the authority can be set."""
    for verb, values in (("set", operations.set), ("add", operations.add)):
        for name, value in values.items():
            where = (*path, verb, name)
            if not (authority and is_authority(name)):
                yield from _changed_name(name, where)
            yield from _value(value, where)
    for index, name in enumerate(operations.remove):
        yield from _changed_name(name, (*path, "remove", index))


def _changed_name(name: str, path: FieldPath) -> Iterator[Problem]:
    if name.startswith(":") or is_authority(name):
        hint = "set :authority in request.set, or use rewrite" if path[-3] == "request" else ""
        yield error("invalid-header", f"{name!r} cannot be changed here", path=path, hint=hint)
    else:
        yield from common.header_name(name, path)


def _value(value: str, path: FieldPath) -> Iterator[Problem]:
    yield from common.header_value(value, path)
    position = 0
    while (position := end_of_literal(value, position)) < len(value):
        command = COMMAND.match(value, position)
        if command is None:
            message = f"{value!r} has a % at character {position + 1} that begins no command operator"
            hint = "write %% for a percent sign, %NAME% or %NAME(parameter)% for a command operator"
            yield error("invalid-header", message, path=path, hint=hint)
            return
        if command[1] not in COMMANDS:
            message = f"Envoy 1.40 knows no command operator %{command[1]}%, and refuses the route"
            yield warning("unknown-command", message, path=path, hint="write %% for a percent sign")
        position = command.end()
