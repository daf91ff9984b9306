"""Pytest plugin: the tests' own PostgreSQL, Valkey and S3, in a folder that is gone afterwards.

In: nothing; the environment's settings are dropped, so that every default holds. Out: DATA_DIR for settings.py, with
the servers running. Fails: UsageError, where a server does not start. Next: pytest-django, which reads the settings

With `-n` each of pytest-xdist's workers has servers of its own, and the process that hands out the tests has none.
"""

import fcntl
import itertools
import os
import re
import shutil
import signal
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from vibetel.embedded import servers
from vibetel.embedded.child import Child, StartFailed
from vibetel.embedded.supervisor import Supervisor

SETTINGS = Path(__file__).parent.parent / "vibetel/settings.py"
_header: list[str] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before pytest-django's hook of this name."""
    for name in settings_read():
        os.environ.pop(name, None)
        os.environ.pop(f"{name}_FILE", None)
    stack = ExitStack()
    early_config.add_cleanup(stack.close)
    data_dir = Path(tempfile.mkdtemp(prefix="vibetel-"))
    stack.callback(remove, data_dir)
    os.environ["DATA_DIR"] = str(data_dir)
    asked = early_config.known_args_namespace
    if getattr(asked, "numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        _header[:] = ["servers: PostgreSQL, Valkey, S3 for each worker"]
    elif not (asked.help or asked.version or asked.collectonly):
        began = time.monotonic()
        supervisor = stack.enter_context(Supervisor(data_dir, _header.append))
        try:
            with Path(__file__).open() as one_at_a_time:
                fcntl.flock(one_at_a_time, fcntl.LOCK_EX)  # of two that start at once, both may choose the same port
                supervisor.start([_hasty(child) for child in servers.needed(data_dir, os.environ)])
        except StartFailed as error:
            raise pytest.UsageError(str(error)) from error
        _header[:] = [f"servers: PostgreSQL, Valkey, S3 in {data_dir}, ready after {time.monotonic() - began:.1f} s"]


def settings_read() -> set[str]:
    """The variables that settings.py reads; it cannot be imported before the servers are there."""
    names = {"DATA_DIR", *re.findall(r'env\.\w+\(\s*f?"([^"]+)"', SETTINGS.read_text())}
    return {name.replace("{role}", role) for name in names for role in ("WRITE", "READ")}


def pytest_report_header() -> list[str]:
    return _header


def _hasty(child: Child) -> Child:
    """PostgreSQL without waiting for the disk, and no orderly end: the folder does not outlive the session anyway."""
    options = ("fsync=off", "synchronous_commit=off", "full_page_writes=off") if child.name == "postgres" else ()
    command = [*child.command, *itertools.chain.from_iterable(("-c", option) for option in options)]
    return replace(child, command=command, stop_signal=signal.SIGKILL)


def remove(data_dir: Path) -> None:
    """The folder, and the sockets that SeaweedFS forgets in /tmp."""
    addresses = data_dir / "portal.env"
    for line in addresses.read_text().splitlines() if addresses.exists() else []:
        name, _, port = line.partition("=")
        if name.startswith("SEAWEEDFS") and name.endswith("PORT"):
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()
    shutil.rmtree(data_dir, ignore_errors=not data_dir.exists())
