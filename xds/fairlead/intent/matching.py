"""What requests are matched by."""

import enum
from dataclasses import dataclass


class StringMatchKind(enum.Enum):
    """How a text is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"
    """RE2, on the whole text."""


@dataclass(frozen=True, slots=True)
class StringMatch:
    """A comparison of a text."""

    kind: StringMatchKind
    value: str
    ignore_case: bool = False


class PathMatchKind(enum.Enum):
    """How the path of a request, without its query, is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    """Of the text: `/a` matches `/ab`."""
    SEGMENT_PREFIX = "segment-prefix"
    """Of whole segments: `/a` matches `/a` and `/a/b`, not `/ab`. The value has no slash at its end."""
    REGEX = "regex"
    """RE2, on the whole path."""


@dataclass(frozen=True, slots=True)
class PathMatch:
    """A comparison of the request's path."""

    kind: PathMatchKind
    value: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A comparison of a header's or query parameter's value."""

    name: str
    """Name of the header (pseudo-headers such as `:method` too) or of the query parameter."""
    value: StringMatch | None
    """None: it is enough that the header or parameter is present."""
    invert: bool = False
    """The request matches when the comparison fails; an absent header counts as an empty one, unless `value` is
    None."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests a route takes; all parts must hold. Without parts: every request."""

    path: PathMatch | None = None
    headers: tuple[ValueMatch, ...] = ()
    query_parameters: tuple[ValueMatch, ...] = ()
    connect: bool = False
    """Only CONNECT requests, which have no path, are taken; other routes take none of them."""
