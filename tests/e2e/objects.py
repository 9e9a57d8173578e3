"""YAML of the objects that end-to-end tests need, with as few words as possible."""

import base64
import textwrap
from datetime import UTC, datetime, timedelta

from fairlead.certificates.issuing import Issued, issue

PROXY_NAMESPACE = "istio-system"
PROXY_LABELS = {"istio": "ingressgateway"}
HTTP, HTTPS = 8080, 8443
"""The ports that the proxy binds for 80 and 443."""

FRONT = """
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: https, port: 443, targetPort: 8443}
"""


def issued(name: str, *hosts: str, issuer: Issued | None = None) -> Issued:
    """A certificate that is valid now; a CA's without hosts."""
    start = datetime.now(UTC) - timedelta(hours=1)
    return issue(name, start=start, lifetime=timedelta(days=365), hosts=hosts, issuer=issuer)


def secret(name: str, pair: Issued, namespace: str = PROXY_NAMESPACE) -> str:
    return secret_of(name, pair.certificate_pem, pair.key_pem.reveal(), namespace)


def secret_of(name: str, certificate: bytes, key: bytes, namespace: str = PROXY_NAMESPACE) -> str:
    """A Secret as `kubectl create secret tls` makes it."""
    encoded = {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
type: kubernetes.io/tls
data:
  tls.crt: {encoded["tls.crt"]}
  tls.key: {encoded["tls.key"]}
"""


def service(name: str, port: int, endpoint: int, namespace: str = "default") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  ports: [{{name: http, port: {port}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: {endpoint}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"""


def https_server(hosts: str, credential: str, name: str = "https") -> str:
    return f"""
  - port: {{number: 443, name: {name}, protocol: HTTPS}}
    tls: {{mode: SIMPLE, credentialName: {credential}}}
    hosts: ["{hosts}"]"""


def http_server(hosts: str = "*") -> str:
    return f"""
  - port: {{number: 80, name: http, protocol: HTTP}}
    hosts: ["{hosts}"]"""


def gateway(*servers: str, name: str = "edge", selector: str = "istio: ingressgateway") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{{selector}}}
  servers:{"".join(servers)}
"""


def route(name: str, host: str, backend: str, port: int = 80, match: str = "prefix: /") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: ["{host}"]
  gateways: [edge]
  http:
  - match: [{{uri: {{{match}}}}}]
    route: [{{destination: {{host: {backend}, port: {{number: {port}}}}}}}]
"""


def together(*documents: str) -> str:
    return "\n---\n".join(documents)


def resource(api: str, kind: str, name: str, spec: str, namespace: str = "default") -> str:
    """Any object with a `spec`, which is YAML of its own."""
    return f"""
apiVersion: {api}
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec:
{textwrap.indent(textwrap.dedent(spec).strip(), "  ")}
"""


def virtual_service(name: str, host: str, routes: str, gateways: str = "edge") -> str:
    """`routes`: `http`, `tls` and `tcp` of the VirtualService."""
    spec = f'hosts: ["{host}"]\ngateways: [{gateways}]\n{textwrap.dedent(routes).strip()}'
    return resource("networking.istio.io/v1", "VirtualService", name, spec)


def destination_rule(name: str, policy: str) -> str:
    """The traffic policy of the service of that name."""
    return resource("networking.istio.io/v1", "DestinationRule", name, f"host: {name}\ntrafficPolicy: {{{policy}}}")
