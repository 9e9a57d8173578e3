"""Where a server listens, and clear words when it cannot."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from fairlead.errors import SettingsError
from fairlead.server.settings import Address


def listening_socket(address: Address, option: str) -> socket.socket:
    """A socket that listens on TCP; raises `SettingsError` that names the option."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server(address, family=family)
    except OSError as error:
        raise SettingsError(f"{option} {address} cannot be listened on: {error.strerror}") from None


def make_way(path: Path, option: str) -> None:
    """Remove a unix socket that nobody serves any more; raises `SettingsError` when the path is taken."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SettingsError(f"{option} {path} is there already, and is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise SettingsError(f"{option} {path} is served by another process")
        path.unlink()


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """What is made meanwhile is this user's alone from the moment it exists."""
    mask = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(mask)
