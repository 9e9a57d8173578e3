"""Random objects of a kind as plain data, made from msgspec's own view of the types."""

import base64
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from fairlead.models.base import Duration, KubernetesObject, Pem
from hypothesis import strategies as st
from msgspec import inspect

DEEP = 5  # below this depth only required fields are drawn, or objects would grow without end
SECOND = 1_000_000_000


def fields(cls: type[msgspec.Struct]) -> list[inspect.Field]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return list(info.fields)


def without_none(info: inspect.Type) -> inspect.Type:
    if isinstance(info, inspect.UnionType):
        rest = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        return rest[0] if len(rest) == 1 else info
    return info


def item_type(info: inspect.Type) -> inspect.Type:
    assert isinstance(info, (inspect.VarTupleType, inspect.ListType))
    return info.item_type


@st.composite
def values(draw: st.DrawFn, info: inspect.Type, depth: int = 0) -> Any:
    """A value that the type allows, in the form that msgspec takes."""
    info = without_none(info)
    match info:
        case inspect.StructType(cls=cls):
            return {
                field.encode_name: draw(values(field.type, depth + 1))
                for field in fields(cls)
                if field.required or (depth < DEEP and draw(st.booleans()))
            }
        case inspect.VarTupleType() | inspect.ListType():
            return draw(st.lists(values(item_type(info), depth + 1), max_size=2))
        case inspect.DictType(value_type=value_type):
            return draw(st.dictionaries(st.text(max_size=5), values(value_type, depth + 1), max_size=2))
        case inspect.IntType(ge=ge, le=le):
            return draw(st.integers(-(2**40) if ge is None else ge, 2**40 if le is None else le))
        case inspect.FloatType():
            return draw(st.floats(allow_nan=False, allow_infinity=False))
        case inspect.BoolType():
            return draw(st.booleans())
        case inspect.StrType():
            return draw(st.text(max_size=8))
        case inspect.BytesType():
            return base64.b64encode(draw(st.binary(max_size=8))).decode()
        case inspect.EnumType(cls=cls):
            return draw(st.sampled_from([member.value for member in cls]))
        case inspect.CustomType(cls=cls) if cls is Duration:
            return f"{draw(st.integers(0, 100_000 * SECOND))}ns"
        case inspect.CustomType(cls=cls) if cls is Pem:
            return f"-----BEGIN X-----\n{draw(st.sampled_from(['aaaa', 'bbbb']))}\n-----END X-----\n"
        case inspect.NoneType():
            return None
        case inspect.UnionType(types=types):
            return draw(st.one_of([values(one, depth) for one in types]))
    raise AssertionError(info)


@st.composite
def documents(draw: st.DrawFn, model: type[KubernetesObject]) -> dict[str, Any]:
    """An object of a kind that is free of faults."""
    data = {
        "apiVersion": "/".join(filter(None, (model.group, draw(st.sampled_from(model.versions))))),
        "kind": model.kind,
        "metadata": {
            "name": draw(st.from_regex(r"[a-z]([-a-z0-9]{0,9}[a-z0-9])?", fullmatch=True)),
            "labels": draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)),
        },
    }
    for field in fields(model):
        if field.encode_name != "metadata" and (field.required or draw(st.booleans())):
            data[field.encode_name] = draw(values(field.type))
    return data


class Place(NamedTuple):
    """A value in a document, and the type that it must have."""

    path: tuple[str | int, ...]
    type: inspect.Type
    value: Any


def places(model: type[KubernetesObject], data: dict[str, Any]) -> Iterator[Place]:
    """All values of a document below its fields, metadata and types apart."""
    for field in fields(model):
        if field.encode_name in data and field.encode_name != "metadata":
            yield from _places(field.type, data[field.encode_name], (field.encode_name,))


def _places(info: inspect.Type, value: Any, path: tuple[str | int, ...]) -> Iterator[Place]:
    info = without_none(info)
    yield Place(path, info, value)
    match info:
        case inspect.StructType(cls=cls):
            for field in fields(cls):
                if field.encode_name in value:
                    yield from _places(field.type, value[field.encode_name], (*path, field.encode_name))
        case inspect.VarTupleType() | inspect.ListType():
            for index, item in enumerate(value):
                yield from _places(item_type(info), item, (*path, index))
        case inspect.DictType(value_type=value_type):
            for key, item in value.items():
                yield from _places(value_type, item, (*path, key))


@st.composite
def spellings(draw: st.DrawFn, info: inspect.Type, value: Any) -> Any:
    """The same value in one of the other forms that are allowed."""
    info = without_none(info)
    match info:
        case inspect.StructType(cls=cls, forbid_unknown_fields=strict):
            result = {}
            for field in fields(cls):
                name = field.encode_name
                snake = re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)
                written = draw(st.sampled_from([name, snake])) if strict else name
                if name in value:
                    result[written] = draw(spellings(field.type, value[name]))
                elif draw(st.booleans()):
                    result[written] = None
            return result
        case inspect.VarTupleType() | inspect.ListType():
            return [draw(spellings(item_type(info), item)) for item in value]
        case inspect.DictType(value_type=value_type):
            return {key: draw(spellings(value_type, item)) for key, item in value.items()}
        case inspect.IntType():
            return draw(st.sampled_from([value, str(value), float(value) if abs(value) < 2**50 else value]))
        case inspect.FloatType():
            return draw(st.sampled_from([value, repr(value)]))
        case inspect.BytesType():
            other = value.replace("+", "-").replace("/", "_")
            return draw(st.sampled_from([other, other.rstrip("="), "\n".join(value)]))
        case inspect.CustomType(cls=cls) if cls is Duration:
            nanoseconds = int(value.removesuffix("ns"))
            seconds, fraction = divmod(nanoseconds, SECOND)
            minutes, rest = divmod(seconds, 60)
            return draw(
                st.sampled_from(
                    [f"{seconds}.{fraction:09d}s", f"{minutes}m{rest}s{fraction}ns", f"{nanoseconds / 1000}us"]
                )
            )
        case inspect.CustomType(cls=cls) if cls is Pem:
            return base64.b64encode(value.encode()).decode()
    return value
