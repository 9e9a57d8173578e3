"""Virtual hosts: the routes of all dialects, joined by route table and host name.

There is one virtual host for each host name, so that a change of one host touches nothing of another.
"""

from collections.abc import Iterable
from typing import Any

from fairlead.derive import Collection, derived, derived_index, derived_map
from fairlead.intent import VirtualHost
from fairlead.models.asm.governing import Traffic
from fairlead.problems import ObjectKey
from fairlead.resolve import mesh
from fairlead.resolve.dialect import Dialect, Server, VirtualHostKey, route_table
from fairlead.resolve.dialects import DIALECTS
from fairlead.resolve.governance import rules
from fairlead.resolve.governance.routes import governed
from fairlead.resolve.governance.rules import Target
from fairlead.resolve.listeners import served_servers
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection
from fairlead.world import World

_EVERY_HOST = "*"


# --- What servers say of virtual hosts --------------------------------------------------------------------------------


@derived_index(served_servers)
def _servers_by_table(_world: World, selection: Selection, server: Server, _same: Server) -> Iterable[str]:
    table = route_table(selection, server)
    return (table,) if table else ()


@derived
def route_tables(world: World, selection: Selection) -> frozenset[str]:
    """Names of the route tables that listeners refer to."""
    return frozenset(_servers_by_table(world, selection).keys())


@derived_map(_servers_by_table)
def _ports(world: World, selection: Selection, table: str) -> int | None:
    """Table -> the port that its first server declares."""
    servers = _servers_by_table(world, selection).get(table)
    return None if servers is None else min(servers, key=_age).port


def _age(server: Server) -> tuple[str, str, str, str]:
    return server.created, server.gateway.name, server.gateway.namespace, str(server.path)


@derived_index(served_servers)
def _redirecting(_world: World, selection: Selection, server: Server, _same: Server) -> Iterable[VirtualHostKey]:
    """Virtual host -> the servers that redirect its plaintext requests."""
    if server.https_redirect:
        table = route_table(selection, server)
        return [VirtualHostKey(table, host) for host in server.hosts]
    return ()


# --- All virtual hosts ------------------------------------------------------------------------------------------------


def _of_dialect(world: World, selection: Selection, dialect: Dialect) -> Collection[VirtualHostKey, Any]:
    return dialect.virtual_hosts(world, selection)


@derived_index(_of_dialect)
def _keys_by_table(
    _world: World, _selection: Selection, _dialect: Dialect, key: VirtualHostKey, _value: object
) -> Iterable[str]:
    return (key.route_table,)


@derived
def _keys(world: World, selection: Selection) -> frozenset[VirtualHostKey]:
    redirected = frozenset(_redirecting(world, selection).keys())
    found = [redirected]
    empty = set(route_tables(world, selection) - {key.route_table for key in redirected})
    for table in route_tables(world, selection):
        for dialect in DIALECTS:
            keys = _keys_by_table(world, selection, dialect).get(table)
            if keys:
                found.append(keys)
                empty.discard(table)
    # Requests to a table with nothing in it are answered with 404, like those to an unknown host.
    return frozenset(VirtualHostKey(table, _EVERY_HOST) for table in empty).union(*found)


def _sources_of_keys(world: World, selection: Selection) -> tuple[Collection[Any, Any], ...]:
    return _redirecting(world, selection), *(_keys_by_table(world, selection, dialect) for dialect in DIALECTS)


@derived_map(_keys, reads=_sources_of_keys)
def virtual_hosts(world: World, selection: Selection, key: VirtualHostKey) -> Outcome[VirtualHost] | None:
    """The virtual hosts of all route tables."""
    port = _ports(world, selection).get(key.route_table)
    if port is None:
        return None
    redirecting = _redirecting(world, selection).get(key) or frozenset()
    outcomes = [dialect.host_routes(world, selection, key) for dialect in DIALECTS]
    parts = [outcome.value for outcome in outcomes]
    routes = tuple(route for part in parts for route in part.routes)
    require_tls = bool(redirecting) or any(part.require_tls for part in parts)
    origin = _origin(item for part in parts for item in part.origin) or _origin_of(redirecting)
    name = key.domain
    if not origin and name == _EVERY_HOST:
        name = "blackhole"
        origin = _origin_of(_servers_by_table(world, selection).get(key.route_table) or ())
    target = Target(Traffic.GATEWAY, rules.names_of(world, key.domain, origin), frozenset((port,)))
    host = VirtualHost(
        name=f"{name}:{port}",
        # Envoy wants IPv6 addresses in brackets.
        domains=(f"[{key.domain}]" if ":" in key.domain else key.domain,),
        routes=governed(world, selection, target, routes),
        origin=origin,
        require_tls=require_tls,
        attempt_count=mesh.attempt_count(world, selection.config),
        forwarded_host=mesh.forwarded_host(world, selection.config),
    )
    return Outcome(host, tuple(problem for outcome in outcomes for problem in outcome.problems))


def _origin(keys: Iterable[ObjectKey]) -> tuple[ObjectKey, ...]:
    return tuple(dict.fromkeys(keys))


def _origin_of(servers: Iterable[Server]) -> tuple[ObjectKey, ...]:
    return _origin(server.declared_by for server in sorted(servers, key=_age))
