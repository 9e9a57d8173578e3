"""Which routes ask for which scheduling policies, at which proxies, and what the policies say."""

from collections.abc import Hashable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from fairlead import translation
from fairlead.cli.render import resources
from fairlead.derive import Collection
from fairlead.intent import (
    PATIENCE,
    RUNTIME,
    Concurrency,
    Forward,
    HttpConnections,
    LabelCondition,
    LabelConditionKind,
    Quota,
    RouteScheduling,
    RuntimeConfiguration,
    SchedulingPolicy,
    Workload,
)
from fairlead.resolve.governance import scheduling
from fairlead.resolve.scope import Proxy, Role
from fairlead.resolve.selection import selection
from fairlead.resolve.sidecar.listeners import Direction
from fairlead.runtime.messages import Orders, encoded
from fairlead.runtime.scheduling.labels import compiled
from fairlead.snapshot import types
from fairlead.validation.asm import scheduling as rules
from fairlead.world import World
from support.worlds import put, world

LITERAL = (Path(__file__).parent / "asm" / "quota-scheduling.yaml").read_text()
EDGE = Proxy(namespace="istio-system", labels=frozenset({("istio", "ingressgateway")}))
HTTPBIN = Proxy(Role.SIDECAR, labels=frozenset({("app", "httpbin")}), bind_address="127.0.0.2", address="10.0.0.1")
CART = Proxy(Role.SIDECAR, labels=frozenset({("app", "cart")}), bind_address="127.0.0.2", address="10.0.0.2")
HOST = "httpbin-00001-private.default.svc.cluster.local"
OBJECTS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: [httpbin.example.com]
  gateways: [istio-system/edge]
  http:
  - {name: away, match: [{uri: {prefix: /away}}], redirect: {uri: /}}
  - {name: cart, match: [{uri: {prefix: /cart}}], route: [{destination: {host: cart}}]}
  - name: both
    route:
    - {destination: {host: cart}, weight: 1}
    - {destination: {host: httpbin-00001-private}, weight: 99}
---
apiVersion: v1
kind: Service
metadata: {name: httpbin-00001-private}
spec: {selector: {app: httpbin}, ports: [{name: http, port: 80, targetPort: 8012}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8000}]}
"""
K, V = TypeVar("K", bound=Hashable), TypeVar("V")


def rate_limit(selectors: str, *, name: str = "rate", more: str = "") -> str:
    return f"""
apiVersion: istio.alibabacloud.com/v1
kind: RateLimitingPolicy
metadata: {{name: {name}, namespace: istio-system}}
spec:
  rate_limiter: {{bucket_capacity: 5, fill_amount: 2, parameters: {{interval: 1s}}, {more} selectors: [{selectors}]}}
"""


def entries(found: Collection[K, V]) -> list[tuple[K, V]]:
    return [(key, value) for key in list(found.keys()) if (value := found.get(key)) is not None]


def inbound(made: World, proxy: Proxy) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Port -> what its requests ask for."""
    found = {}
    for key, outcome in entries(translation.sidecar_outcomes(made, selection(made, proxy))):
        for chain in () if outcome.value is None else outcome.value.filter_chains:
            if isinstance(chain.connections, HttpConnections) and chain.connections.inline is not None:
                asked = [asked_for(route.policies) for route in chain.connections.inline.routes]
                assert (chain.connections.governance.scheduling is not None) is any(map(bool, asked)), key
                found[chain.connections.route_table] = asked[0]
    return found


def asked_for(policies: tuple[object, ...]) -> list[tuple[str, tuple[int, ...]]]:
    return [(each.name.key.name, each.selectors) for each in policies if isinstance(each, RouteScheduling)]


