"""How streams are ended so that their clients do not all come to the next server at once."""

import asyncio
from collections.abc import Collection

from fairlead.protocol.events import SyncState
from fairlead.server.connection import Connection

_PACE = 200
"""Streams a second: an idle server takes several times as many. A few streams are ended at once."""

_GLANCE = 0.02
"""Seconds between looks at streams that wait for their first response."""


async def drain(connections: Collection[Connection], seconds: float, reason: Exception) -> None:
    """End all streams with that reason, one after another, the last one after `seconds` at the latest.

    A stream that waits for its first response is ended last, and if it can be after it: clients take one that ends
    without any for a failed connection (https://github.com/grpc/proposal/blob/master/A57-xds-client-failure-mode-behavior.md).
    """
    clock = asyncio.get_running_loop().time
    start = clock()
    answered = [connection for connection in connections if not _waits(connection)]
    span = min(seconds, len(answered) / _PACE)
    for number, connection in enumerate(answered):
        await asyncio.sleep(start + span * number / len(answered) - clock())
        connection.end(reason)
    for connection in set(connections).difference(answered):
        while _waits(connection) and connection in connections and clock() < start + seconds:  # noqa: ASYNC110  # no event
            await asyncio.sleep(_GLANCE)
        connection.end(reason)


def _waits(connection: Connection) -> bool:
    return all(status.state is SyncState.NOT_SENT for status in connection.stream.status().values())
