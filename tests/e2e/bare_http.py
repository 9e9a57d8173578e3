"""HTTP/1.1 with as little work as it can be: for tests in which the clients, not the proxy, would be too slow."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_END = b"\r\n\r\n"


@contextlib.asynccontextmanager
async def answering(*ports: int) -> AsyncIterator[None]:
    """Servers on loopback that answer all requests with 200, and no body."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(_END):
                writer.write(_ANSWER)
        writer.close()

    async with contextlib.AsyncExitStack() as exits:
        for port in ports:
            server = await asyncio.start_server(serve, "127.0.0.1", port)
            exits.callback(server.close)
        yield


class Connection:
    """A connection that asks one thing after the other, of which the answers have no body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, address: str, port: int) -> AsyncIterator["Connection"]:
        reader, writer = await asyncio.open_connection(address, port)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    async def status(self, **headers: str) -> int:
        """Ask, and wait for the answer."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._writer.write(f"GET / HTTP/1.1\r\nhost: test\r\n{lines}\r\n".encode())
        head = await self._reader.readuntil(_END)
        assert b"content-length: 0\r\n" in head, head
        return int(head.split(b" ", 2)[1])
