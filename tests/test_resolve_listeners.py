"""Which servers a proxy serves, on which listeners, and what servers on one address do to each other."""

import pytest
from fairlead.intent import (
    ClientCertificates,
    HttpConnections,
    TlsParameters,
    TlsTermination,
    TlsVersion,
    Validation,
)
from fairlead.problems import Severity
from fairlead.resolve.hosts import covers, intersect
from fairlead.resolve.scope import Proxy, Role
from fairlead.resolve.selection import proxies_implied, selection, selection_problems
from hypothesis import given
from hypothesis import strategies as st
from support.istio import (
    EDGE,
    all_listeners,
    all_problems,
    chosen,
    gateway,
    http,
    service,
    shown_listeners,
    tls,
    virtual_service,
)
from support.worlds import put, world

TCP = "port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']"
PASSTHROUGH = "mode: PASSTHROUGH"
ECHO = virtual_service("echo", "tcp: [{route: [{destination: {host: echo}}]}]", hosts='"*"', gateways="a, z") + (
    "---" + service("echo", "{port: 9000}")
)


# --- Who is meant -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "is_served"),
    [
        ("{app: edge}", True),
        ("{app: edge, version: '1'}", True),
        ("{}", True),
        ("{app: edge, version: '2'}", False),
        ("{app: other}", False),
        ("{app: edge, zone: a}", False),
    ],
)
@pytest.mark.istio_fields("Gateway.selector{}")
def test_a_gateway_is_for_proxies_with_all_of_its_labels_in_any_namespace(selector: str, is_served: bool) -> None:
    made = world(gateway("a", http(), selector=selector, namespace="elsewhere"))
    assert shown_listeners(made) == ({"0.0.0.0_80": ["any -> http.80"]} if is_served else {})


def test_one_more_gateway_for_the_same_proxies_is_the_same_selection() -> None:
    made = world(gateway("a", http()))
    before = chosen(made)
    put(made, gateway("b", http(81)), gateway("c", http(82), selector="{app: other}"))
    assert chosen(made) == before
    assert shown_listeners(made).keys() == {"0.0.0.0_80", "0.0.0.0_81"}


def test_a_selection_has_only_those_labels_that_matter() -> None:
    made = world(gateway("a", http(), selector="{}"))
    other = Proxy(namespace="edge", labels=frozenset({("app", "other")}))
    assert chosen(made) == chosen(made, other)
    put(made, virtual_service("v", "http: [{match: [{sourceLabels: {app: edge}}], redirect: {uri: /}}]", gateways="a"))
    assert chosen(made).labels == {("app", "edge")}
    assert chosen(made, other).labels == frozenset()


def test_sidecars_serve_no_gateways() -> None:
    made = world(gateway("a", http(), selector="{}"))
    assert shown_listeners(made, Proxy(Role.SIDECAR, labels=EDGE.labels)) == {}


# --- Which ports are bound --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("services", "port"),
    [
        ([service("s", "{port: 80, targetPort: 8080}", "{app: edge}")], 8080),
        ([service("s", "{port: 80}", "{app: edge}")], 80),
        ([service("s", "{port: 81, targetPort: 8080}", "{app: edge}")], 80),
        ([service("s", "{port: 80, targetPort: 8080, protocol: UDP}", "{app: edge}")], 80),
        ([service("s", "{port: 80, targetPort: 8080}", "{}")], 80),
        ([service("s", "{port: 80, targetPort: 8080}", "{app: other}")], 80),
        ([service("s", "{port: 80, targetPort: 8080}", "{app: edge, zone: a}")], 80),
        ([service("s", "{port: 80, targetPort: 8080}", "{app: edge}", namespace="other")], 80),
        ([service("s", "{port: 80, targetPort: web}", "{app: edge}")], 80),
        (
            [
                *(service(f"a{n}", "{port: 80, targetPort: 8081}", "{app: edge}", created=2 + n) for n in range(9)),
                service("old", "{port: 80, targetPort: 8082}", "{app: edge}", created=1),
            ],
            8082,
        ),
    ],
    ids=["mapped", "same", "other-port", "udp", "no-selector", "other-pods", "fewer-pods", "namespace", "named", "two"],
)
def test_the_service_in_front_of_the_proxies_maps_ports(services: list[str], port: int) -> None:
    made = world(gateway("a", http()), *services)
    assert shown_listeners(made) == {f"0.0.0.0_{port}": [f"any -> http.{port}"]}


def test_a_named_target_port_is_told_of() -> None:
    made = world(service("s", "{port: 80, targetPort: 8080}, {port: 81, targetPort: web}", "{app: edge}"))
    (problem,) = selection_problems(made, EDGE)
    assert (problem.code, problem.path) == ("named-target-port", ("spec", "ports", 1, "targetPort"))
    assert "web" in problem.message


