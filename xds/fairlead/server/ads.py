"""xDS over gRPC: every service and variant of the protocol, on raw bytes.

A stream has one reader, the handler itself, and one writer. The writer sleeps until it is woken by a request or by a
change of the tables, then sends what is due, one response at a time: `await write` is HTTP/2 flow control, so a slow
client holds up nobody but itself, and costs one response.
"""

import asyncio
import contextlib
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Protocol

import grpc
import structlog

from fairlead.errors import ProtocolError
from fairlead.problems import ObjectKey
from fairlead.protocol.delta import DeltaStream
from fairlead.protocol.events import Acknowledged, Event, Rejected
from fairlead.protocol.sotw import StateOfTheWorldStream
from fairlead.resolve.scope import Proxy
from fairlead.server.hub import Hub
from fairlead.server.proxies import proxy_of
from fairlead.server.settings import Settings
from fairlead.snapshot import types, wire
from fairlead.snapshot.messages import Node, Response
from fairlead.snapshot.table import Snapshot, Variant

log = structlog.get_logger()


CONTROL_PLANE = "fairlead"
"""`control_plane.identifier` of every response."""

_LONGEST_STATUS_TEXT = 1000
"""Trailers that are longer break the connection (gRPC's limit of 8 KiB for headers)."""

_SERVICES: Mapping[str, tuple[str, str, str]] = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": (
        "StreamAggregatedResources",
        "DeltaAggregatedResources",
        "",
    ),
    "envoy.service.cluster.v3.ClusterDiscoveryService": ("StreamClusters", "DeltaClusters", types.CLUSTER),
    "envoy.service.endpoint.v3.EndpointDiscoveryService": (
        "StreamEndpoints",
        "DeltaEndpoints",
        types.CLUSTER_LOAD_ASSIGNMENT,
    ),
    "envoy.service.listener.v3.ListenerDiscoveryService": ("StreamListeners", "DeltaListeners", types.LISTENER),
    "envoy.service.route.v3.RouteDiscoveryService": ("StreamRoutes", "DeltaRoutes", types.ROUTE_CONFIGURATION),
    "envoy.service.route.v3.VirtualHostDiscoveryService": ("", "DeltaVirtualHosts", types.VIRTUAL_HOST),
    "envoy.service.secret.v3.SecretDiscoveryService": ("StreamSecrets", "DeltaSecrets", types.SECRET),
}
"""Service -> its methods for the state of the world and for delta, and its type; empty: all types on one stream."""

_OPTIONS = (
    # Envoy pings every few seconds, as it should; gRPC would end the connection for it.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A peer that has vanished is noticed within 50 seconds.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # The first delta request after a reconnect names everything that the proxy holds.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", -1),
    # All proxies reconnect at once after a restart.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    ("grpc.server_max_unrequested_time_in_server", 600),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.so_reuseport", 0),
)


class _Context(Protocol):
    """A call as it is used here; grpc's own types leave out that `read` may tell that there is no more."""

    async def read(self) -> object: ...

    async def write(self, message: bytes, /) -> None: ...

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn: ...

    def peer(self) -> str: ...


