"""Transport: an event leaves the host. It costs one append to the spool; delivery is another process's time.

In: the endpoint and an event. Out: the spool, and a delivery.py under way. Next: spool.py, delivery.py
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from vibetel_client.spool import Spool

if sys.platform != "win32":
    import fcntl

# Set for the process that delivers: whatever it turns out to be, it starts no other.
DELIVERING = "VIBETEL_DELIVERING"

# Where that process finds the delivery lock, already held: the first file descriptor after the three streams.
LOCK_FD = 3

_DELIVER = "import sys; sys.path.append(sys.argv.pop(1)); from vibetel_client import delivery; delivery.main()"


class Transport:
    """Takes events; pass one of your own to `Telemetry`. It is called only with the user's consent."""

    def begin(self, event: Mapping[str, object]) -> Callable[[], None]:
        """A run begins; `event` is its report should the process vanish. Out: is called when the run has ended."""
        return lambda: None

    def deliver(self, endpoint: str, event: Mapping[str, object]) -> None:
        """Take one event; return at once."""
        raise NotImplementedError


class RecordingTransport(Transport):
    """Keeps events instead of sending them, for the tests of those who use this package."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []

    def deliver(self, endpoint: str, event: Mapping[str, object]) -> None:
        """Keep the event in `events`."""
        self.events.append(dict(event))


class SpoolTransport(Transport):
    """Appends to the spool, and sees to it that somebody delivers. Raises OSError."""

    def __init__(self, tool: str) -> None:
        self._tool = tool

    def begin(self, event: Mapping[str, object]) -> Callable[[], None]:
        """Leave the event where a later delivery finds it, should this process vanish."""
        return Spool(self._tool).watch(event)

    def deliver(self, endpoint: str, event: Mapping[str, object]) -> None:
        """Append the event, and start a delivery unless one runs or none is due."""
        spool = Spool(self._tool)
        spool.append(event)
        if spool.is_due(time.time()) and _can_start_python() and spool.delivery_lock.acquire():
            try:
                start(self._tool, endpoint, spool.delivery_lock.fd)
            finally:
                spool.delivery_lock.hand_over()


def envelope(events: Sequence[Mapping[str, object]], sent_at: str) -> bytes:
    """The body of a request, before compression (wire-format.md, "Envelope, answer, archive line")."""
    return json.dumps({"sentAt": sent_at, "data": events}, separators=(",", ":")).encode()


def start(tool: str, endpoint: str, lock_fd: int) -> None:
    """Start delivery.py, apart from this process: no pipe or file of its, no PYTHON* variables, no site-packages.

    `lock_fd` is the delivery lock, held. The process forks and ends at once; nobody waits even for that, so in a host
    that goes on it stays a zombie until the next one is started. Raises OSError.
    """
    packages = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "-I", "-S", "-c", _DELIVER, packages, tool, endpoint]
    environment = {**os.environ, DELIVERING: "1"}
    if sys.platform == "win32":
        import subprocess  # noqa: PLC0415 - 5 ms, and only here

        nowhere = subprocess.DEVNULL
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        subprocess.Popen(  # noqa: S603
            command, stdin=nowhere, stdout=nowhere, stderr=nowhere, env=environment, creationflags=flags
        )
        return
    _started[:] = filter(_is_running, _started)
    streams = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    # A duplicate elsewhere: a file descriptor duplicated to itself would still be closed when the process starts.
    lock_fd = fcntl.fcntl(lock_fd, fcntl.F_DUPFD_CLOEXEC, LOCK_FD + 1)
    files = [(os.POSIX_SPAWN_DUP2, lock_fd, LOCK_FD), *streams]
    try:
        try:
            # A session of its own: what is sent to the host's group or terminal is not meant for it.
            child = os.posix_spawn(sys.executable, command, environment, file_actions=files, setsid=True)
        except NotImplementedError:  # the C library is too old: delivery.py does it itself, a moment later
            child = os.posix_spawn(sys.executable, command, environment, file_actions=files)
    finally:
        os.close(lock_fd)
    _started.append(child)


_started: list[int] = []


def _can_start_python() -> bool:
    """Frozen into one executable, a tool is its own `sys.executable`: starting it would run the tool again."""
    return bool(sys.executable) and not getattr(sys, "frozen", False) and DELIVERING not in os.environ


def _is_running(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG) == (0, 0)
    except ChildProcessError:  # the host waits for whatever ends
        return False
