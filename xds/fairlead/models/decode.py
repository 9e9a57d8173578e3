"""From plain data to typed objects, with every fault told.

msgspec does the work when there is nothing to say. Only when it refuses, a slow walk along the types finds all
faults, brings what protobuf's JSON allows besides (snake case, quoted numbers) into the one form that msgspec takes,
and msgspec makes the object of that: so both ways lead to equal objects.
"""

import difflib
import functools
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import msgspec

from fairlead.models import leaves, registry
from fairlead.models.base import KubernetesObject, json_name
from fairlead.problems import FieldPath, ObjectKey, Problem, Severity, error, format_path, warning

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


class Decoded(NamedTuple):
    """An object, or why there is none."""

    object: KubernetesObject | None
    """None when a problem is an error, or when the kind is not read."""
    problems: tuple[Problem, ...] = ()
    key: ObjectKey | None = None
    """The object's identity, known for faulty objects as well; None when the kind is not read or there is no name."""


def decode(data: Mapping[str, Any], faults: Sequence[Problem] = ()) -> Decoded:
    """Decode an object; `faults` are those of its text, which alone keep it from being accepted.

    Kinds of groups that do not decide about traffic (a Deployment) give neither object nor problem.
    """
    api_version, kind = data.get("apiVersion"), data.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        return Decoded(None, (*faults, *_untyped(data)))
    group, _, version = api_version.rpartition("/")
    model = registry.model(group, kind)
    if model is None:
        problem = registry.unsupported(group, kind)
        return Decoded(None, (problem,) if problem is not None else ())
    metadata = _metadata(model, data.get("metadata"))
    key = _key(model, metadata)
    problems = [*faults, *_metadata_problems(model, metadata)]
    if version not in model.versions:
        message = f"{version} is no version of {kind} that is read; {', '.join(model.versions)} are"
        problems.append(error("unsupported-version", message, path=("apiVersion",)))
    body = {name: value for name, value in data.items() if name not in _not_fields(model)}
    body["metadata"] = metadata
    obj = None
    try:
        obj = msgspec.convert(body, model, dec_hook=leaves.dec_hook)
    except msgspec.ValidationError:
        walk = _Walk()
        normal = walk.model(model, body, (), ())
        problems += walk.problems
        if not _has_error(problems):
            obj = msgspec.convert(normal, model, dec_hook=leaves.dec_hook)
    return Decoded(
        None if _has_error(problems) else obj,
        tuple(replace(problem, key=key) for problem in problems),
        key,
    )


S = TypeVar("S", bound=msgspec.Struct)


def decode_leniently(model: type[S], data: Any, path: FieldPath) -> tuple[S, tuple[Problem, ...]]:
    """Decode settings that stand by themselves: a field that is at fault counts as absent, and spoils no other.

    `path` is where the settings are; the problems' paths begin with it. The fields of the model are all optional.
    """
    walk = _Walk()
    normal = walk.model(model, data, path, ())
    return msgspec.convert({} if normal is _FAULTY else normal, model, dec_hook=leaves.dec_hook), tuple(walk.problems)


def _has_error(problems: Sequence[Problem]) -> bool:
    return any(problem.severity is Severity.ERROR for problem in problems)


def _untyped(data: Mapping[str, Any]) -> tuple[Problem, ...]:
    missing = [name for name in ("apiVersion", "kind") if data.get(name) is None]
    if len(missing) == 2:
        return (warning("not-an-object", "this is no object, it has no apiVersion and no kind; it is not used"),)
    if missing:
        return (error("missing-field", f"{missing[0]} is missing", path=(missing[0],)),)
    return tuple(
        error("wrong-type", f"a text is expected, not {leaves.describe(data[name])}", path=(name,))
        for name in ("apiVersion", "kind")
        if not isinstance(data[name], str)
    )


@functools.cache
def _not_fields(model: type[KubernetesObject]) -> frozenset[str]:
    return frozenset({"apiVersion", "kind", "status"}) - set(model.__struct_encode_fields__)


# --- Metadata ---------------------------------------------------------------------------------------------------------


