"""What must not disturb proxies: files that move about, faults of users, a control plane that dies."""

import json
import shutil
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.objects import (
    FRONT,
    HTTP,
    HTTPS,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    gateway,
    http_server,
    https_server,
    issued,
    route,
    secret,
    service,
    together,
    virtual_service,
)
from e2e.observing import goes_on, in_sync, noticed, problems, running, steady, told
from fairlead.cli.bootstrap import ProxyIdentity, XdsServer, bootstrap_document
from fairlead.playground.client import Load, ask, connect
from fairlead.playground.envoy import Envoy, free_port
from support.stack import Client, Stack, handshake, loopback, until

pytestmark = pytest.mark.e2e
both = pytest.mark.parametrize("protocol", ["delta", "sotw"])

AUTHORITY = issued("Test CA")
A = issued("a", "a.test", issuer=AUTHORITY)

LOADED = r"(listener|cluster)_(added|modified|removed)$|config_reload$|ssl_context_update_by_sds$|update_no_rebuild$"
"""What Envoy counts when it takes in a resource that is not what it had; the last, of endpoints, also otherwise."""
TOLD = LOADED + r"|(cds|lds|rds|sds|vhds)\..*update_success$|cluster\..*\.update_success$|update_rejected$"
"""What it counts when it is sent anything."""


async def start(stack: Stack, protocol: str, *arguments: str, xds_address: str = "") -> Envoy:
    """`fairlead serve` with these arguments, an Envoy with two hosts, and the backend behind them."""
    stack.write("front.yaml", FRONT)
    stack.write("web.yaml", service("web", 80, 9001))
    stack.write("gateway.yaml", gateway(http_server(), https_server("a.test", "a")))
    stack.write("routes.yaml", together(route("a", "a.test", "web"), route("b", "b.test", "web")))
    stack.write("secret.yaml", secret("a", A))
    await stack.serve(*arguments)
    envoy = await stack.envoy(protocol, namespace=PROXY_NAMESPACE, labels=PROXY_LABELS, xds_address=xds_address)
    await stack.backend("web", 9001)
    return envoy


def load(stack: Stack) -> Load:
    return Load(stack.address, HTTPS, "a.test", "/")


# --- Files ------------------------------------------------------------------------------------------------------------


def documents(file: Path) -> list[object]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def rename(folder: Path) -> None:
    (folder / "routes.yaml").rename(folder / "renamed.yml")


def into_a_folder(folder: Path) -> None:
    (folder / "deep/er").mkdir(parents=True)
    (folder / "renamed.yml").rename(folder / "deep/er/routes.yaml")


def touch(folder: Path) -> None:
    for file in folder.rglob("*.yaml"):
        file.touch()


def reorder(folder: Path) -> None:
    file = folder / "deep/er/routes.yaml"
    file.write_text("---".join(reversed(file.read_text().split("---"))))


def reformat(folder: Path) -> None:
    for file in (folder / "gateway.yaml", folder / "deep/er/routes.yaml"):
        file.write_text("# the same\n" + yaml.safe_dump_all(documents(file), indent=6, default_flow_style=True) + "\n")


def as_json(folder: Path) -> None:
    file = folder / "deep/er/routes.yaml"
    items = {"apiVersion": "v1", "kind": "List", "items": documents(file)}
    (folder / "routes.json").write_text(json.dumps(items, indent=2))
    file.unlink()


def split(folder: Path) -> None:
    items = json.loads((folder / "routes.json").read_text())["items"]
    for number, item in enumerate(items):
        (folder / f"route-{number}.yaml").write_text(yaml.safe_dump(item))
    (folder / "routes.json").unlink()


def together_with_others(folder: Path) -> None:
    parts = [folder / name for name in ("route-0.yaml", "route-1.yaml", "web.yaml", "secret.yaml")]
    (folder / "all.yaml").write_text(together(*(part.read_text() for part in parts)))
    for part in parts:
        part.unlink()


CHANGES = (rename, into_a_folder, touch, reorder, reformat, as_json, split, together_with_others)
"""What happens to the files one after the other, without a change of what the objects are."""


@both
async def test_files_that_move_about_send_nothing(stack: Stack, protocol: str) -> None:
    envoy = await start(stack, protocol)
    before = await envoy.stats(TOLD)
    async with steady(load(stack)):
        for change in CHANGES:
            change(stack.folder)
            await noticed(stack)
            assert await envoy.stats(TOLD) == before, change.__name__
        await in_sync(stack)
    assert await envoy.stats(TOLD) == before
    assert await problems(stack) == []


