"""Gateway API: what the rules of HTTPRoutes do, and which of them decides."""

import re

import pytest
from fairlead.intent import (
    Backend,
    Cors,
    Destination,
    DirectResponse,
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
from fairlead.models.gateway_api import ReferenceGrant
from fairlead.world import ObjectName, World
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gateway_api import EDGE, TO_SHOP, answer, gateway, grant, http, https, only_routes, route, told, words
from support.istio import all_hosts, service
from support.worlds import put, world

SHOP = service("shop") + "---" + service("store") + "---" + service("shop", namespace="team")
SHOP_80 = Backend("shop.edge.svc.cluster.local", 80)
STORE_80 = Backend("store.edge.svc.cluster.local", 80)
SECOND = 10**9


def served(*rules: str, listener: str = "", more: str = SHOP) -> World:
    """An HTTPRoute with these rules on one listener."""
    return world(gateway(listener or http()), route(*rules), more)


def only(made: World) -> Route:
    (found,) = only_routes(made)
    return found


def forward(made: World) -> Forward:
    action = only(made).action
    assert isinstance(action, Forward)
    return action


# --- Matches ----------------------------------------------------------------------------------------------------------


def path(kind: PathMatchKind, value: str) -> PathMatch:
    return PathMatch(kind, value)


def exact(name: str, value: str) -> ValueMatch:
    return ValueMatch(name, StringMatch(StringMatchKind.EXACT, value))


EVERY_PATH = path(PathMatchKind.SEGMENT_PREFIX, "")


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ("", [Match(EVERY_PATH)]),
        ("matches: []", [Match(EVERY_PATH)]),
        ("matches: [{}]", [Match(EVERY_PATH)]),
        ("matches: [{path: {value: /}}]", [Match(EVERY_PATH)]),
        ("matches: [{path: {value: /a}}]", [Match(path(PathMatchKind.SEGMENT_PREFIX, "/a"))]),
        ("matches: [{path: {value: /a/}}]", [Match(path(PathMatchKind.SEGMENT_PREFIX, "/a"))]),
        ("matches: [{path: {type: Exact, value: /a/}}]", [Match(path(PathMatchKind.EXACT, "/a/"))]),
        ("matches: [{path: {type: RegularExpression, value: '/a.*'}}]", [Match(path(PathMatchKind.REGEX, "/a.*"))]),
        ("matches: [{method: GET}]", [Match(EVERY_PATH, headers=(exact(":method", "GET"),))]),
        (
            "matches: [{headers: [{name: X-A, value: '1'}, {name: x-b, value: '2'}, {name: x-a, value: '3'}]}]",
            [Match(EVERY_PATH, headers=(exact("x-a", "1"), exact("x-b", "2")))],
        ),
        (
            "matches: [{headers: [{name: a, type: RegularExpression, value: '1+'}], method: PUT}]",
            [
                Match(
                    EVERY_PATH,
                    headers=(ValueMatch("a", StringMatch(StringMatchKind.REGEX, "1+")), exact(":method", "PUT")),
                )
            ],
        ),
        (
            "matches: [{queryParams: [{name: a, value: '1'}, {name: A, value: '2'}, {name: a, value: '3'}]}]",
            [Match(EVERY_PATH, query_parameters=(exact("a", "1"), exact("A", "2")))],
        ),
        (
            "matches: [{path: {value: /a}}, {path: {value: /b}}]",
            [Match(path(PathMatchKind.SEGMENT_PREFIX, "/a")), Match(path(PathMatchKind.SEGMENT_PREFIX, "/b"))],
        ),
    ],
)
def test_matches(rule: str, matches: list[Match]) -> None:
    made = served(", ".join(part for part in (rule, TO_SHOP) if part))
    assert [found.match for found in only_routes(made)] == matches
    assert {found.name for found in only_routes(made)} == {"edge.route.0"}


# --- Precedence -------------------------------------------------------------------------------------------------------

