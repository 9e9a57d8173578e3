"""Requests from several threads at once, of which none may fail while something changes."""

import asyncio
import contextlib
import http.client
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from e2e.objects import HTTP, HTTPS
from fairlead.playground.client import Answer, ask, connect
from support.stack import until


@dataclass
class Traffic:
    """Clients of one host: each either keeps its connection or opens a new one for each request.

    A failure is a request without an answer, a connection that is refused or lost, or a status other than 200.
    """

    address: str
    host: str = "a.test"
    port: int = HTTP
    """Without TLS."""
    tls: bool = False
    """Half of the clients use TLS."""
    clients: int = 4
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    connections: int = 0
    """How often those that keep their connection had to open one."""
    last: dict[int, Answer] = field(default_factory=dict)
    """Client -> its newest answer."""
    _stopped: bool = False

    def _run(self, client: int) -> None:
        tls, keeps = self.tls and client % 2 == 1, client < self.clients // 2
        port, server_name = (HTTPS, self.host) if tls else (self.port, None)
        connection = connect(self.address, port, server_name)
        while not self._stopped:
            self.connections += keeps and connection.sock is None
            self._ask(client, connection)
            if not keeps:
                connection.close()
            time.sleep(0.004)
        connection.close()

    def _ask(self, client: int, connection: http.client.HTTPConnection) -> None:
        try:
            answer = ask(connection, self.host, "/")
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"client {client}: {error!r}")
            connection.close()
            return
        if answer.status == 200 and answer.backend:
            self.answered += 1
            self.last[client] = answer
        else:
            flags = answer.headers.get("x-flags", "")
            self.failures.append(f"client {client}: status {answer.status} {flags} {answer.body[:80]!r}")

    def backends(self) -> set[str]:
        """Where the newest answers of the clients are from."""
        return {answer.backend for answer in list(self.last.values())}

    async def all_see(self, what: str, condition: Callable[[Answer], bool]) -> None:
        """Wait until the newest answers of all clients are as they shall be; a failure ends the waiting."""

        def seen() -> bool:
            answers = list(self.last.values())
            return len(answers) == self.clients and all(map(condition, answers))

        await until(lambda: self.failures or seen(), what)
        assert self.failures == [], what

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Ask while the block is carried out."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(self.clients) as threads:
            running = [loop.run_in_executor(threads, self._run, client) for client in range(self.clients)]
            try:
                yield
            finally:
                self._stopped = True
                await asyncio.gather(*running)
