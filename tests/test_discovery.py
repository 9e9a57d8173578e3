"""The MeshConfig's `discoverySelectors`: which namespaces' objects are there."""

import pytest
from fairlead.intent import Backend, Cluster, UpstreamProtocol
from fairlead.models.core import ConfigMap
from fairlead.resolve import clusters
from fairlead.resolve.scope import Viewer
from fairlead.world import MESH_CONFIG, ObjectName, World
from support.istio import TO_SHOP, all_hosts, all_listeners, config_map, gateway, http, service, virtual_service
from support.worlds import objects, put, world

OBJECTS = (gateway("edge", http()), virtual_service("v", f"http: [{{{TO_SHOP}}}]"), service("shop"))
SHOP = Backend("shop.edge.svc.cluster.local", 80)

DISCOVERY = """
discoverySelectors:
- matchLabels: {team: a}
- matchExpressions:
  - {key: env, operator: In, values: [prod, stage]}
  - {key: legacy, operator: DoesNotExist}
"""


def namespace(name: str, labels: str = "") -> str:
    return f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{{labels}}}}}}}"


def cluster(made: World) -> Cluster | None:
    return clusters.cluster(made, Viewer("edge"), SHOP).value


def is_there(made: World) -> bool:
    """Whether what is in the namespace `edge` is there."""
    there = bool(all_hosts(made)), cluster(made) is not None
    assert there in {(True, True), (False, False)}
    return there[0]


@pytest.mark.istio_fields("MeshConfig.discoverySelectors[].{matchLabels{},matchExpressions[].{key,operator,values[]}}")
@pytest.mark.parametrize(
    ("labels", "discovered"),
    [
        ("", False),
        ("team: b", False),
        ("team: a", True),
        ("env: prod", True),
        ("env: dev", False),
        ("env: prod, legacy: ''", False),
        ("team: a, legacy: ''", True),
    ],
)
def test_only_what_is_in_discovered_namespaces_is_there(labels: str, discovered: bool) -> None:
    texts = [*OBJECTS, config_map(DISCOVERY), namespace("edge", labels)]
    assert is_there(world(*texts)) is discovered
    assert is_there(world(*reversed(texts))) is discovered


def test_discovery_follows_labels_and_selectors() -> None:
    made = world(*OBJECTS, config_map(DISCOVERY))
    assert not is_there(made)
    put(made, namespace("edge", "team: a"))
    assert is_there(made)
    put(made, namespace("edge", "team: b"))
    assert not is_there(made)
    put(made, service("shop", "{port: 80, name: http2}"))
    put(made, config_map(""))
    assert is_there(made)
    found = cluster(made)
    assert found is not None
    assert found.protocol is UpstreamProtocol.HTTP2, "what was put aside was replaced"
    put(made, config_map("discoverySelectors: [{matchLabels: {kubernetes.io/metadata.name: edge}}]"))
    assert is_there(made)
    put(made, config_map(DISCOVERY))
    for obj in objects(OBJECTS[0]):
        made.remove(type(obj), ObjectName("edge", obj.metadata.name))
    made.remove(ConfigMap, MESH_CONFIG)
    assert not all_listeners(made), "what was removed while it was put aside stays away"
    assert cluster(made) is not None


def test_a_label_that_decides_nothing_costs_nothing() -> None:
    made = world(*OBJECTS, config_map(DISCOVERY), namespace("edge", "team: a"))
    assert is_there(made)
    before = made.graph.computed.copy()
    put(made, namespace("edge", "team: a, more: b"))
    assert is_there(made)
    assert not made.graph.computed - before
