"""Fixtures that all tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.stack import Stack


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """An installation on loopback, still empty."""
    async with Stack(tmp_path) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for objects, still empty."""
    made = tmp_path / "objects"
    made.mkdir()
    return made
