"""A server from start to end: read all objects, open the ports, serve, drain."""

import asyncio
import gc
import signal
import time
from collections.abc import Callable
from importlib.metadata import version

import structlog
import uvloop

from fairlead.problems import Position
from fairlead.protocol.events import SyncState
from fairlead.server.admin import admin_server
from fairlead.server.ads import Connection, XdsServer
from fairlead.server.hub import Hub
from fairlead.server.settings import Settings
from fairlead.server.telemetry import configure_logs
from fairlead.snapshot import types
from fairlead.sources.base import Source
from fairlead.status import ProblemStatus, ProxyStatus, ProxyTypeStatus, ServerStatus

_DRAIN = 2.0
"""Seconds that streams have to end by themselves."""

log = structlog.get_logger()


def run(settings: Settings, source: Source) -> None:
    """Serve until SIGTERM or SIGINT. Raises `SettingsError`, or `OSError` when a port is taken."""
    settings.check()
    configure_logs()
    # What is read and derived lives long: the collector looks at it seldom, and after the first load not at all.
    gc.set_threshold(100_000, 50, 1000)
    uvloop.run(_serve(settings, source))


async def _serve(settings: Settings, source: Source) -> None:
    hub = Hub(source, strict_secret_names=settings.strict_secret_names)
    xds = XdsServer(hub, settings)
    admin = admin_server(settings.admin_address, hub.ready.is_set, lambda: server_status(hub, xds))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    work = [
        asyncio.create_task(hub.run(), name="hub"),
        asyncio.create_task(admin._serve(), name="admin"),
        asyncio.create_task(_open(hub, xds, settings), name="xds"),
        asyncio.create_task(stop.wait(), name="stop"),
    ]
    try:
        while not stop.is_set():
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
                work.remove(task)
    finally:
        log.info("stopping")
        await xds.stop(_DRAIN)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def _open(hub: Hub, xds: XdsServer, settings: Settings) -> None:
    paths = ", ".join(map(str, settings.paths))
    log.info("reading", paths=paths, admin=str(settings.admin_address))
    started = time.monotonic()
    await hub.ready.wait()
    gc.collect()
    gc.freeze()
    await xds.start()
    log.info(
        "serving xDS",
        address=str(settings.xds_address),
        socket=str(settings.xds_socket or ""),
        objects=hub.world.size(),
        seconds=round(time.monotonic() - started, 3),
    )


def server_status(hub: Hub, xds: XdsServer) -> ServerStatus:
    """The state of the server, for the admin endpoint."""
    now = time.monotonic()
    return ServerStatus(
        version=version("fairlead"),
        synced=hub.ready.is_set(),
        objects=hub.world.count(),
        proxies=tuple(
            _proxy_status(connection, hub.locate_object, now)
            for connection in sorted(xds.connections, key=lambda connection: connection.number)
        ),
        problems=tuple(map(ProblemStatus.of, hub.problems())),
    )


def _proxy_status(connection: Connection, locate: Callable[..., Position | None], now: float) -> ProxyStatus:
    return ProxyStatus(
        id=connection.node.id,
        role=connection.proxy.role.value,
        namespace=connection.proxy.namespace,
        peer=connection.peer,
        protocol=connection.variant.value,
        user_agent=f"{connection.node.user_agent} {connection.node.user_agent_version}".strip(),
        connected_seconds=round(now - connection.connected_at, 3),
        types={
            types.SHORT_NAMES[type_url]: ProxyTypeStatus(
                state=status.state,
                version=status.version,
                error=status.error.message if status.error else "",
                objects=tuple(
                    f"{key} ({position})" if (position := locate(key)) else str(key)
                    for key in (connection.objects_refused(type_url) if status.state is SyncState.REJECTED else ())
                ),
            )
            for type_url, status in connection.stream.status().items()
        },
    )