@pytest.mark.istio_fields("Gateway.servers[].bind")
def test_a_bind_address_makes_another_listener_and_route_table() -> None:
    unix = "port: {number: 0, name: u, protocol: HTTP}, hosts: ['*'], bind: 'unix:///run/edge.sock'"
    servers = http(), http(80, more="bind: 127.0.0.1"), http(81, more="bind: 0.0.0.0"), unix
    made = world(gateway("a", *servers), service("s", "{port: 80, targetPort: 8080}", "{app: edge}"))
    assert shown_listeners(made) == {
        "0.0.0.0_8080": ["any -> http.8080"],
        "127.0.0.1_8080": ["any -> http.8080.127.0.0.1"],
        "0.0.0.0_81": ["any -> http.81"],
        "unix:///run/edge.sock_0": ["any -> http.0.unix:///run/edge.sock"],
    }
    found = all_listeners(made)
    assert {(each.address, each.port, each.wildcard) for each in found.values()} == {
        ("0.0.0.0", 8080, True),
        ("127.0.0.1", 8080, False),
        ("0.0.0.0", 81, True),
        ("/run/edge.sock", 0, False),
    }


# --- Servers on one address -------------------------------------------------------------------------------------------

HTTP_80 = "any -> http.80"
ECHOED = "any -> echo:9000"
TLS_A = "tls a.example.com -> https.80.https-a.z.edge"
TLS_B = "tls b.example.com -> https.80.https-b.a.edge"


@pytest.mark.parametrize(
    ("first", "second", "chains", "loser"),
    [
        (http(), http(), [HTTP_80], None),
        (http(), TCP, [HTTP_80], "a"),
        (TCP, http(), [ECHOED], "a"),
        (TCP, TCP, [ECHOED], "a"),
        (tls("a.example.com", "https-a", 80), tls("b.example.com", "https-b", 80), [TLS_A, TLS_B], None),
        (tls("a.example.com", "https-a", 80), tls("a.example.com, b.example.com", "https-b", 80), [TLS_A], "a"),
        (tls("A.example.com", "https-a", 80), tls("a.EXAMPLE.com", "https-b", 80), [TLS_A], "a"),
        (tls("n1/a.example.com", "https-a", 80), tls("n2/a.example.com", "https-b", 80), [TLS_A], "a"),
        (
            tls('"*.example.com"', "https-a", 80),
            tls("b.example.com", "https-b", 80),
            ["tls *.example.com -> https.80.https-a.z.edge", TLS_B],
            None,
        ),
        (
            tls('"n1/*"', "https-a", 80),
            tls('"n2/*"', "https-b", 80),
            ["tls any -> https.80.https-a.z.edge"],
            "a",
        ),
        (tls("a.example.com", "https-a", 80), http(), [TLS_A, HTTP_80], None),
        (tls("a.example.com", "https-a", 80), TCP, [TLS_A, ECHOED], None),
        (http(), tls("b.example.com", "https-b", 80), [HTTP_80], "a"),
        (tls('"*"', "https-a", 80), http(), ["tls any -> https.80.https-a.z.edge", HTTP_80], None),
        (
            tls("a.example.com", "https-a", 80),
            tls("a.example.com", "tls-b", 80, protocol="TLS", tls=PASSTHROUGH),
            [TLS_A],
            "a",
        ),
    ],
)
@pytest.mark.istio_fields("Gateway.servers[].port.{number,protocol,name}")
def test_two_servers_on_one_address(first: str, second: str, chains: list[str], loser: str | None) -> None:
    made = world(gateway("a", second, created=2), gateway("z", first, created=1), ECHO)
    assert shown_listeners(made) == {"0.0.0.0_80": chains}
    problems = {problem for problem in all_problems(made) if problem.code == "server-conflict"}
    assert [problem.key.name for problem in problems if problem.key] == ([loser] if loser else [])
    for problem in problems:
        assert "Gateway edge/z" in problem.message
        assert (problem.severity, problem.path) == (Severity.ERROR, ("spec", "servers", 0))


def test_gateways_without_a_date_are_of_equal_age_and_go_by_name_then_namespace() -> None:
    made = world(gateway("a", TCP, namespace="z"), gateway("a", http(), namespace="y"), gateway("b", TCP))
    assert shown_listeners(made) == {"0.0.0.0_80": [HTTP_80]}
    (problem, other) = sorted(
        (problem for problem in all_problems(made) if problem.code == "server-conflict"), key=lambda each: str(each.key)
    )
    assert {str(problem.key), str(other.key)} == {"Gateway edge/b", "Gateway z/a"}
    assert "Gateway y/a" in problem.message


