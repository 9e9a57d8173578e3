"""What the admin endpoint tells of a running server."""

import time
from importlib.metadata import version

from fairlead.check.formats import in_order
from fairlead.problems import Problem
from fairlead.protocol.events import SyncState, TypeStatus
from fairlead.server.ads import XdsServer
from fairlead.server.connection import Connection, Locate
from fairlead.server.governance import rate_limits, rule_statuses
from fairlead.server.hub import Hub
from fairlead.server.refusals import Refusal, in_words, refusal_problems
from fairlead.snapshot import types
from fairlead.status import ProblemStatus, ProxyStatus, ProxyTypeStatus, ServerStatus, with_places

_UNSETTLED = (SyncState.NOT_SENT, SyncState.STALE)


def server_status(hub: Hub, xds: XdsServer, runtime_trouble: str = "") -> ServerStatus:
    """The state of the server; `runtime_trouble` is why the runtime services do not run though they are needed."""
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
        problems=tuple(map(ProblemStatus.of, present_problems(hub, xds))),
        last_change=hub.convergence.last_change(),
        rules=rule_statuses(hub.world, ((connection.node.id, connection.proxy) for connection in connections)),
        rate_limits=rate_limits(hub.world),
        runtime_trouble=runtime_trouble,
    )


def _proxy_status(connection: Connection, locate: Locate, now: float) -> ProxyStatus:
    return ProxyStatus(
        id=connection.node.id,
        role=connection.proxy.role.value,
        namespace=connection.proxy.namespace,
        peer=connection.peer,
        protocol=connection.variant.value,
        user_agent=f"{connection.node.user_agent} {connection.node.user_agent_version}".strip(),
        connected_seconds=round(now - connection.connected_at, 3),
        types={
            types.SHORT_NAMES[type_url]: _type_status(status, locate)
            for type_url, status in connection.stream.status().items()
            # A type that a proxy has asked for without wanting anything of it yet tells nothing.
            if status.wildcard or status.names or status.state is not SyncState.NOT_SENT
        },
    )


def lacking(connection: Connection) -> list[str]:
    """The types of which a client lacks what it has refused."""
    return (
        [type_url for type_url, status in connection.stream.status().items() if status.state is SyncState.REJECTED]
        if connection.progress.refused_types
        else []
    )


def present_problems(hub: Hub, xds: XdsServer) -> list[Problem]:
    """What is wrong now, with places, in the order of files: with the objects, and with what was made of them."""
    statuses = (
        (connection.node.id, status, type_url)
        for connection in sorted(xds.connections, key=lambda connection: connection.number)
        if connection.progress.refused_types
        for type_url, status in connection.stream.status().items()
    )
    refused = [
        problem.at(hub.locate_object(problem.key)) for problem in refusal_problems(statuses) if problem.key is not None
    ]
    return in_order((*hub.problems(), *refused))


def _type_status(status: TypeStatus, locate: Locate) -> ProxyTypeStatus:
    refusal = Refusal.of(status.contained)
    if refusal is None:
        return ProxyTypeStatus(status.state, status.version, in_words(status.error) if status.error else "")
    objects = tuple(with_places(refusal.objects, locate))
    return ProxyTypeStatus(status.state, status.version, refusal.error, objects, refusal.parts)
