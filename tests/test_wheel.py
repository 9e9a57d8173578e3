"""The wheel works where the source tree is gone, and disturbs no other package."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest
from fairlead.playground.envoy import find_envoy

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.xdist_group("wheel")]

# Other packages that register the same descriptors, used as their users would.
OTHERS = """
from envoy.config.cluster.v3 import cluster_pb2 as other_cluster_pb2
from google.api import annotations_pb2
from google.rpc import status_pb2
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1 import trace_pb2

OTLPSpanExporter(endpoint="127.0.0.1:1", insecure=True)
assert trace_pb2.Span.FromString(trace_pb2.Span(name="a").SerializeToString()).name == "a"
"""
OURS = """
from fairlead._pb.envoy.config.cluster.v3 import cluster_pb2
from fairlead._pb.google.protobuf import any_pb2
from fairlead._pb.google.rpc import status_pb2 as our_status_pb2

packed = any_pb2.Any()
packed.Pack(cluster_pb2.Cluster(name="a"))
assert packed.type_url.endswith("/envoy.config.cluster.v3.Cluster")
"""
TOGETHER = """
assert other_cluster_pb2.Cluster.FromString(packed.value).name == "a"
assert status_pb2.Status is not our_status_pb2.Status
"""


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command that must succeed, run away from the source tree."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution and not from the tree."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


def environment(folder: Path, *packages: str | Path) -> Path:
    """The interpreter of a fresh virtual environment with `packages`, installed in this order."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    for package in packages:
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package, cwd=folder)
    return python


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and what it requires."""
    return environment(tmp_path_factory.mktemp("alone"), wheel)


def test_wheel_works_without_the_source_tree(alone: Path, tmp_path: Path) -> None:
    where = run(alone, "-c", OURS + "\nimport fairlead; print(fairlead.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(alone.parent.parent)


def test_the_demo_runs_from_the_wheel(alone: Path, tmp_path: Path) -> None:
    command = alone.parent / "fairlead"
    assert "Usage: fairlead" in run(command, "--help", cwd=tmp_path)
    told = run("env", "HOME=", f"ENVOY_BIN={find_envoy()}", command, "demo", cwd=tmp_path)
    assert "0 failed" in told
    assert "That was all" in told


def test_messages_live_beside_those_of_other_packages(wheel: Path, tmp_path: Path) -> None:
    others = ("xds-protos==1.85.0", "googleapis-common-protos", "opentelemetry-exporter-otlp-proto-grpc")
    python = environment(tmp_path, *others, wheel)
    for order in (OURS + OTHERS, OTHERS + OURS):
        run(python, "-c", order + TOGETHER, cwd=tmp_path)
