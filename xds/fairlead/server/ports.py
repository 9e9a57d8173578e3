"""Where a server listens, and clear words when it cannot."""

import contextlib
import os
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from fairlead.errors import SettingsError
from fairlead.server.settings import Address

_OPEN_FILES = 1 << 16
"""More than the limits on streams need."""


def listening_socket(address: Address, option: str, *, reuse_port: bool = False) -> socket.socket:
    """A socket that listens on TCP; raises `SettingsError` that names the option.

    With `reuse_port` others may listen there, if they allow it too.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server(address, family=family, reuse_port=reuse_port)
    except OSError as error:
        raise _cannot_listen(address, option, error) from None


def _cannot_listen(address: Address, option: str, error: OSError) -> SettingsError:
    return SettingsError(
        f"{option} {address} cannot be listened on: {(error.strerror or str(error)).partition(' (while')[0]}"
    )


def check_free(address: Address, option: str, *, reuse_port: bool) -> None:
    """Raises `SettingsError` that names the option when nobody could listen there now.

    With `reuse_port` others may, if they allow it too.
    """
    if not reuse_port:
        listening_socket(address, option).close()
        return
    # It must not listen: the kernel would give it some of the connections that the others wait for.
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise _cannot_listen(address, option, error) from None


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


def allow_many_connections() -> None:
    """Let this process have as many files open as it may at all: each connection is one, and a default may be 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # then it goes on with what it has
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
