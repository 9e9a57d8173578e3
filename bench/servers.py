"""Servers under measurement, each a process on a processor of its own, and what they take of the machine."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from support.stack import ControlPlane, until

_cores = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = _cores[0], _cores[-1]
"""The server has one processor, those who measure it another, if there are two."""

Answers = Mapping[str, Sequence[bytes]]
"""Type URL -> the responses to the first request of that type on a stream."""


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run this process, and the processes that it starts meanwhile, on one processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """One of them, that accepts streams."""

    def __init__(self, address: str, process: int) -> None:
        """`process` is its id."""
        self.address = address
        self._process = Path(f"/proc/{process}")

    @property
    def memory(self) -> int:
        """Bytes that are resident."""
        pages = int((self._process / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def processor_seconds(self) -> float:
        """User and system time since it was started."""
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.asynccontextmanager
async def fairlead(objects: Path, beside: Path) -> AsyncIterator[Server]:
    """`fairlead serve` on a folder; its log and state are kept `beside`."""
    control_plane = ControlPlane(objects, beside / "fairlead.log", beside / "state", ())
    try:
        with on_core(SERVER_CORE):
            await control_plane.start()
        assert control_plane.process is not None
        await until(lambda: _connect(control_plane.xds_port), "the xDS port is open")
        yield Server(f"127.0.0.1:{control_plane.xds_port}", control_plane.process.pid)
    finally:
        await control_plane.stop()


async def _connect(port: int) -> bool:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()
    return True


@contextlib.asynccontextmanager
async def floor(folder: Path, answers: Answers) -> AsyncIterator[Server]:
    """The floor server (`bench.floor`); what is renamed to `floor_push(folder)` is sent to all streams."""
    (folder / "answers").write_bytes(msgspec.msgpack.encode(answers))
    with on_core(SERVER_CORE):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.floor", folder, stdout=asyncio.subprocess.PIPE
        )
    try:
        assert process.stdout is not None
        yield Server((await process.stdout.readline()).decode().strip(), process.pid)
    finally:
        process.terminate()
        await process.wait()


def floor_push(folder: Path) -> Path:
    """Where the floor server looks for what it is to send."""
    return folder / "push" / "message"
