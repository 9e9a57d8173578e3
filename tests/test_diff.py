"""What `fairlead diff` says of two folders: requests, connections, resources, problems."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from e2e.objects import (
    FRONT,
    destination_rule,
    gateway,
    http_server,
    https_server,
    issued,
    resource,
    route,
    secret,
    service,
    virtual_service,
)
from fairlead.cli.main import app
from fairlead.comparison.fields import field_changes
from fairlead.comparison.values import FieldChange
from fairlead.simulation.samples import sample
from typer.testing import CliRunner

WEB, OTHER = service("web", 80, 9001), service("other", 80, 9002)
EDGE = FRONT + "---" + gateway(http_server())
SECURE = FRONT + "---" + gateway(http_server(), https_server("a.test", "a", "https-a"))
TO_WEB = route("web", "web.test", "web")
TEA = "http:\n  - {match: [{uri: {exact: /tea}}], directResponse: {status: 418}}\n"
BEFORE = gateway(https_server("c.test", "c", "https-c").replace("443", "80"), name="before")
BEFORE += f"---{secret('c', issued('c', 'c.test'))}"
LIMIT, REDIRECT = "connectionPool: {tcp: {maxConnections: 7}}", "http: [{redirect: {authority: b.test}}]"


def governing(kind: str, config: str, spec: str = "") -> str:
    """An object of ASM for requests to web.test."""
    text = f"""
    workloadSelector: {{labels: {{istio: ingressgateway}}}}
    isGateway: true
    {spec}
    configs: [{{match: {{vhost: {{name: web.test, port: 80}}}}, {config}}}]
    """
    return resource("istio.alibabacloud.com/v1", kind, "web", text, "istio-system")


LOCAL = governing("ASMLocalRateLimiter", "limit: {fill_interval: {seconds: 60}, quota: 7}")
BREAKER = governing("ASMCircuitBreaker", "breaker_config: {slow_request_rt: 0.5s, max_slow_requests: 5}")
SHARED = governing("ASMGlobalRateLimiter", "limit: {unit: MINUTE, quota: 7}", "rateLimitService: {}")
POLICY = resource(
    "istio.alibabacloud.com/v1",
    "RateLimitingPolicy",
    "web",
    """
    rate_limiter:
      bucket_capacity: 5
      fill_amount: 2
      parameters: {interval: 1s}
      selectors: [{service: web.default.svc.cluster.local, control_point: egress}]
    """,
    "istio-system",
)
PAIR, LATER = issued("a", "a.test"), issued("a", "a.test", "b.test")


def differing(tmp_path: Path, old: list[str], new: list[str], *arguments: str) -> tuple[int, str]:
    """Exit code and output for two folders with one document in each file."""
    for name, texts in (("old", old), ("new", new)):
        folder = tmp_path / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for number, text in enumerate(texts):
            (folder / f"{number}.yaml").write_text(text)
    result = CliRunner().invoke(app, ["diff", str(tmp_path / "old"), str(tmp_path / "new"), *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        pytest.param(
            [EDGE, WEB, OTHER, TO_WEB], [EDGE, WEB, OTHER, route("web", "web.test", "other")],
            ["proxy istio-system/istio=ingressgateway",
             "  GET http://web.test:8080/, and 1 more like it",
             "    - goes to web.default.svc.cluster.local:80",
             "    + goes to other.default.svc.cluster.local:80",
             "  no connection of clients is drained",
             "  added cds outbound|80||other.default.svc.cluster.local",
             "  removed cds outbound|80||web.default.svc.cluster.local",
             "  changed rds http.8080",
             "    virtual_hosts[web.test:80].routes[0].route.cluster: outbound|80||web.default.svc.cluster.local -> o"],
            id="another backend",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB], [EDGE, WEB, route("web", "web.test", "web", match="prefix: /new")],
            ["  GET http://web.test:8080/, and 1 more like it",
             "    + fails with 404: no route of virtual host web.test:80 matches",
             "    virtual_hosts[web.test:80].routes[0].match.prefix: / -> /new"],
            id="a narrower route",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB],
            [EDGE, WEB, TO_WEB.replace("http:\n", TEA)],
            ["  GET http://web.test:8080/tea", "    - goes to web.default.svc.cluster.local:80",
             "    + is answered by the proxy with 418", "  changed rds http.8080",
             "    virtual_hosts[web.test:80].routes[0]: + {"],
            id="one more route",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB], [EDGE, WEB, TO_WEB, destination_rule("web", LIMIT)],
            ["  no request that was tried ends elsewhere", "  no connection of clients is drained",
             "  changed cds outbound|80||web.default.svc.cluster.local",
             "    circuit_breakers.thresholds[0].max_connections: 4294967295 -> 7"],
            id="a policy",
        ),
        pytest.param(
            [EDGE, TO_WEB, WEB], [EDGE, TO_WEB],
            ["    + fails with 503: there is no cluster outbound|80||web.default.svc.cluster.local",
             "problems that appear", "  new/1.yaml:10:34: warning[unknown-service] "],
            id="a service is gone",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB.replace("gateways", "gatweays")], [EDGE, WEB, TO_WEB],
            ["problems that vanish", "  old/2.yaml:7:3: warning[unknown-field] 'gatweays' is no field of spec"],
            id="a mistake is corrected",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB], [EDGE, WEB, virtual_service("web", "web.test", REDIRECT)],
            ["    + is redirected with 301 to http://b.test, with the same path"],
            id="a redirect",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB], [EDGE, WEB, TO_WEB.replace("spec:\n", "spec:\n  exportTo: ['*']\n")], [],
            id="nothing of it reaches a proxy",
        ),
        pytest.param(
            [SECURE, secret("a", PAIR)], [SECURE, secret("a", LATER)],
            ["  no connection of clients is drained", "  changed sds kubernetes://a",
             "    tls_certificate.certificate_chain.inline_bytes: CN=a,O=Fairlead, serial number "],
            id="another certificate",
        ),
        pytest.param(
            [SECURE, secret("a", PAIR)],
            [SECURE.replace("mode: SIMPLE", "mode: SIMPLE, minProtocolVersion: TLSV1_3"), secret("a", PAIR)],
            ["  listener 0.0.0.0_8443 drains connections of https.443.https-a.edge.default, and no others",
             "  changed lds 0.0.0.0_8443",
             "    filter_chains[https.443.https-a.edge.default].transport_socket.typed_config.common_tls_context."],
            id="one filter chain",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB], [EDGE, WEB, TO_WEB, BEFORE, route("c", "c.test", "web")],
            ["  listener 0.0.0.0_8080 drains all its connections: listener_filters", "  added sds kubernetes://c",
             "    filter_chains[https.80.https-c.before.default]: + "],
            id="the first TLS on a port",
        ),
        pytest.param(
            [SECURE, secret("a", PAIR)], [EDGE, secret("a", PAIR)],
            ["  listener 0.0.0.0_8443 drains all its connections: it is removed", "  removed lds 0.0.0.0_8443"],
            id="a listener goes",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB], [EDGE, WEB, TO_WEB, gateway(http_server(), name="second", selector="app: second")],
            ["proxy default/app=second", "  added lds 0.0.0.0_80", "1 other kinds of proxies: no difference"],
            id="one more kind of proxies",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB, LOCAL], [EDGE, WEB, TO_WEB, LOCAL.replace("quota: 7", "quota: 8")],
            ["  GET http://web.test:8080/, and 1 more like it",
             "    - goes to web.default.svc.cluster.local:80; limit 7 in 60s (istio-system/web/0)",
             "    + goes to web.default.svc.cluster.local:80; limit 8 in 60s (istio-system/web/0)",
             "  no connection of clients is drained", "  changed ecds fairlead.local_rate_limit"],
            id="a limit",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB, BREAKER], [EDGE, WEB, TO_WEB],
            ["    - goes to web.default.svc.cluster.local:80; breaker 5 slower than 500ms in 10s: 503 for 30s",
             "    + goes to web.default.svc.cluster.local:80; no such rule", "  removed cds fairlead-runtime"],
            id="a breaker is gone",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB, SHARED], [EDGE, WEB, TO_WEB, SHARED.replace("quota: 7", "quota: 8")],
            ["runtime services", "  changed runtime ASMGlobalRateLimiter istio-system/web", "    limits["],
            id="a limit that proxies know nothing of",
        ),
        pytest.param(
            [EDGE, WEB, TO_WEB, POLICY], [EDGE, WEB, TO_WEB, POLICY.replace("interval: 1s", "interval: 2s")],
            ["runtime services", "  changed runtime RateLimitingPolicy istio-system/web", "    quota.interval: 1s -> "],
            id="a policy that proxies know nothing of",
        ),
    ],
)  # fmt: skip
def test_what_differs(tmp_path: Path, old: list[str], new: list[str], lines: list[str]) -> None:
    code, output = differing(tmp_path, old, new)
    rest = iter(output.splitlines())
    assert [line for line in lines if not any(found.startswith(line) for found in rest)] == [], output
    assert code == (1 if lines else 0)
    assert (output == "no difference\n") == (not lines)
    assert differing(tmp_path, new, new) == (0, "no difference\n")


def test_what_is_no_difference(tmp_path: Path) -> None:
    """Files may be renamed, objects may move, comments may come and go."""
    code, output = differing(tmp_path, [EDGE, WEB, TO_WEB], [TO_WEB, f"# a comment\n{WEB}", "", EDGE])
    assert (code, output) == (0, "no difference\n")


def test_a_private_key_alone_is_a_difference_that_is_not_shown(tmp_path: Path) -> None:
    later = issued("a", "a.test")
    code, output = differing(tmp_path, [SECURE, secret("a", PAIR)], [SECURE, secret("a", later)], "--format", "json")
    assert code == 1
    for pair in (PAIR, later):
        key = pair.key_pem.reveal().decode().splitlines()[1]
        assert key not in output
    (proxy,) = json.loads(output)["proxies"]
    assert [change["name"] for change in proxy["resources"]] == ["kubernetes://a"]


def test_json(tmp_path: Path) -> None:
    code, output = differing(
        tmp_path, [EDGE, WEB, OTHER, TO_WEB], [EDGE, WEB, OTHER, route("web", "web.test", "other")], "--format", "json"
    )
    found = json.loads(output)
    assert (code, found["unchanged"], found["appeared"], found["vanished"]) == (1, 0, [], [])
    (proxy,) = found["proxies"]
    assert (proxy["drains"], proxy["untried"]) == ([], 0)
    assert proxy["requests"] == [
        {
            "request": "GET http://web.test:8080/",
            "old": "goes to web.default.svc.cluster.local:80",
            "new": "goes to other.default.svc.cluster.local:80",
            "others": 1,
        }
    ]
    (routes,) = (change for change in proxy["resources"] if change["type"] == "rds")
    assert routes["change"] == "changed"
    assert {field["path"] for field in routes["fields"]} == {"virtual_hosts[web.test:80].routes[0].route.cluster"}


def test_one_proxy_only(tmp_path: Path) -> None:
    second = gateway(http_server(), name="second", selector="app: second")
    _, output = differing(tmp_path, [EDGE], [second], "--labels", "app=second")
    assert "proxy default/app=second" in output
    assert "istio-system" not in output


def test_sidecars(tmp_path: Path) -> None:
    both = [service("reviews", 9080, 9061), service("ratings", 9080, 9062)]
    text = "hosts: [reviews]\nhttp: [{route: [{destination: {host: %s}}]}]"
    old, new = ([*both, resource("networking.istio.io/v1", "VirtualService", "reviews", text % to)]
                for to in ("reviews", "ratings"))  # fmt: skip
    code, output = differing(tmp_path, old, new, "--proxy", "sidecar:default/app=shop")
    assert code == 1
    lines = (
        "proxy sidecar:default/app=shop",
        "  GET http://reviews:9080/ at 127.0.0.2, and 1 more like it",
        "    - goes to reviews.default.svc.cluster.local:9080",
        "    + goes to ratings.default.svc.cluster.local:9080",
        "  no connection of clients is drained",
        "  changed rds 9080",
    )
    assert [line for line in lines if line not in output.splitlines()] == [], output


def test_without_proxies(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    result = CliRunner().invoke(app, ["diff", str(tmp_path), str(tmp_path)])
    assert (result.exit_code, result.stdout) == (0, "no difference\n")
    assert "name one with --proxy" in result.stderr


def test_folders_that_do_not_exist(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["diff", str(tmp_path), str(tmp_path / "nowhere")])
    assert (result.exit_code, "nowhere" in result.stderr) == (2, True)


# --- Requests that are tried ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "shown"),
    [
        ("uri: {exact: /a}", "GET http://web.test:8080/a"),
        ("uri: {prefix: /a}", "GET http://web.test:8080/a, and 1 more like it"),
        ("uri: {regex: '/v[0-9]+/(a|b).*'}", "GET http://web.test:8080/v0/a"),
        ("uri: {prefix: /}, method: {exact: PUT}", "PUT http://web.test:8080/, and 1 more like it"),
        ("headers: {x-a: {exact: b}, x-c: {prefix: d}}", "GET http://web.test:8080/ with x-a: b; x-c: dprobe, and 1"),
        ("headers: {x-a: {}}", "GET http://web.test:8080/ with x-a: probe, and 1 more like it"),
        ("headers: {cookie: {regex: '^(.*?;)?(user=jason)(;.*)?$'}}", "GET http://web.test:8080/ with cookie: user=j"),
        ("uri: {exact: /a}, queryParams: {q: {exact: b c}, r: {}}", "GET http://web.test:8080/a?q=b+c&r="),
        ("uri: {exact: /a}, withoutHeaders: {x-a: {exact: b}}", "GET http://web.test:8080/a"),
    ],
)  # fmt: skip
def test_requests_that_are_tried(tmp_path: Path, match: str, shown: str) -> None:
    routes = [
        f"http: [{{match: [{{{match}}}], route: [{{destination: {{host: {name}}}}}]}}]" for name in ("web", "other")
    ]
    old, new = ([EDGE, WEB, OTHER, virtual_service("web", "web.test", text)] for text in routes)
    code, output = differing(tmp_path, old, new)
    assert code == 1
    assert f"\n  {shown}" in output
    assert "not tried" not in output


def test_routes_that_cannot_be_tried_are_counted(tmp_path: Path) -> None:
    text = "http: [{match: [{uri: {regex: '/[[:alpha:]]+'}}], route: [{destination: {host: %s}}]}]"
    old, new = ([EDGE, WEB, OTHER, virtual_service("web", "web.test", text % name)] for name in ("web", "other"))
    assert "  not tried: 1 routes for which no request could be thought out" in differing(tmp_path, old, new)[1]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/api/v[0-9]+/.*", "/api/v0/"), ("^(.*?;)?(user=jason)(;.*)?$", "user=jason"), ("(?i)/Abc", "/Abc"),
        (r"[^/:]+\.x", "a.x"), ("a|b", "a"), (r"\d{3}", "000"), ("(?:x|y){2,}[]a]", "xxa"), ("(?P<n>q)?r", "r"),
        (r"\bfoo\b", "foo"), ("[[:alpha:]]", None), ("a(", None), ("x{", None), ("[a", None), (r"a\b.b", None),
    ],
)  # fmt: skip
def test_samples_of_regular_expressions(pattern: str, found: str | None) -> None:
    assert sample(pattern) == found


# --- Fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}, [("b.c", 2, 3)]),
        ({"a": 1}, {"b": 1}, [("a", 1, None), ("b", None, 1)]),
        ([1, 2, 3], [1, 3], [("[1]", 2, None)]),
        ([{"x": 1}, {"x": 2}], [{"x": 0}, {"x": 1}, {"x": 2}], [("[0]", None, {"x": 0})]),
        ([{"x": 1}], [{"x": 2}], [("[0].x", 1, 2)]),
        (
            [{"name": "a", "v": 1}, {"name": "b"}], [{"name": "b"}, {"name": "a", "v": 2}],
            [("[a].v", 1, 2), (": order", ["a", "b"], ["b", "a"])],
        ),
        (
            [{"name": "a", "v": 1}, {"name": "a", "v": 2}], [{"name": "a", "v": 1}, {"name": "a", "v": 3}],
            [("[1].v", 2, 3)],
        ),
        ({"a": [1]}, {"a": {"b": 1}}, [("a", [1], {"b": 1})]),
    ],
)  # fmt: skip
def test_fields(old: Any, new: Any, expected: list[tuple[str, Any, Any]]) -> None:
    assert list(field_changes(old, new)) == [FieldChange(*change) for change in expected]
    assert list(field_changes(new, new)) == []
