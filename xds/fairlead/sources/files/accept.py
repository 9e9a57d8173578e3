"""From a document's text to objects that are fit to be served, or the reasons why they are not."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from fairlead.models import documents
from fairlead.models.base import KubernetesObject
from fairlead.models.decode import Decoded, decode
from fairlead.problems import FieldPath, ObjectKey, Problem, Severity, error
from fairlead.validation import validate


class Item(NamedTuple):
    """One object of a document."""

    root: FieldPath
    """Path of the object in its document, not empty in lists."""
    key: ObjectKey | None
    """None when it cannot be told which object this is, and when its kind is not read."""
    object: KubernetesObject | None
    """None when a problem is an error, and when its kind is not read."""
    problems: tuple[Problem, ...]
    """Paths start at the object's root."""


class Document:
    """A document that has been read. It is compared by identity: equal texts share one, see `Folder`."""

    __slots__ = ("__weakref__", "_places", "broken", "digest", "items", "problems", "text")

    def __init__(self, text: bytes, digest: int) -> None:
        self.text = text
        self.digest = digest
        self.items: tuple[Item, ...] = ()
        self.problems: tuple[Problem, ...] = ()
        """What belongs to no item; paths start at the document's root."""
        self.broken = False
        """It may hold objects that cannot be told, such as those behind a syntax error."""
        self._places: dict[tuple[FieldPath, bool], tuple[int, int]] | None = None

    def read(self) -> Iterator[None]:
        """Make the objects, in steps of one object."""
        parsed = documents.parse(self.text)
        yield
        items = []
        for raw in parsed.items:
            items.append(_judge(raw))
            yield
        self.items = tuple(items)
        self.problems = parsed.problems
        self.broken = _any_error(parsed.problems) or any(
            item.key is None and _any_error(item.problems) for item in items
        )

    def locate(self, path: FieldPath, *, name: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of a field's value in the text, or of its name."""
        if self._places is None:
            self._places = {}
        place = self._places.get((path, name))
        if place is None:
            place = self._places[path, name] = _locator(self).place(path, key=name)
        return place


@lru_cache(maxsize=1)
def _locator(document: Document) -> documents.Locator:
    """Faults come in groups: the document asked for last is likely to be asked for again."""
    return documents.Locator(document.text)


def _judge(raw: documents.Item) -> Item:
    try:
        decoded = decode(raw.data, raw.problems)
        problems = decoded.problems
        if decoded.object is not None:
            problems += validate(decoded.object)
    except Exception as failure:  # noqa: BLE001  # one object must not take all others down, even by our mistake
        # Its text may be that of a Secret, and is not shown.
        message = f"Fairlead failed to read this object ({type(failure).__name__})"
        decoded, problems = Decoded(None), (error("internal", message, hint="please report this as a bug"),)
    return Item(raw.root, decoded.key, None if _any_error(problems) else decoded.object, problems)


def _any_error(problems: tuple[Problem, ...]) -> bool:
    return any(problem.severity is Severity.ERROR for problem in problems)
