"""Which routes are limited, at which proxies, and what else changes with a limit: nothing."""

from collections.abc import Hashable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from fairlead import diagnosis, translation
from fairlead.check.findings import findings
from fairlead.cli.render import resources
from fairlead.derive import Collection
from fairlead.intent import Governance, HttpConnections, RouteLimit, RuleName
from fairlead.models.asm.local_rate_limiter import ASMLocalRateLimiter
from fairlead.problems import ObjectKey, format_path
from fairlead.resolve.governance import connections
from fairlead.resolve.scope import Proxy, Role
from fairlead.resolve.selection import selection
from fairlead.simulation import Request, Simulation
from fairlead.snapshot import types
from fairlead.world import World
from support.worlds import put, world

LITERAL = (Path(__file__).parent / "asm" / "helloworld-limit.yaml").read_text()
EDGE = Proxy(namespace="istio-system", labels=frozenset({("istio", "ingressgateway"), ("tier", "gold")}))
SHOP = Proxy(Role.SIDECAR, labels=frozenset({("app", "shop")}), bind_address="127.0.0.2", address="10.0.0.1")
CART = Proxy(Role.SIDECAR, labels=frozenset({("app", "cart")}), bind_address="127.0.0.2", address="10.0.0.2")
OBJECTS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 8080, name: http-more, protocol: HTTP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: helloworld, namespace: istio-system}
spec:
  hosts: [helloworld-go.default.svc.cluster.local, helloworld-go.default.example.com]
  gateways: [edge]
  http:
  - {name: buy, match: [{uri: {prefix: /buy}}, {uri: {prefix: /pay}, name: pay}], directResponse: {status: 200}}
  - {name: buyers, match: [{uri: {prefix: /buyers}}], directResponse: {status: 200}}
  - {name: look, directResponse: {status: 200}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other, namespace: istio-system}
spec:
  hosts: [other.example.com]
  gateways: [edge]
  http: [{directResponse: {status: 200}}]
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8000}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
"""
HOST = "helloworld-go.default.example.com"
K, V = TypeVar("K", bound=Hashable), TypeVar("V")
Limited = dict[tuple[str, str], str]
"""Table and host, and route -> name of its limit."""


def limiter(configs: str, *, name: str = "a", labels: str = "istio: ingressgateway", more: str = "") -> str:
    namespace = "istio-system" if "istio" in labels else "default"
    return f"""
apiVersion: istio.alibabacloud.com/v1
kind: ASMLocalRateLimiter
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  workloadSelector: {{labels: {{{labels}}}}}
  {more or "isGateway: true"}
  configs: [{configs}]
