"""The floor of services that proxies call for each request: one that answers at once with nothing, whatever is asked.

It stands on what one would take for it, gRPC for asyncio and uvloop. Its argument is where it listens.
"""

import asyncio
import sys
from typing import Any

import grpc
import uvloop


class _Empty(grpc.GenericRpcHandler):
    def service(self, _: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        return grpc.unary_unary_rpc_method_handler(self._answer)

    @staticmethod
    async def _answer(_request: bytes, _context: Any) -> bytes:
        return b""


async def _main(address: str) -> None:
    server = grpc.aio.server(handlers=[_Empty()])
    server.add_insecure_port(address)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1]))
