"""`fairlead status`: what a running server says of itself."""

import enum
import json
import time
from collections import Counter
from typing import Annotated

import typer
from rich.text import Text

from fairlead.cli.admin import ask
from fairlead.cli.output import OUT, fail
from fairlead.errors import AdminError, SettingsError
from fairlead.protocol.events import SyncState
from fairlead.server.settings import Address, parse_address
from fairlead.status import ChangeStatus, ProblemStatus, ProxyStatus, ReachStatus, RuleStatus, ServerStatus, one_line

_COLOURS = {SyncState.REJECTED: "red", SyncState.STALE: "yellow", SyncState.NOT_SENT: "dim", SyncState.SYNCED: "green"}
"""From the worst state to the best."""
_SHOWN = 20
"""Proxies that are listed, or names in a line, before there are too many to be read."""
_PATIENCE = 30.0
"""Seconds that `--wait` waits."""


class Format(enum.StrEnum):
    """How to write."""

    TEXT = "text"
    JSON = "json"


def fetch(address: Address) -> ServerStatus:
    """The status of the server whose admin endpoint is at the address; raises `AdminError` with what to do."""
    return ask(address, "/status", ServerStatus.from_json)


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
    proxy: Annotated[
        list[str] | None, typer.Argument(help="Ids of proxies to show in full. Default: those that are not in step.")
    ] = None,
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
    everything: Annotated[bool, typer.Option("--all", help="Show all proxies in full, however many.")] = False,
    output: Annotated[Format, typer.Option("--format", help="For people, or for scripts.")] = Format.TEXT,
) -> None:
    """Show who has what, who refused what and why, how long the last change took, and which objects are at fault.

    Exit code 0 when the server answers; 1 when --wait ends without all proxies having answered, or when no proxy of a
    given id is connected; 2 when there is no server.
    """
    try:
        address = parse_address(admin_address, "--admin-address")
        found = _settled(address) if wait else fetch(address)
    except (AdminError, SettingsError) as error:
        fail(str(error))
    if output is Format.JSON:
        print(json.dumps(found.as_json(), indent=2))
    else:
        _show(found, proxy or [], everything=everything)
    if wait and not found.settled:
        raise typer.Exit(1)


def _show(found: ServerStatus, ids: list[str], *, everything: bool) -> None:
    if ids:
        _show_proxies(found, ids)
        return
    objects = ", ".join(f"{number} {kind}" for kind, number in sorted(found.objects.items())) or "no objects"
    _print(f"fairlead {found.version}: {objects}" if found.synced else "objects are being read")
    if found.runtime_trouble:
        _print(
            f"the runtime services do not run, so that requests are not limited by them: {found.runtime_trouble}", "red"
        )
    _show_fleet(found.proxies)
    if found.last_change is not None:
        _show_change(found.last_change)
    _show_refusals(found.proxies)
    if everything:
        for proxy in found.proxies:
            _show_in_full(proxy)
    else:
        _show_unsettled([proxy for proxy in found.proxies if _state(proxy) is not SyncState.SYNCED])
    _show_rules(found.rules, everything=everything)
    for problem in found.problems:
        _show_problem(problem)


def _state(proxy: ProxyStatus) -> SyncState:
    """The worst of its types."""
    present = {kind.state for kind in proxy.types.values()}
    return next((state for state in _COLOURS if state in present), SyncState.SYNCED)


def _show_fleet(proxies: tuple[ProxyStatus, ...]) -> None:
    if not proxies:
        _print("no proxy is connected")
        return
    counts = Counter(map(_state, proxies))
    states = ", ".join(f"{counts[state]} {state.value}" for state in reversed(_COLOURS) if counts[state])
    worst = next(state for state in _COLOURS if counts[state])
    _print(f"{_proxies(len(proxies))}: {states}", _COLOURS[worst])


def _show_change(change: ChangeStatus) -> None:
    text = f"last change {_duration(change.seconds_ago)} ago: "
    if change.overall.acknowledged == 0:
        text += f"acknowledged by none of {_proxies(change.proxies)}"
    else:
        text += f"acknowledged by {change.overall.acknowledged} of {_proxies(change.proxies)}, {_reach(change.overall)}"
    if change.refused:
        text += f"; refused by {change.refused}"
    if change.waiting:
        text += f"; waiting for {_names(list(change.waiting_for), change.waiting)}"
    _print(text)


def _show_refusals(proxies: tuple[ProxyStatus, ...]) -> None:
    """Each refusal once, whoever shares it."""
    refusals: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for proxy in proxies:
        for name, kind in proxy.types.items():
            if kind.error:
                refusals.setdefault((name, kind.error, kind.objects), []).append(_id(proxy))
    for (name, error, objects), ids in refusals.items():
        _print(f"{name} refused by {_names(ids, len(ids))}: {error}", "red")
        for described in objects[:_SHOWN]:
            _print(f"  from {described}")
        if len(objects) > _SHOWN:
            _print(f"  and {len(objects) - _SHOWN} more objects")


def _show_unsettled(proxies: list[ProxyStatus]) -> None:
    for proxy in proxies[:_SHOWN]:
        _print(_head(proxy))
        for state, colour in _COLOURS.items():
            names = [name for name, kind in proxy.types.items() if kind.state is state]
            if names:
                _print(f"  {state.value:8}  {' '.join(names)}", colour)
    if len(proxies) > _SHOWN:
        _print(f"and {len(proxies) - _SHOWN} more; fairlead status --all shows them")


def _show_rules(rules: tuple[RuleStatus, ...], *, everything: bool) -> None:
    """Those that are in force nowhere; with `everything` the others, too."""
    for rule in rules:
        name = f"{rule.object} {rule.path}"
        if not rule.proxies:
            _print(f"{name} is in force at no proxy: {rule.reason}", "yellow")
        elif everything:
            of = "" if rule.proxies == rule.selected else f" of {rule.selected} that it is for"
            _print(f"{name} is in force at {_proxies(rule.proxies)}{of}")


def _show_proxies(found: ServerStatus, ids: list[str]) -> None:
    missing = sorted(set(ids).difference(proxy.id for proxy in found.proxies))
    for proxy in found.proxies:
        if proxy.id in ids:
            _show_in_full(proxy)
            _show_refusals((proxy,))
    if missing:
        fail(f"no proxy is connected whose id is {' or '.join(missing)}", 1)


def _show_in_full(proxy: ProxyStatus) -> None:
    _print(f"{_head(proxy)}, for {_duration(proxy.connected_seconds)}")
    for name, kind in proxy.types.items():
        _print(f"  {name:4}  {kind.state.value:8}  {kind.version}".rstrip(), _COLOURS[kind.state])


def _head(proxy: ProxyStatus) -> str:
    client = f"{proxy.user_agent or 'client'} at {proxy.peer}"
    return f"{_id(proxy)}: {proxy.role} in {proxy.namespace}, {client}, {proxy.protocol}"


def _id(proxy: ProxyStatus) -> str:
    return proxy.id or "a proxy without id"


def _names(ids: list[str], number: int) -> str:
    """Some of the ids, or their number and the first ones."""
    if number <= 3:
        return " and ".join(ids)
    return f"{_proxies(number)} ({', '.join(ids[:3])}, ...)"


def _proxies(number: int) -> str:
    return "1 proxy" if number == 1 else f"{number} proxies"


def _reach(reach: ReachStatus) -> str:
    if reach.acknowledged == 1:
        return f"after {reach.first_ms:.1f} ms"
    return (
        f"the first after {reach.first_ms:.1f} ms, half after {reach.median_ms:.1f}, the last after {reach.last_ms:.1f}"
    )


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


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
