"""The admin endpoint: health, readiness, status. It tells nothing secret, and binds loopback by default."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fairlead.server.ports import listening_socket
from fairlead.server.settings import Address
from fairlead.status import ServerStatus


class AdminServer:
    """An HTTP server in the event loop that `is_ready` and `status` belong to.

    ==============  ============================================================================
    ``/healthz``    200: the event loop lives
    ``/ready``      200 when all objects have been read and translated once; 503 before, and while the server stops
    ``/status``     `fairlead.status.ServerStatus` as JSON
    ==============  ============================================================================
    """

    def __init__(self, address: Address, is_ready: Callable[[], bool], status: Callable[[], ServerStatus]) -> None:
        """Opens the port; raises `SettingsError` when it cannot be had."""
        self._socket = listening_socket(address, "--admin-address")
        self.address = Address(address.host, self._socket.getsockname()[1])

        async def healthz(_: Request) -> Response:
            return PlainTextResponse("ok\n")

        async def ready(_: Request) -> Response:
            if is_ready():
                return PlainTextResponse("ready\n")
            return PlainTextResponse("not ready\n", status_code=503)

        async def show_status(_: Request) -> Response:
            # Long lists of proxies take their time to be encoded.
            text = await asyncio.to_thread(lambda found: json.dumps(found.as_json()), status())
            return Response(text, media_type="application/json")

        routes = [Route("/healthz", healthz), Route("/ready", ready), Route("/status", show_status)]
        config = uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off", server_header=False)
        self._server = _Server(config)

    async def run(self) -> None:
        """Serve until `stop` is called."""
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Let `run` return."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield
