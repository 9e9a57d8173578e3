"""Objects of the Gateway API, written short, and what proxies make of them, read short."""

from collections.abc import Iterable

from fairlead.intent import DirectResponse, Forward, Redirect, Route
from fairlead.problems import Problem, format_path
from fairlead.resolve.gateway_api.gateways import NAME_LABEL
from fairlead.resolve.scope import Proxy
from fairlead.world import World
from support.istio import all_hosts, all_problems


def proxy(gateway: str = "edge", namespace: str = "edge") -> Proxy:
    """A proxy for one Gateway."""
    return Proxy(namespace=namespace, labels=frozenset({(NAME_LABEL, gateway)}))


EDGE = proxy()


def gateway(*listeners: str, name: str = "edge", namespace: str = "edge", cls: str = "fairlead", more: str = "") -> str:
    """A Gateway; listeners in YAML's flow style, without their braces."""
    listed = "".join(f"\n  - {{{listener}}}" for listener in listeners)
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  gatewayClassName: {cls}
  listeners:{listed}
  {more}
"""


def gateway_class(name: str, controller: str, more: str = "") -> str:
    """A GatewayClass."""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: {name}}}
spec: {{controllerName: {controller}, {more}}}
"""


def http(name: str = "http", host: str = "", port: int = 80, more: str = "") -> str:
    """A listener of protocol HTTP, for `gateway`."""
    return f'name: {name}, port: {port}, protocol: HTTP, hostname: "{host}", {more}'


def https(
    name: str = "https", host: str = "", port: int = 443, certificates: str = "{name: cert}", tls: str = ""
) -> str:
    """A listener of protocol HTTPS, for `gateway`."""
    return (
        f'name: {name}, port: {port}, protocol: HTTPS, hostname: "{host}", '
        f"tls: {{certificateRefs: [{certificates}], {tls}}}"
    )


TO_SHOP = "backendRefs: [{name: shop, port: 80}]"


def route(
    *rules: str,
    name: str = "route",
    namespace: str = "edge",
    hosts: str = "",
    parents: str = "{name: edge, namespace: edge}",
    created: int = 0,
    more: str = "",
) -> str:
    """An HTTPRoute; rules and parents in YAML's flow style, rules without their braces."""
    listed = "".join(f"\n  - {{{rule}}}" for rule in rules or (TO_SHOP,))
    date = f'creationTimestamp: "{2000 + created}-01-01T00:00:00Z"' if created else ""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}, {date}}}
spec:
  parentRefs: [{parents}]
  hostnames: [{hosts}]
  {more}
  rules:{listed}
"""


def grant(source: str, target: str, namespace: str, name: str = "grant") -> str:
    """A ReferenceGrant; `from` and `to` in YAML's flow style, without their braces."""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{from: [{{{source}}}], to: [{{{target}}}]}}
"""


def namespace(name: str, labels: str = "") -> str:
    """A Namespace."""
    return f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{{labels}}}}}}}"


# --- What comes of them -----------------------------------------------------------------------------------------------


def routes_by_host(world: World, table: str = "http.80", asking: Proxy = EDGE) -> dict[str, list[str]]:
    """Domain -> the names of the routes of a route table, in order."""
    return {
        domain: [found.name for found in host.routes]
        for (name, domain), host in all_hosts(world, asking).items()
        if name == table
    }


def only_routes(world: World, asking: Proxy = EDGE) -> tuple[Route, ...]:
    """The routes of the virtual host of a world that has one."""
    (host,) = all_hosts(world, asking).values()
    return host.routes


def answer(found: Route) -> str:
    """What a route does with requests, in one line."""
    match found.action:
        case Forward(destinations=destinations):
            shares = (
                f"{share.backend.host.split('.')[0]}:{share.backend.port}" if share.backend else "500"
                for share in destinations
            )
            weights = (share.weight for share in destinations)
            return ", ".join(f"{share}*{weight}" for share, weight in zip(shares, weights, strict=True))
        case DirectResponse(status=status):
            return str(status)
        case Redirect(status=status):
            return f"redirect {status}"


def told(world: World, asking: Proxy = EDGE) -> list[str]:
    """The problems, each as `code object path`, in order."""
    return sorted(short(problem) for problem in all_problems(world, asking))


def short(problem: Problem) -> str:
    """A problem in one line, without its words."""
    name = problem.key.name if problem.key is not None else ""
    return f"{problem.code} {name} {format_path(problem.path)}"


def words(world: World, asking: Proxy = EDGE) -> str:
    """The messages of all problems."""
    return "\n".join(sorted(problem.message for problem in all_problems(world, asking)))


def count(names: Iterable[str], of: dict[str, int]) -> dict[str, int]:
    """Some of many counts."""
    return {name: of.get(name, 0) for name in names}
