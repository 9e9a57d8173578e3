"""Certificates on a real Envoy: which one is presented, when there is none, and how they are replaced."""

import asyncio
import base64
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
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
    secret_of,
    service,
    together,
)
from fairlead.certificates.issuing import Issued
from fairlead.playground.client import Load, ask, connect
from fairlead.playground.envoy import Envoy
from support.stack import Stack, handshake, loopback, until

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("protocol", ["delta", "sotw"])]

AUTHORITY = issued("Test CA")
A = issued("a", "a.aliyun.com", issuer=AUTHORITY)
B = issued("b", "b.aliyun.com", issuer=AUTHORITY)
REFUSED = (ssl.SSLError, ConnectionError)
WILDCARD = issued("wildcard", "*.aliyun.com", issuer=AUTHORITY)


async def start(stack: Stack, protocol: str, *documents: str, **more: bool) -> Envoy:
    """The control plane on these documents, an Envoy, and the backend `web` behind the service of that name."""
    stack.write("front.yaml", FRONT)
    stack.write("web.yaml", service("web", 80, 9001))
    stack.write("objects.yaml", together(*documents))
    await stack.serve()
    envoy = await stack.envoy(protocol, namespace=PROXY_NAMESPACE, labels=PROXY_LABELS, **more)
    await stack.backend("web", 9001)
    return envoy


async def presented(stack: Stack, host: str) -> x509.Certificate:
    return await handshake(stack.address, HTTPS, host)


async def presents(stack: Stack, host: str, pair: Issued) -> bool:
    return (await presented(stack, host)) == pair.certificate


async def status_of(stack: Stack, url: str) -> int:
    async with stack.client() as client:
        return (await client.get(url)).status_code


@pytest.mark.istio_fields("Gateway.servers[].tls.{mode,credentialName}")
async def test_the_certificate_of_the_secret_is_presented_and_tls_ends_at_the_gateway(
    stack: Stack, protocol: str
) -> None:
    await start(
        stack,
        protocol,
        gateway(https_server("*.aliyun.com", "aliyun")),
        route("all", "*.aliyun.com", "web"),
        secret("aliyun", WILDCARD),
    )
    found = await presented(stack, "helloworld-go.default.aliyun.com")
    assert found.fingerprint(hashes.SHA256()) == WILDCARD.certificate.fingerprint(hashes.SHA256())
    async with stack.client() as client:
        answer = await client.get(f"https://helloworld-go.default.aliyun.com:{HTTPS}/")
        assert answer.status_code == 200
        assert answer.json()["headers"]["x-forwarded-proto"] == "https"
        assert answer.headers["server"] == "istio-envoy"
    assert await status_of(stack, f"https://elsewhere.aliyun.com:{HTTPS}/") == 200
    # A client that offers a certificate is not asked for it.
    offered = stack.tmp_path / "client.pem"
    offered.write_bytes(A.certificate_pem + A.key_pem.reveal())
    async with stack.client(client_certificate=offered) as client:
        assert (await client.get(f"https://a.aliyun.com:{HTTPS}/")).status_code == 200
    shown = await command("openssl", "s_client", "-connect", f"{stack.address}:{HTTPS}", "-servername", "a.aliyun.com")
    assert "No client certificate CA names sent" in shown.output


async def test_without_a_gateway_the_port_is_closed(stack: Stack, protocol: str) -> None:
    await start(stack, protocol, gateway(http_server()), route("all", "*", "web"))
    assert await status_of(stack, f"http://a.aliyun.com:{HTTP}/") == 200
    with pytest.raises(ConnectionRefusedError):
        await presented(stack, "a.aliyun.com")


