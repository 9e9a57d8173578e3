"""The floor: a server that does nothing but send given bytes to all streams, and read what they answer.

It stands on what one would take for it, gRPC for asyncio and uvloop, with the same limits. The folder that is its
argument holds what to answer to the first request of each type; a file that is renamed into its folder `push` goes to
all streams.
"""

import asyncio
import gc
import sys
from pathlib import Path
from typing import Any

import grpc
import msgspec
import uvloop
from fairlead.server.admission import CONNECTION_AGE, CONNECTION_END, HANDSHAKE_WITHIN, IDLE_CONNECTION, REQUEST_BYTES

from bench.inotify import MoveEvents
from bench.servers import floor_push

_OPTIONS = (
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.max_send_message_length", -1),
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    ("grpc.server_max_unrequested_time_in_server", 600),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.server_handshake_timeout_ms", round(HANDSHAKE_WITHIN * 1000)),
    ("grpc.max_connection_idle_ms", round(IDLE_CONNECTION * 1000)),
    ("grpc.max_connection_age_ms", round(CONNECTION_AGE * 1000)),
    ("grpc.max_connection_age_grace_ms", round(CONNECTION_END * 1000)),
    ("grpc.max_receive_message_length", REQUEST_BYTES),
)
"""What Envoy's pings and a fleet that comes at once need, and the limits of a server that others can reach."""

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


class _Floor(grpc.GenericRpcHandler):
    def __init__(self, answers: dict[str, list[bytes]]) -> None:
        self._answers = {type_url.encode(): messages for type_url, messages in answers.items()}
        self._streams: set[Any] = set()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        if handler_call_details.method != _METHOD:
            return None
        return grpc.stream_stream_rpc_method_handler(self._serve)

    async def _serve(self, _: Any, context: Any) -> None:
        self._streams.add(context)
        unanswered: dict[bytes, list[bytes]] | None = dict(self._answers)
        try:
            while isinstance(data := await context.read(), bytes):
                for type_url in list(unanswered or ()):
                    if unanswered is not None and type_url in data:
                        for message in unanswered.pop(type_url):
                            await context.write(message)
                unanswered = unanswered or None
        finally:
            self._streams.discard(context)

    async def push(self, message: bytes) -> None:
        await asyncio.gather(*(context.write(message) for context in self._streams))


async def _main(folder: Path) -> None:
    floor = _Floor(msgspec.msgpack.decode((folder / "answers").read_bytes(), type=dict[str, list[bytes]]))
    server = grpc.aio.server(handlers=[floor], options=_OPTIONS)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    push = floor_push(folder)
    push.parent.mkdir(exist_ok=True)
    events, tasks = MoveEvents(push.parent), set()

    def moved() -> None:
        events.wait()
        tasks.add(asyncio.create_task(floor.push(push.read_bytes())))

    asyncio.get_running_loop().add_reader(events.descriptor, moved)
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    gc.set_threshold(100_000, 50, 1000)
    gc.freeze()
    uvloop.run(_main(Path(sys.argv[1])))
