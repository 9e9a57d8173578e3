"""The simulated proxies of `make bench`: they find out a server that does not bring all of them to one state."""

from pathlib import Path

import pytest
from support.istio import TO_SHOP, gateway, http, service, virtual_service
from support.server import Server

from bench.fleet import Fleet, NotConverged

LABELS, NAMESPACE = {"app": "edge"}, "edge"


def route(version: str) -> str:
    return virtual_service("a", f"http: [{{headers: {{response: {{set: {{x-version: {version}}}}}}}, {TO_SHOP}}}]")


async def test_proxies_converge_and_are_sent_nothing_when_they_come_back(tmp_path: Path) -> None:
    async with Server(tmp_path, gateway("edge", http()), service("shop"), route("first")) as server:
        fleet = Fleet(5, LABELS, NAMESPACE)
        await fleet.connect(server.address)
        change = await fleet.change(lambda: server.write("2.yaml", route("second")), b"second")
        assert change.begun < change.first_received < change.last_acknowledged
        received = fleet.resources
        await fleet.disconnect()
        await fleet.connect(server.address)
        assert fleet.resources == received
        assert fleet.differences() == 0
        await fleet.disconnect()


async def test_a_proxy_that_is_not_told_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server(tmp_path, gateway("edge", http()), service("shop"), route("first")) as server:
        fleet = Fleet(5, LABELS, NAMESPACE)
        await fleet.connect(server.address)
        monkeypatch.setattr(next(iter(server.xds.connections)), "wake", lambda: None)
        with pytest.raises(NotConverged, match="1 of 5 do not"):
            await fleet.change(lambda: server.write("2.yaml", route("second")), b"second", within=1.0)
        await fleet.disconnect()


async def test_a_stream_that_ends_is_found_out(tmp_path: Path) -> None:
    async with Server(tmp_path, gateway("edge", http()), service("shop"), route("first")) as server:
        fleet = Fleet(2, LABELS, NAMESPACE)
        await fleet.connect(server.address)
        victim = next(iter(server.xds.connections))
        with pytest.raises(NotConverged, match="a stream has ended"):
            await fleet.change(lambda: victim.end(RuntimeError("a fault")), b"never")