"""


def config(match: str) -> str:
    return f"{{{match}, limit: {{fill_interval: {{seconds: 60}}, quota: 7}}}}"


def vhost(name: str, port: int = 80, route: str = "") -> str:
    return config(f'match: {{vhost: {{name: "{name}", port: {port}, route: {{{route}}}}}}}')


def entries(found: Collection[K, V]) -> list[tuple[K, V]]:
    return [(key, value) for key in list(found.keys()) if (value := found.get(key)) is not None]


def limited(made: World, proxy: Proxy = EDGE) -> Limited:
    hosts = translation.hosts_of(made, selection(made, proxy).shared)
    return {
        (f"{key.route_table} {key.domain}", route.name): str(policy.name)
        for key, outcome in entries(hosts)
        for route in outcome.value.routes
        for policy in route.policies
    }


def limits_by_chain(made: World, proxy: Proxy = EDGE) -> dict[str, list[str]]:
    """Of each listener, the names of the limits that its connections refer to."""
    chosen = selection(made, proxy)

    def names(governance: Governance) -> list[str]:
        found = [connections.limits_of(made, chosen.shared, item) for item in governance.limits]
        return [str(limit.name) for limits in found for limit in limits]

    outcomes = translation.listener_outcomes(made, chosen.shared)
    found = {name: outcome.value for name, outcome in entries(outcomes)}
    if proxy.role is Role.SIDECAR:
        found |= {
            " ".join(map(str, key)): one.value for key, one in entries(translation.sidecar_outcomes(made, chosen))
        }
    return {
        name: names(chain.connections.governance)
        for name, listener in found.items()
        if listener is not None
        for chain in listener.filter_chains
        if isinstance(chain.connections, HttpConnections)
    }


GATEWAY_API = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: api}
spec: {gatewayClassName: fairlead, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{name: api}]
  hostnames: [api.example.com, api.example.org]
  rules: [{}]
"""
IN_80, IN_8080 = f"http.80 {HOST}", f"http.8080 {HOST}"
NAMED = {"look": "a/0", "buy": "a/0", "buy.pay": "a/0", "buyers": "a/0"}


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        (vhost(HOST), {IN_80: NAMED}),
        (vhost(HOST.upper()), {IN_80: NAMED}),
        (vhost("helloworld-go.default.svc.cluster.local"), {IN_80: NAMED}),
        (vhost(HOST, 8080), {IN_8080: NAMED}),
        (vhost(HOST, 0), {IN_80: NAMED, IN_8080: NAMED}),
        (vhost(HOST, 9000), {}),
        (vhost("unknown.example.com"), {}),
        (vhost(HOST, 80, "name_match: buy"), {IN_80: {"buy": "a/0", "buy.pay": "a/0"}}),
        (vhost(HOST, 80, "name_match: buy.pay"), {IN_80: {"buy.pay": "a/0"}}),
        (vhost(HOST, 80, "name_match: unknown"), {}),
        (f"{vhost(HOST)}, {vhost(HOST, 80, 'name_match: look')}", {IN_80: NAMED | {"look": "a/1"}}),
        (f"{vhost('*')}, {vhost(HOST)}", {IN_80: dict.fromkeys(NAMED, "a/1")}),
        (f"{vhost(HOST)}, {vhost(HOST)}", {IN_80: NAMED}),
        (
            config("target_services: [{kind: VirtualService, name: helloworld, port: 80, section_name: look}]"),
            {IN_80: {"look": "a/0"}},
        ),
    ],
)
def test_limits_are_for_virtual_hosts_and_routes(configs: str, expected: dict[str, dict[str, str]]) -> None:
    found = limited(world(OBJECTS, limiter(configs)))
    of_host = {place: name for place, name in found.items() if place[0].endswith(HOST)}
    wanted = {(table, route): f"istio-system/{name}" for table, of in expected.items() for route, name in of.items()}
    assert of_host == wanted
    if "*" not in configs:
        assert {table for table, _ in found} <= {
            table.replace(HOST, host)
            for table in expected
            for host in (HOST, "helloworld-go.default.svc.cluster.local")
        }


def test_routes_of_gateway_api_are_limited_by_their_host_names() -> None:
    labels = {"gateway.networking.k8s.io/gateway-name": "api"}
    (label,) = labels.items()
    made = world(GATEWAY_API, limiter(vhost("api.example.com"), labels=": ".join(label)))
    found = limited(made, Proxy(labels=frozenset({label})))
    assert {table for table, _ in found} == {"http.80 api.example.com", "http.80 api.example.org"}


def test_the_older_of_two_objects_limits_and_the_other_is_told() -> None:
    made = world(OBJECTS, limiter(vhost(HOST), name="b"), limiter(vhost(HOST), name="a"))
    assert set(limited(made).values()) == {"istio-system/a/0"}
    chosen = selection(made, EDGE)
    told = [(item.code, item.key.name) for item in diagnosis.problems(made, chosen, EDGE.locality) if item.key]
    assert ("no-matching-request", "b") in told
    assert ("no-matching-request", "a") not in told


PORT = "the port is the one that the Gateway's server, or the service, declares"


