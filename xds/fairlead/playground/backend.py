"""A small HTTP backend that tells what it was asked, so that one sees where a request ended and what was changed.

==============================  ==========================================================
``/status/NNN``                 answers with that status
``/delay/SECONDS``              answers after that time, at most 30 s
any other path                  answers 200, or what `Backend.statuses` says
==============================  ==========================================================

Each answer is a JSON object with `backend`, `method`, `path`, `query`, `headers` (lower-case names) and, in the header
`x-backend`, the backend's name. Run it as ``python -m fairlead.playground.backend NAME PORT [ADDRESS]``.
"""

import asyncio
import contextlib
import sys
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_LONGEST_DELAY = 30.0
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Backend:
    """A backend in the running event loop.

    ::

        async with Backend("reviews-v1", port) as backend:
            ...
            assert backend.requests[-1]["path"] == "/"
    """

    def __init__(self, name: str, port: int, address: str = "127.0.0.1", **tls: Any) -> None:
        """`tls`: `ssl_certfile`, `ssl_keyfile`, `ssl_ca_certs` ... as `uvicorn.Config` takes them."""
        self.name = name
        self.port = port
        self.requests: list[dict[str, Any]] = []
        """What was asked, oldest first: the objects that were answered."""
        self.statuses: dict[str, int] = {}
        """What requests for a host are answered with where their path names no status; may be changed at any time."""
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=_METHODS)])
        config = uvicorn.Config(
            app, host=address, port=port, log_level="error", lifespan="off", server_header=False, **tls
        )
        self._server = uvicorn.Server(config)
        self._task: asyncio.Task[None] | None = None

    async def _answer(self, request: Request) -> JSONResponse:
        status = self.statuses.get(request.headers.get("host", ""), 200)
        match request.url.path.split("/"):
            case [_, "status", code] if code.isdigit():
                status = int(code)
            case [_, "delay", seconds]:
                with contextlib.suppress(ValueError):
                    await asyncio.sleep(min(float(seconds), _LONGEST_DELAY))
        seen = {
            "backend": self.name,
            "method": request.method,
            "path": request.url.path,
            "query": request.url.query,
            "headers": dict(request.headers),
        }
        self.requests.append(seen)
        return JSONResponse(seen, status_code=status, headers={"x-backend": self.name})

    async def serve(self) -> None:
        """Serve until `stop` is called or the task is cancelled; signals are left to the caller."""
        with contextlib.suppress(asyncio.CancelledError):
            await self._server._serve()

    async def __aenter__(self) -> "Backend":
        self._task = asyncio.create_task(self.serve())
        while not self._server.started:
            if self._task.done():
                await self._task
                raise OSError(f"backend {self.name} cannot listen on port {self.port}")
            await asyncio.sleep(0.005)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the port and all connections."""
        self._server.should_exit = self._server.force_exit = True
        if self._task is not None:
            await self._task
            self._task = None


def main(arguments: list[str]) -> None:
    """Run one backend in the foreground."""
    name, port, *address = arguments
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Backend(name, int(port), *address).serve())


if __name__ == "__main__":
    main(sys.argv[1:])
