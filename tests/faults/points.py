"""Points: where a program kills itself with kill -9, before or after a step of seal → put → release → load → commit.

In: `fires`, which is asked before and after every step. Out: the steps, wrapped; nothing of the project knows of it.
A point is written `put:after:3`: when the third put of this program has returned.
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from django.apps import apps

STEPS = {
    "seal": "ingest.buffer:seal_due",
    "claim": "ingest.buffer:claim",
    "lines": "ingest.buffer:lines",
    "put": "ingest.archive:put",
    "release": "ingest.buffer:release",
    "unclaim": "ingest.buffer:unclaim",  # where the bucket did not take it
    "look": "analytics.load:catch_up",
    "get": "ingest.archive:get",
    # Every statement that Postgres is sent, so between any two writes of a load or of a rollup.
    "statement": "django.db.backends.utils:CursorWrapper.execute",
    "commit": "django.db.backends.base.base:BaseDatabaseWrapper.commit",
    "rollup": "analytics.rollups:refresh",
}

Fires = Callable[[str], bool]  # asked with `put:after`


def install(fires: Fires) -> None:
    """Wrap the steps. To be called when Django is set up and before anything runs."""
    for step, place in STEPS.items():
        module, _, path = place.partition(":")
        if module.startswith("analytics.") and not apps.is_installed("analytics"):
            continue  # the archiver's program is without it
        *owners, name = path.split(".")
        owner: Any = import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        setattr(owner, name, _wrapped(getattr(owner, name), step, fires))


def _wrapped(function: Callable[..., Any], step: str, fires: Fires) -> Callable[..., Any]:
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if fires(f"{step}:before"):
            os.kill(os.getpid(), signal.SIGKILL)
        answer = function(*args, **kwargs)
        if fires(f"{step}:after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return wrapped


def once(point: str) -> Fires:
    """Fires at this point of this program."""
    wanted, _, number = point.rpartition(":")
    seen, counting = Counter[str](), threading.Lock()

    def fires(place: str) -> bool:
        with counting:
            seen[place] += 1
            return place == wanted and seen[place] == int(number)

    return fires


class Armed:
    """A point that another program sets in a file, for one of several programs to fire at, once."""

    def __init__(self, folder: Path) -> None:
        self._set = folder / "point"
        self._fired = folder / "point.fired"
        self._counting = threading.Lock()
        self._seen = Counter[tuple[int, str]]()

    def arm(self, point: str) -> None:
        """Whoever comes there first from now on kills itself."""
        self._fired.unlink(missing_ok=True)
        written = self._set.with_suffix(".new")
        written.write_text(point)
        written.rename(self._set)

    def disarm(self) -> bool:
        """Nobody does from now on; whether somebody did."""
        self._set.unlink(missing_ok=True)
        return self.fired()

    def fired(self) -> bool:
        """Whether somebody has killed itself there, or is about to."""
        return self._fired.exists()

    def fires(self, place: str) -> bool:
        """For `install`."""
        try:
            with self._set.open() as file:
                inode, point = os.fstat(file.fileno()).st_ino, file.read()
        except FileNotFoundError:
            return False
        wanted, _, number = point.rpartition(":")
        if place != wanted:
            return False
        with self._counting:
            self._seen[inode, point] += 1
            if self._seen[inode, point] < int(number):
                return False
        with suppress(FileNotFoundError):
            self._set.rename(self._fired)
            return True
        return False  # another was first
