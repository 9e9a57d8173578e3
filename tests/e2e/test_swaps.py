"""Make before break, on the real thing: a route's service is replaced under load, again and again; no request fails.

A control plane that sends the types as they come shows a 503 in each swap: the route names a cluster that is not there
yet, or not any more, or has no endpoints yet.
"""

import pytest
from e2e.objects import (
    FRONT,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    gateway,
    http_server,
    service,
    together,
    virtual_service,
)
from e2e.observing import in_sync, problems, running
from e2e.traffic import Traffic
from fairlead.cli.bootstrap import Protocol, ProxyIdentity, XdsServer, bootstrap_document
from fairlead.playground.envoy import Envoy, free_port
from support.stack import Stack

pytestmark = pytest.mark.e2e

SWAPS = 20
BACKENDS = {"even": 9001, "odd": 9002}


def objects(number: int) -> str:
    """All that there is of the swap of that number: its own service and no other, and a route to it, never retried."""
    name = f"shop-{number}"
    routes = f"http: [{{retries: {{attempts: 0}}, route: [{{destination: {{host: {name}}}}}]}}]"
    return together(virtual_service("shop", "a.test", routes), service(name, 80, list(BACKENDS.values())[number % 2]))


def bootstrap(stack: Stack, variant: str) -> dict[str, object]:
    document = bootstrap_document(
        ProxyIdentity(
            id="edge", namespace=PROXY_NAMESPACE, labels=tuple(PROXY_LABELS.items()), bind_address=stack.address
        ),
        XdsServer(address=f"127.0.0.1:{running(stack).xds_port}"),
        protocol=Protocol.SOTW if variant == "sotw" else Protocol.DELTA,
        admin_port=free_port(),
    )
    if variant == "delta without VHDS":
        del document["node"]["metadata"]["VHDS"]
    return document


@pytest.mark.parametrize("variant", ["delta", "delta without VHDS", "sotw"])
async def test_services_are_swapped_under_load(stack: Stack, variant: str) -> None:
    stack.write("site.yaml", together(FRONT, gateway(http_server())))
    stack.write("shop.yaml", objects(0))
    for name, port in BACKENDS.items():
        await stack.backend(name, port)
    await stack.serve("--deletion-grace", "0")  # so that the old service goes in the same change
    traffic = Traffic(stack.address)
    async with Envoy(bootstrap(stack, variant), stack.tmp_path) as envoy:
        await in_sync(stack)
        async with traffic.flowing():
            for number in range(1, SWAPS + 1):
                stack.write("shop.yaml", objects(number))
                backend = list(BACKENDS)[number % 2]
                await traffic.all_see("the new service answers", lambda answer: answer.backend == backend)  # noqa: B023
            await in_sync(stack)
        stats = await envoy.stats(r"cluster_(added|removed)$|update_rejected$|update_failure$|init_fetch_timeout$")
    assert traffic.failures == []
    assert traffic.connections == 2
    assert stats.pop("cluster_manager.cluster_added") >= SWAPS
    assert stats.pop("cluster_manager.cluster_removed") >= SWAPS - 1
    assert {name: count for name, count in stats.items() if count} == {}
    assert await problems(stack) == []
