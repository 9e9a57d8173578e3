"""The process of the runtime services: `python -m fairlead.runtime.process PARENT LISTENING`, two open sockets.

It ends when its parent says nothing more, at once when the parent has died.
"""

import asyncio
import ctypes
import signal
import socket
import sys
from typing import Any

import structlog
import uvloop

from fairlead.runtime.messages import Event, Orders, Report, encoded, read
from fairlead.runtime.services import RuntimeServices, buckets, counters

_REPORTED_EVERY = 0.5
"""Seconds."""

_PR_SET_PDEATHSIG = 1

_MOST_EVENTS = 1000
"""That wait to be told; more of them would be the same over and over."""

_events: list[Event] = []


def _note(_logger: Any, level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if len(_events) < _MOST_EVENTS:
        _events.append(Event(level, str(event.pop("event", "")), dict(event)))
    raise structlog.DropEvent


async def _report(services: RuntimeServices, writer: asyncio.StreamWriter) -> None:
    outcomes = [(of, outcome, number) for (of, outcome), number in services.take_outcomes().items()]
    events, _events[:] = list(_events), []
    writer.write(encoded(Report(outcomes, events)))
    await writer.drain()


async def _report_on(services: RuntimeServices, writer: asyncio.StreamWriter) -> None:
    while True:
        await _report(services, writer)
        await asyncio.sleep(_REPORTED_EVERY)


async def _obey(services: RuntimeServices, reader: asyncio.StreamReader) -> None:
    while (orders := await read(reader, Orders)) is not None:
        services.configure(orders.configuration)


async def _main(parent: socket.socket, listening: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=parent)
    orders = await read(reader, Orders)
    if orders is None:
        return
    services = RuntimeServices(counters(orders.redis_url), buckets(orders.redis_url))
    services.configure(orders.configuration)
    obeying = asyncio.create_task(_obey(services, reader))
    await services.serve_on(listening)
    reporting = asyncio.create_task(_report_on(services, writer))
    await asyncio.wait({obeying, reporting}, return_when=asyncio.FIRST_COMPLETED)
    reporting.cancel()
    await services.stop()
    await _report(services, writer)
    writer.close()


if __name__ == "__main__":
    # A server and its processes may be told to stop together, and this one is needed while the others drain.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    structlog.configure(processors=[structlog.processors.format_exc_info, _note])
    uvloop.run(_main(*(socket.socket(fileno=int(number)) for number in sys.argv[1:])))
