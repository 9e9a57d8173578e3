"""From a file that is written to what a client of the proxy sees.

The client asks in a tight loop, one question after the other, so that a change is seen at most one question after it
is there. What is measured begins with the rename that puts the file in place, and ends with the answer that shows the
change; the time of that answer is part of it.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path

from e2e.objects import (
    FRONT,
    HTTP,
    HTTPS,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    gateway,
    http_server,
    https_server,
    issued,
    resource,
    secret,
    together,
)
from fairlead.certificates.issuing import Issued
from fairlead.certificates.reading import serial_of
from fairlead.playground.client import Load, ask, certificate, connect
from support.stack import Stack

from bench.inotify import MoveEvents
from bench.measurements import Series, folder_in_memory

ROUNDS = 50
_FLOOR_ROUNDS = 200
_WITHIN = 10.0
_HOST = "a.example.com"


async def measure() -> list[Series]:
    """All series: the floors first."""
    with folder_in_memory() as folder:
        notice = _notice(folder)
    found: list[Series] = []
    floors: tuple[Series, Series] | None = None
    for protocol in ("delta", "sotw"):
        with folder_in_memory() as folder:
            async with Stack(folder) as stack:
                await _start(stack, protocol)
                if floors is None:
                    floors = await asyncio.to_thread(_floors, stack, notice)
                    found = [notice, *floors]
                handshakes, requests = floors
                async with Load(stack.address, HTTPS, _HOST, "/", interval=0.02) as load:
                    found.append(await asyncio.to_thread(_rotations, stack, protocol, handshakes))
                    found.append(await asyncio.to_thread(_route_changes, stack, protocol, requests))
                if load.failures or load.connections != 1:
                    raise RuntimeError(f"requests failed beside the changes: {load.failures[:3]}, {load.connections}")
    return found


async def _start(stack: Stack, protocol: str) -> None:
    servers = gateway(https_server(_HOST, "a"), http_server(_HOST))
    stack.write("gateway.yaml", together(FRONT, servers))
    stack.write("secret.yaml", secret("a", _pair()))
    stack.write("route.yaml", _route(0))
    await stack.serve()
    await stack.envoy(protocol, namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)


def _pair() -> Issued:
    return issued(_HOST, _HOST)


def _route(number: int) -> str:
    return resource(
        "networking.istio.io/v1",
        "VirtualService",
        "a",
        f"""
        hosts: [{_HOST}]
        gateways: [edge]
        http:
        - directResponse: {{status: 200, body: {{string: "{number}"}}}}
        """,
    )


def _notice(folder: Path) -> Series:
    """How long the kernel takes to tell of a renamed file."""
    series = Series("file written -> the kernel tells of it")
    with contextlib.closing(MoveEvents(folder)) as events:
        for number in range(_FLOOR_ROUNDS):
            _prepare(folder / "a.yaml", str(number))
            with series.once():
                _put_in_place(folder / "a.yaml")
                events.wait()
    return series


def _floors(stack: Stack, notice: Series) -> tuple[Series, Series]:
    """One handshake and one request, each with the kernel's notice of a file: no control plane can be quicker."""
    handshakes = Series("the same + one TLS handshake with Envoy")
    for _ in range(_FLOOR_ROUNDS):
        with handshakes.once():
            certificate(stack.address, HTTPS, _HOST)
    requests = Series("the same + one HTTP request to Envoy")
    with contextlib.closing(connect(stack.address, HTTP)) as connection:
        ask(connection, _HOST, "/")
        for _ in range(_FLOOR_ROUNDS):
            with requests.once():
                ask(connection, _HOST, "/")
    for series in (handshakes, requests):
        series.seconds = [mine + theirs for mine, theirs in zip(series.seconds, notice.seconds, strict=True)]
    return handshakes, requests


def _rotations(stack: Stack, protocol: str, floor: Series) -> Series:
    series = Series("file written -> new certificate served", protocol, floor)
    pairs = [_pair() for _ in range(ROUNDS)]
    for pair in pairs:
        wanted = pair.serial
        _change(
            stack.folder / "secret.yaml",
            secret("a", pair),
            series,
            lambda wanted=wanted: serial_of(certificate(stack.address, HTTPS, _HOST)) == wanted,  # type: ignore[misc]
        )
    return series


def _route_changes(stack: Stack, protocol: str, floor: Series) -> Series:
    series = Series("file written -> route live", protocol, floor)
    with contextlib.closing(connect(stack.address, HTTP)) as connection:
        for number in range(1, ROUNDS + 1):
            wanted = str(number).encode()
            _change(
                stack.folder / "route.yaml",
                _route(number),
                series,
                lambda wanted=wanted: ask(connection, _HOST, "/").body == wanted,  # type: ignore[misc]
            )
    return series


def _change(path: Path, text: str, series: Series, is_seen: Callable[[], bool]) -> None:
    # Changes that come in step with somebody's timer would measure that timer.
    time.sleep(random.uniform(0.03, 0.08))
    _prepare(path, text)
    with series.once():
        deadline = time.monotonic() + _WITHIN
        _put_in_place(path)
        while not is_seen():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{series.what}: not within {_WITHIN:g} s")


def _prepare(path: Path, text: str) -> None:
    """Write a file beside its place: writing is not what is measured."""
    _beside(path).write_text(text)


def _put_in_place(path: Path) -> None:
    _beside(path).rename(path)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")
