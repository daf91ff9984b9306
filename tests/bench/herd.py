"""Herd: many runs of one user that end at once, some of them by kill -9, against a whole portal.

In: the portal, and how many runs. Out: how often each of them arrived.
Fails: TimeoutError, where it does not come to rest.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import homes
from tests.bench.programs import deliveries, environment, wait_until
from tests.portal import Portal

_AT_ONCE_COUNT = 50
_KILLED_EACH = 10  # one run in so many
_REST_S = 120.0

# A run tells its number as the size of its context: nothing else that it may say is different in each.
_RUN = """
import os, signal, sys
from vibetel_client import Telemetry
telemetry = Telemetry(tool="vibe-tools", version="0.64.0")
telemetry.start_command("repo")
telemetry.update_command_state(context_tokens=int(sys.argv[1]))
telemetry.end_command()
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass(frozen=True)
class Arrivals:
    """Counts of runs, but for the last."""

    runs: int
    killed: int
    missing: int  # of those not killed
    missing_killed: int
    repeated: int  # more than one row in Postgres
    repeated_in_bucket: int  # more than one line in the bucket: of those, Postgres keeps one
    delivered_later: int  # only when the user ran the tool again
    last_delivery_s: float  # from the end of the last run until no delivery ran


def run_at_once(
    portal: Portal, folder: Path, count: int, progress: Callable[[int], object] = lambda _: None
) -> Arrivals:
    """The runs, in waves, with one home in `folder`; returns when the portal has loaded what it was sent."""
    home = homes.make(folder, choice=True)
    for first in range(0, count, _AT_ONCE_COUNT):
        wave = range(first, min(first + _AT_ONCE_COUNT, count))
        running = [_start(portal, home, number, killed=number % _KILLED_EACH == 0) for number in wave]
        for process in running:
            process.wait()
        progress(len(wave))
    ended_s = time.monotonic()
    _wait(lambda: not deliveries(home))
    last_delivery_s = time.monotonic() - ended_s
    waiting = homes.spool(home).read_bytes().count(b"\n")

    def is_delivered() -> bool:
        """Runs the tool once more if it is not."""
        if not homes.spool(home).stat().st_size:
            return True
        time.sleep(1)
        _start(portal, home, count, killed=False).wait()
        _wait(lambda: not deliveries(home))
        return False

    _wait(is_delivered)
    _wait(lambda: _is_at_rest(portal))
    rows = Counter(number for (number,) in portal.rows("SELECT context_tokens FROM analytics_event"))
    lines = Counter(json.loads(line)["eventId"] for lines in portal.bucket_lines() for line in lines)
    missing = [number for number in range(count) if not rows[number]]
    return Arrivals(
        runs=count,
        killed=len(range(0, count, _KILLED_EACH)),
        missing=sum(number % _KILLED_EACH != 0 for number in missing),
        missing_killed=sum(number % _KILLED_EACH == 0 for number in missing),
        repeated=sum(rows[number] > 1 for number in range(count)),
        repeated_in_bucket=sum(times > 1 for times in lines.values()),
        delivered_later=waiting,
        last_delivery_s=last_delivery_s,
    )


def _start(portal: Portal, home: Path, number: int, *, killed: bool) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", _RUN, str(number), "killed" if killed else ""],
        env=environment(home, {"VIBE_TOOLS_TELEMETRY_ENDPOINT": f"{portal.ingest_url}/api/pipeline"}),
        cwd=home,
    )


def _is_at_rest(portal: Portal) -> bool:
    books = portal.ledger()
    return bool(books["accepted"] == books["archived"] == books["loaded"] + books["duplicate"])


def _wait(reached: Callable[[], object]) -> None:
    if not wait_until(reached, _REST_S):
        raise TimeoutError(f"not at rest within {_REST_S:.0f} s")
