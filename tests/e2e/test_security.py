"""TLS between proxies and control plane as a user sets it up: `fairlead pki`, and the real Envoy."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from e2e.objects import (
    FRONT,
    HTTPS,
    gateway,
    http_server,
    https_server,
    issued,
    route,
    secret,
    service,
    together,
)
from e2e.observing import running
from fairlead.cli.bootstrap import ProxyIdentity, XdsServer, bootstrap_document
from fairlead.cli.main import app
from fairlead.playground.envoy import Envoy, free_port
from fairlead.server import admission
from support.identities import Identities, of_namespace
from support.server import Server
from support.stack import Stack, handshake, loopback, until
from typer.testing import CliRunner

pytestmark = pytest.mark.e2e

PAIR = issued("a.test", "a.test")
LABELS = (("istio", "ingressgateway"),)
LOADED = r"(listener|cluster)_(added|modified|removed)$|config_reload$|total_listeners_active$"
"""What Envoy counts when it takes in a resource that is not what it had."""


def run(*arguments: str) -> list[list[str]]:
    """Run a command; returns the commands that it prints, as a shell would read them."""
    done = CliRunner().invoke(app, [*arguments])
    assert done.exit_code == 0, done.output
    return [shlex.split(line)[1:] for line in done.stdout.splitlines() if line.strip().startswith("fairlead ")]


def option(command: list[str], name: str) -> Path:
    return Path(command[command.index(name) + 1])


def proxy(
    stack: Stack, folder: Path, name: str, bootstrap: list[str], *, server_name: str = "", **identity: Any
) -> Envoy:
    """An Envoy that connects with what a printed `fairlead bootstrap` names."""
    document = bootstrap_document(
        ProxyIdentity(id=name, labels=LABELS, bind_address=stack.address, **identity),
        XdsServer(
            address=f"127.0.0.1:{running(stack).xds_port}",
            client_certificate=option(bootstrap, "--client-cert"),
            client_key=option(bootstrap, "--client-key"),
            authorities=option(bootstrap, "--server-ca"),
            name=server_name or str(option(bootstrap, "--server-name")),
        ),
        admin_port=free_port(),
    )
    return Envoy(document, folder)


async def test_pki_from_nothing_to_a_served_certificate(stack: Stack) -> None:
    """And a proxy with the certificate of another namespace is told so, and gets nothing."""
    folder = str(stack.tmp_path / "pki")
    serve, make_proxy = run("pki", "init", folder)
    make_proxy[make_proxy.index("--namespace") + 1] = "istio-system"
    (bootstrap,) = run(*make_proxy)
    (foreign,) = run("pki", "proxy", folder, "--namespace", "elsewhere")
    stack.write("front.yaml", FRONT)
    stack.write("gateway.yaml", gateway(https_server("a.test", "a")))
    stack.write("secret.yaml", secret("a", PAIR))
    await stack.serve(*serve[serve.index("--tls-cert") :])
    async with proxy(stack, stack.tmp_path, "own", bootstrap, namespace="istio-system"):
        shown = await handshake(stack.address, HTTPS, "a.test")
        assert shown.serial_number == PAIR.certificate.serial_number
        liar = proxy(stack, stack.tmp_path, "liar", foreign, namespace="istio-system")
        await liar.start(wait_until_ready=False)
        try:
            await until(lambda: "a client was refused" in running(stack).log_text(), "it is refused")
            assert (await liar.stats("listener_manager.listener_added")).popitem()[1] == 0
        finally:
            await liar.stop()
        # One that has no certificate gets no further either.
        silent = await stack.envoy(xds_address=f"127.0.0.1:{running(stack).xds_port}", wait_until_ready=False)
        await until(lambda: _tries(silent), "it has tried several times")
        status = await running(stack).status()
        assert [found["id"] for found in status["proxies"]] == ["own"]
        (line,) = [line for line in running(stack).log_text().splitlines() if "a client was refused" in line]
        assert "claims the namespace istio-system" in line
        assert "is for elsewhere" in line
        # And one that expects another server goes on looking for it.
        choosy = proxy(stack, stack.tmp_path, "choosy", bootstrap, server_name="fairlead.example")
        await choosy.start(wait_until_ready=False)
        try:
            await until(lambda: _mistrusts(choosy), "it has seen another certificate than it wants")
        finally:
            await choosy.stop()
        # A renewed certificate is taken at the next connection, without a restart.
        run_again = CliRunner().invoke(app, [*make_proxy, "--overwrite"])
        assert run_again.exit_code == 0
        assert CliRunner().invoke(app, ["pki", "server", folder, "--overwrite"]).exit_code == 0
        stack.write("secret.yaml", secret("a", issued("b", "a.test")))
        await until(
            lambda: _differs(stack, PAIR.certificate.serial_number), "a change reaches the proxy with new certificates"
        )


async def _tries(envoy: Envoy) -> bool:
    return (await envoy.stats(r"cluster\.fairlead\.upstream_cx_total")).popitem()[1] > 2


async def _mistrusts(envoy: Envoy) -> bool:
    return (await envoy.stats(r"cluster\.fairlead\.ssl\.fail_verify_san")).popitem()[1] > 0


async def _differs(stack: Stack, serial: int) -> bool:
    return (await handshake(stack.address, HTTPS, "a.test")).serial_number != serial


async def test_connections_that_are_renewed_are_noticed_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "CONNECTION_AGE", 0.5)
    monkeypatch.setattr(admission, "CONNECTION_END", 0.2)
    folder, address = tmp_path / "objects", loopback()
    folder.mkdir()
    identities = Identities(tmp_path)
    shown = identities.issue(of_namespace("istio-system"))
    files = {"client_certificate": shown.certificate_pem, "client_key": shown.key_pem.reveal()}
    for name, content in files.items():
        (tmp_path / f"{name}.pem").write_bytes(content)
    objects = together(FRONT, gateway(http_server()), route("a", "a.test", "web"), service("web", 80, 9001))
    async with Server(folder, objects.replace("127.0.0.1", address), **identities.settings) as server:
        document = bootstrap_document(
            ProxyIdentity(id="edge-1", namespace="istio-system", labels=LABELS, bind_address=address),
            XdsServer(
                address=server.address,
                authorities=identities.authorities,
                **{name: tmp_path / f"{name}.pem" for name in files},
            ),
            admin_port=free_port(),
        )
        async with Envoy(document, tmp_path) as envoy:
            before = await envoy.stats(LOADED)
            await server.logged("proxy connected", times=5)
            assert await envoy.stats(LOADED) == before
