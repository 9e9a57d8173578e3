"""From what a node says of itself to the proxy that it is."""

from typing import Any

import pytest
from fairlead.errors import ProtocolError
from fairlead.resolve.scope import Locality, Proxy, Role
from fairlead.server.proxies import proxy_of
from fairlead.snapshot.messages import Node


def of(node_id: str = "", *, delta: bool = True, **metadata: Any) -> Proxy:
    return proxy_of(Node(node_id, metadata=metadata), delta=delta)


@pytest.mark.parametrize(
    ("node_id", "role", "namespace"),
    [
        ("", Role.GATEWAY, "default"),
        ("envoy-1", Role.GATEWAY, "default"),
        ("router~10.0.0.1~edge-7d9.istio-system~istio-system.svc.cluster.local", Role.GATEWAY, "istio-system"),
        ("sidecar~10.0.0.1~shop-7d9.shop~cluster.local", Role.SIDECAR, "shop"),
        ("waypoint~10.0.0.1~way.with.dots.far~far.svc.cluster.local", Role.WAYPOINT, "far"),
        ("router~10.0.0.1~edge~", Role.GATEWAY, "default"),
        ("router~10.0.0.1~edge.~x", Role.GATEWAY, "default"),
        ("router~10.0.0.1~edge.ns", Role.GATEWAY, "default"),
        ("butler~10.0.0.1~edge.ns~ns.svc.cluster.local", Role.GATEWAY, "default"),
        ("~~~", Role.GATEWAY, "default"),
    ],
)
def test_ids(node_id: str, role: Role, namespace: str) -> None:
    found = of(node_id)
    assert (found.role, found.namespace) == (role, namespace)


def test_metadata_count_more_than_the_id() -> None:
    found = of(
        "sidecar~10.0.0.1~shop.shop~x",
        ROLE="gateway",
        NAMESPACE="edge",
        LABELS={"app": "edge", "version": "1"},
        BIND_ADDRESS="::0001",
        VHDS=True,
        OTHER=[1, {"a": None}],
    )
    labels = frozenset({("app", "edge"), ("version", "1")})
    assert found == Proxy(Role.GATEWAY, "edge", labels, bind_address="::1", virtual_host_discovery=True)


def test_nothing_said_is_the_default() -> None:
    assert of(ROLE=None, NAMESPACE="", LABELS=None, BIND_ADDRESS=None, VHDS=None) == Proxy()


@pytest.mark.parametrize(
    ("node_id", "metadata", "address"),
    [
        ("sidecar~10.0.0.1~shop.shop~x", {}, "10.0.0.1"),
        ("sidecar~10.0.0.1~shop.shop~x", {"INSTANCE_IPS": "10.0.0.2,10.0.0.3"}, "10.0.0.2"),
        ("sidecar~0.0.0.0~shop.shop~x", {}, ""),
        ("sidecar~~shop.shop~x", {}, ""),
        ("shop", {"ROLE": "sidecar", "INSTANCE_IPS": "::0001"}, "::1"),
        ("shop", {"ROLE": "sidecar", "INSTANCE_IPS": None}, ""),
        ("router~10.0.0.1~shop.shop~x", {"INSTANCE_IPS": "10.0.0.2"}, ""),
    ],
)
def test_the_address_of_a_sidecars_workload(node_id: str, metadata: dict[str, Any], address: str) -> None:
    assert of(node_id, **metadata).address == address


def test_the_http_proxy_port_of_a_sidecar() -> None:
    assert of(ROLE="sidecar", HTTP_PROXY_PORT=15080.0).http_proxy_port == 15080
    assert of(HTTP_PROXY_PORT=15080.0).http_proxy_port == 0


def test_the_locality() -> None:
    node = Node("a", region="r", zone="z", sub_zone="s")
    assert proxy_of(node, delta=False).locality == Locality("r", "z", "s")


@pytest.mark.parametrize(("delta", "said", "found"), [(True, True, True), (False, True, False), (True, "true", False)])
def test_virtual_hosts_are_discovered_by_delta_only(delta: bool, said: object, found: bool) -> None:
    assert of(delta=delta, VHDS=said).virtual_host_discovery is found


def test_the_wildcard_is_no_address_of_its_own() -> None:
    """Proxies that say so, and those that say nothing, share all tables."""
    assert of(BIND_ADDRESS="0.0.0.0") == Proxy()
    assert of(BIND_ADDRESS="0::0").bind_address == "::"  # another wildcard


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"ROLE": "butler"}, "node metadata ROLE is 'butler'; it is one of gateway, sidecar, waypoint"),
        ({"NAMESPACE": 7}, "node metadata NAMESPACE is no text"),
        ({"LABELS": "app=edge"}, "node metadata LABELS is no mapping of texts"),
        ({"LABELS": {"app": 7.0}}, "node metadata LABELS.app is no text"),
        ({"PROXY_CONFIG": "x"}, "node metadata PROXY_CONFIG: a mapping is expected"),
        (
            {"PROXY_CONFIG": {"gatewayTopology": {"numTrustedProxies": "many"}}},
            "node metadata PROXY_CONFIG.gatewayTopology.numTrustedProxies: a whole number is expected, not a text",
        ),
        (
            {"PROXY_CONFIG": {"proxyHeaders": {"server": {"value": "a\0"}}}},
            "node metadata PROXY_CONFIG.proxyHeaders.server.value: the header's value has control characters",
        ),
        ({"BIND_ADDRESS": "localhost"}, "node metadata BIND_ADDRESS is 'localhost', which is no IP address"),
        ({"BIND_ADDRESS": ["127.0.0.1"]}, "node metadata BIND_ADDRESS is no text"),
        ({"ROLE": "sidecar", "INSTANCE_IPS": "x"}, "node metadata INSTANCE_IPS has 'x', which is no IP address"),
        ({"ROLE": "sidecar", "HTTP_PROXY_PORT": "80"}, "node metadata HTTP_PROXY_PORT is '80', which is no port"),
        ({"ROLE": "sidecar", "HTTP_PROXY_PORT": 70000}, "node metadata HTTP_PROXY_PORT is 70000, which is no port"),
    ],
)
def test_what_cannot_be_used_is_refused(metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        of(**metadata)
    assert str(caught.value) == message


def test_very_long_ids_are_refused() -> None:
    of("x" * 1024)
    with pytest.raises(ProtocolError, match="the node id has 1025 characters; 1024 are allowed"):
        of("x" * 1025)
