"""Rules of the Gateway API: each case is one change of an object that is free of faults, and what is said to it."""

import copy
from collections.abc import Iterable
from typing import Any

import pytest
import yaml
from fairlead.models.decode import decode
from fairlead.problems import Problem, Severity, format_path
from fairlead.validation import validate

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: a}
spec:
  gatewayClassName: fairlead
  addresses: [{value: 10.0.0.1}, {type: Hostname, value: a.example.com}]
  infrastructure:
    labels: {example.com/a: b}
    annotations: {a: b}
    parametersRef: {group: "", kind: ConfigMap, name: a}
  tls:
    backend: {clientCertificateRef: {name: a}}
    frontend:
      default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: a}]}}
      perPort: [{port: 443, tls: {}}, {port: 8443, tls: {}}]
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: a, port: 80, protocol: HTTP, hostname: "*.example.com", allowedRoutes: {kinds: [{kind: HTTPRoute}]}}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}]}}
  - {name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}}
  - {name: tcp, port: 5432, protocol: TCP}
"""

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a}
spec:
  parentRefs: [{name: a, sectionName: x}, {name: a, sectionName: y}, {name: b}, {name: b, namespace: c}]
  hostnames: [a.example.com, "*.example.com"]
  rules:
  - name: first
    matches:
    - path: {type: Exact, value: /a}
      headers: [{name: a, value: b}, {name: b, type: RegularExpression, value: b.*}]
      queryParams: [{name: a, value: b c}]
    - path: {type: RegularExpression, value: "/[a-z]+"}
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: a, value: b}], remove: [c]}
    - type: RequestMirror
      requestMirror: {backendRef: {name: a, port: 80}, fraction: {numerator: 1, denominator: 2}}
    - type: RequestMirror
      requestMirror: {backendRef: {name: a, port: 80}, percent: 5}
    - {type: URLRewrite, urlRewrite: {hostname: a.b, path: {type: ReplaceFullPath, replaceFullPath: /x}}}
    - {type: CORS, cors: {allowOrigins: ["https://*.a.com:8443"], allowMethods: ["*"], allowHeaders: [a]}}
    - {type: ExtensionRef, extensionRef: {group: a.com, kind: B, name: c}}
    - {type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: a, port: 80}, http: {path: /a}}}
    backendRefs: [{name: a, port: 80}, {name: b, kind: C, group: d.com, weight: 0}]
    timeouts: {request: 0s, backendRequest: 5s}
    retry: {codes: [500, 503]}
    sessionPersistence: {absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}
  - matches: [{path: {value: /a/b}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {hostname: a.b, statusCode: 308, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
"""

CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: a}
spec: {controllerName: example.com/a, parametersRef: {group: a.com, kind: B, name: c, namespace: d}}
"""

GRANT = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: a}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: a}]
  to: [{group: "", kind: Secret}, {group: "", kind: Secret, name: a}]
"""

Path = tuple[str | int, ...]


def problems(data: dict[str, Any]) -> tuple[Problem, ...]:
    decoded = decode(data)
    assert decoded.object is not None, decoded.problems
    return (*decoded.problems, *validate(decoded.object))


def told(found: Iterable[Problem]) -> list[str]:
    """Code and path, below `spec`, of each problem."""
    return [f"{problem.code} {format_path(problem.path[1:])}" for problem in found]


def changed(text: str, path: str, value: Any) -> dict[str, Any]:
    """An object with one field, by its path below `spec`, set to a value in YAML."""
    data = yaml.safe_load(text)
    place = data["spec"]
    parts: list[str | int] = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parts[:-1]:
        place = place[part]
    if isinstance(place, list) and parts[-1] == len(place):
        place.append(yaml.safe_load(value))
    else:
        place[parts[-1]] = yaml.safe_load(value) if isinstance(value, str) else value
    return copy.deepcopy(data)


