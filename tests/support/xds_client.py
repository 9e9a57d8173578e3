"""A client that does over gRPC as Envoy does: it asks for all that what it holds refers to, and answers."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Self

import fairlead.translation  # noqa: F401  # makes all messages known that may be inside of others
import grpc
from fairlead._pb import POOL
from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from fairlead._pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead._pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from fairlead._pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from fairlead.snapshot.types import SHORT_NAMES
from google.protobuf import json_format

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
SOTW, DELTA = f"{SERVICE}/StreamAggregatedResources", f"{SERVICE}/DeltaAggregatedResources"
TYPES = {short: type_url for type_url, short in SHORT_NAMES.items()}
BOUND = 20.0
"""Seconds after which a test gives up to wait."""
_MESSAGES: dict[str, Any] = {
    "cds": Cluster,
    "ecds": TypedExtensionConfig,
    "eds": ClusterLoadAssignment,
    "lds": Listener,
    "rds": RouteConfiguration,
    "sds": Secret,
}

Held = dict[str, dict[str, bytes]]
"""Type -> name -> the encoded resource."""


def open_channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """Of its own: channels to one address share their connection otherwise."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    if credentials is None:
        return grpc.aio.insecure_channel(address, options)
    return grpc.aio.secure_channel(address, credentials, options)


def raw_stream(channel: grpc.aio.Channel, method: str) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    """A call of bytes."""
    call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(method)()  # type: ignore[type-arg]
    return call


def first_request(
    method: str = SOTW, node_id: str = "", metadata: dict[str, Any] | None = None, kind: str = "cds"
) -> DiscoveryRequest | DeltaDiscoveryRequest:
    """What a client says first."""
    request = DeltaDiscoveryRequest() if method == DELTA else DiscoveryRequest()
    request.type_url, request.node.id = TYPES[kind], node_id
    request.node.metadata.update(metadata or {})
    return request