# --- Restarts ---------------------------------------------------------------------------------------------------------


async def resent(envoy: Envoy, protocol: str, before: dict[str, int]) -> dict[str, int]:
    """What proxies that have come back were sent although they had it, or have loaded anew."""
    after = await envoy.stats(TOLD)
    changes = {name: after[name] - count for name, count in before.items() if after[name] != count}
    if protocol == "delta":
        # For clusters and listeners, which are not asked for by name, an empty answer says that there is nothing new.
        assert [changes.pop(f"{kind}.update_success") for kind in ("cluster_manager.cds", "listener_manager.lds")] == [
            1,
            1,
        ]
    else:
        # This variant answers with all there is, and Envoy compares.
        changes = {name: number for name, number in changes.items() if not name.endswith(("success", "no_rebuild"))}
    return changes


@both
async def test_a_restart_sends_nothing(stack: Stack, protocol: str) -> None:
    envoy = await start(stack, protocol)
    fairlead = running(stack)
    await in_sync(stack)
    before = await envoy.stats(TOLD)
    async with steady(load(stack)) as requests:
        await fairlead.kill()
        await goes_on(requests)
        await fairlead.start()
        await in_sync(stack)
        assert await resent(envoy, protocol, before) == {}


@both
async def test_a_restart_while_a_file_is_broken_sends_nothing(stack: Stack, protocol: str) -> None:
    envoy = await start(stack, protocol)
    fairlead = running(stack)
    good = (stack.folder / "routes.yaml").read_text()
    async with steady(load(stack)):
        stack.write("routes.yaml", good.replace("hosts: [", "hosts: ]", 1))
        await told(stack, "syntax")
        before = await envoy.stats(TOLD)
        await fairlead.kill()
        await fairlead.start()
        await in_sync(stack)
        assert await resent(envoy, protocol, before) == {}
        await told(stack, "syntax")
        before = await envoy.stats(TOLD)
        stack.write("routes.yaml", good)
        await told(stack)
        assert await envoy.stats(TOLD) == before


@both
async def test_another_instance_sends_nothing(stack: Stack, protocol: str) -> None:
    """One that shares nothing with the first but the folder, at the same port."""
    envoy = await start(stack, protocol)
    first = running(stack)
    await in_sync(stack)
    before = await envoy.stats(TOLD)
    async with steady(load(stack)):
        await first.stop()
        state = stack.tmp_path / "state of the second"
        await stack.serve("--xds-address", f"127.0.0.1:{first.xds_port}", "--state-dir", str(state))
        await in_sync(stack)
        assert await resent(envoy, protocol, before) == {}


@both
async def test_a_server_that_stops_leaves_its_proxies_to_another(stack: Stack, protocol: str) -> None:
    """Two servers share a port and the state folder; no proxy comes back to the one that is about to go."""
    sharing = ("--reuse-port", "--xds-address", f"127.0.0.1:{free_port()}")
    envoy = await start(stack, protocol, *sharing, xds_address=sharing[-1])
    first = running(stack)
    await in_sync(stack)
    await stack.serve(*sharing)
    before = await envoy.stats(TOLD)
    async with steady(load(stack)):
        await first.stop()
        await in_sync(stack)
        assert await resent(envoy, protocol, before) == {}


# --- Refusals ---------------------------------------------------------------------------------------------------------

TAKEN = 8099
"""A port that another process has."""


def on_port(number: int) -> str:
    return f"""
  - port: {{number: {number}, name: http-{number}, protocol: HTTP}}
    hosts: ["*"]"""


