"""Memory that is free goes back to the system."""

import asyncio
import ctypes
from collections.abc import Callable
from functools import cache


async def give_back() -> None:
    """Give back what has been freed: large values leave gaps in which nothing fits; it takes some 20 ms of a thread.

    Nothing, where the C library has no `malloc_trim` (https://man7.org/linux/man-pages/man3/malloc_trim.3.html).
    """
    if (trim := _malloc_trim()) is not None:
        await asyncio.to_thread(trim, 0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