def test_a_merged_listener_names_all_its_gateways() -> None:
    made = world(gateway("a", http()), gateway("b", "port: {number: 80, name: w, protocol: GRPC-WEB}, hosts: [x.com]"))
    (found,) = all_listeners(made).values()
    (chain,) = found.filter_chains
    assert [key.name for key in found.origin] == [key.name for key in chain.origin] == ["a", "b"]
    assert isinstance(chain.connections, HttpConnections)
    assert chain.connections.grpc_web
    assert chain.connections.stat_prefix == "outbound_0.0.0.0_80"


@pytest.mark.istio_fields("Gateway.servers[].name")
def test_a_named_https_server_has_statistics_of_its_own() -> None:
    made = world(gateway("a", tls("x.com", more="name: shop"), tls("y.com", "other")))
    (found,) = all_listeners(made).values()
    prefixes = [each.connections.stat_prefix for each in found.filter_chains]
    assert prefixes == ["shop", "outbound_0.0.0.0_443"]


# --- TLS --------------------------------------------------------------------------------------------------------------

MUTUAL = "mode: MUTUAL, credentialName: cert"
CHECKS = "subjectAltNames: [x], verifyCertificateSpki: [s], verifyCertificateHash: [h], insecureSkipVerify: true"
VERSIONS = "minProtocolVersion: TLSV1_1, maxProtocolVersion: TLSV1_3"
LIMITS = f"{VERSIONS}, cipherSuites: [AES128-SHA, NONSENSE, AES128-SHA], ecdhCurves: [X25519, NONSENSE]"
H2 = ("h2", "http/1.1")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("mode: SIMPLE, credentialName: cert", TlsTermination(("kubernetes://cert",), alpn=H2)),
        ("mode: SIMPLE, credentialName: 'kubernetes://cert'", TlsTermination(("kubernetes://cert",), alpn=H2)),
        ("mode: SIMPLE, credentialNames: [rsa, ec]", TlsTermination(("kubernetes://rsa", "kubernetes://ec"), alpn=H2)),
        (
            MUTUAL,
            TlsTermination(
                ("kubernetes://cert",), ClientCertificates.REQUIRED, Validation("kubernetes://cert-cacert"), alpn=H2
            ),
        ),
        (
            "mode: ISTIO_MUTUAL",
            TlsTermination(
                ("kubernetes://workload-certificate",),
                ClientCertificates.REQUIRED,
                Validation("kubernetes://workload-certificate-cacert"),
                alpn=H2,
            ),
        ),
        (
            "mode: OPTIONAL_MUTUAL, credentialNames: [rsa, ec]",
            TlsTermination(
                ("kubernetes://rsa", "kubernetes://ec"),
                ClientCertificates.OPTIONAL,
                Validation("kubernetes://rsa-cacert"),
                alpn=H2,
            ),
        ),
        (
            f"{MUTUAL}, caCertCredentialName: clients, {CHECKS}",
            TlsTermination(
                ("kubernetes://cert",),
                ClientCertificates.REQUIRED,
                Validation(
                    authorities="kubernetes://clients-cacert",
                    subject_alternative_names=("x",),
                    spki_hashes=("s",),
                    certificate_hashes=("h",),
                    accept_untrusted=True,
                ),
                alpn=H2,
            ),
        ),
        (
            f"{MUTUAL}, caCertCredentialName: 'configmap://edge/clients'",
            TlsTermination(
                ("kubernetes://cert",), ClientCertificates.REQUIRED, Validation("configmap://edge/clients"), alpn=H2
            ),
        ),
        (
            "mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /a",
            TlsTermination(("file-cert:/c~/k",), ClientCertificates.REQUIRED, Validation("file-root:/a"), alpn=H2),
        ),
        (
            """mode: OPTIONAL_MUTUAL, caCrl: /l, tlsCertificates: [{serverCertificate: /c, privateKey: /k},
               {serverCertificate: /d, privateKey: /l, caCertificates: /a}]""",
            TlsTermination(
                ("file-cert:/c~/k", "file-cert:/d~/l"),
                ClientCertificates.OPTIONAL,
                Validation("file-root:/a~/l"),
                alpn=H2,
            ),
        ),
        (
            f"mode: SIMPLE, credentialName: cert, {LIMITS}",
            TlsTermination(
                ("kubernetes://cert",),
                parameters=TlsParameters(TlsVersion.TLS_1_1, TlsVersion.TLS_1_3, ("AES128-SHA",), ("X25519",)),
                alpn=H2,
            ),
        ),
    ],
)
@pytest.mark.istio_fields(
    "Gateway.servers[].tls.{mode,credentialName,credentialNames[],caCertCredentialName,subjectAltNames[],verifyCertificateSpki[],verifyCertificateHash[],minProtocolVersion,maxProtocolVersion,cipherSuites[],ecdhCurves[],insecureSkipVerify}",
    "Gateway.servers[].tls.{serverCertificate,privateKey,caCertificates,caCrl}",
    "Gateway.servers[].tls.tlsCertificates[].{serverCertificate,privateKey,caCertificates}",
)
def test_tls_that_ends_at_the_gateway(settings: str, expected: TlsTermination) -> None:
    (found,) = all_listeners(world(gateway("a", tls("x.com", tls=settings)))).values()
    assert [chain.tls for chain in found.filter_chains] == [expected]


