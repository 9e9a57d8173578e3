"""Inbound listeners of sidecars: what others reach the workload at is passed on to the application on the loopback.

The application has to listen on 127.0.0.1 only, so that the sidecar can have the same port on the workload's address.
"""

from fairlead.derive import derived
from fairlead.intent import (
    Destination,
    FilterChain,
    Forward,
    HttpConnections,
    Listener,
    Match,
    PathMatch,
    PathMatchKind,
    Route,
    TcpConnections,
    VirtualHost,
    WeightedBackend,
)
from fairlead.models.asm.governing import Traffic
from fairlead.problems import Problem, error
from fairlead.resolve import mesh
from fairlead.resolve.governance import rules
from fairlead.resolve.governance.connections import of_connections
from fairlead.resolve.governance.routes import governed
from fairlead.resolve.governance.rules import Target
from fairlead.resolve.listeners import governed_by
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection
from fairlead.resolve.sidecar import ingress
from fairlead.resolve.sidecar.exposures import APPLICATION_ADDRESS, Kind
from fairlead.resolve.sidecar.ingress import InboundPort
from fairlead.world import World

_ANY_ADDRESS = "0.0.0.0"


@derived
def listener_names(world: World, selection: Selection) -> frozenset[str]:
    """Names of the inbound listeners, as long as nothing is known of the workload's address."""
    return frozenset(_name(port) for port in ingress.inbound_ports(world, selection).value)


def _name(port: InboundPort) -> str:
    return f"{port.bind or _ANY_ADDRESS}_{port.port}"


@derived
def listener(world: World, selection: Selection, name: str) -> Outcome[Listener | None]:
    """An inbound listener; None when the proxies of the workload cannot have it."""
    found = ingress.inbound_ports(world, selection)
    port = next((port for port in found.value if _name(port) == name), None)
    if port is None:
        return Outcome(None)
    if (obstacle := _obstacle(selection, port)) is not None:
        return Outcome(None, (obstacle,))
    chain = _chain(world, selection, port)
    made = Listener(
        name=name,
        address=port.bind or _ANY_ADDRESS,
        port=port.port,
        filter_chains=(chain,),
        origin=(port.key, *governed_by(chain)),
        wildcard=not port.bind,
        access_log=mesh.listener_log(world),
    )
    return Outcome(made)


def _obstacle(selection: Selection, port: InboundPort) -> Problem | None:
    """Why the sidecar must not listen: it would take the port from the application, or lose it to it."""
    workload = selection.workload
    if not port.bind and (workload is None or not workload.has_address):
        return error(
            "no-workload-address",
            f"port {port.port} is not served: the sidecar does not say at which address others reach its workload",
            key=port.key,
            path=port.path,
            hint="name one other than the application's 127.0.0.1: fairlead bootstrap --address IP",
        )
    at_application = port.endpoint.address == APPLICATION_ADDRESS and port.endpoint.port == port.port
    if port.bind in (APPLICATION_ADDRESS, _ANY_ADDRESS, "::") and at_application:
        return error(
            "server-conflict",
            f"port {port.port} is not served: at {port.bind} it is where the application itself listens",
            key=port.key,
            path=(*port.path, "bind"),
            hint="bind another address, or name another port in defaultEndpoint",
        )
    return None


def _chain(world: World, selection: Selection, port: InboundPort) -> FilterChain:
    backend = ingress.backend(selection, port.port)
    name = f"inbound|{port.port}||"
    origin = (port.key,)
    if port.kind is not Kind.HTTP:
        connections = TcpConnections(name, (WeightedBackend(backend),), access_log=mesh.access_log(world))
        return FilterChain(name, (), port.tls, connections, origin)
    route = Route("default", Match(PathMatch(PathMatchKind.PREFIX, "/")), Forward((Destination(backend),)), origin)
    host_name = f"inbound|http|{port.port}"
    workload = () if selection.workload is None else selection.workload.services
    ports = frozenset((port.port, port.declared))
    services = rules.names_of(world, host_name, ingress.services_of(world, selection, port.port))
    target = Target(Traffic.SIDECAR_INBOUND, rules.names_of(world, host_name, workload), ports, services)
    host = VirtualHost(host_name, ("*",), governed(world, selection, target, (route,)), origin)
    http = HttpConnections(
        route_table=name,
        stat_prefix=f"inbound_{_name(port)}",
        edge=False,
        inline=host,
        options=mesh.sidecar_http_options(world),
        access_log=mesh.access_log(world),
        governance=of_connections(world, selection, Traffic.SIDECAR_INBOUND, ports, services),
    )
    return FilterChain(name, (), port.tls, http, origin)