@both
async def test_a_proxy_that_refuses_a_listener(stack: Stack, protocol: str) -> None:
    envoy = await start(stack, protocol)
    file = stack.folder / "more.yaml"
    with socket.socket() as other:
        other.bind((stack.address, TAKEN))
        other.listen()
        async with steady(load(stack)):
            stack.write(file.name, together(gateway(on_port(TAKEN), name="taken"), gateway(on_port(8098), name="free")))
            refused = await until(lambda: _listeners(stack, "rejected"), "the refusal is told")
            assert f"cannot bind '{stack.address}:{TAKEN}': Address already in use" in refused["error"]
            assert refused["objects"] == [f"Gateway default/taken ({file}:2:1)"]
            # The other new listener works, and changes go on to arrive.
            async with stack.client() as client:
                assert (await client.get("http://a.test:8098/")).status_code == 404
                stack.write("routes.yaml", (stack.folder / "routes.yaml").read_text().replace("[edge]", "[edge, free]"))
                await until(lambda: _answers(client, "http://a.test:8098/"), "the new route is there")
            assert await refusals(envoy) >= 1
            (line,) = [line for line in running(stack).log_text().splitlines() if "refused resources" in line]
            assert "Address already in use" in line
            assert "Gateway default/taken" in line
            # A listener more, which is accepted, does not make the proxy have the other one.
            stack.write("one-more.yaml", gateway(on_port(8097), name="one-more"))
            await until(lambda: accepts(stack.address, 8097), "the third listener is there")
            still = await until(lambda: _listeners(stack, "rejected"), "the refusal is still told")
            assert (still["error"], still["objects"]) == (refused["error"], refused["objects"])
    # The port is free: the listener is offered again without anybody's doing.
    await until(lambda: accepts(stack.address, TAKEN), "the refused listener is there")
    await until(lambda: _listeners(stack, "synced"), "the refusal is over")


async def refusals(envoy: Envoy) -> int:
    return (await envoy.stats("lds.update_rejected$"))["listener_manager.lds.update_rejected"]


def accepts(address: str, port: int) -> bool:
    with socket.create_connection((address, port), timeout=5):
        return True


async def _listeners(stack: Stack, state: str) -> dict[str, Any] | None:
    """How the proxy stands with listeners, once that is `state`."""
    (proxy,) = (await running(stack).status())["proxies"]
    found: dict[str, Any] = proxy["types"]["lds"]
    return found if found["state"] == state else None


async def _answers(client: Client, url: str) -> bool:
    return (await client.get(url)).status_code == 200


# --- Folders and half files -------------------------------------------------------------------------------------------


@both
async def test_a_folder_that_vanishes_and_returns(stack: Stack, protocol: str) -> None:
    envoy = await start(stack, protocol)
    before = await envoy.stats(TOLD)
    away = stack.folder.with_name("away")
    async with steady(load(stack)) as requests:
        stack.folder.rename(away)
        await until(lambda: problems(stack), "its absence is told")
        assert [found["file"] for found in await problems(stack)] == [str(stack.folder)]
        await goes_on(requests)
        away.rename(stack.folder)
        await told(stack)
        await in_sync(stack)
    assert await envoy.stats(TOLD) == before


@both
async def test_a_mounted_config_map(stack: Stack, protocol: str) -> None:
    """Kubernetes mounts links to files in a hidden folder, and changes all at once by replacing one link."""
    await start(stack, protocol)
    (stack.folder / "routes.yaml").unlink()
    mounted = stack.folder / "mounted"

    def publish(version: str) -> None:
        (mounted / version).mkdir(parents=True)
        for host in ("a", "b"):
            headers = f"headers: {{response: {{set: {{x-version: {version}}}}}}}"
            text = virtual_service(
                host, f"{host}.test", f"http: [{{{headers}, route: [{{destination: {{host: web}}}}]}}]"
            )
            (mounted / version / f"{host}.yaml").write_text(text)
        (mounted / "..new").symlink_to(version)
        (mounted / "..new").rename(mounted / "..data")

    publish("..1")
    for host in ("a", "b"):
        (mounted / f"{host}.yaml").symlink_to(f"..data/{host}.yaml")
    async with stack.client() as client:

        async def versions() -> set[str]:
            urls = (f"http://{host}.test:{HTTP}/" for host in ("a", "b"))
            return {(await client.get(url)).headers.get("x-version", "") for url in urls}

        await until(lambda: _is(versions, {"..1"}), "the first version is served")
        async with steady(load(stack)):
            for number in (2, 3):
                publish(f"..{number}")
                await until(lambda: _is(versions, {f"..{number}"}), "the next version is served")  # noqa: B023
                shutil.rmtree(mounted / f"..{number - 1}")
                await noticed(stack)
                assert await problems(stack) == []


async def _is(value: Callable[[], Awaitable[object]], expected: object) -> bool:
    return await value() == expected


