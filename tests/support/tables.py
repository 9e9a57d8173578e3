"""The xDS server on tables that a test makes, for resources that no object makes."""

import contextlib
from collections.abc import AsyncIterator, Mapping

from fairlead.server.ads import XdsServer
from fairlead.server.groups import Subscriber
from fairlead.server.hub import Hub
from fairlead.server.settings import Address, Settings
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Snapshot
from fairlead.sources.files.source import FilesSource


class Tables(Hub):
    """Offers all streams the same tables. No objects are read; the rest of the server takes it for a hub at work."""

    def __init__(self) -> None:
        super().__init__(FilesSource([]))
        self.snapshot = Snapshot("all")
        self._subscribers: set[Subscriber] = set()

    def connect(self, subscriber: Subscriber) -> None:
        self._subscribers.add(subscriber)
        subscriber.offer(self.snapshot)

    def disconnect(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)

    def put(self, type_url: str, content: Mapping[str, Resource | None]) -> None:
        """Put resources, or remove those that are None, and tell."""
        self.snapshot.tables[type_url].update(content)
        for subscriber in self._subscribers:
            subscriber.wake()


@contextlib.asynccontextmanager
async def serving(tables: Tables, port: int = 0) -> AsyncIterator[XdsServer]:
    """The server at work, on any loopback port unless told which."""
    server = XdsServer(tables, Settings(paths=(), xds_address=Address("127.0.0.1", port)))
    await server.start()
    try:
        yield server
    finally:
        await server.stop(1.0)
