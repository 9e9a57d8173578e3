"""Objects for tests of sources, and a hub that only takes notes."""

import asyncio
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from fairlead.models.istio.virtual_service import VirtualService
from fairlead.problems import ObjectKey, Problem
from fairlead.sources.base import Source, Update
from fairlead.sources.files.folder import Content, Folder, Unreadable

SYNTAX_ERROR = "kind: [unclosed"
NAMELESS = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: {}"
DENIED = Unreadable("unreadable-file", "permission denied")
NO_FOLDER = Unreadable("no-such-path", "x does not exist", folder=True)
GRACE = 0.5
"""Seconds for which a harness waits until it removes an object."""
BOUND = 20.0
"""Seconds after which a test gives up to wait."""


def route(name: str, timeout: str = "1s") -> str:
    """A VirtualService; any text that is no duration makes it faulty."""
    return textwrap.dedent(f"""\
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata:
          name: {name}
        spec:
          hosts: [{name}.example.com]
          http:
          - timeout: {timeout}
            route:
            - destination: {{host: backend}}
        """)


def key(name: str) -> ObjectKey:
    return ObjectKey("networking.istio.io", "VirtualService", "default", name)


def file(*documents: str) -> bytes:
    return "---\n".join(text if text.endswith("\n") else f"{text}\n" for text in documents).encode()


class Notes:
    """The objects that a hub would have after some updates."""

    def __init__(self) -> None:
        self.served: dict[ObjectKey, object] = {}
        self.problems: tuple[Problem, ...] = ()
        self.synced = False

    def take(self, update: Update) -> None:
        for kind, name in update.removed:
            self.served.pop(ObjectKey(kind.group, kind.kind, name.namespace, name.name), None)
        self.served.update({obj.key: obj for obj in update.put})
        self.problems = update.problems
        self.synced = update.synced

    @property
    def timeouts(self) -> dict[str, int]:
        """Name of each served route -> its timeout in milliseconds."""
        return {
            obj.metadata.name: (obj.spec.http[0].timeout or 0) // 10**6
            for obj in self.served.values()
            if isinstance(obj, VirtualService)
        }

    @property
    def codes(self) -> list[str]:
        return [problem.code for problem in self.problems]


class Harness(Notes):
    """A folder, a clock, and the objects that a hub would have."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Folder(deletion_grace=GRACE)
        self.now = 100.0

    def change(self, changes: Mapping[str, Content], *, after: float = 0.0) -> Update | None:
        """Apply, after some seconds, and take in the update."""
        self.now += after
        for _ in self.folder.apply(changes, self.now):
            pass
        return self.update()

    def update(self) -> Update | None:
        update = self.folder.take(self.now, synced=True)
        if update is not None:
            self.take(update)
        return update

    def later(self) -> Update | None:
        """Let the grace period pass."""
        return self.change({}, after=GRACE)


class Follower(Notes):
    """Runs a source and takes in its updates when asked."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self._updates: asyncio.Queue[Update] = asyncio.Queue()

    async def update(self) -> Update:
        """The next update, whatever it says."""
        async with asyncio.timeout(BOUND):
            update = await self._updates.get()
        self.take(update)
        return update

    async def until(self, condition: Callable[[], bool]) -> list[Update]:
        """Updates up to the one that makes a condition true."""
        updates = []
        while not condition():
            updates.append(await self.update())
        return updates

    async def until_served(self, **timeouts: int) -> list[Update]:
        """Updates up to the one that makes these, and no other, routes be served."""
        return await self.until(lambda: self.timeouts == timeouts)


@asynccontextmanager
async def following(source: Source) -> AsyncIterator[Follower]:
    """Run a source; its first update is taken in already."""
    follower = Follower(source)
    task = asyncio.create_task(source.run(follower._updates.put))
    try:
        waiting = asyncio.create_task(follower.update())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiting.cancel()
            task.result()
        await waiting
        yield follower
    finally:
        task.cancel()
        await asyncio.wait((task,))
    assert task.cancelled(), task.exception()