@pytest.mark.parametrize("text", [GATEWAY, ROUTE, CLASS, GRANT])
def test_objects_without_fault(text: str) -> None:
    assert problems(yaml.safe_load(text)) == ()


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("gatewayClassName", "''", ["invalid-value gatewayClassName"]),
        ("addresses.2", "{value: 10.0.0.1}", ["duplicate-value addresses[2].value"]),
        ("addresses.2", "{type: Hostname, value: A_}", ["invalid-host addresses[2].value"]),
        ("addresses.2", "{type: MACAddress, value: x}", ["invalid-value addresses[2].type"]),
        ("addresses.2", "{type: NamedAddress}", []),
        ("addresses.2", "{type: example.com/other, value: x}", []),
        ("addresses", [{"value": f"10.0.0.{n}"} for n in range(17)], ["too-many addresses"]),
        (
            "infrastructure.labels",
            "{-: b, a: ' '}",
            ['invalid-value infrastructure.labels["-"]', "invalid-value infrastructure.labels.a"],
        ),
        ("infrastructure.labels", dict.fromkeys("abcdefghi", "x"), ["too-many infrastructure.labels"]),
        ("infrastructure.parametersRef.kind", "''", ["invalid-value infrastructure.parametersRef.kind"]),
        (
            "tls.backend.clientCertificateRef.namespace",
            "a.b",
            ["invalid-value tls.backend.clientCertificateRef.namespace"],
        ),
        (
            "tls.frontend.default.validation.caCertificateRefs",
            "[]",
            ["missing-field tls.frontend.default.validation.caCertificateRefs"],
        ),
        ("tls.frontend.perPort.1.port", "443", ["duplicate-value tls.frontend.perPort[1].port"]),
        ("listeners", "[]", ["missing-field listeners"]),
        ("listeners.1.name", "http", ["duplicate-value listeners[1].name"]),
        ("listeners.1.name", "A", ["invalid-value listeners[1].name"]),
        ("listeners.1.hostname", "a.*.com", ["invalid-host listeners[1].hostname"]),
        ("listeners.1.hostname", "Example.com", ["invalid-host listeners[1].hostname"]),
        ("listeners.1.hostname", "", ["duplicate-value listeners[1]"]),
        ("listeners.1.protocol", "a b", ["invalid-value listeners[1].protocol"]),
        ("listeners.1.protocol", "example.com/other", []),
        ("listeners.1.protocol", "TCP", ["invalid-value listeners[1].hostname"]),
        (
            "listeners.1.allowedRoutes.namespaces",
            "{from: None}",
            ["invalid-value listeners[1].allowedRoutes.namespaces.from"],
        ),
        (
            "listeners.1.allowedRoutes.kinds.0.kind",
            "''",
            ["invalid-value listeners[1].allowedRoutes.kinds[0].kind"],
        ),
        ("listeners.0.tls", "{mode: Passthrough}", ["invalid-value listeners[0].tls"]),
        ("listeners.2.tls.mode", "Passthrough", ["invalid-value listeners[2].tls.mode"]),
        ("listeners.2.tls.certificateRefs", "[]", ["missing-field listeners[2].tls.certificateRefs"]),
        ("listeners.2.tls", "{options: {a: b}}", []),
        (
            "listeners.2.tls.certificateRefs.0.name",
            "''",
            ["invalid-value listeners[2].tls.certificateRefs[0].name"],
        ),
        ("listeners.3.tls", None, ["missing-field listeners[3].tls"]),
    ],
)
def test_gateways(path: str, value: Any, expected: list[str]) -> None:
    assert told(problems(changed(GATEWAY, path, value))) == expected


def test_an_address_that_is_none_is_a_warning_because_the_rest_can_be_served() -> None:
    (problem,) = problems(changed(GATEWAY, "addresses.2", "{value: x}"))
    assert (problem.severity, problem.path) == (Severity.WARNING, ("spec", "addresses", 2, "value"))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("parentRefs.1", "{name: a}", ["missing-field parentRefs[1]"]),
        ("parentRefs.1", "{name: a, port: 80}", ["missing-field parentRefs[1]"]),
        ("parentRefs.1.sectionName", "x", ["duplicate-value parentRefs[1]"]),
        ("parentRefs.1.sectionName", "X", ["invalid-value parentRefs[1].sectionName"]),
        ("parentRefs.2.name", "''", ["invalid-value parentRefs[2].name"]),
        ("hostnames.0", "a.example.com:80", ["invalid-host hostnames[0]"]),
        ("hostnames.0", "'*'", ["invalid-host hostnames[0]"]),
        ("hostnames", [f"a{n}" for n in range(17)], ["too-many hostnames"]),
        ("rules", "[]", ["missing-field rules"]),
        ("rules", [{}] * 17, ["too-many rules"]),
        (
            "rules",
            [{"matches": [{}] * 65}, {"matches": [{}] * 64}],
            ["too-many rules", "too-many rules[0].matches"],
        ),
        ("rules.1.name", "first", ["duplicate-value rules[1].name"]),
        ("rules.1.name", "a_", ["invalid-value rules[1].name"]),
        ("rules.1.backendRefs", "[{name: a, port: 80}]", ["conflicting-fields rules[1].backendRefs"]),
        ("rules.0.backendRefs.0", "{name: a}", ["missing-field rules[0].backendRefs[0].port"]),
        ("rules.0.timeouts.request", "4s", ["invalid-value rules[0].timeouts.backendRequest"]),
        ("rules.0.retry.codes", "[500, 500]", ["duplicate-value rules[0].retry.codes[1]"]),
        (
            "rules.0.sessionPersistence",
            "{type: Header, cookieConfig: {}}",
            ["conflicting-fields rules[0].sessionPersistence.cookieConfig"],
        ),
        (
            "rules.0.sessionPersistence.absoluteTimeout",
            None,
            ["missing-field rules[0].sessionPersistence.absoluteTimeout"],
        ),
    ],
)
def test_routes(path: str, value: Any, expected: list[str]) -> None:
    assert told(problems(changed(ROUTE, path, value))) == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("path: {value: a}", ["invalid-path path.value"]),
        ("path: {value: ''}", ["invalid-path path.value"]),
        ("path: {value: /a//b}", ["invalid-path path.value"]),
        ("path: {value: /./..}", ["invalid-path path.value", "invalid-path path.value"]),
        ("path: {value: /a%2fb}", ["invalid-path path.value"]),
        ("path: {value: '/a#b'}", ["invalid-path path.value"]),
        ("path: {value: /a b}", ["invalid-path path.value"]),
        ("path: {value: /a%zz}", ["invalid-path path.value"]),
        ("path: {value: /%C3%A9/~a}", []),
        ("path: {type: RegularExpression, value: 'a//#b'}", []),
        ("path: {type: RegularExpression, value: '(a'}", ["invalid-regex path.value"]),
        ("path: {type: RegularExpression, value: '(?=a)'}", ["invalid-regex path.value"]),
        ("path: {type: RegularExpression, value: '[a-z]{200}'}", ["large-regex path.value"]),
        ("headers: [{name: 'a b', value: c}]", ["invalid-header headers[0].name"]),
        ("headers: [{name: a, value: ''}]", ["invalid-value headers[0].value"]),
        ("headers: [{name: a, value: ' b'}]", ["invalid-header headers[0].value"]),
        ("headers: [{name: a, value: b}, {name: a, value: c}]", ["duplicate-value headers[1].name"]),
        ("headers: [{name: a, type: RegularExpression, value: '['}]", ["invalid-regex headers[0].value"]),
        ("queryParams: [{name: a, value: ' b'}]", []),
        ("queryParams: [{name: a, type: RegularExpression, value: '*'}]", ["invalid-regex queryParams[0].value"]),
    ],
)
def test_matches(match: str, expected: list[str]) -> None:
    found = problems(changed(ROUTE, "rules.0.matches", f"[{{{match}}}]"))
    assert [line.replace("rules[0].matches[0].", "") for line in told(found)] == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("{type: CORS}", ["missing-field [0].cors"]),
        ("{type: CORS, cors: {}, urlRewrite: {}}", ["conflicting-fields [0].urlRewrite"]),
        ("{type: CORS, cors: {}}, {type: CORS, cors: {}}", ["duplicate-value [1]"]),
        ("{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}", ["conflicting-fields "]),
        (
            "{type: RequestRedirect, requestRedirect: {statusCode: 304}}",
            ["invalid-status [0].requestRedirect.statusCode"],
        ),
        (
            "{type: RequestRedirect, requestRedirect: {hostname: '*.a.com'}}",
            ["invalid-host [0].requestRedirect.hostname"],
        ),
        (
            "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}",
            ["missing-field [0].urlRewrite.path.replaceFullPath"],
        ),
        (
            (
                "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: a, "
                "replacePrefixMatch: b}}}"
            ),
            ["conflicting-fields [0].urlRewrite.path.replacePrefixMatch"],
        ),
        (
            "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: a}]}}",
            ["invalid-header [0].requestHeaderModifier.set[0].name"],
        ),
        (
            "{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [host, ':path', a, a]}}",
            [
                "duplicate-value [0].responseHeaderModifier.remove[3]",
                "invalid-header [0].responseHeaderModifier.remove[0]",
                "invalid-header [0].responseHeaderModifier.remove[1]",
            ],
        ),
        (
            "{type: RequestMirror, requestMirror: {backendRef: {name: a}}}",
            ["missing-field [0].requestMirror.backendRef.port"],
        ),
        (
            (
                "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, percent: 1, "
                "fraction: {numerator: 101}}}"
            ),
            ["conflicting-fields [0].requestMirror.fraction", "invalid-value [0].requestMirror.fraction.numerator"],
        ),
        (
            "{type: CORS, cors: {allowOrigins: ['*', a.com], allowMethods: [get], exposeHeaders: ['*', a]}}",
            [
                "invalid-value [0].cors.allowOrigins",
                "invalid-value [0].cors.allowOrigins[1]",
                "invalid-value [0].cors.allowMethods[0]",
            ],
        ),
        (
            "{type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: a, port: 1}, http: {}}}",
            ["missing-field [0].externalAuth.grpc", "conflicting-fields [0].externalAuth.http"],
        ),
        ("{type: ExtensionRef, extensionRef: {group: a, kind: B, name: ''}}", ["invalid-value [0].extensionRef.name"]),
    ],
)
@pytest.mark.parametrize("place", ["rules.0.filters", "rules.0.backendRefs.1.filters"])
def test_filters_of_rules_and_of_backends(place: str, filters: str, expected: list[str]) -> None:
    found = problems(changed(ROUTE, place, f"[{filters}]"))
    prefix = "rules[0].filters" if place == "rules.0.filters" else "rules[0].backendRefs[1].filters"
    lines = [line.replace(prefix, "") for line in told(found)]
    assert [line for line in lines if line != "conflicting-fields rules[0].backendRefs"] == expected


@pytest.mark.parametrize("matches", ["[]", "[{}, {}]", "[{path: {type: Exact, value: /a}}]"])
def test_replacing_a_prefix_needs_one_match_by_prefix(matches: str) -> None:
    assert told(problems(changed(ROUTE, "rules.1.matches", matches))) == [
        "invalid-value rules[1].filters[0].requestRedirect.path.type"
    ]


@pytest.mark.parametrize(
    ("text", "path", "value", "expected"),
    [
        (CLASS, "controllerName", "example.com", ["invalid-value controllerName"]),
        (CLASS, "description", "a" * 65, ["invalid-value description"]),
        (CLASS, "parametersRef.namespace", "A", ["invalid-value parametersRef.namespace"]),
        (GRANT, "from", "[]", ["missing-field from"]),
        (GRANT, "to", [{"group": "", "kind": "Secret"}] * 17, ["too-many to"]),
        (GRANT, "from.0.namespace", "''", ["invalid-value from[0].namespace"]),
        (GRANT, "to.0.group", "a/b", ["invalid-value to[0].group"]),
    ],
)
def test_classes_and_grants(text: str, path: str, value: Any, expected: list[str]) -> None:
    assert told(problems(changed(text, path, value))) == expected
