"""`fairlead status`: what a running server says of itself."""

import enum
import json
import time
import urllib.request
from http.client import HTTPException
from typing import Annotated

import typer
from rich.text import Text

from fairlead.cli.output import OUT, fail
from fairlead.errors import AdminError, SettingsError
from fairlead.protocol.events import SyncState
from fairlead.server.settings import Address, parse_address
from fairlead.status import ProblemStatus, ProxyStatus, ServerStatus, one_line

_COLOURS = {SyncState.REJECTED: "red", SyncState.STALE: "yellow", SyncState.NOT_SENT: "dim", SyncState.SYNCED: "green"}
_PATIENCE = 30.0
"""Seconds that `--wait` waits."""

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks directly, whatever HTTP proxy the environment names."""


class Format(enum.StrEnum):
    """How to write."""

    TEXT = "text"
    JSON = "json"


def fetch(address: Address) -> ServerStatus:
    """The status of the server whose admin endpoint is at the address; raises `AdminError` with what to do."""
    try:
        with _opener.open(f"http://{address}/status", timeout=5) as answer:
            return ServerStatus.from_json(json.load(answer))
    except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError) as error:
        raise AdminError(
            f"no answer from {address} ({error}); is `fairlead serve` running, with this --admin-address?"
        ) from error


def _settled(address: Address) -> ServerStatus:
    """The status once it is settled, or what it is when the time is over."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            found = fetch(address)
            if found.settled or time.monotonic() > deadline:
                return found
        except AdminError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def status(
    admin_address: Annotated[
        str, typer.Option(help="IP:PORT of the server's admin endpoint.", envvar="FAIRLEAD_ADMIN_ADDRESS")
    ] = "127.0.0.1:18001",
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="Wait until the server runs, has read its objects, and every proxy that is connected has answered all "
            "that it was sent; 30 seconds at most.",
        ),
    ] = False,
    output: Annotated[Format, typer.Option("--format", help="For people, or for scripts.")] = Format.TEXT,
) -> None:
    """Show proxies, what they have, what they refused and why, and which objects are at fault.

    Exit code 0 when the server answers; 1 when --wait ends without all proxies having answered; 2 when there is none.
    """
    try:
        address = parse_address(admin_address, "--admin-address")
        found = _settled(address) if wait else fetch(address)
    except (AdminError, SettingsError) as error:
        fail(str(error))
    if output is Format.JSON:
        print(json.dumps(found.as_json(), indent=2))
    else:
        _show(found)
    if wait and not found.settled:
        raise typer.Exit(1)


def _show(found: ServerStatus) -> None:
    objects = ", ".join(f"{number} {kind}" for kind, number in sorted(found.objects.items())) or "no objects"
    _print(f"fairlead {found.version}: {objects}" if found.synced else "objects are being read")
    for proxy in found.proxies:
        _show_proxy(proxy)
    if not found.proxies:
        _print("no proxy is connected")
    for problem in found.problems:
        _show_problem(problem)


def _show_proxy(proxy: ProxyStatus) -> None:
    client = f"{proxy.user_agent or 'client'} at {proxy.peer}"
    _print(f"{proxy.id or 'a proxy without id'}: {proxy.role} in {proxy.namespace}, {client}, {proxy.protocol}")
    for state, colour in _COLOURS.items():
        names = [name for name, kind in proxy.types.items() if kind.state is state]
        if names:
            _print(f"  {state.value:8}  {' '.join(names)}", colour)
    for name, kind in proxy.types.items():
        if kind.error:
            _print(f"  {name} refused: {kind.error}", "red")
            for described in kind.objects:
                _print(f"    from {described}")


def _show_problem(problem: ProblemStatus) -> None:
    text = Text(f"{one_line(problem.file)}:{problem.line}:{problem.column}: " if problem.file else "")
    text.append(f"{problem.severity}[{problem.code}]", style="red" if problem.severity == "error" else "yellow")
    text.append(f" {one_line(problem.message)}")
    if problem.object:
        text.append(one_line(f" ({problem.object}{f', {problem.path}' if problem.path else ''})"))
    OUT.print(text)
    if problem.hint:
        _print(f"  hint: {problem.hint}")


def _print(text: str, style: str = "") -> None:
    OUT.print(Text(one_line(text), style=style))
