"""Reading files a single time, for commands that work offline."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from fairlead.errors import SourceError
from fairlead.problems import FieldPath, ObjectKey, Position
from fairlead.sources.base import Update
from fairlead.sources.files import disk
from fairlead.sources.files.folder import Folder


class Reading(NamedTuple):
    """What files hold."""

    update: Update
    locate: Callable[[ObjectKey, FieldPath], Position | None]
    """As `Source.locate`."""
    given: Mapping[str, bytes]
    """What was read from elsewhere than files, by the name that places in it have."""


def read_once(paths: Sequence[str | Path], given: Mapping[str, bytes] = MappingProxyType({})) -> Reading:
    """Read files and folders as a server does, without waiting for anything, and beside them what is `given`.

    Raises `SourceError` when a path does not exist or cannot be read.
    """
    found = disk.scan(disk.normalise(paths))
    for root in disk.normalise(paths):
        if root in found.unreadable:
            raise SourceError(found.unreadable[root].message)
    folder = Folder()
    for path in found.files:
        for _ in folder.apply({path: disk.read(path)}, now=0.0):
            pass
    for _ in folder.apply(found.unreadable, now=0.0):
        pass
    for _ in folder.apply(given, now=0.0):
        pass
    update = folder.take(now=0.0, synced=True)
    assert update is not None  # the first one never is
    return Reading(update, folder.locate, given)
