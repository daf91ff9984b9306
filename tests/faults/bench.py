"""Bench: the stack of stack.py on a data folder, seen from outside: started, killed, started again, asked.

In: a data folder, a seed. Out: addresses, the books, `verify`. Fails: AssertionError where it does not start.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import psutil

from tests.faults.bucket_proxy import BucketProxy
from tests.faults.checker import Stores
from tests.faults.points import Armed
from tests.faults.stack import SERVING
from tests.vibetel.programs import CHECKOUT, program, supervised, until
from vibetel.embedded.addresses import BUCKET, archive_endpoint_url, database_url, free_ports, read_or_create, redis_url

START_MAX_S = 120.0
VERIFY = CHECKOUT / "analytics/management/commands/verify.py"


class Commands:
    """What the portal's commands say, to whom can run one."""

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command, run in another terminal."""
        raise NotImplementedError

    def books(self) -> dict[str, Any]:
        """As `manage.py ledger --json` prints them; empty where a store does not answer."""
        printed = self.manage("ledger", "--json").stdout
        books = json.loads(printed) if printed else {}
        assert isinstance(books, dict)
        return books

    def come_to_rest(self, events: int, seconds: float) -> dict[str, Any]:
        """The books, once all that was accepted is loaded and they read the same twice; or as they are then."""
        give_up_at = time.monotonic() + seconds
        before: list[int] = []
        while True:
            books = self.books()
            moving = not books or books["waiting"] or books["not_yet_loaded"] or books["accepted"] < events
            terms = [books.get(term, 0) for term in ("received", "accepted", "archived", "loaded", "duplicate")]
            if (not moving and terms == before) or time.monotonic() > give_up_at:
                return books
            before = terms
            time.sleep(1)

    def verify(self) -> list[str]:
        """What `manage.py verify --deep` has to say; nothing where it is clean."""
        if not VERIFY.exists():
            return []
        ran = self.manage("verify", "--deep")
        if ran.returncode == 0:
            return []
        return [f"verify ended with status {ran.returncode}: {ran.stdout[-3000:]}{ran.stderr[-1000:]}"]


class Bench(Commands):
    """Runs from `with` to the end of the block, with what `start` and `kill` do in between."""

    def __init__(self, data_dir: Path, seed: object, **given: str) -> None:
        self.data_dir = data_dir
        self.armed = Armed(data_dir)
        self.proxy = BucketProxy(lambda: int(self._lines()["SEAWEEDFS_S3_PORT"]), seed)
        lines = read_or_create(data_dir)
        self.ports = free_ports(("PORT", "INGEST_PORT"))
        self._given = {
            "INGEST_RATE_PER_ADDRESS": "off",
            "INGEST_RATE_PER_INSTALLATION": "off",
            "BUFFER_MAX_ROWS": "1000",  # a few seconds of load, so that it is full when the bucket is away
            "ARCHIVE_BUCKET": BUCKET,
            "ARCHIVE_ENDPOINT_URL": self.proxy.url,
            "ARCHIVE_WRITE_ACCESS_KEY_ID": "write",
            "ARCHIVE_WRITE_SECRET_ACCESS_KEY": lines["SEAWEEDFS_WRITE_SECRET"],
            "ARCHIVE_READ_ACCESS_KEY_ID": "read",
            "ARCHIVE_READ_SECRET_ACCESS_KEY": lines["SEAWEEDFS_READ_SECRET"],
            **self.ports,
            **given,
        }
        self._running = ExitStack()
        self._around = ExitStack()

    def __enter__(self) -> Self:
        self._around.enter_context(self.proxy.serving())
        self._around.callback(self._running.close)
        try:
            self.start()
        except BaseException:
            self._around.close()
            raise
        return self

    def __exit__(self, *why: object) -> None:
        self._around.close()

    def start(self) -> None:
        """Return when it serves."""
        self._program = self._running.enter_context(
            program("-m", "tests.faults.stack", data_dir=self.data_dir, **self._given)
        )
        until(lambda: self._program.says(SERVING), START_MAX_S)

    def kill(self) -> None:
        """kill -9 to the supervisor and to everything under it, at one moment."""
        supervisor = self.supervisor()
        for process in [supervisor, *supervisor.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        # What an earlier kill orphaned is under nobody, and who would have ended it is killed, too. Again, for one may
        # just have started another.
        until(lambda: not self._kill_what_is_left())
        self._running.close()

    def _kill_what_is_left(self) -> bool:
        left = supervised(self.data_dir)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(left)

    def supervisor(self) -> psutil.Process:
        """The process that starts the others."""
        return psutil.Process(self._program.process.pid)

    def stores(self) -> Stores:
        """For the checker, past the proxy."""
        lines = self._lines()
        return Stores(archive_endpoint_url(lines), BUCKET, "read", lines["SEAWEEDFS_READ_SECRET"], database_url(lines))

    def redis_url(self) -> str:
        """Valkey's, as it is now."""
        return redis_url(self._lines())

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command, run in another terminal."""
        command = [sys.executable, "manage.py", *arguments]
        environment = {**os.environ, "DATA_DIR": str(self.data_dir), **self._given}
        return subprocess.run(
            command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=600
        )

    def _lines(self) -> dict[str, str]:
        return read_or_create(self.data_dir)
