"""A control plane in the process of the test: a real folder, a real hub, real gRPC on a free loopback port."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Self

import structlog
from fairlead.server.ads import XdsServer
from fairlead.server.hub import Hub
from fairlead.server.report import server_status
from fairlead.server.settings import Address, Settings
from fairlead.sources.base import Source
from fairlead.sources.files.source import FilesSource
from fairlead.status import ServerStatus
from support.stack import until
from support.xds_client import XdsClient


class Server:
    """`async with` starts it and ends it; it serves when all objects have been read."""

    def __init__(self, folder: Path, *texts: str, source: Source | None = None, **settings: Any) -> None:
        """`texts` are the files that the folder begins with."""
        self.folder = folder
        for number, text in enumerate(texts):
            self.write(f"{number}.yaml", text)
        self.hub = Hub(source or FilesSource([folder], deletion_grace=0.0))
        self.xds = XdsServer(
            self.hub, Settings(paths=(folder,), **{"xds_address": Address("127.0.0.1", 0), **settings})
        )
        self.log: list[dict[str, Any]] = []
        """Events, with their level as `log_level`."""
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.log = self._exits.enter_context(structlog.testing.capture_logs())
        await self._exits.enter_async_context(running(self.hub))
        await asyncio.wait_for(self.hub.ready.wait(), 30)
        self._exits.push_async_callback(self.xds.stop, 1.0)
        await self.xds.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    def write(self, name: str, text: str) -> None:
        """Write a file of the folder in one step; an empty text removes it."""
        target, beside = self.folder / name, self.folder / f".{name}.new"
        if not text:
            target.unlink(missing_ok=True)
            return
        beside.write_text(text)
        beside.rename(target)

    @property
    def address(self) -> str:
        return str(self.xds.address)

    def client(self, *, delta: bool = True, app: str = "edge", node_id: str = "client", **metadata: Any) -> XdsClient:
        """A proxy with the label `app`, in the namespace `edge` if metadata do not say otherwise."""
        metadata = {"LABELS": {"app": app}, "NAMESPACE": "edge", **metadata}
        return XdsClient(self.address, delta=delta, node_id=node_id, metadata=metadata)

    def status(self) -> ServerStatus:
        return server_status(self.hub, self.xds)

    async def settled(self) -> ServerStatus:
        """Wait until all has been told to all, and answered; what has been written just now may not be noticed yet."""
        found: ServerStatus = await until(lambda: (now := self.status()).settled and now, "all is settled")
        return found

    async def logged(self, text: str, times: int = 1) -> dict[str, Any]:
        """Wait for an event with the text; returns the last one."""
        await until(lambda: len(self.events(text)) >= times, f"{text!r} is logged; the log: {self.log}")
        return self.events(text)[-1]

    def events(self, text: str) -> list[dict[str, Any]]:
        """The events in which the text occurs."""
        return [event for event in self.log if text in str(event)]


@contextlib.asynccontextmanager
async def running(hub: Hub) -> Any:
    """The hub at work."""
    task = asyncio.create_task(hub.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
