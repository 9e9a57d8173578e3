"""docs/istio.md, from the models, the table of unsupported fields, and the tests that carry `istio_fields`."""

import ast
import enum
import functools
import inspect
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from fairlead.models import registry
from fairlead.models.fields import Field, fields_of, spec_of
from fairlead.models.istio.common import NETWORKING_GROUP
from fairlead.models.istio.destination_rule import DestinationRule
from fairlead.models.istio.gateway import Gateway
from fairlead.models.istio.mesh_config import MeshConfig
from fairlead.models.istio.service_entry import ServiceEntry
from fairlead.models.istio.sidecar import Sidecar
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.models.istio.workload_entry import WorkloadEntry
from fairlead.validation.istio.unsupported import Unsupported, unsupported_field

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "istio.md"
TESTS = ROOT / "tests"

KINDS = {
    kind.kind: spec_of(kind)
    for kind in (Gateway, VirtualService, DestinationRule, WorkloadEntry, ServiceEntry, Sidecar)
}
KINDS["MeshConfig"] = Field(MeshConfig, "", "", "", MeshConfig)
"""In the order of the page; messages that several share are shown where they come first."""

UNREAD = ("WorkloadGroup",)
"""Kinds of the same kin that are not read at all."""

INTRODUCTION = """\
# Which of Istio's fields work?

Made by `make golden` from the code and the tests; do not edit it by hand.

- A field that is not supported is reported when it is used, as `unsupported-field`, and has no effect.
- What is said of a field is what Envoy is told. Fields of a message that occurs in several places are listed once.
- The tests named show it, by requests through Envoy or by the message that Envoy accepts.
- [differences.md](differences.md) tells where a field that works does not mean quite what it means in Istio.
"""


class Row(NamedTuple):
    """A field of the page."""

    path: str
    """Below its kind's `spec`, with `[]` for lists and `{}` for the values of maps."""
    field: Field
    unsupported: Unsupported | None
    same_as: str
    """Where its fields are listed; empty when they are listed below it, or when it has none."""
    is_leaf: bool


# --- Fields -----------------------------------------------------------------------------------------------------------


@functools.cache
def rows() -> dict[str, tuple[Row, ...]]:
    """Kind -> its fields."""
    shown: dict[type[msgspec.Struct], str] = {}
    return {name: tuple(_rows(name, "", spec, shown)) for name, spec in KINDS.items()}


def _rows(kind: str, path: str, field: Field, shown: dict[type[msgspec.Struct], str]) -> Iterator[Row]:
    why = unsupported_field(field)
    if why is not None or field.model is None:
        yield Row(path, field, why, "", is_leaf=field.model is None)
        return
    if field.model in shown:
        yield Row(path, field, None, shown[field.model], is_leaf=False)
        return
    if not fields_of(field.model) and not field.model.unsupported:
        yield Row(path, field, None, "", is_leaf=True)  # to be there is all that it says
        return
    shown[field.model] = f"{kind}.{path}" if path else kind
    if path:
        yield Row(path, field, None, "", is_leaf=False)
    for inner in fields_of(field.model):
        yield from _rows(
            kind, f"{path}.{inner.name}{inner.many}" if path else f"{inner.name}{inner.many}", inner, shown
        )
    for name, instead in sorted(field.model.unsupported.items()):
        unread = Field(field.model, "", name, "", str)
        why = Unsupported(instead or "it has no effect")
        yield Row(f"{path}.{name}" if path else name, unread, why, "", is_leaf=True)


def resolve(path: str) -> list[tuple[str, str]] | None:
    """The rows that a field's full path is about, as kinds and paths: its own, and those that it is listed as.

    None when there is no such field.
    """
    kind, *steps = path.split(".")
    if kind not in KINDS:
        return None
    found: list[tuple[str, str]] = []
    listed = {row.path: row for row in rows()[kind]}
    model, at = KINDS[kind].model, ""
    for step in steps:
        field = None if model is None else next((f for f in fields_of(model) if f.name + f.many == step), None)
        if field is None:
            return None
        at = f"{at}.{step}" if at else step
        row = listed.get(at)
        if row is not None:
            found.append((kind, at))
            if row.same_as:
                kind, _, at = row.same_as.partition(".")
                listed = {row.path: row for row in rows()[kind]}
        model = field.model
    return found


