"""What the real Envoy makes of certificates: whether it takes them, and whom it lets in."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ENVOY = os.environ.get("ENVOY_BIN") or shutil.which("envoy") or shutil.which("envoy", path=Path(sys.executable).parent)
_TYPES = "type.googleapis.com/envoy.extensions"


def _inline(content: bytes) -> dict[str, str]:
    return {"inline_bytes": base64.b64encode(content).decode()}


def tls_context(
    chain: bytes, key: bytes, staple: bytes | None = None, ca: bytes | None = None, crl: bytes | None = None
) -> dict[str, Any]:
    """A DownstreamTlsContext that asks for a client certificate when there is a CA."""
    certificate = {"certificate_chain": _inline(chain), "private_key": _inline(key)}
    if staple is not None:
        certificate["ocsp_staple"] = _inline(staple)
    context: dict[str, Any] = {"tls_certificates": [certificate]}
    if ca is not None:
        context["validation_context"] = {"trusted_ca": _inline(ca)} | ({} if crl is None else {"crl": _inline(crl)})
    return {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": context,
        "require_client_certificate": ca is not None,
    }


def _bootstrap(contexts: Mapping[str, dict[str, Any]]) -> str:
    """An echo listener for each context, all on loopback ports that the system chooses."""
    anywhere = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    echo = {"name": "echo", "typed_config": {"@type": f"{_TYPES}.filters.network.echo.v3.Echo"}}
    listeners = [
        {
            "name": name,
            "address": anywhere,
            "filter_chains": [{"transport_socket": {"name": "tls", "typed_config": context}, "filters": [echo]}],
        }
        for name, context in contexts.items()
    ]
    return json.dumps({"admin": {"address": anywhere}, "static_resources": {"listeners": listeners}})


def refusal(context: dict[str, Any]) -> str | None:
    """Why Envoy refuses a TLS context, None when it takes it."""
    with TemporaryDirectory() as folder:
        bootstrap = Path(folder, "bootstrap.json")
        bootstrap.write_text(_bootstrap({"listener": context}))
        command = [str(ENVOY), "--mode", "validate", "-c", str(bootstrap), "-l", "error"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return None if done.returncode == 0 else done.stderr.strip().rsplit(".json': ", 1)[-1]


@contextmanager
def serving(contexts: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, int]]:
    """A running Envoy: the port of each context's echo listener."""
    with TemporaryDirectory() as folder:
        bootstrap, admin = Path(folder, "bootstrap.json"), Path(folder, "admin")
        bootstrap.write_text(_bootstrap(contexts))
        command = [str(ENVOY), "-c", str(bootstrap), "--admin-address-path", str(admin), "--disable-hot-restart"]
        process = subprocess.Popen([*command, "-l", "error", "--concurrency", "1"])
        try:
            deadline = time.monotonic() + 20
            while len(ports := _ports(admin)) < len(contexts):
                assert process.poll() is None, "Envoy has ended"
                assert time.monotonic() < deadline, "Envoy does not listen"
                time.sleep(0.02)
            yield ports
        finally:
            process.terminate()
            process.wait(timeout=20)


def _ports(admin: Path) -> dict[str, int]:
    if not admin.exists():
        return {}
    with urllib.request.urlopen(f"http://{admin.read_text()}/listeners?format=json", timeout=5) as response:
        listeners = json.load(response).get("listener_statuses", [])
    return {item["name"]: item["local_address"]["socket_address"]["port_value"] for item in listeners}