def _metadata(model: type[KubernetesObject], metadata: Any) -> Any:
    """The metadata with its namespace filled in, and without what changes with every `kubectl apply`."""
    if not isinstance(metadata, dict):
        return metadata
    result = dict(metadata)
    if not model.namespaced:
        result["namespace"] = ""
    elif metadata.get("namespace") in (None, ""):
        result["namespace"] = "default"
    annotations = metadata.get("annotations")
    if isinstance(annotations, dict) and _LAST_APPLIED in annotations:
        result["annotations"] = {name: value for name, value in annotations.items() if name != _LAST_APPLIED}
    return result


def _key(model: type[KubernetesObject], metadata: Any) -> ObjectKey | None:
    if not isinstance(metadata, dict):
        return None
    name, namespace = metadata.get("name"), metadata["namespace"]
    if not isinstance(name, str) or not isinstance(namespace, str):
        return None
    return ObjectKey(model.group, model.kind, namespace, name)


def _metadata_problems(model: type[KubernetesObject], metadata: Any) -> list[Problem]:
    """What is wrong with well-typed metadata; the rest is found with the other fields."""
    problems: list[Problem] = []
    if not isinstance(metadata, dict):
        return problems
    name, namespace, created = (metadata.get(field) for field in ("name", "namespace", "creationTimestamp"))
    hint = "use lower-case letters, digits, - and ."
    if isinstance(name, str) and not (len(name) <= 253 and _DNS_SUBDOMAIN.fullmatch(name)):
        problems.append(
            error("invalid-name", f"{name!r} is no name of an object", path=("metadata", "name"), hint=hint)
        )
    if isinstance(namespace, str) and model.namespaced and not _DNS_LABEL.fullmatch(namespace):
        message = f"{namespace!r} is no name of a namespace"
        problems.append(error("invalid-name", message, path=("metadata", "namespace"), hint=hint))
    if isinstance(created, str) and not _TIMESTAMP.fullmatch(created):
        message = f"{created!r} is no time in UTC, such as 2024-12-31T23:59:59Z"
        problems.append(error("invalid-value", message, path=("metadata", "creationTimestamp")))
    return problems


# --- The slow walk ----------------------------------------------------------------------------------------------------


class _Model(NamedTuple):
    """A Struct."""

    cls: type[msgspec.Struct]


class _List(NamedTuple):
    """A list or tuple of one type."""

    item: Any


class _Map(NamedTuple):
    """A mapping from text to one type."""

    value: Any


class _Leaf(NamedTuple):
    """Anything else."""

    alternatives: tuple[Any, ...]


_Shape = _Model | _List | _Map | _Leaf


