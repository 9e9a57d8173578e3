"""Gateway API: which HTTPRoutes are attached where, for which host names; and that changes cost what they change."""

import itertools

import pytest
from fairlead.models.gateway_api import Gateway, HTTPRoute, ReferenceGrant
from fairlead.world import ObjectName, World
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gateway_api import (
    EDGE,
    TO_SHOP,
    count,
    gateway,
    gateway_class,
    grant,
    http,
    https,
    namespace,
    proxy,
    route,
    routes_by_host,
    told,
    words,
)
from support.istio import all_hosts, all_listeners, all_problems, service, shown_listeners, virtual_service
from support.istio import gateway as istio_gateway
from support.worlds import put, world

SHOP = service("shop")
OURS = "fairlead.dev/gateway-controller"
LISTENER = "spec.listeners[0]"

# --- Attachment -------------------------------------------------------------------------------------------------------

TEAM = namespace("team", "team: shop, stage: test")


def selecting(conditions: str) -> str:
    return f"allowedRoutes: {{namespaces: {{from: Selector, selector: {{{conditions}}}}}}}"


@pytest.mark.parametrize(
    ("allowed", "own", "other"),
    [
        ("", True, False),
        ("allowedRoutes: {namespaces: {from: Same}}", True, False),
        ("allowedRoutes: {namespaces: {from: All}}", True, True),
        ("allowedRoutes: {namespaces: {from: None}}", False, False),
        ("allowedRoutes: {namespaces: {from: Selector}}", False, False),
        (selecting(""), True, True),
        (selecting("matchLabels: {team: shop}"), False, True),
        (selecting("matchLabels: {team: shop, stage: live}"), False, False),
        (selecting("matchLabels: {kubernetes.io/metadata.name: edge}"), True, False),
        (selecting("matchExpressions: [{key: stage, operator: In, values: [live, test]}]"), False, True),
        (selecting("matchExpressions: [{key: stage, operator: NotIn, values: [test]}]"), True, False),
        (selecting("matchExpressions: [{key: stage, operator: Exists}]"), False, True),
        (selecting("matchExpressions: [{key: stage, operator: DoesNotExist}]"), True, False),
        (selecting("matchLabels: {team: shop}, matchExpressions: [{key: x, operator: Exists}]"), False, False),
        ("allowedRoutes: {namespaces: {from: All}, kinds: [{kind: HTTPRoute}]}", True, True),
        ("allowedRoutes: {namespaces: {from: All}, kinds: [{kind: GRPCRoute}]}", False, False),
        ("allowedRoutes: {namespaces: {from: All}, kinds: [{group: x.io, kind: HTTPRoute}]}", False, False),
    ],
)
def test_allowed_routes(allowed: str, own: bool, other: bool) -> None:
    made = world(gateway(http(more=allowed)), TEAM, SHOP, route(name="own"), route("", name="other", namespace="team"))
    attached = {host for names in routes_by_host(made).values() for host in names}
    assert attached == {name for name, is_in in (("edge.own.0", own), ("team.other.0", other)) if is_in}
    detached = [name for name, is_in in (("other", other), ("own", own)) if not is_in]
    reported = [line for line in told(made) if line.startswith("not-allowed-by-listeners")]
    assert reported == [f"not-allowed-by-listeners {name} spec.parentRefs[0]" for name in detached]
    assert ("NotAllowedByListeners" in words(made)) is bool(detached)


def test_labels_of_namespaces_are_followed() -> None:
    made = world(gateway(http(more=selecting("matchLabels: {open: 'yes'}"))), route("", namespace="team"))
    assert routes_by_host(made) == {"*": []}
    put(made, namespace("team", "open: 'yes'"))
    assert routes_by_host(made) == {"*": ["team.route.0"]}


def test_an_unknown_operator_selects_nothing_and_is_told() -> None:
    made = world(gateway(http(more=selecting("matchExpressions: [{key: a, operator: Is}]"))), route(), SHOP)
    assert routes_by_host(made) == {"*": []}
    where = f"{LISTENER}.allowedRoutes.namespaces.selector.matchExpressions[0].operator"
    assert f"invalid-value edge {where}" in told(made)


