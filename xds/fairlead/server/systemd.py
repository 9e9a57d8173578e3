"""What systemd wants to know of a service of `Type=notify`, if it is systemd that has started it.

The protocol: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import contextlib
import os
import socket

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


def notify(state: str) -> None:
    """Tell a state; nobody has to listen."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(state.encode(), path.replace("@", "\0", 1) if path.startswith("@") else path)


def watchdog_seconds() -> float | None:
    """Within how many seconds `ALIVE` is expected each time (`WatchdogSec=`); None when it is not."""
    limit, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if limit.isdecimal() and int(limit) and process in ("", str(os.getpid())):
        return int(limit) / 1e6
    return None
