"""What operators are shown of limits, breakers and scheduling policies: in the status, and of a request's way."""

import pytest
from fairlead.cli.render import resources
from fairlead.resolve import runtime
from fairlead.resolve.scope import Proxy, Role
from fairlead.server.governance import rule_statuses
from fairlead.simulation import Request, Simulation
from fairlead.status import RuleStatus
from support.worlds import world

EDGE = Proxy(namespace="edge", labels=frozenset({("app", "edge"), ("tier", "gold")}))
PLAIN = Proxy(namespace="edge", labels=frozenset({("app", "edge")}))
SHOP, CART = (
    Proxy(Role.SIDECAR, "default", frozenset({("app", name)}), bind_address="127.0.0.2", address=f"10.0.0.{number}")
    for number, name in enumerate(("shop", "cart"), 1)
)
PROXIES = [("edge-1", EDGE), ("edge-2", EDGE), ("edge-3", PLAIN), ("shop-1", SHOP), ("cart-1", CART)]
OBJECTS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: edge}
spec:
  selector: {app: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: edge}
spec:
  hosts: [shop.test]
  gateways: [edge]
  http: [{route: [{destination: {host: shop.default.svc.cluster.local}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 81}]}
"""
EDGE_HOST = "{match: {vhost: {name: shop.test, port: 80}}, "
LOCAL, SHARED, BREAKER = "ASMLocalRateLimiter", "ASMGlobalRateLimiter", "ASMCircuitBreaker"
LIMIT = "limit: {fill_interval: {seconds: 60}, quota: 7}}"
BREAKS = "breaker_config: {slow_request_rt: 0.5s, max_slow_requests: 5}}"


def rule(kind: str, *configs: str, labels: str = "app: edge", name: str = "a", more: str = "isGateway: true") -> str:
    return f"""
apiVersion: istio.alibabacloud.com/v1
kind: {kind}
metadata: {{name: {name}, namespace: {"edge" if "edge" in labels else "default"}}}
spec:
  workloadSelector: {{labels: {{{labels}}}}}
  {more}
  configs: [{", ".join(configs)}]
"""


def policy(service: str, point: str, name: str = "a") -> str:
    return f"""
apiVersion: istio.alibabacloud.com/v1
kind: RateLimitingPolicy
metadata: {{name: {name}, namespace: edge}}
spec:
  rate_limiter:
    bucket_capacity: 5
    fill_amount: 2
    parameters: {{interval: 1s}}
    selectors: [{{service: {service}.default.svc.cluster.local, control_point: {point}}}]
"""


SERVICES = "fairlead-runtime; what is not answered"
EVERYWHERE = ("edge-1", "edge-2", "edge-3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rule(LOCAL, EDGE_HOST + LIMIT), RuleStatus(f"{LOCAL} edge/a", "spec.configs[0]", 3, 3, EVERYWHERE, "")),
        (rule(BREAKER, EDGE_HOST + BREAKS), RuleStatus(f"{BREAKER} edge/a", "spec.configs[0]", 3, 3, EVERYWHERE, "")),
        (
            rule(SHARED, EDGE_HOST + "limit: {unit: MINUTE, quota: 7}}", labels="app: edge, tier: gold"),
            RuleStatus(f"{SHARED} edge/a", "spec.configs[0]", 2, 2, EVERYWHERE[:2], ""),
        ),
        (
            rule(LOCAL, EDGE_HOST.replace("shop.test", "cart.test") + LIMIT),
            RuleStatus(
                f"{LOCAL} edge/a",
                "spec.configs[0]",
                *(3, 0, ()),
                "gateways in namespace edge have no virtual host cart.test for port 80, so that it has no effect",
            ),
        ),
        (
            rule(LOCAL, EDGE_HOST + LIMIT, labels="app: edge, tier: silver"),
            RuleStatus(
                f"{LOCAL} edge/a",
                "spec.configs[0]",
                *(0, 0, ()),
                "no gateway in namespace edge with app: edge, tier: silver is connected",
            ),
        ),
        (
            rule(LOCAL, EDGE_HOST + LIMIT, more="isGateway: false"),
            RuleStatus(
                f"{LOCAL} edge/a",
                "spec.configs[0]",
                *(0, 0, ()),
                "no sidecar in namespace edge with app: edge is connected, but gateways are: write isGateway: true",
            ),
        ),
        (
            rule(LOCAL, EDGE_HOST + LIMIT, labels="app: shop").replace("namespace: default", "namespace: other"),
            RuleStatus(
                f"{LOCAL} other/a",
                "spec.configs[0]",
                *(0, 0, ()),
                "no gateway in namespace other with app: shop is connected",
            ),
        ),
        (
            rule(LOCAL, EDGE_HOST + LIMIT).replace("namespace: edge", "namespace: other"),
            RuleStatus(
                f"{LOCAL} other/a",
                "spec.configs[0]",
                *(0, 0, ()),
                "no gateway in namespace other with app: edge is connected, but there are in namespace edge",
            ),
        ),
        # What comes in is different at each workload: only one of them has the port.
        (
            rule(LOCAL, '{match: {vhost: {name: "*", port: 81}}, ' + LIMIT, labels="", more="isGateway: false"),
            RuleStatus(f"{LOCAL} default/a", "spec.configs[0]", 2, 1, ("cart-1",), ""),
        ),
        (
            rule(BREAKER, "{target_services: [{name: cart}], " + BREAKS, labels="app: shop", more="isGateway: false"),
            RuleStatus(f"{BREAKER} default/a", "spec.configs[0]", 1, 1, ("shop-1",), ""),
        ),
        (
            policy("shop", "egress"),
            RuleStatus("RateLimitingPolicy edge/a", "spec", 5, 5, ("cart-1", *EVERYWHERE, "shop-1"), ""),
        ),
        (policy("cart", "ingress"), RuleStatus("RateLimitingPolicy edge/a", "spec", 1, 1, ("cart-1",), "")),
        (
            policy("nobody", "ingress"),
            RuleStatus(
                "RateLimitingPolicy edge/a",
                "spec",
                *(0, 0, ()),
                "no connected proxy has a route of the services that it is about",
            ),
        ),
    ],
)
def test_where_a_rule_is_in_force(text: str, expected: RuleStatus) -> None:
    (found,) = rule_statuses(world(OBJECTS, text), PROXIES)
    assert found == expected


def test_each_entry_is_told_and_of_two_for_the_same_the_older_counts() -> None:
    made = world(OBJECTS, rule(LOCAL, *[EDGE_HOST + LIMIT] * 2), rule(LOCAL, EDGE_HOST + LIMIT, name="b"))
    first, second, third = rule_statuses(made, PROXIES)
    assert (first.path, first.proxies, second.path, second.proxies) == ("spec.configs[0]", 3, "spec.configs[1]", 0)
    assert (third.object, third.proxies) == (f"{LOCAL} edge/b", 0)
    for found in (second, third):
        assert found.reason.startswith(f"at gateways in namespace edge {LOCAL} edge/a is about the same requests")


def test_of_many_proxies_ten_are_named() -> None:
    made = world(OBJECTS, rule(LOCAL, EDGE_HOST + LIMIT))
    (found,) = rule_statuses(made, [(f"edge-{number:02}", EDGE) for number in range(30)])
    assert (found.proxies, found.at) == (30, tuple(f"edge-{number:02}" for number in range(10)))


def test_without_rules_nothing_is_told() -> None:
    assert rule_statuses(world(OBJECTS), PROXIES) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rule(LOCAL, EDGE_HOST + LIMIT), "limit 7 in 60s (edge/a/0)"),
        (
            rule(LOCAL, EDGE_HOST + LIMIT.replace("7", "7, per_downstream_connection: true")),
            "limit 7 in 60s for each connection (edge/a/0)",
        ),
        (
            rule(SHARED, EDGE_HOST + "limit: {unit: MINUTE, quota: 7}}"),
            f"limit for all proxies, counted by {SERVICES} in 1s passes (RateLimit[a.edge]-Id[3651753266])",
        ),
        (rule(BREAKER, EDGE_HOST + BREAKS), "breaker 5 slower than 500ms in 10s: 503 for 30s (edge/a/0)"),
        (
            policy("shop", "egress"),
            f"scheduling asks {SERVICES.replace(';', ' when to pass;')} in 15s passes (RateLimitingPolicy edge/a)",
        ),
    ],
)
def test_what_holds_for_a_request(text: str, expected: str) -> None:
    made = world(OBJECTS, text)
    verdict = Simulation(resources(made, EDGE)).send(Request(port=80, host="shop.test"))
    assert verdict.rules == [expected]
    assert Simulation(resources(world(OBJECTS), EDGE)).send(Request(port=80, host="shop.test")).rules == []


GOLD, A = "header_match: [{name: x-user, exact_match: gold}]", "query_match: [{name: q, prefix_match: a}]"
BY_VALUE = "header_match: [{name: x-id, present_match: true, distinct: true}]"
OVERRIDES = [f"{GOLD}, {A}", GOLD, A, BY_VALUE]
OF_CRAWLERS = (
    "{match: {vhost: {name: shop.test, port: 80, route: {header_match: [{name: x-crawler, present_match: true}]}}}, "
)


def overriding(kind: str, config: str, limit: str) -> str:
    overrides = ", ".join(f"{{request_match: {{{match}}}, {limit}}}" for match in OVERRIDES)
    return rule(kind, f"{config}{limit}, limit_overrides: [{overrides}]}}")


@pytest.mark.parametrize(
    ("path", "headers", "override"),
    [
        ("/", {}, None),
        ("/?q=abc", {"x-user": "gold"}, 0),
        ("/?q=b", {"x-user": "gold"}, 1),
        ("/", {"x-user": "gold", "x-id": "1"}, 1),
        ("/?q=abc", {"x-user": "silver"}, 2),
        ("/?q=b", {"x-id": "1"}, 3),
    ],
)
def test_in_which_bucket_a_request_is_counted(path: str, headers: dict[str, str], override: int | None) -> None:
    request = Request(port=80, host="shop.test", path=path, headers=headers)
    local = overriding(LOCAL, EDGE_HOST, "limit: {fill_interval: {seconds: 60}, quota: 7}")
    found = Simulation(resources(world(OBJECTS, local), EDGE)).send(request).rules
    name = f"edge/a/0, override-{override}" if override is not None else "edge/a/0"
    assert len(found) == 5
    assert [rule for rule in found if "for this request" in rule] == [
        f"limit 7 in 60s{' for each value' if override == 3 else ''} for this request ({name})"
    ]
    shared = overriding(SHARED, EDGE_HOST, "limit: {unit: MINUTE, quota: 7}")
    made = world(OBJECTS, shared)
    (rule_of_all,) = Simulation(resources(made, EDGE)).send(request).rules
    (domain,) = runtime.configuration(made).rate_limits
    told = [descriptor for descriptor in domain.descriptors if f"({_name(descriptor.entries, '1')})" in rule_of_all]
    assert [domain.descriptors.index(descriptor) for descriptor in told] == [4 if override is None else override]


def _name(entries: tuple[tuple[str, str], ...], value: str) -> str:
    return "/".join(text or value for _, text in entries)


def test_a_limit_for_some_requests_is_not_for_others() -> None:
    simulation = Simulation(resources(world(OBJECTS, rule(LOCAL, OF_CRAWLERS + LIMIT)), EDGE))
    for headers, which in (({"x-crawler": "yes"}, "this request"), ({}, "other requests")):
        found = simulation.send(Request(port=80, host="shop.test", headers=headers)).rules
        assert found == [f"limit 7 in 60s for {which} (edge/a/0)"]
    shared = rule(SHARED, OF_CRAWLERS + "limit: {unit: MINUTE, quota: 7}}")
    (found_of_all,) = Simulation(resources(world(OBJECTS, shared), EDGE)).send(Request(port=80, host="shop.test")).rules
    assert found_of_all == "limit for all proxies, counted by fairlead-runtime; not for this request"
