"""What an operator sees of a real Envoy: changes that it acknowledges, and a listener that it cannot have."""

import asyncio
import json
import socket
from typing import Any

import pytest
from e2e.objects import FRONT, HTTP, PROXY_LABELS, PROXY_NAMESPACE, gateway, http_server, route, service
from e2e.observing import in_sync, running
from fairlead._pb.envoy.admin.v3.config_dump_shared_pb2 import ACKED, NACKED
from fairlead._pb.envoy.service.status.v3.csds_pb2 import ClientStatusRequest, ClientStatusResponse
from fairlead.cli.main import app
from fairlead.server.csds import CLIENT_STATUS_SERVICE
from support.stack import Stack, until
from support.xds_client import open_channel
from typer.testing import CliRunner

pytestmark = pytest.mark.e2e

TAKEN = 8090
"""What the proxy would bind for 90, which its Service does not have: the port itself."""
SECOND = "\n  - port: {number: 8090, name: http-taken, protocol: HTTP}\n    hosts: ['*']"


@pytest.fixture
async def edge(stack: Stack) -> Stack:
    """One route, one Envoy, and a log for machines."""
    for name, text in {
        "front.yaml": FRONT,
        "web.yaml": service("web", 80, 9001),
        "edge.yaml": gateway(http_server()),
        "routes.yaml": route("web", "web.test", "web"),
    }.items():
        stack.write(name, text)
    await stack.serve("--log-format", "json")
    await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
    await in_sync(stack)
    return stack


async def status(stack: Stack) -> dict[str, Any]:
    return await running(stack).status()


async def printed(stack: Stack) -> str:
    arguments = ["status", "--admin-address", f"127.0.0.1:{running(stack).admin_port}"]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == 0
    return result.stdout


def logged(stack: Stack, event: str) -> list[dict[str, Any]]:
    lines = map(json.loads, running(stack).log_text().splitlines())
    return [line for line in lines if line["event"] == event]


async def test_how_long_a_change_took(edge: Stack) -> None:
    assert (await status(edge))["last_change"] is None
    edge.write("routes.yaml", route("web", "web.test", "web", match="prefix: /new"))

    async def acknowledged() -> Any:
        change = (await status(edge))["last_change"]
        return change and change["overall"]["acknowledged"] == 1 and change

    change = await until(acknowledged, "Envoy has the route")
    assert (change["proxies"], change["waiting"], change["refused"]) == (1, 0, 0)
    assert set(change["types"]) == {"vhds"}
    assert 0 < change["published_ms"] < change["overall"]["first_ms"] == change["overall"]["last_ms"]
    assert "acknowledged by 1 of 1 proxy, after " in await printed(edge)
    assert "pilot_proxy_convergence_time_count 1.0" in (await running(edge).admin("/metrics") or "")


async def test_a_listener_whose_port_is_taken(edge: Stack) -> None:
    with socket.create_server((edge.address, TAKEN)):
        edge.write("edge.yaml", gateway(http_server(), SECOND))

        async def refused() -> Any:
            (proxy,) = (await status(edge))["proxies"]
            return proxy["types"]["lds"]["error"] and proxy["types"]["lds"]

        listeners = await until(refused, "Envoy refuses the listener")
        assert listeners["state"] == "rejected"
        assert "Address already in use" in listeners["error"]
        gateway_at = f"Gateway default/edge ({edge.folder}/edge.yaml:2:1)"
        assert gateway_at in listeners["objects"]

        (event, *_) = logged(edge, "a proxy refused resources")
        assert (event["proxy"], event["type"], event["level"]) == ("proxy-1", "lds", "error")
        assert "Address already in use" in event["error"]
        assert gateway_at in event["objects"]

        text = await printed(edge)
        assert "1 proxy: 1 rejected" in text
        assert "lds refused by proxy-1: " in text
        assert f"  from {gateway_at}" in text

        metrics = await running(edge).admin("/metrics") or ""
        assert "pilot_xds_lds_reject 1.0" in metrics
        assert 'pilot_total_xds_rejects{type="lds"}' in metrics

        async with open_channel(f"127.0.0.1:{running(edge).xds_port}") as channel:
            ask: Any = channel.unary_unary(
                f"/{CLIENT_STATUS_SERVICE}/FetchClientStatus",
                ClientStatusRequest.SerializeToString,
                ClientStatusResponse.FromString,
            )
            (config,) = (await ask(ClientStatusRequest(), timeout=20)).config
        assert (config.node.id, config.node.user_agent_name) == ("proxy-1", "envoy")
        found = {each.name: each for each in config.generic_xds_configs if each.type_url.endswith(".Listener")}
        states = {name.rpartition("_")[2]: each.client_status for name, each in found.items()}
        assert states == {str(HTTP): ACKED, str(TAKEN): NACKED}
        (failed,) = [each.error_state.details for each in found.values() if each.client_status == NACKED]
        assert "Address already in use" in failed
    # The port is free again. What has been refused is sent again when it has changed, or been away.
    edge.write("edge.yaml", gateway(http_server()))
    await until(lambda: is_in_step(edge, 1), "Envoy is offered no more than it has")
    edge.write("edge.yaml", gateway(http_server(), SECOND))
    await until(lambda: is_in_step(edge, 2), "Envoy has both listeners")


async def is_in_step(stack: Stack, listeners: int) -> bool:
    dump = json.loads(await running(stack).admin("/debug/config_dump?proxy=proxy-1") or "{}")
    offered = [config for config in dump["configs"] if config["@type"].endswith("ListenersConfigDump")]
    return len(offered[0]["dynamic_listeners"]) == listeners and "1 proxy: 1 synced" in await printed(stack)
