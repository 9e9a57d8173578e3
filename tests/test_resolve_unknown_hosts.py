"""What becomes of requests that sidecars get for hosts that nobody knows."""

import pytest
from fairlead import translation
from fairlead.intent import ANY_HOST, Destination, DirectResponse, Forward, HttpConnections
from fairlead.resolve.selection import selection
from fairlead.snapshot import types
from support.istio import items
from support.sidecars import listeners, problems, resources, service, sidecar, sidecar_proxy
from support.worlds import world

ALLOW_ANY = sidecar("outboundTrafficPolicy: {mode: ALLOW_ANY}")
REGISTRY_ONLY = sidecar("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
EGRESS_PROXY = sidecar("outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: p.com, port: {number: 80}}}")


def mesh_config(text: str) -> str:
    metadata = "{name: istio, namespace: istio-system}"
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\ndata: {{mesh: '{text}'}}\n"


def bound(address: str, protocol: str = "HTTP") -> str:
    port = f"{{number: 80, protocol: {protocol}, name: http}}"
    listener = f"{{port: {port}, bind: '{address}', hosts: ['*/*']}}"
    return sidecar(f"outboundTrafficPolicy: {{mode: ALLOW_ANY}}, egress: [{listener}]")


@pytest.mark.istio_fields("Sidecar.outboundTrafficPolicy.mode", "MeshConfig.outboundTrafficPolicy.mode")
@pytest.mark.parametrize(
    ("objects", "bind_address", "allowed", "told"),
    [
        ([], "", True, False),
        ([], "127.0.0.2", True, False),
        ([], "::1", True, False),
        ([], "10.0.0.2", False, False),
        ([], "0.0.0.0", False, False),
        ([ALLOW_ANY], "127.0.0.2", True, False),
        ([ALLOW_ANY], "10.0.0.2", False, True),
        ([REGISTRY_ONLY], "127.0.0.2", False, False),
        ([REGISTRY_ONLY], "10.0.0.2", False, False),
        ([EGRESS_PROXY], "127.0.0.2", False, False),
        ([bound("127.0.0.3")], "127.0.0.2", True, False),
        ([bound("10.0.0.2")], "127.0.0.2", False, True),
        ([bound("0.0.0.0")], "127.0.0.2", False, True),
        ([bound("::")], "127.0.0.2", False, True),
        ([bound("127.0.0.3", "HTTP_PROXY")], "127.0.0.2", True, False),
        ([bound("10.0.0.2", "HTTP_PROXY")], "127.0.0.2", False, True),
        ([mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")], "127.0.0.2", False, False),
        ([mesh_config("outboundTrafficPolicy: {mode: ALLOW_ANY}")], "127.0.0.2", True, False),
        ([mesh_config("outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}")], "127.0.0.2", True, False),
        ([mesh_config("outboundTrafficPolicy: {mode: ALLOW_ANY}")], "10.0.0.2", False, True),
        ([mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), ALLOW_ANY], "127.0.0.2", True, False),
        ([mesh_config("outboundTrafficPolicy: {mode: ALLOW_ANY}"), REGISTRY_ONLY], "127.0.0.2", False, False),
    ],
)  # fmt: skip
def test_what_becomes_of_unknown_hosts(objects: list[str], bind_address: str, allowed: bool, told: bool) -> None:
    """Whoever can reach a forward proxy can reach what the proxy reaches: so only the application can."""
    made = world(service("reviews"), *objects)
    proxy = sidecar_proxy(bind_address=bind_address)
    found = dict(items(translation.hosts_of(made, selection(made, proxy).shared)))
    (rest,) = (outcome.value for key, outcome in found.items() if key.domain == "*")
    assert (rest.name, rest.domains) == ("allow_any" if allowed else "block_all", ("*",))
    assert rest.routes[-1].action == (Forward((Destination(ANY_HOST),)) if allowed else DirectResponse(502))
    assert ("PassthroughCluster" in resources(made, types.CLUSTER, proxy)) is allowed
    (chain,) = (chain for found in listeners(made, proxy).values() for chain in found.filter_chains)
    assert isinstance(chain.connections, HttpConnections)
    assert chain.connections.dns_refresh_rate == (60_000_000_000 if allowed else None)
    paths = {problem.path for problem in problems(made, proxy) if problem.code == "unsupported-value"}
    assert {path[-2:] for path in paths} == ({("outboundTrafficPolicy", "mode")} if told else set())