@functools.cache
def _shape(kind: Any) -> _Shape:
    """What a field's type is made of, without None and bounds."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _shape(typing.get_args(kind)[0])
    if origin in {typing.Union, types.UnionType}:
        shapes = [_shape(alternative) for alternative in typing.get_args(kind) if alternative is not types.NoneType]
        leaves_only = [shape for shape in shapes if isinstance(shape, _Leaf)]
        assert len(shapes) == 1 or leaves_only == shapes, f"{kind} mixes structures with other types"
        return shapes[0] if len(shapes) == 1 else _Leaf(tuple(one for leaf in leaves_only for one in leaf.alternatives))
    if origin in {tuple, list}:
        return _List(typing.get_args(kind)[0])
    if origin is dict:
        return _Map(typing.get_args(kind)[1])
    return _Model(kind) if issubclass(kind, msgspec.Struct) else _Leaf((kind,))


@functools.cache
def _fields(cls: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(cls)}


def _model_of(kind: Any) -> type[msgspec.Struct] | None:
    """The Struct that a field holds, alone, in a list or in a mapping."""
    match _shape(kind):
        case _Model(cls):
            return cls
        case _List(item):
            return _model_of(item)
        case _Map(value):
            return _model_of(value)
        case _:
            return None


_FAULTY: Any = object()
"""Stands for a value that is at fault, and so for the list or mapping that it is in, up to the field of a Struct."""

_Enclosing = tuple[tuple[type[msgspec.Struct], FieldPath], ...]
"""The Structs around a value, from the outside, each with its path."""


class _Walk:
    """Finds all faults of an object, and makes of it what msgspec accepts when there are none."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def _value(self, kind: Any, value: Any, path: FieldPath, enclosing: _Enclosing) -> Any:
        match _shape(kind):
            case _Model(cls):
                return self.model(cls, value, path, enclosing)
            case _List(item_kind):
                if not isinstance(value, list):
                    return self._wrong_type("a list", value, path, "write a list, with - before each of its elements")
                items = [self._value(item_kind, item, (*path, index), enclosing) for index, item in enumerate(value)]
                return _FAULTY if _FAULTY in items else items
            case _Map(value_kind):
                if not isinstance(value, dict):
                    return self._wrong_type("a mapping", value, path)
                values = {key: self._value(value_kind, item, (*path, key), enclosing) for key, item in value.items()}
                return _FAULTY if _FAULTY in values.values() else values
            case _Leaf(alternatives):
                try:
                    return leaves.read(kind, alternatives, value)
                except leaves.LeafError as failure:
                    self.problems.append(error(failure.code, failure.message, path=path, hint=failure.hint))
        return _FAULTY

    def _wrong_type(self, expected: str, value: Any, path: FieldPath, hint: str = "") -> Any:
        message = f"{expected} is expected, not {leaves.describe(value)}"
        self.problems.append(error("wrong-type", message, path=path, hint=hint))
        return _FAULTY

    def model(self, cls: type[msgspec.Struct], value: Any, path: FieldPath, enclosing: _Enclosing) -> Any:
        """The fields of a Struct that are known and without fault, by the API's names."""
        fields = _fields(cls)
        if not isinstance(value, dict):
            return self._wrong_type("a mapping", value, path, _names(cls))
        enclosing = (*enclosing, (cls, path))
        written: dict[str, str] = {}
        result: dict[str, Any] = {}
        strict = cls.__struct_config__.forbid_unknown_fields
        for key, item in value.items():
            # What Kubernetes itself writes has one spelling; there msgspec drops any other without asking here.
            name = _field_name(cls, key) if strict or key in fields else None
            if name is None:
                if strict and key not in getattr(cls, "ignored", ()):
                    self._unused_field(key, item, enclosing)
            elif name in written:
                message = f"{key!r} is the same field as {written[name]!r}"
                self.problems.append(error("duplicate-key", message, path=(*path, key)))
            elif item is not None:
                written[name] = key
                found = self._value(fields[name].type, item, (*path, key), enclosing)
                if found is not _FAULTY:
                    result[name] = found
        missing = [name for name, field in fields.items() if field.required and name not in result]
        for name in missing:
            if name not in written:
                self.problems.append(error("missing-field", f"{name} is missing", path=(*path, name)))
        return _FAULTY if missing else result

    def _unused_field(self, key: str, value: Any, enclosing: _Enclosing) -> None:
        cls, path = enclosing[-1]
        name = json_name(key)
        if name in (unsupported := getattr(cls, "unsupported", {})):
            if value not in (None, False, "", [], {}):
                message = f"{name} is not supported, and has no effect"
                self.problems.append(warning("unsupported-field", message, path=(*path, key), hint=unsupported[name]))
            return
        where = f"of {format_path(path)}" if path else "of the object"
        message = f"{key!r} is no field {where}; it has no effect"
        self.problems.append(warning("unknown-field", message, path=(*path, key), hint=_whereabouts(key, enclosing)))


def _field_name(cls: type[msgspec.Struct], key: str) -> str | None:
    """The API's name of the field that a key stands for."""
    fields = _fields(cls)
    if key in fields:
        return key
    name = getattr(cls, "aliases", {}).get(key) or json_name(key)
    return name if name in fields else None


def _whereabouts(key: str, enclosing: _Enclosing) -> str:
    """Where an unknown field may belong: above, below, or it is a slip of the pen."""
    cls, _ = enclosing[-1]
    for outer, path in reversed(enclosing[:-1]):
        if _field_name(outer, key):
            return (
                f"it is a field of {format_path(path)}: check the indentation" if path else "move it to the top level"
            )
    for name, field in _fields(cls).items():
        inner = _model_of(field.type)
        if inner is not None and _field_name(inner, key):
            return f"it is a field of {name}: check the indentation"
    similar = difflib.get_close_matches(json_name(key), _fields(cls), 1)
    return f"did you mean {similar[0]}?" if similar else _names(cls)


def _names(cls: type[msgspec.Struct]) -> str:
    fields = _fields(cls)
    names = "its field is" if len(fields) == 1 else "its fields are"
    return f"{names} {', '.join(fields)}" if len(fields) <= 6 else ""  # more would be no help
