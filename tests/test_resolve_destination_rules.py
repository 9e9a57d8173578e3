"""DestinationRules: which one holds for whom, how several are merged, what holds for a port of a subset."""

import pytest
from fairlead.intent import Backend
from fairlead.problems import format_path
from fairlead.resolve import destination_rules
from fairlead.resolve.scope import Viewer
from fairlead.world import World
from support.worlds import put, world

HOST = "shop.web.svc.cluster.local"
BACKEND = Backend(HOST, 80)
SHOP = """
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: web}
spec: {ports: [{name: http, port: 80}]}
"""


def rule(where: str, host: str = HOST, *, created: str = "", **spec: str) -> str:
    """A rule `namespace/name`; each has an algorithm or a policy that tells it from others."""
    namespace, name = where.split("/")
    date = f", creationTimestamp: {created}-01-01T00:00:00Z" if created else ""
    spec.setdefault("trafficPolicy", "{}")
    fields = "".join(f"\n  {field}: {value}" for field, value in spec.items())
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}{date}}}
spec:
  host: "{host}"{fields}
"""


def names(made: World, namespace: str, host: str = HOST, **labels: str) -> list[str]:
    """The rules that hold, as `namespace/name`."""
    viewer = Viewer(namespace, frozenset(labels.items()))
    return [f"{key.namespace}/{key.name}" for key in destination_rules.rule(made, viewer, host).origin]


@pytest.mark.parametrize(
    ("rules", "viewer", "holding"),
    [
        ([], "edge", []),
        (["web/a"], "edge", ["web/a"]),
        (["edge/a", "web/b", "istio-system/c"], "edge", ["edge/a"]),
        (["web/b", "istio-system/c"], "edge", ["web/b"]),
        (["istio-system/c"], "edge", ["istio-system/c"]),
        (["other/a"], "edge", []),
        (["web/b", "istio-system/c"], "istio-system", ["web/b"]),
    ],
)
def test_the_namespace_of_the_proxy_comes_first_then_of_the_service_then_the_root(
    rules: list[str], viewer: str, holding: list[str]
) -> None:
    assert names(world(SHOP, *map(rule, rules)), viewer) == holding


@pytest.mark.parametrize(
    ("export_to", "viewer", "holds"),
    [
        ("[.]", "web", True),
        ("[.]", "edge", False),
        ("[other]", "web", True),
        ("[other]", "edge", False),
        ("[other, edge]", "edge", True),
        ('["*"]', "edge", True),
    ],
)
@pytest.mark.istio_fields("DestinationRule.exportTo[]")
def test_who_is_meant_by_a_rule(export_to: str, viewer: str, holds: bool) -> None:
    assert names(world(SHOP, rule("web/a", exportTo=export_to)), viewer) == (["web/a"] if holds else [])


def test_private_rules_of_the_root_namespace_come_first_for_its_proxies() -> None:
    made = world(SHOP, rule("web/b"), rule("istio-system/c", exportTo="[.]"))
    assert names(made, "istio-system") == ["istio-system/c"]
    assert names(made, "edge") == ["web/b"]


@pytest.mark.parametrize(
    ("hosts", "holding"),
    [
        (["shop", "*.web.svc.cluster.local", "*"], "shop"),
        (["*.web.svc.cluster.local", "*.svc.cluster.local"], "*.web.svc.cluster.local"),
        (["*.local", "*"], "*.local"),
        (["*"], "*"),
        (["*.other.svc.cluster.local", "other", "SHOP"], "SHOP"),
    ],
)
@pytest.mark.istio_fields("DestinationRule.host")
def test_the_most_specific_host_holds(hosts: list[str], holding: str) -> None:
    made = world(SHOP, *(rule(f"web/r{number}", host) for number, host in enumerate(hosts)))
    assert names(made, "web") == [f"web/r{hosts.index(holding)}"]


def test_a_short_host_is_of_the_namespace_of_the_rule() -> None:
    made = world(SHOP, rule("edge/a", "shop"))
    assert names(made, "edge") == []
    assert names(made, "edge", "shop.edge.svc.cluster.local") == ["edge/a"]


def test_rules_for_one_host_are_merged_and_the_oldest_wins() -> None:
    made = world(
        SHOP,
        rule(
            "web/young",
            created="2022",
            trafficPolicy="{loadBalancer: {simple: RANDOM}}",
            subsets="[{name: v1}, {name: v2}]",
        ),
        rule(
            "web/old", created="2021", trafficPolicy="{tls: {mode: SIMPLE}}", subsets="[{name: v1, labels: {v: '1'}}]"
        ),
    )
    found = destination_rules.rule(made, Viewer("web"), HOST)
    assert [key.name for key in found.origin] == ["old", "young"]
    assert {name: dict(subset.labels) for name, subset in found.subsets.items()} == {"v1": {"v": "1"}, "v2": {}}
    assert found.policy is not None
    assert found.policy.key.name == "old"
    assert [(problem.code, str(problem.key), format_path(problem.path)) for problem in found.problems] == [
        ("policy-without-effect", "DestinationRule web/young", "spec.trafficPolicy"),
        ("duplicate-subset", "DestinationRule web/young", "spec.subsets[0].name"),
    ]


def test_rules_that_are_exported_differently_are_not_merged() -> None:
    made = world(SHOP, rule("web/a", subsets="[{name: v1}]"), rule("web/b", subsets="[{name: v2}]", exportTo="[.]"))
    found = destination_rules.rule(made, Viewer("web"), HOST)
    assert list(found.subsets) == ["v1"]
    assert [(problem.code, str(problem.key)) for problem in found.problems] == [
        ("rule-without-effect", "DestinationRule web/b")
    ]


def for_workloads(labels: str) -> str:
    return f"{{matchLabels: {{{labels}}}}}"


@pytest.mark.parametrize(
    ("rules", "namespace", "labels", "holding"),
    [
        ([rule("edge/a", workloadSelector=for_workloads("app: x"))], "edge", {"app": "x"}, ["edge/a"]),
        ([rule("edge/a", workloadSelector=for_workloads("app: x"))], "edge", {"app": "y"}, ["web/z"]),
        ([rule("edge/a", workloadSelector=for_workloads("app: x, v: y"))], "edge", {"app": "x"}, ["web/z"]),
        ([rule("edge/a", workloadSelector=for_workloads("app: x"))], "other", {"app": "x"}, ["web/z"]),
        # One for these workloads counts more than one for all, however old.
        (
            [rule("edge/a", workloadSelector=for_workloads("app: x")), rule("edge/b", created="2001")],
            "edge",
            {"app": "x"},
            ["edge/a"],
        ),
        ([rule("edge/a", workloadSelector=for_workloads("app: x")), rule("edge/b")], "edge", {}, ["edge/b"]),
        # A rule for a wider host holds where that for the host itself is for others.
        (
            [rule("edge/a", workloadSelector=for_workloads("app: x")), rule("edge/b", "*.svc.cluster.local")],
            "edge",
            {},
            ["edge/b"],
        ),
    ],
)
@pytest.mark.istio_fields("DestinationRule.workloadSelector.matchLabels{}")
def test_rules_for_some_workloads(rules: list[str], namespace: str, labels: dict[str, str], holding: list[str]) -> None:
    assert names(world(SHOP, rule("web/z"), *rules), namespace, **labels) == holding


def test_of_two_rules_for_the_same_proxies_by_other_labels_the_older_one_holds() -> None:
    made = world(
        SHOP,
        rule("web/a", created="2002", workloadSelector=for_workloads("app: x")),
        rule("web/b", created="2001", workloadSelector=for_workloads("tier: y")),
    )
    assert names(made, "web", app="x", tier="y") == ["web/b"]
    viewer = Viewer("web", frozenset({("app", "x"), ("tier", "y")}))
    (problem,) = destination_rules.rule(made, viewer, HOST).problems
    assert (problem.code, str(problem.key)) == ("rule-without-effect", "DestinationRule web/a")


def test_of_labels_only_those_that_rules_ask_for_tell_proxies_apart() -> None:
    priority = "{loadBalancer: {localityLbSetting: {failoverPriority: [tier, zone=a]}}}"
    made = world(SHOP, rule("web/a", workloadSelector=for_workloads("app: x")), rule("web/b", trafficPolicy=priority))
    labels = {("app", "x"), ("app", "y"), ("tier", "1"), ("zone", "b"), ("other", "z")}

    def asked_for(namespace: str) -> set[tuple[str, str]]:
        return set(destination_rules.labels_asked_for(made, namespace, frozenset(labels)))

    assert asked_for("web") == {("app", "x"), ("tier", "1")}
    assert asked_for("edge") == {("tier", "1")}


LAYERS = rule(
    "web/a",
    trafficPolicy="""
    loadBalancer: {simple: RANDOM}
    connectionPool: {tcp: {maxConnections: 1}}
    proxyProtocol: {version: V2}
    portLevelSettings:
    - port: {number: 81}
      connectionPool: {tcp: {maxConnections: 81}}
    """,
    subsets="""
  - name: plain
  - name: own
    trafficPolicy:
      loadBalancer: {simple: ROUND_ROBIN}
      portLevelSettings:
      - port: {number: 82}
        outlierDetection: {}
    """,
)


@pytest.mark.parametrize(
    ("port", "subset", "expected"),
    [
        (80, "", "lb=spec.trafficPolicy.loadBalancer pool=spec.trafficPolicy.connectionPool"),
        (80, "plain", "lb=spec.trafficPolicy.loadBalancer pool=spec.trafficPolicy.connectionPool"),
        (80, "own", "lb=spec.subsets[1].trafficPolicy.loadBalancer pool=spec.trafficPolicy.connectionPool"),
        (81, "", "pool=spec.trafficPolicy.portLevelSettings[0].connectionPool"),
        (
            81,
            "own",
            "lb=spec.subsets[1].trafficPolicy.loadBalancer pool=spec.trafficPolicy.portLevelSettings[0].connectionPool",
        ),
        (82, "own", "outlier=spec.subsets[1].trafficPolicy.portLevelSettings[0].outlierDetection"),
        (82, "", "lb=spec.trafficPolicy.loadBalancer pool=spec.trafficPolicy.connectionPool"),
    ],
)
@pytest.mark.istio_fields(
    "DestinationRule.{subsets[].trafficPolicy,trafficPolicy.portLevelSettings[].{port,connectionPool}}"
)
def test_blocks_are_inherited_one_by_one_but_a_port_replaces_them_all(port: int, subset: str, expected: str) -> None:
    policy = destination_rules.policy(world(SHOP, LAYERS), Viewer("web"), Backend(HOST, port, subset))
    blocks = {"lb": policy.load_balancer, "pool": policy.connection_pool, "outlier": policy.outlier_detection}
    shown = " ".join(f"{name}={format_path(block.path)}" for name, block in blocks.items() if block is not None)
    assert shown == expected
    assert policy.proxy_protocol is not None, "ports have no PROXY protocol of their own, so that it is inherited"


@pytest.mark.istio_fields("DestinationRule.subsets[].{name,labels{}}")
def test_labels_of_subsets() -> None:
    made = world(SHOP, rule("web/a", subsets="[{name: v1, labels: {b: x, a: y}}, {name: all}]"))
    found = {
        name: destination_rules.subset_labels(made, Viewer("web"), Backend(HOST, 80, name))
        for name in ("", "v1", "all", "v9")
    }
    assert found == {"": frozenset(), "v1": {("a", "y"), ("b", "x")}, "all": frozenset(), "v9": None}


def settled() -> World:
    made = world(SHOP, LAYERS, rule("web/b", "other"), rule("istio-system/c", "*.local"))
    for subset in ("", "plain"):
        destination_rules.policy(made, Viewer("web"), Backend(HOST, 80, subset))
    made.graph.computed.clear()
    return made


@pytest.mark.parametrize(
    ("edit", "recomputed"),
    [
        (rule("web/b", "other", subsets="[{name: v1}]"), {}),
        (rule("web/new", "another"), {}),
        (rule("istio-system/c", "*.local", subsets="[{name: v1}]"), {}),
        # The set of candidates changes, but not what holds.
        (rule("other/new"), {"rule"}),
        (LAYERS.replace("{simple: ROUND_ROBIN}", "{simple: RANDOM}"), {"rule", "policy"}),
    ],
)
def test_an_edit_costs_only_what_it_concerns(edit: str, recomputed: set[str]) -> None:
    made = settled()
    put(made, edit)
    for subset in ("", "plain"):
        destination_rules.policy(made, Viewer("web"), Backend(HOST, 80, subset))
    assert set(made.graph.computed) == set(recomputed)