class Connection(ABC):
    """One stream of one client."""

    stream: StateOfTheWorldStream | DeltaStream
    variant: ClassVar[Variant]
    _ids = itertools.count(1)

    def __init__(self, peer: str) -> None:
        self.number = next(self._ids)
        self.peer = peer
        self.node = Node("")
        self.proxy = Proxy()
        self.connected_at = time.monotonic()
        self.refusals: dict[str, Rejected] = {}
        """Type -> the last response that was refused, until one is accepted."""
        self.offered = asyncio.Event()
        """Set when there has been something to serve from."""
        self._woken = asyncio.Event()

    @abstractmethod
    def _receive(self, data: bytes) -> None: ...

    @abstractmethod
    def _encode(self, response: Response) -> bytes: ...

    def open(self, data: bytes) -> None:
        """Take in the first request, which says who the client is; raises `ProtocolError` as `receive` does."""
        self.receive(data)
        self.node = self.stream.node or self.node
        self.proxy = proxy_of(self.node, delta=self.variant is Variant.DELTA)

    def receive(self, data: bytes) -> None:
        """Take in a request; raises `ProtocolError` when it cannot be understood."""
        self._receive(data)
        for event in self.stream.events():
            self._note(event)
        self._woken.set()

    def _note(self, event: Event) -> None:
        if isinstance(event, Acknowledged):
            self.refusals.pop(event.type_url, None)
        elif isinstance(event, Rejected):
            self.refusals[event.type_url] = event
            log.error(
                "a proxy refused resources",
                proxy=self.node.id,
                type=types.SHORT_NAMES[event.type_url],
                error=event.error.message,
                objects=[str(key) for key in self.objects_refused(event.type_url)],
            )

    def objects_refused(self, type_url: str) -> tuple[ObjectKey, ...]:
        """The objects that the last refusal of a type is about.

        They are those of the resources that the proxy names in its words; of all resources of the response when it
        names none.
        """
        refusal = self.refusals.get(type_url)
        if refusal is None:
            return ()
        named = [resource for resource in refusal.resources if resource.name in refusal.error.message]
        return tuple(sorted({key for resource in named or refusal.resources for key in resource.origin}))

    def offer(self, snapshot: Snapshot) -> None:
        """Serve from this snapshot from now on."""
        self.stream.offer(snapshot, time.monotonic())
        self.offered.set()
        self._woken.set()

    def wake(self) -> None:
        """The tables have changed."""
        if self.stream.changed(time.monotonic()):
            self._woken.set()

    async def write(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what is due, until cancelled."""
        while True:
            self._woken.clear()
            await self.flush(send)
            deadline = self.stream.wake_at
            # At the deadline, what waited for an acknowledgement waits no longer.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    await self._woken.wait()

    async def flush(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what can be sent now."""
        while (response := self.stream.next_response(time.monotonic())) is not None:
            await send(self._encode(response))


class StateOfTheWorldConnection(Connection):
    """A stream of the state-of-the-world variant."""

    stream: StateOfTheWorldStream
    variant = Variant.STATE_OF_THE_WORLD

    def __init__(self, peer: str, type_url: str) -> None:
        super().__init__(peer)
        self.stream = StateOfTheWorldStream(type_url)

    def _receive(self, data: bytes) -> None:
        self.stream.receive(wire.decode_discovery_request(data))

    def _encode(self, response: Response) -> bytes:
        return wire.discovery_response(response, CONTROL_PLANE)


class DeltaConnection(Connection):
    """A stream of the incremental variant."""

    stream: DeltaStream
    variant = Variant.DELTA

    def __init__(self, peer: str, type_url: str) -> None:
        super().__init__(peer)
        self.stream = DeltaStream(type_url)

    def _receive(self, data: bytes) -> None:
        self.stream.receive(wire.decode_delta_discovery_request(data))

    def _encode(self, response: Response) -> bytes:
        return wire.delta_discovery_response(response, CONTROL_PLANE)


_METHODS: Mapping[str, tuple[Callable[[str, str], Connection], str]] = {
    f"/{service}/{method}": (connection, type_url)
    for service, (state_of_the_world, delta, type_url) in _SERVICES.items()
    for method, connection in ((state_of_the_world, StateOfTheWorldConnection), (delta, DeltaConnection))
    if method
}


class XdsServer:
    """The gRPC server. It is started only when the hub is ready: an empty answer would empty the proxies."""

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self._hub = hub
        self._settings = settings
        self._server = grpc.aio.server(handlers=[_Handlers(self._serve)], options=_OPTIONS)
        self.connections: set[Connection] = set()

    async def start(self) -> None:
        """Open the ports; raises `OSError` when one is taken."""
        address, socket = str(self._settings.xds_address), self._settings.xds_socket
        credentials = _credentials(self._settings)
        try:
            if credentials is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"xDS cannot listen on {address}: {error}") from None
        if socket is not None:
            self._server.add_insecure_port(f"unix:{socket.absolute()}")
        await self._server.start()
        if socket is not None:
            socket.chmod(0o600)

    async def stop(self, grace: float) -> None:
        """Take no new streams, and end the others within `grace` seconds."""
        await self._server.stop(grace)

    async def _serve(self, connection: Connection, context: _Context) -> None:
        writer: asyncio.Task[None] | None = None
        try:
            while isinstance(data := await context.read(), bytes):
                if writer is None:
                    connection.open(data)
                    self._connect(connection)
                    writer = asyncio.create_task(connection.write(context.write))
                else:
                    connection.receive(data)
            if writer is not None:
                await self._finish(connection, writer, context)
        except ProtocolError as error:
            log.warning("a client broke the protocol", peer=connection.peer, error=str(error))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error)[:_LONGEST_STATUS_TEXT])
        finally:
            if writer is not None:
                writer.cancel()
                self._disconnect(connection)

    async def _finish(self, connection: Connection, writer: asyncio.Task[None], context: _Context) -> None:
        """The client says no more, but may still listen: send what it has asked for, then end the stream."""
        await connection.offered.wait()
        writer.cancel()
        await asyncio.wait([writer])
        await connection.flush(context.write)

    def _connect(self, connection: Connection) -> None:
        self.connections.add(connection)
        self._hub.connect(connection)
        log.info(
            "proxy connected",
            proxy=connection.node.id,
            namespace=connection.proxy.namespace,
            protocol=connection.variant.value,
            peer=connection.peer,
        )

    def _disconnect(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._hub.disconnect(connection)
        log.info("proxy disconnected", proxy=connection.node.id, peer=connection.peer)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, serve: Callable[[Connection, _Context], Awaitable[None]]) -> None:
        self._serve = serve

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        found = _METHODS.get(handler_call_details.method)
        if found is None:
            return None
        connection, type_url = found

        async def handle(_: Any, context: _Context) -> None:
            await self._serve(connection(context.peer(), type_url), context)

        return grpc.stream_stream_rpc_method_handler(handle)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Certificates are read anew for each handshake, so that replaced files are in force at once."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    certificate, key, authorities = settings.tls_certificate, settings.tls_key, settings.client_authorities

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(key.read_bytes(), certificate.read_bytes())], _read(authorities)
        )

    return grpc.dynamic_ssl_server_credentials(
        configuration(), configuration, require_client_authentication=authorities is not None
    )


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