@pytest.mark.parametrize(
    ("text", "field", "hint"),
    [
        (limiter(vhost(HOST, 81)), "match.vhost.name", PORT),
        (
            limiter(vhost(HOST, 80, "name_match: byu")),
            "match.vhost.route.name_match",
            "routes there are named buy, buyers, look",
        ),
        (
            limiter(vhost("other.example.com", 80, "name_match: buy")),
            "match.vhost.route.name_match",
            "give the route there this name",
        ),
        (
            limiter(
                "{target_services: [{kind: VirtualService, namespace: istio-system, name: helloworld, section_name: "
                "byu}], limit: {fill_interval: {seconds: 60}, quota: 7}}"
            ),
            "target_services[0].section_name",
            "routes there are named buy, buyers, look",
        ),
        (
            limiter(vhost("mesh.example.com")),
            "match.vhost.name",
            "VirtualService default/mesh names no Gateway: write gateways there, or leave isGateway out",
        ),
        (
            limiter(vhost("helloworld-go")),
            "match.vhost.name",
            "write the whole name, such as helloworld-go.NAMESPACE.svc.cluster.local",
        ),
        (
            limiter(vhost("helo.example.com", 0)),
            "match.vhost.name",
            "name a host of a VirtualService or HTTPRoute there",
        ),
        (
            limiter(vhost("cart.example.com"), labels="app: cart", more="applyToTraffic: sidecar_outbound"),
            "match.vhost.name",
            f"name a host of a service or VirtualService there; {PORT}",
        ),
        (
            limiter(vhost("cart.shops.svc.cluster.local"), labels="app: cart", more="applyToTraffic: sidecar_outbound"),
            "match.vhost.name",
            "there is no Service shops/cart: correct its name, or its namespace",
        ),
        (
            limiter(
                vhost("cart.default.svc.cluster.local", 8080),
                labels="app: cart",
                more="applyToTraffic: sidecar_outbound",
            ),
            "match.vhost.name",
            "ports of the Service are 80",
        ),
        (
            limiter(vhost(f"{HOST}:80")),
            "match.vhost.name",
            "write the port into the field port, not into the name",
        ),
        (
            limiter(vhost("inbound|http|80")),
            "match.vhost.name",
            "such a name is of what comes in at sidecars: write applyToTraffic: sidecar_inbound",
        ),
        *(
            (
                limiter(
                    f"{{target_services: [{{kind: {kind}, name: nobody}}], "
                    "limit: {fill_interval: {seconds: 60}, quota: 7}}"
                ),
                "target_services[0].name",
                "there is no such object: correct its name, or its namespace",
            )
            for kind in ("ServiceEntry", "VirtualService")
        ),
        (
            limiter(f'{{match: {{vhost: {{name: "{HOST}"}}}}, limit: {{unit: MINUTE, quota: 7}}}}').replace(
                "ASMLocal", "ASMGlobal"
            ),
            "match.vhost.name",
            "proxies answer these requests by themselves: name others",
        ),
        # What is meant for gateways is taken for a rule for sidecars.
        (
            limiter(vhost(HOST), labels="app: cart", more="isGateway: false"),
            "match.vhost.name",
            "for requests at gateways write isGateway: true",
        ),
    ],
)
def test_a_limit_without_effect_is_told_with_what_to_do(text: str, field: str, hint: str) -> None:
    mesh = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mesh}
