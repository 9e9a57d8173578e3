"""The operating system's own notice of a changed file, without any library between: a floor for all that watches."""

import ctypes
import os
import select
from pathlib import Path

_MOVED_TO = 0x80
_EVENTS_SIZE = 4096

_libc = ctypes.CDLL(None, use_errno=True)


class MoveEvents:
    """Events of files that are renamed into a folder."""

    def __init__(self, folder: Path) -> None:
        self.descriptor: int = _libc.inotify_init1(os.O_CLOEXEC)
        if self.descriptor < 0 or _libc.inotify_add_watch(self.descriptor, bytes(folder), _MOVED_TO) < 0:
            raise OSError(ctypes.get_errno(), "inotify does not work here")

    def wait(self, within: float = 5.0) -> None:
        """Wait for the next event; raises `TimeoutError`."""
        if not select.select([self.descriptor], [], [], within)[0]:
            raise TimeoutError("no event")
        os.read(self.descriptor, _EVENTS_SIZE)

    def close(self) -> None:
        os.close(self.descriptor)