@pytest.mark.parametrize(
    ("parent", "tables", "problem"),
    [
        ("{name: edge}", {"http.80", "http.81"}, ""),
        ("{name: edge, sectionName: b}", {"http.81"}, ""),
        ("{name: edge, port: 80}", {"http.80"}, ""),
        ("{name: edge, sectionName: b, port: 81}", {"http.81"}, ""),
        ("{name: edge, sectionName: a}, {name: edge, sectionName: b}", {"http.80", "http.81"}, ""),
        ("{name: edge, sectionName: b, port: 80}", set(), "no-matching-parent route spec.parentRefs[0]"),
        ("{name: edge, sectionName: c}", set(), "no-matching-parent route spec.parentRefs[0]"),
        ("{name: edge, port: 82}", set(), "no-matching-parent route spec.parentRefs[0]"),
        ("{name: edge, sectionName: udp}", set(), "not-allowed-by-listeners route spec.parentRefs[0]"),
        ("{name: edge}, {name: gone}", {"http.80", "http.81"}, "unknown-gateway route spec.parentRefs[1]"),
        ("{name: edge, namespace: other}", set(), "unknown-gateway route spec.parentRefs[0]"),
        ("{name: theirs}", set(), ""),
        ("{name: shop, group: '', kind: Service}", set(), "unsupported-value route spec.parentRefs[0].kind"),
        ("{name: set, kind: ListenerSet}", set(), "unsupported-value route spec.parentRefs[0].kind"),
        ("", set(), "no-parent route spec"),
    ],
)
def test_parents(parent: str, tables: set[str], problem: str) -> None:
    made = world(
        gateway(http("a"), http("b", port=81), "name: udp, port: 53, protocol: UDP"),
        gateway(http(), name="theirs", cls="theirs"),
        gateway_class("theirs", "example.com/other"),
        route(parents=parent),
        SHOP,
    )
    assert {table for (table, _), host in all_hosts(made, EDGE).items() if host.routes} == tables
    assert [line for line in told(made) if " route " in line] == [problem] * bool(problem)


def test_default_gateways_are_not_supported() -> None:
    made = world(gateway(http()), route(parents="", more="useDefaultGateways: All"), SHOP)
    assert told(made) == ["unsupported-field route spec.useDefaultGateways"]


# --- Host names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listener", "hosts", "domains"),
    [
        ("", "", ["*"]),
        ("", "a.com", ["a.com"]),
        ("", "'*.a.com'", ["*.a.com"]),
        ("", "a.com, b.com", ["a.com", "b.com"]),
        ("a.com", "", ["a.com"]),
        ("a.com", "a.com", ["a.com"]),
        ("a.com", "b.com", []),
        ("a.com", "x.a.com", []),
        ("a.com", "'*.a.com'", []),
        ("a.com", "'*.com'", ["a.com"]),
        ("x.y.a.com", "'*.a.com'", ["x.y.a.com"]),
        ("*.a.com", "", ["*.a.com"]),
        ("*.a.com", "a.com", []),
        ("*.a.com", "x.a.com", ["x.a.com"]),
        ("*.a.com", "x.y.a.com", ["x.y.a.com"]),
        ("*.a.com", "'*.a.com'", ["*.a.com"]),
        ("*.a.com", "'*.y.a.com'", ["*.y.a.com"]),
        ("*.a.com", "'*.com'", ["*.a.com"]),
        ("*.a.com", "xa.com", []),
        ("*.a.com", "'*.b.com'", []),
        ("*.a.com", "b.com, x.a.com, '*.b.com', y.a.com", ["x.a.com", "y.a.com"]),
    ],
)
def test_host_names_that_listener_and_route_have_in_common(listener: str, hosts: str, domains: list[str]) -> None:
    made = world(gateway(http(host=listener)), route(hosts=hosts), SHOP)
    served = {domain for domain, names in routes_by_host(made).items() if names}
    assert served == set(domains)
    detached = "no-matching-listener-hostname route spec.parentRefs[0]"
    assert (detached in told(made)) is not domains
    assert ("NoMatchingListenerHostname" in words(made)) is not domains


def test_host_names_that_no_listener_has_are_told() -> None:
    made = world(gateway(http(host="*.a.com")), route(hosts="b.com, x.a.com"), SHOP)
    assert told(made) == ["no-matching-listener-hostname route spec.hostnames[0]"]
    put(made, gateway(http(host="*.a.com"), http("b", "b.com")))
    assert told(made) == []


def test_a_host_name_that_another_parent_has_is_not_told() -> None:
    made = world(
        gateway(http(host="a.com")),
        gateway(http(host="b.com"), name="other"),
        route(hosts="a.com, b.com", parents="{name: edge}, {name: other}"),
        SHOP,
    )
    assert told(made) == []


def test_a_host_name_that_may_be_for_another_controller_is_not_told() -> None:
    made = world(
        gateway(http(host="a.com")),
        gateway(http(host="b.com"), name="theirs", cls="theirs"),
        gateway_class("theirs", "example.com/other"),
        route(hosts="a.com, b.com", parents="{name: edge}, {name: theirs}"),
        SHOP,
    )
    assert told(made) == []


