"""From the start of the process to the first whole answer, at 10,000 VirtualServices and 20,000 Services.

The floor is PyYAML's C loader alone, in one process, for the same files. What is compared with it begins with the start
of `fairlead serve`, and ends when a proxy has received every cluster, endpoint, listener, route table, virtual host.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import grpc
import yaml
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from fairlead.snapshot import types
from support.stack import ControlPlane, until
from support.xds_client import DELTA, first_request, raw_stream

from bench.measurements import Series

ROUTES = 10_000
SERVICES = 2 * ROUTES
_PER_FILE = 250
_WITHIN = 120.0
_MEMORY = Path("/dev/shm")
_LABELS = {"istio": "ingressgateway"}
_TABLE = "http.8080"

_GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: edge
  namespace: shop
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts:
    - "*"
---
apiVersion: v1
kind: Service
metadata:
  name: istio-ingressgateway
  namespace: istio-system
spec:
  selector:
    istio: ingressgateway
  ports:
  - name: http
    port: 80
    targetPort: 8080
"""


async def measure() -> list[Series]:
    """The floor and what is compared with it, for files of many objects and for files of one."""
    found = []
    for what, per_file in (("files of 250 objects", _PER_FILE), ("a file per object", 1)):
        with _folder() as folder:
            objects = Path(folder, "objects")
            write_objects(objects, per_file)
            floor = Series(f"{what} -> PyYAML's C loader alone")
            with floor.once():
                await asyncio.to_thread(_load, objects)
            series = Series(f"{what} -> first whole answer", "delta", floor)
            resident, peak = await _cold_start(objects, Path(folder), series)
            series.what += f" ({resident} MB resident, {peak} MB at most)"
            found += [floor, series]
    return found


def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="fairlead-bench-", dir=_MEMORY if _MEMORY.is_dir() else None)


# --- Objects ----------------------------------------------------------------------------------------------------------


def write_objects(folder: Path, per_file: int) -> None:
    """Write all objects into a new folder."""
    folder.mkdir()
    folder.joinpath("gateway.yaml").write_text(_GATEWAY)
    for kind, count, one in (
        ("routes", ROUTES, _virtual_service),
        ("services", SERVICES, _service),
        ("endpoints", SERVICES, _endpoint_slice),
    ):
        for number, text in enumerate(_files(count, per_file, one)):
            folder.joinpath(f"{kind}-{number:05}.yaml").write_text(text)


def _files(count: int, per_file: int, one: Callable[[int], str]) -> Iterator[str]:
    for start in range(0, count, per_file):
        yield "---\n".join(one(number) for number in range(start, min(count, start + per_file)))


def _virtual_service(number: int) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: route-{number}
  namespace: shop
  labels:
    app.kubernetes.io/name: route-{number}
    app.kubernetes.io/part-of: shop
spec:
  hosts:
  - host-{number}.example.com
  gateways:
  - edge
  http:
  - name: api
    match:
    - uri:
        prefix: /api/
      headers:
        x-version:
          exact: v2
    route:
    - destination:
        host: service-{2 * number}.shop.svc.cluster.local
        port:
          number: 80
      weight: 90
    - destination:
        host: service-{2 * number + 1}.shop.svc.cluster.local
        port:
          number: 80
      weight: 10
    timeout: 5s
    retries:
      attempts: 3
      perTryTimeout: 2s
      retryOn: 5xx,reset
  - name: rest
    route:
    - destination:
        host: service-{2 * number}.shop.svc.cluster.local
        port:
          number: 80
"""


def _service(number: int) -> str:
    return f"""\
apiVersion: v1
kind: Service
metadata:
  name: service-{number}
  namespace: shop
  labels:
    app.kubernetes.io/name: service-{number}
    app.kubernetes.io/part-of: shop
spec:
  selector:
    app.kubernetes.io/name: service-{number}
  ports:
  - name: http
    port: 80
    targetPort: 8080
"""


def _endpoint_slice(number: int) -> str:
    addresses = "".join(
        f"""\
- addresses:
  - 10.{number >> 8 & 255}.{number & 255}.{host}
  conditions:
    ready: true
  zone: zone-{host}
"""
        for host in (1, 2)
    )
    return f"""\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: service-{number}-x
  namespace: shop
  labels:
    kubernetes.io/service-name: service-{number}
addressType: IPv4
ports:
- name: http
  port: 8080
endpoints:
{addresses}"""


# --- The floor --------------------------------------------------------------------------------------------------------


def _load(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            for _ in yaml.load_all(file, Loader=yaml.CSafeLoader):
                pass


# --- What is measured -------------------------------------------------------------------------------------------------


async def _cold_start(objects: Path, folder: Path, series: Series) -> tuple[int, int]:
    """Measure a start; returns what the server then takes of memory, and what it took at most, in MB."""
    server = ControlPlane(objects, folder / "fairlead.log", folder / "state", ())
    try:
        with series.once():
            await server.start(wait_until_ready=False)
            await until(lambda: _listens(server.xds_port), f"it serves; its log:\n{server.log_text()}", _WITHIN)
            async with asyncio.timeout(_WITHIN):
                await _receive_all(f"127.0.0.1:{server.xds_port}")
        assert server.process is not None
        return _memory(server.process.pid, "VmRSS"), _memory(server.process.pid, "VmHWM")
    finally:
        await server.stop()


async def _listens(port: int) -> bool:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True


async def _receive_all(address: str) -> None:
    """Be a proxy until everything has been received: ask as Envoy does, but look into nothing."""
    wanted = {
        types.CLUSTER: SERVICES,
        types.CLUSTER_LOAD_ASSIGNMENT: SERVICES,
        types.LISTENER: 1,
        types.ROUTE_CONFIGURATION: 1,
        types.VIRTUAL_HOST: ROUTES,
    }
    held: dict[str, set[str]] = {type_url: set() for type_url in wanted}
    async with grpc.aio.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
        call = raw_stream(channel, DELTA)
        metadata = {"NAMESPACE": "istio-system", "LABELS": _LABELS, "VHDS": True}
        await call.write(first_request(DELTA, "cold", metadata).SerializeToString())
        await _ask(call, types.LISTENER)
        while any(len(held[type_url]) < count for type_url, count in wanted.items()):
            response = DeltaDiscoveryResponse.FromString(cast(bytes, await call.read()))
            names = [item.name for item in response.resources]
            held[response.type_url].update(names)
            await _ask(call, response.type_url, nonce=response.nonce)
            if response.type_url == types.CLUSTER:
                await _ask(call, types.CLUSTER_LOAD_ASSIGNMENT, names)
            elif response.type_url == types.LISTENER:
                await _ask(call, types.ROUTE_CONFIGURATION, (_TABLE,))
            elif response.type_url == types.ROUTE_CONFIGURATION:
                await _ask(call, types.VIRTUAL_HOST)
        call.cancel()


async def _ask(
    call: "grpc.aio.StreamStreamCall[bytes, bytes]",
    type_url: str,
    names: "list[str] | tuple[str, ...]" = (),
    nonce: str = "",
) -> None:
    request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names, response_nonce=nonce)
    await call.write(request.SerializeToString())


def _memory(process: int, line: str) -> int:
    """A figure of a process in MB (of 2**20 bytes, as the kernel counts)."""
    for found in Path(f"/proc/{process}/status").read_text().splitlines():
        if found.startswith(f"{line}:"):
            return round(int(found.split()[1]) / 1024)
    raise RuntimeError(f"no {line} in the status of process {process}")
