"""The cost of a change is that of the change; and after any changes all is as if it had always been so."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fairlead.problems import Problem
from fairlead.resolve import listeners, virtual_hosts
from fairlead.resolve.dialects import DIALECTS
from fairlead.resolve.scope import Proxy
from fairlead.resolve.selection import proxies_implied, selection, selection_problems
from fairlead.world import ObjectName, World
from hypothesis import given, settings
from hypothesis import strategies as st
from support.istio import EDGE, TO_SHOP, all_hosts, all_listeners, gateway, http, items, service, tls, virtual_service
from support.worlds import objects, put, world

MANY = 40
SECRET = "{apiVersion: v1, kind: Secret, metadata: {name: cert, namespace: edge}, stringData: {a: b}}"
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s, namespace: edge}
spec: {host: %s, trafficPolicy: {loadBalancer: {%s}}}
"""
STICKY = "consistentHash: {useSourceIp: true}"


def numbered(number: int, *, to: str = "shop", more: str = "") -> str:
    hosts = f"h{number}.example.com, g{number}.example.com"
    return virtual_service(f"v{number}", f"http: [{{{more} route: [{{destination: {{host: {to}}}}}]}}]", hosts=hosts)


def large_world() -> World:
    made = world(
        gateway("edge", http(), *(tls(f"t{number}.example.com", f"t{number}") for number in range(5))),
        *(numbered(number, to="shop" if number % 2 else "store") for number in range(MANY)),
        *(service(name) for name in ("shop", "store", "other")),
    )
    ask(made)
    return made


def ask(made: World) -> None:
    """Bring all up to date that a proxy is sent."""
    all_listeners(made)
    all_hosts(made)


@contextmanager
def computed(made: World) -> Iterator[Counter[str]]:
    """What is computed for the edits in the block, when all is asked for after them."""
    before = made.graph.computed.copy()
    counts: Counter[str] = Counter()
    yield counts
    ask(made)
    counts.update(made.graph.computed - before)


def test_an_edit_of_a_virtual_service_costs_its_own_hosts() -> None:
    made = large_world()
    with computed(made) as counts:
        put(made, numbered(7, more="timeout: 1s,"))
    assert counts == {"_selectors": 1, "bindings": 1, "http_routes": 1, "virtual_hosts": 2}
    assert all_hosts(made)["http.80", "h7.example.com"].routes[0].action.timeout == 10**9


def test_one_more_virtual_service_reads_no_other() -> None:
    made = large_world()
    with computed(made) as counts:
        put(made, numbered(MANY))
    per_object = {name: counts[name] for name in ("_selectors", "bindings", "http_routes", "virtual_hosts")}
    assert per_object == {"_selectors": 1, "bindings": 1, "http_routes": 1, "virtual_hosts": 2}
    assert counts["listener"] == 0


def test_a_removed_virtual_service_costs_nothing_of_others() -> None:
    made = large_world()
    (obj,) = objects(numbered(7))
    with computed(made) as counts:
        made.remove(type(obj), ObjectName("edge", "v7"))
    assert not counts.keys() & {"_selectors", "bindings", "http_routes", "virtual_hosts", "listener"}
    assert ("http.80", "h7.example.com") not in all_hosts(made)


@pytest.mark.parametrize(
    "unrelated",
    [
        numbered(3),
        service("unrelated"),
        SECRET,
        RULE % ("unrelated", "unrelated", STICKY),
        gateway("far", http(99), selector="{app: far}"),
        virtual_service("far", f"http: [{{{TO_SHOP}}}]", gateways="far"),
        virtual_service("mesh", f"http: [{{{TO_SHOP}}}]", gateways="mesh"),
    ],
    ids=["same", "service", "secret", "rule", "gateway", "virtual-service", "mesh"],
)
def test_what_does_not_concern_the_proxy_costs_nothing(unrelated: str) -> None:
    made = large_world()
    with computed(made) as counts:
        put(made, unrelated)
    downstream = {"listener", "_tls_chains", "_plaintext_chains", "bindings", "http_routes", "virtual_hosts"}
    assert not counts.keys() & downstream


def test_the_order_of_objects_does_not_matter() -> None:
    made = large_world()
    with computed(made) as counts:
        put(made, *(numbered(number, to="shop" if number % 2 else "store") for number in reversed(range(MANY))))
    assert counts == {}


