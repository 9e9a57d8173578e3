"""Private keys reach the proxies that they are for, and are shown nowhere else."""

import base64
import io
import pprint
import re
from pathlib import Path
from typing import Any

import pytest
from e2e.objects import gateway, https_server, issued, secret
from fairlead import diagnosis, translation
from fairlead.cli.main import app
from fairlead.protocol.delta import DeltaStream
from fairlead.resolve.credentials import credential
from fairlead.resolve.scope import Proxy
from fairlead.resolve.selection import selection
from fairlead.snapshot.messages import DeltaDiscoveryRequest
from fairlead.snapshot.table import Snapshot, Table
from fairlead.snapshot.types import SECRET
from fairlead.sources.files.once import read_once
from fairlead.world import World
from rich.console import Console
from support.stack import Stack, until
from support.tell_tales import betray, of_key
from support.worlds import objects
from support.xds_client import XdsClient
from typer.testing import CliRunner

PAIR, OTHER = issued("key", "a.test"), issued("other", "b.test")
PIECES = [*of_key(PAIR), *of_key(OTHER)]
CERTIFICATE, KEY = PAIR.certificate_pem.decode(), PAIR.key_pem.reveal().decode()
EDGE = gateway(https_server("a.test", "a"), selector="app: edge").replace("namespace: default", "namespace: edge")


def lines(text: str, indent: int = 4) -> str:
    return "\n" + "\n".join(" " * indent + line for line in text.splitlines())


PLAIN = f"""
apiVersion: v1
kind: Secret
metadata: {{name: plain, namespace: edge}}
stringData:
  tls.crt: |{lines(CERTIFICATE)}
  tls.key: |{lines(KEY)}
"""
ASM = f"""
apiVersion: istio.alibabacloud.com/v1beta1
kind: ASMCredential
metadata: {{name: asm, namespace: edge}}
spec:
  cert: |{lines(CERTIFICATE)}
  key: |{lines(KEY)}
"""
GOOD = {"Secret": secret("a", PAIR, "edge"), "Secret of text": PLAIN, "ASMCredential": ASM}

_encoded = base64.b64encode(KEY.encode()).decode()
FAULTY = {
    "a key of another certificate": GOOD["Secret"].replace(_encoded, base64.b64encode(OTHER.key_pem.reveal()).decode()),
    "half a key": PLAIN.replace(lines(KEY), lines(KEY[:-40])),
    "a key without its last line": PLAIN.replace("    -----END PRIVATE KEY-----\n", ""),
    "no base64": GOOD["Secret"].replace(_encoded, f"%{_encoded}"),
    "a list of keys": GOOD["Secret"].replace(_encoded, f"[{_encoded}]"),
    "a key as the name of a field": GOOD["Secret"].replace("tls.key: ", "") + ": x",
    "a key instead of the certificate": PLAIN.replace(lines(CERTIFICATE), lines(KEY)),
    "broken YAML": PLAIN.replace("tls.key: |", "tls.key:"),
    "one line": GOOD["Secret"].replace("\n", " "),
    "a key in the wrong object": f"apiVersion: v1\nkind: Service\nmetadata: {{name: x}}\nspec: {{ports: {_encoded}}}",
    "a key in a field that there is not": ASM.replace("  key:", "  privateKey:"),
}


def test_keys_are_recognised() -> None:
    """Else the tests below would show nothing."""
    for text in (*GOOD.values(), KEY, f"x{KEY}", repr(KEY.encode()), _encoded, repr(base64.b64decode(KEY[28:-26]))):
        assert betray(text, PIECES)
    assert not betray(CERTIFICATE, PIECES)


# --- Values -----------------------------------------------------------------------------------------------------------


def shown(value: object) -> str:
    """A value in all the ways in which it may be shown."""
    console = io.StringIO()
    Console(file=console, width=400).print(value)
    parts = [repr(value), str(value), f"{value}", f"{value!r:>2}", pprint.pformat(value), console.getvalue()]
    return "\n".join(parts)