async def test_a_secret_counts_only_in_the_proxies_namespace(stack: Stack, protocol: str) -> None:
    envoy = await start(
        stack,
        protocol,
        gateway(https_server("a.aliyun.com", "aliyun")),
        route("all", "a.aliyun.com", "web"),
        secret("aliyun", A, namespace="default"),
    )
    process = envoy.process
    with pytest.raises(REFUSED):
        await presented(stack, "a.aliyun.com")
    assert stack.fairlead is not None
    problems = (await stack.fairlead.status())["problems"]
    assert any("istio-system/aliyun" in problem["message"] + problem["object"] for problem in problems), problems
    stack.write("secret.yaml", secret("aliyun", A))
    await until(lambda: presents(stack, "a.aliyun.com", A), "the certificate is presented", within=2)
    assert envoy.process is process
    assert process is not None
    assert process.returncode is None
    assert (await envoy.stats("server.hot_restart_epoch$"))["server.hot_restart_epoch"] == 0


async def test_a_missing_secret_harms_its_own_server_only(stack: Stack, protocol: str) -> None:
    await start(
        stack,
        protocol,
        gateway(
            https_server("a.aliyun.com", "no-such-secret"),
            https_server("b.aliyun.com", "b", name="https-b"),
            http_server(),
        ),
        route("all", "*", "web"),
        secret("b", B),
    )
    with pytest.raises(REFUSED):
        await presented(stack, "a.aliyun.com")
    assert await presents(stack, "b.aliyun.com", B)
    assert await status_of(stack, f"https://b.aliyun.com:{HTTPS}/") == 200
    assert await status_of(stack, f"http://a.aliyun.com:{HTTP}/") == 200


async def test_a_key_that_does_not_fit_harms_its_own_server_only(stack: Stack, protocol: str) -> None:
    await start(
        stack,
        protocol,
        gateway(https_server("a.aliyun.com", "a"), https_server("b.aliyun.com", "b", name="https-b"), http_server()),
        route("all", "*", "web"),
        secret_of("a", A.certificate_pem, B.key_pem.reveal()),
        secret("b", B),
    )
    with pytest.raises(REFUSED):
        await presented(stack, "a.aliyun.com")
    assert await presents(stack, "b.aliyun.com", B)
    assert await status_of(stack, f"http://a.aliyun.com:{HTTP}/") == 200
    assert stack.fairlead is not None
    problems = (await stack.fairlead.status())["problems"]
    assert sorted((p["code"], p["object"]) for p in problems if p["severity"] == "error") == [
        ("key-mismatch", "Secret istio-system/a"),
        ("missing-credential", "Gateway default/edge"),
    ]


async def test_a_good_certificate_outlives_a_bad_one_that_replaces_it(stack: Stack, protocol: str) -> None:
    objects = (gateway(https_server("a.aliyun.com", "a")), route("all", "*", "web"))
    await start(stack, protocol, *objects, secret("a", A))
    assert await presents(stack, "a.aliyun.com", A)
    stack.write("objects.yaml", together(*objects, secret_of("a", A.certificate_pem, B.key_pem.reveal())))
    await until(lambda: _problem(stack, "does not belong"), "the fault is told")
    assert await presents(stack, "a.aliyun.com", A)
    # A proxy that is new, and a control plane that has been killed, get the good one too.
    assert stack.fairlead is not None
    await stack.fairlead.kill()
    await stack.serve()
    address = loopback()
    await stack.envoy(protocol, namespace=PROXY_NAMESPACE, labels=PROXY_LABELS, address=address)
    assert await handshake(address, HTTPS, "a.aliyun.com") == A.certificate