def test_each_gateway_serves_what_is_attached_to_it() -> None:
    made = world(
        gateway(http(host="*.a.com")),
        gateway(http(host="*.com"), name="other"),
        route("", hosts="x.a.com, b.com", parents="{name: edge}, {name: other}"),
        route("", name="private", parents="{name: other}"),
    )
    assert routes_by_host(made) == {"*.a.com": [], "x.a.com": ["edge.route.0"]}
    assert routes_by_host(made, asking=proxy("other")) == {
        "*.com": ["edge.private.0"],
        "x.a.com": ["edge.route.0"],
        "b.com": ["edge.route.0"],
    }


LISTENED = ("", "*.example.com", "*.foo.example.com", "abc.foo.example.com")
ISOLATED = {"empty": 0, "example": 1, "foo": 2, "abc": 3}


def isolated(hosts: str = "") -> World:
    listeners = [http(f"l{index}", host) for index, host in enumerate(LISTENED)]
    routes = [
        route("", name=name, hosts=hosts, parents=f"{{name: edge, sectionName: l{index}}}")
        for name, index in ISOLATED.items()
    ]
    return world(gateway(*listeners), *routes)


def test_each_request_belongs_to_the_most_specific_listener() -> None:
    made = isolated()
    assert routes_by_host(made) == {
        "*": ["edge.empty.0"],
        "*.example.com": ["edge.example.0"],
        "*.foo.example.com": ["edge.foo.0"],
        "abc.foo.example.com": ["edge.abc.0"],
    }
    assert told(made) == []


def test_host_names_of_routes_do_not_reach_into_other_listeners() -> None:
    hosts = ("bar.com", "*.example.com", "x.example.com", "*.foo.example.com", "x.foo.example.com", LISTENED[-1])
    made = isolated(", ".join(f"'{host}'" for host in hosts))
    owners = {
        "bar.com": "empty",
        "*.example.com": "example",
        "x.example.com": "example",
        "*.foo.example.com": "foo",
        "x.foo.example.com": "foo",
        "abc.foo.example.com": "abc",
    }
    assert routes_by_host(made) == {host: [f"edge.{owner}.0"] for host, owner in owners.items()}
    # A wildcard of the route that covers the listener's own host name reaches that one.
    reached = owners | {"*.foo.example.com": "foo abc", "*.example.com": "example foo abc"}
    assert told(made) == sorted(
        f"no-matching-listener-hostname {name} spec.hostnames[{index}]"
        for name in ISOLATED
        for index, host in enumerate(hosts)
        if name not in reached[host].split()
    )


def test_a_listener_without_routes_keeps_its_requests() -> None:
    made = world(
        gateway(http("any"), http("own", "*.a.com"), http("exact", "x.a.com")),
        route("", parents="{name: edge, sectionName: any}"),
        route("", name="own", hosts="x.a.com, y.a.com", parents="{name: edge, sectionName: own}"),
    )
    assert routes_by_host(made) == {
        "*": ["edge.route.0"],
        "*.a.com": [],
        "y.a.com": ["edge.own.0"],
        "x.a.com": [],
    }


def test_https_listeners_isolate_by_their_own_tables() -> None:
    table = "https.443.default.edge~istio-autogenerated-k8s-gateway~{}.edge"
    made = world(
        gateway(https("any"), https("own", "*.a.com")),
        route("", hosts="x.a.com, b.com"),
        route("", name="all"),
    )
    assert routes_by_host(made, table.format("any")) == {"*": ["edge.all.0"], "b.com": ["edge.route.0"]}
    assert routes_by_host(made, table.format("own")) == {"*.a.com": ["edge.all.0"], "x.a.com": ["edge.route.0"]}


def test_listeners_of_other_ports_and_protocols_do_not_isolate() -> None:
    made = world(
        gateway(https("near", "a.com", 80), http("any"), http("far", "a.com", 81)),
        route("", hosts="a.com", parents="{name: edge, sectionName: any}"),
    )
    assert routes_by_host(made) == {"a.com": ["edge.route.0"]}


def test_both_apis_meet_on_a_port() -> None:
    labels = "{gateway.networking.k8s.io/gateway-name: edge}"
    made = world(
        istio_gateway("old", 'port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.com"]', selector=labels),
        virtual_service("v", "http: [{name: v, route: [{destination: {host: shop}}]}]", hosts="a.com", gateways="old"),
        gateway(http(host="*.com")),
        route(hosts="a.com, b.com"),
        SHOP,
    )
    assert shown_listeners(made, EDGE) == {"0.0.0.0_80": ["any -> http.80"]}
    assert routes_by_host(made) == {"*.com": [], "a.com": ["v", "edge.route.0"], "b.com": ["edge.route.0"]}
    assert told(made) == []


