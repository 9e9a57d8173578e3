"""What `fairlead explain` says of requests to the examples, and of requests that nothing serves: lines of it."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fairlead.cli.main import app
from fairlead.cli.offline import load
from fairlead.cli.render import resources
from fairlead.errors import SettingsError
from fairlead.explain import Asked, Explanation, as_text
from fairlead.explain.explaining import Subject, explain
from fairlead.resolve.scope import Proxy, Role
from support.expectations import EXAMPLES, NAMES, story
from typer.testing import CliRunner

GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{app: {name}}}
  servers:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    hosts: ["{host}"]
---
"""
ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: ["{host}"]
  gateways: [{gateway}]
  http:
  - name: only
    match: [{{uri: {{prefix: /api}}, method: {{exact: POST}}}}]
    {action}
---
"""
RICH = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rich, namespace: default}
spec:
  hosts: [shop.example.com]
  gateways: [edge]
  http:
  - name: rich
    match: [{uri: {prefix: /old/}, queryParams: {q: {exact: "1"}}}]
    rewrite: {uri: /new/, authority: inside.example.com}
    route: [{destination: {host: shop}, headers: {request: {set: {x-a: "1"}, remove: [x-b]},
                                                    response: {add: {x-c: "2"}}}}]
    timeout: 1.5s
    retries: {attempts: 3, perTryTimeout: 250ms, retryOn: "503,gateway-error"}
    fault: {delay: {fixedDelay: 2s, percentage: {value: 12.5}}}
    mirrors: [{destination: {host: copy}, percentage: {value: 50}}]
    corsPolicy: {allowOrigins: [{exact: "https://a"}], allowMethods: [GET]}
  - name: broken
    match: [{uri: {exact: /broken}}]
    route: [{destination: {host: shop}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop, namespace: default}
spec:
  host: shop
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: x-user}}
    connectionPool: {tcp: {maxConnections: 7, connectTimeout: 3s},
                     http: {http1MaxPendingRequests: 2, maxRequestsPerConnection: 9, idleTimeout: 5s}}
    outlierDetection: {consecutive5xxErrors: 4, baseEjectionTime: 1m, maxEjectionPercent: 50}
    tls: {mode: SIMPLE, sni: shop.inside}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: copy, namespace: default}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop, namespace: default, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8000}]
endpoints:
- {addresses: [10.0.0.1], zone: z1}
- {addresses: [10.0.0.2], zone: z2, conditions: {ready: false}}
"""
HERE = "directResponse: {status: 200}"
EDGE = GATEWAY.format(name="edge", port=8080, host="*.example.com")
OTHER = GATEWAY.format(name="other", port=9090, host="*")


