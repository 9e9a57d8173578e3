"""What the admin endpoint tells of a running server."""

import time
from collections.abc import Callable
from importlib.metadata import version

from fairlead.problems import ObjectKey, Position
from fairlead.protocol.events import SyncState, TypeStatus
from fairlead.server.ads import XdsServer
from fairlead.server.connection import Connection
from fairlead.server.hub import Hub
from fairlead.server.refusals import in_words
from fairlead.snapshot import types
from fairlead.status import ProblemStatus, ProxyStatus, ProxyTypeStatus, ServerStatus, with_places

_Locate = Callable[[ObjectKey], Position | None]
_UNSETTLED = (SyncState.NOT_SENT, SyncState.STALE)


def server_status(hub: Hub, xds: XdsServer) -> ServerStatus:
    """The state of the server."""
    now = time.monotonic()
    connections = sorted(xds.connections, key=lambda connection: connection.number)
    proxies = tuple(_proxy_status(connection, hub.locate_object, now) for connection in connections)
    answered = not any(kind.state in _UNSETTLED for proxy in proxies for kind in proxy.types.values())
    return ServerStatus(
        version=version("fairlead"),
        synced=hub.ready.is_set(),
        settled=hub.ready.is_set() and hub.settled and answered,
        objects=hub.world.count(),
        proxies=proxies,
        problems=tuple(map(ProblemStatus.of, hub.problems())),
        last_change=hub.convergence.last_change(),
    )


def _proxy_status(connection: Connection, locate: _Locate, now: float) -> ProxyStatus:
    return ProxyStatus(
        id=connection.node.id,
        role=connection.proxy.role.value,
        namespace=connection.proxy.namespace,
        peer=connection.peer,
        protocol=connection.variant.value,
        user_agent=f"{connection.node.user_agent} {connection.node.user_agent_version}".strip(),
        connected_seconds=round(now - connection.connected_at, 3),
        types={
            types.SHORT_NAMES[type_url]: _type_status(connection, type_url, status, locate)
            for type_url, status in connection.stream.status().items()
            # A type that a proxy has asked for without wanting anything of it yet tells nothing.
            if status.wildcard or status.names or status.state is not SyncState.NOT_SENT
        },
    )


def lacking(connection: Connection) -> list[str]:
    """The types of which a client lacks what it has refused."""
    if not connection.progress.refused_types:
        return []
    return [
        type_url
        for type_url, status in connection.stream.status().items()
        if _type_status(connection, type_url, status, lambda _: None).state is SyncState.REJECTED
    ]


def _type_status(connection: Connection, type_url: str, status: TypeStatus, locate: _Locate) -> ProxyTypeStatus:
    snapshot = connection.snapshot
    refusal = None if snapshot is None else connection.refusals.present(snapshot.tables[type_url], status)
    if refusal is None:
        return ProxyTypeStatus(status.state, status.version, in_words(status.error) if status.error else "")
    state = SyncState.REJECTED if status.state is SyncState.SYNCED else status.state
    return ProxyTypeStatus(state, status.version, refusal.error, tuple(with_places(refusal.objects, locate)))
