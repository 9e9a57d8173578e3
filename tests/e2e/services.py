"""A folder of many services, each with a policy of its own, before two gateways in different places.

Each case is a host: `http://NAME.test` is routed to the ServiceEntry `NAME.internal`, which a DestinationRule is for.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from e2e.objects import PROXY_LABELS, gateway, resource, together, virtual_service
from fairlead.playground.backend import Backend
from fairlead.playground.client import Answer, ask, connect
from fairlead.playground.envoy import Envoy
from support.stack import Stack, loopback

HTTP, INNER, TCP, TUNNEL = 8080, 8081, 8090, 8091
"""Ports of the gateways: for the cases, for what stands behind them, for bytes, for bytes in a tunnel."""
PORTS = {"a": 9001, "b": 9002, "c": 9003}
CLOSED = 9099
PLACES = {"a": "r1/z1/s1", "b": "r1/z2/s1", "c": "r2/z1/s1"}
"""Where the backends are; the gateways are where a and where c are."""
HTTP_PORT = "{number: 80, name: http, protocol: HTTP}"


def endpoint(name: str, more: str = "") -> str:
    """A backend with its place, and itself as its label `backend`."""
    return (
        f"{{address: 127.0.0.1, ports: {{http: {PORTS[name]}}}, locality: {PLACES[name]}, "
        f"labels: {{backend: {name}}}{more}}}"
    )


ALL = ", ".join(endpoint(name) for name in PORTS)


def service_entry(
    name: str, endpoints: str = ALL, *, resolution: str = "STATIC", ports: str = HTTP_PORT, more: str = ""
) -> str:
    spec = f"hosts: [{name}.internal]\nports: [{ports}]\nresolution: {resolution}\n"
    spec += f"endpoints: [{endpoints}]\n" if endpoints else ""
    return resource("networking.istio.io/v1", "ServiceEntry", name, spec + more)


def rule(name: str, policy: str, more: str = "", *, suffix: str = "") -> str:
    """The DestinationRule of a case; `policy` in braces."""
    spec = f"host: {name}.internal\ntrafficPolicy: {policy}\n{more}"
    return resource("networking.istio.io/v1", "DestinationRule", name + suffix, spec)


def routed(name: str, route: str = "", more: str = "") -> str:
    """The VirtualService of a case; `route` in place of one destination, `more` beside it."""
    route = route or f"[{{destination: {{host: {name}.internal}}}}]"
    return virtual_service(name, f"{name}.test", f"http: [{{{more} route: {route}}}]")


def case(name: str, policy: str = "", endpoints: str = ALL, *, routes: str = "", entry: str = "") -> str:
    """All objects of a case; `routes` beside the route's destination, as `retries: {...},`."""
    objects = [service_entry(name, endpoints, more=entry), routed(name, more=routes)]
    return together(*objects, *([rule(name, policy)] if policy else []))


def server(number: int) -> str:
    return f"""
  - port: {{number: {number}, name: port-{number}, protocol: {"HTTP" if number in {HTTP, INNER} else "TCP"}}}
    hosts: ["*"]"""


class Gateways:
    """A running control plane, two gateways before three backends."""

    def __init__(self, stack: Stack, near: Envoy, far: Envoy, far_address: str, backends: dict[str, Backend]) -> None:
        self.stack = stack
        self.near, self.far = near, far
        self.addresses = {"near": stack.address, "far": far_address}
        self.backends = backends

    async def answers(
        self, name: str, *paths: str, gateway: str = "near", headers: dict[str, str] | None = None
    ) -> list[Answer]:
        """Answers to one request after another, each for a path of the host `NAME.test`."""

        def all_of_them() -> list[Answer]:
            with contextlib.closing(connect(self.addresses[gateway], HTTP)) as connection:
                return [ask(connection, f"{name}.test", path, headers) for path in paths]

        return await asyncio.to_thread(all_of_them)

    async def who_answers(self, name: str, *, gateway: str = "near", times: int = 40) -> set[str]:
        """The backends that answer."""
        found = await self.answers(name, *["/"] * times, gateway=gateway)
        assert {answer.status for answer in found} == {200}, found[0]
        return {answer.backend for answer in found}

    async def count(self, name: str, statistic: str) -> int:
        """A statistic of the case's cluster in the near gateway."""
        return sum((await self.near.stats(f"cluster.outbound.80..{name}.internal.*{statistic}$")).values())


@contextlib.asynccontextmanager
async def running_gateways(folder: Path, *documents: str, ports: tuple[int, ...]) -> AsyncIterator[Gateways]:
    """The objects, served to a gateway at r1/z1/s1 with the label `tier: gold`, and one at r2/z1/s1, `tier: silver`."""
    async with Stack(folder) as stack:
        stack.write("objects.yaml", together(gateway(*map(server, ports)), *documents))
        await stack.serve()
        backends = {name: await stack.backend(name, port) for name, port in PORTS.items()}
        far_address = loopback()
        near, far = [
            await stack.envoy(labels=PROXY_LABELS | {"tier": tier}, address=address, locality=locality)
            for tier, address, locality in (
                ("gold", stack.address, ("r1", "z1", "s1")),
                ("silver", far_address, ("r2", "z1", "s1")),
            )
        ]
        yield Gateways(stack, near, far, far_address, backends)
