"""A whole installation on loopback: `fairlead serve` as users start it, real Envoys, backends, clients.

Each stack has loopback addresses of its own, so that fixed ports of examples collide with nothing and tests run side
by side. In copied YAML and in bootstraps 127.0.0.1 becomes the address of the stack.
"""

import asyncio
import contextlib
import itertools
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from fairlead.cli.bootstrap import Protocol as XdsProtocol
from fairlead.cli.bootstrap import ProxyIdentity, ProxyRole, XdsServer, bootstrap_document
from fairlead.playground.backend import Backend
from fairlead.playground.client import certificate
from fairlead.playground.envoy import Envoy, free_port

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_RUN = zlib.crc32(os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid())).encode())
_NETWORK = 20 + (2 * _RUN + _WORKER) % 200
"""So that neither workers nor runs beside this one have the same addresses."""
_addresses = (f"127.{_NETWORK}.{1 + n // 250}.{1 + n % 250}" for n in itertools.count())


def loopback() -> str:
    """A loopback address that nobody else uses in this run."""
    return next(_addresses)


async def until(condition: Callable[[], Any], what: str, within: float = 15.0) -> Any:
    """Wait until a condition (a function or coroutine function) gives something true; the bound is in seconds."""
    last: BaseException | None = None
    try:
        async with asyncio.timeout(within):
            while True:
                try:
                    found = condition()
                    if isinstance(found, Awaitable):
                        found = await found
                    if found:
                        return found
                    last = None
                except (OSError, httpx.TransportError, AssertionError) as error:
                    last = error
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what}" + (f" ({last!r})" if last else "")) from last


