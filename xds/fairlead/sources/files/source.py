"""A source that follows the changes of files and folders.

A file may be seen while it is being written. So a file that changed lately is read only when its size and times have
stayed the same for some milliseconds, and after a longer wait if it ends within a line, as most half-written files
do. A writer who renames a finished file into place is safe whatever happens.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple

from fairlead.problems import FieldPath, ObjectKey, Position, Problem, warning
from fairlead.sources.base import Deliver
from fairlead.sources.files import disk
from fairlead.sources.files.disk import FolderIdentity, Scan, Signature
from fairlead.sources.files.folder import Content, Folder, Unreadable, is_hidden, is_object_file
from fairlead.sources.files.keeper import Keeper
from fairlead.sources.files.watch import Watcher

# All in seconds.
SETTLE = 0.003
"""How long a file must have stayed the same before it is read."""
UNFINISHED = 0.1
"""How long a file that ends within a line must have stayed the same before it counts as whole."""
PATIENCE = 1.0
"""After this time a file that never stays the same is read all the same; nobody waits for one that is older."""
RESCAN = 10.0
"""How often all files are looked at, in case that an event was lost, or was never sent, as on network file systems."""
POLL = 0.5
"""The same while there are no events, or while a path does not exist."""
SLICE = 0.005
"""For how long documents are parsed before the event loop gets a turn."""

_BATCH_FILES = 200
_BATCH_SIZE = 4 * 2**20  # bytes


class _Pending(NamedTuple):
    """A file that is to be read."""

    noticed: float
    due: float
    signature: Signature | None


class _Look(NamedTuple):
    """What a thread found when it looked at all files."""

    found: Scan
    changed: list[str]
    gone: list[str]


class _Read(NamedTuple):
    """What a thread found when it tried to read a file."""

    content: Content
    signature: Signature | None
    wait: float = 0.0
    """Seconds to wait before another try; 0 when the content is to be used."""


class FilesSource:
    """The objects of files and folders, followed until cancelled (see `fairlead.sources.base.Source`)."""

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        deletion_grace: float = 0.5,
        state_dir: Path | None = None,
        polling: bool = False,
    ) -> None:
        """Follow these paths.

        An object is removed when it has been absent for `deletion_grace` seconds. `state_dir` keeps accepted objects
        over a restart. `polling` is for file systems that send no events.
        """
        self._roots = disk.normalise(paths)
        self._root_at = {_absolute(root): root for root in self._roots}
        self._polling = polling
        self._folder = Folder(deletion_grace)
        self._keeper = Keeper(state_dir, self._folder, self._root_at)
        self._watcher = Watcher()
        self._watch_faults: tuple[Problem, ...] = ()
        self._folders: frozenset[FolderIdentity] = frozenset()
        self._folder_at: dict[str, str] = {}
        self._above: set[str] = set()
        self._read: dict[str, Signature] = {}
        self._pending: dict[str, _Pending] = {}
        self._unreadable: Mapping[str, Unreadable] = {}
        self._never_seen = set(self._roots)
        self._synced = False
        self._noticed: float | None = None
        """When the first change of the files that have been read since the last update was noticed."""
        self._rescan_at = 0.0

    @property
    def parsed(self) -> int:
        """How many documents have been parsed so far."""
        return self._folder.parsed

    def locate(self, key: ObjectKey, path: FieldPath) -> Position | None:
        """See `Source.locate`."""
        return self._folder.locate(key, path)

    async def run(self, deliver: Deliver) -> None:
        """See `Source.run`."""
        try:
            while True:
                if _now() >= self._rescan_at:
                    await self._rescan()
                await self._read_due()
                if self._synced or not self._pending:
                    await self._tell(deliver)
                await self._wait()
        finally:
            await self._watcher.close()
            await self._keeper.close()

    # --- Finding out what has changed ---------------------------------------------------------------------------------

    async def _rescan(self) -> None:
        look = await asyncio.to_thread(_look, self._roots, self._read)
        if not self._polling and (look.found.folders != self._folders or not self._watcher.working):
            await self._watch(look.found.folders)
            # What has happened before the watch began was not told.
            look = await asyncio.to_thread(_look, self._roots, self._read)
        unreadable = look.found.unreadable
        quiet = self._watcher.working and not any(root in unreadable for root in self._roots)
        same = self._polling or look.found.folders == self._folders
        self._rescan_at = _now() + (RESCAN if quiet else POLL) if same else 0.0
        await self._take_in(look)

    async def _watch(self, folders: frozenset[FolderIdentity]) -> None:
        self._folders = folders
        self._folder_at = {_absolute(folder.path): folder.path for folder in folders}
        # A root that is replaced is an event of the folder above it.
        self._above = {str(path.parent) for path in map(Path, self._root_at) if path.parent.is_dir()}
        self._watch_faults = ()
        try:
            await self._watcher.start(self._folder_at.keys() | self._above)
        except OSError as failure:
            message = f"files are looked at every {POLL} seconds, since the system does not tell of changes: {failure}"
            hint = "raise fs.inotify.max_user_watches if that is the limit"
            self._watch_faults = (warning("not-watched", message, hint=hint),)

    async def _take_in(self, look: _Look) -> None:
        files, _, unreadable = look.found
        for path in look.changed:
            self._notice(path, files[path])
        changes: dict[str, Content] = dict.fromkeys(self._unreadable.keys() - files.keys())
        for path in look.gone:
            del self._read[path]
            self._pending.pop(path, None)
            changes[path] = None
        for path in unreadable:
            self._read.pop(path, None)  # a file that returns is read again, even if it is as it was
        self._unreadable = unreadable
        self._never_seen &= unreadable.keys()
        await self._apply(changes | unreadable)

    def _notice(self, path: str, signature: Signature | None) -> None:
        """Read a file soon; `signature` is its present one, None when it cannot be told."""
        lately = signature is not None and _age(signature) < PATIENCE
        self._read_later(path, signature, SETTLE if lately else 0.0)

    def _read_later(self, path: str, signature: Signature | None, wait: float) -> None:
        now = _now()
        noticed = self._pending[path].noticed if path in self._pending else now
        self._pending[path] = _Pending(noticed, min(now + wait, noticed + PATIENCE), signature)

    async def _wait(self) -> None:
        """Wait for events, but not longer than there is something else to do."""
        deadline = min((self._rescan_at, *(pending.due for pending in self._pending.values())))
        if self._folder.next_deadline is not None:
            deadline = min(deadline, self._folder.next_deadline)
        for path in await self._watcher.changes(max(0.0, deadline - _now())):
            self._note_event(path)

    def _note_event(self, path: str) -> None:
        """Read the file that something has happened to, or look at all files."""
        is_folder = path in self._folder_at or Path(path).is_dir()
        file = self._file_at(path)
        if file is not None and not is_folder:
            self._notice(file, disk.signature(file))
        elif self._moves_files(path, is_folder=is_folder):
            self._rescan_at = 0.0

    def _file_at(self, path: str) -> str | None:
        """The file at an absolute path, as messages show it, if it is one that is read."""
        if path in self._root_at:
            root = self._root_at[path]
            return root if root in self._read else None  # if not it is missing, and may have returned
        folder, name = self._folder_at.get(str(Path(path).parent)), Path(path).name
        return disk.join(folder, name) if folder is not None and is_object_file(name) else None

    def _moves_files(self, path: str, *, is_folder: bool) -> bool:
        """Whether something at a path decides where files are."""
        if path in self._folder_at or path in self._root_at or path in self._above:
            return True
        # Kubernetes changes what all links in a mounted folder lead to by replacing the link `..data`.
        name = Path(path).name
        moves = name.startswith("..") or (is_folder and not is_hidden(name))
        return moves and str(Path(path).parent) in self._folder_at

    # --- Reading ------------------------------------------------------------------------------------------------------

    async def _read_due(self) -> None:
        now = _now()
        due = sorted(path for path, pending in self._pending.items() if pending.due <= now)
        for batch in self._batches(due):
            results = await asyncio.to_thread(_read_files, {path: self._pending[path] for path in batch}, now)
            changes: dict[str, Content] = {}
            for path, result in results.items():
                if result.wait:
                    self._read_later(path, result.signature, result.wait)
                    continue
                noticed = self._pending.pop(path).noticed
                self._noticed = min(noticed, self._noticed or noticed)
                changes[path] = result.content
                if result.content is None:
                    self._read.pop(path, None)
                    if path in self._roots:
                        self._rescan_at = 0.0  # a root does not go, it is missing
                elif isinstance(result.content, Unreadable) or result.signature is None:
                    self._read[path] = disk.UNKNOWN  # so that the next look at all files tries again
                else:
                    self._read[path] = result.signature
            await self._apply(changes)

    def _batches(self, paths: Sequence[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        size = 0
        for path in paths:
            batch.append(path)
            signature = self._pending[path].signature
            size += 0 if signature is None else signature.size
            if len(batch) >= _BATCH_FILES or size >= _BATCH_SIZE:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    async def _apply(self, changes: Mapping[str, Content]) -> None:
        await self._in_slices(self._folder.apply(changes, _now()))

    async def _in_slices(self, steps: Iterator[None]) -> None:
        end = _now() + SLICE
        for _ in steps:
            if _now() > end:
                await asyncio.sleep(0)
                end = _now() + SLICE

    # --- Telling ------------------------------------------------------------------------------------------------------

    async def _tell(self, deliver: Deliver) -> None:
        if not self._synced and not self._never_seen:
            await self._in_slices(self._folder.restore(await self._keeper.restore(), _now()))
            self._synced = True
        self._folder.report((*self._watch_faults, *self._keeper.faults))
        update = self._folder.take(_now(), synced=self._synced)
        noticed, self._noticed = self._noticed, None
        if update is not None:
            await deliver(replace(update, noticed=noticed))
        if self._synced:
            self._keeper.keep()


def _absolute(path: str) -> str:
    # Not resolved: links on the way may change.
    return str(Path(path).absolute())


def _now() -> float:
    return time.monotonic()


def _age(signature: Signature) -> float:
    """Seconds since the file was written; negative when its clock runs ahead of ours."""
    return time.time() - signature.modified / 1e9


def _look(roots: Sequence[str], known: Mapping[str, Signature]) -> _Look:
    """Look at all files; `known` are the signatures of what has been read."""
    found = disk.scan(roots)
    changed = [path for path, signature in found.files.items() if known.get(path) != signature]
    gone = [
        path
        for path in known.keys() - found.files.keys()
        if not any(PurePath(path).is_relative_to(folder) for folder in found.unreadable)
    ]
    return _Look(found, changed, gone)


def _read_files(files: Mapping[str, _Pending], now: float) -> dict[str, _Read]:
    return {
        path: _read_settled(path, pending, patient=now - pending.noticed < PATIENCE) for path, pending in files.items()
    }


def _read_settled(path: str, pending: _Pending, *, patient: bool) -> _Read:
    """The content of a file, unless somebody seems to be writing it."""
    before = disk.signature(path)
    if patient and before != pending.signature:
        return _Read(None, before, SETTLE)
    content = disk.read(path)
    after = disk.signature(path)
    if not patient or not isinstance(content, bytes) or after is None:
        return _Read(content, after)
    if after != before:
        return _Read(None, after, SETTLE)
    missing = UNFINISHED - _age(after)
    if missing > 0 and not _ends_well(path, content):
        return _Read(None, after, min(missing, UNFINISHED))
    return _Read(content, after)


def _ends_well(path: str, content: bytes) -> bool:
    if path.endswith(".json"):
        return content.rstrip().endswith((b"}", b"]"))
    return content.endswith(b"\n")
