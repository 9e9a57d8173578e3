"""Istio's objects, written short, and what proxies make of them, read short."""

import textwrap
from collections.abc import Hashable
from typing import TypeVar

from fairlead.derive import Collection
from fairlead.intent import FilterChain, HttpConnections, Listener, VirtualHost
from fairlead.problems import Problem
from fairlead.resolve import listeners, virtual_hosts
from fairlead.resolve.dialects import DIALECTS
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Proxy, Selection
from fairlead.resolve.selection import selection
from fairlead.world import World
from support.worlds import world as made_of

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

EDGE = Proxy(namespace="edge", labels=frozenset({("app", "edge"), ("version", "1")}))
"""The proxy that objects of the functions here are for."""


def gateway(name: str, *servers: str, created: int = 0, selector: str = "{app: edge}", namespace: str = "edge") -> str:
    """A Gateway; servers in YAML's flow style, without their braces."""
    listed = "".join(f"\n  - {{{server}}}" for server in servers)
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}, {_created(created)}}}
spec:
  selector: {selector}
  servers:{listed}
"""


def http(port: int = 80, hosts: str = '"*"', more: str = "") -> str:
    """A server of plaintext HTTP, for `gateway`."""
    return f"port: {{number: {port}, name: http-{port}, protocol: HTTP}}, hosts: [{hosts}], {more}"


def tls(
    hosts: str, name: str = "https", port: int = 443, *, protocol: str = "HTTPS", tls: str = "", more: str = ""
) -> str:
    """A server with TLS, for `gateway`."""
    settings = tls or "mode: SIMPLE, credentialName: cert"
    return (
        f"port: {{number: {port}, name: {name}, protocol: {protocol}}}, hosts: [{hosts}], tls: {{{settings}}}, {more}"
    )


def virtual_service(
    name: str,
    spec: str,
    *,
    hosts: str = "a.example.com",
    gateways: str = "edge",
    namespace: str = "edge",
    created: int = 0,
) -> str:
    """A VirtualService; `spec` is what follows hosts and gateways."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}, {_created(created)}}}
spec:
  hosts: [{hosts}]
  gateways: [{gateways}]
{textwrap.indent(textwrap.dedent(spec), "  ")}
"""


def service(
    name: str, ports: str = "{port: 80}", selector: str = "{}", namespace: str = "edge", created: int = 0
) -> str:
    """A Kubernetes Service."""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}, {_created(created)}}}
spec: {{ports: [{ports}], selector: {selector}}}
"""


def config_map(mesh: str, **more: str) -> str:
    """The ConfigMap of a MeshConfig in YAML."""
    keys = {"mesh": mesh, **more}
    data = "".join(f"  {key}: |\n{textwrap.indent(text, '    ')}\n" for key, text in keys.items())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n{data}"


def _created(year: int) -> str:
    """The year 0 stands for a date that is not given."""
    return f'creationTimestamp: "{2000 + year}-01-01T00:00:00Z"' if year else ""


# --- What comes of them -----------------------------------------------------------------------------------------------


def chosen(world: World, proxy: Proxy = EDGE) -> Selection:
    """What applies to the proxy."""
    return selection(world, proxy)


def all_listeners(world: World, proxy: Proxy = EDGE) -> dict[str, Listener]:
    """The listeners of a proxy, by name."""
    outcomes = _listener_outcomes(world, proxy)
    return {name: outcome.value for name, outcome in outcomes.items() if outcome.value is not None}


def _listener_outcomes(world: World, proxy: Proxy) -> dict[str, Outcome[Listener | None]]:
    selected = chosen(world, proxy)
    return {name: listeners.listener(world, selected, name) for name in listeners.listener_names(world, selected)}


def all_hosts(world: World, proxy: Proxy = EDGE) -> dict[tuple[str, str], VirtualHost]:
    """The virtual hosts of a proxy, by route table and domain."""
    found = virtual_hosts.virtual_hosts(world, chosen(world, proxy))
    return {tuple(key): outcome.value for key, outcome in items(found)}


def all_problems(world: World, proxy: Proxy = EDGE) -> set[Problem]:
    """What is wrong, in the eyes of a proxy or of all."""
    hosts = virtual_hosts.virtual_hosts(world, chosen(world, proxy))
    found = {problem for outcome in _listener_outcomes(world, proxy).values() for problem in outcome.problems}
    found |= {problem for _, outcome in items(hosts) for problem in outcome.problems}
    reviews = [review for dialect in DIALECTS for review in dialect.reviews(world)]
    return found | {problem for review in reviews for _, problems in items(review) for problem in problems}


def items(collection: Collection[K, V]) -> list[tuple[K, V]]:
    """All keys and values of a collection."""
    keys = list(collection.keys())
    return [(key, value) for key in keys if (value := collection.get(key)) is not None]


def shown(chain: FilterChain) -> str:
    """A filter chain in one line: what it matches -> where it goes."""
    matched = ",".join(sorted(chain.server_names)) or "any"
    encryption = "tls " if chain.tls else "passed " if chain.passthrough else ""
    if isinstance(chain.connections, HttpConnections):
        return f"{encryption}{matched} -> {chain.connections.route_table}"
    shares = ", ".join(
        f"{share.backend.host.partition('.')[0]}:{share.backend.port}" for share in chain.connections.backends
    )
    return f"{encryption}{matched} -> {shares}"


def shown_listeners(world: World, proxy: Proxy = EDGE) -> dict[str, list[str]]:
    """All listeners of a proxy, with their chains in one line each."""
    return {
        name: [shown(chain) for chain in found.filter_chains] for name, found in all_listeners(world, proxy).items()
    }


# --- One VirtualService on one server ---------------------------------------------------------------------------------

TO_SHOP = "route: [{destination: {host: shop}}]"
SHOPS = service("shop") + "---" + service("many", "{port: 1}, {port: 2}")


def route_world(*routes: str, servers: str = "", more: str = SHOPS) -> World:
    """A VirtualService with these routes, in YAML's flow style without their braces, on one server of HTTP."""
    listed = "http:" + "".join(f"\n- {{{route}}}" for route in routes)
    return made_of(gateway("edge", servers or http()), virtual_service("v", listed), more)


def only_host(world: World) -> VirtualHost:
    """The virtual host of a world that has one."""
    (host,) = all_hosts(world).values()
    return host
