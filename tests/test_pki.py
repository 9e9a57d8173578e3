"""`fairlead pki`: what it makes, judged by openssl, and what it refuses."""

import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import Result
from fairlead.cli.main import app
from typer.main import get_command
from typer.testing import CliRunner


def pki(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["pki", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def made(*arguments: object) -> str:
    """What a command says that has done its work."""
    done = pki(*arguments)
    assert (done.exit_code, done.stderr) == (0, ""), done.stderr
    return done.stdout


def refused(*arguments: object) -> str:
    """The sentence of one that has not."""
    done = pki(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    return " ".join(done.stderr.split())


def openssl(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


def command(said: str, beginning: str) -> list[str]:
    """The command to copy, as a shell would read it."""
    (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith(beginning)]
    return shlex.split(line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made("init", tmp_path / "pki")
    return tmp_path / "pki"


def test_a_start(folder: Path) -> None:
    made("proxy", folder, "--namespace", "team-a", "--service-account", "edge")
    names = {"ca.key", "ca.pem", "server.key", "server.pem", "team-a.edge.key", "team-a.edge.pem"}
    assert {path.name for path in folder.iterdir()} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("certificate", "purpose", "accepted"),
    [
        ("server", "sslserver", True),
        ("server", "sslclient", False),
        ("team-a.edge", "sslclient", True),
        # Else whoever holds a proxy's key could pose as the control plane.
        ("team-a.edge", "sslserver", False),
    ],
)
def test_each_certificate_serves_one_purpose(folder: Path, certificate: str, purpose: str, accepted: bool) -> None:
    made("proxy", folder, "--namespace", "team-a")
    verified = openssl(
        *("verify", "-x509_strict", "-purpose", purpose, "-CAfile", folder / "ca.pem", folder / f"{certificate}.pem")
    )
    assert (verified.returncode == 0) is accepted, verified.stderr
    assert accepted or "unsuitable certificate purpose" in verified.stderr


def test_names(folder: Path, tmp_path: Path) -> None:
    def subject_alternative_name(file: Path) -> str:
        shown = openssl("x509", "-in", file, "-noout", "-ext", "subjectAltName").stdout
        return shown.splitlines()[-1].strip()

    default = "IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, DNS:localhost"
    assert subject_alternative_name(folder / "server.pem") == default
    made("init", tmp_path / "other", "--server-name", "Fairlead.Example", "--server-name", "192.0.2.7")
    named = subject_alternative_name(tmp_path / "other" / "server.pem")
    assert named == "DNS:fairlead.example, IP Address:192.0.2.7"
    made("proxy", folder, "--namespace", "a", "--service-account", "b", "--trust-domain", "td.example")
    assert subject_alternative_name(folder / "a.b.pem") == "URI:spiffe://td.example/ns/a/sa/b"
    long = "-".join(["long"] * 20)
    made("proxy", folder, "--namespace", "a", "--service-account", f"{long[:59]}.{long[:59]}")


def test_dates(folder: Path) -> None:
    def lives(file: str, days: int) -> bool:
        return openssl("x509", "-in", folder / file, "-noout", "-checkend", days * 86400).returncode == 0

    assert lives("ca.pem", 3649)
    assert not lives("ca.pem", 3651)
    for days, given in ((364, 365), (9, 10)):
        made("proxy", folder, "--namespace", "a", "--days", given, "--overwrite")
        assert lives("a.edge.pem", days)
        assert not lives("a.edge.pem", given + 1)
    made("proxy", folder, "--namespace", "b", "--days", 36500)
    assert not lives("b.edge.pem", 3651), "it would outlive its CA"


def test_commands_to_copy_fit_the_commands(tmp_path: Path) -> None:
    said = made("init", tmp_path / "my pki")
    proxy = command(said, "fairlead pki proxy")
    said += made(*proxy[2:])
    assert "PRIVATE KEY" not in said
    for text, known in ((command(said, "fairlead serve"), "serve"), (command(said, "fairlead bootstrap"), "bootstrap")):
        options = {option for parameter in get_command(app).commands[known].params for option in parameter.opts}  # type: ignore[attr-defined]
        given = [part for part in text if part.startswith("--")]
        assert len(given) > 3
        assert set(given) <= options
        files = [part for part in text if part.endswith((".pem", ".key"))]
        assert len(files) == 3
        assert all(Path(file).is_file() for file in files)
    bootstrap = command(said, "fairlead bootstrap")
    done = CliRunner().invoke(app, bootstrap[1 : bootstrap.index(">")])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("name", "listens", "dialled"),
    [
        ("fairlead.example", "0.0.0.0:18000", "fairlead.example:18000"),
        ("2001:db8::1", "[::]:18000", "[2001:db8::1]:18000"),
        ("localhost", None, "127.0.0.1:18000"),
    ],
)
def test_commands_to_copy_use_the_name_of_the_server(
    tmp_path: Path, name: str, listens: str | None, dialled: str
) -> None:
    serve = command(made("init", tmp_path / "pki", "--server-name", name), "fairlead serve")
    assert (serve[serve.index("--xds-address") + 1] if "--xds-address" in serve else None) == listens
    bootstrap = command(made("proxy", tmp_path / "pki", "--namespace", "a"), "fairlead bootstrap")
    assert bootstrap[bootstrap.index("--xds-address") + 1] == dialled
    assert bootstrap[bootstrap.index("--server-name") + 1] == dialled.removesuffix(":18000").strip("[]")


def test_what_is_there_is_replaced_only_when_asked_for(folder: Path) -> None:
    made("proxy", folder, "--namespace", "a")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert "ca.pem is there already" in refused("init", folder)
    assert "server.pem is there already: give --overwrite" in refused("server", folder)
    assert "a.edge.pem is there already: give --overwrite" in refused("proxy", folder, "--namespace", "a")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    made("server", folder, "--overwrite")
    made("proxy", folder, "--namespace", "a", "--overwrite")
    changed = {path.name for path in folder.iterdir() if path.read_bytes() != before[path]}
    assert changed == {"server.key", "server.pem", "a.edge.key", "a.edge.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("left", ["ca.pem", "ca.key", "server.pem", "server.key"])
def test_a_ca_is_never_replaced_not_even_by_halves(folder: Path, left: str) -> None:
    for path in folder.iterdir():
        if path.name != left:
            path.unlink()
    assert f"{left} is there already" in refused("init", folder)
    assert [path.name for path in folder.iterdir()] == [left]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("init {new} --server-name under_score", "--server-name is 'under_score'; write a DNS name or an IP address"),
        ("init {new} --server-name http://x", "--server-name is 'http://x'"),
        ("init {new} --trust-domain A/b", "--trust-domain is 'A/b'; write lower-case letters"),
        ("proxy {new} --namespace a", "holds no CA; make one with: fairlead pki init"),
        ("server {new}", "holds no CA"),
        ("proxy {folder} --namespace Team", "--namespace is 'Team'; write lower-case letters"),
        ("proxy {folder} --namespace a/../b", "--namespace is 'a/../b'"),
        ("proxy {folder} --namespace a --service-account ../b", "--service-account is '../b'"),
        ("proxy {folder}", "Missing option '--namespace'"),
    ],
)
def test_refusals(folder: Path, tmp_path: Path, arguments: str, message: str) -> None:
    assert message in refused(*arguments.format(folder=folder, new=tmp_path / "new").split())
    assert not (tmp_path / "new").exists()


def test_a_ca_that_cannot_sign(folder: Path) -> None:
    key = folder / "ca.key"
    kept = key.read_bytes()
    for content, message in (
        (b"", "cannot be read"),
        (kept[:60], "cannot be read"),
        ((folder / "server.key").read_bytes(), "is not the one of the certificate"),
    ):
        key.write_bytes(content)
        said = refused("proxy", folder, "--namespace", "a")
        assert message in said
        assert re.search("[A-Za-z0-9+/]{40}", said.replace(str(folder), "")) is None
    for name in ("ca.pem", "ca.key"):
        (folder / name).write_bytes((folder / f"server{name[2:]}").read_bytes())
    assert "is no CA's certificate" in refused("proxy", folder, "--namespace", "a")


def test_a_folder_that_others_may_write_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert "others may write to" in refused("init", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_option_has_a_help_text() -> None:
    for name, found in get_command(app).commands["pki"].commands.items():  # type: ignore[attr-defined]
        assert pki(name, "--help").exit_code == 0
        for parameter in found.params:
            assert re.search(r"[.)]$", getattr(parameter, "help", None) or ""), (name, parameter.name)
