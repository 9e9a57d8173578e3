"""The floor: a server that does nothing but send given bytes to all streams, and read what they answer.

It stands on what Fairlead stands on, gRPC for asyncio and uvloop, with the same options. The folder that is its
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
from fairlead.server.admission import connection_limits
from fairlead.server.ads import OPTIONS

from bench.inotify import MoveEvents
from bench.servers import floor_push

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
    server = grpc.aio.server(handlers=[floor], options=(*OPTIONS, *connection_limits()))
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
