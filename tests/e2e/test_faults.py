"""Of 21 VirtualServices one is at fault, or what it needs: 20 work, the fault is told in each place where one looks."""

from pathlib import Path
from typing import NamedTuple

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
    secret,
    secret_of,
    service,
    virtual_service,
)
from e2e.observing import problems, running, told
from fairlead.cli.main import app
from support.stack import Client, Stack, handshake, until
from typer.testing import CliRunner

AUTHORITY = issued("Test CA")
PAIR = issued("h7", "h7.test", issuer=AUTHORITY)
OTHER = issued("other", "h7.test", issuer=AUTHORITY)
SEVENTH = 81
"""A port for h7.test alone."""
BACKEND = 9001

ROUTES = """
http:
- name: all
  timeout: 5s
  headers: {response: {set: {x-version: old}}}
  route:
  - destination: {host: web, port: {number: 80}}
    weight: 1
"""


def routes(number: int) -> str:
    gateways = "edge, seventh" if number == 7 else "edge"
    return virtual_service(f"h{number}", f"h{number}.test", ROUTES, gateways).lstrip()


GOOD = {
    "front.yaml": FRONT + "  - {name: seventh, port: 81}\n",
    "web.yaml": service("web", 80, BACKEND),
    "edge.yaml": gateway(http_server(), https_server("h7.test", "h7")),
    "seventh.yaml": gateway(
        f"\n  - port: {{number: {SEVENTH}, name: http, protocol: HTTP}}\n    hosts: [h7.test]", name="seventh"
    ),
    "secret.yaml": secret("h7", PAIR),
    **{f"h{number}.yaml": routes(number) for number in range(21)},
}


class Fault(NamedTuple):
    """What is done to a file, and what is told of it."""

    file: str
    old: str
    new: str
    """In place of `old`. Files that are new begin as that of h7.test."""
    code: str
    line: str
    """Beginning of the line that the fault is told of, without indentation."""
    severity: str = "error"
    served: str | int = "old"
    """Which version of h7.test goes on, or with which status it is answered."""
    told_of: str = ""
    """The file that the fault is told of, if it is another one."""
    held: bool = False
    """A running server has something to hold, which makes it an error."""

    @property
    def severity_when_running(self) -> str:
        return "error" if self.held else self.severity


FAULTS = {
    "syntax": Fault("h7.yaml", '"h7.test"]', '"h7.test"', "syntax", "gateways:"),
    "wrong type": Fault("h7.yaml", "timeout: 5s", "timeout: [5s]", "wrong-type", "timeout:"),
    "bad duration": Fault("h7.yaml", "timeout: 5s", "timeout: 5 seconds", "invalid-value", "timeout:"),
    "bad regular expression": Fault(
        "h7.yaml", "timeout: 5s", 'match: [{uri: {regex: "/("}}]', "invalid-regex", "match:"
    ),
    "missing host": Fault("h7.yaml", "host: web, ", "", "missing-field", "- destination:"),
    "unknown service": Fault("h7.yaml", "web", "gone", "unknown-service", "- destination:", "warning", held=True),
    "unknown field": Fault("h7.yaml", "timeout:", "timeuot:", "unknown-field", "timeuot:", "warning", "new"),
    "negative weight": Fault("h7.yaml", "weight: 1", "weight: -1", "invalid-value", "weight:"),
    "unknown gateway": Fault("h7.yaml", "edge, seventh", "edgy", "unknown-gateway", "gateways:", "warning", 404),
    "duplicate host": Fault("h7b.yaml", "name: h7", "name: h7b", "duplicate-host", "hosts:", "warning"),
    "duplicate object": Fault("h7b.yaml", "timeout: 5s", "timeout: 6s", "duplicate-object", "apiVersion:"),
    "bad port": Fault("seventh.yaml", "number: 81", "number: 70000", "invalid-port", "- port:"),
    "port 0": Fault("seventh.yaml", "number: 81", "number: 0", "invalid-port", "- port:"),
    "mismatched key": Fault(
        "secret.yaml",
        secret("h7", PAIR),
        secret_of("h7", OTHER.certificate_pem, PAIR.key_pem.reveal()),
        "key-mismatch",
        "tls.key:",
    ),
    "missing secret": Fault(
        "secret.yaml", "name: h7", "name: other", "missing-credential", "tls:", told_of="edge.yaml"
    ),
}
"""Name -> what is done, one at a time."""


def faulty(fault: Fault) -> str:
    good = GOOD.get(fault.file, GOOD["h7.yaml"])
    assert fault.old in good
    return good.replace(fault.old, fault.new, 1).replace("x-version: old", "x-version: new")


def line_of(folder: Path, fault: Fault, number: int) -> str:
    return (folder / (fault.told_of or fault.file)).read_text().splitlines()[number - 1].strip()


