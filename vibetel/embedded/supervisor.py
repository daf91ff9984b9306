"""Supervisor: starts groups of children in order, keeps them running, and leaves nothing behind.

In: children (child.py). Out: running programs, their logs in `<data_dir>/log`, lines to `say`.
Fails: AlreadyRunning, StartFailed; Stopped when a signal asks for the end. Next: portal.py

One thread, one loop: `tick` looks at every child and is called wherever there is something to wait for.
"""

import fcntl
import itertools
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

from vibetel.embedded import leash
from vibetel.embedded.child import MARKER, Child, StartFailed, bound_log, end_of_log, log_path, open_log, start

START_TIMEOUT_SECONDS = 60
START_ATTEMPTS = 3
RESTART_PAUSE_MIN_SECONDS = 1.0
RESTART_PAUSE_MAX_SECONDS = 10.0
STEADY_SECONDS = 60.0  # after so long a run, the next end is a new trouble
# Everything has ended five seconds after the signal: the portal first, then the servers it writes to.
STOP_SECONDS = 4.2
STOP_GROUP_SECONDS = 2.0


class AlreadyRunning(Exception):
    """Another supervisor has the data folder."""


class Stopped(Exception):
    """A signal asked for the end."""


class Supervisor:
    """Holds the data folder from `with` to the end of the block, and stops every child there."""

    def __init__(self, data_dir: Path, say: Callable[[str], None]) -> None:
        self._data_dir = data_dir
        self._say = say
        self._groups: list[list[_Kept]] = []
        self._stop_by = math.inf  # infinity until somebody asks for the end

    def __enter__(self) -> Self:
        """Raises AlreadyRunning."""
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(self._data_dir)
        leash.kill_marked(MARKER, str(self._data_dir))
        self._leash = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-I", leash.__file__, MARKER, str(self._data_dir)],
            stdin=subprocess.PIPE,
            pass_fds=[self._lock.fileno()],
            start_new_session=True,
            cwd="/",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop_by = min(self._stop_by, time.monotonic() + STOP_SECONDS)
        for number, group in reversed(list(enumerate(self._groups))):
            self._end(group, self._stop_by if number == 0 else time.monotonic() + STOP_GROUP_SECONDS)
        self._leash.communicate()
        self._lock.close()

    def catch_signals(self) -> None:
        """From here on SIGINT, SIGTERM or SIGHUP ends the next `tick` with Stopped; a second SIGINT kills at once."""
        for caught in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(caught, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop_by == math.inf:
            self._stop_by = time.monotonic() + STOP_SECONDS
        elif number == signal.SIGINT:
            self._stop_by = 0.0

    def start(self, children: Sequence[Child]) -> None:
        """Starts a group side by side and returns when all of it serves. Raises StartFailed, Stopped."""
        began = time.monotonic()
        group = [_Kept(child, self._data_dir) for child in children]
        self._groups.append(group)
        for kept in group:
            kept.start()
        waiting = group
        while waiting:
            self.tick(0.05)
            for kept in waiting:
                if kept.serves():
                    reached = "ready" if kept.child.ready else "started"
                    self._say(f"{kept.name}: {reached} after {time.monotonic() - began:.1f} s")
                elif kept.gave_up() or time.monotonic() - began > START_TIMEOUT_SECONDS:
                    raise StartFailed(f"{kept.name} did not start; {end_of_log(self._data_dir, kept.child)}")
            waiting = [kept for kept in waiting if not kept.served]

    def run(self, child: Child) -> None:
        """Runs a program to its end, its output in its log. Raises StartFailed where it fails, Stopped."""
        began = time.monotonic()
        with open_log(log_path(self._data_dir, child)) as log:
            status = self._wait_for(start(child, self._data_dir, log))
        if status:
            raise StartFailed(f"{child.name} failed with status {status}; {end_of_log(self._data_dir, child)}")
        self._say(f"{child.name}: done after {time.monotonic() - began:.1f} s")

    def run_on_terminal(self, child: Child) -> int:
        """Runs a program to its end in the foreground; its status. Raises Stopped."""
        return self._wait_for(start(child, self._data_dir, None))

    def _wait_for(self, process: "subprocess.Popen[bytes]") -> int:
        try:
            while process.poll() is None:
                self.tick(0.05)
        finally:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.5)
                process.kill()
                process.wait()
        return process.returncode

    def keep(self) -> None:
        """Keeps the children running until a signal: raises Stopped."""
        while True:
            self.tick(0.2)

    def tick(self, seconds: float) -> None:
        """Starts again what has ended, bounds the logs, then sleeps. Raises Stopped."""
        if self._stop_by < math.inf:
            raise Stopped
        for kept in itertools.chain.from_iterable(self._groups):
            kept.revive(self._say)
            bound_log(kept.log_path)
        time.sleep(seconds)

    def _end(self, group: "list[_Kept]", until: float) -> None:
        for kept in group:
            kept.signal(kept.child.stop_signal)
        while any(kept.runs() for kept in group) and time.monotonic() < min(until, self._stop_by):
            time.sleep(0.02)
        for kept in group:
            kept.kill()


class _Kept:
    """A child that is kept running."""

    def __init__(self, child: Child, data_dir: Path) -> None:
        self.child = child
        self.name = child.name
        self.log_path = log_path(data_dir, child)
        self.starts = 0
        self.served = False
        self._data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._pause_seconds = RESTART_PAUSE_MIN_SECONDS
        self._start_at = 0.0  # by the monotonic clock: when it is to start, then when it did

    def start(self) -> None:
        self.child.prepare()
        with open_log(self.log_path) as log:
            self._process = start(self.child, self._data_dir, log)
        self._start_at = time.monotonic()
        self.starts += 1

    def revive(self, say: Callable[[str], None]) -> None:
        """Looks whether it has ended, and starts it again after a pause.

        The pause doubles from time to time, and is short again after a steady run.
        """
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self.start()
            return
        if self.runs():
            return
        if time.monotonic() - self._start_at >= STEADY_SECONDS:
            self._pause_seconds = RESTART_PAUSE_MIN_SECONDS
        ending, pause = _ending(self._process.returncode), self._pause_seconds
        say(f"{self.name}: {ending}, starts again in {pause:.0f} s; its log is {self.log_path}")
        self.kill()
        self._process = None
        self._start_at = time.monotonic() + pause
        self._pause_seconds = min(2 * pause, RESTART_PAUSE_MAX_SECONDS)

    def serves(self) -> bool:
        self.served = self.runs() and (self.child.ready is None or self.child.ready())
        return self.served

    def gave_up(self) -> bool:
        return self.starts >= START_ATTEMPTS and not self.runs()

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to it and to the processes it started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _ending(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _lock(data_dir: Path) -> IO[str]:
    """The data folder's lock, held until it is closed. Raises AlreadyRunning.

    Where its holder is dead, its leash still cleans up: that is waited for.
    """
    lock = (data_dir / "lock").open("a+")
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read()
            if holder.isdigit() and leash.is_alive(int(holder)):
                lock.close()
                raise AlreadyRunning(f"{data_dir} is in use by the running portal with process id {holder}") from None
            time.sleep(0.02)
        else:
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            return lock