def test_an_edit_of_one_server_costs_its_own_filter_chain() -> None:
    made = large_world()
    servers = [tls(f"t{number}.example.com", f"t{number}") for number in range(5)]
    servers[2] = tls("t2.example.com", "t2", tls="mode: SIMPLE, credentialName: other")
    with computed(made) as counts:
        put(made, gateway("edge", http(), *servers))
    assert counts["_tls_chains"] == 1
    assert counts["listener"] == 1
    # Its route table is empty, so that the Gateway is the origin of the only virtual host there.
    assert (counts["http_routes"], counts["virtual_hosts"]) == (0, 1)


def test_one_more_gateway_costs_nothing_of_others() -> None:
    made = large_world()
    with computed(made) as counts:
        put(made, gateway("second", http(80, "x.org", "tls: {httpsRedirect: true}"), tls("x.org")))
    assert (counts["bindings"], counts["http_routes"], counts["_tls_chains"]) == (0, 0, 1)
    assert counts["virtual_hosts"] == 2  # the redirect, and the empty table


def test_a_service_costs_the_routes_that_lead_to_it_and_no_virtual_host_when_they_stay_the_same() -> None:
    made = large_world()
    with computed(made) as counts:
        put(made, service("shop", "{port: 80, targetPort: 9}"))
    # The routes name the port of the Service, not that of its endpoints.
    assert (counts["http_routes"], counts["virtual_hosts"]) == (MANY // 2, 0)


def test_a_destination_rule_costs_the_routes_that_lead_to_its_service() -> None:
    made = large_world()
    with computed(made) as counts:
        put(made, RULE % ("shop", "shop", STICKY))
    assert (counts["http_routes"], counts["virtual_hosts"]) == (MANY // 2, MANY)
    with computed(made) as counts:
        put(made, RULE % ("shop", "shop", f"{STICKY}, warmup: {{duration: 1s}}"))
    assert (counts["http_routes"], counts["virtual_hosts"]) == (0, 0)


def test_groups_of_proxies_share_the_routes_of_a_namespace() -> None:
    made = large_world()
    put(made, gateway("second", http(81), selector="{version: '1'}"))
    ask(made)
    other = Proxy(namespace="edge", labels=frozenset({("app", "edge")}))
    assert selection(made, other) != selection(made, EDGE)
    before = made.graph.computed.copy()
    assert len(all_hosts(made, other)) == 2 * MANY + 5  # each TLS server has a table of its own, which is empty
    assert (made.graph.computed - before)["http_routes"] == 0


# --- Random edits -----------------------------------------------------------------------------------------------------

BOTH = Proxy(namespace="team", labels=frozenset({("app", "edge"), ("zone", "z")}))
REDIRECTING = "tls: {httpsRedirect: true}"
PASSED = "mode: PASSTHROUGH"
BY_NAME = "tls: [{match: [{sniHosts: [a.com]}], route: [{destination: {host: one}}]}]"
TO_TWO = "{route: [{destination: {host: two}, weight: 1}, {destination: {host: one}, weight: 2}]}"
DELEGATED = "http: [{match: [{uri: {prefix: /d}}], delegate: {name: leaf}}, {redirect: {uri: /}}]"
LABELLED = "http: [{match: [{sourceLabels: {zone: z}}], redirect: {uri: /z}}]"
TCP = "port: {number: 90, name: tcp, protocol: TCP}, hosts: ['*']"

VARIANTS: dict[str, list[str]] = {
    "gateway a": [
        gateway("a", http()),
        gateway("a", http(hosts="a.com, team/b.com"), http(81, more=REDIRECTING), created=2),
        gateway("a", tls("a.com"), tls("b.com", "passed", tls=PASSED), selector="{zone: z}"),
        gateway("a", http(), selector="{app: none}"),
    ],
    "gateway b": [
        gateway("b", http(hosts='"*.com"', more=REDIRECTING)),
        gateway("b", tls('"*"', port=80, tls=PASSED), tls("a.com"), TCP, created=1),
        gateway("b", tls("a.com", port=80), http(81, more="bind: 127.0.0.1"), selector="{}"),
    ],
    "virtual service x": [
        virtual_service("x", f"http: [{TO_TWO}]", hosts="a.com", gateways="a, b"),
        virtual_service("x", f"http: [{TO_TWO}]\nexportTo: [.]", hosts="a.com, b.com", gateways="a", created=1),
        virtual_service("x", f"{BY_NAME}\ntcp: [{TO_TWO}]", hosts="a.com", gateways="a, b"),
        virtual_service("x", LABELLED, hosts='"*"', gateways="b"),
    ],
    "virtual service y": [
        virtual_service("y", DELEGATED, hosts='"*.com"', gateways="edge/a, edge/b", namespace="team"),
        virtual_service("y", f"{BY_NAME}\ntcp: [{TO_TWO}]", hosts="a.com", gateways="edge/b", namespace="team"),
        virtual_service(
            "y", "http: [{directResponse: {status: 200}}]", hosts="one", gateways="edge/a", namespace="team"
        ),
    ],
    "delegate": [
        virtual_service("leaf", f"http: [{TO_TWO}]", hosts="", gateways="", namespace="team"),
        virtual_service(
            "leaf",
            "http: [{match: [{uri: {prefix: /e}}], redirect: {uri: /}}]",
            hosts="",
            gateways="",
            namespace="team",
        ),
    ],
    "service one": [service("one"), service("one", "{port: 80}, {port: 81}", "{app: edge}", namespace="team")],
    "service two": [service("two", namespace="team"), service("two", "{port: 9}")],
    "service front": [
        service("front", "{port: 80, targetPort: 8080}", "{app: edge}"),
        service("front", "{port: 80, targetPort: 81}, {port: 443, targetPort: name}", "{zone: z}"),
    ],
    "rule": [
        RULE % ("one", "one", STICKY),
        RULE % ("one", "one.team.svc.cluster.local", "consistentHash: {httpHeaderName: h}"),
    ],
    "secret": [SECRET],
}
"""Names of things that can be there in one of several ways. A way may be an object of another name or namespace."""

edits = st.lists(
    st.sampled_from(sorted(VARIANTS)).flatmap(
        lambda thing: st.tuples(st.just(thing), st.sampled_from([None, *range(len(VARIANTS[thing]))]))
    ),
    min_size=1,
    max_size=12,
)


def everything(made: World) -> object:
    """All that proxies are sent, and all that is wrong."""
    found: dict[object, object] = {"implied": proxies_implied(made)}
    for proxy in (EDGE, BOTH):
        selected = selection(made, proxy)
        found[proxy, "selection"] = selected, selection_problems(made, proxy)
        names = listeners.listener_names(made, selected)
        found[proxy, "listeners"] = {name: listeners.listener(made, selected, name) for name in names}
        found[proxy, "tables"] = virtual_hosts.route_tables(made, selected)
        found[proxy, "hosts"] = dict(items(virtual_hosts.virtual_hosts(made, selected)))
    found["reviews"] = [dict(items(review)) for dialect in DIALECTS for review in dialect.reviews(made)]
    return found


@settings(max_examples=300, deadline=None)
@given(edits)
def test_after_any_edits_all_is_as_if_built_from_scratch(changes: list[tuple[str, int | None]]) -> None:
    made = World()
    present: dict[str, int] = {}
    everything(made)
    for thing, variant in changes:
        if thing in present:
            (old,) = objects(VARIANTS[thing][present.pop(thing)])
            made.remove(type(old), ObjectName(old.metadata.namespace, old.metadata.name))
        if variant is not None:
            present[thing] = variant
            put(made, VARIANTS[thing][variant])
        fresh = world(*(VARIANTS[name][chosen] for name, chosen in present.items()))
        assert everything(made) == everything(fresh)


def test_the_random_edits_reach_what_they_are_meant_to() -> None:
    """The property above would hold of worlds in which nothing happens."""
    made = world(*(variants[0] for variants in VARIANTS.values()))
    put(made, VARIANTS["virtual service y"][0], VARIANTS["delegate"][0])
    hosts = all_hosts(made, BOTH)
    assert {len(host.routes) for host in hosts.values()} >= {1, 2}
    problems: set[Problem] = set()
    for thing, variants in VARIANTS.items():
        for variant in variants:
            changed = world(*(others[0] for name, others in VARIANTS.items() if name != thing), variant)
            selected = selection(changed, BOTH)
            for name in listeners.listener_names(changed, selected):
                problems.update(listeners.listener(changed, selected, name).problems)
    assert {problem.code for problem in problems} >= {"server-conflict", "no-routes"}
