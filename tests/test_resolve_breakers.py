"""Which routes have breakers, at which proxies, and which of them share a circuit."""

from collections.abc import Hashable
from pathlib import Path
from typing import TypeVar

import pytest
from fairlead import diagnosis, translation
from fairlead.cli.render import resources
from fairlead.derive import Collection
from fairlead.intent import Breaker, BrokenAnswer, CommonFilter, RouteBreaker, RuleName
from fairlead.models.asm.circuit_breaker import ASMCircuitBreaker
from fairlead.problems import ObjectKey
from fairlead.resolve.governance import connections
from fairlead.resolve.scope import Proxy, Role
from fairlead.resolve.selection import selection
from fairlead.simulation import Request, Simulation
from fairlead.snapshot import types
from fairlead.world import World
from support.worlds import put, world

LITERAL = (Path(__file__).parent / "asm" / "httpbin-breaker.yaml").read_text()
EDGE = Proxy(namespace="istio-system", labels=frozenset({("istio", "ingressgateway")}))
ACTIVATOR = Proxy(Role.SIDECAR, "knative-serving", frozenset({("app", "activator")}), bind_address="127.0.0.2")
HOUR = 3_600_000_000_000
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
metadata: {name: shop, namespace: istio-system}
spec:
  hosts: [shop.example.com, shop.example.org]
  gateways: [edge]
  http:
  - name: buy
    match: [{uri: {prefix: /buy}}, {uri: {prefix: /pay}, name: pay}]
    route: [{destination: {host: a.default.svc.cluster.local}}]
  - {name: look, route: [{destination: {host: a.default.svc.cluster.local}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other, namespace: istio-system}
spec:
  hosts: [other.example.com]
  gateways: [edge]
  http: [{name: all, route: [{destination: {host: a.default.svc.cluster.local}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: httpbin-00001-private}
spec: {ports: [{name: http, port: 8012}, {name: http-more, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: httpbin-00002-private}
spec: {ports: [{name: http, port: 8012}]}
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{name: http, port: 80}]}
"""
K, V = TypeVar("K", bound=Hashable), TypeVar("V")
Circuits = dict[tuple[str, str], str]
"""Host with port, and route -> its circuit."""


def breaker(configs: str, name: str = "a") -> str:
    return f"""
apiVersion: istio.alibabacloud.com/v1
kind: ASMCircuitBreaker
metadata: {{name: {name}, namespace: istio-system}}
spec:
  workloadSelector: {{labels: {{istio: ingressgateway}}}}
  isGateway: true
  configs: [{configs}]
"""


def config(match: str, conditions: str = "error_percent: {value: 50}") -> str:
    return f"{{{match}, breaker_config: {{{conditions}}}}}"


def vhost(name: str, port: int = 80, route: str = "") -> str:
    return config(f'match: {{vhost: {{name: "{name}", port: {port}, route: {{{route}}}}}}}')


def entries(found: Collection[K, V]) -> list[tuple[K, V]]:
    return [(key, value) for key in list(found.keys()) if (value := found.get(key)) is not None]


def breakers(made: World, proxy: Proxy = EDGE) -> dict[tuple[str, str], RouteBreaker]:
    hosts = translation.hosts_of(made, selection(made, proxy).shared)
    return {
        (outcome.value.name, route.name): policy
        for _, outcome in entries(hosts)
        for route in outcome.value.routes
        for policy in route.policies
        if isinstance(policy, RouteBreaker)
    }


def circuits(made: World) -> Circuits:
    return {place: found.circuit for place, found in breakers(made).items()}


ON_80, ON_8080 = "shop.example.com|80|", "shop.example.com|8080|"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            vhost("shop.example.org"),
            {
                (f"shop.example.{end}:80", route): "shop.example.org|80|"
                for end in ("com", "org")
                for route in ("buy.pay", "buy", "look")
            },
        ),
        (
            vhost("shop.example.com", 80, "name_match: buy"),
            {
                (f"shop.example.{end}:80", route): "shop.example.com|80|buy"
                for end in ("com", "org")
                for route in ("buy.pay", "buy")
            },
        ),
        (
            vhost("other.example.com", 0),
            {
                ("other.example.com:80", "all"): "other.example.com|80|",
                ("other.example.com:8080", "all"): "other.example.com|8080|",
            },
        ),
        (
            vhost("*", 80, "name_match: all"),
            {("other.example.com:80", "all"): "VirtualService/istio-system/other|80|all"},
        ),
        (
            config("target_services: [{kind: VirtualService, name: other, port: 8080}]"),
            {("other.example.com:8080", "all"): "VirtualService/istio-system/other|8080|"},
        ),
    ],
    ids=["host", "route", "any port", "any host", "target"],
)
def test_the_routes_that_a_rule_names_share_a_circuit(config: str, expected: Circuits) -> None:
    assert circuits(world(OBJECTS, breaker(config))) == expected


def test_each_host_has_a_circuit_where_a_rule_is_for_all() -> None:
    found = circuits(world(OBJECTS, breaker(vhost("*"))))
    assert len(set(found.values())) == 2, found
    assert len(found) == 7


def test_the_printed_manifest_is_about_what_leaves_the_activator() -> None:
    made = world(OBJECTS, LITERAL)
    found = breakers(made, ACTIVATOR)
    host = "httpbin-00001-private.default.svc.cluster.local"
    assert found == {
        (f"{host}:8012", "default"): RouteBreaker(
            RuleName(ObjectKey(ASMCircuitBreaker.group, "ASMCircuitBreaker", "knative-serving", "httpbin-delay"), 0),
            Breaker(
                window=10_000_000_000,
                break_duration=60_000_000_000,
                slow_time=500_000_000,
                slow_requests=5,
                least_requests=2,
            ),
            BrokenAnswer(498, (("x-envoy-overload", "true"),), "delay break!"),
            f"{host}|8012|",
        )
    }
    with_filter = {
        resource.name
        for resource in resources(made, ACTIVATOR)
        if resource.type_url == types.LISTENER and b"fairlead.breaker" in resource.body
    }
    assert with_filter == {"127.0.0.2_8012"}, "listeners for other ports know nothing of it"
    for other in (EDGE, Proxy(Role.SIDECAR, "knative-serving"), Proxy(Role.SIDECAR, "default", ACTIVATOR.labels)):
        assert not any(b"fairlead.breaker" in resource.body for resource in resources(made, other))
        assert not connections.filters(made, selection(made, other).shared)


def test_durations_and_conditions_have_defaults() -> None:
    made = world(
        OBJECTS, breaker(config("match: {vhost: {name: other.example.com, port: 80}}", "error_percent: {value: 5}"))
    )
    (found,) = breakers(made).values()
    assert found.breaker == Breaker(window=10_000_000_000, break_duration=30_000_000_000, error_percent=5)
    assert found.answer == BrokenAnswer(503, (), "")


def test_a_change_of_a_breaker_changes_routes_and_nothing_else() -> None:
    made = world(OBJECTS, breaker(vhost("other.example.com")))
    before = {(resource.type_url, resource.name): resource for resource in resources(made, EDGE)}
    put(made, breaker(config("match: {vhost: {name: other.example.com, port: 80}}", "error_percent: {value: 10}")))
    after = {(resource.type_url, resource.name): resource for resource in resources(made, EDGE)}
    assert before.keys() == after.keys()
    assert {key[0] for key in after if before[key].version != after[key].version} <= {
        types.ROUTE_CONFIGURATION,
        types.VIRTUAL_HOST,
    }


def test_a_breaker_that_no_route_has_is_told() -> None:
    made = world(OBJECTS, breaker(f"{vhost('nobody.example.com')}, {vhost('other.example.com')}"))
    chosen = selection(made, EDGE)
    (problem,) = [
        found
        for found in diagnosis.problems(made, chosen, EDGE.locality)
        if found.key is not None and found.key.name == "a"
    ]
    assert (problem.code, problem.path[:3]) == ("no-matching-request", ("spec", "configs", 0))
    assert connections.filters(made, chosen.shared) == {CommonFilter.BREAKER}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("slow_request_rt: 0.5s, max_slow_requests: 5, break_duration: 60s", "5 slower than 500ms in 10s: 503 for 60s"),
        (
            "error_percent: {value: 50}, gateway_error_percent: {value: 20}, min_request_amount: 4, window_size: 5s",
            "50 % 5xx or 20 % 502, 503, 504 of 4 requests or more in 5s: 503 for 30s",
        ),
        (
            "average_request_rt: 10ms, custom_response: {status_code: 498, header_to_add: {x-a: b}}",
            "an average above 10ms in 10s: 498 for 30s",
        ),
    ],
)
def test_explanations_tell_when_a_circuit_opens(conditions: str, expected: str) -> None:
    made = world(OBJECTS, breaker(config("match: {vhost: {name: other.example.com, port: 80}}", conditions)))
    simulation = Simulation(resources(made, EDGE), detailed=True)
    verdict = simulation.send(Request(port=80, host="other.example.com", path="/"))
    facts = [fact.text for step in verdict.steps for fact in step.facts if fact.label == "breaker"]
    assert facts == [f"{expected} (istio-system/a/0)"]