def values(text: str) -> dict[str, Any]:
    """What a text becomes on its way to the proxies."""
    (obj,) = objects(text)
    world = World()
    world.put(obj)
    for other in objects(EDGE.replace("credentialName: a", f"credentialName: {obj.metadata.name}")):
        world.put(other)
    name = f"kubernetes://{obj.metadata.name}"
    selected = selection(world, Proxy(namespace="edge", labels=frozenset({("app", "edge")})))
    resource = translation.secret_resources(world, selected).get(name)
    assert resource is not None
    table = Table(SECRET)
    table.update({name: resource})
    snapshot = Snapshot("x", [table])
    stream = DeltaStream()
    stream.receive(DeltaDiscoveryRequest(SECRET, subscribe=(name,)))
    stream.offer(snapshot, 0.0)
    response = stream.next_response(0.0)
    assert response is not None
    assert betray(b"".join(response.frames), PIECES), "here it has to be"
    return {
        "the object": obj,
        "a list of objects": [obj],
        "the credential": credential(world, "edge", name),
        "the resource": resource,
        "the table": table,
        "the snapshot": snapshot,
        "the response": response,
        "the stream": stream,
        "the status": stream.status(),
        "the world": world,
        "problems": diagnosis.problems(world, selected, Proxy().locality),
    }


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_no_representation_shows_a_key(text: str) -> None:
    for what, value in values(text).items():
        assert not betray(shown(value), PIECES), what


@pytest.mark.parametrize("text", [*GOOD.values(), *FAULTY.values()], ids=[*GOOD, *FAULTY])
def test_what_is_read_from_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.yaml").write_text(text)
    reading = read_once([tmp_path])
    assert not betray(shown(reading), PIECES)
    assert not betray(shown(reading.update), PIECES)


# --- Commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*GOOD.values(), *FAULTY.values()], ids=[*GOOD, *FAULTY])
def test_commands(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret.yaml").write_text(text)
    (tmp_path / "edge.yaml").write_text(EDGE)
    commands = [["check", "--format", form] for form in ("text", "json", "sarif")]
    commands += [["render", "--format", form] for form in ("yaml", "json")]
    for command in commands:
        done = CliRunner().invoke(app, [*command, str(tmp_path)])
        assert done.output
        assert not betray(done.output, PIECES), command
        assert done.exception is None or isinstance(done.exception, SystemExit)


# --- A server ---------------------------------------------------------------------------------------------------------


async def test_a_server_logs_and_shows_none(stack: Stack) -> None:
    """Faulty files, and a client that quotes what it refuses: all pages and the whole log are looked at."""
    stack.write("edge.yaml", EDGE)
    stack.write("a.yaml", GOOD["Secret"])
    for number, text in enumerate(FAULTY.values()):
        stack.write(f"faulty{number}.yaml", text.replace("name: a,", f"name: f{number},"))
    fairlead = await stack.serve()
    metadata = {"LABELS": {"app": "edge"}, "NAMESPACE": "edge"}
    async with XdsClient(f"127.0.0.1:{fairlead.xds_port}", delta=True, node_id="edge-1", metadata=metadata) as client:
        client.refuse = lambda kind, _: f"cannot load {KEY}" if kind == "sds" else ""
        await client.until(lambda: any(kind == "sds" for kind, _ in client.received))
        await until(lambda: "a proxy refused resources" in fairlead.log_text(), "the refusal is logged")
        stack.write("faulty-now.yaml", FAULTY["a key of another certificate"].replace("name: a,", "name: now,"))
        await until(lambda: "Secret edge/now" in fairlead.log_text(), "the new fault is logged")
        index = await fairlead.admin("/debug")
        assert index is not None
        pages = re.findall(r"(?m)^(/\S+)", index)
        assert len(pages) > 5
        for page in [*pages, "/debug/config_dump?proxy=edge-1"]:
            answer = await fairlead.admin(page.split("?proxy=ID")[0] if page.endswith("ID") else page)
            assert not betray(answer or "", PIECES), page
        dump = await fairlead.admin("/debug/config_dump?proxy=edge-1")
        assert dump is not None
        assert "kubernetes://a" in dump
        state = [path for path in (stack.tmp_path / "state").rglob("*") if path.is_file()]
        assert {oct(path.stat().st_mode & 0o077) for path in state} <= {"0o0"}
    await fairlead.stop()
    assert "Traceback" not in fairlead.log_text()
    assert not betray(fairlead.log_text(), PIECES)