def outbound(made: World, proxy: Proxy) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Virtual host and route -> what its requests ask for, where that is anything."""
    return {
        f"{key.domain} {route.name}": asked
        for key, outcome in entries(translation.hosts_of(made, selection(made, proxy).shared))
        for route in outcome.value.routes
        if (asked := asked_for(route.policies))
    }


def test_the_literal_policy_is_about_what_comes_in_for_its_service() -> None:
    made = world(OBJECTS, LITERAL)
    assert inbound(made, HTTPBIN) == {"inbound|8012||": [("quotascheduling", (0,))]}
    assert inbound(made, CART) == {"inbound|8000||": []}
    for proxy in (EDGE, HTTPBIN, CART):
        assert outbound(made, proxy) == {}


def test_of_several_services_of_a_workload_each_has_its_own_policies() -> None:
    other = """
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: httpbin}, ports: [{name: http, port: 81, targetPort: 8013}]}
"""
    made = world(OBJECTS, other, LITERAL)
    assert inbound(made, HTTPBIN) == {"inbound|8012||": [("quotascheduling", (0,))], "inbound|8013||": []}
    put(made, other.replace("8013", "8012"))
    assert inbound(made, HTTPBIN) == {"inbound|8012||": [("quotascheduling", (0,))]}, "nobody can tell them apart"


def test_a_policy_for_any_service_is_about_all_that_comes_in() -> None:
    made = world(OBJECTS, rate_limit("{service: cart.default.svc.cluster.local}, {}"))
    assert inbound(made, HTTPBIN) == {"inbound|8012||": [("rate", (1,))]}
    assert inbound(made, CART) == {"inbound|8000||": [("rate", (0, 1))]}


def test_callers_hold_requests_by_where_their_routes_lead() -> None:
    made = world(OBJECTS, rate_limit(f"{{service: {HOST.upper()}, control_point: egress}}"))
    assert inbound(made, HTTPBIN) == {"inbound|8012||": []}
    assert outbound(made, EDGE) == {"httpbin.example.com both": [("rate", (0,))]}
    assert outbound(made, CART) == {f"{HOST} default": [("rate", (0,))]}
    put(made, rate_limit("{control_point: egress}"))
    assert outbound(made, EDGE).keys() == {"httpbin.example.com both", "httpbin.example.com cart"}


COOKIE = "request_parameters: {tokens_label_key: http.request.header.cookie},"


@pytest.mark.parametrize(
    ("more", "withheld"),
    [("", ["authorization", "cookie", "proxy-authorization"]), (COOKIE, ["authorization", "proxy-authorization"])],
)
def test_secrets_are_told_only_where_a_policy_asks_for_them(more: str, withheld: list[str]) -> None:
    made = world(OBJECTS, rate_limit("{}", more=more))

    def withheld_now() -> list[str]:
        key = (Direction.INBOUND, "0.0.0.0_8000")
        outcome = translation.sidecar_outcomes(made, selection(made, CART)).get(key)
        assert outcome is not None
        assert outcome.value is not None
        connections = outcome.value.filter_chains[0].connections
        assert isinstance(connections, HttpConnections)
        assert connections.governance.scheduling is not None
        return list(connections.governance.scheduling.withheld)

    assert withheld_now() == withheld
    matcher = "{expression: {not: {label_exists: http.request.header.proxy_authorization}}}"
    put(made, rate_limit(f"{{service: other.test, label_matcher: {matcher}}}", name="another"))
    assert withheld_now() == withheld[:-1]


def test_several_policies_are_told_in_one_order() -> None:
    policies = [rate_limit(f"{{service: {HOST}}}", name=name) for name in ("b", "a")]
    made = world(OBJECTS, *policies, LITERAL)
    assert [name for name, _ in inbound(made, HTTPBIN)["inbound|8012||"]] == ["a", "b", "quotascheduling"]


def has_cluster(made: World, proxy: Proxy) -> bool:
    return any(each.type_url == types.CLUSTER and each.name == RUNTIME.host for each in resources(made, proxy))


def test_only_proxies_that_a_policy_is_for_know_of_our_services() -> None:
    made = world(OBJECTS)
    others = (EDGE, Proxy(Role.SIDECAR, "elsewhere", labels=frozenset({("app", "httpbin")}), address="10.0.0.3"))
    before = {proxy: [each.body for each in resources(made, proxy)] for proxy in others}
    put(made, LITERAL)
    assert [has_cluster(made, proxy) for proxy in (*others, HTTPBIN)] == [False, False, True]
    for proxy in others:
        assert [each.body for each in resources(made, proxy)] == before[proxy], "they are sent nothing else"
    put(made, rate_limit("{service: any}"))
    assert [has_cluster(made, proxy) for proxy in others] == [False, True]
    made = world(OBJECTS, rate_limit("{service: any, control_point: egress}"))
    assert all(has_cluster(made, proxy) for proxy in (*others, HTTPBIN))


def test_changes_of_a_policy_change_nothing_that_proxies_have() -> None:
    made = world(OBJECTS, LITERAL, rate_limit(f"{{service: {HOST}, control_point: egress}}"))
    before = {proxy: [each.body for each in resources(made, proxy)] for proxy in (EDGE, CART, HTTPBIN)}
    put(made, LITERAL.replace("capacity: 10", "capacity: 20").replace("200.0", "300.0"))
    put(made, rate_limit(f"{{service: {HOST}, control_point: egress, label_matcher: {{match_labels: {{a: b}}}}}}"))
    assert {proxy: [each.body for each in resources(made, proxy)] for proxy in before} == before


def test_another_policy_at_callers_changes_routes_and_no_listener() -> None:
    made = world(OBJECTS, rate_limit("{service: other.example.com, control_point: egress}"))

    def listeners() -> list[bytes]:
        return [each.body for each in resources(made, EDGE) if each.type_url == types.LISTENER]

    before = listeners()
    put(made, rate_limit(f"{{service: {HOST}, control_point: egress}}", name="another"))
    assert listeners() == before
    assert outbound(made, EDGE)


# --- What policies say ------------------------------------------------------------------------------------------------


def policies(text: str) -> dict[str, SchedulingPolicy]:
    return {policy.origin.name: policy for policy in scheduling.policies(world(text))}


def test_the_literal_policy() -> None:
    policy = policies(LITERAL)["quotascheduling"]
    assert (policy.denied_status, policy.by_label, policy.selectors) == (503, "", (LabelCondition(),))
    assert policy.quota == Quota(10, 10, 1_000_000_000)
    assert policy.queueing is not None
    assert policy.queueing.default == Workload("default")
    label = "http.request.header.user_type"
    assert policy.queueing.workloads == (
        Workload("guest", LabelCondition(LabelConditionKind.IN, label, ("guest",)), 50),
        Workload("subscriber", LabelCondition(LabelConditionKind.IN, label, ("subscriber",)), 200),
    )


def test_all_fields() -> None:
    found = policies("""
