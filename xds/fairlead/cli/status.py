"""`fairlead status`: what a running server says of itself."""

import enum
import json
import time
import urllib.error
import urllib.request
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from fairlead.cli.output import OUT, fail
from fairlead.errors import AdminError, SettingsError
from fairlead.protocol.events import SyncState
from fairlead.server.settings import Address, parse_address
from fairlead.status import ProblemStatus, ProxyStatus, ServerStatus

_TYPES = ("cds", "eds", "sds", "lds", "rds", "vhds")
_COLOURS = {SyncState.SYNCED: "green", SyncState.STALE: "yellow", SyncState.REJECTED: "red", SyncState.NOT_SENT: "dim"}


class Format(enum.StrEnum):
    """How to write."""

    TEXT = "text"
    JSON = "json"


def fetch(address: Address) -> ServerStatus:
    """The status of the server whose admin endpoint is at the address; raises `AdminError` with what to do."""
    try:
        with urllib.request.urlopen(f"http://{address}/status", timeout=5) as answer:
            return ServerStatus.from_json(json.load(answer))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdminError(
            f"no answer from {address} ({error}); is `fairlead serve` running, with this --admin-address?"
        ) from error


def is_settled(found: ServerStatus) -> bool:
    """All objects have been read, and every proxy has acknowledged or refused all that it was sent."""
    return found.synced and not any(
        kind.state is SyncState.STALE for proxy in found.proxies for kind in proxy.types.values()
    )


def status(
    admin_address: Annotated[
        str, typer.Option(help="IP:PORT of the server's admin endpoint.", envvar="FAIRLEAD_ADMIN_ADDRESS")
    ] = "127.0.0.1:18001",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until every proxy has answered, 30 seconds at most.")
    ] = False,
    output: Annotated[Format, typer.Option("--format", help="For people, or for scripts.")] = Format.TEXT,
) -> None:
    """Show proxies, what they have, what they refused and why, and which objects are at fault.

    Exit code 0 when the server answers; 1 when --wait ends without all proxies having answered; 2 when there is none.
    """
    try:
        address = parse_address(admin_address, "--admin-address")
        found = fetch(address)
        deadline = time.monotonic() + 30
        while wait and not is_settled(found) and time.monotonic() < deadline:
            time.sleep(0.05)
            found = fetch(address)
    except (AdminError, SettingsError) as error:
        fail(str(error))
    if output is Format.JSON:
        print(json.dumps(found.as_json(), indent=2))
    else:
        _show(found)
    if wait and not is_settled(found):
        raise typer.Exit(1)


def _show(found: ServerStatus) -> None:
    objects = ", ".join(f"{number} {kind}" for kind, number in sorted(found.objects.items())) or "no objects"
    OUT.print(Text(f"fairlead {found.version}: {objects}" if found.synced else "objects are being read"))
    if found.proxies:
        OUT.print(_proxies(found.proxies))
    else:
        OUT.print(Text("no proxy is connected"))
    for proxy in found.proxies:
        for name, kind in proxy.types.items():
            if kind.error:
                OUT.print(Text(f"{proxy.id} refused {name}: {kind.error}", style="red"))
                for described in kind.objects:
                    OUT.print(Text(f"  from {described}"))
    for problem in found.problems:
        OUT.print(_problem(problem))


def _proxies(proxies: tuple[ProxyStatus, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("PROXY", "NAMESPACE", "PROTOCOL", *(name.upper() for name in _TYPES), "ENVOY"):
        table.add_column(title, no_wrap=True)
    for proxy in proxies:
        states = []
        for name in _TYPES:
            kind = proxy.types.get(name)
            state = kind.state if kind else SyncState.NOT_SENT
            states.append(Text("-" if kind is None else state.value, style=_COLOURS[state]))
        table.add_row(proxy.id, proxy.namespace, proxy.protocol, *states, proxy.user_agent)
    return table


def _problem(problem: ProblemStatus) -> Text:
    place = f"{problem.file}:{problem.line}:{problem.column}: " if problem.file else ""
    text = Text(place)
    text.append(f"{problem.severity}[{problem.code}]", style="red" if problem.severity == "error" else "yellow")
    text.append(f" {problem.message}")
    if problem.object:
        text.append(f" ({problem.object}{f', {problem.path}' if problem.path else ''})")
    if problem.hint:
        text.append(f"\n  hint: {problem.hint}")
    return text
