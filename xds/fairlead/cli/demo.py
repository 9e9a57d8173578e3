"""`fairlead demo`: everything on loopback with real Envoys, narrated.

It serves a copy of two examples, so nothing of yours is touched. Each step says what is done and what was observed;
a step that is not observed as it should be ends the demo with exit code 1.
"""

import asyncio
import base64
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from fairlead.certificates.issuing import issue
from fairlead.certificates.reading import serial_of
from fairlead.cli.bootstrap import Protocol, ProxyIdentity, XdsServer, bootstrap_document
from fairlead.cli.output import OUT, fail
from fairlead.cli.status import fetch
from fairlead.errors import AdminError, FairleadError
from fairlead.playground.backend import Backend
from fairlead.playground.client import Answer, Load, ask, certificate, connect
from fairlead.playground.envoy import Envoy, free_port
from fairlead.server.settings import Address
from fairlead.status import ProblemStatus

_EXAMPLES = Path(__file__).parents[1] / "examples"
_ADDRESS = "127.83.0.1"
"""A loopback address that hardly anybody uses, so that the examples' ports are free."""
_WITHIN = 20.0

T = TypeVar("T")


class _UnexpectedError(FairleadError):
    """Something was not observed as it should be."""


class _Demo:
    """The stage: a folder of objects, a control plane, two Envoys, their backends."""

    def __init__(self, folder: Path) -> None:
        self.objects = folder / "objects"
        self._folder = folder
        self._xds_port = free_port()
        self._admin = Address("127.0.0.1", free_port())
        self._fairlead: asyncio.subprocess.Process | None = None
        self._steps = 0

    def say(self, text: str) -> None:
        self._steps += 1
        OUT.print(f"\n[bold]{self._steps}. {text}[/]" if OUT.is_terminal else f"\n{self._steps}. {text}")

    @staticmethod
    def observe(text: str) -> None:
        OUT.print(f"   {text}", markup=False)

    @staticmethod
    def expect(holds: bool, text: str) -> None:
        if not holds:
            raise _UnexpectedError(f"expected: {text}")

    # --- Objects ---

    def copy(self, example: str) -> None:
        for file in sorted((_EXAMPLES / example).glob("*.yaml")):
            self.write(f"{example}/{file.name}", file.read_text())

    def write(self, name: str, text: str) -> None:
        """Write a file beside its place, then rename it, as careful editors do."""
        target = self.objects / name
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}")
        beside.write_text(text.replace("127.0.0.1", _ADDRESS))
        beside.rename(target)

    def edit(self, name: str, old: str, new: str) -> int:
        """Replace a text in a file; returns the number of its line, from 1."""
        text = (self.objects / name).read_text()
        self.expect(old in text, f"{old!r} in {name}")
        self.write(name, text.replace(old, new, 1))
        return text[: text.index(old)].count("\n") + 1

    # --- Processes ---

    async def start_fairlead(self) -> None:
        with (self._folder / "fairlead.log").open("ab") as log:
            self._fairlead = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fairlead", "serve", str(self.objects)),
                *("--xds-address", f"127.0.0.1:{self._xds_port}", "--admin-address", str(self._admin)),
                *("--state-dir", str(self._folder / "state")),
                stdout=log,
                stderr=log,
            )

        def ready() -> bool:
            if self._fairlead is not None and self._fairlead.returncode is not None:
                raise _UnexpectedError((self._folder / "fairlead.log").read_text())
            try:
                return fetch(self._admin).synced
            except AdminError:
                return False

        try:
            await _until(ready, "fairlead is ready")
        except _UnexpectedError as error:
            raise _UnexpectedError(f"{error}\n{(self._folder / 'fairlead.log').read_text()}") from None

    async def kill_fairlead(self) -> None:
        if self._fairlead is not None and self._fairlead.returncode is None:
            self._fairlead.kill()
            await self._fairlead.wait()

    def envoy(self, name: str, protocol: Protocol, namespace: str, label: tuple[str, str]) -> Envoy:
        identity = ProxyIdentity(id=name, namespace=namespace, labels=(label,), bind_address=_ADDRESS)
        server = XdsServer(address=f"127.0.0.1:{self._xds_port}")
        return Envoy(bootstrap_document(identity, server, protocol=protocol, admin_port=free_port()), self._folder)

    # --- What is seen ---

    async def ask(self, host: str, path: str, *, tls: bool = False, headers: dict[str, str] | None = None) -> Answer:
        def once() -> Answer:
            connection = connect(_ADDRESS, 8443 if tls else 8080, host if tls else None)
            with contextlib.closing(connection):
                return ask(connection, host, path, headers)

        return await asyncio.to_thread(once)

    async def shares(self, count: int) -> Counter[str]:
        def many() -> Counter[str]:
            with contextlib.closing(connect(_ADDRESS, 8080)) as connection:
                return Counter(ask(connection, "reviews.example.com", "/").backend for _ in range(count))

        return await asyncio.to_thread(many)

    async def serial(self) -> str:
        return serial_of(await asyncio.to_thread(certificate, _ADDRESS, 8443, "a.aliyun.com"))

    def problems(self) -> tuple[ProblemStatus, ...]:
        return fetch(self._admin).problems


