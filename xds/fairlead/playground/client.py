"""A client of a proxy on loopback: asks for any host at one address, and looks at certificates."""

import asyncio
import contextlib
import http.client
import ssl
import time
from dataclasses import dataclass, field


def _trusting() -> ssl.SSLContext:
    # The examples' certificates are our own, and what matters is which one is presented. The authorities of the system
    # are not even loaded: that takes longer than a handshake.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    """With lower-case names."""
    body: bytes

    @property
    def backend(self) -> str:
        """Name of the backend that answered; empty when the proxy did."""
        return self.headers.get("x-backend", "")


class _Connection(http.client.HTTPConnection):
    """A keep-alive connection to an address, in TLS if asked, for a name that is not the address."""

    def __init__(self, address: str, port: int, server_name: str | None) -> None:
        super().__init__(address, port, timeout=10)
        self._server_name = server_name

    def connect(self) -> None:
        super().connect()
        if self._server_name is not None:
            self.sock = _trusting().wrap_socket(self.sock, server_hostname=self._server_name)


def connect(address: str, port: int, server_name: str | None = None) -> http.client.HTTPConnection:
    """A connection that is opened by its first request; with `server_name` in TLS."""
    return _Connection(address, port, server_name)


def ask(connection: http.client.HTTPConnection, host: str, path: str, headers: dict[str, str] | None = None) -> Answer:
    """Send a GET request over the connection; raises `OSError` or `http.client.HTTPException` when it fails."""
    connection.request("GET", path, headers={"Host": host, **(headers or {})})
    response = connection.getresponse()
    names = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, names, response.read())


def certificate(address: str, port: int, server_name: str) -> bytes:
    """The certificate that is presented in a new handshake, DER; raises `OSError` when the handshake is refused."""
    connection = _Connection(address, port, server_name)
    try:
        connection.connect()
        if not isinstance(connection.sock, ssl.SSLSocket):
            raise OSError("the connection is not in TLS")
        return connection.sock.getpeercert(binary_form=True) or b""
    finally:
        connection.close()


@dataclass
class Load:
    """A steady load on one keep-alive connection, until it is stopped.

    ::

        async with Load(address, 8443, "a.example.com", "/") as load:
            ...
        assert not load.failures
    """

    address: str
    port: int
    host: str
    path: str
    tls: bool = True
    interval: float = 0.01
    """Seconds between requests."""
    answered: int = 0
    connections: int = 0
    """How often a connection had to be opened."""
    failures: list[str] = field(default_factory=list)
    _stopped: bool = False
    _task: "asyncio.Task[None] | None" = None

    def _run(self) -> None:
        connection = connect(self.address, self.port, self.host if self.tls else None)
        while not self._stopped:
            started = time.monotonic()
            if connection.sock is None:
                self.connections += 1
            try:
                answer = ask(connection, self.host, self.path)
                if answer.status < 500:
                    self.answered += 1
                else:
                    self.failures.append(f"status {answer.status}: {answer.body[:80]!r}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            time.sleep(max(0.0, self.interval - (time.monotonic() - started)))
        connection.close()

    async def __aenter__(self) -> "Load":
        self._task = asyncio.create_task(asyncio.to_thread(self._run))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped = True
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
