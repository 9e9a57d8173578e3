"""What a circuit breaker costs: requests through a proxy that has one, beside one that has none, in turns.

The client sends many requests at once on each connection (HTTP/1.1 pipelining), so that it takes little of the machine
itself. Behind the proxy is another Envoy that answers at once.
"""

import asyncio
import statistics
import time
from typing import Any

from e2e.objects import FRONT, HTTP, PROXY_NAMESPACE, gateway, http_server, resource, service, together
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from fairlead.playground.envoy import Envoy, free_port
from support.stack import Stack, loopback, until

from bench.measurements import Figure, folder_in_memory

_ROUNDS = 25
_CONNECTIONS, _AT_ONCE, _REQUESTS = 16, 20, 3200
"""Connections, requests that are on the way on each, and all requests of a round."""
_HOST = "a.example.com"
_OK = b"HTTP/1.1 200 OK\r\n"
_BREAKERS = {
    "without": "",
    "slow": "slow_request_rt: 10s, max_slow_requests: 5",
    "errors": "error_percent: {value: 50}",
}
"""Value of the label `istio` of a gateway -> when its circuit opens; requests all pass."""


async def measure() -> list[Figure]:
    """Requests in a second: through a proxy without breakers, which is the floor, and through others with one."""
    with folder_in_memory() as folder:
        backend = _backend(free_port())
        async with Stack(folder) as stack, Envoy(backend, folder, concurrency=1):
            without, slow, errors = await _in_turns(await _start(stack, _port(backend)))
    floor = Figure("requests a second, without a breaker", "", value=without)
    return [
        floor,
        Figure("- with one for slow requests", "", floor, slow),
        Figure("- with one for errors", "", floor, errors),
    ]


async def _start(stack: Stack, port: int) -> list[str]:
    """The addresses of the proxies."""
    routes = f"hosts: [{_HOST}]\ngateways: [{', '.join(_BREAKERS)}]\nhttp: [{{route: [{{destination: {{host: a}}}}]}}]"
    objects = [
        service("a", 80, port).replace("127.0.0.1", "127.0.0.2"),
        resource("networking.istio.io/v1", "VirtualService", "a", routes),
    ]
    for name, conditions in _BREAKERS.items():
        objects.append(FRONT.replace("istio-ingressgateway", name).replace("ingressgateway", name))
        objects.append(gateway(http_server(), name=name, selector=f"istio: {name}"))
        if conditions:
            spec = f"workloadSelector: {{labels: {{istio: {name}}}}}\nisGateway: true\nconfigs:\n"
            spec += f"- match: {{vhost: {{name: {_HOST}, port: 80}}}}\n  breaker_config: {{{conditions}}}"
            objects.append(resource("istio.alibabacloud.com/v1", "ASMCircuitBreaker", name, spec, PROXY_NAMESPACE))
    stack.write("objects.yaml", together(*objects))
    await stack.serve()
    addresses = []
    for name in _BREAKERS:
        addresses.append(loopback())
        await stack.envoy(namespace=PROXY_NAMESPACE, labels={"istio": name}, address=addresses[-1], concurrency=2)
    return addresses


async def _in_turns(addresses: list[str]) -> list[float]:
    for address in addresses:
        await until(lambda address=address: _round(address, 1), f"{address} serves")  # type: ignore[misc]
    rates = [[await _round(address, _REQUESTS // _CONNECTIONS) for address in addresses] for _ in range(_ROUNDS)]
    # Each is compared with the floor of its own round: what else the machine does changes from one to the next.
    floor = statistics.median(found[0] for found in rates)
    return [floor * statistics.median(found[number] / found[0] for found in rates) for number in range(len(addresses))]


async def _round(address: str, requests: int) -> float:
    """Requests in a second."""
    started = time.perf_counter()
    await asyncio.gather(*(_client(address, requests) for _ in range(_CONNECTIONS)))
    return requests * _CONNECTIONS / (time.perf_counter() - started)


async def _client(address: str, requests: int) -> None:
    reader, writer = await asyncio.open_connection(address, HTTP)
    request = f"GET / HTTP/1.1\r\nhost: {_HOST}\r\n\r\n".encode()
    while requests:
        number = min(requests, _AT_ONCE)
        writer.write(request * number)
        for _ in range(number):
            if not (await reader.readuntil(b"\r\n\r\n")).startswith(_OK):
                raise RuntimeError("a request failed")
        requests -= number
    writer.close()


# --- The backend ------------------------------------------------------------------------------------------------------


def _backend(port: int) -> dict[str, Any]:
    """An Envoy that answers at once, without a body."""
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}
    manager = {
        "@type": f"type.googleapis.com/{HttpConnectionManager.DESCRIPTOR.full_name}",
        "stat_prefix": "backend",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [host]},
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.2", "port_value": port}}
    return {
        "node": {"id": "backend", "cluster": "backend"},
        "static_resources": {"listeners": [{"name": "all", "address": address, "filter_chains": [chain]}]},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": free_port()}}},
    }


def _port(backend: dict[str, Any]) -> int:
    found: int = backend["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"]
    return found
