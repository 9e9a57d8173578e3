"""`fairlead diff` says which connections are drained; these are closed by a real Envoy, and the others are not."""

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
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
    resource,
    route,
    secret,
    service,
)
from e2e.observing import in_sync
from fairlead.cli.main import app
from support.stack import Stack
from typer.testing import CliRunner

pytestmark = pytest.mark.e2e

A, B = https_server("a.test", "a", "https-a"), https_server("b.test", "b", "https-b")
PASSTHROUGH = resource(
    "networking.istio.io/v1",
    "Gateway",
    "before-edge",  # older, as names go, so that its TLS and the plaintext of the other share the port
    """
    selector: {istio: ingressgateway}
    servers:
    - port: {number: 80, name: tls, protocol: TLS}
      tls: {mode: PASSTHROUGH}
      hosts: [c.test]
    """,
) + resource(
    "networking.istio.io/v1",
    "VirtualService",
    "through",
    """
    hosts: [c.test]
    gateways: [before-edge]
    tls:
    - match: [{sniHosts: [c.test]}]
      route: [{destination: {host: web}}]
    """,
).replace("\napiVersion", "---\napiVersion", 1)


@dataclass
class Kept:
    """A connection that a client keeps open between requests."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    host: str

    async def answers(self) -> bool:
        """Whether a request on it is answered; what says that the connection ends with it is an answer, too."""
        self.writer.write(f"GET / HTTP/1.1\r\nhost: {self.host}\r\n\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await self.reader.readexactly(int(length.partition(b":")[2]))
        return head.startswith(b"HTTP/1.1 200 ")

    async def closed(self) -> bool:
        """Whether the proxy closes it, within a time that is long for `--drain-time-s 2`."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            return await asyncio.wait_for(self.reader.read(1), 15) == b""
        return True


@contextlib.asynccontextmanager
async def kept(stack: Stack, port: int, host: str) -> AsyncIterator[Kept]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = {"ssl": context, "server_hostname": host} if port == HTTPS else {}
    reader, writer = await asyncio.open_connection(stack.address, port, **tls)
    try:
        found = Kept(reader, writer, host)
        assert await found.answers()
        yield found
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


def differing(old: Path, new: Path, files: dict[str, str]) -> str:
    """What `fairlead diff` says of a folder and a copy of it with these files."""
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(old, new)
    for name, text in files.items():
        (new / name).write_text(text)
    result = CliRunner().invoke(app, ["diff", str(old), str(new)])
    assert result.exit_code == 1, result.output
    return result.output


async def changed(stack: Stack, files: dict[str, str]) -> str:
    """What `fairlead diff` says of the folder with these files, which are then put into it."""
    texts = {name: text.replace("127.0.0.1", stack.address) for name, text in files.items()}
    said = await asyncio.to_thread(differing, stack.folder, stack.tmp_path / "shall-be", texts)
    for name, text in files.items():
        stack.write(name, text)
    await in_sync(stack)
    return said


async def test_what_is_said_to_drain_does_and_nothing_else(stack: Stack) -> None:
    for name, text in {
        "front.yaml": FRONT,
        "web.yaml": service("web", 80, 9001),
        "edge.yaml": gateway(http_server(), A, B),
        "a.yaml": route("a", "a.test", "web"),
        "b.yaml": route("b", "b.test", "web"),
        "plain.yaml": route("plain", "plain.test", "web"),
        "secrets.yaml": f"{secret('a', issued('a.test', 'a.test'))}---{secret('b', issued('b.test', 'b.test'))}",
    }.items():
        stack.write(name, text)
    await stack.serve()
    await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
    await stack.backend("web", 9001)
    await in_sync(stack)
    async with (
        kept(stack, HTTPS, "a.test") as at_a,
        kept(stack, HTTPS, "b.test") as at_b,
        kept(stack, HTTP, "plain.test") as plain,
    ):
        said = await changed(stack, {"a.yaml": route("a", "a.test", "web") + "    timeout: 7s\n"})
        assert "no connection of clients is drained" in said
        pairs = f"{secret('a', issued('a.test', 'a.test'))}---{secret('b', issued('b.test', 'b.test'))}"
        said = await changed(stack, {"secrets.yaml": pairs})
        assert "no connection of clients is drained" in said

        newer_tls = A.replace("mode: SIMPLE", "mode: SIMPLE, minProtocolVersion: TLSV1_3")
        said = await changed(stack, {"edge.yaml": gateway(http_server(), newer_tls, B)})
        assert f"listener 0.0.0.0_{HTTPS} drains connections of https.443.https-a.edge.default, and no others" in said
        assert await at_a.closed()
        # By now what came before would have been closed as well.
        assert await at_b.answers()
        assert await plain.answers()

        said = await changed(stack, {"through.yaml": PASSTHROUGH})
        assert f"listener 0.0.0.0_{HTTP} drains all its connections: listener_filters" in said
        assert await plain.closed()
        assert await at_b.answers()