@pytest.mark.parametrize("name", FAULTS)
def test_check_tells(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    for file, text in (GOOD | {fault.file: faulty(fault)}).items():
        (tmp_path / file).write_text(text)
    file = str(tmp_path / (fault.told_of or fault.file))
    for fail_on in ("error", "warning"):
        ended = CliRunner().invoke(app, ["check", str(tmp_path), "--fail-on", fail_on])
        assert ended.exit_code == (1 if fail_on == "warning" or fault.severity == "error" else 0)
        # There may be others, of objects that need the faulty one.
        (first,) = [line for line in ended.output.splitlines() if f" {fault.severity}[{fault.code}] " in line]
        assert first.startswith(f"{file}:")
        assert line_of(tmp_path, fault, int(first.removeprefix(file).split(":")[1])).startswith(fault.line)


def test_check_finds_nothing_before(tmp_path: Path) -> None:
    for file, text in GOOD.items():
        (tmp_path / file).write_text(text)
    assert CliRunner().invoke(app, ["check", str(tmp_path), "--fail-on", "warning"]).exit_code == 0


@pytest.mark.e2e
@pytest.mark.parametrize("protocol", ["delta", "sotw"])
async def test_one_fault_after_the_other(stack: Stack, protocol: str) -> None:
    for file, text in GOOD.items():
        stack.write(file, text)
    await stack.serve()
    envoy = await stack.envoy(protocol, namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
    await stack.backend("web", BACKEND)
    async with stack.client() as client:
        await judge_traffic(client, "old")
        assert await problems(stack) == []
        for name, fault in FAULTS.items():
            logged = len(running(stack).log_text())
            stack.write(fault.file, faulty(fault))
            await until(lambda: problems(stack), f"{name} is told")
            await judge_words(stack, fault, logged)
            await until(lambda: served(client, fault.served), f"{name}: h7.test is served as {fault.served}")  # noqa: B023
            await judge_traffic(client, fault.served)
            assert await handshake(stack.address, HTTPS, "h7.test") == PAIR.certificate
            if fault.file in GOOD:
                stack.write(fault.file, GOOD[fault.file])
            else:
                (stack.folder / fault.file).unlink()
            await told(stack)
            await until(lambda: served(client, "old"), f"{name} is solved")
            # Told once when it appears, however often all is computed anew, and once when it is solved.
            levels = [line.split()[1] for line in running(stack).log_text()[logged:].splitlines()]
            assert levels == [f"[{fault.severity_when_running}", "[info"], name
    rejected = await envoy.stats("update_rejected$")
    assert sum(rejected.values()) == 0


@pytest.mark.e2e
async def test_all_faults_from_the_beginning(stack: Stack) -> None:
    """Of faulty objects no earlier version is known: they are not served, and harm nobody."""
    broken = [fault for fault in FAULTS.values() if fault.file == "h7.yaml" and fault.severity == "error"]
    for number, fault in enumerate(broken):
        stack.write(f"broken-{number}.yaml", faulty(fault).replace("h7", f"broken-{number}"))
    for file, text in GOOD.items():
        stack.write(file, text)
    await stack.serve()
    await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
    await stack.backend("web", BACKEND)
    assert {(Path(found["file"]).name, found["code"]) for found in await problems(stack)} == {
        (f"broken-{number}.yaml", fault.code) for number, fault in enumerate(broken)
    }
    async with stack.client() as client:
        await judge_traffic(client, "old")
        for number in range(len(broken)):
            assert (await client.get(f"http://broken-{number}.test:{HTTP}/")).status_code == 404
    lines = running(stack).log_text().splitlines()
    assert sum("[error" in line for line in lines) == len(broken)


async def judge_words(stack: Stack, fault: Fault, logged: int) -> None:
    """The fault is in `/status`, and in the log from position `logged` on."""
    (problem,) = await problems(stack)
    file = str(stack.folder / (fault.told_of or fault.file))
    code, severity = "held" if fault.held else fault.code, fault.severity_when_running
    assert (problem["severity"], problem["code"], problem["file"]) == (severity, code, file)
    assert line_of(stack.folder, fault, problem["line"]).startswith(fault.line)
    (line,) = running(stack).log_text()[logged:].splitlines()
    for part in (severity, problem["message"], f"code={code} ", f"at={file}:{problem['line']}:"):
        assert part in line


async def served(client: Client, version: str | int) -> bool:
    """Whether h7.test is served like this, by both its gateways."""
    for port in (HTTP, SEVENTH):
        answer = await client.get(f"http://h7.test:{port}/")
        if version not in (answer.status_code, answer.headers.get("x-version")):
            return False
    return True


async def judge_traffic(client: Client, seventh: str | int) -> None:
    for number in range(21):
        if number != 7:
            answer = await client.get(f"http://h{number}.test:{HTTP}/")
            assert (answer.status_code, answer.headers["x-version"]) == (200, "old"), number
    assert await served(client, seventh)
