"""Routes of VirtualServices: what each field becomes."""

import pytest
from fairlead.intent import (
    Action,
    Backend,
    Cors,
    Destination,
    DirectResponse,
    Fault,
    Forward,
    HashKey,
    HashKeyKind,
    HeaderOperations,
    Match,
    Mirror,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Redirect,
    Retry,
    Route,
    StringMatch,
    StringMatchKind,
    ValueMatch,
)
from fairlead.problems import Severity
from support.istio import (
    EDGE,
    SHOPS,
    TO_SHOP,
    all_hosts,
    all_problems,
    gateway,
    http,
    only_host,
    route_world,
    service,
    tls,
    virtual_service,
)
from support.worlds import put, world

MS = 1_000_000
SHOP = Backend("shop.edge.svc.cluster.local", 80)
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop, namespace: edge}
spec: {host: shop, subsets: [{name: v1, labels: {version: v1}}], trafficPolicy: %s}
"""
DEFAULT_CONDITIONS = ("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes")
DEFAULT_RETRY = Retry(2, DEFAULT_CONDITIONS)


def text(kind: str, value: str) -> StringMatch:
    return StringMatch(StringMatchKind(kind), value)


def routes_of(*routes: str, servers: str = "", more: str = SHOPS) -> tuple[Route, ...]:
    return only_host(route_world(*routes, servers=servers, more=more)).routes


def only_route(route: str, *, servers: str = "", more: str = SHOPS) -> Route:
    (found,) = routes_of(route, servers=servers, more=more)
    return found


def forward(route: str, *, more: str = SHOPS) -> Forward:
    action = only_route(route, more=more).action
    assert isinstance(action, Forward)
    return action


# --- What requests are matched by -------------------------------------------------------------------------------------

EXACT, PREFIX, REGEX = PathMatchKind.EXACT, PathMatchKind.PREFIX, PathMatchKind.REGEX


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{}", Match()),
        ("uri: {exact: /a}", Match(PathMatch(EXACT, "/a"))),
        ("uri: {prefix: /a}", Match(PathMatch(PREFIX, "/a"))),
        ("uri: {prefix: ''}", Match()),
        ("uri: {regex: /a.*}", Match(PathMatch(REGEX, "/a.*"))),
        ("uri: {}", Match()),
        ("uri: {exact: /A}, ignoreUriCase: true", Match(PathMatch(EXACT, "/A", ignore_case=True))),
        ("uri: {prefix: /A}, ignoreUriCase: true", Match(PathMatch(PREFIX, "/A", ignore_case=True))),
        ("uri: {regex: /A}, ignoreUriCase: true", Match(PathMatch(REGEX, "/A"))),
        ("method: {exact: GET}", Match(headers=(ValueMatch(":method", text("exact", "GET")),))),
        ("scheme: {exact: https}", Match(headers=(ValueMatch(":scheme", text("exact", "https")),))),
        ("authority: {prefix: a}", Match(headers=(ValueMatch(":authority", text("prefix", "a")),))),
        (
            "headers: {b: {regex: x+}, a: {prefix: y}}",
            Match(headers=(ValueMatch("a", text("prefix", "y")), ValueMatch("b", text("regex", "x+")))),
        ),
        ("headers: {a: {}}", Match(headers=(ValueMatch("a", None),))),
        ("headers: {a: {regex: '*'}}", Match(headers=(ValueMatch("a", None),))),
        ("headers: {a: {exact: ''}}", Match(headers=(ValueMatch("a", text("exact", "")),))),
        (
            "headers: {b: {exact: y}}, withoutHeaders: {a: {exact: x}, c: {}}",
            Match(
                headers=(
                    ValueMatch("a", text("exact", "x"), invert=True),
                    ValueMatch("b", text("exact", "y")),
                    ValueMatch("c", None, invert=True),
                )
            ),
        ),
        (
            "queryParams: {b: {regex: '*'}, a: {exact: x}}",
            Match(query_parameters=(ValueMatch("a", text("exact", "x")), ValueMatch("b", None))),
        ),
    ],
)
@pytest.mark.istio_fields(
    "VirtualService.http[].match[].{uri,headers{},authority}.{exact,prefix,regex}",
    "VirtualService.http[].match[].{method,scheme,withoutHeaders{},queryParams{}}.exact",
    "VirtualService.http[].match[].ignoreUriCase",
)
def test_matches(match: str, expected: Match) -> None:
    conditions = match if match.startswith("{") else f"{{{match}}}"
    assert only_route(f"match: [{conditions}], {TO_SHOP}").match == expected


@pytest.mark.istio_fields("VirtualService.http[].{name,match[].name}")
def test_each_match_is_a_route_of_its_own_in_order_and_named_after_both() -> None:
    found = routes_of(
        f"name: r, match: [{{name: one, uri: {{exact: /1}}}}, {{uri: {{exact: /2}}}}], {TO_SHOP}",
        f"match: [{{name: three, uri: {{exact: /3}}}}], {TO_SHOP}",
        TO_SHOP,
    )
    assert [(route.name, route.match.path and route.match.path.value) for route in found] == [
        ("r.one", "/1"),
        ("r", "/2"),
        (".three", "/3"),
        ("", None),
    ]


@pytest.mark.istio_fields("VirtualService.http[].match[].statPrefix")
def test_each_match_may_have_statistics_of_its_own() -> None:
    found = routes_of(f"match: [{{uri: {{exact: /1}}, statPrefix: one}}, {{uri: {{exact: /2}}}}], {TO_SHOP}")
    assert [route.stat_prefix for route in found] == ["one", ""]


@pytest.mark.parametrize(
    "everything",
    [
        "",
        "match: [{uri: {prefix: /}}],",
        "match: [{uri: {prefix: /}, ignoreUriCase: true}],",
        "match: [{uri: {regex: '.*'}}],",
    ],
)
def test_what_comes_after_a_route_for_everything_is_left_out(everything: str) -> None:
    found = routes_of(f"name: all, {everything} {TO_SHOP}", f"name: late, match: [{{uri: {{exact: /1}}}}], {TO_SHOP}")
    assert [route.name for route in found] == ["all"]


def test_what_comes_after_a_match_for_everything_is_left_out() -> None:
    matches = "{name: all, headers: {}}, {name: late, uri: {exact: /1}}"
    assert [route.name for route in routes_of(f"name: r, match: [{matches}], {TO_SHOP}")] == ["r.all"]


def test_ports_of_all_servers_on_one_listener_are_asked_for() -> None:
    front = service("front", "{port: 80, targetPort: 8080}, {port: 81, targetPort: 8080}", "{app: edge}")
    routes = [f"match: [{{uri: {{exact: /}}, port: {port}}}], {TO_SHOP}" for port in (79, 80, 81)]
    listed = "http:" + "".join(f"\n- {{name: r{index}, {route}}}" for index, route in enumerate(routes))
    made = world(gateway("edge", http(), http(81)), virtual_service("v", listed), f"{SHOPS}---{front}")
    assert [route.name for route in only_host(made).routes] == ["r1", "r2"]


@pytest.mark.parametrize(
    "condition", ["headers: {a: {exact: b}}", "queryParams: {a: {exact: b}}", "method: {exact: GET}"]
)
def test_a_route_with_any_condition_is_not_for_everything(condition: str) -> None:
    first = f"name: some, match: [{{uri: {{prefix: /}}, {condition}}}], {TO_SHOP}"
    assert [route.name for route in routes_of(first, f"name: rest, {TO_SHOP}")] == ["some", "rest"]


@pytest.mark.parametrize(
    ("condition", "is_served"),
    [
        ("port: 80", True),
        ("port: 81", False),
        ("gateways: [edge]", True),
        ("gateways: [edge/edge]", True),
        ("gateways: [mesh, edge]", True),
        ("gateways: [mesh]", False),
        ("gateways: [other]", False),
        ("sourceNamespace: edge", True),
        ("sourceNamespace: other", False),
        ("sourceLabels: {app: edge, version: '1'}", True),
        ("sourceLabels: {app: edge, version: '2'}", False),
        ("gateways: [edge], sourceLabels: {app: other}", True),
        ("gateways: [edge], port: 81", False),
    ],
)
@pytest.mark.istio_fields("VirtualService.http[].match[].{port,gateways[],sourceNamespace,sourceLabels{}}")
def test_conditions_that_no_request_decides(condition: str, is_served: bool) -> None:
    found = routes_of(f"match: [{{uri: {{exact: /}}, {condition}}}], {TO_SHOP}")
    assert len(found) == is_served


def test_the_port_of_a_match_is_the_declared_one() -> None:
    front = service("front", "{port: 80, targetPort: 8080}", "{app: edge}")
    made = route_world(f"match: [{{port: 80}}], {TO_SHOP}", more=f"{SHOPS}---{front}")
    assert len(all_hosts(made)["http.8080", "a.example.com"].routes) == 1
    assert all_hosts(made)["http.8080", "a.example.com"].name == "a.example.com:80"


def test_a_route_with_a_condition_that_cannot_be_asked_is_left_out() -> None:
    made = route_world(f"match: [{{headers: {{'@request.auth.claims.sub': {{exact: x}}}}}}], {TO_SHOP}", TO_SHOP)
    assert [route.match for route in only_host(made).routes] == [Match()]
    (problem,) = all_problems(made)
    assert (problem.code, problem.severity) == ("unsupported-value", Severity.ERROR)
    assert problem.path == ("spec", "http", 0, "match", 0, "headers", "@request.auth.claims.sub")


# --- Where requests go ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "backend", "code"),
    [
        ("host: shop", SHOP, None),
        ("host: SHOP", SHOP, None),
        ("host: shop.edge.svc.cluster.local, port: {number: 80}", SHOP, None),
        ("host: shop, subset: v1", Backend(SHOP.host, 80, "v1"), None),
        ("host: shop, subset: v2", Backend(SHOP.host, 80, "v2"), "unknown-subset"),
        ("host: many, port: {number: 2}", Backend("many.edge.svc.cluster.local", 2), None),
        ("host: many, port: {number: 3}", Backend("many.edge.svc.cluster.local", 3), "unknown-port"),
        ("host: many", Backend("many.edge.svc.cluster.local", 80), "unknown-port"),
        ("host: gone", Backend("gone.edge.svc.cluster.local", 80), "unknown-service"),
        ("host: gone.example.com, port: {number: 9}", Backend("gone.example.com", 9), "unknown-service"),
    ],
)
@pytest.mark.istio_fields("VirtualService.http[].route[].destination.{host,subset,port.number}")
def test_destinations(destination: str, backend: Backend, code: str | None) -> None:
    made = route_world(f"route: [{{destination: {{{destination}}}}}]", more=SHOPS + "---" + RULE % "{}")
    (route,) = only_host(made).routes
    assert isinstance(route.action, Forward)
    (found,) = route.action.destinations
    assert found == Destination(backend, missing=found.missing)
    assert (found.missing.code if found.missing is not None else None) == code
    problems = all_problems(made)
    assert [problem.code for problem in problems] == ([code] if code else [])
    for problem in problems:
        assert problem.severity is Severity.WARNING
        assert problem.path[:6] == ("spec", "http", 0, "route", 0, "destination")
        assert str(problem.key) == "VirtualService edge/v"
        assert problem.hint


def test_a_service_that_comes_later_ends_the_problem() -> None:
    made = route_world(TO_SHOP, more=service("other"))
    assert [problem.code for problem in all_problems(made)] == ["unknown-service"]
    put(made, SHOPS)
    assert all_problems(made) == set()


def test_short_names_are_of_the_virtual_service_not_of_the_proxy() -> None:
    made = world(
        gateway("edge", http()),
        virtual_service("v", f"http: [{{{TO_SHOP}}}]", gateways="edge/edge", namespace="team"),
        service("shop", namespace="team"),
    )
    (route,) = only_host(made).routes
    assert isinstance(route.action, Forward)
    assert route.action.destinations[0].backend == Backend("shop.team.svc.cluster.local", 80)


@pytest.mark.istio_fields("VirtualService.http[].route[].{weight,headers}")
def test_weights_and_what_is_said_of_single_destinations() -> None:
    shares = """route: [
      {destination: {host: shop}, weight: 3, headers: {request: {set: {Host: x, a: '1'}}, response: {remove: [b]}}},
      {destination: {host: many, port: {number: 1}}, weight: 0},
      {destination: {host: many, port: {number: 2}}, weight: 1}]"""
    assert forward(shares).destinations == (
        Destination(SHOP, 3, HeaderOperations(set=(("a", "1"),)), HeaderOperations(remove=("b",)), host="x"),
        Destination(Backend("many.edge.svc.cluster.local", 2), 1),
    )


def test_what_is_said_of_an_only_destination_is_said_of_the_route() -> None:
    headers = "headers: {request: {set: {b: '2', host: x}}, response: {add: {c: '3'}}}"
    of_route = "headers: {request: {set: {a: '1'}}, response: {add: {d: '4'}}}"
    found = only_route(f"{of_route}, route: [{{destination: {{host: shop}}, weight: 7, {headers}}}]")
    assert found.request_headers == HeaderOperations(set=(("a", "1"), ("b", "2")))
    assert found.response_headers == HeaderOperations(add=(("d", "4"), ("c", "3")))
    assert isinstance(found.action, Forward)
    assert (found.action.host, found.action.destinations) == ("x", (Destination(SHOP),))


@pytest.mark.parametrize(
    ("of_route", "of_destination", "host"),
    [
        ("", "", ""),
        ("rewrite: {authority: r},", "", "r"),
        ("headers: {request: {set: {':authority': h}}},", "", "h"),
        ("headers: {request: {add: {Host: h}}},", "", "h"),
        ("headers: {request: {add: {host: h}, set: {host: i}}},", "", "i"),
        ("rewrite: {authority: r},", "headers: {request: {set: {host: d}}}", "r"),
        ("headers: {request: {set: {host: h}}},", "headers: {request: {set: {host: d}}}", "h"),
        ("", "headers: {request: {set: {host: d}}}", "d"),
    ],
)
@pytest.mark.istio_fields("VirtualService.http[].rewrite.authority")
def test_the_host_that_backends_see(of_route: str, of_destination: str, host: str) -> None:
    action = forward(f"{of_route} route: [{{destination: {{host: shop}}, {of_destination}}}]")
    assert action.host == host
    assert action.destinations == (Destination(SHOP),)


@pytest.mark.istio_fields("VirtualService.http[].headers.request.{set{},add{},remove[]}")
def test_header_operations_are_sorted_and_the_host_is_none_of_them() -> None:
    request = "request: {set: {b: '1', a: '2', Host: x}, add: {d: '3', c: '4'}, remove: [f, e]}"
    found = only_route(f"headers: {{{request}}}, {TO_SHOP}")
    assert found.request_headers == HeaderOperations(
        set=(("a", "2"), ("b", "1")), add=(("c", "4"), ("d", "3")), remove=("f", "e")
    )


@pytest.mark.parametrize(
    ("rewrite", "match", "expected", "path"),
    [
        ("uri: /x", "uri: {prefix: /a}", PathRewrite(PathRewriteKind.PREFIX, "/x"), PathMatch(PREFIX, "/a")),
        ("uri: /x", "uri: {exact: /a}", PathRewrite(PathRewriteKind.PREFIX, "/x"), PathMatch(EXACT, "/a")),
        ("uri: /x", "method: {exact: GET}", PathRewrite(PathRewriteKind.PREFIX, "/x"), PathMatch(PREFIX, "/")),
        (
            "uriRegexRewrite: {match: ^/a/(.*), rewrite: '/\\1'}",
            "method: {exact: GET}",
            PathRewrite(PathRewriteKind.REGEX, "/\\1", "^/a/(.*)"),
            None,
        ),
    ],
)
@pytest.mark.istio_fields("VirtualService.http[].rewrite.{uri,uriRegexRewrite.{match,rewrite}}")
def test_rewrites(rewrite: str, match: str, expected: PathRewrite, path: PathMatch | None) -> None:
    found = only_route(f"rewrite: {{{rewrite}}}, match: [{{{match}}}], {TO_SHOP}")
    assert isinstance(found.action, Forward)
    assert (found.action.path_rewrite, found.match.path) == (expected, path)


@pytest.mark.parametrize(("timeout", "expected"), [("", None), ("timeout: 0s,", None), ("timeout: 1.5s,", 1500 * MS)])
@pytest.mark.istio_fields("VirtualService.http[].timeout")
def test_timeouts(timeout: str, expected: int | None) -> None:
    assert forward(f"{timeout} {TO_SHOP}").timeout == expected


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        ("", DEFAULT_RETRY),
        ("retries: {attempts: 0},", None),
        ("retries: {},", None),
        ("retries: {attempts: 3},", Retry(3, DEFAULT_CONDITIONS)),
        ("retries: {attempts: 3, retryOn: '5xx, reset'},", Retry(3, ("5xx", "reset"))),
        ("retries: {attempts: 3, retryOn: '503'},", Retry(3, ("retriable-status-codes",), (503,))),
        (
            "retries: {attempts: 1, retryOn: 'retriable-status-codes,429,503,reset'},",
            Retry(1, ("retriable-status-codes", "reset"), (429, 503)),
        ),
        (
            "retries: {attempts: 1, perTryTimeout: 2s, backoff: 30ms, retryRemoteLocalities: true},",
            Retry(1, DEFAULT_CONDITIONS, (), 2000 * MS, 30 * MS, any_locality=True),
        ),
        (
            "retries: {attempts: 1, retryIgnorePreviousHosts: false},",
            Retry(1, DEFAULT_CONDITIONS, avoid_previous_hosts=False),
        ),
    ],
)
@pytest.mark.istio_fields(
    "VirtualService.http[].retries.{attempts,perTryTimeout,retryOn,retryRemoteLocalities,retryIgnorePreviousHosts,backoff}"
)
def test_retries(retries: str, expected: Retry | None) -> None:
    assert forward(f"{retries} {TO_SHOP}").retry == expected


def test_sticky_requests_are_told_apart_by_routes_and_tried_again_where_they_stick() -> None:
    sticky = RULE % "{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"
    action = forward("route: [{destination: {host: shop}}], mirror: {host: shop}", more=f"{SHOPS}---{sticky}")
    assert action.hash_keys == (HashKey(HashKeyKind.HEADER, "x-user"),)
    assert action.retry == Retry(2, DEFAULT_CONDITIONS, avoid_previous_hosts=False)


@pytest.mark.parametrize(
    ("mirrors", "shares"),
    [
        ("mirror: {host: shop}", [1_000_000]),
        ("mirror: {host: shop}, mirrorPercentage: {value: 0.5}", [5_000]),
        ("mirror: {host: shop}, mirrorPercent: 7", [70_000]),
        ("mirror: {host: shop}, mirrorPercent: 0", []),
        ("mirror: {host: shop}, mirrorPercentage: {value: 0}, mirrorPercent: 7", []),
        (
            "mirrors: [{destination: {host: shop}}, {destination: {host: shop}, percentage: {value: 10}}]",
            [10**6, 10**5],
        ),
        ("mirrors: [{destination: {host: shop}, percentage: {value: 0}}]", []),
    ],
)
@pytest.mark.istio_fields(
    "VirtualService.http[].{mirror,mirrorPercentage.value,mirrorPercent,mirrors[].{destination,percentage}}"
)
def test_mirrors(mirrors: str, shares: list[int]) -> None:
    assert forward(f"{TO_SHOP}, {mirrors}").mirrors == tuple(Mirror(SHOP, share) for share in shares)


def test_a_mirror_to_an_unknown_service_is_told_of() -> None:
    (problem,) = all_problems(route_world(f"{TO_SHOP}, mirrors: [{{destination: {{host: gone}}}}]"))
    assert problem.path == ("spec", "http", 0, "mirrors", 0, "destination", "host")


# --- Answers, faults, CORS --------------------------------------------------------------------------------------------

HTTPS = tls("a.example.com")


@pytest.mark.parametrize(
    ("redirect", "servers", "expected"),
    [
        ("uri: /x", http(), Redirect(301, path=PathRewrite(PathRewriteKind.FULL, "/x"))),
        ("prefixRewrite: /x", http(), Redirect(301, path=PathRewrite(PathRewriteKind.PREFIX, "/x"))),
        ("authority: b.com, redirectCode: 308", http(), Redirect(308, host="b.com")),
        ("scheme: https", http(), Redirect(301, scheme="https")),
        ("port: 8080", http(), Redirect(301, port=8080)),
        ("port: 80", http(), Redirect(301)),
        ("port: 80, scheme: https", http(), Redirect(301, scheme="https", port=80)),
        ("port: 443, scheme: https", http(), Redirect(301, scheme="https")),
        ("port: 443", HTTPS, Redirect(301)),
        ("port: 80", HTTPS, Redirect(301, port=80)),
        ("derivePort: FROM_PROTOCOL_DEFAULT", http(), Redirect(301)),
        ("derivePort: FROM_REQUEST_PORT", http(81), Redirect(301, port=81)),
        ("derivePort: FROM_REQUEST_PORT", http(), Redirect(301)),
        ("derivePort: FROM_REQUEST_PORT, scheme: https", http(), Redirect(301, scheme="https", port=80)),
    ],
)
@pytest.mark.istio_fields(
    "VirtualService.http[].redirect.{uri,prefixRewrite,authority,scheme,port,derivePort,redirectCode}"
)
def test_redirects(redirect: str, servers: str, expected: Redirect) -> None:
    assert only_route(f"redirect: {{{redirect}}}", servers=servers).action == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("status: 503", DirectResponse(503)),
        ("status: 200, body: {string: grüß}", DirectResponse(200, "grüß".encode())),
        ("status: 200, body: {bytes: aGk=}", DirectResponse(200, b"hi")),
    ],
)
@pytest.mark.istio_fields(
    "VirtualService.http[].directResponse.{status,body.{string,bytes}}",
    "VirtualService.http[].headers.response",
)
def test_direct_responses(response: str, expected: Action) -> None:
    found = only_route(f"directResponse: {{{response}}}, headers: {{response: {{set: {{a: b}}}}}}")
    assert found.action == expected
    assert found.response_headers == HeaderOperations(set=(("a", "b"),))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("delay: {fixedDelay: 2s, percentage: {value: 0.1}}", Fault(2000 * MS, 1000)),
        ("delay: {fixedDelay: 2s, percent: 5}", Fault(2000 * MS, 50_000)),
        ("delay: {fixedDelay: 2s, percentage: {value: 1}, percent: 5}", Fault(2000 * MS, 10_000)),
        ("delay: {fixedDelay: 2s}", None),
        ("delay: {exponentialDelay: 2s, percent: 5}", None),
        ("abort: {httpStatus: 500, percentage: {value: 100}}", Fault(abort_status=500, abort_share=10**6)),
        ("abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}", Fault(abort_grpc_status=14, abort_share=10**4)),
        ("abort: {httpStatus: 500}", None),
        ("abort: {http2Error: x, percentage: {value: 1}}", None),
        (
            "delay: {fixedDelay: 1ms, percent: 1}, abort: {httpStatus: 500, percentage: {value: 1}}",
            Fault(MS, 10_000, 500, None, 10_000),
        ),
    ],
)
@pytest.mark.istio_fields(
    "VirtualService.http[].fault.{delay.{fixedDelay,percentage,percent},abort.{httpStatus,grpcStatus,percentage}}"
)
def test_faults(fault: str, expected: Fault | None) -> None:
    assert only_route(f"fault: {{{fault}}}, {TO_SHOP}").fault == expected


@pytest.mark.istio_fields(
    "VirtualService.http[].corsPolicy.{allowOrigin[],allowOrigins[],allowMethods[],allowHeaders[],exposeHeaders[],maxAge,allowCredentials,unmatchedPreflights}"
)
def test_cors() -> None:
    policy = """allowOrigins: [{exact: a}, {prefix: b}, {regex: c}], allowMethods: [GET, PUT], allowHeaders: [d],
      exposeHeaders: [e], maxAge: 1h, allowCredentials: true, unmatchedPreflights: IGNORE"""
    assert only_route(f"corsPolicy: {{{policy}}}, {TO_SHOP}").cors == Cors(
        allow_origins=(text("exact", "a"), text("prefix", "b"), text("regex", "c")),
        allow_methods=("GET", "PUT"),
        allow_headers=("d",),
        expose_headers=("e",),
        max_age=3_600_000 * MS,
        allow_credentials=True,
        forward_unmatched_preflights=False,
    )
    assert only_route(f"corsPolicy: {{allowOrigin: ['*']}}, {TO_SHOP}").cors == Cors((text("exact", "*"),))


def test_proxies_see_services_as_their_namespace_does() -> None:
    hidden = service("shop").replace(
        "namespace: edge", "namespace: team, annotations: {networking.istio.io/exportTo: .}"
    )
    made = world(
        gateway("edge", http()),
        virtual_service("v", f"http: [{{{TO_SHOP}}}]", gateways="edge/edge", namespace="team"),
        hidden,
    )
    (problem,) = all_problems(made)
    assert problem.code == "unknown-service"
    assert EDGE.namespace in problem.message
