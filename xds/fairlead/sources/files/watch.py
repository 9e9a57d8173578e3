"""Learning from the operating system that something has changed."""

import asyncio
from collections.abc import Collection

from watchfiles import awatch

_STEP = 2
"""Milliseconds between two looks at the queue of events, so that a change is told after 2 to 4 ms. 1 would double what
an idle server takes of a processor (1.3 percent of a core)."""


class Watcher:
    """Events of some folders, not of those below them.

    Folders are named one by one, since a recursive watch would include hidden ones: every object of a `.git`, and the
    data behind a mounted ConfigMap's links.
    """

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self._happened = asyncio.Event()
        self._paths: set[str] = set()
        self._following: asyncio.Task[None] | None = None

    @property
    def working(self) -> bool:
        """Whether changes are told."""
        return self._following is not None and not self._following.done()

    async def start(self, folders: Collection[str]) -> None:
        """Watch these folders, absolute paths, and no other ones. What happens after the return is told.

        Raises `OSError` when there are more of them than the system permits, or one of them has gone.
        """
        await self.close()
        self._stop = asyncio.Event()
        self._following = asyncio.create_task(self._follow(folders))
        # The watches are set up before the task first waits for anything.
        await asyncio.sleep(0)
        if self._following.done():
            failure = self._following.exception()
            raise OSError(str(failure)) from failure

    async def changes(self, within: float) -> set[str]:
        """Paths that something has happened to; none when nothing has within these seconds, or when not working."""
        try:
            async with asyncio.timeout(within):
                await self._happened.wait()
        except TimeoutError:
            return set()
        self._happened.clear()
        paths, self._paths = self._paths, set()
        return paths

    async def close(self) -> None:
        """Watch nothing any more; returns when the thread that waited for events has ended."""
        following, self._following = self._following, None
        if following is not None:
            self._stop.set()
            await asyncio.wait((following,))

    async def _follow(self, folders: Collection[str]) -> None:
        events = awatch(
            *folders,
            watch_filter=None,
            step=_STEP,
            debounce=_STEP,
            stop_event=self._stop,
            force_polling=False,
            recursive=False,
            ignore_permission_denied=True,
        )
        async for changes in events:
            self._paths.update(path for _, path in changes)
            self._happened.set()
