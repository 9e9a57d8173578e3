"""The fields of models, as data: for what looks at all of them, or at those that a table names."""

import functools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from fairlead.models.base import KubernetesObject, Model
from fairlead.problems import FieldPath


class Field(NamedTuple):
    """A field of a model."""

    owner: type[msgspec.Struct]
    attribute: str
    """Its name in Python."""
    name: str
    """Its name in the API."""
    many: str
    """`[]` for a list, `{}` for a mapping, empty for a single value."""
    kind: Any
    """The type of its value, or of each of its values, without None."""

    @property
    def model(self) -> type[Model] | None:
        """The type of its values when that has fields itself."""
        return self.kind if isinstance(self.kind, type) and issubclass(self.kind, Model) else None


@functools.cache
def fields_of(model: type[msgspec.Struct]) -> tuple[Field, ...]:
    """The fields of a model, in their order."""
    return tuple(
        Field(model, info.name, info.encode_name, *_taken_apart(info.type)) for info in msgspec.structs.fields(model)
    )


def spec_of(kind: type[KubernetesObject]) -> Field:
    """The field `spec` of a kind."""
    return next(field for field in fields_of(kind) if field.name == "spec")


def occurrences(root: msgspec.Struct, path: tuple[Field, ...]) -> Iterator[tuple[FieldPath, Any]]:
    """The values that are set at a path of fields below a model, each with its place."""
    if not path:
        yield (), root
        return
    field, *rest = path
    value = getattr(root, field.attribute)
    if not value:
        return
    if not rest:
        yield (field.name,), value
        return
    items: Any = ((None, value),)
    if field.many:
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, item in items:
        for place, found in occurrences(item, tuple(rest)):
            yield ((field.name, *place) if key is None else (field.name, key, *place)), found


def _taken_apart(annotation: Any) -> tuple[str, Any]:
    """`[]`, `{}` or nothing, and the type of the values."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _taken_apart(typing.get_args(annotation)[0])
    if origin in {types.UnionType, typing.Union}:
        return _taken_apart(next(part for part in typing.get_args(annotation) if part is not type(None)))
    if origin is tuple:
        return "[]", _taken_apart(typing.get_args(annotation)[0])[1]
    if origin is dict:
        return "{}", _taken_apart(typing.get_args(annotation)[1])[1]
    return "", annotation
