"""Stores: PostgreSQL, Valkey and S3 of the bench's own, and the environment by which the portal's programs find them.

In: nothing. Out: empty stores. Fails: StartFailed.

This process has one core to itself, and so has what it starts; the stores have another.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from tests.bench.stack import Cores, pinned
from tests.servers import remove, settings_read
from vibetel.embedded import servers
from vibetel.embedded.supervisor import Supervisor


@contextmanager
def folder() -> Iterator[Path]:
    """An empty one, in which stores are found until the end of the block."""
    for name in settings_read():
        os.environ.pop(name, None)
        os.environ.pop(f"{name}_FILE", None)
    data_dir = Path(tempfile.mkdtemp(prefix="vibetel-"))
    os.environ.update(DATA_DIR=str(data_dir), DJANGO_SETTINGS_MODULE="vibetel.settings", LOG_LEVEL="WARNING")
    try:
        yield data_dir
    finally:
        remove(data_dir)


@contextmanager
def running(data_dir: Path) -> Iterator[Cores]:
    """The stores, until the end of the block."""
    cores = Cores.two()
    with Supervisor(data_dir, lambda line: tqdm.write(line, sys.stderr)) as supervisor:
        with pinned(cores.others):
            supervisor.start(servers.needed(data_dir, {}))
        with pinned(cores.web):
            yield cores