apiVersion: istio.alibabacloud.com/v1
kind: RateLimitingPolicy
metadata: {name: rate, namespace: istio-system}
spec:
  rate_limiter:
    bucket_capacity: 5
    fill_amount: 2.5
    parameters:
      interval: 0.5s
      limit_by_label_key: user
      continuous_fill: false
      delay_initial_fill: true
      max_idle_time: 60s
    request_parameters: {denied_response_status_code: 418, tokens_label_key: tokens}
    selectors: [{service: any, agent_group: default}]
---
apiVersion: istio.alibabacloud.com/v1
kind: ConcurrencyLimitingPolicy
metadata: {name: places, namespace: istio-system}
spec:
  concurrency_limiter:
    max_concurrency: 3
    parameters: {max_inflight_duration: 30s}
    selectors: [{service: any}]
---
apiVersion: istio.alibabacloud.com/v1
kind: ConcurrencySchedulingPolicy
metadata: {name: queue, namespace: istio-system}
spec:
  concurrency_scheduler:
    max_concurrency: 4
    concurrency_limiter: {max_inflight_duration: 20s, limit_by_label_key: tenant}
    scheduler:
      default_workload_parameters: {priority: 2, tokens: 3, queue_timeout: 4s}
      denied_response_status_code: TooManyRequests
      decision_deadline_margin: 20ms
      fairness_label_key: f
      priority_label_key: p
      tokens_label_key: t
      workload_label_key: w
    selectors: [{service: any}]
