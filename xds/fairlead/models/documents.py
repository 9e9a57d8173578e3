"""Files of YAML or JSON: their documents, what these hold as plain data, and where in the text a field is.

Values are resolved as Kubernetes does it (sigs.k8s.io/yaml): YAML 1.1 without dates and sexagesimal numbers, and a
duplicate key is a fault. Positions are not kept while parsing, since hardly any is ever asked for: `locate` reads the
document again.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from sys import intern
from typing import Any, NamedTuple

import xxhash
import yaml
from yaml._yaml import CParser

from fairlead.models.base import json_name
from fairlead.problems import FieldPath, Problem, error, warning

MAX_DEPTH = 100
"""How deep mappings and lists may be nested."""

_MARKER = re.compile(rb"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_Failure = yaml.MarkedYAMLError | yaml.reader.ReaderError
_FAILURES = (yaml.MarkedYAMLError, yaml.reader.ReaderError)

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_PLAIN = "plain"  # stands in for a tag: a scalar without quotes, whose text decides its type
_TEXT = "tag:yaml.org,2002:str"
_MAPPING = "tag:yaml.org,2002:map"
_LIST = "tag:yaml.org,2002:seq"
_TYPED = frozenset(f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null"))

_WORDS: dict[str, bool | float | None] = {
    word: value
    for value, words in {
        True: "true True TRUE yes Yes YES on On ON",
        False: "false False FALSE no No NO off Off OFF",
        None: "null Null NULL ~",
    }.items()
    for word in words.split()
}
_WORDS[""] = None
_WORDS |= {sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")}
_WORDS |= {word: float("nan") for word in (".nan", ".NaN", ".NAN")}
_BEGIN_OF_NUMBER = frozenset("0123456789+-.")
_OCTAL = re.compile(r"([-+]?)0([0-7]+)")
_INTEGER = re.compile(r"[-+]?(?:0b[01]+|0o[0-7]+|0x[0-9a-fA-F]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LONGEST_NUMBER = 64  # characters; what is longer is text

_SURROGATES = re.compile(rb"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


class RawDocument(NamedTuple):
    """One document of a file, not yet parsed."""

    text: bytes
    line: int
    """Line of the file, from 1, that the text begins at."""
    digest: int
    """xxh3 of the text; documents of equal digest need not be parsed again."""


class Item(NamedTuple):
    """One object of a document as plain data."""

    data: dict[str, Any]
    root: FieldPath
    """Path of the object in its document: empty, or such as ``("items", 3)`` in a list."""
    problems: tuple[Problem, ...] = ()
    """Faults of the text itself, such as duplicate keys; paths are relative to the object, which is not to be used."""


class Parsed(NamedTuple):
    """What a document holds."""

    items: tuple[Item, ...]
    problems: tuple[Problem, ...] = ()
    """Faults that belong to no item, such as a syntax error; paths are relative to the document."""


def split(data: bytes) -> list[RawDocument]:
    """The documents of a file. A fault in one leaves the others alone, since each is parsed by itself."""
    data = data.removeprefix(_BYTE_ORDER_MARK)
    documents = []
    start, line = 0, 1
    for end in (*(marker.start() for marker in _MARKER.finditer(data)), len(data)):
        text = data[start:end]
        if text.startswith(b"..."):
            marker, _, text = text.partition(b"\n")
            start, line = start + len(marker) + 1, line + 1
        if _only_directives(text):
            continue  # they are the head of the document that follows
        if text.strip():
            documents.append(RawDocument(text, line, xxhash.xxh3_64_intdigest(text)))
        start, line = end, line + text.count(b"\n")
    return documents


def _only_directives(text: bytes) -> bool:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(b"#")] if b"%" in text else []
    return bool(lines) and all(line.startswith(b"%") for line in lines)


def parse(text: bytes) -> Parsed:
    """The objects of a document; lists (`kind: List`, `kind: GatewayList` ...) are taken apart.

    Nothing but comments is no object and no fault. What is not an object at all is a problem.
    """
    try:
        node = _compose(text)
    except _FAILURES as failure:
        return Parsed((), (_syntax_error(text, failure),))
    converter = _Converter(len(text))
    try:
        data = converter.value(node, ())
    except _TooLargeError:
        return Parsed((), (error("syntax", "the document's aliases expand to too many values"),))
    if data is None:
        return Parsed((), tuple(converter.problems))
    items = [Item(found, root) for found, root in _items(data, ())]
    rest = converter.problems
    if rest:
        items = [item._replace(problems=_below(item.root, rest)) for item in items]
        rest = [problem for problem in rest if not any(_is_below(item.root, problem) for item in items)]
    return Parsed(tuple(items), (*rest, *_not_objects(data, ())))


def _is_below(root: FieldPath, problem: Problem) -> bool:
    return problem.path[: len(root)] == root


def _below(root: FieldPath, problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(
        error(problem.code, problem.message, path=problem.path[len(root) :], hint=problem.hint)
        for problem in problems
        if _is_below(root, problem)
    )


def _is_list(data: Any) -> bool:
    return (
        isinstance(data, dict)
        and isinstance(data.get("kind"), str)
        and data["kind"].endswith("List")
        and isinstance(data.get("items"), list)
    )


def _items(data: Any, root: FieldPath) -> Iterator[tuple[dict[str, Any], FieldPath]]:
    if _is_list(data):
        # The API server leaves version and kind out of the items of a list of one kind.
        inherited = (
            {}
            if data["kind"] == "List"
            else {"apiVersion": data.get("apiVersion"), "kind": data["kind"][: -len("List")]}
        )
        for index, item in enumerate(data["items"]):
            yield from _items(inherited | item if isinstance(item, dict) else item, (*root, "items", index))
    elif isinstance(data, dict):
        yield data, root


def _not_objects(data: Any, root: FieldPath) -> Iterator[Problem]:
    if _is_list(data):
        for index, item in enumerate(data["items"]):
            yield from _not_objects(item, (*root, "items", index))
    elif not isinstance(data, dict):
        yield warning("not-an-object", "this is no object, but a list or a text; it is not used", path=root)


def locate(text: bytes, path: FieldPath, *, key: bool = False) -> tuple[int, int]:
    """The place of one field of a document, see `Locator`."""
    return Locator(text).place(path, key=key)


class Locator:
    """Finds the places of fields in a document, which it reads once: that is slow for long lists.

    A path may lead on into a text that is itself YAML, as in a ConfigMap. In one that cannot be parsed, it leads to the
    syntax error.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._root: yaml.Node | None = None
        self._failure: tuple[int, int] | None = None
        try:
            self._root = _compose(text)
        except _FAILURES as failure:
            self._failure = _place_of_failure(text, failure)

    def place(self, path: FieldPath, *, key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value of a field, or with `key` of the field's name.

        The place of a field that does not exist is that of what should hold it. In a document that cannot be parsed
        every path leads to the syntax error.
        """
        if self._failure is not None:
            return self._failure
        place = node = self._root
        for index, part in enumerate(path):
            if isinstance(node, yaml.ScalarNode) and node.style == "|":
                return self._place_within(node, path[index:], key=key)
            entry = _entry(node, part)
            if entry is None:
                break
            key_node, node = entry
            place = key_node if key or index + 1 < len(path) else node
        return (place.start_mark.line + 1, place.start_mark.column + 1) if place is not None else (1, 1)

    def _place_within(self, node: yaml.ScalarNode, path: FieldPath, *, key: bool) -> tuple[int, int]:
        """The place of a field of the YAML that a text in literal style is."""
        first = node.start_mark.line + 1  # of its lines, from 0: the indicator stands on the line before
        line, column = Locator(node.value.encode()).place(path, key=key)
        written = self._text.decode(errors="replace").splitlines()[first + line - 1 : first + line]
        inner = node.value.splitlines()[line - 1 : line]
        indentation = len(written[0]) - len(inner[0]) if written and inner else 0
        return first + line, column + indentation


def _entry(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The nodes of name and value of a field, or twice that of an element of a list."""
    if isinstance(part, int):
        return (node.value[part],) * 2 if isinstance(node, yaml.SequenceNode) and part < len(node.value) else None
    pending, merged = [node], set[int]()
    while pending:
        mapping = pending.pop()
        if not isinstance(mapping, yaml.MappingNode) or id(mapping) in merged:
            continue
        merged.add(id(mapping))
        # Of several with the same name the last one is what a problem with duplicates is about.
        for key_node, value_node in reversed(mapping.value):
            if key_node.value == part or (isinstance(key_node.value, str) and json_name(key_node.value) == part):
                return key_node, value_node
        for key_node, value_node in mapping.value:
            if key_node.value == "<<" and key_node.tag == _PLAIN:
                pending += reversed(value_node.value) if isinstance(value_node, yaml.SequenceNode) else [value_node]
    return None


def _place_of_failure(text: bytes, failure: _Failure) -> tuple[int, int]:
    if isinstance(failure, yaml.reader.ReaderError):
        before = text[: failure.position]
        return before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    mark = failure.problem_mark
    if failure.problem == "found unexpected end of stream":
        mark = failure.context_mark  # where the text begins that does not end
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


_EXPLANATIONS = {
    "mapping values are not allowed in this context": (
        "a colon stands where no name of a field can be",
        "check the indentation, and quote a text that contains a colon and a space",
    ),
    "could not find expected ':'": ("a colon is missing after the name of a field", "write a colon and a space"),
    "found unexpected end of stream": ("the quoted text that begins here does not end", ""),
    "did not find expected key": ("the indentation does not fit that of the lines above", ""),
    "did not find expected '-' indicator": ("the indentation does not fit that of the lines above", ""),
    "did not find expected ',' or ']'": ("a comma is missing, or the list above is not closed", ""),
    "did not find expected ',' or '}'": ("a comma is missing, or the mapping above is not closed", ""),
    "found undefined alias": ("the alias refers to no anchor above it", "quote a text that begins with an asterisk"),
    "found unknown escape character": (
        "the backslash begins no escape sequence",
        "use single quotes, in which a backslash stands for itself",
    ),
}
"""What libyaml says, and what is said instead: a sentence and a hint."""


def _syntax_error(text: bytes, failure: _Failure) -> Problem:
    if isinstance(failure, yaml.reader.ReaderError):
        return error("syntax", f"the text has a byte or character that YAML does not allow: {failure.reason}")
    message, hint = _EXPLANATIONS.get(failure.problem or "", (failure.problem or "", ""))
    if failure.problem_mark is not None and failure.problem == "found character that cannot start any token":
        character = text.decode(errors="replace")[failure.problem_mark.index :][:1]
        if character == "\t":
            message, hint = "a tab is used for indentation", "use spaces"
        else:
            message, hint = f"a value cannot begin with {character}", "quote the value"
    return error("syntax", message, hint=hint)


class _Composer(CParser):
    """libyaml's parser without PyYAML's resolver; the depth is bounded, because the parser recurses in C."""

    depth = 0

    def descend_resolver(self, parent: yaml.Node | None, _index: Any) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = parent.start_mark if parent is not None else None
            raise yaml.MarkedYAMLError(problem=f"the nesting is deeper than {MAX_DEPTH}", problem_mark=mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def resolve(self, kind: type[yaml.Node], _value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _TEXT
        return _MAPPING if kind is yaml.MappingNode else _LIST


def _compose(text: bytes) -> yaml.Node | None:
    if b"\\u" in text:
        # JSON writes characters beyond 16 bits as two escapes, which YAML does not know. The one that it knows is
        # shorter, so columns after it in its line are too small.
        text = _SURROGATES.sub(_join_surrogates, text)
    node: yaml.Node | None = _Composer(text).get_single_node()
    return node


def _join_surrogates(match: re.Match[bytes]) -> bytes:
    before, high, low = match.groups()
    return before + b"\\U%08x" % (0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)


class _TooLargeError(Exception):
    """Aliases make the document expand beyond all measure."""


class _Converter:
    """Makes plain data of nodes, and notes what is wrong with them."""

    def __init__(self, size: int) -> None:
        self.problems: list[Problem] = []
        # A value takes a byte at least, so that only aliases can exceed this.
        self._left = size + 10_000

    def value(self, node: yaml.Node | None, path: FieldPath) -> Any:
        """The value of a node."""
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node is None:
            return None
        self._left -= len(node.value)
        if self._left < 0:
            raise _TooLargeError
        if len(path) > MAX_DEPTH:  # an alias that contains itself
            raise _TooLargeError
        if isinstance(node, yaml.MappingNode):
            if node.tag != _MAPPING:
                self._unknown_tag(node, path)
            return self._mapping(node, path)
        if node.tag != _LIST:
            self._unknown_tag(node, path)
        return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = intern(key_node.value) if isinstance(key_node, yaml.ScalarNode) else key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                hint = "quote braces that belong to a text; a template has to be rendered first"
                self.problems.append(
                    error("syntax", "a mapping or list stands where a name is due", path=path, hint=hint)
                )
            elif key == "<<" and key_node.tag == _PLAIN:
                merged = self._merge(value_node, (*path, key)) | merged
            elif key in result:
                self.problems.append(error("duplicate-key", f"{key!r} is given more than once", path=(*path, key)))
            else:
                result[key] = (
                    _resolve(value_node.value) if value_node.tag == _PLAIN else self.value(value_node, (*path, key))
                )
        return merged | result if merged else result

    def _merge(self, node: yaml.Node, path: FieldPath) -> dict[str, Any]:
        """What a merge key adds; of several mappings the first one that has a field decides."""
        result: dict[str, Any] = {}
        for source in reversed(node.value) if isinstance(node, yaml.SequenceNode) else (node,):
            value = self.value(source, path)
            if isinstance(value, dict):
                result |= value
            else:
                self.problems.append(error("syntax", "only a mapping can be merged by <<", path=path))
        return result

    def _scalar(self, node: yaml.ScalarNode, path: FieldPath) -> Any:
        if node.tag == _PLAIN or node.tag in _TYPED:
            return _resolve(node.value)
        if node.tag != _TEXT:
            self._unknown_tag(node, path)
        return node.value

    def _unknown_tag(self, node: yaml.Node, path: FieldPath) -> None:
        self.problems.append(error("syntax", f"the tag {node.tag} has no meaning here", path=path, hint="remove it"))


def _resolve(text: str) -> str | int | float | bool | None:
    """The value of a scalar without quotes."""
    return _resolve_short(text) if len(text) <= _LONGEST_NUMBER else text


@lru_cache(maxsize=1 << 13)  # which also lets equal texts, of which objects are full, be one
def _resolve_short(text: str) -> str | int | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _BEGIN_OF_NUMBER:
        number = text.replace("_", "")
        if octal := _OCTAL.fullmatch(number):
            return int(octal[1] + octal[2], 8)
        if _INTEGER.fullmatch(number):
            return int(number, 0)
        if _FLOAT.fullmatch(number):
            return float(number)
    return text
