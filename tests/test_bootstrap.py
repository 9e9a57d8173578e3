"""`fairlead bootstrap`: options -> document, refusals, and that Envoy takes every variant."""

import json
import re
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from fairlead.certificates.issuing import issue
from fairlead.cli.main import app
from fairlead.playground.envoy import find_envoy
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parent.parent
ENVOY = ROOT / "envoy"
_ROW = re.compile(r"^\| `([\w-]+\.json)` \|.*\| `fairlead (bootstrap .*)` \|$", re.MULTILINE)
COMMANDS = dict(_ROW.findall((ENVOY / "README.md").read_text()))
"""Document -> arguments that make it, as the README says."""


def bootstrap(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["bootstrap", *arguments])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def at(document: dict[str, Any], path: str) -> Any:
    """What is at a dotted path; None when nothing is."""

    def step(value: Any, part: str) -> Any:
        if value is None:
            return None
        return value[int(part)] if part.isdigit() else value.get(part)

    return reduce(step, path.split("."), document)


ADDRESS = "static_resources.clusters.0.load_assignment.endpoints.0.lb_endpoints.0.endpoint.address"
TLS = "static_resources.clusters.0.transport_socket.typed_config.common_tls_context"


@pytest.mark.parametrize(
    ("arguments", "path", "expected"),
    [
        ("", "node.id", "edge-1"),
        ("", "node.cluster", "gateway"),
        ("", "node.metadata.NAMESPACE", "default"),
        ("--namespace istio-system", "node.metadata.NAMESPACE", "istio-system"),
        ("", "node.metadata.LABELS", {}),
        ("--labels app=edge,tier=front", "node.metadata.LABELS", {"app": "edge", "tier": "front"}),
        ("--labels app=", "node.metadata.LABELS", {"app": ""}),
        ("--labels app=edge", "node.cluster", "edge"),
        ("", "node.metadata.ROLE", "gateway"),
        ("--role sidecar", "node.metadata.ROLE", "sidecar"),
        ("--role waypoint", "node.metadata.ROLE", "waypoint"),
        ("", "node.metadata.BIND_ADDRESS", None),
        ("--bind-address 127.0.0.9", "node.metadata.BIND_ADDRESS", "127.0.0.9"),
        ("", "node.metadata.INSTANCE_IPS", None),
        ("--role sidecar --address 10.0.0.7", "node.metadata.INSTANCE_IPS", "10.0.0.7"),
        ("", "node.metadata.HTTP_PROXY_PORT", None),
        ("--role sidecar --http-proxy-port 15080", "node.metadata.HTTP_PROXY_PORT", 15080),
        ("", "node.metadata.VHDS", True),
        ("--protocol sotw", "node.metadata.VHDS", None),
        ("", "dynamic_resources.ads_config.api_type", "DELTA_GRPC"),
        ("--protocol sotw", "dynamic_resources.ads_config.api_type", "GRPC"),
        ("", "node.locality", {"region": "", "zone": "", "sub_zone": ""}),
        ("--locality r", "node.locality", {"region": "r", "zone": "", "sub_zone": ""}),
        ("--locality r/z/s", "node.locality", {"region": "r", "zone": "z", "sub_zone": "s"}),
        ("", "admin.address.socket_address", {"address": "127.0.0.1", "port_value": 15000}),
        ("--admin-port 9901", "admin.address.socket_address", {"address": "127.0.0.1", "port_value": 9901}),
        ("", ADDRESS, {"socket_address": {"address": "127.0.0.1", "port_value": 18000}}),
        ("--xds-address [::1]:18000", ADDRESS, {"socket_address": {"address": "::1", "port_value": 18000}}),
        ("--xds-address unix:/run/x.sock", ADDRESS, {"pipe": {"path": "/run/x.sock"}}),
        ("--xds-address 10.0.0.1:1", "static_resources.clusters.0.type", "STATIC"),
        ("--xds-address [::1]:1", "static_resources.clusters.0.type", "STATIC"),
        ("--xds-address unix:/run/x.sock", "static_resources.clusters.0.type", "STATIC"),
        ("--xds-address fairlead.example:1", "static_resources.clusters.0.type", "STRICT_DNS"),
        ("", "static_resources.clusters.0.transport_socket", None),
        ("--server-ca /pki/ca.pem", f"{TLS}.validation_context.trusted_ca.filename", "/pki/ca.pem"),
        ("--server-ca /pki/ca.pem", f"{TLS}.tls_certificates", None),
        ("--server-ca /pki/ca.pem", f"{TLS}.validation_context.match_typed_subject_alt_names", None),
        (
            "--server-ca /pki/ca.pem --server-name fairlead.example",
            f"{TLS}.validation_context.match_typed_subject_alt_names",
            [{"san_type": "DNS", "matcher": {"exact": "fairlead.example"}}],
        ),
        (
            "--server-ca /pki/ca.pem --server-name fairlead.example",
            "static_resources.clusters.0.transport_socket.typed_config.sni",
            "fairlead.example",
        ),
        (
            "--server-ca /pki/ca.pem --server-name 192.0.2.1",
            f"{TLS}.validation_context.match_typed_subject_alt_names",
            [{"san_type": "IP_ADDRESS", "matcher": {"exact": "192.0.2.1"}}],
        ),
        (
            "--server-ca /pki/ca.pem --server-name 192.0.2.1",
            "static_resources.clusters.0.transport_socket.typed_config.sni",
            None,
        ),
        (
            "--server-ca /pki/ca.pem --client-cert /pki/me.pem --client-key /pki/me.key",
            f"{TLS}.tls_certificates",
            [
                {
                    "certificate_chain": {"filename": "/pki/me.pem"},
                    "private_key": {"filename": "/pki/me.key"},
                    "watched_directory": {"path": "/pki"},
                }
            ],
        ),
    ],
)
def test_options_decide_the_document(arguments: str, path: str, expected: object) -> None:
    assert at(bootstrap("--id", "edge-1", *shlex.split(arguments)), path) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--id"),
        ("--id e --xds-address nowhere", "--xds-address is 'nowhere'; write HOST:PORT or unix:FILE"),
        ("--id e --xds-address host:0", "--xds-address is 'host:0'"),
        ("--id e --xds-address host:65536", "--xds-address is 'host:65536'"),
        ("--id e --xds-address :18000", "--xds-address is ':18000'"),
        ("--id e --labels app", "--labels is 'app'; write k=v,k2=v2"),
        ("--id e --labels =edge", "--labels is '=edge'"),
        ("--id e --role edge", "--role"),
        ("--id e --protocol rest", "--protocol"),
        ("--id e --admin-port x", "--admin-port"),
        ("--id e --client-cert c.pem", "--client-cert and --client-key belong together"),
        ("--id e --client-key c.key", "--client-cert and --client-key belong together"),
        ("--id e --client-cert c.pem --client-key c.key", "--client-cert needs --server-ca"),
        ("--id e --server-name fairlead.example", "--server-name needs --server-ca"),
        ("--id e --locality a/b/c/d", "--locality is 'a/b/c/d'; write region/zone/subzone"),
        ("--id e --admin-port 65536", "--admin-port"),
        ("--id e --bind-address localhost", "--bind-address is 'localhost'"),
        ("--id e --role sidecar --address localhost", "--address is 'localhost'"),
        ("--id e --address 10.0.0.1", "--address and --http-proxy-port are for --role sidecar"),
        ("--id e --http-proxy-port 1", "--address and --http-proxy-port are for --role sidecar"),
        ("--id e --xds-address unix:", "--xds-address is 'unix:'"),
    ],
)
def test_what_cannot_be_understood_is_refused(arguments: str, message: str) -> None:
    result = CliRunner().invoke(app, ["bootstrap", *shlex.split(arguments)])
    assert result.exit_code == 2, result.output
    assert message in re.sub(r"\x1b\[[\d;]*m", "", result.stderr)
    assert result.stdout == ""