@both
async def test_a_file_while_it_is_written(stack: Stack, protocol: str) -> None:
    # A grace that no slow machine exceeds.
    envoy = await start(stack, protocol, "--deletion-grace", "30")
    before = await envoy.stats(TOLD)
    file = stack.folder / "routes.yaml"
    text = file.read_text()
    async with steady(load(stack)):
        with file.open("w") as half:
            await noticed(stack)  # nothing is in it
            half.write(text[: text.index("edge]")])
            half.flush()
            await told(stack, "syntax")  # it ends within a list
            half.write(text[text.index("edge]") : text.index("---")])
            half.flush()
            await told(stack)  # one object is missing
            await noticed(stack)
            half.write(text[text.index("---") :])
        await noticed(stack)
        await in_sync(stack)
    assert await problems(stack) == []
    assert await envoy.stats(TOLD) == before


# --- Other ways to connect --------------------------------------------------------------------------------------------


async def test_proxies_on_addresses_of_their_own_share_everything_else(stack: Stack) -> None:
    first = await start(stack, "delta")
    address = loopback()
    second = await stack.envoy("sotw", namespace=PROXY_NAMESPACE, labels=PROXY_LABELS, address=address)
    await in_sync(stack)
    assert len((await running(stack).status())["proxies"]) == 2
    fresh = issued("fresh", "a.test", issuer=AUTHORITY)
    stack.write("secret.yaml", secret("a", fresh))
    for envoy, where in ((first, stack.address), (second, address)):
        await until(lambda: _is(lambda: handshake(where, HTTPS, "a.test"), fresh.certificate), "the rotation")  # noqa: B023
        async with stack.client(address=where) as client:
            assert (await client.get(f"https://a.test:{HTTPS}/")).status_code == 200
        listeners = await envoy.admin("/listeners")
        assert {line.split("::")[1] for line in listeners.splitlines()} == {f"{where}:{HTTP}", f"{where}:{HTTPS}"}


@both
async def test_xds_over_a_unix_socket(stack: Stack, protocol: str) -> None:
    path = stack.tmp_path / "xds"
    await start(stack, protocol, "--xds-socket", str(path), xds_address=f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with steady(load(stack)):
        await in_sync(stack)
    (proxy,) = (await running(stack).status())["proxies"]
    assert proxy["peer"].startswith("unix:")


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
async def test_secrets_on_a_stream_of_their_own(stack: Stack, api_type: str) -> None:
    """For an Envoy whose listeners are in its bootstrap."""
    stack.write("gateway.yaml", gateway(https_server("a.test", "a")))
    stack.write("secret.yaml", secret("a", A))
    fairlead = await stack.serve()
    bootstrap = bootstrap_document(
        ProxyIdentity(id="static", namespace=PROXY_NAMESPACE, labels=tuple(PROXY_LABELS.items())),
        XdsServer(address=f"127.0.0.1:{fairlead.xds_port}"),
        admin_port=free_port(),
    )
    del bootstrap["dynamic_resources"]
    bootstrap["static_resources"]["listeners"] = [static_listener(stack.address, api_type)]
    async with Envoy(bootstrap, stack.tmp_path) as envoy:
        assert await handshake(stack.address, HTTPS, "a.test") == A.certificate
        (proxy,) = (await fairlead.status())["proxies"]
        assert {name: kind["state"] for name, kind in proxy["types"].items()} == {"sds": "synced"}
        open_connection = connect(stack.address, HTTPS, "a.test")
        assert ask(open_connection, "a.test", "/").body == b"static"
        fresh = issued("fresh", "a.test", issuer=AUTHORITY)
        stack.write("secret.yaml", secret("a", fresh))
        await until(lambda: _is(lambda: handshake(stack.address, HTTPS, "a.test"), fresh.certificate), "the rotation")
        assert ask(open_connection, "a.test", "/").body == b"static"
        open_connection.close()
        assert (await envoy.stats("ssl_context_update_by_sds$")).popitem()[1] == 2


TYPES = "type.googleapis.com/envoy.extensions"


def static_listener(address: str, api_type: str) -> dict[str, Any]:
    sds = {
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": api_type,
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "fairlead"}}],
        },
    }
    tls = {
        "@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "kubernetes://a", "sds_config": sds}]},
    }
    http = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "static",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 200, "body": {"inline_string": "static"}},
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "name": "static",
        "address": {"socket_address": {"address": address, "port_value": HTTPS}},
        "filter_chains": [
            {
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
                "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}],
            }
        ],
    }