IN_ORDER = [
    "path: {type: Exact, value: /a/b}",
    "path: {type: Exact, value: /a}, method: GET, headers: [{name: a, value: a}]",
    "path: {type: Exact, value: /a}, method: GET",
    "path: {type: Exact, value: /a}",
    "path: {type: RegularExpression, value: '/a/.*'}",
    "path: {type: RegularExpression, value: '/.*'}",
    "path: {value: /a/b/}, queryParams: [{name: a, value: a}]",
    "path: {value: /a/b}",
    "path: {value: /a}, method: GET, queryParams: [{name: a, value: a}]",
    "path: {value: /a}, headers: [{name: a, value: a}, {name: b, value: b}]",
    "path: {value: /a}, headers: [{name: a, value: a}], queryParams: [{name: a, value: a}, {name: b, value: b}]",
    "path: {value: /a}, headers: [{name: a, value: a}, {name: A, value: b}], queryParams: [{name: a, value: a}]",
    "path: {value: /a}, queryParams: [{name: a, value: a}, {name: b, value: b}]",
    "path: {value: /a}, queryParams: [{name: a, value: a}]",
    "path: {value: /a}",
    "method: GET",
    "headers: [{name: a, value: a}]",
    "path: {value: /}",
]
"""From the match that decides first to the one that decides last."""


@given(st.permutations(range(len(IN_ORDER))), st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_precedence_over_all_routes(order: list[int], routes: int) -> None:
    rules: dict[int, list[int]] = {}
    for position, index in enumerate(order):
        rules.setdefault(position % routes, []).append(index)
    objects = [
        route(*(f"matches: [{{{IN_ORDER[index]}}}]" for index in indexes), name=f"r{number}", created=1 + number % 2)
        for number, indexes in rules.items()
    ]
    made = world(gateway(http()), *objects)
    asked = {f"edge.r{number}.{rule}": index for number, found in rules.items() for rule, index in enumerate(found)}
    assert [asked[found.name] for found in only_routes(made)] == list(range(len(IN_ORDER)))


def test_precedence_of_matches_of_one_rule() -> None:
    matches = "".join(f"{{path: {{value: {value}}}}}, " for value in ("/", "/a", "/a/b"))
    paths = [found.match.path for found in only_routes(served(f"matches: [{matches}]"))]
    assert [found.value for found in paths if found is not None] == ["/a/b", "/a", ""]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (route(name="z", created=1), route(name="a", created=2)),
        (route(name="z"), route(name="a", created=1)),
        (route(name="a"), route(name="b")),
        (route(name="z", namespace="a"), route(name="a", namespace="b")),
        # The names are compared with their namespaces, as one text.
        (route(name="z", namespace="a-b"), route(name="a", namespace="a")),
        (route(name="b", created=1), route(name="c", created=1)),
    ],
)
def test_ties_go_by_age_then_by_name(first: str, second: str) -> None:
    shared = gateway(http(more="allowedRoutes: {namespaces: {from: All}}"))
    expected = [re.findall(r"name: ([a-z]), namespace: ([a-z-]+)", text)[0] for text in (first, second)]
    for texts in ((first, second), (second, first)):
        found = [found.origin[0] for found in only_routes(world(shared, *texts))]
        assert [(key.name, key.namespace) for key in found] == expected


def test_ties_within_a_route_go_by_its_order() -> None:
    rule = "matches: [{path: {value: /a}}, {path: {value: /a/}}]"
    found = only_routes(served(rule, rule))
    assert [entry.name for entry in found] == ["edge.route.0"] * 2 + ["edge.route.1"] * 2


# --- Backends ---------------------------------------------------------------------------------------------------------

SHARE = "spec.rules[0].backendRefs"


