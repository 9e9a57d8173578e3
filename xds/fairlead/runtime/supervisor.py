"""The parent's side of the process of the runtime services."""

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import Callable, Iterable

import structlog

from fairlead.errors import FairleadError
from fairlead.intent import RuntimeConfiguration
from fairlead.runtime.messages import Orders, Report, encoded, read
from fairlead.runtime.outcomes import Object, Outcome

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
"""Seconds from the end of a process to the start of the next; each is twice the one before."""
_LIVED_WELL = 30.0
"""Seconds after which the end of a process is the first one again."""

_GLANCE = 1.0
_PATIENCE = 10
"""Seconds between looks at a process, and the number of looks without a sign of life after which it is stuck."""
_STARTING = 50
"""So many more looks has a process before its first sign of life."""

_LAST_WORDS = 3.0
"""Seconds that a process has to end by itself."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING}

log = structlog.get_logger()


class Supervisor:
    """Starts the process when the services first have something to do, and again when it has ended or is stuck.

    The socket that it listens on is the parent's: while there is no process, proxies that connect wait for the next.
    When that does not live long either they are turned away, and do at once what their failure modes say.
    """

    def __init__(
        self,
        listen: Callable[[], socket.socket],
        redis_url: str,
        happened: Callable[[Iterable[tuple[Object, Outcome, int]]], None],
    ) -> None:
        """`listen` opens the port; `happened` is told numbers of requests, by object and outcome."""
        self.starts = 0
        """How often a process has been started."""
        self.trouble = ""
        """Why there is no process though one is needed; empty when there is none to complain of."""
        self._listen = listen
        self._redis_url = redis_url
        self._happened = happened
        self._configuration = RuntimeConfiguration()
        self._wanted = asyncio.Event()
        self._stopping = asyncio.Event()
        self._listening: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._silence = 0
        """How often in a row nothing had come from the process when it was looked at."""

    @property
    def process_id(self) -> int | None:
        """Of the process that runs now."""
        return None if self._process is None else self._process.pid

    def configure(self, configuration: RuntimeConfiguration) -> None:
        """From now on the services decide by this."""
        self._configuration = configuration
        if configuration != RuntimeConfiguration():
            self._wanted.set()
        if self._writer is not None:
            self._tell(self._writer)

    def _tell(self, writer: asyncio.StreamWriter) -> None:
        writer.write(encoded(Orders(self._configuration, self._redis_url)))

    async def run(self) -> None:
        """Keep a process running, from the moment when there is something to do until `stop` is called."""
        await self._wanted.wait()
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                reason = await self._one_life()
            except (FairleadError, OSError) as error:
                reason = str(error)
            except Exception:
                # Whatever is wrong here, proxies are to be served with objects.
                log.exception("the process of the runtime services could not be served")
                reason = "a fault of Fairlead's"
            if self._stopping.is_set():
                return
            if time.monotonic() - started > _LIVED_WELL:
                pause = _FIRST_PAUSE
            if pause > _FIRST_PAUSE:
                self._turn_away()
            self.trouble = reason
            log.error("the runtime services have ended, and are started again", reason=reason, seconds=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _one_life(self) -> str:
        """Start a process, and give the reason why it has ended."""
        if self._listening is None:
            self._listening = self._listen()
        process, reader, writer = await self._start(self._listening)
        self._process, self._writer, self._silence = process, writer, -_STARTING
        self._tell(writer)
        tasks = [asyncio.create_task(self._hear(reader)), asyncio.create_task(_pass_on(process.stderr))]
        looking = asyncio.create_task(self._look_after(process))
        try:
            await asyncio.wait(tasks)
            return f"it ended with {await process.wait()}"
        finally:
            self._process = self._writer = None
            looking.cancel()
            for task in tasks:
                task.cancel()
            writer.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def _start(
        self, listening: socket.socket
    ) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        with theirs:
            sockets = theirs.fileno(), listening.fileno()
            process = await asyncio.create_subprocess_exec(
                # Not the folder in which the user is must decide what is imported.
                *(sys.executable, "-P", "-m", "fairlead.runtime.process", *map(str, sockets)),
                pass_fds=sockets,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # what a terminal tells its processes is for the parent
            )
        self.starts += 1
        log.info("runtime services start", address=_shown(listening), process=process.pid)
        return process, *await asyncio.open_connection(sock=ours)

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        while (report := await read(reader, Report)) is not None:
            self._silence = 0
            self.trouble = ""
            self._happened(report.outcomes)
            for event in report.events:
                log.log(_LEVELS.get(event.level, logging.ERROR), event.event, **event.values)

    async def _look_after(self, process: asyncio.subprocess.Process) -> None:
        # By looks and not by time: while this process does not run, that one must not seem silent.
        while self._silence < _PATIENCE:
            await asyncio.sleep(_GLANCE)
            self._silence += 1
        log.error("the runtime services are stuck: their process is killed", process=process.pid)
        process.kill()

    async def stop(self) -> None:
        """Let the process end by itself; `run` returns then."""
        self._stopping.set()
        process = self._process
        if self._writer is not None and process is not None:
            self._writer.write_eof()
            try:
                await asyncio.wait_for(process.wait(), _LAST_WORDS)
            except TimeoutError:
                log.warning("the runtime services do not end: their process is killed", process=process.pid)
                process.kill()
        self._turn_away()

    def _turn_away(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None


async def _pass_on(stderr: asyncio.StreamReader | None) -> None:
    """Log what the process writes when it cannot log."""
    while stderr is not None and (text := await stderr.read(1 << 16)):
        log.error("the runtime services say", text=text.decode(errors="replace"))


def _shown(listening: socket.socket) -> str:
    host, port, *_ = listening.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
