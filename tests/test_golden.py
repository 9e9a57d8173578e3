"""Golden resources: a folder of objects in, the resources of every implied proxy out.

Inputs are the examples and the folders below `golden/in`. `make golden` writes what is produced now; read the
difference before you commit it. Each golden resource is also read by a second, independent decoder, and the whole is
loaded by a real Envoy as static configuration.
"""

import os
from pathlib import Path

import pytest
import yaml
from fairlead.cli.offline import load
from fairlead.cli.render import resources
from fairlead.render.readable import readable
from fairlead.resolve.scope import Proxy
from fairlead.resolve.selection import everybody_implied
from fairlead.snapshot import types
from support.second_decoder import assert_second_decoder_agrees
from support.static_bootstrap import assert_envoy_accepts

HERE = Path(__file__).parent / "golden"
EXAMPLES = Path(__file__).parents[1] / "examples"
CASES = {
    path.name: path for path in (*EXAMPLES.iterdir(), *(HERE / "in").iterdir()) if path.is_dir() and path.name[0] != "_"
}
REFRESH = os.environ.get("FAIRLEAD_REFRESH_GOLDEN") == "1"


def proxy_name(proxy: Proxy) -> str:
    labels = "_".join(f"{key.rpartition('/')[2]}-{value}" for key, value in sorted(proxy.labels))
    return f"{proxy.namespace}_{labels}"


def produced(folder: Path) -> dict[str, str]:
    """Name of a file -> its content, for every proxy."""
    world, _ = load([folder])
    files = {}
    for proxy in everybody_implied(world):
        document: dict[str, list[object]] = {}
        for resource in resources(world, proxy):
            document.setdefault(types.SHORT_NAMES[resource.type_url], []).append(readable(resource))
        files[f"{proxy_name(proxy)}.yaml"] = yaml.safe_dump(document, sort_keys=False, width=120)
    return files


@pytest.mark.parametrize("name", sorted(CASES))
def test_resources_are_golden(name: str) -> None:
    files, out = produced(CASES[name]), HERE / "out" / name
    assert files, "no Gateway selects a proxy"
    if REFRESH:
        out.mkdir(parents=True, exist_ok=True)
        for file in out.iterdir():
            file.unlink()
        for file_name, text in files.items():
            (out / file_name).write_text(text)
    golden = {file.name: file.read_text() for file in out.iterdir()} if out.is_dir() else {}
    assert sorted(golden) == sorted(files), "run `make golden`, and read the difference"
    for file_name, text in files.items():
        assert yaml.safe_load(text) == yaml.safe_load(golden[file_name]), f"{name}/{file_name}"


def test_no_golden_file_is_left_over() -> None:
    assert sorted(path.name for path in (HERE / "out").iterdir()) == sorted(CASES)


def test_no_golden_file_holds_a_private_key() -> None:
    for file in (HERE / "out").rglob("*.yaml"):
        text = file.read_text()
        assert "PRIVATE KEY" not in text
        assert "UFJJVkFURSBLRV" not in text, "base64 of it"


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_second_decoder_reads_the_same(name: str) -> None:
    world, _ = load([CASES[name]])
    for proxy in everybody_implied(world):
        for resource in resources(world, proxy):
            assert_second_decoder_agrees(resource)


@pytest.mark.e2e
@pytest.mark.parametrize("name", sorted(CASES))
def test_envoy_accepts_them(name: str, tmp_path: Path) -> None:
    world, _ = load([CASES[name]])
    for proxy in everybody_implied(world):
        folder = tmp_path / proxy_name(proxy)
        folder.mkdir()
        assert_envoy_accepts(resources(world, proxy), folder)
