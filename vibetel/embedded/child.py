"""Child: one program under the supervisor, and how it is started so that it never outlives it.

In: a Child. Out: its running process, its log. Fails: OSError where the program cannot be run. Next: supervisor.py
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO

MARKER = "VIBETEL_SUPERVISED"  # every descendant of a supervisor carries it, with the data folder as its value
LOG_MAX_BYTES = 10_000_000
PR_SET_PDEATHSIG = 1  # linux/prctl.h
# The servers see nothing of the caller's environment, in which PGDATA, AWS_… or WEED_… would redirect them.
SERVER_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class StartFailed(Exception):
    """A child did not start; the message ends with its log."""


@dataclass(frozen=True)
class Child:
    """A program to run."""

    name: str
    command: list[str]
    environment: dict[str, str]
    ready: Callable[[], bool] | None = None  # whether it serves; answers within a second or two
    prepare: Callable[[], None] = lambda: None  # called before every start
    stop_signal: signal.Signals = signal.SIGTERM
    folder: Path = Path("/")  # where it runs
    user: int | None = None  # the user and group id it runs under; None: the supervisor's


def start(child: Child, data_dir: Path, output: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    """The child's process. With an output it gets a session of its own; without one it keeps the terminal.

    Must be called by the main thread: the kernel takes the end of the calling thread for the parent's.
    """
    return subprocess.Popen(  # noqa: S603 - our own commands, or the user's own
        child.command,
        env=child.environment | {MARKER: str(data_dir)},
        cwd=child.folder,
        stdin=None if output is None else subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=output is not None,
        user=child.user,
        group=child.user,
        extra_groups=None if child.user is None else [],
        preexec_fn=_die_with_parent,
    )


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def log_path(data_dir: Path, child: Child) -> Path:
    """Where the child's output goes."""
    return data_dir / "log" / f"{child.name}.log"


def open_log(path: Path) -> IO[bytes]:
    """The log, to append to."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return path.open("ab")


def bound_log(path: Path) -> None:
    """Sets a large log aside, in place of the one set aside before; its writer notices nothing, since it appends."""
    if path.stat().st_size > LOG_MAX_BYTES:
        shutil.copyfile(path, path.with_suffix(".log.1"))
        os.truncate(path, 0)


def end_of_log(data_dir: Path, child: Child) -> str:
    """Where the child's log is, and its last 20 lines."""
    path = log_path(data_dir, child)
    with path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 20_000))
        lines = log.read().decode(errors="replace").splitlines()[-20:]
    return "\n".join([f"the end of {path}:", *lines])


def answer(port: int, path: str) -> tuple[int, bytes]:
    """What a child serves on loopback under the path: status and body; status 0 where there is no answer."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", path)
            found = connection.getresponse()
            return found.status, found.read()
        except (OSError, HTTPException):
            return 0, b""


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, from its first byte on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