@pytest.mark.parametrize(
    ("backends", "expected", "problems"),
    [
        ("{name: shop, port: 80}", "shop:80*1", []),
        ("{name: shop, port: 80, weight: 7}", "shop:80*7", []),
        ("{name: shop, port: 80, weight: 9}, {name: store, port: 80}", "shop:80*9, store:80*1", []),
        ("{name: shop, port: 80}, {name: store, port: 80, weight: 0}", "shop:80*1", []),
        ("{name: shop, port: 80, weight: 0}", "500", []),
        ("", "500", []),
        ("{name: gone, port: 80}", "500", [f"unknown-service route {SHARE}[0]"]),
        ("{name: shop, port: 81}", "500", [f"unknown-port route {SHARE}[0].port"]),
        ("{name: shop, port: 80, kind: Secret}", "500", [f"invalid-kind route {SHARE}[0].kind"]),
        ("{name: shop, port: 80, group: example.com}", "500", [f"invalid-kind route {SHARE}[0].kind"]),
        ("{name: shop, port: 80, namespace: team}", "500", [f"ref-not-permitted route {SHARE}[0]"]),
        (
            "{name: shop, port: 80, weight: 3}, {name: gone, port: 80, weight: 2}",
            "shop:80*3, 500*2",
            [f"unknown-service route {SHARE}[1]"],
        ),
        (
            "{name: gone, port: 80}, {name: gone, port: 81}",
            "500",
            [f"unknown-service route {SHARE}[{i}]" for i in (0, 1)],
        ),
        ("{name: gone, port: 80, weight: 0}, {name: shop, port: 80}", "shop:80*1", []),
    ],
)
def test_backends(backends: str, expected: str, problems: list[str]) -> None:
    made = served(f"backendRefs: [{backends}]")
    assert answer(only(made)) == expected
    assert told(made) == problems


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("name: gone, port: 80", "BackendNotFound"),
        ("name: shop, port: 81", "BackendNotFound"),
        ("name: shop, port: 80, kind: Secret", "InvalidKind"),
        ("name: shop, port: 80, namespace: team", "RefNotPermitted"),
    ],
)
def test_the_reason_is_told_in_the_words_of_the_api(backend: str, reason: str) -> None:
    assert reason in words(served(f"backendRefs: [{{{backend}}}]"))


def test_a_share_without_backend_is_answered_with_500() -> None:
    found = forward(served("backendRefs: [{name: shop, port: 80}, {name: gone, port: 80, weight: 2}]"))
    assert found.destinations == (Destination(SHOP_80), Destination(None, 2))
    assert found.unresolved_status == 500


ROUTES = "group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: edge"
SERVICES = "group: '', kind: Service"


@pytest.mark.parametrize(
    ("granted", "permitted"),
    [
        (grant(ROUTES, SERVICES, "team"), True),
        (grant(ROUTES, f"{SERVICES}, name: shop", "team"), True),
        (grant(ROUTES, f"{SERVICES}, name: store", "team"), False),
        (grant(ROUTES, "group: '', kind: Secret", "team"), False),
        (grant(ROUTES.replace("HTTPRoute", "Gateway"), SERVICES, "team"), False),
        (grant(ROUTES.replace("edge", "other"), SERVICES, "team"), False),
        (grant(ROUTES, SERVICES, "edge"), False),
    ],
)
def test_backends_of_other_namespaces_need_a_grant(granted: str, permitted: bool) -> None:
    made = served("backendRefs: [{name: shop, port: 80, namespace: team}]", more=f"{SHOP}---{granted}")
    assert answer(only(made)) == ("shop:80*1" if permitted else "500")
    made.remove(ReferenceGrant, ObjectName("team", "grant"))
    assert answer(only(made)) == "500"


def test_an_alias_needs_a_grant_for_what_it_stands_for() -> None:
    alias = """
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: edge}
spec: {type: ExternalName, externalName: shop.team.svc.cluster.local}
"""
    made = served("backendRefs: [{name: alias, port: 80}]", more=f"{SHOP}---{alias}")
    assert answer(only(made)) == "500"
    put(made, grant(ROUTES, SERVICES, "team"))
    assert forward(made).destinations == (Destination(Backend("shop.team.svc.cluster.local", 80)),)


