"""A supervisor as a program of its own: started, watched and ended from outside, as a person or a crash would."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from vibetel.embedded.child import MARKER
from vibetel.embedded.leash import is_alive

CHECKOUT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 60  # for what has no promise; a slow machine is no failure


class Program:
    def __init__(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self.process = process
        self._output = output

    def output(self) -> str:
        return self._output.read_text()

    def says(self, text: str) -> bool:
        """Whether it has; fails where it has ended without."""
        ended = self.process.poll() is not None
        assert text in self.output() or not ended, self.output()
        return text in self.output()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Its exit status, and the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS), time.monotonic() - began


@contextmanager
def program(*arguments: str, data_dir: Path, prefix: Sequence[str] = (), **environment: str) -> Iterator[Program]:
    """Python with these arguments, on a data folder; killed at the end of the block if it still runs."""
    output = data_dir.with_suffix(".out")
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*prefix, sys.executable, *arguments],
            env={**os.environ, "DATA_DIR": str(data_dir), **environment},  # tests/servers.py took the settings out
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield Program(process, output)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        until(lambda: not supervised(data_dir))


def until(
    reached: Callable[[], object], seconds: float = PATIENCE_SECONDS, otherwise: Callable[[], object] = lambda: ""
) -> None:
    """Waits until it is true; fails with what `otherwise` tells."""
    give_up_at = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < give_up_at, f"not reached within {seconds} s {otherwise()}"
        time.sleep(0.05)


def supervised(data_dir: Path) -> dict[int, str]:
    """What runs for the data folder: names by process id."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == str(data_dir) and is_alive(process.pid):
                found[process.pid] = " ".join(process.cmdline())
        except (psutil.Error, OSError):
            continue
    return found


def pid_of(data_dir: Path, word: str) -> int | None:
    """The oldest process of the data folder with the word in its command line."""
    return min((pid for pid, command in supervised(data_dir).items() if word in command), default=None)
