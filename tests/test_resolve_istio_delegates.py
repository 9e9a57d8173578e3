"""VirtualServices that leave some of their routes to others."""

import pytest
from fairlead.intent import (
    Backend,
    Destination,
    Forward,
    HeaderOperations,
    Match,
    Mirror,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Redirect,
    StringMatch,
    StringMatchKind,
    ValueMatch,
)
from fairlead.problems import Severity
from fairlead.world import World
from support.istio import (
    SHOPS,
    TO_SHOP,
    all_hosts,
    all_problems,
    gateway,
    http,
    only_host,
    route_world,
    service,
    virtual_service,
)
from support.worlds import world

SECOND = 1_000_000_000
SHOP = Backend("shop.edge.svc.cluster.local", 80)
EXACT, PREFIX, REGEX = PathMatchKind.EXACT, PathMatchKind.PREFIX, PathMatchKind.REGEX


def text(kind: str, value: str) -> StringMatch:
    return StringMatch(StringMatchKind(kind), value)


def delegate(routes: str, *, name: str = "leaf", namespace: str = "team", export: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{http: [{routes}], exportTo: [{export}]}}
"""


DELEGATING = "name: root, match: [{uri: {prefix: /a}}], delegate: {name: leaf, namespace: team}"
LEAF = f"{{name: leaf, match: [{{uri: {{prefix: /a/b}}}}], {TO_SHOP}}}"


def delegating(root: str, leaf: str, **options: str) -> World:
    return route_world(
        root, TO_SHOP, more="---".join((SHOPS, service("shop", namespace="team"), delegate(leaf, **options)))
    )


@pytest.mark.istio_fields("VirtualService.http[].delegate.{name,namespace}")
def test_a_delegates_routes_stand_in_the_place_of_the_delegating_one() -> None:
    more = "timeout: 1s, retries: {attempts: 0}, headers: {request: {set: {a: root}}}, mirror: {host: shop}"
    leaf = f"{{name: leaf, match: [{{uri: {{prefix: /a/b}}}}], timeout: 2s, {TO_SHOP}}}, {{redirect: {{uri: /x}}}}"
    made = delegating(f"{DELEGATING}, {more}", leaf)
    first, second, last = only_host(made).routes
    assert [first.name, second.name, last.name] == ["root-leaf", "root", ""]
    assert (first.match.path, second.match.path) == (PathMatch(PREFIX, "/a/b"), PathMatch(PREFIX, "/a"))
    assert isinstance(first.action, Forward)
    assert first.action.destinations == (Destination(Backend("shop.team.svc.cluster.local", 80)),)
    assert (first.action.timeout, first.action.retry) == (2 * SECOND, None)
    # What is inherited means what it meant where it was written.
    assert first.action.mirrors == (Mirror(SHOP),)
    assert first.request_headers == second.request_headers == HeaderOperations(set=(("a", "root"),))
    assert [str(key) for key in first.origin] == ["VirtualService edge/v", "VirtualService team/leaf"]
    assert second.action == Redirect(301, path=PathRewrite(PathRewriteKind.FULL, "/x"))
    assert all_problems(made) == set()


@pytest.mark.parametrize(
    ("root", "leaf", "expected"),
    [
        ("uri: {prefix: /a}", "uri: {prefix: /a/b}", Match(PathMatch(PREFIX, "/a/b"))),
        ("uri: {prefix: /a}", "uri: {exact: /ab}", Match(PathMatch(EXACT, "/ab"))),
        ("uri: {prefix: /a}", "uri: {prefix: /b}", None),
        ("uri: {exact: /a}", "uri: {exact: /a}", Match(PathMatch(EXACT, "/a"))),
        ("uri: {exact: /a}", "uri: {exact: /b}", None),
        ("uri: {exact: /a}", "uri: {prefix: /a}", None),
        ("uri: {regex: /a}", "uri: {regex: /a}", None),
        ("uri: {prefix: /a}", "uri: {regex: /a.}", None),
        ("uri: {prefix: /a}", "uri: {prefix: /a}, ignoreUriCase: true", None),
        ("uri: {regex: /a}", "port: 80", Match(PathMatch(REGEX, "/a"))),
        ("port: 80", "port: 81", None),
        ("sourceNamespace: edge", "sourceNamespace: team", None),
        ("sourceLabels: {app: edge}", "sourceLabels: {app: other}", None),
        ("method: {exact: GET}", "method: {exact: PUT}", None),
        ("gateways: [edge]", "uri: {exact: /a}", Match(PathMatch(EXACT, "/a"))),
        ("gateways: [edge]", "uri: {exact: /a}, gateways: [edge/edge]", Match(PathMatch(EXACT, "/a"))),
        ("gateways: [edge]", "uri: {exact: /a}, gateways: [edge]", None),
        (
            "headers: {a: {exact: '1'}}, withoutHeaders: {b: {}}",
            "headers: {c: {exact: '2'}}, queryParams: {d: {exact: '3'}}",
            Match(
                headers=(
                    ValueMatch("a", text("exact", "1")),
                    ValueMatch("b", None, invert=True),
                    ValueMatch("c", text("exact", "2")),
                ),
                query_parameters=(ValueMatch("d", text("exact", "3")),),
            ),
        ),
        ("headers: {a: {prefix: x}}", "headers: {a: {exact: y}}", None),
        ("queryParams: {a: {exact: x}}", "queryParams: {a: {exact: y}}", None),
    ],
)
def test_matches_of_delegates_are_those_of_both(root: str, leaf: str, expected: Match | None) -> None:
    made = delegating(
        f"match: [{{{root}}}], delegate: {{name: leaf, namespace: team}}", f"{{match: [{{{leaf}}}], {TO_SHOP}}}"
    )
    *delegated, _ = only_host(made).routes
    assert [route.match for route in delegated] == ([expected] if expected is not None else [])
    assert [problem.code for problem in all_problems(made)] == ([] if expected is not None else ["unreachable-route"])


def test_gateways_are_those_that_each_virtual_service_means() -> None:
    made = delegating(
        "match: [{gateways: [team/edge, edge]}], delegate: {name: leaf, namespace: team}",
        f"{{match: [{{gateways: [edge]}}], {TO_SHOP}}}, {{match: [{{gateways: [edge/edge]}}], {TO_SHOP}}}",
    )
    # The first is for team/edge, which the VirtualService is not bound to.
    assert len(only_host(made).routes) == 1
    assert [problem.code for problem in all_problems(made)] == ["unreachable-route"]


def test_all_pairs_of_matches_that_agree_are_served() -> None:
    root = (
        "match: [{name: a, uri: {prefix: /a}}, {name: b, uri: {prefix: /b}}], delegate: {name: leaf, namespace: team}"
    )
    leaf = f"{{match: [{{name: x, uri: {{prefix: /a/x}}}}, {{name: y, method: {{exact: GET}}}}], {TO_SHOP}}}"
    *delegated, _ = only_host(delegating(root, leaf)).routes
    assert [route.name for route in delegated] == [".a-x", ".a-y", ".b-y"]


def test_one_match_outside_of_the_delegating_route_costs_the_whole_route() -> None:
    leaf = f"{{match: [{{uri: {{prefix: /a/x}}}}, {{uri: {{prefix: /b}}}}], {TO_SHOP}}}, {{{TO_SHOP}, name: next}}"
    made = delegating("match: [{uri: {prefix: /a}}], delegate: {name: leaf, namespace: team}", leaf)
    *delegated, _ = only_host(made).routes
    assert [route.name for route in delegated] == ["next"]
    (problem,) = all_problems(made)
    assert (problem.code, problem.path) == ("unreachable-route", ("spec", "http", 0, "match"))


@pytest.mark.parametrize(
    ("leaf", "code"),
    [
        (delegate(LEAF, name="other"), "unknown-delegate"),
        (delegate(LEAF, export="team"), "unknown-delegate"),
        (virtual_service("leaf", f"http: [{LEAF}]", namespace="team", gateways=""), "unknown-delegate"),
        (delegate("{delegate: {name: x}}"), "nested-delegate"),
        (delegate(LEAF, export="edge"), None),
    ],
    ids=["missing", "not-exported", "with-hosts", "nested", "exported"],
)
def test_a_delegate_that_cannot_be_used_costs_that_route_only(leaf: str, code: str | None) -> None:
    made = route_world(DELEGATING, TO_SHOP, more=f"{SHOPS}---{service('shop', namespace='team')}---{leaf}")
    names = [route.name for route in only_host(made).routes]
    assert names == (["root-leaf", ""] if code is None else [""])
    problems = all_problems(made)
    assert [problem.code for problem in problems] == ([code] if code else [])
    assert all(problem.severity is Severity.ERROR for problem in problems)


def test_a_delegate_alone_is_served_nowhere() -> None:
    made = world(gateway("edge", http()), delegate(LEAF), service("shop", namespace="team"))
    assert set(all_hosts(made)) == {("http.80", "*")}
    assert all_hosts(made)["http.80", "*"].routes == ()


def test_what_a_delegate_takes_whole_never_reaches_later_routes() -> None:
    made = delegating("delegate: {name: leaf, namespace: team}", f"{{{TO_SHOP}}}")
    assert len(only_host(made).routes) == 1
    (problem,) = all_problems(made)
    assert (problem.code, problem.path, str(problem.key)) == (
        "unreachable-route",
        ("spec", "http", 1),
        "VirtualService edge/v",
    )
    assert "VirtualService team/leaf" in problem.message
