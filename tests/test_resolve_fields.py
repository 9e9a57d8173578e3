"""No field of a Gateway or VirtualService is without effect and without a word about that."""

import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fairlead.models.base import KubernetesObject, Model
from fairlead.models.istio.gateway import GatewaySpec
from fairlead.models.istio.virtual_service import VirtualServiceSpec
from fairlead.validation import validate
from support.istio import (
    EDGE,
    all_hosts,
    all_listeners,
    all_problems,
    chosen,
    gateway,
    http,
    service,
    tls,
    virtual_service,
)
from support.worlds import objects, world

MUTUAL = """mode: MUTUAL, credentialName: cert, caCertCredentialName: ca,
  subjectAltNames: [a], verifyCertificateSpki: [s], verifyCertificateHash: [h],
  minProtocolVersion: TLSV1_1, maxProtocolVersion: TLSV1_2, cipherSuites: [AES128-SHA],
  ecdhCurves: [X25519], insecureSkipVerify: true"""
FILES = "mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /a, caCrl: /l"
PAIRS = "mode: MUTUAL, tlsCertificates: [{serverCertificate: /c, privateKey: /k, caCertificates: /a}]"
TCP = "port: {number: 90, name: tcp, protocol: TCP}, hosts: ['*']"

GATEWAY = gateway(
    "edge",
    http(80, '"*"', "tls: {httpsRedirect: true}"),
    "port: {number: 81, name: h, protocol: HTTP, targetPort: 9}, hosts: ['*'], bind: 127.0.0.1, defaultEndpoint: x",
    tls("a.com", "a", more="name: shop", tls=MUTUAL),
    tls("b.com", "b", tls="mode: SIMPLE, credentialNames: [rsa, ec]"),
    tls("c.com", "c", tls=FILES),
    tls("d.com", "d", tls=PAIRS),
    tls("e.com", "e", protocol="TLS", tls="mode: PASSTHROUGH"),
    TCP,
)
HTTP = virtual_service(
    "http",
    """
    exportTo: ["."]
    http:
    - name: forward
      match:
      - {name: m, uri: {exact: /1}, method: {exact: GET}, authority: {prefix: a}, scheme: {regex: h.*}, port: 80}
      - {headers: {a: {exact: b}}, withoutHeaders: {c: {}}, statPrefix: s, sourceLabels: {app: edge}}
      - {queryParams: {d: {}}, uri: {prefix: /2}, ignoreUriCase: true}
      - {uri: {exact: /2}, sourceNamespace: team}
      - {uri: {exact: /3}, sourceLabels: {app: other}}
      - {uri: {exact: /4}, gateways: [other]}
      route:
      - destination: {host: shop, subset: v1, port: {number: 80}}
        weight: 25
        headers:
          request: {set: {a: "1"}, add: {b: "2"}, remove: [c]}
          response: {set: {d: "3"}, add: {e: "4"}, remove: [f]}
      - {destination: {host: many, port: {number: 2}}, weight: 1}
      rewrite: {uri: /r, authority: c.example.com}
      timeout: 5s
      retries:
        attempts: 3
        perTryTimeout: 250ms
        retryOn: 5xx,503
        retryRemoteLocalities: true
        retryIgnorePreviousHosts: false
        backoff: 10ms
      fault: {delay: {fixedDelay: 5s, percentage: {value: 1}}, abort: {httpStatus: 500, percentage: {value: 1}}}
      mirror: {host: shop}
      mirrorPercentage: {value: 12.5}
      mirrors: [{destination: {host: shop}, percentage: {value: 50}}]
      corsPolicy:
        allowOrigins: [{prefix: "https://"}]
        allowMethods: [GET]
        allowHeaders: [x-a]
        exposeHeaders: [x-b]
        maxAge: 24h
        allowCredentials: true
        unmatchedPreflights: IGNORE
      headers: {request: {set: {x-g: "5"}}, response: {remove: [x-h]}}
    - match: [{uri: {exact: /old}}]
      route: [{destination: {host: shop}}]
      rewrite: {uriRegexRewrite: {match: "^/(.*)$", rewrite: '/x/\\1'}}
      mirror: {host: shop}
      mirrorPercent: 10
      corsPolicy: {allowOrigin: [a]}
      fault: {delay: {exponentialDelay: 1s, percent: 5}, abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}}
    - match: [{uri: {exact: /unknown}}]
      route: [{destination: {host: shop}}]
      fault: {abort: {http2Error: PROTOCOL_ERROR, percentage: {value: 1}}}
    - match: [{uri: {exact: /redirect}}]
      redirect: {uri: /new, authority: b.com, port: 8443, scheme: https, redirectCode: 307}
    - match: [{uri: {exact: /redirects}}]
      redirect: {prefixRewrite: /newer, scheme: https, derivePort: FROM_REQUEST_PORT}
    - {match: [{uri: {exact: /text}}], directResponse: {status: 200, body: {string: text}}}
    - {match: [{uri: {exact: /bytes}}], directResponse: {status: 200, body: {bytes: dGV4dA==}}}
    - {delegate: {name: leaf, namespace: team}}
    """,
    hosts="a.com",
)
CONNECTIONS = virtual_service(
    "connections",
    """
    tls:
    - {match: [{sniHosts: [e.com], port: 1}], route: [{destination: {host: shop}}]}
    - {match: [{sniHosts: [e.com], sourceLabels: {app: other}}], route: [{destination: {host: shop}}]}
    - {match: [{sniHosts: [e.com], gateways: [other]}], route: [{destination: {host: shop}}]}
    - {match: [{sniHosts: [e.com], sourceNamespace: team}], route: [{destination: {host: shop}}]}
    - {match: [{sniHosts: [e.com], destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: shop}}]}
    - match: [{sniHosts: [e.com]}]
      route: [{destination: {host: shop}, weight: 1}, {destination: {host: shop, subset: v1}, weight: 2}]
    tcp:
    - {match: [{port: 1}], route: [{destination: {host: shop}}]}
    - {match: [{sourceLabels: {app: other}}], route: [{destination: {host: shop}}]}
    - {match: [{gateways: [other]}], route: [{destination: {host: shop}}]}
    - {match: [{sourceNamespace: team}], route: [{destination: {host: shop}}]}
    - {match: [{destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: shop}}]}
    - match: [{port: 90, sourceSubnet: 10.0.0.0/8}]
      route: [{destination: {host: shop}, weight: 1}, {destination: {host: shop, subset: v1}, weight: 2}]
    """,
    hosts="e.com",
)
CONTEXT = [
    service("shop"),
    service("many", "{port: 1}, {port: 2}"),
    virtual_service("leaf", "http: [{redirect: {uri: /team}}]", hosts="", gateways="", namespace="team"),
    virtual_service("leaf", "http: [{redirect: {uri: /edge}}]", hosts="", gateways=""),
    virtual_service("another", "http: [{redirect: {uri: /other}}]", hosts="a.com"),
    """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop, namespace: edge}
spec: {host: shop, subsets: [{name: v1, labels: {version: v1}}]}
""",
]
TESTED = [obj for text in (GATEWAY, HTTP, CONNECTIONS) for obj in objects(text)]