async def test_clients_verify_with_our_authority(stack: Stack, protocol: str) -> None:
    await start(
        stack,
        protocol,
        gateway(https_server("a.aliyun.com", "a"), https_server("old.aliyun.com", "old", name="https-old")),
        route("all", "*", "web"),
        secret("a", A),
        secret_of("old", *openssl_v1(stack.tmp_path, "aliyun.com")),
    )
    ours, other = stack.tmp_path / "ours.pem", stack.tmp_path / "other.pem"
    ours.write_bytes(AUTHORITY.certificate_pem)
    other.write_bytes(issued("Other CA").certificate_pem)
    assert await curl(stack, "a.aliyun.com", "--cacert", str(ours)) == 0
    assert await curl(stack, "a.aliyun.com", "--cacert", str(other)) == 60
    # A certificate of version 1 has no alternative names: a name below its common name does not verify.
    assert await curl(stack, "old.aliyun.com", "--cacert", str(stack.tmp_path / "root.crt")) == 60
    assert await curl(stack, "old.aliyun.com", "--insecure") == 0


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    output: str


async def command(*arguments: str, cwd: Path | None = None) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *arguments, cwd=cwd, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return Ended(process.returncode, output.decode())


async def curl(stack: Stack, host: str, *arguments: str) -> int:
    """The exit code of curl for a request to the host."""
    to = f"{host}:{HTTPS}:{stack.address}"
    ended = await command("curl", "-s", "-o", "/dev/null", "--resolve", to, *arguments, f"https://{host}:{HTTPS}/")
    return ended.code


