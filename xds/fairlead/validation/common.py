"""Checks that rules of several kinds share.

Each is a generator of Problems without a key, for use as ``yield from``; paths are relative to the object's root.
"""

import functools
import ipaddress
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sized

import re2

from fairlead.models.base import Model
from fairlead.problems import FieldPath, Problem, error, warning

_LABEL = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_WILDCARD_HOST = re.compile(rf"\*|\*(?:-?{_LABEL})?(?:\.{_LABEL})*\.?")
_HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2: token
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")  # RFC 9110, section 5.5

ENVOY_PROGRAM_SIZE = 100
"""Envoy's own limit of the size of a compiled regular expression (runtime `re2.max_program_size.error_level`)."""
BOOTSTRAP_PROGRAM_SIZE = 32768
"""The limit that `fairlead bootstrap` sets instead, and Istio's bootstrap."""


def is_dns_label(text: str) -> bool:
    """Whether a text is one part of a host name (RFC 1123), in any case."""
    return _DNS_LABEL.fullmatch(text) is not None


def is_dns_name(text: str) -> bool:
    """Whether a text is a host name (RFC 1123), short or fully qualified, in any case, without wildcard."""
    return len(text) <= 255 and _DNS_NAME.fullmatch(text) is not None


def is_ip_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def host(text: str, path: FieldPath, *, wildcard: bool = True) -> Iterator[Problem]:
    """A host name, short or fully qualified, or with `wildcard` also `*`, `*.example.com`, `*-a.example.com`."""
    if is_dns_name(text) or (wildcard and len(text) <= 255 and _WILDCARD_HOST.fullmatch(text)):
        return
    if not text:
        yield error("invalid-host", "the host name is empty", path=path)
    elif "://" in text:
        yield error("invalid-host", f"{text!r} is a URL, not a host name", path=path, hint="leave the scheme out")
    elif text.count(":") == 1:
        yield error("invalid-host", f"{text!r} is no host name", path=path, hint="leave the port out")
    elif "*" in text and not wildcard:
        yield error("invalid-host", f"{text!r} has a wildcard, which cannot be used here", path=path)
    elif "*" in text:
        hint = "use * alone or at the beginning, as in *.example.com"
        yield error("invalid-host", f"{text!r} has its wildcard in the wrong place", path=path, hint=hint)
    else:
        yield error("invalid-host", f"{text!r} is no host name", path=path)


def port(number: int, path: FieldPath) -> Iterator[Problem]:
    """A port number."""
    if not 1 <= number <= 65535:
        yield error("invalid-port", f"{number} is no port; ports are 1 to 65535", path=path)


def header_name(text: str, path: FieldPath) -> Iterator[Problem]:
    """Name of an HTTP header as a user may write it; pseudo-headers such as `:path` are none."""
    if not _HEADER_NAME.fullmatch(text):
        yield error("invalid-header", f"{text!r} is no name of a header", path=path)


def header_value(text: str, path: FieldPath) -> Iterator[Problem]:
    """Value of an HTTP header."""
    if not _HEADER_VALUE.fullmatch(text):
        yield error("invalid-header", "the header's value has control characters", path=path)


def status(code: int, path: FieldPath, *, low: int = 200, high: int = 599) -> Iterator[Problem]:
    """Status code of an HTTP response."""
    if not low <= code <= high:
        yield error("invalid-status", f"{code} is no status code between {low} and {high}", path=path)


def percent(value: float, path: FieldPath) -> Iterator[Problem]:
    """A percentage."""
    if not 0 <= value <= 100:  # NaN as well
        yield error("invalid-value", f"{value:g} is no percentage between 0 and 100", path=path)


@functools.lru_cache(maxsize=10_000)
def _program_size(pattern: str) -> int | str:
    """Size of a compiled regular expression, or what is wrong with it."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1  # Envoy matches bytes; as UTF-8, classes are many times larger
    try:
        return int(re2.compile(pattern.encode(), options).programsize)
    except re2.error as failure:
        text = failure.args[0]
        return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def regex(pattern: str, path: FieldPath) -> Iterator[Problem]:
    """A regular expression as Envoy compiles it: RE2 (github.com/google/re2/wiki/Syntax)."""
    size = _program_size(pattern)
    if isinstance(size, str):
        hint = "RE2 has no look-around and no back-references" if "(?" in size or "\\" in size else ""
        yield error(
            "invalid-regex", f"the regular expression {pattern!r} cannot be compiled: {size}", path=path, hint=hint
        )
    elif size > BOOTSTRAP_PROGRAM_SIZE:
        message = f"the regular expression is too complex for Envoy: its program size is {size}"
        yield error("invalid-regex", message, path=path, hint="make it simpler, or use several routes")
    elif size > ENVOY_PROGRAM_SIZE:
        yield warning(
            "large-regex",
            f"the regular expression's program size is {size}; an Envoy with default settings refuses more than 100",
            path=path,
            hint="start Envoy with the runtime key re2.max_program_size.error_level raised, as fairlead bootstrap does",
        )


def at_most(values: Sized, limit: int, path: FieldPath) -> Iterator[Problem]:
    """A list or mapping that the API bounds."""
    if len(values) > limit:
        yield error("too-many", f"there are {len(values)} entries, {limit} are allowed", path=path)


def unique(values: Iterable[tuple[Hashable, FieldPath]], what: str) -> Iterator[Problem]:
    """Values that must differ from each other, each with its path; `what` names one of them."""
    seen: Counter[Hashable] = Counter()
    for value, path in values:
        seen[value] += 1
        if seen[value] > 1:
            yield error("duplicate-value", f"the {what} {value!r} is given more than once", path=path)


def at_most_one(model: Model, fields: tuple[str, ...], path: FieldPath) -> Iterator[Problem]:
    """At most one of some fields, by their names in Python, may be set, which is: be other than None."""
    given = [field for field in fields if getattr(model, field) is not None]
    if len(given) > 1:
        names = [api_name(model, field) for field in given]
        yield error("conflicting-fields", f"only one of {', '.join(names)} can be set", path=(*path, names[1]))


def exactly_one(model: Model, fields: tuple[str, ...], path: FieldPath) -> Iterator[Problem]:
    """One of some fields, by their names in Python, has to be set, which is: be other than None."""
    if all(getattr(model, field) is None for field in fields):
        names = ", ".join(api_name(model, field) for field in fields)
        yield error("missing-field", f"one of {names} has to be set", path=path)
    yield from at_most_one(model, fields, path)


def api_name(model: Model, field: str) -> str:
    """The API's name of a field, by its name in Python."""
    return model.__struct_encode_fields__[model.__struct_fields__.index(field)]
