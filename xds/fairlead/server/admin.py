"""The admin endpoint: health, readiness, status. It tells nothing secret, and binds loopback by default."""

from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fairlead.server.settings import Address
from fairlead.status import ServerStatus


def admin_server(address: Address, is_ready: Callable[[], bool], status: Callable[[], ServerStatus]) -> uvicorn.Server:
    """An HTTP server to be run in the event loop that `is_ready` and `status` belong to.

    ==============  ============================================================================
    ``/healthz``    200: the event loop lives
    ``/ready``      200 when all objects have been read and translated once, else 503
    ``/status``     `fairlead.status.ServerStatus` as JSON
    ==============  ============================================================================
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        if is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("objects are being read\n", status_code=503)

    async def show_status(_: Request) -> Response:
        return JSONResponse(status().as_json())

    app = Starlette(
        routes=[Route("/healthz", healthz), Route("/ready", ready), Route("/status", show_status)],
    )
    return uvicorn.Server(
        uvicorn.Config(
            app, host=address.host, port=address.port, log_level="error", lifespan="off", server_header=False
        )
    )