""")
    rate, places, queue = found["rate"], found["places"], found["queue"]
    assert rate.quota == Quota(5, 2.5, 500_000_000, continuous=False, starts_empty=True)
    assert (rate.by_label, rate.tokens_label, rate.denied_status) == ("user", "tokens", 418)
    assert (rate.max_idle, rate.queueing) == (60_000_000_000, None)
    assert places.concurrency == Concurrency(3, 30_000_000_000)
    assert (places.denied_status, places.quota, places.queueing) == (429, None, None)
    assert queue.concurrency == Concurrency(4, 20_000_000_000)
    assert (queue.denied_status, queue.by_label, queue.tokens_label) == (429, "tenant", "t")
    assert queue.queueing is not None
    assert queue.queueing.default == Workload("default", priority=2, tokens=3, queue_timeout=4_000_000_000)
    assert queue.queueing.deadline_margin == 20_000_000
    labels = (queue.queueing.fairness_label, queue.queueing.priority_label, queue.queueing.workload_label)
    assert labels == ("f", "p", "w")
    orders = Orders(RuntimeConfiguration(scheduling=tuple(found.values())), "")
    assert msgspec.msgpack.decode(encoded(orders)[4:], type=Orders) == orders, "they reach the runtime services"


EQUALS = "{label_equals: {label: a, value: x}}"


@pytest.mark.parametrize(
    ("matcher", "holding", "failing"),
    [
        ("{}", [{}, {"a": "x"}], []),
        ("{match_labels: {a: x, b: y}}", [{"a": "x", "b": "y"}], [{"a": "x"}, {"a": "x", "b": "z"}]),
        ("{match_list: [{key: a, operator: In, values: [x, y]}]}", [{"a": "y"}], [{}, {"a": "z"}]),
        ("{match_expressions: [{key: a, operator: NotIn, values: [x]}]}", [{}, {"a": "y"}], [{"a": "x"}]),
        ("{match_list: [{key: a, operator: Exists}]}", [{"a": ""}], [{}]),
        ("{match_list: [{key: a, operator: DoesNotExist}]}", [{}], [{"a": ""}]),
        (f"{{expression: {EQUALS}}}", [{"a": "x"}], [{}]),
        ("{expression: {label_exists: a}}", [{"a": ""}], [{}]),
        ('{expression: {label_matches: {label: a, regex: "^x+"}}}', [{"a": "xxy"}], [{}, {"a": "yx"}]),
        ('{expression: {label_matches: {label: a, regex: "x"}}}', [{"a": "yxy"}], [{"a": "y"}]),
        (f"{{expression: {{not: {EQUALS}}}}}", [{}], [{"a": "x"}]),
        (f"{{expression: {{all: {{of: [{EQUALS}, {{label_exists: b}}]}}}}}}", [{"a": "x", "b": ""}], [{"a": "x"}]),
        (f"{{expression: {{any: {{of: [{EQUALS}, {{label_exists: b}}]}}}}}}", [{"a": "x"}, {"b": ""}], [{}]),
        (f"{{match_labels: {{b: y}}, expression: {EQUALS}}}", [{"a": "x", "b": "y"}], [{"a": "x"}, {"b": "y"}]),
    ],
)
def test_conditions_of_labels(matcher: str, holding: list[dict[str, str]], failing: list[dict[str, str]]) -> None:
    (condition,) = policies(rate_limit(f"{{label_matcher: {matcher}}}"))["rate"].selectors
    holds = compiled(condition)
    assert all(holds(labels) for labels in holding)
    assert not any(holds(labels) for labels in failing)


def test_both_sides_know_how_long_proxies_wait() -> None:
    assert rules.PATIENCE == PATIENCE


def test_routes_that_lead_nowhere_are_left_alone() -> None:
    made = world(OBJECTS.replace("host: cart}}", "host: nobody}}"), rate_limit("{control_point: egress}"))
    hosts = translation.hosts_of(made, selection(made, EDGE))
    for _, outcome in entries(hosts):
        for route in outcome.value.routes:
            leads = isinstance(route.action, Forward) and any(each.backend for each in route.action.destinations)
            assert bool(route.policies) is leads