def how(field: Field) -> str:
    """What the model says of a field: its own docstring, or else that of its type."""
    said = _docstrings(field.owner).get(field.attribute, "")
    if not said and isinstance(field.kind, type) and (field.model or issubclass(field.kind, enum.Enum)):
        said = inspect.getdoc(field.kind) or ""
    said = re.sub(r"`(\w+_\w+)", lambda match: f"`{_api_names().get(match[1], match[1])}", said)
    return " ".join(said.split()).removesuffix(".")


@functools.cache
def _api_names() -> Mapping[str, str]:
    """The names of fields in Python, by which docstrings call them -> those in the API, which users know."""
    return {
        field.attribute: field.name
        for found in rows().values()
        for row in found
        for field in fields_of(row.field.owner)
    }


@functools.cache
def _docstrings(model: type[msgspec.Struct]) -> Mapping[str, str]:
    """Attribute -> the text below it."""
    source = Path(inspect.getsourcefile(model) or "").read_text()
    (body,) = [
        node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == model.__name__
    ]
    return {
        above.target.id: below.value.value
        for above, below in itertools.pairwise(body)
        if isinstance(above, ast.AnnAssign)
        and isinstance(above.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


# --- Tests ------------------------------------------------------------------------------------------------------------


class Marker(NamedTuple):
    """What a test says that it shows."""

    file: Path
    line: int
    fields: tuple[str, ...]
    """Empty when they are not written as constants."""


@functools.cache
def markers() -> tuple[Marker, ...]:
    """All markers, read from the source: the page must not depend on which tests are chosen."""
    found = []
    for file in sorted(TESTS.rglob("test_*.py")):
        text = file.read_text()
        for node in ast.walk(ast.parse(text)) if "mark.istio_fields" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "istio_fields":
                names = [str(part.value) for part in node.args if isinstance(part, ast.Constant)]
                constant = len(names) == len(node.args)
                expanded = tuple(name for short in names for name in expand(short))
                found.append(Marker(file, node.lineno, expanded if constant else ()))
    return tuple(found)


def expand(name: str) -> list[str]:
    """The fields that a marker names: `http[].{timeout,retries.{attempts,retryOn}}` are three."""
    choice = re.search(r"\{((?:[^{}]|\{\})+)\}", name)
    if choice is None:
        return [name]
    above, below = name[: choice.start()], name[choice.end() :]
    names = (full for part in choice[1].split(",") for full in expand(f"{above}{part.strip()}{below}"))
    return list(dict.fromkeys(names))


@functools.cache
def tests() -> Mapping[tuple[str, str], frozenset[Path]]:
    """Kind and path -> the files with tests of that field."""
    found: dict[tuple[str, str], set[Path]] = defaultdict(set)
    for marker in markers():
        for name in marker.fields:
            for place in resolve(name) or ():
                found[place].add(marker.file)
    return {place: frozenset(files) for place, files in found.items()}


def is_tested(kind: str, row: Row) -> bool:
    """Whether a test shows a field; of a field with fields, each of which has a row, one of them is enough."""
    return any(place == kind and (path == row.path or path.startswith(f"{row.path}.")) for place, path in tests())


# --- The page ---------------------------------------------------------------------------------------------------------


def page() -> str:
    """The text of docs/istio.md."""
    return "\n".join([INTRODUCTION, *(_section(kind) for kind in KINDS), *(_unread(kind) for kind in UNREAD)])


def _unread(kind: str) -> str:
    problem = registry.unsupported(NETWORKING_GROUP, kind)
    assert problem is not None
    return f"## {kind}\n\n**not supported**: {problem.message}; {problem.hint}.\n"


def _section(kind: str) -> str:
    lines = [f"## {kind}", ""]
    lines += ["| field | what it does, or what happens instead | tested in |", "|---|---|---|"]
    lines += [f"| {_name(row)} | {_text(row)} | {_files(kind, row)} |" for row in rows()[kind]]
    return "\n".join([*lines, ""])


def _name(row: Row) -> str:
    return f"`{row.path}`" if row.is_leaf or row.same_as or row.unsupported else f"**`{row.path}`**"


def _text(row: Row) -> str:
    if row.unsupported is not None:
        return f"**not supported**: {'; '.join(filter(None, row.unsupported))}"
    text = how(row.field)
    return (f"{text}; as `{row.same_as}`" if row.same_as else text).replace("|", "\\|")


def _files(kind: str, row: Row) -> str:
    if not (row.is_leaf or row.same_as):
        return ""
    files = sorted(tests().get((kind, row.path), ()))
    links = ((str(file.relative_to(TESTS).with_suffix("")).replace("test_", ""), file) for file in files)
    return ", ".join(f"[{name}](../{file.relative_to(ROOT)})" for name, file in links)
