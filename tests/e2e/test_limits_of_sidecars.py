"""How many requests sidecars let pass: out of an application, and in to another."""

import asyncio
import contextlib

import pytest
from e2e.objects import resource, together
from fairlead.playground.backend import Backend
from fairlead.playground.client import ask, connect
from fairlead.playground.envoy import free_port
from support.stack import Stack, loopback, until

pytestmark = pytest.mark.e2e

CALLER, SHOP = {"app": "caller"}, {"app": "shop"}


def limiter(app: str, spec: str, match: str, limit: str) -> str:
    text = f"""
workloadSelector: {{labels: {{app: {app}}}}}
{spec}
configs: [{{{match}, limit: {{fill_interval: {{seconds: 3600}}, {limit}}}}}]
"""
    return resource("istio.alibabacloud.com/v1", "ASMLocalRateLimiter", app, text)


async def test_sidecars_limit_what_comes_in_and_what_goes_out(stack: Stack) -> None:
    own, outbound, port = loopback(), loopback(), free_port()
    stack.write(
        "mesh.yaml",
        together(
            f"""
apiVersion: v1
kind: Service
metadata: {{name: shop}}
spec: {{selector: {{app: shop}}, ports: [{{name: http, port: 9080, targetPort: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: shop, labels: {{kubernetes.io/service-name: shop}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [{own}]}}]
""",
            limiter(
                "caller",
                "applyToTraffic: sidecar_outbound",
                "target_services: [{name: shop, port: 9080}]",
                "quota: 6, status: 503",
            ),
            limiter("shop", "isGateway: false", 'match: {vhost: {name: "*", port: 9080}}', "quota: 4"),
        ),
    )
    server = await stack.serve()
    sidecar = {"role": "sidecar", "concurrency": 2}
    await stack.envoy(labels=CALLER, address=outbound, **sidecar)
    await stack.envoy(labels=SHOP, address=loopback(), own_address=own, **sidecar)
    async with Backend("shop", port, "127.0.0.1"):

        def ask_ten_times() -> list[int]:
            statuses = []
            for _ in range(10):
                with contextlib.closing(connect(outbound, 9080)) as connection:
                    statuses.append(ask(connection, "shop", "/").status)
            return statuses

        found = await asyncio.to_thread(ask_ten_times)
    assert found == [200] * 4 + [429] * 2 + [503] * 4, "first the callee's limit, then also the caller's"
    for name, number in (("shop", 2), ("caller", 4)):

        async def counted(name: str = name, number: int = number) -> bool:
            return await server.requests(f"ASMLocalRateLimiter default/{name}", "limited") == number

        await until(counted, f"{number} requests are told of {name}")
    rules = (await server.status())["rules"]
    assert {(rule["object"], rule["proxies"]) for rule in rules} == {
        ("ASMLocalRateLimiter default/caller", 1),
        ("ASMLocalRateLimiter default/shop", 1),
    }