# --- Changes ----------------------------------------------------------------------------------------------------------

MANY = 40


def test_an_edit_of_a_route_costs_its_own_hosts() -> None:
    def numbered(number: int, rule: str = TO_SHOP) -> str:
        hosts = f"h{number}.example.com, g{number}.example.com"
        return route(rule, name=f"r{number}", hosts=hosts)

    made = world(gateway(http(), http("other", "*.example.com")), SHOP, *(numbered(number) for number in range(MANY)))
    all_listeners(made, EDGE)
    before = all_hosts(made, EDGE)
    counted = made.graph.computed.copy()
    put(made, numbered(7, f"timeouts: {{request: 1s}}, {TO_SHOP}"))
    all_listeners(made, EDGE)
    after = all_hosts(made, EDGE)
    changed = {domain for (table, domain), host in after.items() if host != before[table, domain]}
    assert changed == {"h7.example.com", "g7.example.com"}
    per_object = ("attachments", "_bindings", "http_routes", "virtual_hosts", "listener")
    # The route is attached as before, so that nobody asks where it is served.
    assert count(per_object, made.graph.computed - counted) == {
        "attachments": 1,
        "_bindings": 0,
        "http_routes": 1,
        "virtual_hosts": 2,
        "listener": 0,
    }
    counted = made.graph.computed.copy()
    put(made, numbered(MANY))
    all_hosts(made, EDGE)
    # Each host name is a virtual host of this dialect, and of all dialects together.
    assert count(per_object, made.graph.computed - counted) == {
        "attachments": 1,
        "_bindings": 1,
        "http_routes": 1,
        "virtual_hosts": 4,
        "listener": 0,
    }


def test_a_change_of_a_namespace_or_grant_costs_nothing_to_others() -> None:
    made = world(gateway(http(more="allowedRoutes: {namespaces: {from: All}}")), route(), SHOP)
    all_hosts(made, EDGE)
    counted = made.graph.computed.copy()
    put(made, namespace("edge", "a: b"), GRANT)
    all_hosts(made, EDGE)
    assert not made.graph.computed - counted


GRANT = grant("group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: team", "group: '', kind: Service", "edge")
OBJECTS = [
    [gateway(http()), gateway(http(host="*.a.com"), http("b", "x.a.com")), gateway(https(host="x.a.com"), cls="mine")],
    [gateway_class("mine", OURS), gateway_class("mine", "example.com/other")],
    [route(), route(hosts="x.a.com, b.com"), route(parents="{name: edge, sectionName: b}"), route(TO_SHOP, TO_SHOP)],
    [route(name="guest", namespace="team"), route(name="guest", namespace="team", hosts="'*.a.com'", created=1)],
    [gateway(http(more=selecting("matchLabels: {team: shop}")), name="edge"), TEAM, namespace("team")],
    [SHOP, service("shop", "{port: 81}"), service("shop", namespace="team")],
    [GRANT],
]
PUTS = [text for texts in OBJECTS for text in texts]
REMOVALS = [
    (Gateway, ObjectName("edge", "edge")),
    (HTTPRoute, ObjectName("edge", "route")),
    (HTTPRoute, ObjectName("team", "guest")),
    (ReferenceGrant, ObjectName("edge", "grant")),
]


@given(st.lists(st.one_of(st.sampled_from(PUTS), st.sampled_from(REMOVALS)), max_size=12), st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_after_any_changes_all_is_as_if_it_had_always_been_so(edits: list[object], step: int) -> None:
    made = World()
    for index, edit in enumerate(edits):
        if isinstance(edit, str):
            put(made, edit)
        elif isinstance(edit, tuple):
            made.remove(*edit)
        if index % step == 0:
            outcome(made)
    fresh = World()
    for kind, inputs in made._inputs.items():
        for name in sorted(inputs.keys()):
            found = made.objects(kind).get(name)
            assert found is not None
            fresh.put(found)
    assert outcome(made) == outcome(fresh)


def outcome(made: World) -> object:
    return all_listeners(made, EDGE), all_hosts(made, EDGE), all_problems(made, EDGE)


def test_the_order_of_objects_does_not_matter() -> None:
    texts = [gateway(http(), http("a", "*.a.com")), route(hosts="x.a.com"), route(name="other", hosts="x.a.com"), SHOP]
    (first, *others) = (outcome(world(*order)) for order in itertools.permutations(texts))
    assert all(other == first for other in others)
