"""Scalar values: how they may be written, and what is said when they are not written so."""

import binascii
import difflib
import enum
import re
from typing import Any

import msgspec

from fairlead.models.base import Duration, Pem

_DURATION = re.compile(r"(?:(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]*)\.?([0-9]*)([a-zµμ]+)")
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_LONGEST_DURATION = 2**63 - 1  # nanoseconds, 292 years: Go's limit
_INTEGER = re.compile(r"[-+]?[0-9]{1,20}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][-+]?[0-9]{1,4})?|NaN|-?Infinity")
_URL_SAFE = str.maketrans("-_", "+/", " \t\r\n")
_PEM = "-----BEGIN "


class LeafError(ValueError):
    """A value cannot be read; the message and hint are those of the problem."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def parse_duration(text: str) -> Duration:
    """A duration as protobuf (`1.5s`) or Go (`1m30s`) write it.

    Raises:
        LeafError: the text is none.
    """
    if not _DURATION.fullmatch(text):
        if text == "0":
            return Duration(0)
        if text.startswith("-") and _DURATION.fullmatch(text[1:]):
            raise LeafError("out-of-range", f"a duration cannot be negative, as {text} is")
        hint = (
            f"write {text}s, or {text}ms"
            if _FLOAT.fullmatch(text)
            else "write a number and a unit, as in 5s, 250ms, 1m30s"
        )
        raise LeafError("invalid-value", f"{text!r} is no duration", hint)
    total = 0
    for whole, fraction, unit in _DURATION_PART.findall(text):
        total += int(whole or 0) * _NANOSECONDS[unit] + int(fraction or 0) * _NANOSECONDS[unit] // 10 ** len(fraction)
    if total > _LONGEST_DURATION:
        raise LeafError("out-of-range", f"the duration {text} is longer than 292 years")
    return Duration(total)


def parse_pem(text: str) -> Pem:
    """PEM text, as it is or in base64.

    Raises:
        LeafError: it is neither; the message does not show it, since it may be a private key.
    """
    if _PEM in text:
        return Pem(text.encode())
    try:
        data = binascii.a2b_base64(plain_base64(text), strict_mode=True)
    except ValueError:
        data = b""
    if text and _PEM.encode() not in data:
        raise LeafError("invalid-value", "PEM text is expected, as it is or in base64")
    return Pem(data)


def plain_base64(text: str) -> str:
    """Base64 text in the plain alphabet, in one line and padded, from any of its forms."""
    text = text.translate(_URL_SAFE).rstrip("=")
    return text + "=" * (-len(text) % 4)


def dec_hook(kind: type[Any], value: Any) -> Any:
    """How msgspec reads the types that it does not know."""
    if isinstance(value, str):
        if kind is Duration:
            return parse_duration(value)
        if kind is Pem:
            return parse_pem(value)
    raise ValueError("a text is expected")


def read(kind: Any, bare: tuple[Any, ...], value: Any) -> Any:
    """A value in the form that msgspec takes.

    `kind` is the type with its bounds, `bare` its alternatives without bounds and None.

    Raises:
        LeafError: the value does not fit.
    """
    normal = _lenient(bare[0], value) if len(bare) == 1 else value
    try:
        msgspec.convert(normal, kind, dec_hook=dec_hook)
    except msgspec.ValidationError as failure:
        if isinstance(failure.__cause__, LeafError):
            raise failure.__cause__ from None
        raise _explain(bare, normal if bare[0] is int else value, str(failure)) from None
    return normal


def _lenient(kind: Any, value: Any) -> Any:
    """What JSON of protobuf may look like: numbers may be quoted or have a fraction of 0, base64 has several forms."""
    if kind is int:
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            return int(value)
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif kind is float and isinstance(value, str) and _FLOAT.fullmatch(value):
        return float(value)
    elif kind is bytes and isinstance(value, str):
        return plain_base64(value)
    return value


_EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    bytes: "base64 text",
    Duration: "a duration such as 5s",
    Pem: "PEM text",
}


def _explain(bare: tuple[Any, ...], value: Any, failure: str) -> LeafError:
    kind = bare[0]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _explain_enum(kind, value)
    expected = " or ".join(_EXPECTED[kind] for kind in bare)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if kind is Duration:
            return LeafError(
                "wrong-type", f"{expected} is expected, not the number {value}", f"write {value}s, or {value}ms"
            )
        if kind is int and isinstance(value, float):
            return LeafError("wrong-type", f"{expected} is expected, not {value}")
        if kind in {int, float}:
            # The one thing left that can be wrong is a bound, which msgspec names: Expected `int` <= 100
            bound = failure.partition("`int` ")[2]
            return LeafError("out-of-range", f"{value} is out of range: it has to be {bound}")
    if kind is bytes and isinstance(value, str):
        hint = "write it into stringData, or encode it" if _PEM in value else ""
        return LeafError("invalid-value", "the text is not base64", hint)
    message = f"{expected} is expected, not {describe(value)}"
    if kind is str and isinstance(value, (bool, int, float)):
        return LeafError("wrong-type", message, "put it in quotes")
    if kind is bool and isinstance(value, str) and value.lower() in {"true", "false"}:
        return LeafError("wrong-type", message, "remove the quotes")
    return LeafError("wrong-type", message)


def _explain_enum(kind: type[enum.Enum], value: Any) -> LeafError:
    names = [member.value for member in kind]
    allowed = f"it has to be {', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else f"it has to be {names[0]}"
    if not isinstance(value, str):
        hint = "put it in quotes" if isinstance(value, bool) and {"on", "off", "yes", "no"} & set(names) else ""
        return LeafError("wrong-type", f"{allowed}, not {describe(value)}", hint)
    by_case = {name.lower(): name for name in names}
    similar = by_case.get(value.lower()) or next(iter(difflib.get_close_matches(value, names, 1)), "")
    return LeafError(
        "invalid-value", f"{value!r} is no value of this field; {allowed}", f"write {similar}" if similar else ""
    )


def describe(value: Any) -> str:
    """The kind of a value, without the value itself, which may be secret."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "a mapping"
