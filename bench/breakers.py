"""What a circuit breaker costs: requests through a proxy that has one, beside one that has none, in turns.

The client sends many requests at once on each connection (HTTP/1.1 pipelining), so that it takes little of the machine
itself. Behind the proxy is another Envoy that answers at once.
"""

import asyncio
import statistics
import time
from typing import Any

from e2e.objects import FRONT, HTTP, PROXY_LABELS, PROXY_NAMESPACE, gateway, http_server, resource, service, together
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
_ROUTES = """
hosts: [a.example.com]
gateways: [edge, other]
http:
- {name: slow, match: [{uri: {prefix: /slow}}], route: [{destination: {host: a}}]}
- {name: errors, match: [{uri: {prefix: /errors}}], route: [{destination: {host: a}}]}
- {name: other, route: [{destination: {host: a}}]}
"""
_OTHER = {"istio": "other"}
"""Labels of a gateway without breakers."""
_BREAKERS = """
workloadSelector: {labels: {istio: ingressgateway}}
isGateway: true
configs:
- match: {vhost: {name: a.example.com, port: 80, route: {name_match: slow}}}
  breaker_config: {slow_request_rt: 10s, max_slow_requests: 5}
- match: {vhost: {name: a.example.com, port: 80, route: {name_match: errors}}}
  breaker_config: {error_percent: {value: 50}}
"""


async def measure() -> list[Figure]:
    """Requests in a second: through a proxy without breakers, which is the floor, and by routes of one with some."""
    with folder_in_memory() as folder:
        backend = _backend(free_port())
        async with Stack(folder) as stack, Envoy(backend, folder, concurrency=1):
            without = await _start(stack, _port(backend))
            paths = [(without, "/slow"), *((stack.address, path) for path in ("/other", "/slow", "/errors"))]
            least, *others = await _in_turns(paths)
    floor = Figure("requests a second, without a breaker", "", value=least)
    names = ("of a route beside one with a breaker", "with one for slow requests", "with one for errors")
    return [floor, *(Figure(f"- {name}", "", floor, value) for name, value in zip(names, others, strict=True))]


async def _start(stack: Stack, port: int) -> str:
    """The address of the proxy without breakers; that of the stack is the one with some."""
    without = loopback()
    stack.write(
        "objects.yaml",
        together(
            FRONT,
            FRONT.replace("ingressgateway", "other").replace("istio-other", "other"),
            gateway(http_server()),
            gateway(http_server(), name="other", selector="istio: other"),
            service("a", 80, port),
            resource("networking.istio.io/v1", "VirtualService", "a", _ROUTES),
        ).replace("[127.0.0.1]", "[127.0.0.2]"),
    )
    stack.write(
        "breakers.yaml", resource("istio.alibabacloud.com/v1", "ASMCircuitBreaker", "a", _BREAKERS, PROXY_NAMESPACE)
    )
    await stack.serve()
    await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS, concurrency=2)
    await stack.envoy(namespace=PROXY_NAMESPACE, labels=_OTHER, address=without, concurrency=2)
    return without


async def _in_turns(paths: list[tuple[str, str]]) -> list[float]:
    for address, path in paths:
        await until(lambda address=address, path=path: _round(address, path, 1), f"there is {path}")  # type: ignore[misc]
    rates = [
        [await _round(address, path, _REQUESTS // _CONNECTIONS) for address, path in paths] for _ in range(_ROUNDS)
    ]
    # Each is compared with the floor of its own round: what else the machine does changes from one to the next.
    floor = statistics.median(found[0] for found in rates)
    return [floor * statistics.median(found[number] / found[0] for found in rates) for number in range(len(paths))]


async def _round(address: str, path: str, requests: int) -> float:
    """Requests in a second."""
    started = time.perf_counter()
    await asyncio.gather(*(_client(address, path, requests) for _ in range(_CONNECTIONS)))
    return requests * _CONNECTIONS / (time.perf_counter() - started)


async def _client(address: str, path: str, requests: int) -> None:
    reader, writer = await asyncio.open_connection(address, HTTP)
    request = f"GET {path} HTTP/1.1\r\nhost: {_HOST}\r\n\r\n".encode()
    while requests:
        number = min(requests, _AT_ONCE)
        writer.write(request * number)
        for _ in range(number):
            if not (await reader.readuntil(b"\r\n\r\n")).startswith(_OK):
                raise RuntimeError(f"a request for {path} failed")
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