class ControlPlane:
    """`fairlead serve` as a child process."""

    def __init__(self, folder: Path, log: Path, state: Path, arguments: tuple[str, ...]) -> None:
        self.xds_port = free_port()
        self.admin_port = free_port()
        self.runtime_port = free_port()
        self.log = log
        self._command = (
            *(sys.executable, "-m", "fairlead", "serve", str(folder), "--state-dir", str(state)),
            *("--xds-address", f"127.0.0.1:{self.xds_port}", "--admin-address", f"127.0.0.1:{self.admin_port}"),
            *("--runtime-address", f"127.0.0.1:{self.runtime_port}"),
            *arguments,
        )
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *, wait_until_ready: bool = True) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*self._command, stdout=log, stderr=log)
        if wait_until_ready:
            await until(self._is_ready, f"fairlead is ready; its log:\n{self.log_text()}", within=60)

    async def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.returncode is not None:
            raise RuntimeError(f"fairlead ended with {self.process.returncode}; its log:\n{self.log_text()}")
        return (await self.admin("/ready")) is not None

    def log_text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    async def admin(self, path: str) -> str | None:
        """An answer of the admin endpoint, None unless it is a success."""

        def ask() -> str | None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as answer:
                    return str(answer.read().decode())
            except urllib.error.HTTPError:
                return None

        return await asyncio.to_thread(ask)

    async def status(self) -> dict[str, Any]:
        text = await self.admin("/status")
        assert text is not None
        found: dict[str, Any] = json.loads(text)
        return found

    async def requests(self, of: str, outcome: str) -> int:
        """The number of requests with an outcome, by the object, `Kind namespace/name`, as the metrics have it."""
        kind, _, rest = of.partition(" ")
        namespace, _, name = rest.partition("/")
        labels = f'kind="{kind}",name="{name}",namespace="{namespace}",outcome="{outcome}"'
        lines = (await self.admin("/metrics") or "").splitlines()
        series = f"fairlead_requests_total{{{labels}}} "
        return sum(int(float(line.removeprefix(series))) for line in lines if line.startswith(series))

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await asyncio.wait_for(self.process.wait(), 15)

    async def kill(self) -> None:
        """As a power failure does: no farewell."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()


class Stack:
    """Folder, control plane, proxies, backends; everything ends with the stack."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.folder = tmp_path / "objects"
        self.folder.mkdir()
        self.address = loopback()
        self._exits = contextlib.AsyncExitStack()
        self._proxies = itertools.count(1)
        self.fairlead: ControlPlane | None = None

    async def __aenter__(self) -> "Stack":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    def write(self, name: str, text: str) -> Path:
        """Write a file of the folder as careful editors do: beside it, then renamed."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.new")
        beside.write_text(text.replace("127.0.0.1", self.address))
        beside.rename(target)
        return target

    def copy(self, source: Path) -> None:
        """Copy the YAML files of a folder."""
        for file in sorted(source.glob("*.yaml")):
            self.write(file.name, file.read_text())

    async def serve(self, *arguments: str, wait_until_ready: bool = True) -> ControlPlane:
        """Start `fairlead serve` on the folder."""
        self.fairlead = ControlPlane(self.folder, self.tmp_path / "fairlead.log", self.tmp_path / "state", arguments)
        self._exits.push_async_callback(self.fairlead.stop)
        await self.fairlead.start(wait_until_ready=wait_until_ready)
        return self.fairlead

    async def envoy(
        self,
        protocol: str = "delta",
        *,
        namespace: str = "default",
        labels: dict[str, str] | None = None,
        role: str = "gateway",
        address: str = "",
        own_address: str = "",
        http_proxy_port: int = 0,
        locality: tuple[str, str, str] = ("", "", ""),
        concurrency: int = 1,
        xds_address: str = "",
        wait_until_ready: bool = True,
    ) -> Envoy:
        """Start an Envoy that listens on the address of the stack, or on another one.

        `own_address` is that of a sidecar's workload.
        """
        assert self.fairlead is not None or xds_address
        identity = ProxyIdentity(
            id=f"proxy-{next(self._proxies)}",
            namespace=namespace,
            labels=tuple((labels or {}).items()),
            role=ProxyRole(role),
            bind_address=address or self.address,
            address=own_address,
            http_proxy_port=http_proxy_port,
            locality=locality,
        )
        server = XdsServer(address=xds_address or f"127.0.0.1:{self.fairlead.xds_port if self.fairlead else 0}")
        document = bootstrap_document(identity, server, protocol=XdsProtocol(protocol), admin_port=free_port())
        envoy = Envoy(document, self.tmp_path, concurrency=concurrency)
        self._exits.push_async_callback(envoy.stop)
        await envoy.start(wait_until_ready=wait_until_ready)
        return envoy

    async def backend(self, name: str, port: int, **tls: Any) -> Backend:
        """Start a backend on the address of the stack."""
        return await self._exits.enter_async_context(Backend(name, port, self.address, **tls))

    @contextlib.asynccontextmanager
    async def client(
        self,
        *,
        address: str = "",
        client_certificate: Path | None = None,
        verify: Path | None = None,
        http2: bool = False,
    ) -> AsyncIterator["Client"]:
        """A client of the proxy on an address; `client_certificate`: PEM with certificate and key to show."""
        context = ssl.create_default_context(cafile=verify)
        if verify is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if client_certificate is not None:
            context.load_cert_chain(client_certificate)
        async with httpx.AsyncClient(verify=context, http2=http2, timeout=20, trust_env=False) as http:
            yield Client(http, address or self.address)


class Client:
    """Sends requests for any host to one address."""

    def __init__(self, http: httpx.AsyncClient, address: str) -> None:
        self._http = http
        self._address = address

    async def request(self, method: str, url: str, **more: Any) -> httpx.Response:
        """Send a request for the URL's host to the URL's port of the proxy.

        The `Host` header has no port: clients use the port of the Service in front of the proxy, which is a default.
        """
        parsed = httpx.URL(url)
        headers = {"host": parsed.host, **more.pop("headers", {})}
        target = parsed.copy_with(host=self._address)
        extensions = {"sni_hostname": parsed.host}
        return await self._http.request(method, target, headers=headers, extensions=extensions, **more)

    async def get(self, url: str, **more: Any) -> httpx.Response:
        return await self.request("GET", url, **more)


async def handshake(address: str, port: int, server_name: str) -> x509.Certificate:
    """The certificate that a server presents; raises `OSError` when it refuses the handshake."""
    return x509.load_der_x509_certificate(await asyncio.to_thread(certificate, address, port, server_name))
