"""What `fairlead explain` asks a running server: where a request would go at the proxies that are connected.

The simulation runs in a thread, since it reads whole route tables; what is read of the world is read in the loop.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from fairlead.explain import Asked, Explanation, Hint, Source, Subject, explain, most_telling
from fairlead.resolve.scope import Locality, Selection
from fairlead.resolve.selection import selection
from fairlead.server.admin import NothingToShowError, Question
from fairlead.server.ads import XdsServer
from fairlead.server.connection import Connection
from fairlead.server.hub import Hub
from fairlead.server.report import lacking, present_problems
from fairlead.server.subjects import completed, subject
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Snapshot

_MOST = 50
"""How many different kinds of proxies are looked at, unless one is named."""


class _Candidate(NamedTuple):
    connection: Connection
    selection: Selection
    others: int
    """How many more proxies are offered the same."""


def explaining(hub: Hub, xds: XdsServer) -> Question:
    """The question at `/explain`."""

    async def answer(query: Sequence[tuple[str, str]]) -> bytes:
        given = dict(query)
        asked = Asked.of(
            given.get("url", ""),
            given.get("method", "GET"),
            [value for name, value in query if name == "header"],
            given.get("sni", ""),
            given.get("source_ip", ""),
        )
        candidates = _candidates(hub, xds, given.get("proxy", ""))
        subjects = [_subject(hub, found, asked.host) for found in candidates]
        explanations = await asyncio.to_thread(_explain_all, subjects, asked)
        by_name = {_name(found): found for found in candidates}
        complete = [_completed(hub, xds, by_name[found.proxy], found, asked) for found in explanations]
        return json.dumps([found.as_json() for found in complete], indent=2).encode() + b"\n"

    return Question(
        "/explain", "with ?url=URL: where a request goes and why; also method, header, sni, source_ip, proxy", answer
    )


def _candidates(hub: Hub, xds: XdsServer, proxy: str) -> list[_Candidate]:
    """One proxy for each that differs in what it is offered; only the one of that id, if one is given."""
    found: dict[tuple[Selection, Locality], dict[str, Connection]] = {}
    for connection in sorted(xds.connections, key=lambda connection: connection.number):
        if connection.snapshot is not None and proxy in ("", connection.node.id):
            key = selection(hub.world, connection.proxy), connection.proxy.locality
            found.setdefault(key, {}).setdefault(connection.node.id, connection)
    if not found:
        raise NothingToShowError(f"no proxy {proxy!r} is connected" if proxy else "no proxy is connected")
    if len(found) > _MOST:
        raise NothingToShowError(f"{len(found)} different kinds of proxies are connected; ask for one with --proxy ID")
    return [
        _Candidate(next(iter(connections.values())), selected, len(connections) - 1)
        for (selected, _), connections in found.items()
    ]


def _name(candidate: _Candidate) -> str:
    name = candidate.connection.node.id
    return f"{name}, and {candidate.others} like it" if candidate.others else name


def _subject(hub: Hub, candidate: _Candidate, host: str) -> Subject:
    resources = _resources(candidate.connection.snapshot)
    proxy = candidate.connection.proxy
    found = subject(hub.world, proxy, candidate.selection, _name(candidate), resources, host)
    group = next((group for group in hub.groups if candidate.connection in group.members), None)
    held = () if group is None else group.holding.hosts.held.items()
    # What is held is as it was; the lines of the files are those of the present.
    of_held = {
        (key.route_table, item.state.name): [tuple(map(Source, route.origin)) for route in item.state.routes]
        for key, item in held
    }
    return replace(found, routes={**found.routes, **of_held})


def _resources(snapshot: Snapshot | None) -> list[Resource]:
    tables = () if snapshot is None else snapshot.tables.values()
    return [resource for table in tables for name in sorted(table.names()) if (resource := table.get(name)) is not None]


def _explain_all(subjects: Iterable[Subject], asked: Asked) -> list[Explanation]:
    now = datetime.now(UTC)
    return most_telling([explain(each, asked, now) for each in subjects])


def _completed(hub: Hub, xds: XdsServer, candidate: _Candidate, found: Explanation, asked: Asked) -> Explanation:
    if lacking(candidate.connection):
        name = candidate.connection.node.id
        words = (
            f"the proxy has refused a part of this, and goes on with what it had before: see `fairlead status {name}`"
        )
        found = replace(found, hints=(*found.hints, Hint(words)))
    return completed(found, hub.world, candidate.selection, asked.host, present_problems(hub, xds), hub.locate)
