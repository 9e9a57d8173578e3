"""Faults in users' objects, as values.

A `Problem` says which object and field is at fault, what is wrong and what to do. The core produces
problems with a field path only; the place in a file is worked out when a problem is shown, because
finding it means reading the document again.
"""

import enum
from dataclasses import dataclass, field, replace
from typing import NamedTuple

FieldPath = tuple[str | int, ...]
"""Path of a field below the document's root, such as ``("spec", "http", 0, "timeout")``."""


class ObjectKey(NamedTuple):
    """Identity of an object. The API version is no part of it: all versions of a kind name the same object."""

    group: str
    """API group, empty for the Kubernetes core group."""
    kind: str
    namespace: str
    """Empty for kinds that have no namespace."""
    name: str

    def __str__(self) -> str:
        """`Kind namespace/name`, as messages show it."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Severity(enum.StrEnum):
    """How bad a problem is."""

    ERROR = "error"
    """The object, or the part of it at `Problem.path`, is not served as written."""
    WARNING = "warning"
    """The object is served, but probably not as its author thinks."""
    INFO = "info"
    """The object is served as written; what that means is worth a thought."""


class Position(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """`file:line:column`, as editors understand it."""
        return f"{self.file}:{self.line}:{self.column}"


class Related(NamedTuple):
    """Another place that has to do with a problem, such as the object that comes first."""

    message: str
    """What is there, in words without a full stop, such as `this one serves`."""
    key: ObjectKey | None = None
    path: FieldPath = ()
    position: Position | None = None
    """As in `Problem`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: what is wrong with which field of which object, and what to do about it."""

    code: str
    """Stable name of the kind of fault in kebab case, such as ``unknown-field``."""
    severity: Severity
    message: str
    """One sentence without a full stop that says what is wrong, with the values at fault."""
    key: ObjectKey | None = None
    """The object; None when a document cannot be read far enough to know it."""
    path: FieldPath = ()
    hint: str = ""
    """What to do, as an imperative sentence without a full stop; empty when the message says it."""
    position: Position | None = field(default=None)
    """Where it is; None until it has been worked out, or when the object did not come from a file."""
    related: tuple[Related, ...] = ()
    """Further places."""

    def at(self, position: Position | None, related: tuple[Related, ...] | None = None) -> "Problem":
        """The same problem with its place filled in and, where they are given, those of what is related."""
        return replace(self, position=position, related=self.related if related is None else related)


def error(
    code: str,
    message: str,
    *,
    key: ObjectKey | None = None,
    path: FieldPath = (),
    hint: str = "",
    related: tuple[Related, ...] = (),
) -> Problem:
    """A `Problem` of severity ERROR."""
    return Problem(code, Severity.ERROR, message, key, path, hint, related=related)


def warning(
    code: str,
    message: str,
    *,
    key: ObjectKey | None = None,
    path: FieldPath = (),
    hint: str = "",
    related: tuple[Related, ...] = (),
) -> Problem:
    """A `Problem` of severity WARNING."""
    return Problem(code, Severity.WARNING, message, key, path, hint, related=related)


def format_path(path: FieldPath) -> str:
    """A field path as people write it: ``spec.http[0].timeout``; keys with dots are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.replace("_", "").replace("-", "").isalnum():
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text