async def _until(condition: Callable[[], T | None], what: str) -> T:
    """The first true result of a condition, which is asked again and again; raises after 20 seconds."""
    deadline = time.monotonic() + _WITHIN
    while time.monotonic() < deadline:
        found = await asyncio.to_thread(condition)
        if found:
            return found
        await asyncio.sleep(0.005)
    raise _UnexpectedError(f"not within {_WITHIN:g} s: {what}")


def demo() -> None:
    """Show what Fairlead does, on loopback, with real Envoys: routes, weights, certificates, faults, restarts."""
    with tempfile.TemporaryDirectory(prefix="fairlead-demo-") as folder:
        try:
            asyncio.run(_play(_Demo(Path(folder))))
        except (FairleadError, OSError) as error:
            fail(str(error), code=1)


async def _play(stage: _Demo) -> None:
    async with contextlib.AsyncExitStack() as exits:
        stage.say("A folder of YAML, a control plane, two stock Envoys, four small backends")
        for example in ("https-gateway", "canary"):
            stage.copy(example)
        exits.push_async_callback(stage.kill_fairlead)
        await stage.start_fairlead()
        gateway = await exits.enter_async_context(
            stage.envoy("gateway", Protocol.DELTA, "istio-system", ("istio", "ingressgateway"))
        )
        stage.observe("Envoy `gateway` is ready; it speaks delta xDS")
        for name, port in (("a", 9031), ("b", 9032), ("v1", 9011), ("v2", 9012)):
            await exits.enter_async_context(Backend(name, port, _ADDRESS))
        await _requests(stage)
        await _rotation(stage, gateway)
        await _fault(stage)
        await _restart(stage, gateway)
        await gateway.stop()
        canary = await exits.enter_async_context(
            stage.envoy("canary", Protocol.SOTW, "default", ("app", "canary-edge"))
        )
        await _canary(stage, canary)
        stage.say("That was all. `fairlead serve FOLDER` does the same for a folder of yours.")


async def _requests(stage: _Demo) -> None:
    stage.say("Requests: two hosts, each with its certificate, and one that nobody routes")
    for host, path, status, backend in (
        ("a.aliyun.com", "/hello", 200, "a"),
        ("b.aliyun.com", "/status/418", 418, "b"),
        ("c.aliyun.com", "/hello", 404, ""),
    ):
        answer = await stage.ask(host, path, tls=True)
        stage.expect((answer.status, answer.backend) == (status, backend), f"{status} from {backend or 'Envoy'}")
        stage.observe(f"https://{host}{path} -> {answer.status} from {answer.backend or 'Envoy itself'}")


async def _rotation(stage: _Demo, gateway: Envoy) -> None:
    stage.say("A certificate is replaced under load")
    old = await stage.serial()
    modified = "listener_manager.listener_modified"
    before = (await gateway.stats(modified))[modified]
    now = datetime.now(UTC)
    authority = issue("Demo CA", start=now, lifetime=timedelta(days=2))
    fresh = issue("*.aliyun.com", hosts=["*.aliyun.com"], start=now, lifetime=timedelta(days=1), issuer=authority)
    async with Load(_ADDRESS, 8443, "a.aliyun.com", "/hello") as load:
        await _until(lambda: load.answered >= 20, "20 requests are answered")
        text = (stage.objects / "https-gateway/secrets.yaml").read_text()
        documents = [part for part in text.split("\n---\n") if "name: aliyun-wildcard\n" not in part]
        encoded = {
            "tls.crt": base64.b64encode(fresh.certificate_pem).decode(),
            "tls.key": base64.b64encode(fresh.key_pem.reveal()).decode(),
        }
        data = "".join(f"  {key}: {value}\n" for key, value in encoded.items())
        documents.append(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: aliyun-wildcard\n  namespace: istio-system\n"
            f"type: kubernetes.io/tls\ndata:\n{data}"
        )
        written = time.monotonic()
        stage.write("https-gateway/secrets.yaml", "\n---\n".join(documents))
        while await stage.serial() != fresh.serial:
            stage.expect(time.monotonic() - written < _WITHIN, "the new certificate is served")
        took = (time.monotonic() - written) * 1000
        answered = load.answered
        await _until(lambda: load.answered >= answered + 20, "20 more requests are answered")
    drained = (await gateway.stats(modified))[modified] - before
    stage.observe(f"serial {old[:16]}... before, {fresh.serial[:16]}... {took:.0f} ms after the file was written")
    stage.observe(
        f"{load.answered} requests on {load.connections} open connection, {len(load.failures)} failed; "
        f"listeners modified: {drained}"
    )
    stage.expect(not load.failures and load.connections == 1 and not drained, "no failure, no new connection")