def without_each_field(value: Any) -> Iterator[tuple[str, Any]]:
    """Names of fields below a value that are set and could be absent, each with what the value then is."""
    if isinstance(value, Model | KubernetesObject):
        for field in msgspec.structs.fields(value):
            if field.name == "metadata":
                continue
            present = getattr(value, field.name)
            optional = not field.required
            absent = field.default if field.default is not msgspec.NODEFAULT else None
            if optional and field.default_factory is not msgspec.NODEFAULT:
                absent = field.default_factory()
            if optional and present != absent:
                yield f"{type(value).__name__}.{field.name}", msgspec.structs.replace(value, **{field.name: absent})
            for name, changed in without_each_field(present):
                yield name, msgspec.structs.replace(value, **{field.name: changed})
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            for name, changed in without_each_field(item):
                yield name, (*value[:index], changed, *value[index + 1 :])
    elif isinstance(value, dict):
        for key, item in value.items():
            for name, changed in without_each_field(item):
                yield name, value | {key: changed}


def optional_fields(model: type[Model]) -> Iterator[str]:
    """Names of all fields below a model that can be absent."""
    for field in msgspec.structs.fields(model):
        if not field.required:
            yield f"{model.__name__}.{field.name}"
        for part in _types_in(field.type):
            if isinstance(part, type) and issubclass(part, Model):
                yield from optional_fields(part)


def _types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in typing.get_args(annotation):
        yield from _types_in(part)


def outcome(obj: KubernetesObject) -> object:
    """All that comes of an object among the others, and all that is said about it."""
    made = world(*CONTEXT)
    for other in TESTED:
        made.put(obj if other.key == obj.key else other)
    messages = {(problem.code, problem.message, problem.path) for problem in (*validate(obj), *all_problems(made))}
    return chosen(made), all_listeners(made), all_hosts(made), messages


CASES: dict[str, list[tuple[KubernetesObject, KubernetesObject]]] = {}
"""Field -> objects with and without it."""
for tested in TESTED:
    for name, changed in without_each_field(tested):
        CASES.setdefault(name, []).append((tested, changed))
# Key pairs in files are not supported as a whole, which is told.
del CASES["TLSCertificate.ca_certificates"]


@pytest.mark.parametrize("name", CASES)
def test_to_leave_out_a_field_makes_a_difference(name: str) -> None:
    assert any(outcome(with_it) != outcome(without_it) for with_it, without_it in CASES[name])


def test_all_fields_are_tested() -> None:
    known = {name for spec in (GatewaySpec, VirtualServiceSpec) for name in optional_fields(spec)}
    assert known - CASES.keys() == {"TLSCertificate.ca_certificates"}


def test_the_objects_are_served() -> None:
    """Else the differences above would be found in objects that do nothing."""
    made = world(GATEWAY, HTTP, CONNECTIONS, *CONTEXT)
    assert set(all_listeners(made)) == {"0.0.0.0_80", "127.0.0.1_81", "0.0.0.0_443", "0.0.0.0_90"}
    assert EDGE.labels >= chosen(made).labels == {("app", "edge")}