def openssl_v1(folder: Path, common_name: str) -> tuple[bytes, bytes]:
    """Certificate and key as many instructions make them: `openssl x509 -req` without extensions."""

    def openssl(*arguments: str) -> None:
        subprocess.run([shutil.which("openssl") or "openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-sha256", "-nodes", "-days", "365", "-newkey", "rsa:2048",
            "-subj", f"/O=myexample Inc./CN={common_name}", "-keyout", "root.key", "-out", "root.crt")  # fmt: skip
    openssl("req", "-out", "leaf.csr", "-newkey", "rsa:2048", "-nodes", "-keyout", "leaf.key",
            "-subj", f"/CN={common_name}/O=myexample organization")  # fmt: skip
    openssl("x509", "-req", "-days", "365", "-CA", "root.crt", "-CAkey", "root.key", "-set_serial", "0",
            "-in", "leaf.csr", "-out", "leaf.crt")  # fmt: skip
    return (folder / "leaf.crt").read_bytes(), (folder / "leaf.key").read_bytes()


async def test_replacing_a_secret_is_seen_by_new_handshakes_alone(stack: Stack, protocol: str) -> None:
    envoy = await start(
        stack,
        protocol,
        gateway(https_server("a.aliyun.com", "a")),
        route("all", "a.aliyun.com", "web"),
        secret("a", A),
    )
    fresh = issued("fresh", "a.aliyun.com", issuer=AUTHORITY)
    before = await envoy.stats("listener_manager.listener_(modified|added|in_place_updated)")
    updates = await envoy.stats("ssl_context_update_by_sds")
    open_connection = connect(stack.address, HTTPS, "a.aliyun.com")
    assert (await asyncio.to_thread(ask, open_connection, "a.aliyun.com", "/")).status == 200
    async with Load(stack.address, HTTPS, "a.aliyun.com", "/", interval=0.02) as load:
        await until(lambda: load.answered > 10, "there is a load")
        objects = (stack.folder / "objects.yaml").read_text()
        stack.write("objects.yaml", objects.replace(secret("a", A), secret("a", fresh)))
        await until(lambda: presents(stack, "a.aliyun.com", fresh), "the new certificate is presented")
        answered = load.answered
        await until(lambda: load.answered > answered + 10, "the load goes on")
    assert (await asyncio.to_thread(ask, open_connection, "a.aliyun.com", "/")).status == 200
    assert isinstance(open_connection.sock, ssl.SSLSocket)
    der = open_connection.sock.getpeercert(binary_form=True)
    assert der == A.certificate.public_bytes(Encoding.DER), "the same connection as before"
    open_connection.close()
    assert load.failures == []
    assert load.connections == 1
    assert await envoy.stats("listener_manager.listener_(modified|added|in_place_updated)") == before
    assert sum((await envoy.stats("ssl_context_update_by_sds")).values()) == sum(updates.values()) + 1


async def test_rotation_by_name_in_either_order(stack: Stack, protocol: str) -> None:
    objects = [gateway(https_server("a.aliyun.com", "one")), route("all", "a.aliyun.com", "web"), secret("one", A)]
    await start(stack, protocol, *objects)
    two = issued("two", "a.aliyun.com", issuer=AUTHORITY)
    async with Load(stack.address, HTTPS, "a.aliyun.com", "/", interval=0.02) as load:
        await until(lambda: load.answered > 10, "there is a load")
        # The new Secret first, then the Gateway.
        stack.write("two.yaml", secret("two", two))
        objects[0] = gateway(https_server("a.aliyun.com", "two"))
        stack.write("objects.yaml", together(*objects))
        await until(lambda: presents(stack, "a.aliyun.com", two), "the new certificate is presented")
        # The Secret in use is deleted first: it goes on being presented until the Gateway names another one.
        (stack.folder / "two.yaml").unlink()
        await until(lambda: _problem(stack, "two"), "the deletion is noticed")
        assert await presents(stack, "a.aliyun.com", two)
        objects[0] = gateway(https_server("a.aliyun.com", "one"))
        stack.write("objects.yaml", together(*objects))
        await until(lambda: presents(stack, "a.aliyun.com", A), "the other certificate is presented")
        answered = load.answered
        await until(lambda: load.answered > answered + 10, "the load goes on")
    assert load.failures == []


async def _problem(stack: Stack, text: str) -> bool:
    assert stack.fairlead is not None
    return any(text in problem["message"] for problem in (await stack.fairlead.status())["problems"])


async def test_secret_after_gateway_and_server_removed(stack: Stack, protocol: str) -> None:
    servers = [https_server("a.aliyun.com", "a"), https_server("b.aliyun.com", "b", name="https-b")]
    await start(stack, protocol, gateway(*servers), route("all", "*", "web"))
    for host in ("a.aliyun.com", "b.aliyun.com"):
        with pytest.raises(REFUSED):
            await presented(stack, host)
    stack.write("secrets.yaml", together(secret("a", A), secret("b", B)))
    await until(lambda: presents(stack, "a.aliyun.com", A), "a is served", within=2)
    await until(lambda: presents(stack, "b.aliyun.com", B), "b is served", within=2)
    stack.write("objects.yaml", together(gateway(servers[1]), route("all", "*", "web")))

    async def refused() -> bool:
        try:
            await presented(stack, "a.aliyun.com")
        except OSError:
            return True
        return False

    await until(refused, "a is refused")
    assert await presents(stack, "b.aliyun.com", B)


async def test_wildcard_hosts_and_certificates_by_name(stack: Stack, protocol: str) -> None:
    await start(
        stack,
        protocol,
        gateway(https_server("*.aliyun.com", "wildcard"), https_server("b.aliyun.com", "b", name="https-b")),
        route("a", "a.aliyun.com", "web", match="exact: /hello"),
        route("b", "b.aliyun.com", "web", match="prefix: /status"),
        secret("wildcard", WILDCARD),
        secret("b", B),
    )
    for host, pair in (("a.aliyun.com", WILDCARD), ("x.y.aliyun.com", WILDCARD), ("b.aliyun.com", B)):
        assert await presents(stack, host, pair), host
    for host in ("aliyun.com", "evil.com"):
        with pytest.raises(REFUSED):
            await presented(stack, host)
    assert await status_of(stack, f"https://a.aliyun.com:{HTTPS}/hello") == 200
    assert await status_of(stack, f"https://a.aliyun.com:{HTTPS}/other") == 404
    assert await status_of(stack, f"https://b.aliyun.com:{HTTPS}/status/418") == 418
    assert await status_of(stack, f"https://c.aliyun.com:{HTTPS}/hello") == 404


async def test_config_dump_shows_certificates_as_operators_look_for_them(stack: Stack, protocol: str) -> None:
    certificate, key = openssl_v1(stack.tmp_path, "aliyun.com")
    envoy = await start(
        stack,
        protocol,
        gateway(https_server("*.aliyun.com", "myexample-credential")),
        route("all", "*.aliyun.com", "web"),
        secret_of("myexample-credential", certificate, key),
    )
    dump = await envoy.admin("/config_dump")
    secrets = next(
        part for part in (await envoy.config_dump())["configs"] if part["@type"].endswith("SecretsConfigDump")
    )
    assert [found["name"] for found in secrets["dynamic_active_secrets"]] == ["kubernetes://myexample-credential"]
    assert '"filename"' not in dump.split("SecretsConfigDump")[1]
    (stack.tmp_path / "dump.json").write_text(dump)
    pipeline = (
        "grep -A 3 'certificate_chain' dump.json | grep inline_bytes | sed 's/.*: \"//; s/\".*//' "
        "| base64 -d | openssl x509 -noout -issuer"
    )
    issuer = await command("bash", "-c", pipeline, cwd=stack.tmp_path)
    assert "O = myexample Inc." in issuer.output
    assert base64.b64encode(key).decode() not in dump


async def test_an_asm_credential_is_a_secret_of_its_name(stack: Stack, protocol: str) -> None:
    def credential(certificate: bytes, key: bytes) -> str:
        def block(text: bytes) -> str:
            return "".join(f"\n    {line}" for line in text.decode().splitlines())

        return (
            "apiVersion: istio.alibabacloud.com/v1\nkind: ASMCredential\nmetadata: {name: a, namespace: istio-system}\n"
            f"spec:\n  type: tls\n  cert: |{block(certificate)}\n  key: |{block(key)}\n"
        )

    await start(
        stack,
        protocol,
        gateway(https_server("a.aliyun.com", "a")),
        route("all", "*", "web"),
        credential(A.certificate_pem, A.key_pem.reveal()),
    )
    assert await presents(stack, "a.aliyun.com", A)
    async with stack.client(http2=False) as client:
        answer = await client.get(f"https://a.aliyun.com:{HTTPS}/")
        assert (answer.status_code, answer.headers["server"]) == (200, "istio-envoy")
    # A key that does not fit is refused, and what was accepted before goes on.
    broken = credential(A.certificate_pem, B.key_pem.reveal())
    stack.write("objects.yaml", together(gateway(https_server("a.aliyun.com", "a")), route("all", "*", "web"), broken))
    assert stack.fairlead is not None
    fairlead = stack.fairlead

    async def told() -> bool:
        problems = (await fairlead.status())["problems"]
        return any(p["code"] == "key-mismatch" and p["object"] == "ASMCredential istio-system/a" for p in problems)

    await until(told, "the fault is told")
    assert await presents(stack, "a.aliyun.com", A)


async def test_reserved_secret_names(stack: Stack, protocol: str) -> None:
    objects = (
        gateway(https_server("a.aliyun.com", "istio-ingressgateway-certs")),
        route("all", "*", "web"),
        secret("istio-ingressgateway-certs", A),
    )
    await start(stack, protocol, *objects)
    assert await presents(stack, "a.aliyun.com", A), "by default it is served, with a warning"
    assert stack.fairlead is not None
    warned = [p for p in (await stack.fairlead.status())["problems"] if "istio-ingressgateway-certs" in p["object"]]
    assert [(p["severity"], bool(p["hint"])) for p in warned] == [("warning", True)]
    await stack.fairlead.stop()
    await stack.serve("--strict-secret-names")
    address = loopback()
    await stack.envoy(protocol, namespace=PROXY_NAMESPACE, labels=PROXY_LABELS, address=address)
    with pytest.raises(REFUSED):
        await handshake(address, HTTPS, "a.aliyun.com")
