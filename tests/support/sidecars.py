"""Objects for sidecars, and what comes of them."""

from fairlead import diagnosis, translation
from fairlead.intent import DirectResponse, Forward, Listener, VirtualHost
from fairlead.problems import Problem
from fairlead.resolve.scope import Labels, Locality, Proxy, Role
from fairlead.resolve.selection import selection
from fairlead.world import World
from support.istio import items

CALLER: Labels = frozenset({("app", "caller"), ("team", "blue")})


def sidecar_proxy(
    labels: Labels = CALLER,
    *,
    namespace: str = "default",
    bind_address: str = "127.0.0.2",
    address: str = "10.0.0.1",
    http_proxy_port: int = 0,
) -> Proxy:
    return Proxy(
        Role.SIDECAR, namespace, labels, bind_address=bind_address, address=address, http_proxy_port=http_proxy_port
    )


SIDECAR = sidecar_proxy()


def service(name: str, *ports: str, namespace: str = "default", more: str = "") -> str:
    listed = ", ".join(ports or ("{name: http, port: 80}",))
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{ports: [{listed}], {more}}}
"""


def resource(kind: str, name: str, spec: str, *, namespace: str = "default", created: int = 0) -> str:
    when = f', creationTimestamp: "{2000 + created}-01-01T00:00:00Z"' if created else ""
    return f"""
apiVersion: networking.istio.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}{when}}}
spec: {spec}
"""


def virtual_service(
    name: str, host: str, status: int = 200, *, more: str = "", created: int = 0, namespace: str = "default"
) -> str:
    spec = f"{{hosts: ['{host}'], http: [{{directResponse: {{status: {status}}}}}], {more}}}"
    return resource("VirtualService", name, spec, created=created, namespace=namespace)


def sidecar(spec: str, name: str = "sidecar", *, namespace: str = "default", created: int = 0) -> str:
    return resource("Sidecar", name, f"{{{spec}}}", namespace=namespace, created=created)


def egress(*hosts: str) -> str:
    return f"egress: [{{hosts: [{', '.join(repr(host) for host in hosts)}]}}]"


# --- What comes of them ---


def hosts(made: World, proxy: Proxy = SIDECAR) -> dict[str, VirtualHost]:
    """Route table and virtual host, as `table/name`, but those of all other hosts."""
    found = items(translation.hosts_of(made, selection(made, proxy).shared))
    return {f"{key.route_table}/{outcome.value.name}": outcome.value for key, outcome in found if key.domain != "*"}


def answer(host: VirtualHost) -> str:
    """Where requests go at last: a service's host, or a status."""
    action = host.routes[-1].action
    if isinstance(action, Forward):
        backend = action.destinations[0].backend
        return backend.host if backend else ""
    return str(action.status) if isinstance(action, DirectResponse) else ""


def names(made: World, proxy: Proxy = SIDECAR) -> str:
    """The first letters of all hosts that are reached."""
    return "".join(sorted(name.partition("/")[2][0] for name in hosts(made, proxy)))


def listeners(made: World, proxy: Proxy = SIDECAR) -> dict[str, Listener]:
    found = items(translation.sidecar_outcomes(made, selection(made, proxy)))
    return {f"{key[0].value} {key[1]}": outcome.value for key, outcome in found if outcome.value is not None}


def resources(made: World, type_url: str, proxy: Proxy = SIDECAR) -> set[str]:
    """Names of the resources of a type."""
    found = translation.resource_maps(made, selection(made, proxy), proxy)[type_url]
    return {resource.name for _, resource in items(found)}  # type: ignore[arg-type]


def problems(made: World, proxy: Proxy = SIDECAR) -> set[Problem]:
    return diagnosis.problems(made, selection(made, proxy), Locality()) | diagnosis.review_problems(made)