@pytest.mark.parametrize(
    ("settings", "path", "word"),
    [
        ("mode: AUTO_PASSTHROUGH", "mode", "AUTO_PASSTHROUGH"),
        ("mode: SIMPLE, credentialName: 'sds://x'", None, "sds://"),
    ],
)
def test_a_server_whose_tls_is_not_supported_is_not_served_and_harms_no_other(
    settings: str, path: str | None, word: str
) -> None:
    made = world(gateway("a", tls("x.com", tls=settings), tls("y.com", "other")))
    assert shown_listeners(made) == {"0.0.0.0_443": ["tls y.com -> https.443.other.a.edge"]}
    problems = sorted(all_problems(made), key=lambda problem: problem.path)
    assert {(problem.code, problem.severity) for problem in problems} == {("unsupported-value", Severity.ERROR)}
    assert word in " ".join(problem.message for problem in problems)
    expected = ("spec", "servers", 0, "tls", *([path] if path else []))
    assert expected in {problem.path for problem in problems}


def test_protocols_that_are_no_gateways_business_are_left_out() -> None:
    udp = "port: {number: 53, name: dns, protocol: UDP}, hosts: ['*']"
    https = "port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*']"
    assert shown_listeners(world(gateway("a", udp, https, http()))) == {"0.0.0.0_80": [HTTP_80]}


# --- Proxies that are implied -----------------------------------------------------------------------------------------


def implied(*texts: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {(proxy.namespace, proxy.labels) for proxy in proxies_implied(world(*texts))}


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def test_proxies_are_implied_by_selectors_and_services() -> None:
    one = gateway("a", http(), namespace="one")
    assert implied() == set()
    assert implied(one, gateway("b", http(), namespace="two")) == {("one", labels(app="edge"))}
    assert implied(one, service("s", selector="{app: edge}", namespace="sys")) == {("sys", labels(app="edge"))}
    wider = service("s", selector="{app: edge, istio: x}", namespace="sys")
    assert implied(one, wider) == {("sys", labels(app="edge", istio="x"))}
    unrelated = service("s", selector="{app: other}"), service("t", selector="{}")
    assert implied(one, *unrelated) == {("one", labels(app="edge"))}


def test_a_gateway_for_all_proxies_implies_one_only_when_nothing_else_does() -> None:
    everywhere = gateway("a", http(), selector="{}", namespace="one")
    assert implied(everywhere, service("s", selector="{app: x}")) == {("one", labels())}
    assert implied(everywhere, gateway("b", http())) == {("edge", labels(app="edge"))}


def test_an_implied_proxy_is_selected_by_its_gateway() -> None:
    made = world(
        gateway("a", http()), service("s", "{port: 80, targetPort: 8080}", "{app: edge, x: y}", namespace="sys")
    )
    (proxy,) = proxies_implied(made)
    assert selection(made, proxy).ports == ((80, 8080),)
    assert shown_listeners(made, proxy) == {"0.0.0.0_8080": ["any -> http.8080"]}


# --- Host names -------------------------------------------------------------------------------------------------------

names = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(".".join)
patterns = st.one_of(names, names.map("*.{}".format), st.just("*"))


@given(patterns, st.frozensets(patterns, max_size=6))
def test_the_intersection_of_hosts_is_the_more_specific_of_each_pair(host: str, others: frozenset[str]) -> None:
    pairs = {other if covers(host, other) else host for other in others if covers(host, other) or covers(other, host)}
    found = list(intersect(host, others))
    assert set(found) == pairs
    assert len(found) == len(pairs)


@given(patterns, names)
def test_a_pattern_covers_the_names_below_it(pattern: str, name: str) -> None:
    below = pattern == "*" or (pattern.startswith("*.") and name != pattern[2:] and f".{name}".endswith(pattern[1:]))
    assert covers(pattern, name) == (pattern == name or below)
