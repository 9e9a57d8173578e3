"""The client status discovery service (CSDS): which client has which resources, and what it has refused.

It is what the server knows of its clients, by the protocol: `ACKED` is what they have acknowledged. Who may ask is
decided as for xDS: a client whose certificate binds it to a namespace is told of the proxies of that namespace.
"""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping

from fairlead.errors import LimitError
from fairlead.http2.call import Call
from fairlead.http2.server import Handler
from fairlead.protocol.events import SyncState, TypeStatus
from fairlead.server.admission import Admission, admitted, first_request
from fairlead.server.connection import Connection
from fairlead.server.identity import Identity
from fairlead.server.refusals import in_words
from fairlead.snapshot.client_status import (
    ClientResource,
    ConfigState,
    ResourceState,
    StatusRequest,
    client_config_item,
    decode_status_request,
)
from fairlead.snapshot.table import Table
from fairlead.snapshot.types import SECRET

CLIENT_STATUS_SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"

_LARGEST_ANSWER = 16 << 20
"""Bytes of one answer, which take about a second of computing."""

_CONFIG_STATES: Mapping[SyncState, ConfigState] = {
    SyncState.NOT_SENT: ConfigState.NOT_SENT,
    SyncState.SYNCED: ConfigState.SYNCED,
    SyncState.STALE: ConfigState.STALE,
    SyncState.REJECTED: ConfigState.ERROR,
}
_RESOURCE_STATES: Mapping[SyncState, ResourceState] = {
    SyncState.NOT_SENT: ResourceState.REQUESTED,
    SyncState.SYNCED: ResourceState.ACKED,
    SyncState.STALE: ResourceState.UNKNOWN,
    SyncState.REJECTED: ResourceState.ACKED,
}
"""Of what was not refused itself. While something of a type is under way, it is not known what of it a client has."""


def client_status_handlers(connections: Collection[Connection], admission: Admission) -> Mapping[str, Handler]:
    """Both methods of the service, about these connections, by their paths."""

    async def answer(call: Call) -> None:
        async with admitted(call, admission) as identity:
            data = await first_request(call.read)
            while isinstance(data, bytes):
                await call.write(await _tell(decode_status_request(data), identity, connections))
                data = await call.read()

    return {f"/{CLIENT_STATUS_SERVICE}/{method}": answer for method in ("FetchClientStatus", "StreamClientStatus")}


async def _tell(request: StatusRequest, identity: Identity | None, connections: Collection[Connection]) -> bytes:
    """The answer for a client that is bound to a namespace by its identity; None: for one that may know about all."""
    namespace = None if identity is None else identity.namespace
    clients: dict[tuple[str, str], list[Connection]] = {}
    for connection in sorted(connections, key=lambda connection: connection.number):
        if namespace in (None, connection.proxy.namespace) and request.matches(connection.node.id):
            # Of a client that has a stream for each type, all streams come from one address and port.
            clients.setdefault((connection.node.id, connection.peer), []).append(connection)
    contents = len(clients) == 1 and not request.exclude_contents
    items, size = [], 0
    for streams in clients.values():
        resources = (resource for stream in streams for resource in _resources(stream, contents=contents))
        items.append(client_config_item(streams[0].node, resources))
        size += len(items[-1])
        if size > _LARGEST_ANSWER:
            raise LimitError(
                f"the status of {len(clients)} clients is more than {_LARGEST_ANSWER >> 20} MiB; "
                "ask for one of them with node_matchers"
            )
        await asyncio.sleep(0)  # others have their turn
    return b"".join(items)


def _resources(connection: Connection, *, contents: bool) -> Iterator[ClientResource]:
    if connection.snapshot is None:
        return
    for type_url, status in connection.stream.status().items():
        yield from _of_type(connection, connection.snapshot.tables[type_url], status, contents=contents)


def _of_type(connection: Connection, table: Table, status: TypeStatus, *, contents: bool) -> Iterator[ClientResource]:
    refused = {each.resource: in_words(each.error) for each in status.contained}
    at = connection.progress.answered_at.get(table.type_url)
    answered = None if at is None else time.time() - (time.monotonic() - at)
    state = _RESOURCE_STATES[status.state]
    config_state = ConfigState.ERROR if refused else _CONFIG_STATES[status.state]
    for name in sorted(status.names | table.names() if status.wildcard else status.names):
        resource = table.get(name)
        if resource is None:
            yield ClientResource(table.type_url, name, "", config_state, ResourceState.DOES_NOT_EXIST, answered)
            continue
        yield ClientResource(
            table.type_url,
            name,
            resource.version,
            config_state,
            ResourceState.NACKED if name in refused else state,
            answered,
            refused.get(name, ""),
            resource.body if contents and table.type_url != SECRET else None,
        )
