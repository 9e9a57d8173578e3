"""Files of YAML or JSON: their documents, what these hold as plain data, and where in the text a field is."""

from typing import Any, NamedTuple

from fairlead.problems import FieldPath, Problem


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
    """Faults of the text itself, such as duplicate keys; paths are relative to the object."""


class Parsed(NamedTuple):
    """What a document holds."""

    items: tuple[Item, ...]
    problems: tuple[Problem, ...] = ()
    """Faults that leave nothing to be read, such as a syntax error."""


def split(data: bytes) -> list[RawDocument]:
    """The documents of a file."""
    raise NotImplementedError


def parse(text: bytes) -> Parsed:
    """The objects of a document; lists are taken apart."""
    raise NotImplementedError


def locate(text: bytes, path: FieldPath, *, key: bool = False) -> tuple[int, int]:
    """Line and column, from 1, of a field in a document."""
    raise NotImplementedError
