"""A Celery worker that can be made to kill itself between any two steps: `python -m tests.faults.worker -A …`

In: celery's own arguments, DATA_DIR. Out: the worker; it ends where the point is that killer.py armed (points.py). A
byte in a file for each look that began while another process was at one (`side_by_side`).

Turns and claims keep two workers out of each other's way, and nothing may rest on them: here nobody goes by turns, and
the second archiver goes by no claims, so that two load, and two write a batch, at the same time.
"""

import fcntl
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import django
from celery.__main__ import main
from django.apps import apps

from tests.faults import points

LOOKS = ("archiver", "loader")


def side_by_side(data_dir: Path, stage: str) -> int:
    """How many looks of the stage began while another process was at one."""
    noted = data_dir / f"beside-{stage}"
    return noted.stat().st_size if noted.exists() else 0


def _noting(look: Callable[..., Any], data_dir: Path, stage: str) -> Callable[..., Any]:
    @wraps(look)
    def noting(*args: Any, **kwargs: Any) -> Any:
        time.sleep(-time.time() % 0.5)  # looks are short: all begin with the clock's half seconds
        with (data_dir / f"at-it-{stage}").open("a") as at_it:
            try:
                fcntl.flock(at_it, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with its process, too
            except BlockingIOError:
                with (data_dir / f"beside-{stage}").open("a") as beside:
                    beside.write(".")
            return look(*args, **kwargs)

    return noting


def _prepare(data_dir: Path, *, second: bool) -> None:
    from ingest import archiver, buffer  # noqa: PLC0415 - Django is set up first

    buffer.take_turn = lambda job, seconds: True
    if second:
        buffer.claim = lambda seal: True
    points.install(points.Armed(data_dir).fires)
    archiver.archive_due = _noting(archiver.archive_due, data_dir, "archiver")
    if apps.is_installed("analytics"):
        from analytics import load, tasks  # noqa: PLC0415 - models need their app

        tasks._is_due = lambda job, seconds: True
        load.catch_up = _noting(load.catch_up, data_dir, "loader")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibetel.settings")
    django.setup()
    _prepare(Path(os.environ["DATA_DIR"]), second=any(part.endswith("-2@%h") for part in sys.argv))
    sys.exit(main())
