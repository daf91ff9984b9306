"""Fixtures: a data folder of one's own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import remove


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not in pytest's own folder, which another user cannot enter."""
    folder = Path(tempfile.mkdtemp(prefix="vibetel-")) / "portal"
    folder.parent.chmod(0o755)
    yield folder
    remove(folder)
    shutil.rmtree(folder.parent)
