"""From objects to bytes: the same after any edits as from scratch, for work in proportion to the edit."""

import random
from collections import Counter
from functools import cache
from pathlib import Path

from fairlead import diagnosis, translation
from fairlead.models.base import KubernetesObject
from fairlead.problems import ObjectKey, Problem
from fairlead.resolve import runtime
from fairlead.resolve.scope import Locality, Proxy, Role
from fairlead.resolve.selection import selection
from fairlead.snapshot import types
from fairlead.world import ObjectName, World
from hypothesis import given, settings
from hypothesis import strategies as st
from support.expectations import EXAMPLES, NAMES
from support.worlds import objects, put

SHOP = frozenset({("app", "shop")})
PROXIES = (
    Proxy(namespace="istio-system", labels=frozenset({("istio", "ingressgateway")}), bind_address="127.0.0.9"),
    Proxy(labels=frozenset({("app", "canary-edge")}), virtual_host_discovery=True),
    Proxy(labels=frozenset({("app", "egress")}), locality=Locality("here", "a")),
    Proxy(labels=frozenset({("gateway.networking.k8s.io/gateway-name", "shop")})),
    Proxy(labels=frozenset({("app", "partners")}), virtual_host_discovery=True),
    Proxy(labels=frozenset({("app", "raw"), ("app.kubernetes.io/name", "raw")})),
    Proxy(Role.SIDECAR, labels=SHOP, bind_address="127.0.0.2", address="10.0.0.1", http_proxy_port=15080),
    Proxy(Role.SIDECAR, labels=frozenset({("app", "reviews")}), virtual_host_discovery=True),
    Proxy(Role.SIDECAR, "finance", address="10.0.0.3", locality=Locality("here", "a")),
)
CHANGES = (
    ("weight: 90", "weight: 50"),
    ("a.aliyun.com", "c.aliyun.com"),
    ("prefix: /status", "prefix: /"),
    ("number: 443", "number: 444"),
    ("mode: MUTUAL", "mode: SIMPLE"),
    ("./*", "*/*"),
    ("app: shop", "app: reviews"),
    ("mode: REGISTRY_ONLY", "mode: ALLOW_ANY"),
    ("name: tcp-ledger", "name: http-ledger"),
    ("targetPort: 8080", "targetPort: 9080"),
    ("  gateways:\n  - ", "  gateways:\n  - mesh\n  - "),
    ("port: 9080", "port: 7000"),
    ("127.0.0.1", "127.0.0.2"),
    ("targetPort: 8443", "targetPort: 9443"),
    ("version: v2", "version: v1"),
    ("/cart", "/basket"),
    ("resolution: DNS", "resolution: STATIC"),
    ("istio: ingressgateway", "istio: another"),
    ("app: canary-edge", "app: egress"),
    ("connectTimeout: 3s", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"),
    ("connectTimeout: 3s", "dnsRefreshRate: 9s"),
    ("connectTimeout: 3s", "defaultHttpRetryPolicy: {attempts: 0}"),
    ("discoverySelectors:", "tlsDefaults: {cipherSuites: [AES128-SHA]} #"),
    ("labels: {team: a}}", "labels: {team: b}}"),
    ("accessLogFile: /dev/null", "defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}"),
    ("quota: 10", "quota: 20"),
    ("control_point: egress", "control_point: ingress"),
    ("service: shop.default", "service: cart.default"),
    ("fill_amount: 10", "fill_amount: 20"),
    ("applyToTraffic: sidecar_outbound", "applyToTraffic: sidecar_inbound"),
    ("applyToTraffic: sidecar_inbound", "applyToTraffic: sidecar_outbound"),
    ("name: grpc, port: 8081", "name: http, port: 8081"),
    ("rateLimitService: {", "rateLimitService: {failure_mode_deny: true, "),
    ("name: httpbin.example.com", "name: helloworld.example.com"),
    ("credentialName: aliyun-b", "credentialName: aliyun-wildcard"),
)
"""Edits of a text that leave it valid."""


POLICIES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews-for-some}
spec:
  host: reviews
  workloadSelector: {matchLabels: {app: canary-edge}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
  trafficPolicy:
    outlierDetection: {}
    loadBalancer: {localityLbSetting: {failoverPriority: [app, version=v2]}}
    retryBudget: {percent: 10}
    tls: {mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: another-api}
spec:
  hosts: [api.localhost]
  resolution: DNS
  ports: [{number: 443, name: https, protocol: HTTPS}]
  endpoints: [{address: a.example.com, locality: here/a}, {address: b.example.com, locality: there}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: another-api}
spec: {host: api.localhost, trafficPolicy: {outlierDetection: {}}}
---
apiVersion: istio.alibabacloud.com/v1
kind: ASMLocalRateLimiter
metadata: {name: edge, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  isGateway: true
  configs:
  - match: {vhost: {name: httpbin.example.com, port: 80}}
    limit: {fill_interval: {seconds: 60}, quota: 10, custom_response_body: later}
  - match: {vhost: {name: "*", route: {name_match: unknown}}}
    limit: {fill_interval: {seconds: 60}, quota: 11}
---
apiVersion: istio.alibabacloud.com/v1
kind: ASMLocalRateLimiter
metadata: {name: shop}
spec:
  workloadSelector: {labels: {app: shop}}
  applyToTraffic: sidecar_outbound
  configs:
  - target_services: [{name: reviews}, {kind: ServiceEntry, name: another-api}]
    limit: {fill_interval: {seconds: 60}, quota: 10}
    limit_overrides:
    - request_match: {header_match: [{name: x-user, present_match: true, distinct: true}]}
      limit: {fill_interval: {seconds: 60}, quota: 5}
---
apiVersion: v1
kind: Service
metadata: {name: ratelimit}
spec: {ports: [{name: grpc, port: 8081}]}
---
apiVersion: istio.alibabacloud.com/v1
kind: ASMGlobalRateLimiter
metadata: {name: edge, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  isGateway: true
  rateLimitService: {host: ratelimit.default.svc.cluster.local, port: 8081}
  configs:
  - match: {vhost: {name: httpbin.example.com, port: 80}}
    limit: {unit: MINUTE, quota: 10}
---
apiVersion: istio.alibabacloud.com/v1
kind: ASMGlobalRateLimiter
metadata: {name: shop}
spec:
  workloadSelector: {labels: {app: shop}}
  applyToTraffic: sidecar_inbound
  configs:
  - match: {vhost: {name: "*"}}
    limit: {unit: MINUTE, quota: 10}
    limit_overrides:
    - request_match: {header_match: [{name: x-user, present_match: true, distinct: true}]}
      limit: {unit: HOUR, quota: 5}
---
apiVersion: istio.alibabacloud.com/v1
kind: ASMCircuitBreaker
metadata: {name: edge, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  isGateway: true
  configs:
  - match: {vhost: {name: httpbin.example.com, port: 80, route: {name_match: unknown}}}
    breaker_config: {error_percent: {value: 50}}
  - match: {vhost: {name: "*"}}
    breaker_config: {slow_request_rt: 1s, max_slow_requests: 5}
---
apiVersion: istio.alibabacloud.com/v1
kind: ASMCircuitBreaker
metadata: {name: shop}
spec:
  workloadSelector: {labels: {app: shop}}
  configs:
  - target_services: [{name: reviews}, {kind: ServiceEntry, name: another-api}]
    breaker_config: {average_request_rt: 1s, custom_response: {status_code: 498, body: later}}
---
apiVersion: istio.alibabacloud.com/v1
kind: QuotaSchedulingPolicy
metadata: {name: shop, namespace: istio-system}
spec:
  quota_scheduler:
    bucket_capacity: 10
    fill_amount: 10
    rate_limiter: {interval: 1s}
    scheduler: {workloads: [{name: a, label_matcher: {match_labels: {a: b}}, parameters: {priority: 50}}]}
    selectors: [{service: shop.default.svc.cluster.local}, {service: reviews.default.svc.cluster.local}]
---
apiVersion: istio.alibabacloud.com/v1
kind: RateLimitingPolicy
metadata: {name: callers, namespace: istio-system}
spec:
  rate_limiter:
    bucket_capacity: 10
    fill_amount: 10
    parameters: {interval: 1s}
    selectors: [{service: reviews.default.svc.cluster.local, control_point: egress}]
"""
"""What examples do without."""

MESH = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/null
    connectTimeout: 3s
    defaultServiceExportTo: [.]
    discoverySelectors: [{matchLabels: {team: a}}]
---
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {team: a}}
"""


@cache
def variants() -> dict[ObjectKey, list[KubernetesObject]]:
    """Each object of the examples, as it is and as edits make it."""
    texts = ["\n---\n".join(file.read_text() for file in sorted((EXAMPLES / name).glob("*.yaml"))) for name in NAMES]
    texts += [POLICIES, MESH]
    found: dict[ObjectKey, list[KubernetesObject]] = {}
    for text in texts:
        for old, new in (("", ""), *CHANGES):
            if old in text:
                for obj in objects(text.replace(old, new)):
                    same = found.setdefault(obj.key, [])
                    if obj not in same:
                        same.append(obj)
    return found


Bytes = dict[tuple[int, str, str], bytes]


def everything(world: World) -> tuple[Bytes, set[Problem]]:
    """All resources of all proxies as bytes, and what is wrong."""
    found: Bytes = {}
    problems: set[Problem] = set()
    for number, proxy in enumerate(PROXIES):
        selected = selection(world, proxy)
        for type_url, resources in translation.resource_maps(world, selected, proxy).items():
            for key in list(resources.keys()):
                resource = resources.get(key)  # type: ignore[arg-type]
                assert resource is not None
                found[number, types.SHORT_NAMES[type_url], resource.name] = resource.body
        for index in (
            *diagnosis.review_indexes(world),
            *diagnosis.problem_indexes(world, selected, proxy.locality),
        ):
            problems |= index.keys()
    found[-1, "runtime", ""] = repr(runtime.configuration(world)).encode()
    return found, problems


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_edits_give_the_bytes_of_a_build_from_scratch(data: st.DataObject) -> None:
    pool = variants()
    keys = sorted(pool)
    state: dict[ObjectKey, KubernetesObject] = {}
    world = World()
    for _ in range(data.draw(st.integers(1, 6))):
        for key in data.draw(st.lists(st.sampled_from(keys), max_size=25)):
            choice = data.draw(st.integers(-1, len(pool[key]) - 1))
            if choice >= 0:
                state[key] = pool[key][choice]
                world.put(state[key])
            elif key in state:
                world.remove(type(state.pop(key)), ObjectName(key.namespace, key.name))
        if data.draw(st.booleans()):
            everything(world)
    fresh = World()
    for obj in random.Random(0).sample(list(state.values()), len(state)):
        fresh.put(obj)
    assert everything(world) == everything(fresh)


def test_the_examples_together_reach_every_type() -> None:
    world = World()
    for objects_ in variants().values():
        world.put(objects_[0])
    found, _ = everything(world)
    assert {(number, kind) for number, kind, _ in found} >= {
        (0, "sds"), (0, "lds"), (1, "vhds"), (1, "rds"), (2, "cds"), (3, "rds"), (4, "sds"), (5, "lds"), (3, "eds")
    }  # fmt: skip


def computed_by(world: World, *texts: str) -> Counter[str]:
    before = world.graph.computed.copy()
    put(world, *texts)
    everything(world)
    return world.graph.computed - before


def all_examples(*last: Path) -> World:
    """A world of all examples; of objects of the same name it has those in the files `last`."""
    world = World()
    for objects_ in variants().values():
        world.put(objects_[0])
    put(world, *(file.read_text() for file in last))
    everything(world)
    return world


def test_a_weight_costs_one_virtual_host_and_one_route_configuration() -> None:
    world = all_examples(*(EXAMPLES / "canary").glob("*.yaml"))
    text = (EXAMPLES / "canary" / "gateway.yaml").read_text()
    computed_by(world, text)  # other examples have objects of the same names
    counts = computed_by(world, text.replace("weight: 90", "weight: 80"))
    assert counts["virtual_host_leaves"] == 1
    untouched = ("listener_outcomes", "listener_resources", "cluster_outcomes", "_cluster_resource",
                 "endpoint_outcomes", "_endpoint_resource", "secret_resources", "filter_chain")  # fmt: skip
    assert {name: counts[name] for name in untouched} == dict.fromkeys(untouched, 0)


def test_a_secret_costs_one_secret() -> None:
    world = all_examples()
    text = (EXAMPLES / "mutual-tls" / "secrets.yaml").read_text().partition("---\n")[0]
    other = (EXAMPLES / "gateway-api" / "secrets.yaml").read_text()
    counts = computed_by(world, other.replace("shop-example-com", "partners"))
    assert text
    assert counts["secret_resources"] == 1
    untouched = ("listener_outcomes", "listener_resources", "virtual_host_leaves", "cluster_outcomes")
    assert {name: counts[name] for name in untouched} == dict.fromkeys(untouched, 0)


def test_an_endpoint_costs_its_assignments() -> None:
    world = all_examples(*(EXAMPLES / "canary").glob("*.yaml"))
    text = (EXAMPLES / "canary" / "reviews.yaml").read_text()
    computed_by(world, text)
    counts = computed_by(world, text.replace("port: 9011", "port: 9999"))
    assert counts["_endpoint_resource"] <= len(PROXIES), "of the subset v1 or of the service, for those who see it"
    untouched = ("listener_outcomes", "virtual_host_leaves", "cluster_outcomes", "secret_resources")
    assert {name: counts[name] for name in untouched} == dict.fromkeys(untouched, 0)