def test_sticky_backends() -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: sticky, namespace: edge}
spec: {host: shop, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
"""
    found = forward(served(TO_SHOP, more=f"{SHOP}---{rule}"))
    assert found.hash_keys == (HashKey(HashKeyKind.HEADER, "x-user"),)
    assert found.retry is not None
    assert not found.retry.avoid_previous_hosts


# --- Filters ----------------------------------------------------------------------------------------------------------

MODIFIER = "set: [{name: a, value: '1'}], add: [{name: b, value: 50% off}], remove: [c]"
OPERATIONS = HeaderOperations(set=(("a", "1"),), add=(("b", "50%% off"),), remove=("c",))


def filtered(*filters: str, rule: str = TO_SHOP, listener: str = "") -> World:
    listed = ", ".join(f"{{{one}}}" for one in filters)
    return served(f"filters: [{listed}]" + (f", {rule}" if rule else ""), listener=listener)


def test_header_modifiers() -> None:
    found = only(
        filtered(
            f"type: RequestHeaderModifier, requestHeaderModifier: {{{MODIFIER}}}",
            "type: ResponseHeaderModifier, responseHeaderModifier: {remove: [d]}",
        )
    )
    assert found.request_headers == OPERATIONS
    assert found.response_headers == HeaderOperations(remove=("d",))


def test_header_modifiers_of_a_backend() -> None:
    filters = (
        f"[{{type: RequestHeaderModifier, requestHeaderModifier: {{{MODIFIER}}}}}, "
        "{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [d]}}]"
    )
    made = served(f"backendRefs: [{{name: shop, port: 80, filters: {filters}}}, {{name: store, port: 80}}]")
    assert forward(made).destinations == (
        Destination(SHOP_80, request_headers=OPERATIONS, response_headers=HeaderOperations(remove=("d",))),
        Destination(STORE_80),
    )
    assert only(made).request_headers == HeaderOperations()


@pytest.mark.parametrize(
    "operation", ["set: [{name: Host, value: a}]", "add: [{name: host, value: a}]", "remove: [HOST]"]
)
def test_the_host_is_no_header_that_can_be_changed(operation: str) -> None:
    made = filtered(f"type: RequestHeaderModifier, requestHeaderModifier: {{{operation}}}")
    assert only(made).request_headers == HeaderOperations()
    assert told(made) == ["unsupported-value route spec.rules[0].filters[0].requestHeaderModifier"]


FULL = "path: {type: ReplaceFullPath, replaceFullPath: /x}"
PREFIX = "path: {type: ReplacePrefixMatch, replacePrefixMatch: %s}"


@pytest.mark.parametrize(
    ("rewrite", "host", "expected"),
    [
        ("hostname: x.com", "x.com", None),
        (FULL, "", PathRewrite(PathRewriteKind.FULL, "/x")),
        (PREFIX % "/x", "", PathRewrite(PathRewriteKind.PREFIX, "/x")),
        (PREFIX % "''", "", PathRewrite(PathRewriteKind.PREFIX, "")),
        (f"hostname: x.com, {FULL}", "x.com", PathRewrite(PathRewriteKind.FULL, "/x")),
    ],
)
def test_url_rewrites(rewrite: str, host: str, expected: PathRewrite | None) -> None:
    found = forward(filtered(f"type: URLRewrite, urlRewrite: {{{rewrite}}}"))
    assert (found.host, found.path_rewrite) == (host, expected)


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ("", Redirect(302)),
        ("statusCode: 308, hostname: x.com", Redirect(308, host="x.com")),
        (FULL, Redirect(302, path=PathRewrite(PathRewriteKind.FULL, "/x"))),
        (PREFIX % "/x", Redirect(302, path=PathRewrite(PathRewriteKind.PREFIX, "/x"))),
    ],
)
def test_redirects(redirect: str, expected: Redirect) -> None:
    made = filtered(f"type: RequestRedirect, requestRedirect: {{{redirect}}}", rule="")
    assert only(made).action == expected


def test_what_has_no_effect_on_a_redirect_is_told() -> None:
    mirror = "type: RequestMirror, requestMirror: {backendRef: {name: store, port: 80}}"
    made = filtered("type: RequestRedirect, requestRedirect: {}", mirror, rule="timeouts: {request: 1s}, retry: {}")
    assert only(made).action == Redirect(302)
    assert told(made) == [f"no-effect route spec.rules[0].{field}" for field in ("filters", "retry", "timeouts")]


@pytest.mark.parametrize(
    ("listener", "redirect", "port"),
    [
        # Neither is given: the port of the listener, which a location names unless it is the scheme's own.
        ("http 80", "hostname: x.com", None),
        ("https 443", "hostname: x.com", None),
        ("http 8080", "hostname: x.com", 8080),
        ("http 443", "hostname: x.com", 443),
        # The scheme is given: its own port.
        ("http 80", "hostname: x.com, scheme: https", None),
        ("https 443", "hostname: x.com, scheme: http", None),
        ("http 8080", "hostname: x.com, scheme: https", None),
        # The port is given.
        ("http 80", "hostname: x.com, port: 8443", 8443),
        ("http 8080", "hostname: x.com, port: 80", None),
        ("http 80", "hostname: x.com, port: 443", 443),
        ("http 80", "hostname: x.com, scheme: https, port: 443", None),
        ("http 80", "hostname: x.com, scheme: https, port: 80", 80),
        # The host stays that of the request, which names the listener's port unless it is the scheme's own.
        ("http 80", "scheme: https", None),
        ("http 8080", "scheme: https", 443),
        ("https 8443", "scheme: http", 80),
        ("http 8080", "statusCode: 301", 8080),
        ("http 8080", "port: 80", 80),
    ],
)
def test_ports_of_redirects(listener: str, redirect: str, port: int | None) -> None:
    kind, _, number = listener.partition(" ")
    declared = http(port=int(number)) if kind == "http" else https(port=int(number))
    made = filtered(f"type: RequestRedirect, requestRedirect: {{{redirect}}}", rule="", listener=declared)
    action = only(made).action
    assert isinstance(action, Redirect)
    assert action.port == port
    assert action.scheme == ("" if "scheme" not in redirect else redirect.partition("scheme: ")[2].partition(",")[0])


@pytest.mark.parametrize(
    ("mirror", "mirrors", "problems"),
    [
        ("backendRef: {name: store, port: 80}", (Mirror(STORE_80),), []),
        ("backendRef: {name: store, port: 80}, percent: 20", (Mirror(STORE_80, 200_000),), []),
        ("backendRef: {name: store, port: 80}, percent: 0", (), []),
        ("backendRef: {name: store, port: 80}, fraction: {numerator: 3}", (Mirror(STORE_80, 30_000),), []),
        (
            "backendRef: {name: store, port: 80}, fraction: {numerator: 1, denominator: 8}",
            (Mirror(STORE_80, 125_000),),
            [],
        ),
        (
            "backendRef: {name: gone, port: 80}",
            (),
            ["unknown-service route spec.rules[0].filters[0].requestMirror.backendRef"],
        ),
    ],
)
def test_mirrors(mirror: str, mirrors: tuple[Mirror, ...], problems: list[str]) -> None:
    made = filtered(f"type: RequestMirror, requestMirror: {{{mirror}}}")
    assert forward(made).mirrors == mirrors
    assert told(made) == problems


def test_several_mirrors() -> None:
    mirror = "type: RequestMirror, requestMirror: {backendRef: {name: %s, port: 80}}"
    assert forward(filtered(mirror % "store", mirror % "shop")).mirrors == (Mirror(STORE_80), Mirror(SHOP_80))


def test_cors() -> None:
    policy = """
      allowOrigins: ['https://a.com', 'https://*.b.com:8080', 'http://*'],
      allowMethods: [GET, PUT], allowHeaders: [x-a], exposeHeaders: [x-b], allowCredentials: true, maxAge: 60"""
    found = only(filtered(f"type: CORS, cors: {{{policy}}}")).cors
    assert found == Cors(
        allow_origins=(
            StringMatch(StringMatchKind.EXACT, "https://a.com"),
            StringMatch(StringMatchKind.REGEX, r"https://[^/:]+\.b\.com:8080"),
            StringMatch(StringMatchKind.REGEX, "http://[^/:]+"),
        ),
        allow_methods=("GET", "PUT"),
        allow_headers=("x-a",),
        expose_headers=("x-b",),
        max_age=60 * SECOND,
        allow_credentials=True,
        forward_unmatched_preflights=False,
    )


@pytest.mark.parametrize(
    ("allowed", "origin", "matches"),
    [
        ("*", "https://a.com:1", True),
        ("https://*.a.com", "https://x.a.com", True),
        ("https://*.a.com", "https://x.y.a.com", True),
        ("https://*.a.com", "https://a.com", False),
        ("https://*.a.com", "http://x.a.com", False),
        ("https://*.a.com", "https://x.a.com:1", False),
        ("https://*.a.com", "https://x.a.com.evil.com", False),
        ("https://*.a.com", "https://xaXcom", False),
    ],
)
def test_wildcards_of_origins(allowed: str, origin: str, matches: bool) -> None:
    found = only(filtered(f"type: CORS, cors: {{allowOrigins: ['{allowed}']}}")).cors
    assert found is not None
    assert (re.fullmatch(found.allow_origins[0].value, origin) is not None) is matches


EXTENSION = "type: ExtensionRef, extensionRef: {group: example.com, kind: Filter, name: x}"
AUTH = "type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: store, port: 80}, grpc: {}}"
REWRITE = "type: URLRewrite, urlRewrite: {hostname: x.com}"


@pytest.mark.parametrize("one", [EXTENSION, AUTH])
def test_requests_do_not_get_past_filters_that_are_not_supported(one: str) -> None:
    made = filtered(REWRITE, one)
    assert only(made).action == DirectResponse(500)
    assert told(made) == ["unsupported-value route spec.rules[0].filters[1]"]


@pytest.mark.parametrize("one", [EXTENSION, AUTH, REWRITE])
def test_shares_do_not_get_past_filters_that_are_not_supported(one: str) -> None:
    made = served(f"backendRefs: [{{name: shop, port: 80}}, {{name: store, port: 80, filters: [{{{one}}}]}}]")
    assert answer(only(made)) == "shop:80*1, 500*1"
    assert told(made) == [f"unsupported-value route {SHARE}[1].filters[0]"]


def test_one_rule_does_not_harm_another() -> None:
    made = served(f"filters: [{{{EXTENSION}}}]", f"matches: [{{path: {{value: /a}}}}], {TO_SHOP}")
    assert {found.name: answer(found) for found in only_routes(made)} == {
        "edge.route.0": "500",
        "edge.route.1": "shop:80*1",
    }


# --- Timeouts, retries, sessions --------------------------------------------------------------------------------------

DEFAULT = Retry(2, ("connect-failure", "refused-stream", "unavailable", "cancelled"))
ASKED = ("connect-failure", "refused-stream", "reset")


@pytest.mark.parametrize(
    ("rule", "timeout", "retry"),
    [
        ("", None, DEFAULT),
        ("timeouts: {request: 0s}", None, DEFAULT),
        ("timeouts: {request: 1500ms}", 3 * SECOND // 2, DEFAULT),
        (
            "timeouts: {request: 2s, backendRequest: 1s}",
            2 * SECOND,
            Retry(2, DEFAULT.conditions, per_try_timeout=SECOND),
        ),
        ("timeouts: {backendRequest: 0s}", None, DEFAULT),
        ("retry: {}", None, Retry(2, ASKED)),
        ("retry: {attempts: 5, codes: [500, 503]}", None, Retry(5, ASKED, (500, 503))),
        (
            "retry: {attempts: 1, backoff: 100ms}, timeouts: {backendRequest: 1s}",
            None,
            Retry(1, ASKED, per_try_timeout=SECOND, backoff=SECOND // 10),
        ),
    ],
)
def test_timeouts_and_retries(rule: str, timeout: int | None, retry: Retry) -> None:
    found = forward(served(f"{rule}, {TO_SHOP}" if rule else TO_SHOP))
    assert (found.timeout, found.retry) == (timeout, retry)


def test_sessions_are_not_supported() -> None:
    made = served(f"sessionPersistence: {{sessionName: a}}, {TO_SHOP}")
    assert answer(only(made)) == "shop:80*1"
    assert told(made) == ["unsupported-field route spec.rules[0].sessionPersistence"]


# --- Listeners --------------------------------------------------------------------------------------------------------


def test_one_route_at_several_listeners() -> None:
    redirect = "filters: [{type: RequestRedirect, requestRedirect: {hostname: x.com}}]"
    made = world(gateway(http(), http("other", port=8080), https()), route(redirect, hosts="a.com"))
    ports = {
        table.partition(".default")[0]: host.routes[0].action.port
        for (table, _), host in all_hosts(made, EDGE).items()
        if isinstance(host.routes[0].action, Redirect)
    }
    assert ports == {"http.80": None, "http.8080": 8080, "https.443": None}


def test_the_problems_of_a_route_are_told_once() -> None:
    made = world(
        gateway(http(), http("b", port=81)), route("backendRefs: [{name: gone, port: 80}]", hosts="a.com, b.com")
    )
    assert len(all_hosts(made, EDGE)) == 4
    assert told(made) == [f"unknown-service route {SHARE}[0]"]