async def _fault(stage: _Demo) -> None:
    stage.say("An object is broken on purpose: a path becomes a faulty regular expression")
    line = stage.edit("https-gateway/gateway.yaml", "exact: /hello", 'regex: "/hello["')
    problem = await _until(
        lambda: next((found for found in stage.problems() if found.file.endswith("gateway.yaml")), None),
        "the fault is reported",
    )
    stage.observe(f"{Path(problem.file).name}:{problem.line}:{problem.column}: {problem.message} ({problem.object})")
    stage.expect(problem.line == line, f"the fault is reported in line {line}")
    answer = await stage.ask("a.aliyun.com", "/hello", tls=True)
    stage.expect(answer.status == 200, "the last good version keeps serving")
    stage.observe(f"https://a.aliyun.com/hello -> {answer.status}: the last good version keeps serving")


async def _restart(stage: _Demo, gateway: Envoy) -> None:
    stage.say("The control plane is killed and started again, while that object is still broken")
    reloads = await _reloads(gateway)
    async with Load(_ADDRESS, 8443, "a.aliyun.com", "/hello") as load:
        await _until(lambda: load.answered >= 5, "5 requests are answered")
        await stage.kill_fairlead()
        answered = load.answered
        await _until(lambda: load.answered >= answered + 20, "20 requests are answered without a control plane")
        await stage.start_fairlead()
        connected = "control_plane.connected_state"
        deadline = time.monotonic() + _WITHIN
        while (await gateway.stats(connected)).get(connected) != 1:
            stage.expect(time.monotonic() < deadline, "Envoy is connected again")
            await asyncio.sleep(0.02)
        answered = load.answered
        await _until(lambda: load.answered >= answered + 20, "20 more requests are answered")
    again = await _reloads(gateway) - reloads
    stage.observe(
        f"{load.answered} requests, {len(load.failures)} failed; resources that Envoy had to load again: {again}"
    )
    stage.expect(not load.failures and not again, "no failure, and nothing loaded again")
    stage.edit("https-gateway/gateway.yaml", 'regex: "/hello["', "exact: /hello")
    await _until(lambda: not any(found.severity == "error" for found in stage.problems()), "the fault is gone")
    stage.observe("the object is mended, and the fault is gone from `fairlead status`")


async def _reloads(envoy: Envoy) -> int:
    """How often Envoy has taken in a listener, cluster, route table or Secret that differed from what it had."""
    counters = r"(listener|cluster)_(added|modified|removed)$|config_reload$|ssl_context_update_by_sds$"
    return sum((await envoy.stats(counters)).values())


async def _canary(stage: _Demo, canary: Envoy) -> None:
    stage.say("A canary by weight; the second Envoy speaks state-of-the-world xDS")
    found = await stage.shares(200)
    stage.observe(f"of 200 requests {found['v1']} went to v1, {found['v2']} to v2 (weights 90 and 10)")
    stage.expect(found["v1"] > found["v2"] > 0, "about 90 % and 10 %")
    modified = (await canary.stats("listener_modified")).get("listener_manager.listener_modified", 0)
    stage.edit("canary/gateway.yaml", "weight: 90", "weight: 0")
    written = time.monotonic()
    await _until_async(stage, lambda counted: counted["v1"] == 0, "all requests go to v2")
    stage.observe(f"{(time.monotonic() - written) * 1000:.0f} ms after `weight: 90` became `weight: 0` all go to v2")
    now = (await canary.stats("listener_modified")).get("listener_manager.listener_modified", 0)
    stage.expect(now == modified, "no listener is touched")


async def _until_async(stage: _Demo, holds: Callable[[Counter[str]], bool], what: str) -> None:
    deadline = time.monotonic() + _WITHIN
    while not holds(await stage.shares(20)):
        stage.expect(time.monotonic() < deadline, what)
