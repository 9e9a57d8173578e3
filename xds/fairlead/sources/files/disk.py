"""Looking at folders and reading files, without waiting for changes."""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from fairlead.sources.files.folder import Content, Unreadable, is_hidden, is_object_file

MAX_FILE_SIZE = 64 * 2**20
"""Bytes. All of Kubernetes' objects fit into its etcd, which is seldom larger than that in text."""


class Signature(NamedTuple):
    """What changes when a file changes: a file of equal signature need not be read again."""

    inode: int
    size: int
    modified: int
    """Nanoseconds since 1970, as `changed`."""
    changed: int
    """Tells of permissions and of contents that were replaced by a copy that keeps its time."""


UNKNOWN = Signature(0, 0, 0, 0)
"""Stands for a signature that could not be told, and equals no other one."""


class FolderIdentity(NamedTuple):
    """Tells a folder from another one that has taken its place."""

    path: str
    device: int
    inode: int


class Scan(NamedTuple):
    """What is to be found below some paths."""

    files: dict[str, Signature]
    folders: frozenset[FolderIdentity]
    unreadable: dict[str, Unreadable]
    """Folders that cannot be listed, and paths that do not exist: nothing is known of what is below them."""


def normalise(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """The paths as messages show them, each once."""
    return tuple(dict.fromkeys(str(Path(path)) for path in paths))


def join(folder: str, name: str) -> str:
    """The path of something in a folder, as messages show it."""
    return str(PurePath(folder, name))


def scan(roots: Sequence[str]) -> Scan:
    """Find the files that hold objects. A root may be a file, whatever its name."""
    files: dict[str, Signature] = {}
    folders: dict[tuple[int, int], FolderIdentity] = {}
    unreadable: dict[str, Unreadable] = {}
    for root in roots:
        try:
            status = Path(root).stat()
        except OSError as failure:
            unreadable[root] = _root_fault(root, failure)
            continue
        if stat.S_ISDIR(status.st_mode):
            _scan_folder(root, status, files, folders, unreadable)
        else:
            files[root] = _signature(status)
    return Scan(files, frozenset(folders.values()), unreadable)


def _scan_folder(
    path: str,
    status: os.stat_result,
    files: dict[str, Signature],
    folders: dict[tuple[int, int], FolderIdentity],
    unreadable: dict[str, Unreadable],
) -> None:
    # A folder that links lead to several times, or in a circle, is read once.
    identity = FolderIdentity(path, status.st_dev, status.st_ino)
    if folders.setdefault((status.st_dev, status.st_ino), identity) is not identity:
        return
    try:
        with os.scandir(path) as listing:
            entries = sorted((entry.name, entry) for entry in listing if not is_hidden(entry.name))
    except OSError as failure:
        message = f"the folder cannot be read: {failure.strerror}"
        unreadable[path] = Unreadable("unreadable-file", message, "check its permissions", folder=True)
        return
    prefix = join(path, "x")[:-1]
    for name, entry in entries:
        is_file = is_object_file(name)
        try:
            if entry.is_dir():
                _scan_folder(prefix + name, entry.stat(), files, folders, unreadable)
            elif is_file:
                files[prefix + name] = _signature(entry.stat())
        except OSError:
            # Gone since, or a link to nothing: reading it tells which.
            if is_file:
                files[prefix + name] = UNKNOWN


def _root_fault(root: str, failure: OSError) -> Unreadable:
    if isinstance(failure, FileNotFoundError):
        return Unreadable("no-such-path", f"{root} does not exist", "create it, or name another path", folder=True)
    return Unreadable("unreadable-file", f"{root} cannot be read: {failure.strerror}", folder=True)


def _signature(status: os.stat_result) -> Signature:
    return Signature(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def signature(path: str) -> Signature | None:
    """The present signature of a file; None when there is none, or when it cannot be told."""
    try:
        return _signature(Path(path).stat())
    except OSError:
        return None


def read(path: str) -> Content:
    """What a file holds now."""
    file = Path(path)
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            return Unreadable("unreadable-file", "this is no regular file")
        if status.st_size > MAX_FILE_SIZE:
            size, limit = status.st_size // 2**20, MAX_FILE_SIZE // 2**20
            return Unreadable("file-too-large", f"the file has {size} MiB; {limit} MiB are read at most", "split it")
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if file.is_symlink():
            return Unreadable("unreadable-file", f"the link leads to {file.readlink()}, which does not exist")
        return None
    except OSError as failure:
        return Unreadable("unreadable-file", f"the file cannot be read: {failure.strerror}", "check its permissions")
