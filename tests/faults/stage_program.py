"""Archiver and loader, each time in a process of its own that may kill itself: `python -m tests.faults.stage_program`.

In: a line a job on stdin, `archive put:after:1` or `load -`; `look`, `missed` and `verify`
are what tasks do, with their claims and turns. Out: a line each on stdout: the status the process ended
with, -9 where it was killed. Errors go to stderr. This process has everything imported and forks, which takes a tenth
of what a start takes.
"""

import os
import sys
import traceback
from collections.abc import Callable

import django

django.setup()

from analytics import load, rollups, tasks  # noqa: E402 - models need Django
from ingest import archive, archiver, buffer  # noqa: E402
from tests.faults import points  # noqa: E402


def main() -> None:
    """Do the jobs of stdin until it ends."""
    jobs: dict[str, Callable[[], None]] = {
        "archive": _archive,
        "look": _look,
        "load": _load,
        "missed": tasks.load_missed_objects,
        "verify": tasks.verify_nightly,
    }
    archive.prepare()  # has no connection yet, so a fork may have it
    for line in sys.stdin:
        job, point = line.split()
        child = os.fork()
        if not child:
            os._exit(_run(jobs[job], point))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _run(job: Callable[[], None], point: str) -> int:
    try:
        if point != "-":
            points.install(points.once(point))
        job()
    except BaseException:  # noqa: BLE001 - a forked process must end here, whatever happens
        traceback.print_exc()
        return 1
    return 0


def _archive() -> None:
    archiver.archive_due(force=True)


def _look() -> None:
    buffer.seal_due(max_age_ms=0)  # whatever its age
    archiver.archive_due()


def _load() -> None:
    load.catch_up(everything=False, wait=True)
    rollups.refresh()


if __name__ == "__main__":
    main()
