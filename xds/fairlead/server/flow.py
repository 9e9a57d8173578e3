"""How responses are handed to gRPC, which copies each of them and keeps the copy until the client has taken it in."""

import asyncio
from collections.abc import Awaitable, Callable

_LARGE = 64 << 10
"""Bytes. Smaller responses are in the buffers of the connection at once."""

_LARGE_AT_ONCE = 8

_TURN = 0.1
"""Seconds that a large response may hold up others: what is slower than that has a client that is slow."""


class Flow:
    """The writes of one server.

    Large responses are encoded and written a few at a time: a thousand proxies that come at once and get 4 MB each cost
    32 MB so, and not 4 GB; nor is it any slower. A client that is slow gives its place to others after a moment.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def write(self, send: Callable[[bytes], Awaitable[None]], size: int, encode: Callable[[], bytes]) -> int:
        """Send what `encode` gives, about `size` bytes; returns how many it was. Raises what `send` raises."""
        if size <= _LARGE:
            data = encode()
            await send(data)
            return len(data)
        async with self._places:
            data = encode()
            sending = asyncio.ensure_future(send(data))
            try:
                await asyncio.wait((sending,), timeout=_TURN)
            except asyncio.CancelledError:
                sending.cancel()
                raise
        await sending
        return len(data)
