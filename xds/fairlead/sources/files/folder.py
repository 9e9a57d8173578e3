"""What the contents of files mean: which object of which file serves, what is kept, and what is wrong. Pure.

Theory of operation. Each file is a list of documents, and each object of a document is a *claim* to its key. Of the
good claims to a key the first one serves, by path and then by place in the file. An object that has been accepted
is kept, as it was, while its file holds a fault that may be the reason for its absence:

- its own document is there, but faulty;
- the file has a document that cannot be read at all, or the file, or a folder above it, cannot be read;
- the broken file has been renamed.

Otherwise an absent object is removed after a grace period, so that a file that is being written, moved or put
together anew removes nothing. Objects that are equal to what is served are not told again, wherever they come from.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NamedTuple
from weakref import WeakValueDictionary

from fairlead.models import documents
from fairlead.models.base import KubernetesObject
from fairlead.problems import FieldPath, ObjectKey, Position, Problem, Related, Severity, error
from fairlead.sources.base import Update
from fairlead.sources.files.accept import Document, Item
from fairlead.world import ObjectName

SUFFIXES = (".yaml", ".yml", ".json")

_ABOUT_NAMES = frozenset({"unknown-field", "duplicate-key"})
"""Problems with a field's name, not with its value."""


def is_hidden(name: str) -> bool:
    """Names that are passed over: of hidden things, and of the data behind a mounted ConfigMap's links."""
    return name.startswith(".")


def is_object_file(name: str) -> bool:
    """Whether a file of this name holds objects. Editors' backups and temporary files end otherwise, or are hidden."""
    return name.endswith(SUFFIXES) and not is_hidden(name)


class Unreadable(NamedTuple):
    """Stands for the content of something that cannot be read."""

    code: str
    message: str
    hint: str = ""
    folder: bool = False
    """It is, or should be, a folder: nothing is known of the files below it either."""


Content = bytes | Unreadable | None
"""What a path holds; None when there is nothing any more."""


class Saved(NamedTuple):
    """The last accepted version of an object, as it outlives a restart."""

    path: str
    line: int
    """Line of the file, from 1, that the document began at."""
    text: bytes
    """The whole document."""
    digest: int


class _Claim(NamedTuple):
    """One object in one place. Claims sort by path, then by place in the file."""

    path: str
    document_index: int
    item_index: int
    line: int
    document: Document

    @property
    def item(self) -> Item:
        return self.document.items[self.item_index]

    def position(self, path: FieldPath, *, name: bool = False) -> Position:
        return _place(self.path, self.line, self.document, self.item.root + path, name=name)


_NOTHING = frozenset[int]()


class _File(NamedTuple):
    documents: tuple[tuple[Document, int], ...] = ()
    """With the line that each begins at."""
    claims: tuple[tuple[ObjectKey, _Claim], ...] = ()
    broken: frozenset[int] = _NOTHING
    """Digests of the documents that cannot be read."""
    unreadable: Unreadable | None = None


class _Accepted(NamedTuple):
    """The version of an object that is served."""

    object: KubernetesObject
    claim: _Claim
    home: str
    """The file whose faults keep the object; not that of the claim when a broken file has been renamed since."""


