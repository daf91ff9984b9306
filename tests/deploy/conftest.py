"""Fixtures: a production-like portal for the tests of a module, on PostgreSQL and Redis from Debian's packages."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import production, run, stores
from tests.deploy.production import Production
from tests.servers import remove
from tests.vibetel.programs import CHECKOUT


@pytest.fixture(scope="module")
def portal() -> Iterator[Production]:
    """Running. Where CI runs, what is not installed is a failure; elsewhere these tests are left out."""
    if lacking := stores.missing():
        reason = f"Debian's packages {', '.join(lacking)} are not installed"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    subprocess.run(["make", "-s", "build/production/made"], cwd=CHECKOUT, check=True)
    folder = Path(tempfile.mkdtemp(prefix="vibetel-deploy-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    try:
        with production.running(folder / "stores", **run.UNLIMITED, LOG_LEVEL="DEBUG") as portal:
            yield portal
    finally:
        remove(folder / "stores")
        shutil.rmtree(folder, ignore_errors=True)
