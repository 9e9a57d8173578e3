"""How responses are handed to the transport: what a client has not taken in is kept until it has."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from fairlead.errors import LimitError

WRITE_WITHIN = 60.0
"""Seconds that a client has to take in one response, and up to a tenth more."""

_LARGE = 64 << 10
"""Bytes. Smaller responses are in the buffers of the connection at once."""

_LARGE_AT_ONCE = 8

_TURN = 1.0
"""Seconds that a large response may hold up others: what takes longer has a client that is slow."""

_SLOW_AT_ONCE = 64
"""Large responses of slow clients that may be under way beside: 300 MB where each has 4 MB. With more of them, memory
comes first, and others wait."""


class Flow:
    """The writes of one server.

    Large responses are encoded and written a few at a time: a thousand proxies that come at once and get 4 MB each cost
    32 MB so, and not 4 GB; nor is it any slower. A client that is slow gives its place to others after a moment.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._slow = 0
        self._writing: dict[asyncio.Task[object] | None, float] = {}
        """The tasks that write, and since when; the oldest first."""
        self._late: set[asyncio.Task[object] | None] = set()

    async def write(self, send: Callable[[bytes], Awaitable[None]], size: int, encode: Callable[[], bytes]) -> int:
        """Send what `encode` gives, about `size` bytes; returns how many it was.

        Raises `LimitError` when the client does not take it in.
        """
        if size <= _LARGE:
            return await self._write(send, encode())
        async with self._places:
            writing = asyncio.create_task(self._write(send, encode()))
            try:
                await asyncio.wait((writing,), timeout=_TURN)
            except asyncio.CancelledError:
                writing.cancel()
                raise
            if writing.done() or self._slow >= _SLOW_AT_ONCE:
                return await writing
        self._slow += 1
        try:
            return await writing
        finally:
            self._slow -= 1

    async def _write(self, send: Callable[[bytes], Awaitable[None]], data: bytes) -> int:
        # A timeout for each write would cost as much as the rest of it: `watch` looks at all of them.
        task = asyncio.current_task()
        self._writing[task] = time.monotonic()
        try:
            await send(data)
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            raise LimitError(f"the client did not take in a response within {WRITE_WITHIN:g} seconds") from None
        finally:
            del self._writing[task]
            self._late.discard(task)
            del task  # Python 3.11 never frees a cancelled task that this frame, which its exception holds, refers to
        return len(data)

    async def watch(self) -> None:
        """End the writes that take too long, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_WITHIN / 10)
            now = time.monotonic()
            for task, since in list(self._writing.items()):
                if now - since < WRITE_WITHIN:
                    break
                if task is not None and task not in self._late:
                    self._late.add(task)
                    task.cancel()
