"""The demo runs, and tells what it should: it is the first thing that a new user sees."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = (
    "A folder of YAML",
    "Requests",
    "A certificate is replaced under load",
    "An object is broken on purpose",
    "The control plane is killed",
    "A canary by weight",
    "That was all",
)
OBSERVED = (
    r"https://b\.aliyun\.com/status/418 -> 418 from b",
    r"serial [0-9a-f]{16}\.\.\. before, [0-9a-f]{16}\.\.\. \d+ ms after the file was written",
    r"\d+ requests on 1 open connection, 0 failed; listeners modified: 0",
    r"gateway\.yaml:\d+:\d+: the regular expression .* cannot be compiled",
    r"\d+ requests, 0 failed; resources that Envoy had to load again: 0",
    r"of 200 requests \d+ went to v1, \d+ to v2",
)


@pytest.mark.e2e
@pytest.mark.timeout(120)
def test_demo(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    for folder in (home, temporary):
        folder.mkdir()
    # As in a fresh login: nothing of this checkout, and a home with nothing in it.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FAIRLEAD", "XDG"))}
    ended = subprocess.run(
        [sys.executable, "-m", "fairlead", "demo"],
        env=kept | {"HOME": str(home), "TMPDIR": str(temporary)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    steps = re.findall(r"^(\d+)\. (.*)$", ended.stdout, re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, len(STEPS) + 1))
    for (_, title), expected in zip(steps, STEPS, strict=True):
        assert title.startswith(expected)
    for expected in OBSERVED:
        assert len(re.findall(expected, ended.stdout)) == 1, expected
    assert ended.stderr == ""
    assert "\x1b" not in ended.stdout, "no colours where there is no terminal"
    assert (list(home.iterdir()), list(temporary.iterdir())) == ([], []), "nothing is left behind"
