"""The admin endpoint: health, readiness, and pages about the server. It tells nothing secret; loopback by default."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fairlead.errors import SettingsError
from fairlead.server.ports import listening_socket
from fairlead.server.settings import Address
from fairlead.status import ServerStatus


class NothingToShowError(LookupError):
    """A page has nothing to show for the parameters that it was asked with; the message says why."""


JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Page:
    """Something to read at a path."""

    path: str
    title: str
    """What it shows, for the list of all pages."""
    look: Callable[[Mapping[str, str]], Callable[[], bytes]]
    """Looks at the state of the server; is given the parameters of the query.

    What it returns is called in a thread, because long lists take their time to be written, and must touch no state.
    Raises `NothingToShowError`."""
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class Question:
    """Something to be asked at a path, which takes its time to be answered."""

    path: str
    title: str
    """What it tells, for the list of all pages."""
    answer: Callable[[Sequence[tuple[str, str]]], Awaitable[bytes]]
    """Answers with JSON; is given the parameters of the query, of which there may be several of one name.

    Raises `NothingToShowError`, or `SettingsError` for parameters that cannot be used."""


class AdminServer:
    """An HTTP server in the event loop that `is_ready` and the pages belong to.

    ==============  ============================================================================
    ``/``           a list of all pages, as text
    ``/healthz``    200: the event loop lives
    ``/ready``      200 when all objects have been read and translated once; 503 before, and while the server stops
    ==============  ============================================================================
    """

    def __init__(
        self,
        address: Address,
        is_ready: Callable[[], bool],
        pages: Sequence[Page] = (),
        questions: Sequence[Question] = (),
    ) -> None:
        """Opens the port; raises `SettingsError` when it cannot be had."""
        self._socket = listening_socket(address, "--admin-address")
        self.address = Address(address.host, self._socket.getsockname()[1])

        async def healthz(_: Request) -> Response:
            return PlainTextResponse("ok\n")

        async def ready(_: Request) -> Response:
            if is_ready():
                return PlainTextResponse("ready\n")
            return PlainTextResponse("not ready\n", status_code=503)

        listed = [
            ("/healthz", "the process lives"),
            ("/ready", "it serves"),
            *((page.path, page.title) for page in pages),
            *((question.path, question.title) for question in questions),
        ]
        index = "".join(f"{path:24}{title}\n" for path, title in listed)

        async def show_index(_: Request) -> Response:
            return PlainTextResponse(index)

        routes = [Route("/healthz", healthz), Route("/ready", ready)]
        routes += [Route(path, show_index) for path in ("/", "/debug", "/debug/list")]
        routes += [Route(page.path, _endpoint(page)) for page in pages]
        routes += [Route(question.path, _answering(question)) for question in questions]
        config = uvicorn.Config(
            Starlette(routes=routes), log_config=None, log_level="error", lifespan="off", server_header=False
        )
        self._server = _Server(config)

    async def run(self) -> None:
        """Serve until `stop` is called."""
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Let `run` return."""
        self._server.should_exit = True


def _endpoint(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        try:
            write = page.look(request.query_params)
        except NothingToShowError as error:
            return PlainTextResponse(f"{error}\n", status_code=404)
        return Response(await asyncio.to_thread(write), media_type=page.media_type)

    return show


def _answering(question: Question) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return Response(await question.answer(request.query_params.multi_items()), media_type=JSON)
        except (NothingToShowError, SettingsError) as error:
            return PlainTextResponse(f"{error}\n", status_code=404 if isinstance(error, NothingToShowError) else 400)

    return answer


def status_page(status: Callable[[], ServerStatus]) -> Page:
    """The status as JSON."""

    def look(_: Mapping[str, str]) -> Callable[[], bytes]:
        found = status()
        return lambda: json.dumps(found.as_json()).encode()

    return Page("/status", "what `fairlead status` shows", look)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield
