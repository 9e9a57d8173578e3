"""Rules of core and ASM kinds, and the checks that rules of all kinds share."""

from textwrap import dedent

import pytest
from fairlead.models import documents
from fairlead.models.decode import decode
from fairlead.models.gateway_api import BackendObjectReference, HTTPRequestMirrorFilter
from fairlead.models.istio.virtual_service import StringMatch
from fairlead.problems import Severity, format_path
from fairlead.validation import common, validate


def told(text: str) -> list[str]:
    (item,) = documents.parse(dedent(text).encode()).items
    decoded = decode(item.data, item.problems)
    assert decoded.problems == ()
    assert decoded.object is not None
    found = validate(decoded.object)
    assert all(problem.key == decoded.key for problem in found)
    return [f"{problem.severity.value}[{problem.code}] {format_path(problem.path)}" for problem in found]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("ports: [{port: 80, targetPort: http}]", []),
        ("clusterIP: None", []),
        ("clusterIP: 'fd00::1'\n  ports: [{port: 1}]", []),
        ("clusterIP: none\n  ports: [{port: 1}]", ["error[invalid-value] spec.clusterIP"]),
        ("selector: {a: b}", ["error[missing-field] spec.ports"]),
        ("ports: [{port: 80}, {port: 81, name: b}]", ["error[missing-field] spec.ports[0].name"]),
        ("ports: [{port: 80, name: a}, {port: 81, name: a}]", ["error[duplicate-value] spec.ports[1].name"]),
        ("ports: [{port: 80, name: a}, {port: 80, name: b}]", ["error[duplicate-value] spec.ports[1].port"]),
        ("ports: [{port: 53, name: a}, {port: 53, name: b, protocol: UDP}]", []),
        ("ports: [{port: 80, targetPort: 0}]", ["error[invalid-port] spec.ports[0].targetPort"]),
        ("type: ExternalName\n  externalName: a.example.com", []),
        ("type: ExternalName", ["error[missing-field] spec.externalName"]),
        ("type: ExternalName\n  externalName: '*.a'", ["error[invalid-host] spec.externalName"]),
        (
            "trafficDistribution: PreferClose\n  ports: [{port: 1}]",
            [],
        ),
    ],
)
def test_services(spec: str, expected: list[str]) -> None:
    assert told(f"apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec:\n  {spec}\n") == expected


def test_names_of_services_are_parts_of_host_names() -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a.b}\nspec: {ports: [{port: 1}]}"
    assert told(text) == ["error[invalid-name] metadata.name"]


@pytest.mark.parametrize(
    ("address_type", "addresses", "expected"),
    [
        ("IPv4", "[10.0.0.1]", []),
        ("IPv6", "['::1']", []),
        ("FQDN", "[a.example.com]", []),
        ("IPv4", "['::1']", ["error[invalid-value] endpoints[0].addresses[0]"]),
        ("IPv6", "[10.0.0.1]", ["error[invalid-value] endpoints[0].addresses[0]"]),
        ("IPv4", "[10.0.0.256]", ["error[invalid-value] endpoints[0].addresses[0]"]),
        ("FQDN", "[a_b]", ["error[invalid-host] endpoints[0].addresses[0]"]),
        ("IPv4", "[]", ["error[missing-field] endpoints[0].addresses"]),
    ],
)
def test_endpoint_slices(address_type: str, addresses: str, expected: list[str]) -> None:
    text = f"""\
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata: {{name: a, labels: {{kubernetes.io/service-name: a}}}}
        addressType: {address_type}
        endpoints: [{{addresses: {addresses}}}]
        """
    assert told(text) == expected


def test_an_endpoint_slice_of_no_service_is_a_warning() -> None:
    text = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4"
    assert told(text) == ["warning[missing-field] metadata.labels"]


def test_endpoints() -> None:
    text = """\
        apiVersion: v1
        kind: Endpoints
        metadata: {name: a}
        subsets:
        - {addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}
        - {addresses: [{ip: a}], notReadyAddresses: [{ip: ""}], ports: [{name: a}]}
        """
    assert told(text) == [
        "error[invalid-value] subsets[1].addresses[0].ip",
        "error[invalid-value] subsets[1].notReadyAddresses[0].ip",
        "error[missing-field] subsets[1].ports[0].port",
    ]


def test_pods() -> None:
    assert told("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {phase: Pending}") == []
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {podIP: a}"
    assert told(text) == ["error[invalid-value] status.podIP"]


def test_secrets_of_type_tls_have_both_keys() -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ntype: kubernetes.io/tls\nstringData: {tls.crt: a}"
    assert told(text) == ['error[missing-field] data["tls.key"]']
    assert told(text.replace("kubernetes.io/tls", "Opaque")) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("{cert: mine, key: mine too}", []),
        (
            "{cert: '-----BEGIN A', key: '-----BEGIN B'}",
            ["error[not-pem] stringData.cert", "error[not-pem] stringData.key"],
        ),
        ("{ca.crt: '-----BEGIN A'}", ['error[not-pem] stringData["ca.crt"]']),
    ],
)
def test_certificates_in_other_secrets_are_judged_when_they_are_certificates(data: str, expected: list[str]) -> None:
    assert told(f"apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\nstringData: {data}") == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{}", ["error[missing-field] spec.cert", "error[missing-field] spec.key"]),
        (
            "{type: mtls, cert: '-----BEGIN A', key: '-----BEGIN B'}",
            ["error[missing-field] spec.caCert", "error[not-pem] spec.cert", "error[not-pem] spec.key"],
        ),
    ],
)
def test_credentials_of_asm(spec: str, expected: list[str]) -> None:
    text = f"apiVersion: istio.alibabacloud.com/v1\nkind: ASMCredential\nmetadata: {{name: a}}\nspec: {spec}"
    assert told(text) == expected


@pytest.mark.parametrize(
    ("host", "wildcard", "hint"),
    [
        ("example.com", False, None),
        ("Example.COM.", False, None),
        ("reviews", False, None),
        ("a" * 63 + ".b", False, None),
        ("*", True, None),
        ("*.example.com", True, None),
        ("*-a.example.com", True, None),
        ("", True, ""),
        ("a" * 64, True, ""),
        (".".join(["a" * 60] * 5), True, ""),
        ("a..b", True, ""),
        ("-a.b", True, ""),
        ("a_b", True, ""),
        ("*.example.com", False, ""),
        ("a.*.com", True, "use * alone or at the beginning, as in *.example.com"),
        ("a*", True, "use * alone or at the beginning, as in *.example.com"),
        ("https://a.b", True, "leave the scheme out"),
        ("a.b:80", True, "leave the port out"),
    ],
)
def test_hosts(host: str, wildcard: bool, hint: str | None) -> None:
    found = [problem.hint for problem in common.host(host, ("x",), wildcard=wildcard)]
    assert found == ([] if hint is None else [hint])


@pytest.mark.parametrize(
    ("pattern", "severity"),
    [
        ("/v[0-9]+/.*", None),
        ("(?i)abc", None),
        (r"\pL+é", None),
        ("(?=a)", Severity.ERROR),
        (r"(a)\1", Severity.ERROR),
        ("a{1001}", Severity.ERROR),
        ("(", Severity.ERROR),
        ("a{300}", Severity.WARNING),
        ("(a{1000}){33}", Severity.ERROR),
    ],
)
def test_regular_expressions(pattern: str, severity: Severity | None) -> None:
    found = list(common.regex(pattern, ("x",)))
    assert [problem.severity for problem in found] == ([severity] if severity else [])
    assert all(problem.path == ("x",) for problem in found)


def test_alternatives() -> None:
    fields = ("exact", "prefix", "regex")
    path = ("spec", "uri")
    assert list(common.exactly_one(StringMatch(prefix=""), fields, path)) == []
    (none,) = common.exactly_one(StringMatch(), fields, path)
    assert (none.path, none.message) == (path, "one of exact, prefix, regex has to be set")
    (several,) = common.exactly_one(StringMatch(prefix="a", regex="b"), fields, path)
    assert (several.path, several.message) == ((*path, "regex"), "only one of prefix, regex can be set")


def test_names_of_fields_are_those_of_the_api() -> None:
    mirror = HTTPRequestMirrorFilter(backend_ref=BackendObjectReference(name="a"))
    assert common.api_name(mirror, "backend_ref") == "backendRef"


@pytest.mark.parametrize(
    ("value", "fine"), [(0.0, True), (100.0, True), (-0.1, False), (101.0, False), (float("nan"), False)]
)
def test_percentages(value: float, fine: bool) -> None:
    assert (not list(common.percent(value, ()))) is fine


@pytest.mark.parametrize(("code", "fine"), [(200, True), (599, True), (199, False), (600, False)])
def test_status_codes(code: int, fine: bool) -> None:
    assert (not list(common.status(code, ()))) is fine


@pytest.mark.parametrize(
    ("name", "fine"), [("X-Request-Id", True), ("a_b", True), (":path", False), ("a b", False), ("", False)]
)
def test_names_of_headers(name: str, fine: bool) -> None:
    assert (not list(common.header_name(name, ()))) is fine


@pytest.mark.parametrize(
    ("value", "fine"), [("a, b\tc", True), ("", True), ("é", True), ("a\nb", False), ("\x7f", False)]
)
def test_values_of_headers(value: str, fine: bool) -> None:
    assert (not list(common.header_value(value, ()))) is fine


def test_duplicates_are_told_at_every_repetition() -> None:
    values = [("a", (0,)), ("b", (1,)), ("a", (2,)), ("a", (3,))]
    assert [problem.path for problem in common.unique(values, "name")] == [(2,), (3,)]
