"""Gateways: which proxies they are for, and what listens there."""

from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.derive import Collection, derived, derived_index, derived_map
from fairlead.models.istio.gateway import Gateway, ServerTLSMode
from fairlead.models.istio.gateway import Server as DeclaredServer
from fairlead.models.istio.mesh_config import TLSConfig
from fairlead.problems import FieldPath, Problem
from fairlead.resolve import mesh
from fairlead.resolve.dialect import Server, ServerProtocol
from fairlead.resolve.istio.server_tls import obstacles, termination
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Labels, Selection, Selector
from fairlead.world import ObjectName, World

_PLAIN_HTTP = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
_BYTES = frozenset({"TCP", "MONGO", "MYSQL", "REDIS"})
_ANY_NAMESPACE = "*"


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """A server of a Gateway, with the namespaces whose VirtualServices may use its hosts."""

    server: Server
    hosts: tuple[tuple[str, frozenset[str]], ...]
    """Namespace, or `*` for every one -> host names."""

    def hosts_for(self, namespace: str) -> frozenset[str]:
        """The hosts that VirtualServices of a namespace may use."""
        return frozenset().union(*(names for owner, names in self.hosts if owner in (namespace, _ANY_NAMESPACE)))


def _gateways(world: World) -> Collection[ObjectName, Gateway]:
    return world.objects(Gateway)


@derived_index(_gateways)
def selectors(_world: World, _name: ObjectName, gateway: Gateway) -> Iterable[Selector]:
    """Selector -> the Gateways that have it. One without labels selects every proxy."""
    yield _selector(gateway)


def _selector(gateway: Gateway) -> Selector:
    return Selector("", Labels(gateway.spec.selector.items()))


@derived
def selector(world: World, name: ObjectName) -> Selector | None:
    """Which proxies a Gateway is for; None when there is no such Gateway."""
    gateway = world.objects(Gateway).get(name)
    return None if gateway is None else _selector(gateway)


@derived
def gateway_servers(world: World, name: ObjectName) -> tuple[GatewayServer, ...]:
    """The servers of a Gateway that can be served; none when there is no such Gateway."""
    translation = translations(world).get(name)
    return () if translation is None else translation.value


@derived
def servers(world: World, selection: Selection) -> tuple[Server, ...]:
    """The servers of all Gateways for the proxies of a selection."""
    names = {name for wanted in selection.selectors for name in selectors(world).get(wanted) or ()}
    return tuple(found.server for name in sorted(names) for found in gateway_servers(world, name))


@derived_map(_gateways)
def translations(world: World, name: ObjectName) -> Outcome[tuple[GatewayServer, ...]] | None:
    """What each Gateway says, for whatever proxies."""
    gateway = world.objects(Gateway).get(name)
    if gateway is None:
        return None
    found: list[GatewayServer] = []
    problems: list[Problem] = []
    for index, declared in enumerate(gateway.spec.servers):
        path = ("spec", "servers", index)
        protocol = _protocol(declared)
        reasons = obstacles(declared.tls, gateway.key, (*path, "tls")) if declared.tls is not None else ()
        if protocol is not None and not reasons:
            server = _server(gateway, declared, path, protocol, mesh.tls_defaults(world))
            found.append(GatewayServer(server, _hosts_by_namespace(declared.hosts, gateway.metadata.namespace)))
        else:
            problems.extend(reasons)
    return Outcome(tuple(found), tuple(problems))


@derived_map(translations)
def reviews(world: World, name: ObjectName) -> tuple[Problem, ...] | None:
    """What is wrong with each Gateway."""
    translation = translations(world).get(name)
    return None if translation is None or not translation.problems else translation.problems


def _protocol(declared: DeclaredServer) -> ServerProtocol | None:
    """What a server does; None for protocols that have no meaning for a gateway, which validation tells of."""
    name = declared.port.protocol.upper()
    if name in _PLAIN_HTTP:
        return ServerProtocol.HTTP
    if name in _BYTES:
        return ServerProtocol.TCP
    if declared.tls is None or name not in ("HTTPS", "TLS"):
        return None
    if declared.tls.mode is ServerTLSMode.PASSTHROUGH:
        return ServerProtocol.TLS_PASSTHROUGH
    return ServerProtocol.HTTPS if name == "HTTPS" else ServerProtocol.TLS


def _server(
    gateway: Gateway, declared: DeclaredServer, path: FieldPath, protocol: ServerProtocol, defaults: TLSConfig
) -> Server:
    tls = None
    if declared.tls is not None and protocol in (ServerProtocol.HTTPS, ServerProtocol.TLS):
        tls = termination(declared.tls, defaults, http=protocol is ServerProtocol.HTTPS)
    # What would bind the wildcard address anyway shares the listener, and the bind address of its proxies.
    bind = "" if declared.bind == "0.0.0.0" else declared.bind
    port = declared.port
    table = ""
    if protocol is ServerProtocol.HTTPS:
        table = f"https.{port.number}.{port.name}.{gateway.metadata.name}.{gateway.metadata.namespace}"
        table += f".{bind}" if bind else ""
    return Server(
        gateway=gateway.key,
        created=gateway.metadata.creation_timestamp or "",
        declared_by=gateway.key,
        path=path,
        name=port.name,
        port=port.number,
        bind=bind,
        protocol=protocol,
        hosts=tuple(dict.fromkeys(_host(text)[1] for text in declared.hosts)),
        route_table=table,
        tls=tls,
        https_redirect=protocol is ServerProtocol.HTTP and declared.tls is not None and declared.tls.https_redirect,
        grpc_web=port.protocol.upper() == "GRPC-WEB",
        stat_prefix=declared.name,
    )


def _host(declared: str) -> tuple[str, str]:
    """Namespace as written, `*` when there is none, and host name."""
    namespace, slash, host = declared.rpartition("/")
    return (namespace if slash else _ANY_NAMESPACE), host.lower()


def _hosts_by_namespace(declared: Iterable[str], own: str) -> tuple[tuple[str, frozenset[str]], ...]:
    found: dict[str, set[str]] = {}
    for text in declared:
        namespace, host = _host(text)
        found.setdefault(own if namespace == "." else namespace, set()).add(host)
    return tuple((namespace, frozenset(hosts)) for namespace, hosts in sorted(found.items()))
