"""Listeners: the servers of all dialects, merged by the address that they bind.

What servers on one address do to each other is Istio's rule. Plaintext HTTP servers share one filter chain and one
route table; other plaintext servers exclude each other. TLS servers share the address by SNI, unless a plaintext
server was there before; a plaintext server that comes after them takes the connections without TLS. Of two that
exclude each other, the one of the older Gateway serves.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from fairlead.derive import derived, derived_map
from fairlead.intent import AccessLog, FilterChain, Governance, HttpConnections, Listener
from fairlead.models.asm.governing import Traffic
from fairlead.problems import ObjectKey, Problem, Related, error, warning
from fairlead.resolve import credentials, mesh
from fairlead.resolve.dialect import ConnectionRoute, Server, ServerProtocol, listening_port, route_table
from fairlead.resolve.dialects import DIALECTS
from fairlead.resolve.governance.connections import of_connections
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection
from fairlead.world import World

_WILDCARD_ADDRESS = "0.0.0.0"
_UNIX = "unix://"
_EVERY_NAME = "*"


class Address(NamedTuple):
    """What is bound."""

    bind: str
    """As in `Server`."""
    port: int
    """After a Service has mapped it."""

    @property
    def listener(self) -> str:
        """Name of the listener, as Istio gives it."""
        return f"{self.bind or _WILDCARD_ADDRESS}_{self.port}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The servers that share an address."""

    address: Address
    plaintext: tuple[Server, ...] = ()
    """One, or several that carry HTTP."""
    tls: tuple[Server, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Which servers are left out, and why."""

    @property
    def servers(self) -> tuple[Server, ...]:
        """All that are served."""
        return self.plaintext + self.tls


@derived
def listener_names(world: World, selection: Selection) -> frozenset[str]:
    """Names of the listeners that servers ask for; one whose servers all lead nowhere is not there in the end."""
    return frozenset(plan.address.listener for plan in plans(world, selection))


@derived
def listener(world: World, selection: Selection, name: str) -> Outcome[Listener | None]:
    """A listener with its filter chains; None when it would have none."""
    plan = _plan(world, selection, name)
    if plan is None:
        return Outcome(None)
    problems = list(plan.problems)
    chains: list[FilterChain] = []
    for server in plan.tls:
        outcome = _tls_chains(world, selection, server)
        chains.extend(outcome.value)
        problems.extend(outcome.problems)
    chains = with_names_of_their_own(chains, problems)
    if plan.plaintext:
        outcome = _plaintext_chains(world, selection, name)
        chains.extend(outcome.value)
        problems.extend(outcome.problems)
    if not chains:
        return Outcome(None, tuple(problems))
    bind, port = plan.address
    found = Listener(
        name=name,
        address=bind.removeprefix(_UNIX) or _WILDCARD_ADDRESS,
        port=port,
        filter_chains=tuple(chains),
        origin=_keys(key for chain in chains for key in (*chain.origin, *governed_by(chain))),
        wildcard=not bind,
        proxy_protocol=mesh.proxy_protocol(world, selection.config),
        access_log=mesh.listener_log(world),
        buffer_limit=mesh.listener_buffer_limit(world, selection.config),
    )
    return Outcome(found, tuple(problems))


def governed_by(chain: FilterChain) -> tuple[ObjectKey, ...]:
    """The objects of ASM that a filter chain knows of."""
    return chain.connections.governance.origin if isinstance(chain.connections, HttpConnections) else ()


def _keys(keys: Iterable[ObjectKey]) -> tuple[ObjectKey, ...]:
    return tuple(dict.fromkeys(keys))


# --- Which servers are served -----------------------------------------------------------------------------------------


@derived
def plans(world: World, selection: Selection) -> tuple[Plan, ...]:
    """The addresses that are bound, each with its servers; older Gateways' servers come first."""
    servers = [server for dialect in DIALECTS for server in dialect.servers(world, selection)]
    servers.sort(key=lambda server: (server.created, server.gateway.name, server.gateway.namespace))
    shared: dict[Address, list[Server]] = {}
    for server in servers:
        shared.setdefault(Address(server.bind, listening_port(selection, server)), []).append(server)
    return tuple(_merge(address, found) for address, found in sorted(shared.items()))


@derived
def _served(world: World, selection: Selection) -> frozenset[Server]:
    return frozenset(server for plan in plans(world, selection) for server in plan.servers)


@derived_map(_served)
def served_servers(_world: World, _selection: Selection, server: Server) -> Server:
    """The servers that are not left out; a server is its own key, so that readers learn which ones have changed."""
    return server


@derived
def _plan(world: World, selection: Selection, name: str) -> Plan | None:
    return next((plan for plan in plans(world, selection) if plan.address.listener == name), None)


def _merge(address: Address, servers: Iterable[Server]) -> Plan:
    plaintext: list[Server] = []
    tls: list[Server] = []
    names: dict[str, Server] = {}
    """Names that TLS clients ask for -> the server that has them."""
    problems = []
    for server in servers:
        first: Server | None = None
        if server.protocol in (ServerProtocol.HTTP, ServerProtocol.TCP):
            if plaintext and ServerProtocol.TCP in (server.protocol, plaintext[0].protocol):
                first = plaintext[0]
            else:
                plaintext.append(server)
        elif plaintext:
            first = plaintext[0]
        else:
            first = next((names[name] for name in _server_names(server) or (_EVERY_NAME,) if name in names), None)
            if first is None:
                tls.append(server)
                names |= dict.fromkeys(_server_names(server) or (_EVERY_NAME,), server)
        if first is not None:
            problems.append(_excluded(server, first, address))
    return Plan(address, tuple(plaintext), tuple(tls), tuple(problems))


def _server_names(server: Server) -> tuple[str, ...]:
    """What TLS clients must ask for; nothing when they may ask for anything."""
    return () if _EVERY_NAME in server.hosts else server.hosts


def _excluded(server: Server, first: Server, address: Address) -> Problem:
    where = f"port {address.port}" if address.port else address.bind
    if server.tls is not None or server.protocol is ServerProtocol.TLS_PASSTHROUGH:
        common = [name for name in _server_names(server) if name in first.hosts]
        subject = f"connections for {', '.join(common)}" if common else "connections"
    else:
        subject = "connections"
    others = f"server {first.name} of {first.gateway}"
    return error(
        "server-conflict",
        f"server {server.name} is not served: {subject} to {where} already go to {others}",
        key=server.declared_by,
        path=server.path,
        hint="give one of them another port or other hosts",
        related=(Related("this one serves", first.declared_by, first.path),),
    )


def faulty_credentials(world: World, selection: Selection, name: str) -> tuple[Problem, ...]:
    """What is wrong with the credentials that a listener's servers name; apart, since Secrets change no listener."""
    plan = _plan(world, selection, name)
    problems: list[Problem] = []
    for server in () if plan is None else plan.tls:
        if server.tls is not None:
            names = list(server.tls.credentials)
            if server.tls.validation is not None and server.tls.validation.authorities:
                names.append(server.tls.validation.authorities)
            where = server.declared_by, (*server.path, "tls")
            problems += credentials.faulty_references(world, selection.namespace, names, *where)
    return tuple(problems)


# --- Filter chains ----------------------------------------------------------------------------------------------------


@derived
def _plaintext_chains(world: World, selection: Selection, listener: str) -> Outcome[tuple[FilterChain, ...]]:
    plan = _plan(world, selection, listener)
    servers = () if plan is None else plan.plaintext
    if not servers:
        return Outcome(())
    if servers[0].protocol is ServerProtocol.TCP:
        return _connection_chains(world, selection, servers[0])
    table = route_table(selection, servers[0])
    chain = FilterChain(
        name=table,
        server_names=(),
        tls=None,
        connections=HttpConnections(
            route_table=table,
            stat_prefix=f"outbound_{listener}",
            grpc_web=any(server.grpc_web for server in servers),
            options=mesh.http_options(world, selection.config),
            access_log=mesh.access_log(world),
            governance=_governance(world, selection, servers),
        ),
        origin=_keys(server.declared_by for server in servers),
    )
    return Outcome((chain,))


@derived
def _tls_chains(world: World, selection: Selection, server: Server) -> Outcome[tuple[FilterChain, ...]]:
    if server.protocol is not ServerProtocol.HTTPS:
        return _connection_chains(world, selection, server)
    address = Address(server.bind, listening_port(selection, server))
    chain = FilterChain(
        name=server.route_table,
        server_names=_server_names(server),
        tls=server.tls,
        connections=HttpConnections(
            route_table=server.route_table,
            stat_prefix=server.stat_prefix or f"outbound_{address.listener}",
            grpc_web=server.grpc_web,
            options=mesh.http_options(world, selection.config),
            access_log=mesh.access_log(world),
            governance=_governance(world, selection, (server,)),
        ),
        origin=(server.declared_by,),
    )
    return Outcome((chain,))


def _governance(world: World, selection: Selection, servers: Iterable[Server]) -> Governance:
    ports = frozenset(server.port for server in servers)
    return of_connections(world, selection, Traffic.GATEWAY, ports)


def _connection_chains(world: World, selection: Selection, server: Server) -> Outcome[tuple[FilterChain, ...]]:
    chains: list[FilterChain] = []
    problems: list[Problem] = []
    for dialect in DIALECTS:
        outcome = dialect.connection_routes(world, selection, server)
        chains.extend(_connection_chain(server, route, mesh.access_log(world)) for route in outcome.value)
        problems.extend(outcome.problems)
    if not chains:
        message = f"server {server.name} accepts no connections, since no route says where they go"
        problems.append(warning("no-routes", message, key=server.declared_by, path=server.path))
    return Outcome(tuple(chains), tuple(problems))


def _connection_chain(server: Server, route: ConnectionRoute, log: AccessLog | None) -> FilterChain:
    names = route.server_names or _server_names(server)
    name = f"{server.protocol.value}.{server.port}.{server.name}.{server.gateway.name}.{server.gateway.namespace}"
    return FilterChain(
        name=".".join((name, *route.server_names[:1])),
        server_names=() if server.protocol is ServerProtocol.TCP else names,
        tls=server.tls,
        connections=replace(route.connections, access_log=log),
        origin=_keys((server.declared_by, *route.origin)),
        passthrough=server.protocol is ServerProtocol.TLS_PASSTHROUGH,
    )


def with_names_of_their_own(chains: Iterable[FilterChain], problems: list[Problem]) -> list[FilterChain]:
    """The chains without the names that an earlier one has: Envoy refuses a listener where two have the same."""
    taken: dict[str, FilterChain] = {}
    kept = []
    for chain in chains:
        names = chain.server_names or (_EVERY_NAME,)
        for name in names:
            if name in taken:
                message = f"TLS connections for {name} already go by {_described(taken[name])}"
                related = (Related("this one has the name", taken[name].origin[-1]),)
                problems.append(error("duplicate-server-name", message, key=chain.origin[-1], related=related))
        free = tuple(name for name in names if name not in taken)
        taken |= dict.fromkeys(free, chain)
        if free:
            kept.append(chain if free == names else replace(chain, server_names=free))
    return kept


def _described(chain: FilterChain) -> str:
    return " and ".join(str(key) for key in chain.origin)
