"""A server from start to end: read all objects, open the ports, serve, drain."""

import asyncio
import gc
import socket
import time
from functools import partial

import structlog
import uvloop

from fairlead.runtime.supervisor import Supervisor
from fairlead.server import systemd
from fairlead.server.admin import AdminServer, status_page
from fairlead.server.ads import XdsServer
from fairlead.server.explaining import explaining
from fairlead.server.hub import Hub
from fairlead.server.memory import give_back, keep_large_blocks_apart
from fairlead.server.metrics import Metrics
from fairlead.server.outcomes import RequestCounts, StartCounts
from fairlead.server.pages import pages
from fairlead.server.ports import allow_many_connections, listening_socket
from fairlead.server.report import server_status
from fairlead.server.settings import Address, Settings
from fairlead.server.signals import stop_on_signals
from fairlead.server.telemetry import configure_logs
from fairlead.server.watchdog import Watchdog
from fairlead.sources.base import Source

_LAST_ANSWERS = 2.0
"""Seconds that the admin endpoint has to answer those who have asked."""

log = structlog.get_logger()


def run(settings: Settings, source: Source) -> None:
    """Serve until SIGTERM or SIGINT, the second of which ends the process at once.

    Raises `SettingsError` when it cannot, or what has ended the source.
    """
    settings.check()
    configure_logs(settings.log_format, settings.log_level)
    allow_many_connections()
    keep_large_blocks_apart()
    # What is read and derived lives long, and refers to itself hardly anywhere: the collector does not look at it
    # while it is loaded, and never after that. To go through it once would take a tenth of the time of loading it.
    gc.disable()
    gc.set_threshold(100_000, 50, 1000)
    uvloop.run(_serve(settings, source))


async def _serve(settings: Settings, source: Source) -> None:
    hub = Hub(source, strict_secret_names=settings.strict_secret_names, runtime=settings.runtime_endpoint)
    xds = XdsServer(hub, settings)
    requests = RequestCounts(hub.world)
    runtime = Supervisor(partial(listen_for_runtime, settings), settings.redis_url, requests.add)
    stop = stop_on_signals()
    watchdog = _watchdog()
    admin = AdminServer(
        settings.admin_address,
        lambda: hub.ready.is_set() and not stop.is_set(),
        [
            status_page(lambda: server_status(hub, xds, runtime.trouble)),
            *pages(hub, xds, Metrics(hub, xds, watchdog, requests, StartCounts(lambda: runtime.starts))),
        ],
        [explaining(hub, xds)],
    )
    administration = asyncio.create_task(admin.run())
    opening = asyncio.create_task(_open(hub, xds, admin.address, settings))
    tasks = {asyncio.create_task(hub.run()), administration, opening, asyncio.create_task(stop.wait())}
    if settings.runtime:
        hub.configure_runtime = runtime.configure
        tasks.add(asyncio.create_task(runtime.run()))
    with watchdog.watching():
        try:
            running = tasks
            while not stop.is_set():
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            stop.set()
            log.info("stopping", streams=len(xds.connections))
            systemd.notify(systemd.STOPPING)
            opening.cancel()
            await xds.stop(settings.drain_seconds)
            await runtime.stop()
            admin.stop()
            await asyncio.wait([administration], timeout=_LAST_ANSWERS)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def listen_for_runtime(settings: Settings) -> socket.socket:
    """The socket of the runtime services; raises `SettingsError` when the port cannot be had."""
    if settings.is_runtime_out_of_reach:
        log.warning(
            "proxies on other hosts cannot reach the runtime services: give --runtime-address",
            told=settings.runtime_endpoint.address,
            xds=str(settings.xds_address),
        )
    return listening_socket(settings.runtime_address, "--runtime-address", reuse_port=settings.reuse_port)


def _watchdog() -> Watchdog:
    limit = systemd.watchdog_seconds()
    # Half of it, as systemd advises.
    interval = 1.0 if limit is None else min(1.0, limit / 2)
    return Watchdog(lambda: systemd.notify(systemd.ALIVE), interval=interval)


async def _open(hub: Hub, xds: XdsServer, admin: Address, settings: Settings) -> None:
    log.info("reading objects", paths=", ".join(map(str, settings.paths)), admin=str(admin))
    started = time.monotonic()
    if (believed := _believed(settings)) is not None:
        log.info("clients are believed which namespace they are in", clients=believed)
    await hub.ready.wait()
    give_back()
    gc.freeze()
    gc.enable()
    await xds.start()
    systemd.notify(systemd.READY)
    log.info(
        "serving xDS",
        address=str(xds.address),
        socket=str(settings.xds_socket or ""),
        objects=hub.world.size(),
        seconds=round(time.monotonic() - started, 3),
    )


def _believed(settings: Settings) -> str | None:
    """Those whose namespace no certificate tells; None when there are none."""
    if settings.client_authorities is not None:
        return "whose certificate tells none" if settings.allow_unidentified_proxies else None
    return "on this host" if settings.xds_address.is_loopback else "whoever can connect"