def asked(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `fairlead explain`; paths below `examples` are written as `@name`."""
    paths = [str(EXAMPLES / text[1:]) if text.startswith("@") else text for text in arguments]
    result = CliRunner().invoke(app, ["explain", *paths])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout.replace(f"{EXAMPLES}/", "")


def missing(output: str, lines: list[str]) -> list[str]:
    """Those of the lines that are not there, in that order; places may follow a line."""
    rest = iter(output.splitlines())
    return [line for line in lines if not any(line in found for found in rest)]


# --- Examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["http://reviews.example.com:8080/reviews/1", "@canary"],
            [
                "goes to reviews.default.svc.cluster.local:9080 subset v1 (90 %)",
                "at proxy default/app=canary-edge",
                "listener 0.0.0.0_8080: it has port 8080",
                "from Gateway default/canary (canary/gateway.yaml:1:1)",
                "virtual host reviews.example.com:80: its domain is reviews.example.com",
                "route everybody: it takes every request",
                "from VirtualService default/reviews (canary/gateway.yaml:43:5)",
                "not testers: header x-tester is absent, and the route wants one that is yes (canary/",
                "timeout: none; Istio's default",
                "retries: 2 on connect-failure, refused-stream, unavailable, cancelled, retriable-status-codes; Istio",
                "cluster outbound|9080|v1|reviews.default.svc.cluster.local: 90 %",
                "from DestinationRule default/reviews (canary/reviews.yaml:42:1)",
                "from EndpointSlice default/reviews-v1 (canary/reviews.yaml:12:1)",
                "connect timeout: 10s; Istio's default",
                "TLS: none: plaintext",
                "endpoint: 127.0.0.1:9011  healthy, priority 0",
                "cluster outbound|9080|v2|reviews.default.svc.cluster.local: 10 %",
            ],
        ),
        (
            ["http://reviews.example.com:8080/reviews/1", "@canary", "-H", "X-Tester: yes"],
            ["goes to reviews.default.svc.cluster.local:9080 subset v2", "route testers: header x-tester is yes"],
        ),
        (
            ["http://reviews.example.com:8080/", "@canary", "-X", "post", "-H", "Content-Type: application/grpc"],
            ["POST http://reviews", "Istio's default; a POST may arrive more than once: `retries: {attempts: 0}`"],
        ),
        (
            ["https://a.aliyun.com/hello", "@https-gateway"],
            [
                "hint: the Service in front of the proxy maps port 443 to 8443",
                "filter chain https.443.https.aliyun.default: server name a.aliyun.com is one of *.aliyun.com, TLS",
                "from Secret istio-system/aliyun-wildcard (https-gateway/secrets.yaml",
                "not https.443.https-b.aliyun.default: it is for server name b.aliyun.com",
                "certificate: CN=*.aliyun.com,O=Fairlead examples for *.aliyun.com; valid until 2",
                "route #1: path is /hello",
            ],
        ),
        (["http://a.aliyun.com/", "@https-gateway"], ["is redirected with 301 to https://a.aliyun.com/"]),
        (
            ["https://127.0.0.1:8443/hello", "@https-gateway", "-H", "Host: a.aliyun.com", "--sni", "a.aliyun.com"],
            ["virtual host a.aliyun.com:443: its domain is a.aliyun.com"],
        ),
        (
            ["https://ledger.example.com:8443/", "@mutual-tls"],
            ["client certificate: required", "covers ledger.example.com"],
        ),
        (
            ["tls://vault.example.com:8443", "@tcp-and-passthrough"],
            ["tls://vault.example.com:8443", "goes to ", "filter chain tls-passthrough", "cluster outbound|"],
        ),
        (
            ["http://shop.example.com:8080/cart/1", "@gateway-api", "-H", "x-next: 1"],
            ["from HTTPRoute default/store (gateway-api/"],
        ),
    ],
)  # fmt: skip
def test_what_is_served(arguments: list[str], lines: list[str]) -> None:
    code, output = asked(*arguments)
    assert code == 0, output
    assert missing(output, lines) == [], output


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["https://a.aliyun.com:8443/elsewhere", "@https-gateway"],
            ["fails with 404: no route of virtual host a.aliyun.com:443 matches",
             "route: none", "not #1: path /elsewhere is not /hello (https-gateway/gateway.yaml:49:5)"],
        ),
        (
            ["https://a.aliyun.com:8443/hello", "@https-gateway", "--sni", "b.aliyun.com"],
            ["fails with 404: route configuration https.443.https-b.aliyun.default has no virtual host for a",
             "hint: with server name a.aliyun.com it is served",
             "filter chain https.443.https-b.aliyun.default: server name b.aliyun.com",
             "not https.443.https.aliyun.default: https.443.https-b.aliyun.default fits better", "covers b.aliyun.com"],
        ),
        (["https://a.aliyun.com:8443/hello/", "@https-gateway"], ["hint: path /hello is served"]),
        (
            ["http://a.aliyun.com:8443/hello", "@https-gateway"],
            ["is refused: no filter chain of 0.0.0.0_8443 takes plaintext",
             "hint: port 8443 expects TLS: ask for GET https://a.aliyun.com/hello"],
        ),
        (
            ["https://a.aliyun.com:8080/hello", "@https-gateway"],
            ["is refused: filter chain http.8080 of 0.0.0.0_8080 expects plaintext",
             "hint: port 8080 expects plaintext: ask for GET http://a.aliyun.com/hello"],
        ),
        (["http://a.aliyun.com:81/hello", "@https-gateway"], ["is refused: nothing listens on port 81",
                                                             "hint: GET https://a.aliyun.com/hello is served"]),
        (
            ["https://b.aliyun.con/hello", "@https-gateway"],
            ["hint: is b.aliyun.com or *.aliyun.com meant?",
             "not https.443.https-b.aliyun.default: it is for server name b.aliyun.com"],
        ),
        (["http://c.aliyun.com:31400/", "@https-gateway"], ["hint: the proxy listens on 8080 (plaintext), 8443 (TLS)"]),
    ],
)  # fmt: skip
def test_what_an_example_does_not_serve(arguments: list[str], lines: list[str]) -> None:
    code, output = asked(*arguments)
    assert code == 1, output
    assert missing(output, lines) == [], output


def test_a_request_that_no_backend_has_seen_does_not_arrive_twice() -> None:
    _, output = asked("http://reviews.example.com:8080/", "@canary", "-X", "post")
    assert "retries: 2 on " in output
    assert "more than once" not in output


# --- Sidecars ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "lines"),
    [
        (
            "http://www.example.com:9080/",
            ["goes to whatever DNS says of www.example.com", "virtual host allow_any: www.example.com is one of *",
             "cluster PassthroughCluster: 100 %", "endpoints: whatever DNS says of the request's host"],
        ),
        (
            "http://www.example.com:9090/",
            ["is answered by the proxy with 502", "virtual host block_all: www.example.com is one of *"],
        ),
    ],
    ids=["loopback", "all-addresses"],
)  # fmt: skip
def test_hosts_that_a_sidecar_does_not_know(url: str, lines: list[str]) -> None:
    folder = Path(__file__).parent / "golden" / "in" / "sidecars"
    result = CliRunner().invoke(app, ["explain", url, str(folder), "--proxy", "sidecar:default/app=shop"])
    assert missing(result.output, lines) == [], result.output


# --- What is missing --------------------------------------------------------------------------------------------------


def route(host: str = "shop.example.com", gateway: str = "edge", action: str = HERE, name: str = "shop") -> str:
    return ROUTE.format(name=name, host=host, gateway=gateway, action=action)


@pytest.mark.parametrize(
    ("objects", "url", "lines"),
    [
        pytest.param(
            EDGE, "http://shop.example.com:8080/",
            ["fails with 404: there are no routes of virtual host blackhole:8080",
             "hint: server http of Gateway default/edge has the host on port 8080 (http) (objects.yaml:7:5)"],
            id="a Gateway has the host, and no route does",
        ),
        pytest.param(
            EDGE + OTHER + route(gateway="other"), "http://shop.example.com:8080/",
            ["hint: VirtualService default/shop has the host, but is bound to Gateway default/other, which is for"],
            id="a route is for other proxies",
        ),
        pytest.param(
            EDGE + route(gateway="mesh"), "http://shop.example.com:8080/",
            ["hint: VirtualService default/shop has the host, but names no Gateway in `gateways`"],
            id="a route is for sidecars",
        ),
        pytest.param(
            EDGE + route(gateway="egde"), "http://shop.example.com:8080/",
            ["hint: VirtualService default/shop has the host, but is bound to Gateway default/egde, which does not",
             "warning[unknown-gateway]"],
            id="a name is mistyped",
        ),
        pytest.param(
            EDGE + route(host="shop.example.org"), "http://shop.example.org:8080/",
            ["hint: VirtualService default/shop has the host, but no server of Gateway default/edge has it",
             "warning[no-matching-host]"],
            id="the Gateway does not have the host",
        ),
        pytest.param(
            EDGE + route(), "http://shp.example.com:8080/", ["hint: is shop.example.com meant?"],
            id="the URL is mistyped",
        ),
        pytest.param(
            EDGE + route(), "http://shop.example.com:8080/api",
            ["hint: method POST is served", "not only: method is GET, and the route wants one that is POST"],
            id="another method",
        ),
        pytest.param(
            EDGE + route(), "http://shop.example.com:8080/other",
            ["route: none", "not only: path /other does not begin with /api (objects.yaml:17:5)"],
            id="another path",
        ),
        pytest.param(
            EDGE + route(action='route: [{destination: {host: nowhere}}]'), "-XPOST http://shop.example.com:8080/api",
            ["fails with 503: there is no cluster outbound|8080||nowhere.default.svc.cluster.local",
             "missing: there is no such cluster", "[unknown-service]"],
            id="the service does not exist",
        ),
        pytest.param("", "http://shop.example.com:8080/", [], id="nothing at all"),
    ],
)  # fmt: skip
def test_what_is_missing(
    objects: str, url: str, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("objects.yaml").write_text(objects)
    code, output = asked(*url.split(), "objects.yaml", *(("--labels", "app=edge") if objects else ()))
    assert code == (1 if objects else 2), output
    assert missing(output, lines) == [], output


def test_objects_are_not_searched_where_something_near_is_served(tmp_path: Path) -> None:
    (tmp_path / "objects.yaml").write_text(EDGE + route(action=HERE))
    _, output = asked("-XPOST", "https://shop.example.com:8080/api", str(tmp_path))
    assert "hint: port 8080 expects plaintext: ask for POST http://shop.example.com:8080/api" in output
    assert "has the host" not in output


def test_all_proxies_that_take_the_request_are_shown(tmp_path: Path) -> None:
    both = EDGE + GATEWAY.format(name="second", port=8080, host="*") + route(gateway="edge, second")
    (tmp_path / "objects.yaml").write_text(both)
    _, output = asked("-XPOST", "http://shop.example.com:8080/api", str(tmp_path))
    assert re.findall("at proxy (.*)", output) == ["default/app=edge", "default/app=second"]
    _, output = asked("-XPOST", "http://shop.example.com:8080/api", str(tmp_path), "--proxy", "default/app=second")
    assert re.findall("at proxy (.*)", output) == ["default/app=second"]


def test_a_route_of_a_delegate_is_shown_where_it_is_written(tmp_path: Path) -> None:
    delegate = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: leaf, namespace: default}\n"
    delegate += f"spec:\n  http:\n  - {HERE}\n"
    (tmp_path / "root.yaml").write_text(EDGE + route(action="delegate: {name: leaf}"))
    (tmp_path / "leaf.yaml").write_text(delegate)
    code, output = asked("-XPOST", "http://shop.example.com:8080/api", str(tmp_path))
    assert code == 0
    lines = ["from VirtualService default/shop", f"from VirtualService default/leaf ({tmp_path}/leaf.yaml:6:5)"]
    assert missing(output, ["route only", *lines]) == [], output


def test_all_that_is_set_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "objects.yaml").write_text(EDGE + RICH)
    code, output = asked("http://shop.example.com:8080/old/x?q=1", str(tmp_path))
    assert code == 0
    lines = """
        route rich: path begins with /old/, query parameter q is 1
        timeout: 1.5s
        retries: 3 on gateway-error, retriable-status-codes (503), 250ms for each try
        mirror: 50 % to copy.default.svc.cluster.local:80
        sticky by: header x-user
        CORS: origins https://a; methods GET
        fault: 12.5 % wait 2s
        request headers: x-a = 1, -x-b
        response headers: +x-c: 2
        path: /old/x?q=1 becomes /new/x?q=1
        host: shop.example.com becomes inside.example.com
        balancing: ring hash
        connect timeout: 3s
        connection pool: at most 7 connections, at most 2 waiting requests, at most 9 requests on a connection, idle for
        outlier detection: out after 4 5xx answers in a row, for 60s, at most 50 % of the endpoints
        TLS: server name shop.inside, checked by /etc/ssl/certs/ca-certificates.crt
        endpoint: 10.0.0.1:8000  healthy, /z1, priority 0
    """
    assert missing(output, [line.strip() for line in lines.strip().splitlines()]) == [], output
    code, output = asked("http://shop.example.com:8080/broken", str(tmp_path))
    assert (code, missing(output, ["is answered by the proxy with 418", "fault: 100 % are answered with 418"])) == (
        0,
        [],
    )


# --- Certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "year", "words"),
    [
        ("a.aliyun.com", 2100, "valid until"),
        ("a.aliyun.com", 2200, "expired on"),
        ("a.aliyun.com", 2000, "not valid before"),
        ("a.b.aliyun.com", 2100, "does NOT cover a.b.aliyun.com"),
    ],
)
def test_certificates(host: str, year: int, words: str) -> None:
    found = explain(subject("https-gateway"), Asked.of(f"https://{host}:8443/"), datetime(year, 1, 1, tzinfo=UTC))
    (certificate,) = (fact.text for stop in found.stops for fact in stop.facts if fact.label == "certificate")
    assert words in certificate


def test_certificates_in_files_of_the_proxy(tmp_path: Path) -> None:
    tls = "protocol: HTTPS}\n    tls: {mode: SIMPLE, serverCertificate: /etc/a.pem, privateKey: /etc/a.key}"
    (tmp_path / "objects.yaml").write_text(EDGE.replace("protocol: HTTP}", tls) + route())
    _, output = asked("https://shop.example.com:8080/", str(tmp_path))
    assert "certificate: in /etc/a.pem, a file of the proxy, so that nothing is known of it" in output


def subject(example: str) -> Subject:
    told = story(example)
    world, _ = load([told.folder])
    proxy = Proxy(Role(told.role), told.namespace, frozenset(told.labels.items()))
    return Subject(proxy="it", resources=list(resources(world, proxy)))


# --- Forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_json_tells_the_same_and_no_private_key(name: str) -> None:
    for expected in story(name).requests:
        arguments = [expected.url, f"@{name}", *(f"-H{key}: {value}" for key, value in expected.headers.items())]
        code, text = asked(*arguments)
        code_of_json, output = asked(*arguments, "--format", "json")
        found = [Explanation.from_json(item) for item in json.loads(output)]
        assert "\n".join(map(as_text, found)).replace(f"{EXAMPLES}/", "") == text
        assert code == code_of_json == (0 if any(item.served for item in found) else 1)
        assert "PRIVATE" not in text + output


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("shop.example.com", "GET http://shop.example.com/"),
        ("HTTPS://Shop.example.com:443/a?b=c#d", "GET https://shop.example.com/a?b=c"),
        ("https://[::1]:8443", "GET https://[::1]:8443/"),
        ("tcp://db:5432/ignored", "tcp://db:5432"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    assert str(Asked.of(url)) == shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ftp://a/",), "use one of http, https, tcp, tls"),
        (("http://a:x/",), "has no good port"),
        (("http:///a",), "has no host"),
        (("tcp://a",), "has no port"),
        (("http://a", "GET", ("x",)), "write name: value"),
        (("http://a", "GET", (), "", "b"), "no IP address"),
    ],
)
def test_what_cannot_be_asked(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Asked.of(*arguments)  # type: ignore[arg-type]
