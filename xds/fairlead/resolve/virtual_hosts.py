"""Virtual hosts: the routes of all dialects, joined by route table and host name.

There is one virtual host for each host name, so that a change of one host touches nothing of another.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fairlead.derive import Collection, derived, derived_index, derived_map
from fairlead.intent import VirtualHost
from fairlead.problems import ObjectKey
from fairlead.resolve.dialect import Dialect, HostRoutes, Server, VirtualHostKey, route_table
from fairlead.resolve.dialects import DIALECTS
from fairlead.resolve.listeners import plans
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection
from fairlead.world import World

_EVERY_HOST = "*"


@dataclass(frozen=True, slots=True)
class _Table:
    """What the virtual hosts of a route table have in common."""

    port: int
    """As the first server declares it."""
    origin: tuple[ObjectKey, ...]
    redirected: frozenset[str]
    """Hosts for which a server redirects plaintext requests."""


@derived
def route_tables(world: World, selection: Selection) -> frozenset[str]:
    """Names of the route tables that listeners refer to."""
    return frozenset(_tables(world, selection))


@derived
def _tables(world: World, selection: Selection) -> dict[str, _Table]:
    servers: dict[str, list[Server]] = {}
    for plan in plans(world, selection):
        for server in plan.servers:
            name = route_table(selection, server)
            if name:
                servers.setdefault(name, []).append(server)
    return {
        name: _Table(
            port=sharing[0].port,
            origin=tuple(dict.fromkeys(server.declared_by for server in sharing)),
            redirected=frozenset(host for server in sharing if server.https_redirect for host in server.hosts),
        )
        for name, sharing in servers.items()
    }


@derived
def _table(world: World, selection: Selection, name: str) -> _Table | None:
    return _tables(world, selection).get(name)


def _of_dialect(world: World, selection: Selection, dialect: Dialect) -> Collection[VirtualHostKey, Any]:
    return dialect.virtual_hosts(world, selection)


@derived_index(_of_dialect)
def _keys_by_table(
    _world: World, _selection: Selection, _dialect: Dialect, key: VirtualHostKey, _value: object
) -> Iterable[str]:
    return (key.route_table,)


@derived
def _keys(world: World, selection: Selection) -> frozenset[VirtualHostKey]:
    tables = _tables(world, selection)
    found: list[frozenset[VirtualHostKey]] = []
    for name, table in tables.items():
        keys = [_keys_by_table(world, selection, dialect).get(name) for dialect in DIALECTS]
        keys.append(frozenset(VirtualHostKey(name, host) for host in table.redirected))
        # Requests to a table with nothing in it are answered with 404, like those to an unknown host.
        found += [some for some in keys if some] or [frozenset((VirtualHostKey(name, _EVERY_HOST),))]
    return frozenset().union(*found)


@derived_map(_keys)
def virtual_hosts(world: World, selection: Selection, key: VirtualHostKey) -> Outcome[VirtualHost] | None:
    """The virtual hosts of all route tables."""
    table = _table(world, selection, key.route_table)
    if table is None:
        return None
    outcomes = [dialect.host_routes(world, selection, key) for dialect in DIALECTS]
    found: list[HostRoutes] = [outcome.value for outcome in outcomes]
    origin = tuple(dict.fromkeys(item for part in found for item in part.origin))
    require_tls = key.domain in table.redirected or any(part.require_tls for part in found)
    is_blackhole = key.domain == _EVERY_HOST and not origin and not require_tls
    # Envoy wants IPv6 addresses in brackets.
    domain = f"[{key.domain}]" if ":" in key.domain else key.domain
    host = VirtualHost(
        name=f"{'blackhole' if is_blackhole else key.domain}:{table.port}",
        domains=(domain,),
        routes=tuple(route for part in found for route in part.routes),
        origin=origin or table.origin,
        require_tls=require_tls,
    )
    return Outcome(host, tuple(problem for outcome in outcomes for problem in outcome.problems))