def validate(document: Path) -> None:
    done = subprocess.run(
        [find_envoy(), "--mode", "validate", "-c", document], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"configuration '{document}' OK" in done.stdout + done.stderr


@pytest.mark.e2e
@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--protocol sotw",
        "--xds-address unix:/run/x.sock",
        "--xds-address [::1]:18000 --bind-address ::1",
        "--xds-address fairlead.example:18000",
        "--labels app=edge,y=n --locality r/z/s --namespace y --role sidecar",
        "--server-ca {pki}/ca.pem",
        "--server-ca {pki}/ca.pem --server-name fairlead.example",
        "--server-ca {pki}/ca.pem --server-name ::1",
        "--server-ca {pki}/ca.pem --client-cert {pki}/me.pem --client-key {pki}/me.key",
    ],
)
def test_envoy_accepts_every_variant(arguments: str, tmp_path: Path) -> None:
    start, lifetime = datetime.now(UTC), timedelta(days=1)
    authority = issue("CA", start=start, lifetime=lifetime)
    client = issue("edge-1", hosts=["edge-1"], start=start, lifetime=lifetime, issuer=authority)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    (tmp_path / "me.pem").write_bytes(client.certificate_pem)
    (tmp_path / "me.key").write_bytes(client.key_pem.reveal())
    document = tmp_path / "bootstrap.json"
    document.write_text(json.dumps(bootstrap("--id", "edge-1", *shlex.split(arguments.format(pki=tmp_path)))))
    validate(document)


def test_every_document_names_its_command() -> None:
    assert {path.name for path in ENVOY.glob("*.json")} == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_documents_are_what_their_commands_print(name: str) -> None:
    result = CliRunner().invoke(app, shlex.split(COMMANDS[name]))
    assert (ENVOY / name).read_text() == result.stdout, f"write it anew: fairlead {COMMANDS[name]} > envoy/{name}"


@pytest.mark.e2e
@pytest.mark.parametrize("name", COMMANDS)
def test_envoy_accepts_the_documents(name: str) -> None:
    validate(ENVOY / name)
