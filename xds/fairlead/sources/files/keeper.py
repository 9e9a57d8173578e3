"""Keeping accepted objects on disk, beside the work."""

import asyncio
from collections.abc import Mapping
from pathlib import Path, PurePath

from fairlead.problems import ObjectKey, Problem, warning
from fairlead.sources.files.folder import Folder, Saved
from fairlead.sources.files.store import Entry, Store, StoreFailures


class Keeper:
    """Brings back what was accepted before a restart, and writes down what is accepted now.

    A state folder that cannot be used is a problem, and harms no object that is not faulty.
    """

    def __init__(self, state_dir: Path | None, folder: Folder, roots: Mapping[str, str]) -> None:
        """`roots`: absolute path -> path as messages show it. Without `state_dir` nothing is kept."""
        self.faults: tuple[Problem, ...] = ()
        self._state_dir = state_dir
        self._folder = folder
        self._roots = roots
        self._store: Store | None = None
        self._kept: dict[ObjectKey, Entry] = {}
        self._unsaved: dict[ObjectKey, Saved | None] = {}
        self._writing: asyncio.Task[None] | None = None

    async def restore(self) -> dict[ObjectKey, Saved]:
        """The versions that the folder wants, which it asks for once, when all files have been read."""
        if self._state_dir is None:
            return {}
        try:
            store = await asyncio.to_thread(Store, self._state_dir)
            if store.damaged:
                self.faults = (warning("state-damaged", f"{store.path} was damaged, and has been begun anew"),)
            self._kept = await asyncio.to_thread(store.entries)
            wanted = [key for key, entry in self._kept.items() if self._folder.wants(key, self._shown(entry.path))]
            found = await asyncio.to_thread(store.read, wanted)
        except StoreFailures as failure:
            self._fail(failure)
            return {}
        self._store = store
        return {key: saved._replace(path=self._shown(saved.path)) for key, saved in found.items()}

    def keep(self) -> None:
        """Write what has changed since the last call, without waiting for it."""
        unsaved = self._folder.take_unsaved()
        if self._store is None:
            return
        here = Path.cwd()
        for key, saved in unsaved.items():
            absolute = None if saved is None else saved._replace(path=str(here / saved.path))
            kept = self._kept.pop(key, None)
            if kept is None or absolute is None or kept != Entry(absolute.path, absolute.digest):
                self._unsaved[key] = absolute
        # All that is accepted is unsaved at first, so that the rest of what was kept is gone.
        self._unsaved |= dict.fromkeys(self._kept)
        self._kept = {}
        if self._unsaved and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write(self._store))

    async def close(self) -> None:
        """Wait for the writing to end, and close the store."""
        if self._writing is not None:
            await asyncio.wait((self._writing,))
        if self._store is not None:
            await asyncio.to_thread(self._store.close)

    async def _write(self, store: Store) -> None:
        while self._unsaved:
            batch, self._unsaved = self._unsaved, {}
            try:
                await asyncio.to_thread(store.write, batch)
            except StoreFailures as failure:
                self._unsaved = batch | self._unsaved
                self._fail(failure)
                return
            self.faults = ()

    def _shown(self, absolute: str) -> str:
        for root, shown in self._roots.items():
            if PurePath(absolute).is_relative_to(root):
                return str(PurePath(shown, PurePath(absolute).relative_to(root)))
        return absolute

    def _fail(self, failure: BaseException) -> None:
        message = f"accepted objects cannot be kept in {self._state_dir}: {failure}"
        hint = "until this works, a restart while a file is faulty loses the objects of that file"
        self.faults = (warning("state-unusable", message, hint=hint),)
