"""A small world that changes: objects, each with what it may be, of which each kind of resource is made."""

from e2e.objects import issued, secret
from support.istio import gateway, http, service, tls, virtual_service

APPS = ("edge", "inner")
"""Values of the label `app` of the proxies, in the namespace `edge`."""


def endpoints(name: str, *addresses: str) -> str:
    listed = ", ".join(f"{{addresses: [{address}]}}" for address in addresses)
    return f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: edge, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: 9000}}]
endpoints: [{listed}]
"""


def rule_for(name: str, policy: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: edge}}
spec: {{host: {name}, trafficPolicy: {{loadBalancer: {{simple: {policy}}}}}}}
"""


def route(name: str, backend: str, *, hosts: str = "", gateways: str = "edge") -> str:
    spec = f"http: [{{route: [{{destination: {{host: {backend}}}}}]}}]"
    return virtual_service(name, spec, hosts=hosts or f"{name}.example.com", gateways=gateways)


PORT = "{name: http, port: 80}"
VARIANTS: list[list[str]] = [
    [
        gateway("edge", http()),
        gateway("edge", http(), tls("s.example.com")),
        gateway("edge", http(8081, "a.example.com"), tls("t.example.com", "more")),
        gateway("edge", http(), selector="{app: inner}"),
    ],
    [
        gateway("inner", http(), selector="{app: inner}"),
        gateway("inner", http(8080, "i.example.com"), selector="{app: inner}"),
    ],
    [route("a", "shop"), route("a", "store"), route("a", "nowhere"), route("a", "shop", gateways="edge, inner")],
    [route("b", "store"), route("b", "shop", hosts="b.example.com, s.example.com"), route("b", "store", gateways="x")],
    [service("shop", PORT), service("shop", "{name: http, port: 81}")],
    [service("store", PORT)],
    [endpoints("shop", "10.0.0.1"), endpoints("shop", "10.0.0.1", "10.0.0.2"), endpoints("shop")],
    [endpoints("store", "10.0.0.3"), endpoints("store", "10.0.0.4")],
    [rule_for("shop", "RANDOM"), rule_for("shop", "LEAST_REQUEST")],
    [secret("cert", issued(name, "s.example.com"), namespace="edge") for name in ("one", "two")],
    [service("front", f"{{port: 80, targetPort: {target}}}", "{app: edge}") for target in (80, 8000)],
]
"""Objects, and what each may be; any may also be absent."""
