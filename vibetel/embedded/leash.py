"""Leash: ends whatever a supervisor leaves behind, however the supervisor ended.

A child's own children (granian's workers) outlive a killed parent. So the supervisor starts this file as a program
whose standard input it holds open and which shares its lock: when the supervisor is gone, the input ends, everything
that carries its marker is killed, and only then is the data folder free for the next supervisor.

In: the marker's name and value as arguments. Out: nothing. Fails: never. Next: supervisor.py
"""

import os
import signal
import sys
import time
from contextlib import suppress

import psutil

KILL_TIMEOUT_SECONDS = 5


def kill_marked(name: str, value: str) -> None:
    """SIGKILL to every process, but this one, whose environment has the variable; returns when they are gone."""
    kill([process for process in psutil.process_iter() if process.pid != os.getpid() and _has(process, name, value)])


def kill(processes: list[psutil.Process]) -> None:
    """SIGKILL; returns when they are gone."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    give_up_at = time.monotonic() + KILL_TIMEOUT_SECONDS
    while any(is_alive(process.pid) for process in processes) and time.monotonic() < give_up_at:
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """False for a zombie too, once its last thread has closed its ports: where nobody reaps orphans, they stay."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    return False


def _has(process: psutil.Process, name: str, value: str) -> bool:
    with suppress(psutil.Error, OSError):
        return process.environ().get(name) == value
    return False


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.buffer.read()
    kill_marked(sys.argv[1], sys.argv[2])
