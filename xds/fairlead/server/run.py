"""A server from start to end: read all objects, open the ports, serve, drain."""

import asyncio
import gc
import signal
import time

import structlog
import uvloop

from fairlead.server.admin import AdminServer
from fairlead.server.ads import XdsServer
from fairlead.server.hub import Hub
from fairlead.server.report import server_status
from fairlead.server.settings import Address, Settings
from fairlead.server.telemetry import configure_logs
from fairlead.sources.base import Source

_DRAIN = 2.0
"""Seconds that streams have to end by themselves."""

log = structlog.get_logger()


def run(settings: Settings, source: Source) -> None:
    """Serve until SIGTERM or SIGINT. Raises `SettingsError` when it cannot, or what has ended the source."""
    settings.check()
    configure_logs()
    # What is read and derived lives long: the collector looks at it seldom, and after the first load not at all.
    gc.set_threshold(100_000, 50, 1000)
    uvloop.run(_serve(settings, source))


async def _serve(settings: Settings, source: Source) -> None:
    hub = Hub(source, strict_secret_names=settings.strict_secret_names)
    xds = XdsServer(hub, settings)
    admin = AdminServer(settings.admin_address, hub.ready.is_set, lambda: server_status(hub, xds))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    administration = asyncio.create_task(admin.run())
    opening = asyncio.create_task(_open(hub, xds, admin.address, settings))
    tasks = {asyncio.create_task(hub.run()), administration, opening, asyncio.create_task(stop.wait())}
    try:
        running = tasks
        while not stop.is_set():
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        log.info("stopping")
        opening.cancel()
        admin.stop()
        await asyncio.gather(xds.stop(_DRAIN), asyncio.wait([administration], timeout=_DRAIN))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _open(hub: Hub, xds: XdsServer, admin: Address, settings: Settings) -> None:
    log.info("reading objects", paths=", ".join(map(str, settings.paths)), admin=str(admin))
    started = time.monotonic()
    if settings.tls_certificate and not settings.client_authorities and not settings.xds_address.is_loopback:
        log.warning("whoever can connect to the xDS port is sent private keys; give --client-ca")
    await hub.ready.wait()
    gc.collect()
    gc.freeze()
    await xds.start()
    log.info(
        "serving xDS",
        address=str(xds.address),
        socket=str(settings.xds_socket or ""),
        objects=hub.world.size(),
        seconds=round(time.monotonic() - started, 3),
    )
