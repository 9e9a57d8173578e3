"""xDS over gRPC: every service and variant of the protocol, on raw bytes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NoReturn, Protocol

import grpc
import structlog

from fairlead.errors import ProtocolError, SettingsError
from fairlead.server.admission import Admission, Call, connection_limits, first_request, status_of
from fairlead.server.connection import Connection, DeltaConnection, Locate, StateOfTheWorldConnection
from fairlead.server.convergence import Progress
from fairlead.server.csds import CLIENT_STATUS_SERVICE, client_status_handler
from fairlead.server.drain import drain
from fairlead.server.flow import Flow
from fairlead.server.hub import Hub
from fairlead.server.introspection import Introspection
from fairlead.server.ports import check_free, make_way, private_files
from fairlead.server.settings import Address, Settings
from fairlead.server.tls import server_credentials
from fairlead.snapshot import types

log = structlog.get_logger()

_LONGEST_STATUS_TEXT = 1000
"""Bytes. It travels percent-encoded, and clients refuse headers of more than 8 KiB."""

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
    "envoy.service.extension.v3.ExtensionConfigDiscoveryService": (
        "StreamExtensionConfigs",
        "DeltaExtensionConfigs",
        types.EXTENSION_CONFIG,
    ),
    "envoy.service.runtime.v3.RuntimeDiscoveryService": ("StreamRuntime", "DeltaRuntime", types.RUNTIME),
}
"""Service -> its methods for the state of the world and for delta, and its type; empty: all types on one stream."""

OPTIONS = (
    # Envoy pings every few seconds, as it should; gRPC would end the connection for it.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A peer that has vanished, or hangs, is noticed within 50 seconds; the last of these would be 60 otherwise.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.max_send_message_length", -1),
    # All proxies reconnect at once after a restart.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    ("grpc.server_max_unrequested_time_in_server", 600),
    ("grpc.http2.bdp_probe", 0),
)


class _Context(Call, Protocol):
    """A call as it is used here; grpc's own types leave out that `read` may tell that there is no more."""

    async def read(self) -> object: ...

    async def write(self, message: bytes, /) -> None: ...

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn: ...


_METHODS: Mapping[str, tuple[Callable[[str, Progress, Locate, str], Connection], str]] = {
    f"/{service}/{method}": (connection, type_url)
    for service, (state_of_the_world, delta, type_url) in _SERVICES.items()
    for method, connection in ((state_of_the_world, StateOfTheWorldConnection), (delta, DeltaConnection))
    if method
}


class _ServerStops(Exception):  # noqa: N818  # nothing is wrong
    """Why a stream ends."""


_LAST_WORDS = 1.0
"""Seconds that clients have to take what was under way when their stream was ended."""


class XdsServer:
    """The gRPC server. It is started only when the hub is ready: an empty answer would empty the proxies."""

    def __init__(self, hub: Hub, settings: Settings) -> None:
        """Raises `SettingsError` when certificates cannot be used, or when the port is taken."""
        check_free(settings.xds_address, "--xds-address", reuse_port=settings.reuse_port)
        self._hub = hub
        self._settings = settings
        self._admission = Admission(settings)
        self._flow = Flow()
        self._watching: asyncio.Task[None] | None = None
        self._credentials = server_credentials(settings)
        self.connections: set[Connection] = set()
        handlers = [_Handlers(hub, self._serve), client_status_handler(self.connections, self._admission)]
        options = (*OPTIONS, *connection_limits(), ("grpc.so_reuseport", int(settings.reuse_port)))
        self._server = grpc.aio.server(handlers=handlers, options=options)
        self._introspection = Introspection(self._server, (*_SERVICES, CLIENT_STATUS_SERVICE), self._admission)
        self._stopping = False
        self.address = settings.xds_address
        """With the port that was chosen, once it has started."""

    async def start(self) -> None:
        """Open the ports; raises `SettingsError` when one cannot be had."""
        address, path = self._settings.xds_address, self._settings.xds_socket
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(str(address))
            else:
                port = self._server.add_secure_port(str(address), self._credentials)
        except RuntimeError as error:
            raise SettingsError(f"--xds-address {address}: {error}") from None
        self.address = Address(address.host, port)
        if path is not None:
            make_way(path, "--xds-socket")
            try:
                with private_files():
                    self._server.add_insecure_port(f"unix:{path.absolute()}")
                    path.chmod(0o600)
            except (RuntimeError, OSError) as error:
                raise SettingsError(f"--xds-socket {path}: {error}") from None
        await self._server.start()
        await self._introspection.start()
        self._watching = asyncio.create_task(self._flow.watch())

    async def stop(self, seconds: float) -> None:
        """Take no new streams, and end the others, spread over at most `seconds`.

        Clients that do not take what was under way by then are cut off a second later.
        """
        self._stopping = True
        await self._introspection.stop()
        # gRPC closes the ports now, and tells clients to open another connection for the next stream, which may lead
        # to another server.
        closing = asyncio.create_task(self._server.stop(seconds + _LAST_WORDS))
        await drain(self.connections, seconds, _ServerStops())
        await self._server.stop(_LAST_WORDS)
        await closing
        if self._watching is not None:
            self._watching.cancel()

    async def _serve(self, connection: Connection, context: _Context) -> None:
        # It counts until its end has been told: before, gRPC holds what the client has not taken in.
        async with contextlib.AsyncExitStack() as place:
            try:
                identity = await place.enter_async_context(self._admission.admit(context))
                if isinstance(data := await first_request(context.read), bytes):
                    connection.open(data, identity)
                    del data  # an Envoy's first request has 60 KB, of which its list of extensions nearly all
                    self._connect(connection)
                    try:
                        write = partial(self._flow.write, context.write)
                        await connection.converse(context.read, write)
                    finally:
                        self._disconnect(connection)
            except ProtocolError as error:
                self._admission.refused(connection.peer, error)
                code = status_of(error)
                self._hub.counts.refused_stream(code.name.lower())
                await _abort(context, code, str(error))
            except _ServerStops:
                await _abort(context, grpc.StatusCode.UNAVAILABLE, "the control plane stops")
            except Exception:
                self._hub.counts.internal_errors += 1
                log.exception("a stream failed", proxy=connection.node.id, peer=connection.peer)
                await _abort(context, grpc.StatusCode.INTERNAL, "the control plane failed; its log says why")

    def _connect(self, connection: Connection) -> None:
        self.connections.add(connection)
        self._hub.connect(connection)
        if self._stopping:  # it has begun before, and spoken after
            connection.end(_ServerStops())
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
        connection.progress.leave()
        log.info("proxy disconnected", proxy=connection.node.id, peer=connection.peer)


async def _abort(context: _Context, code: grpc.StatusCode, text: str) -> None:
    await context.abort(code, text.encode()[:_LONGEST_STATUS_TEXT].decode(errors="ignore"))


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, hub: Hub, serve: Callable[[Connection, _Context], Awaitable[None]]) -> None:
        self._hub = hub
        self._serve = serve

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        found = _METHODS.get(handler_call_details.method)
        if found is None:
            return None
        connection, type_url = found

        async def handle(_: Any, context: _Context) -> None:
            hub = self._hub
            progress = Progress(hub.convergence)
            await self._serve(connection(context.peer(), progress, hub.locate_object, type_url), context)

        return grpc.stream_stream_rpc_method_handler(handle)
