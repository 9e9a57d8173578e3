"""xDS over gRPC: every service and variant of the protocol, on raw bytes."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from fairlead.errors import ProtocolError, SettingsError
from fairlead.http2.call import Call
from fairlead.http2.frames import StatusCode
from fairlead.http2.server import GrpcServer, Handler
from fairlead.server.admission import Admission, connection_limits, first_request, status_of
from fairlead.server.connection import Connection, DeltaConnection, Locate, StateOfTheWorldConnection
from fairlead.server.convergence import Progress
from fairlead.server.csds import CLIENT_STATUS_SERVICE, client_status_handlers
from fairlead.server.drain import drain
from fairlead.server.flow import Flow
from fairlead.server.hub import Hub
from fairlead.server.introspection import Introspection
from fairlead.server.ports import check_free, make_way, private_files
from fairlead.server.settings import Address, Settings
from fairlead.server.tls import server_context
from fairlead.snapshot import types

log = structlog.get_logger()

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
        self._tls = server_context(settings)
        self.connections: set[Connection] = set()
        self._introspection = Introspection((*_SERVICES, CLIENT_STATUS_SERVICE), self._admission)
        handlers: dict[str, Handler] = {
            **{path: partial(self._serve, *how) for path, how in _METHODS.items()},
            **client_status_handlers(self.connections, self._admission),
            **self._introspection.handlers,
        }
        self._server = GrpcServer(handlers, connection_limits(), self._broken)
        self._stopping = False
        self.address = settings.xds_address
        """With the port that was chosen, once it has started."""

    async def start(self) -> None:
        """Open the ports; raises `SettingsError` when one cannot be had."""
        try:
            await self._listen()
        except SettingsError:
            await self._server.stop(0)
            raise
        self._watching = asyncio.create_task(self._flow.watch())

    async def _listen(self) -> None:
        address, path = self._settings.xds_address, self._settings.xds_socket
        try:
            port = await self._server.listen(*address, self._tls, reuse_port=self._settings.reuse_port)
        except OSError as error:
            raise SettingsError(f"--xds-address {address} cannot be listened on: {error.strerror}") from None
        self.address = Address(address.host, port)
        if path is not None:
            make_way(path, "--xds-socket")
            try:
                with private_files():
                    await self._server.listen_on(path)
                    path.chmod(0o600)
            except OSError as error:
                raise SettingsError(f"--xds-socket {path}: {error}") from None

    async def stop(self, seconds: float) -> None:
        """Take no new streams, and end the others, spread over at most `seconds`.

        Clients that do not take what was under way by then are cut off a second later.
        """
        self._stopping = True
        await self._introspection.stop()
        # The ports are closed now, and clients told to open another connection for the next stream, which may lead to
        # another server.
        closing = asyncio.create_task(self._server.stop(seconds + _LAST_WORDS))
        await drain(self.connections, seconds, _ServerStops())
        await self._server.stop(_LAST_WORDS)
        await closing
        if self._watching is not None:
            self._watching.cancel()

    async def _serve(self, kind: Callable[[str, Progress, Locate, str], Connection], type_url: str, call: Call) -> None:
        connection = kind(call.peer(), Progress(self._hub.convergence), self._hub.locate_object, type_url)
        # It counts until its end has been told: before, what the client has not taken in is still there.
        async with contextlib.AsyncExitStack() as place:
            try:
                identity = await place.enter_async_context(self._admission.admit(call))
                if isinstance(data := await first_request(call.read), bytes):
                    connection.open(data, identity)
                    del data  # an Envoy's first request has 60 KB, of which its list of extensions nearly all
                    self._connect(connection)
                    try:
                        await connection.converse(call.read, partial(self._flow.write, call.write))
                    finally:
                        self._disconnect(connection)
            except ProtocolError as error:
                self._admission.refused(connection.peer, error)
                code = status_of(error)
                self._hub.counts.refused_stream(code.name.lower())
                await call.abort(code, str(error))
            except _ServerStops:
                await call.abort(StatusCode.UNAVAILABLE, "the control plane stops")
            except Exception:
                self._hub.counts.internal_errors += 1
                log.exception("a stream failed", proxy=connection.node.id, peer=connection.peer)
                await call.abort(StatusCode.INTERNAL, "the control plane failed; its log says why")

    def _broken(self, peer: str, what: str) -> None:
        self._admission.refused(peer, ProtocolError(what))

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
