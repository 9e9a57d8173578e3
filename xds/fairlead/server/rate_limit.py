"""The runtime services alone, in this process: objects are read, proxies are told nothing."""

import asyncio

import structlog
import uvloop
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest

from fairlead.runtime.services import RuntimeServices, buckets, counters
from fairlead.server.admin import AdminServer, Page
from fairlead.server.hub import Hub
from fairlead.server.metrics import CONTENT_TYPE
from fairlead.server.outcomes import RequestCounts
from fairlead.server.ports import allow_many_connections
from fairlead.server.run import listen_for_runtime
from fairlead.server.settings import Settings
from fairlead.server.signals import stop_on_signals
from fairlead.server.telemetry import configure_logs
from fairlead.sources.base import Source

_COUNTED_EVERY = 0.5
"""Seconds."""

log = structlog.get_logger()


def run_rate_limit(settings: Settings, source: Source) -> None:
    """Serve until SIGTERM or SIGINT, the second of which ends the process at once.

    Raises `SettingsError` when it cannot, or what has ended the source.
    """
    settings.check_counting()
    configure_logs(settings.log_format, settings.log_level)
    allow_many_connections()
    uvloop.run(_serve(settings, source))


async def _serve(settings: Settings, source: Source) -> None:
    listening = listen_for_runtime(settings)
    services = RuntimeServices(counters(settings.redis_url), buckets(settings.redis_url))
    hub = Hub(source)
    hub.configure_runtime = services.configure
    requests = RequestCounts(hub.world)
    stop = stop_on_signals()
    admin = AdminServer(
        settings.admin_address, lambda: hub.ready.is_set() and not stop.is_set(), [_metrics_page(requests)]
    )

    async def serve() -> None:
        await hub.ready.wait()  # what is not known yet would be let pass
        await services.serve_on(listening)
        log.info("serving", address=str(settings.runtime_address), objects=hub.world.size())
        while True:
            await asyncio.sleep(_COUNTED_EVERY)
            requests.add((of, outcome, number) for (of, outcome), number in services.take_outcomes().items())

    log.info("reading objects", paths=", ".join(map(str, settings.paths)), admin=str(admin.address))
    tasks = {asyncio.create_task(each) for each in (hub.run(), admin.run(), serve(), stop.wait())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        log.info("stopping")
        await services.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _metrics_page(requests: RequestCounts) -> Page:
    registry = CollectorRegistry()
    registry.register(requests)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return Page("/metrics", "metrics for Prometheus", lambda _: lambda: generate_latest(registry), CONTENT_TYPE)