async def ended(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> tuple[grpc.StatusCode, str]:
    """How a call ends, and the words; what is received before is passed over."""
    async with asyncio.timeout(BOUND):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
        return await call.code(), await call.details() or ""


class XdsClient:
    """One stream of one simulated proxy; `async with` opens and ends it."""

    def __init__(
        self,
        address: str,
        *,
        delta: bool,
        node_id: str = "client",
        metadata: dict[str, Any] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        before: "XdsClient | None" = None,
    ) -> None:
        """`before`: the same proxy on an earlier stream, in delta, with all that it holds."""
        self.delta = delta
        self.held: Held = before.held if before else {}
        self.received: list[tuple[str, list[str]]] = []
        """Type and names of each response, removed names with a minus."""
        self.refuse: Callable[[str, list[str]], str] = lambda _kind, _names: ""
        """Type and names of a response -> why it is refused; empty to accept it."""
        self.error: grpc.aio.AioRpcError | None = None
        """What the server has ended the stream with."""
        self._node = first_request(node_id=node_id, metadata=metadata).node
        self._discovers_hosts = delta and bool((metadata or {}).get("VHDS"))
        self._wanted: dict[str, set[str]] = before._wanted if before else {}
        self._nonces: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        self._held_versions: dict[str, dict[str, str]] = before._held_versions if before else {}
        self._begun: set[str] = set()
        self._channel = open_channel(address, credentials)
        self._call = raw_stream(self._channel, DELTA if delta else SOTW)
        self._progress = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._call.cancel()
        await self._channel.close()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until what has been received makes the condition true."""
        async with asyncio.timeout(BOUND):
            while not condition():
                self._progress.clear()
                await self._progress.wait()

    def names(self, kind: str) -> set[str]:
        return set(self.held.get(kind, ()))

    def message(self, kind: str, name: str) -> Any:
        return _MESSAGES[kind].FromString(self.held[kind][name])

    # --- What it says -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        for kind in ("cds", "lds", *(["vhds"] if self._discovers_hosts else [])):
            await self._request(kind)
        for kind, names in self._wanted.items():  # from an earlier stream
            await self._request(kind, added=sorted(names))
        try:
            while isinstance(data := await self._call.read(), bytes):
                await (self._take_delta(data) if self.delta else self._take_state(data))
                self._progress.set()
        except grpc.aio.AioRpcError as error:
            self.error = error
            self._progress.set()

    async def _request(
        self, kind: str, *, error: str = "", names: set[str] | None = None, added: Any = (), gone: Any = ()
    ) -> None:
        request: DiscoveryRequest | DeltaDiscoveryRequest
        if self.delta:
            request = DeltaDiscoveryRequest(resource_names_subscribe=added, resource_names_unsubscribe=gone)
            if kind not in self._begun:
                versions = self._held_versions.get(kind, {})
                held = {name: versions[name] for name in self.held.get(kind, ())}
                request.initial_resource_versions.update(held)
        else:
            wanted = sorted(self._wanted.get(kind, ()))
            request = DiscoveryRequest(version_info=self._versions.get(kind, ""), resource_names=wanted)
        self._begun.add(kind)
        request.type_url, request.response_nonce = TYPES[kind], self._nonces.get(kind, "")
        if error:
            request.error_detail.code, request.error_detail.message = 13, error
        if not self.received:
            request.node.CopyFrom(self._node)
        await self._call.write(request.SerializeToString())

    async def _take_state(self, data: bytes) -> None:
        response = DiscoveryResponse.FromString(data)
        kind = SHORT_NAMES[response.type_url]
        found = {_name(kind, resource.value): resource.value for resource in response.resources}
        self._nonces[kind] = response.nonce
        error = self._note(kind, list(found))
        if not error:
            self._versions[kind] = response.version_info
            self.held[kind] = found if kind in ("cds", "lds") else {**self.held.get(kind, {}), **found}
            self._forget(kind)
        await self._request(kind, error=error)
        await self._follow()

    async def _take_delta(self, data: bytes) -> None:
        response = DeltaDiscoveryResponse.FromString(data)
        kind = SHORT_NAMES[response.type_url]
        found = {item.name: item.resource.value for item in response.resources if item.HasField("resource")}
        self._nonces[kind] = response.nonce
        error = self._note(kind, [*found, *(f"-{name}" for name in response.removed_resources)])
        if not error:
            held = self.held.setdefault(kind, {})
            if kind == "rds":
                self._drop_hosts(found.keys() - held.keys())  # a new table begins without any
            held.update(found)
            self._held_versions.setdefault(kind, {}).update({item.name: item.version for item in response.resources})
            for name in response.removed_resources:
                held.pop(name, None)
            self._forget(kind)
        await self._request(kind, error=error)
        await self._follow()

    def _note(self, kind: str, names: list[str]) -> str:
        self.received.append((kind, sorted(names)))
        return self.refuse(kind, names)

    async def _follow(self) -> None:
        """Ask for what is referred to, and no more."""
        for kind, wanted in self._references().items():
            before = self._wanted.get(kind, set())
            if wanted != before:
                self._wanted[kind] = wanted
                self._forget(kind)
                await self._request(kind, added=sorted(wanted - before), gone=sorted(before - wanted))

    def _forget(self, kind: str) -> None:
        """Keep what is wanted, which may have changed while a response was under way."""
        if kind in ("ecds", "eds", "rds", "sds"):
            held, wanted = self.held.get(kind, {}), self._wanted.get(kind, set())
            self.held[kind] = {name: body for name, body in held.items() if name in wanted}
            if kind == "rds":
                self._drop_hosts(held.keys() - wanted)

    def _drop_hosts(self, tables: set[str]) -> None:
        hosts = self.held.get("vhds", {})
        self.held["vhds"] = {name: body for name, body in hosts.items() if name.rpartition("/")[0] not in tables}

    def _references(self) -> dict[str, set[str]]:
        clusters = [Cluster.FromString(body) for body in self.held.get("cds", {}).values()]
        described = [_as_dict(cluster) for cluster in clusters]
        described += [_as_dict(Listener.FromString(body)) for body in self.held.get("lds", {}).values()]
        nodes = [node for top in described for node in _nodes(top)]
        return {
            "ecds": {node["name"] for node in nodes if "configDiscovery" in node},
            "eds": {cluster.name for cluster in clusters if cluster.type == Cluster.EDS},
            "rds": {node["routeConfigName"] for node in nodes if "routeConfigName" in node},
            "sds": {node["name"] for node in nodes if "sdsConfig" in node},
        }


def _name(kind: str, body: bytes) -> str:
    message = _MESSAGES[kind].FromString(body)
    return str(message.cluster_name if kind == "eds" else message.name)


def _as_dict(message: Any) -> dict[str, Any]:
    return dict(json_format.MessageToDict(message, descriptor_pool=POOL))


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)
