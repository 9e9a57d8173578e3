"""The Wasm module that the package ships is what its source builds."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "xds" / "fairlead" / "render" / "breaker.wasm"


@pytest.mark.skipif(
    shutil.which("clang-14") is None and "CI" not in os.environ,
    reason="there is no clang-14 to build the module with: apt-get install clang-14 lld-14",
)
def test_the_module_is_what_its_source_builds(tmp_path: Path) -> None:
    built = tmp_path / "breaker.wasm"
    done = subprocess.run([ROOT / "envoy" / "breaker" / "build", built], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert built.read_bytes() == MODULE.read_bytes(), "run make wasm, and commit what it writes"
