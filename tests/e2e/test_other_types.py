"""Types under which nothing is served: an Envoy that asks for them starts at once all the same."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fairlead.cli.bootstrap import Protocol, ProxyIdentity, XdsServer, bootstrap_document
from fairlead.playground.envoy import Envoy, free_port
from support.stack import Stack, until

pytestmark = pytest.mark.e2e

SOONER_THAN_ENVOY_GIVES_UP = 10.0
"""Seconds; Envoy goes on without what it waits for after 15."""
ADS = {"ads": {}, "resource_api_version": "V3"}
FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


async def document(stack: Stack, protocol: str) -> dict[str, Any]:
    fairlead = await stack.serve()
    server = XdsServer(address=f"127.0.0.1:{fairlead.xds_port}")
    return bootstrap_document(ProxyIdentity(id="proxy"), server, protocol=Protocol(protocol), admin_port=free_port())


async def start(document: dict[str, Any], folder: Path) -> Envoy:
    envoy = Envoy(document, folder)
    await envoy.start(wait_until_ready=False)
    try:
        await envoy.until_ready(SOONER_THAN_ENVOY_GIVES_UP)
    except BaseException:
        await envoy.stop()
        raise
    return envoy


async def told(stack: Stack, kind: str, state: str) -> dict[str, Any] | None:
    """How the proxy stands with a type, if it does as expected."""
    assert stack.fairlead is not None
    (proxy,) = (await stack.fairlead.status())["proxies"]
    found: dict[str, Any] = proxy["types"].get(kind, {})
    return found if found.get("state") == state else None


@pytest.mark.parametrize("protocol", ["delta", "sotw"])
async def test_runtime_settings(stack: Stack, protocol: str) -> None:
    bootstrap = await document(stack, protocol)
    bootstrap["layered_runtime"]["layers"].insert(0, {"name": "l", "rtds_layer": {"name": "none", "rtds_config": ADS}})
    envoy = await start(bootstrap, stack.tmp_path)
    try:
        await until(lambda: told(stack, "rtds", "synced"), "the layer is there, and empty")
    finally:
        await envoy.stop()


@pytest.mark.parametrize("protocol", ["delta", "sotw"])
@pytest.mark.parametrize(("default", "status"), [({}, 500), ({"default_config": {"@type": FAULT}}, 200)])
async def test_filters(stack: Stack, protocol: str, default: dict[str, Any], status: int) -> None:
    """What the listener does without the filter is its own choice; the operator sees what is missing."""
    bootstrap = await document(stack, protocol)
    discovery = {"config_source": ADS, "type_urls": [FAULT], **default}
    address, port = stack.address, free_port(stack.address)
    manager = {
        "@type": MANAGER,
        "stat_prefix": "static",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                }
            ]
        },
        "http_filters": [
            {"name": "none", "config_discovery": discovery},
            {"name": "router", "typed_config": {"@type": ROUTER}},
        ],
    }
    bootstrap["static_resources"]["listeners"] = [
        {
            "name": "static",
            "address": {"socket_address": {"address": address, "port_value": port}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
    ]
    envoy = await start(bootstrap, stack.tmp_path)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://{address}:{port}/")).status_code == status
        found = await until(lambda: told(stack, "ecds", "rejected"), "Envoy has said what it lacks")
        assert "fairlead.FilterDoesNotExist" in found["error"]
    finally:
        await envoy.stop()
