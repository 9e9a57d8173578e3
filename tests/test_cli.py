"""The command line as people and scripts meet it: a process, its exit code, what it writes where."""

import base64
import contextlib
import json
import os
import pty
import re
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from e2e.objects import issued
from fairlead.cli.main import app
from fairlead.playground.envoy import free_port
from support.expectations import EXAMPLES, NAMES
from typer.main import get_command
from typer.testing import CliRunner

COMMANDS = ("serve", "ratelimit", "check", "render", "explain", "diff", "status", "bootstrap", "demo", "pki")
FAULTY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {app: edge}
  servers:
  - port: {number: 8080, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: hello, namespace: default}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - match:
    - uri: {regex: "/hello["}
    directResponse: {status: 200}
"""


def fairlead(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(app, arguments, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start a command as a process."""
    return subprocess.Popen([sys.executable, "-m", "fairlead", *arguments], stdout=-1, stderr=-1, text=True)


def refused(*arguments: str) -> str:
    """What a command says that it cannot do: on standard error, with exit code 2, as a sentence."""
    result = fairlead(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return plain(result.stderr)


def ended(command: subprocess.Popen[str]) -> str:
    """The same of a process."""
    stdout, stderr = command.communicate(timeout=20)
    assert command.returncode == 2, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    return stderr


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


# --- All commands -----------------------------------------------------------------------------------------------------


def test_version() -> None:
    done = fairlead("--version")
    assert (done.exit_code, done.stdout) == (0, f"fairlead {version('fairlead')}\n")


def test_help_names_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert re.findall(r"^│ (\w+) ", plain(shown), re.MULTILINE)[-len(COMMANDS) :] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_text(command: str) -> None:
    for option in ("--help", "-h"):
        shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", fairlead(command, option).stdout).split())
    found = get_command(app).commands[command]  # type: ignore[attr-defined]
    assert found.help.split("\n")[0] in shown
    for parameter in found.params:
        assert re.search(r"[.)]$", getattr(parameter, "help", None) or ""), parameter.name


def test_commands_that_do_not_exist() -> None:
    assert "No such command 'servo'" in refused("servo")
    assert "No such option" in refused("check", "--no-such-option", ".")


# --- check ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "faulty.yaml").write_text(FAULTY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    text = FAULTY.replace('regex: "/hello["', "prefix: /").replace("directResponse", "timeuot: 1s\n    directResponse")
    (tmp_path / "doubtful.yaml").write_text(text)
    return tmp_path


def test_check_of_what_is_in_order() -> None:
    done = fairlead("check", str(EXAMPLES / "canary"))
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.fullmatch(r"\d+ objects: 0 errors, 0 warnings\n", done.stdout)


@pytest.mark.usefixtures("faulty")
def test_check_shows_the_place_as_compilers_do() -> None:
    done = fairlead("check", "faulty.yaml")
    assert (done.exit_code, done.stderr) == (1, "")
    assert done.stdout == (
        "faulty.yaml:18:20: error[invalid-regex] the regular expression '/hello[' cannot be compiled: missing ]: [ "
        "(VirtualService default/hello, spec.http[0].match[0].uri.regex)\n"
        '  18 |     - uri: {regex: "/hello["}\n'
        "     |                    ^\n"
        "  why: Envoy refuses the whole route table for it.\n"
        "  hint: Write it in RE2, which has no look-around and no back-references; use prefix or exact where they do.\n"
        "\n"
        "1 object: 1 error, 0 warnings\n"
    )


@pytest.mark.parametrize(("fail_on", "code"), [("error", 0), ("warning", 1)])
def test_warnings_fail_on_request(doubtful: Path, fail_on: str, code: int) -> None:
    done = fairlead("check", str(doubtful), "--fail-on", fail_on)
    assert done.exit_code == code
    assert "warning[unknown-field]" in done.stdout
    assert "hint: did you mean timeout?" in done.stdout
    assert "0 errors, 1 warning" in done.stdout


def test_check_for_scripts(faulty: Path) -> None:
    done = fairlead("check", str(faulty), "--format", "json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == [
        {
            "severity": "error",
            "code": "invalid-regex",
            "file": str(faulty / "faulty.yaml"),
            "line": 18,
            "column": 20,
            "object": {
                "group": "networking.istio.io",
                "kind": "VirtualService",
                "namespace": "default",
                "name": "hello",
            },
            "path": "spec.http[0].match[0].uri.regex",
            "message": "the regular expression '/hello[' cannot be compiled: missing ]: [",
            "hint": "",
            "related": [],
        }
    ]


def test_check_for_scripts_of_what_is_in_order() -> None:
    done = fairlead("check", str(EXAMPLES / "canary"), "--format", "json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])


@pytest.mark.usefixtures("faulty")
def test_check_for_code_review() -> None:
    done = fairlead("check", "faulty.yaml", "--format", "sarif")
    assert done.exit_code == 1
    log = json.loads(done.stdout)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert run["tool"]["driver"]["name"] == "fairlead"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["invalid-regex"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("invalid-regex", "error")
    assert result["message"]["text"].startswith("VirtualService default/hello: the regular expression '/hello['")
    assert result["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "faulty.yaml"},
                "region": {"startLine": 18, "startColumn": 20},
            }
        }
    ]


TWICE = FAULTY.replace('regex: "/hello["', "prefix: /")


def test_check_shows_the_other_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(TWICE)
    (tmp_path / "b.yaml").write_text("# A copy.\n" + TWICE)
    monkeypatch.chdir(tmp_path)
    assert "  see: a.yaml:1:1: this one counts\n" in fairlead("check", ".").stdout
    found = json.loads(fairlead("check", ".", "--format", "json").stdout)[-1]
    place = {"file": "a.yaml", "line": 10, "column": 1, "object": None, "path": ""}
    assert (found["file"], found["related"]) == ("b.yaml", [{"message": "this one counts", **place}])
    log = json.loads(fairlead("check", ".", "--format", "sarif").stdout)
    (other,) = next(each for each in log["runs"][0]["results"] if "relatedLocations" in each)["relatedLocations"]
    assert other["physicalLocation"]["artifactLocation"]["uri"] == "a.yaml"


def test_check_reads_the_standard_input() -> None:
    done = fairlead("check", "-", stdin=FAULTY)
    assert done.exit_code == 1
    assert done.stdout.startswith("<stdin>:18:20: error[invalid-regex] ")
    assert '  18 |     - uri: {regex: "/hello["}\n' in done.stdout
    log = json.loads(fairlead("check", "-", "--format", "sarif", stdin=FAULTY).stdout)
    location = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "%3Cstdin%3E"


def test_check_leaves_out_what_is_suppressed(faulty: Path) -> None:
    done = fairlead(
        "check", str(faulty), "--suppress", "invalid-regex=VirtualService/default/*", "--fail-on", "warning"
    )
    assert (done.exit_code, done.stdout) == (0, "1 object: 0 errors, 0 warnings, 1 suppressed\n")
    refused = fairlead("check", str(faulty), "--suppress", "invalid-regexp")
    assert refused.exit_code == 2
    assert "there is no problem code 'invalid-regexp'" in " ".join(refused.stderr.split())


def test_check_is_in_colour_on_a_terminal_only(faulty: Path) -> None:
    command = [sys.executable, "-m", "fairlead", "check", str(faulty)]
    terminal, side = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI")}
    with os.fdopen(terminal, "rb") as screen:
        ended = subprocess.run(command, stdout=side, env={**environment, "TERM": "xterm-256color"}, check=False)
        os.close(side)
        shown = b""
        with contextlib.suppress(OSError):  # how the end of a terminal's output is told
            while part := screen.read1(65536):
                shown += part
    assert ended.returncode == 1
    assert b"\x1b[1;31merror[invalid-regex]\x1b[0m" in shown
    assert b"\x1b" not in subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout


def test_check_shows_notes_on_request() -> None:
    noted = str(Path(__file__).with_name("faulty") / "055-default-retries.yaml")
    done = fairlead("check", noted, "--notes", "--fail-on", "warning")
    assert done.exit_code == 0
    assert "info[default-retries]" in done.stdout
    assert done.stdout.endswith("0 errors, 0 warnings, 1 note\n")
    assert fairlead("check", noted).stdout.endswith("0 errors, 0 warnings, 1 note not shown (--notes)\n")


def test_check_says_how_long_certificates_last() -> None:
    done = fairlead("check", str(EXAMPLES / "mutual-tls"), "--expires-within", "36600")
    assert "warning[certificate-expires-soon]" in done.stdout
    assert "certificate-expires-soon" not in fairlead("check", str(EXAMPLES / "mutual-tls")).stdout


@pytest.mark.parametrize("command", ["check", "render"])
def test_a_path_that_does_not_exist(command: str, tmp_path: Path) -> None:
    assert f"{tmp_path / 'no'} does not exist" in refused(command, str(tmp_path / "no"))


def test_no_path_at_all() -> None:
    assert "Missing argument 'paths'" in refused("check")


# --- render -----------------------------------------------------------------------------------------------------------


def keys_of(folder: Path) -> list[str]:
    """The private keys in a folder's objects, PEM."""
    found = []
    for file in sorted(folder.glob("*.yaml")):
        for document in filter(None, yaml.safe_load_all(file.read_text())):
            if document["kind"] == "Secret":
                found += [document["stringData"][name] for name in document["stringData"] if name.endswith("key")]
    return found


@pytest.mark.parametrize("output", ["yaml", "json"])
@pytest.mark.parametrize("name", NAMES)
def test_render_shows_no_private_key(name: str, output: str) -> None:
    done = fairlead("render", str(EXAMPLES / name), "--format", output)
    assert done.exit_code == 0, done.stderr
    for text in (done.stdout, done.stderr):
        assert not tell_keys(text, keys_of(EXAMPLES / name))


def tell_keys(text: str, keys: list[str]) -> list[str]:
    """In which forms private keys are in a text: as PEM, in base64 at any offset, or what is within the PEM."""
    found = ["PEM"] if "PRIVATE KEY" in text else []
    joined = re.sub(r"\s", "", text)
    for run in re.findall(r"[A-Za-z0-9+/]{40,}", joined):
        for offset in range(4):
            part = run[offset:]
            if b"PRIVATE KEY" in base64.b64decode(part[: len(part) // 4 * 4]):
                found.append(f"base64, from character {offset}")
    for key in keys:
        lines = [line for line in key.splitlines() if "-----" not in line]
        found += ["body of a PEM" for line in lines if len(line) > 20 and line in joined]
    return found


def test_the_search_for_keys_finds_them() -> None:
    """The test above could not fail otherwise."""
    (key, *_) = keys_of(EXAMPLES / "https-gateway")
    assert tell_keys(key, [])
    for before in ("", "a", "ab", "abc"):
        encoded = base64.b64encode(f"{before}{key}".encode()).decode()
        assert tell_keys(encoded, [])
        assert tell_keys(encoded[1:], [])
        assert tell_keys("\n".join(re.findall(".{1,64}", encoded)), [])
    body = "".join(key.splitlines()[1:-1])
    assert tell_keys(body, [key])
    assert not tell_keys("nothing", [key])


def test_render_has_the_certificates_and_says_that_keys_are_left_out() -> None:
    done = fairlead("render", str(EXAMPLES / "https-gateway"), "--type", "sds", "--format", "json")
    secrets = [secret for document in json.loads(done.stdout) for secret in document["sds"]]
    assert secrets
    for secret in secrets:
        certificate = secret["tls_certificate"]
        chain = certificate["certificate_chain"]
        shown = chain.get("inline_string") or base64.b64decode(chain["inline_bytes"]).decode()
        assert shown.startswith("-----BEGIN CERTIFICATE-----")
        assert base64.b64decode(certificate["private_key"]["inline_bytes"]) == b"[redacted]"


@pytest.mark.parametrize("kind", ["cds", "eds", "lds", "rds"])
def test_render_of_one_type(kind: str) -> None:
    done = fairlead("render", str(EXAMPLES / "canary"), "--type", kind)
    (document,) = yaml.safe_load_all(done.stdout)
    assert document.keys() == {"proxy", kind}
    assert document["proxy"] == "default/app=canary-edge"


@pytest.mark.parametrize(
    "arguments",
    [("--proxy", "default/app=canary-edge"), ("--labels", "app=canary-edge"), ("--labels", "app=canary-edge,more=1")],
)
def test_render_for_one_proxy(arguments: tuple[str, ...]) -> None:
    done = fairlead("render", str(EXAMPLES / "canary"), "--format", "json", *arguments)
    (document,) = json.loads(done.stdout)
    assert [listener["name"] for listener in document["lds"]] == ["0.0.0.0_8080"]


def test_render_where_nothing_selects_a_proxy(tmp_path: Path) -> None:
    done = fairlead("render", str(tmp_path), "--format", "json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])
    assert done.stderr == "no Gateway selects a proxy\n"


def test_render_refuses_labels_that_are_none() -> None:
    assert "--labels is 'app'" in refused("render", str(EXAMPLES / "canary"), "--labels", "app")


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_where_no_server_runs() -> None:
    address = f"127.0.0.1:{free_port()}"
    said = refused("status", "--admin-address", address)
    assert f"no answer from {address}" in said
    assert "is `fairlead serve` running, with this --admin-address?" in said


def test_status_of_something_else_than_a_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(20)
        address = f"127.0.0.1:{other.getsockname()[1]}"
        command = started("status", "--admin-address", address)
        connection, _ = other.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
    assert f"no answer from {address}" in ended(command)


def test_status_refuses_an_address_that_is_none() -> None:
    assert "--admin-address is 'nowhere'; write IP:PORT" in refused("status", "--admin-address", "nowhere")


# --- serve ------------------------------------------------------------------------------------------------------------


def free_addresses() -> tuple[str, ...]:
    return ("--xds-address", f"127.0.0.1:{free_port()}", "--admin-address", f"127.0.0.1:{free_port()}")


def serving(path: Path, *arguments: str) -> subprocess.Popen[str]:
    return started("serve", str(path), "--state-dir", str(path.parent / "state"), *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--xds-address", "nowhere"), "--xds-address is 'nowhere'; write IP:PORT"),
        (("--xds-address", "example.com:1"), "--xds-address is 'example.com:1'"),
        (("--admin-address", "127.0.0.1:65536"), "--admin-address is '127.0.0.1:65536'"),
        (("--tls-cert", "c.pem"), "--tls-cert and --tls-key belong together"),
        (("--tls-key", "c.key"), "--tls-cert and --tls-key belong together"),
        (("--client-ca", "ca.pem"), "--client-ca needs --tls-cert and --tls-key"),
        (("--runtime-address", "127.0.0.1:0"), "--runtime-address needs a port"),
        (("--runtime-advertised-address", "nowhere"), "--runtime-advertised-address is 'nowhere'; write HOST:PORT"),
        (("--redis-url", "http://127.0.0.1"), "--redis-url cannot be used: Redis URL must specify one of"),
        (("--deletion-grace", "-1"), "--deletion-grace is -1; give 0 or more seconds"),
    ],
)
def test_serve_refuses_settings(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    assert message in refused("serve", str(tmp_path), "--state-dir", str(tmp_path / "state"), *arguments)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
def test_serve_refuses_to_give_keys_away(address: str, tmp_path: Path) -> None:
    said = refused("serve", str(tmp_path), "--xds-address", address)
    assert "private keys would travel in plaintext" in said
    assert "--allow-plaintext-secrets-off-host" in said


@pytest.mark.parametrize("option", ["--xds-address", "--admin-address"])
def test_serve_where_a_port_is_taken(option: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = ended(serving(tmp_path, *free_addresses(), option, address))
    assert address in said
    assert "error: " in said


def test_serve_without_the_files_that_it_is_told(tmp_path: Path) -> None:
    said = ended(serving(tmp_path, *free_addresses(), "--tls-cert", "no-such.pem", "--tls-key", "no-such.pem"))
    assert "no-such.pem" in said


def test_serve_waits_for_a_path_that_does_not_exist(tmp_path: Path) -> None:
    """It is said, and nothing is served: an empty answer would empty the proxies."""
    missing = tmp_path / "later"
    xds = free_port()
    server = serving(missing, "--xds-address", f"127.0.0.1:{xds}", "--admin-address", f"127.0.0.1:{free_port()}")
    try:
        assert server.stderr is not None
        lines = read_until(server.stderr, "no-such-path")
        assert f"{missing} does not exist" in lines[-1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", xds), timeout=5)
        missing.mkdir()
        read_until(server.stderr, "serving xDS")
        socket.create_connection(("127.0.0.1", xds), timeout=5).close()
    finally:
        server.terminate()
        rest = server.communicate(timeout=15)[1]
    assert server.returncode == 0
    assert "Traceback" not in rest


def read_until(stream: Any, text: str) -> list[str]:
    """The lines up to one with the text; the test's time limit is the bound."""
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"no {text!r} in {lines}")


def test_check_shows_no_line_of_a_key(tmp_path: Path) -> None:
    key = issued("a", "a.example.com").key_pem.reveal()
    encoded = base64.b64encode(key).decode()
    indented = "".join(f"    {line}\n" for line in key.decode().splitlines())
    head = "apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\n"
    (tmp_path / "a.yaml").write_text(head % "a" + f"data:\n  tls.crt: {encoded}\n  tls.key: {encoded}\n")
    (tmp_path / "b.yaml").write_text(head % "b" + f"stringData:\n  tls.crt: |\n{indented}  tls.key: |\n{indented}")
    # Not a document at all: the parser points into the key.
    (tmp_path / "c.yaml").write_text(head % "c" + f"stringData:\n  tls.key: |\n{indented.replace('    ', '')}")
    ended = fairlead("check", str(tmp_path))
    assert ended.exit_code == 1
    shown = ended.output
    assert shown.count("error[") >= 3, shown
    for line in (*key.decode().splitlines()[1:-1], encoded):
        assert line not in shown
