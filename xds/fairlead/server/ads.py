"""xDS over gRPC: every service and variant of the protocol, on raw bytes.

A stream has one reader, the handler itself, and one writer. The writer sleeps until it is woken by a request or by a
change of the tables, then sends what is due, one response at a time: `await write` is HTTP/2 flow control, so a slow
client holds up nobody but itself, and costs one response.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import structlog

from fairlead.errors import ProtocolError
from fairlead.protocol.events import Acknowledged, Event, Rejected
from fairlead.protocol.stream import Stream
from fairlead.resolve.scope import Proxy
from fairlead.server.hub import Hub
from fairlead.server.proxies import proxy_of
from fairlead.server.settings import Settings
from fairlead.snapshot import types, wire
from fairlead.snapshot.messages import Node
from fairlead.snapshot.table import Snapshot, Variant

log = structlog.get_logger()

CONTROL_PLANE = "fairlead"
"""`control_plane.identifier` of every response."""

_LONGEST_STATUS_TEXT = 1000
"""Trailers that are longer break the connection (gRPC's limit of 8 KiB for headers)."""

_SERVICES: Mapping[str, tuple[str, str, str | None]] = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": (
        "StreamAggregatedResources",
        "DeltaAggregatedResources",
        None,
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
"""Service -> its methods for the state of the world and for delta, and its type; None: all types on one stream."""

_METHODS: Mapping[str, tuple[Variant, str | None]] = {
    f"/{service}/{method}": (variant, type_url)
    for service, (state_of_the_world, delta, type_url) in _SERVICES.items()
    for method, variant in ((state_of_the_world, Variant.STATE_OF_THE_WORLD), (delta, Variant.DELTA))
    if method
}

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


class Connection:
    """One stream of one client."""

    _ids = itertools.count(1)

    def __init__(self, node: Node, peer: str, variant: Variant, type_url: str | None) -> None:
        """Raises `ProtocolError` when the node cannot be understood."""
        self.number = next(self._ids)
        self.node = node
        self.peer = peer
        self.variant = variant
        self.proxy: Proxy = proxy_of(node, delta=variant is Variant.DELTA)
        self.connected_at = time.monotonic()
        self.stream = Stream(variant, type_url)
        self.refusals: dict[str, Rejected] = {}
        """Type -> the last response that was refused, until one is accepted."""
        self._woken = asyncio.Event()

    def offer(self, snapshot: Snapshot) -> None:
        """Serve from this snapshot from now on."""
        self.stream.offer(snapshot, time.monotonic())
        self._woken.set()

    def wake(self) -> None:
        """Look for something to send."""
        self._woken.set()

    def receive(self, data: bytes) -> None:
        """Take in a request; raises `ProtocolError` when it cannot be understood."""
        decode = wire.decode_delta_discovery_request if self.variant is Variant.DELTA else wire.decode_discovery_request
        for event in self.stream.receive(decode(data), time.monotonic()):
            self._note(event)
        self._woken.set()

    def _note(self, event: Event) -> None:
        if isinstance(event, Acknowledged):
            self.refusals.pop(event.type_url, None)
        elif isinstance(event, Rejected):
            self.refusals[event.type_url] = event

    async def write(self, send: Callable[[bytes], Any]) -> None:
        """Send what is due, until cancelled."""
        encode = wire.delta_discovery_response if self.variant is Variant.DELTA else wire.discovery_response
        while True:
            while (response := self.stream.next_response(time.monotonic())) is not None:
                await send(encode(response, CONTROL_PLANE))
            self._woken.clear()
            deadline = self.stream.deadline
            try:
                async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    await self._woken.wait()
            except TimeoutError:
                pass  # something that waited for an acknowledgement waits no longer


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

    async def _serve(
        self, context: grpc.aio.ServicerContext[bytes, bytes], variant: Variant, type_url: str | None
    ) -> None:
        connection: Connection | None = None
        writer: asyncio.Task[None] | None = None
        try:
            while (data := await context.read()) is not grpc.aio.EOF:
                if connection is None:
                    connection = self._connect(data, context.peer(), variant, type_url)
                    connection.receive(data)
                    self._hub.connect(connection)
                    writer = asyncio.create_task(connection.write(context.write))
                else:
                    connection.receive(data)
            if connection is not None:
                await self._finish(connection, context)
        except ProtocolError as error:
            log.warning("a client broke the protocol", peer=context.peer(), error=str(error))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error)[:_LONGEST_STATUS_TEXT])
        finally:
            if writer is not None:
                writer.cancel()
            if connection is not None:
                self._disconnect(connection)

    def _connect(self, data: bytes, peer: str, variant: Variant, type_url: str | None) -> Connection:
        decode = wire.decode_delta_discovery_request if variant is Variant.DELTA else wire.decode_discovery_request
        connection = Connection(decode(data).node or Node(""), peer, variant, type_url)
        self.connections.add(connection)
        log.info(
            "proxy connected",
            proxy=connection.node.id,
            peer=peer,
            protocol=variant.value,
            namespace=connection.proxy.namespace,
        )
        return connection

    def _disconnect(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._hub.disconnect(connection)
        log.info("proxy disconnected", proxy=connection.node.id, peer=connection.peer)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, serve: Any) -> None:
        self._serve = serve

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        found = _METHODS.get(handler_call_details.method)
        if found is None:
            return None
        variant, type_url = found

        async def handle(_: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
            await self._serve(context, variant, type_url)

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
