"""Two servers that share nothing but the folder: a proxy that moves between them is sent no resource again."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from fairlead.models.core import EndpointSlice
from support.envoy_model import EnvoyModel
from support.server import Server
from support.stack import until
from support.variants import VARIANTS
from support.xds_client import DELTA, SOTW, open_channel, raw_stream

PROXY: dict[str, Any] = {"NAMESPACE": "edge", "LABELS": {"app": "edge"}}


async def visit(server: Server, model: EnvoyModel) -> None:
    """Connect, take everything that there is, and leave."""
    async with open_channel(server.address) as channel:
        call = raw_stream(channel, DELTA if model.delta else SOTW)

        async def converse() -> None:
            for request in model.connect():
                await call.write(request)
            while isinstance(data := await call.read(), bytes):
                for request in model.take(data):
                    await call.write(request)

        def has_everything() -> bool:
            found = [connection.snapshot for connection in server.xds.connections]
            return bool(found and found[0] and not model.lacks(found[0].tables) and server.status().settled)

        task = asyncio.create_task(converse())
        await until(lambda: task.done() or has_everything(), "the proxy has everything")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await until(lambda: not server.xds.connections, "it has left")


@pytest.mark.parametrize("metadata", [PROXY, {**PROXY, "VHDS": True}, {**PROXY, "BIND_ADDRESS": "127.0.0.9"}])
@pytest.mark.parametrize("delta", [True, False])
async def test_a_proxy_that_moves_between_servers(tmp_path: Path, delta: bool, metadata: dict[str, Any]) -> None:
    model = EnvoyModel(delta=delta, metadata=metadata)
    texts = [variants[0] for variants in VARIANTS]
    async with Server(tmp_path, *texts) as first, Server(tmp_path) as second:
        await visit(first, model)
        before = {kind: dict(held) for kind, held in model.held.items()}
        kinds = {kind for kind, held in before.items() if held}
        assert kinds >= {"cds", "eds", "lds", "rds"}
        assert ("vhds" in kinds) == model.discovers_hosts
        for server in (second, first):
            await visit(server, model)
            assert model.held == before
            assert not delta or model.resources == 0
        # What changes while it is on its way is what it is sent, and no more.
        first.write("7.yaml", VARIANTS[7][1])
        await until(lambda: all(_knows(server, "10.0.0.4") for server in (first, second)), "both have read it")
        await visit(second, model)
        assert model.held != before
        assert not delta or model.resources == 1
        await visit(first, model)
        assert not delta or model.resources == 0


def _knows(server: Server, address: str) -> bool:
    slices = server.hub.world.objects(EndpointSlice)
    names = slices.keys()
    return any(address in str(slices.get(name)) for name in names)