spec: {hosts: [mesh.example.com], http: [{directResponse: {status: 200}}]}
"""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    (found,) = {each for each in findings(world(OBJECTS, mesh, text), now) if each.code == "no-matching-request"}
    assert (format_path(found.path), found.hint) == (f"spec.configs[0].{field}", hint)


def test_fields_may_stand_at_the_limit_as_examples_of_asm_have_them() -> None:
    moved = LITERAL.replace("    isGateway: true\n", "").replace("    workloadSelector:\n", "  workloadSelector:\n")
    moved = moved.replace("      labels:\n        istio: ingressgateway", "    labels: {istio: ingressgateway}")
    moved = moved.replace("spec:\n", "spec:\n  isGateway: true\n", 1)
    assert moved != LITERAL
    first, second = world(OBJECTS, LITERAL), world(OBJECTS, moved)
    assert limited(first) == limited(second) != {}
    assert limits_by_chain(first) == limits_by_chain(second)


def test_only_proxies_with_the_labels_in_the_namespace_are_limited() -> None:
    made = world(OBJECTS, limiter(vhost(HOST), labels="istio: ingressgateway, tier: gold"))
    assert limited(made)
    for labels in ({("istio", "ingressgateway")}, {("istio", "ingressgateway"), ("tier", "silver")}):
        assert not limited(made, Proxy(namespace="istio-system", labels=frozenset(labels)))
    assert not limited(made, Proxy(namespace="elsewhere", labels=EDGE.labels))


def test_a_limit_changes_nothing_but_what_it_is_for() -> None:
    """Neither the selection of proxies, nor the listener of another port, nor another virtual host."""
    made = world(OBJECTS)
    chosen = selection(made, EDGE)

    def state() -> dict[str, bytes]:
        hosts = translation.virtual_host_leaves(made, chosen)
        found = {str(key): leaf.body for key, leaf in entries(hosts)}
        return found | {
            f"{types.SHORT_NAMES[resource.type_url]} {resource.name}": resource.body
            for resource in resources(made, EDGE)
        }

    before = state()
    counted = made.graph.computed.copy()
    put(made, limiter(vhost(HOST)))
    assert selection(made, EDGE) == chosen
    after = state()
    assert after.keys() - before.keys() == {"ecds fairlead.local_rate_limit", "cds fairlead-runtime"}
    assert not before.keys() - after.keys()
    changed = {name for name in before if before[name] != after[name]}
    names = (HOST, "helloworld-go.default.svc.cluster.local")
    hosts = {f"VirtualHostKey(route_table='http.80', domain='{name}')" for name in names}
    assert changed == {"lds 0.0.0.0_80", "rds http.80"} | hosts
    counts = made.graph.computed - counted
    assert counts["virtual_host_leaves"] == 2
    assert counts["cluster_outcomes"] == 0

    put(made, limiter(vhost(HOST).replace("quota: 7", "quota: 8")))
    again = state()
    assert {name for name in after if after[name] != again[name]} == {"ecds fairlead.local_rate_limit"}


def test_limits_of_sidecars_are_for_what_comes_in_or_for_what_goes_out() -> None:
    inbound = limiter(vhost("*", 80), name="in", labels="app: shop", more="isGateway: false")
    outbound = limiter(
        config("target_services: [{name: cart}]"),
        name="out",
        labels="app: shop",
        more="applyToTraffic: sidecar_outbound",
    )
    made = world(OBJECTS, inbound, outbound)
    assert limited(made, SHOP) == {("80 cart.default.svc.cluster.local", "default"): "default/out/0"}
    assert limits_by_chain(made, SHOP) == {
        "127.0.0.1_80": ["default/out/0"],
        "Direction.OUTBOUND 127.0.0.1_80": ["default/out/0"],
        "Direction.INBOUND 0.0.0.0_8000": ["default/in/0"],
    }
    assert not limited(made, CART)
    assert not any(limits_by_chain(made, CART).values())
    chain = next(
        chain
        for _, outcome in entries(translation.sidecar_outcomes(made, selection(made, SHOP)))
        if outcome.value is not None
        for chain in outcome.value.filter_chains
        if isinstance(chain.connections, HttpConnections) and chain.connections.inline is not None
    )
    assert isinstance(chain.connections, HttpConnections)
    assert chain.connections.inline is not None
    key = ObjectKey(ASMLocalRateLimiter.group, ASMLocalRateLimiter.kind, "default", "in")
    assert [route.policies for route in chain.connections.inline.routes] == [(RouteLimit(RuleName(key, 0)),)]


def test_a_limit_is_part_of_an_explanation() -> None:
    made = world(OBJECTS, LITERAL)
    simulation = Simulation(resources(made, EDGE), detailed=True)
    verdict = simulation.send(Request(port=80, host=HOST, path="/"))
    facts = [(fact.label, fact.text) for step in verdict.steps for fact in step.facts]
    assert ("limit", "60 in 2s (istio-system/helloworld/0)") in facts
    verdict = simulation.send(Request(port=80, host="other.example.com", path="/"))
    assert "limit" not in [fact.label for step in verdict.steps for fact in step.facts]