class Folder:
    """The state of all files that a source reads.

    `apply` takes in changes, `take` gives out what they amount to. `now` is any clock in seconds that does not jump.
    """

    def __init__(self, deletion_grace: float = 0.5) -> None:
        self.parsed = 0
        """How many documents have been parsed; unchanged ones are not."""
        self._grace = deletion_grace
        self._documents: WeakValueDictionary[int, Document] = WeakValueDictionary()
        self._files: dict[str, _File] = {}
        self._claims: dict[ObjectKey, list[_Claim]] = {}
        self._accepted: dict[ObjectKey, _Accepted] = {}
        self._homes: dict[str, set[ObjectKey]] = {}
        self._unreadable_folders: set[str] = set()
        self._broken: dict[int, set[str]] = {}
        self._vanished: dict[str, frozenset[int]] = {}
        self._absent: dict[ObjectKey, float] = {}  # ordered by deadline, since the grace is the same for all
        self._put: dict[ObjectKey, KubernetesObject] = {}
        self._unsaved: set[ObjectKey] = set()
        self._faults: tuple[Problem, ...] = ()
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self._stale: set[str] = set()
        self._last: Update | None = None

    @property
    def next_deadline(self) -> float | None:
        """When the next object is to be removed, so that `take` should be called."""
        return next(iter(self._absent.values()), None)

    def apply(self, changes: Mapping[str, Content], now: float) -> Iterator[None]:
        """Take in what files hold now, in small steps.

        Between two steps `locate` may be called, and nothing else.
        """
        for path, content in sorted(changes.items()):
            if isinstance(content, bytes):
                yield from self._read(path, content, now)
            elif content is None:
                self._replace(path, _File(), now)
            else:
                self._replace(path, _File(unreadable=content), now)

    def report(self, faults: tuple[Problem, ...]) -> None:
        """Set the problems of the source itself, such as a folder that cannot be watched."""
        self._faults = faults

    def take(self, now: float, *, synced: bool) -> Update | None:
        """What has changed since the last call; None when nothing has."""
        removed = tuple(self._expire(now))
        put, self._put = tuple(self._put.values()), {}
        update, last = Update(put, removed, self._present_problems(), synced), self._last
        if last is not None and replace(last, put=(), removed=()) == update:
            return None
        self._last = update
        return update

    def locate(self, key: ObjectKey, path: FieldPath) -> Position | None:
        """The place of a field in the document that the object was accepted from; None for unknown objects."""
        accepted = self._accepted.get(key)
        return None if accepted is None else accepted.claim.position(path)

    # --- What outlives a restart --------------------------------------------------------------------------------------

    def take_unsaved(self) -> dict[ObjectKey, Saved | None]:
        """The accepted versions that have changed since the last call; None for objects that are gone."""
        unsaved, self._unsaved = self._unsaved, set()
        return {key: self._saved(key) for key in unsaved}

    def _saved(self, key: ObjectKey) -> Saved | None:
        accepted = self._accepted.get(key)
        if accepted is None:
            return None
        document = accepted.claim.document
        return Saved(accepted.home, accepted.claim.line, document.text, document.digest)

    def wants(self, key: ObjectKey, path: str) -> bool:
        """Whether a version of an object accepted earlier from `path` would be served, having no better one."""
        return key not in self._accepted and (key in self._claims or self._is_broken(path))

    def restore(self, saved: Mapping[ObjectKey, Saved], now: float) -> Iterator[None]:
        """Serve versions accepted in an earlier life, which are wanted, in small steps."""
        for key, version in saved.items():
            document = self._documents.get(version.digest)
            if document is None:
                document = Document(version.text, version.digest)
                yield from document.read()
            for index, item in enumerate(document.items):
                if item.key == key and item.object is not None and key not in self._accepted:
                    claim = _Claim(version.path, 0, index, version.line, document)
                    self._accept(key, _Accepted(item.object, claim, version.path))
                    self._put[key] = item.object
                    self._settle(key, now)

    # --- Files --------------------------------------------------------------------------------------------------------

    def _read(self, path: str, data: bytes, now: float) -> Iterator[None]:
        found: list[tuple[Document, int]] = []
        claims = []
        for raw in documents.split(data):
            document = self._documents.get(raw.digest)
            if document is None:
                document = Document(raw.text, raw.digest)
                yield from document.read()
                self._documents[raw.digest] = document
                self.parsed += 1
            yield
            claims += [
                (item.key, _Claim(path, len(found), index, raw.line, document))
                for index, item in enumerate(document.items)
                if item.key is not None
            ]
            found.append((document, raw.line))
        broken = frozenset(document.digest for document, _ in found if document.broken)
        # Empty sets are not one and the same, and there may be a file for each object.
        self._replace(path, _File(tuple(found), tuple(claims), broken or _NOTHING), now)

    def _replace(self, path: str, new: _File, now: float) -> None:
        old = self._files.pop(path, _File())
        if new.documents or new.unreadable:
            self._files[path] = new
        self._stale.add(path)
        old_claims, new_claims = set(old.claims), set(new.claims)
        touched: dict[ObjectKey, None] = {}  # not a set, so that objects are told in the order of the file
        for key, claim in old.claims:
            if (key, claim) not in new_claims:
                self._remove_claim(key, claim)
                touched[key] = None
        for key, claim in new.claims:
            if (key, claim) not in old_claims:
                self._insert_claim(key, claim)
                touched[key] = None
        if self._note_faults(path, old, new):
            below = any(at.unreadable is not None and at.unreadable.folder for at in (old, new))
            touched |= dict.fromkeys(self._kept_by(path, below=below))
        for key in touched:
            self._settle(key, now)

    def _note_faults(self, path: str, old: _File, new: _File) -> bool:
        """Keep account of what cannot be read; True when the answer to whether `path` keeps objects may change."""
        was, now = old.broken, new.broken
        for digest in was - now:
            paths = self._broken[digest]
            paths.discard(path)
            if not paths:
                del self._broken[digest]
        for digest in now - was:
            self._broken.setdefault(digest, set()).add(path)
        self._vanished.pop(path, None)
        if was and not new.documents:
            self._vanished[path] = was
        if new.unreadable is not None and new.unreadable.folder:
            self._unreadable_folders.add(path)
        else:
            self._unreadable_folders.discard(path)
        return (bool(was) or old.unreadable is not None) is not (bool(now) or new.unreadable is not None)

    def _is_broken(self, path: str) -> bool:
        """The file, or a folder above it, has something that cannot be read."""
        file = self._files.get(path)
        if file is not None and (file.unreadable or file.broken):
            return True
        folders = self._unreadable_folders
        return bool(folders) and (
            path in folders or any(str(above) in folders for above in PurePosixPath(path).parents)
        )

    def _kept_by(self, path: str, *, below: bool) -> Iterator[ObjectKey]:
        """The objects whose home is the file at `path`, or `below` the folder there."""
        yield from self._homes.get(path, ())
        if below:
            for home, keys in self._homes.items():
                if PurePosixPath(path) in PurePosixPath(home).parents:
                    yield from keys

    # --- Objects ------------------------------------------------------------------------------------------------------

    def _insert_claim(self, key: ObjectKey, claim: _Claim) -> None:
        claims = self._claims.setdefault(key, [])
        insort(claims, claim)
        if claims[0] is claim:
            self._stale.update(other.path for other in claims)

    def _remove_claim(self, key: ObjectKey, claim: _Claim) -> None:
        claims = self._claims[key]
        if claims[0] == claim:
            self._stale.update(other.path for other in claims)
        del claims[bisect_left(claims, claim)]
        if not claims:
            del self._claims[key]

    def _settle(self, key: ObjectKey, now: float) -> None:
        """Decide anew which version of an object serves."""
        accepted = self._accepted.get(key)
        claim = self._good_claim(key, accepted)
        if claim is not None and claim.item.object is not None:
            self._absent.pop(key, None)
            if accepted is None or accepted.object != claim.item.object:
                self._put[key] = claim.item.object
            self._accept(key, _Accepted(claim.item.object, claim, claim.path))
        elif accepted is not None:
            claims = self._claims.get(key)
            if claims:
                self._absent.pop(key, None)
                self._stale.update(claim.path for claim in claims)
                if all(claim.path != accepted.home for claim in claims):
                    self._accept(key, accepted._replace(home=claims[0].path))
            elif self._is_broken(accepted.home):
                self._absent.pop(key, None)
            else:
                self._absent.setdefault(key, now + self._grace)

    def _good_claim(self, key: ObjectKey, accepted: _Accepted | None) -> _Claim | None:
        """The claim that serves; None when there is none, or when the last accepted version is kept before it."""
        for claim in self._claims.get(key, ()):
            if claim.item.object is not None:
                return claim
            if accepted is not None and accepted.home == claim.path:
                return None
        return None

    def _accept(self, key: ObjectKey, new: _Accepted | None) -> None:
        old = self._accepted.get(key)
        if new is None:
            del self._accepted[key]
        else:
            self._accepted[key] = new
        old_home = None if old is None else old.home
        new_home = None if new is None else new.home
        if old_home != new_home:
            self._stale |= self._unreadable_folders
            if old_home is not None:
                kept = self._homes[old_home]
                kept.discard(key)
                if not kept:
                    del self._homes[old_home]
                self._stale.add(old_home)
            if new_home is not None:
                self._homes.setdefault(new_home, set()).add(key)
                self._stale.add(new_home)
        # Lines are left out: a line more at the top of a file must not mean that all of it is saved again.
        if old is None or new is None or old_home != new_home or old.claim.document is not new.claim.document:
            self._unsaved.add(key)
        if old is None or new is None or old.claim != new.claim or old_home != new_home:
            self._stale.update(claim.path for claim in self._claims.get(key, ()))

    def _expire(self, now: float) -> Iterator[tuple[type[KubernetesObject], ObjectName]]:
        while self._absent:
            key, deadline = next(iter(self._absent.items()))
            if deadline > now:
                return
            del self._absent[key]
            accepted = self._accepted[key]
            heir = self._heir(accepted.home)
            if heir is not None:
                self._accept(key, accepted._replace(home=heir))
                continue
            self._accept(key, None)
            self._put.pop(key, None)
            yield type(accepted.object), ObjectName(key.namespace, key.name)
        self._vanished.clear()

    def _heir(self, path: str) -> str | None:
        """The file that now has a document that could not be read when the file at `path` went away."""
        for digest in self._vanished.get(path, ()):
            if digest in self._broken:
                return min(self._broken[digest])
        return None

    # --- Problems -----------------------------------------------------------------------------------------------------

    def _present_problems(self) -> tuple[Problem, ...]:
        for path in self._stale:
            problems = tuple(self._problems_of(path))
            if problems:
                self._problems[path] = problems
            else:
                self._problems.pop(path, None)
        self._stale.clear()
        return (*self._faults, *(problem for path in sorted(self._problems) for problem in self._problems[path]))

    def _problems_of(self, path: str) -> Iterator[Problem]:
        file = self._files.get(path)
        if file is None:
            return
        kept = self._kept_hint(path, file)
        if file.unreadable is not None:
            problem = error(file.unreadable.code, file.unreadable.message, hint=file.unreadable.hint)
            yield _with_hint(problem, kept).at(Position(path, 1, 1))
        for document_index, (document, line) in enumerate(file.documents):
            for problem in document.problems:
                yield _with_hint(problem, kept).at(_place(path, line, document, problem.path))
            for item_index, item in enumerate(document.items):
                if item.problems or (item.key is not None and len(self._claims[item.key]) > 1):
                    claim = _Claim(path, document_index, item_index, line, document)
                    yield from self._problems_of_item(claim, kept)

    def _problems_of_item(self, claim: _Claim, kept: str) -> Iterator[Problem]:
        _, key, _, problems = claim.item
        accepted = None if key is None else self._accepted.get(key)
        if key is not None:
            kept = "until then its last accepted version is served" if accepted and accepted.claim != claim else ""
        for problem in problems:
            name = problem.code in _ABOUT_NAMES
            yield _with_hint(problem, kept).at(claim.position(problem.path, name=name))
        if key is not None:
            yield from self._duplicate(key, claim, accepted)

    def _duplicate(self, key: ObjectKey, claim: _Claim, accepted: _Accepted | None) -> Iterator[Problem]:
        claims = self._claims[key]
        counts = claims[0]
        if accepted is not None and claims[bisect_left(claims, accepted.claim[:4]) % len(claims)] == accepted.claim:
            counts = accepted.claim
        if claim != counts:
            yield error(
                "duplicate-object",
                f"{key} is also at {counts.position(())}, and that is the one which counts",
                key=key,
                hint="keep one of the two",
                related=(Related("this one counts", position=counts.position(())),),
            ).at(claim.position(()))

    def _kept_hint(self, path: str, file: _File) -> str:
        """What the faults of a whole document or file keep from being removed; empty when nothing."""
        if file.unreadable is None and not file.broken:
            return ""
        below = file.unreadable is not None and file.unreadable.folder
        count = sum(
            all(claim.path != path for claim in self._claims.get(key, ())) for key in self._kept_by(path, below=below)
        )
        if count == 1:
            return "until then one object read from it earlier stays as it was"
        return f"until then {count} objects read from it earlier stay as they were" if count else ""


def _place(path: str, line: int, document: Document, field: FieldPath, *, name: bool = False) -> Position:
    line_in_document, column = document.locate(field, name=name)
    return Position(path, line + line_in_document - 1, column)


def _with_hint(problem: Problem, hint: str) -> Problem:
    if not hint or problem.severity is not Severity.ERROR:
        return problem
    return replace(problem, hint=f"{problem.hint}; {hint}" if problem.hint else hint)
