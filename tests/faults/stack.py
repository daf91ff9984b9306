"""The portal as the fault bench runs it: `python -m tests.faults.stack`.

In: DATA_DIR, PORT, INGEST_PORT. Out: a running portal, until it is stopped or killed; a line says when it serves.
Fails: StartFailed.

As `manage.py up`, by its own parts, but: two archivers, two loaders and two beats; archivers and loaders that kill
themselves where they are told to (worker.py); what was killed starts again at once; the bucket is SeaweedFS behind a
proxy (bucket_proxy.py), whose disk is full when the bench says so (weather.py).
"""

import ctypes
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from tests.vibetel.programs import CHECKOUT
from vibetel.embedded import portal, servers, supervisor
from vibetel.embedded.child import PR_SET_PDEATHSIG, Child
from vibetel.embedded.supervisor import Stopped, Supervisor

SERVING = "serving"
# By what their command lines hold; the second archiver, loader and beat run under the first's.
WORDS = {
    "web": "vibetel.wsgi:application",
    "ingest": "vibetel.ingest_wsgi:application",
    "archiver": "--queues archive",
    "loader": "--queues load",
    "beat": "-A vibetel.celery beat",
    "valkey": "valkey-server",
    "postgres": "postgres -D",
    "seaweedfs": "weed -logtostderr",
}


def main() -> None:
    """Start it, say so, and keep it running."""
    if sys.platform == "linux":  # who started it may be killed, too
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    supervisor.RESTART_PAUSE_MIN_SECONDS = supervisor.RESTART_PAUSE_MAX_SECONDS = 0.2
    # A full disk is a limit on file sizes (weather.py): with the signal blocked, a write beyond it fails, as it would.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGXFSZ])
    data_dir = Path(os.environ["DATA_DIR"])
    stack = Supervisor(data_dir, _say)
    stack.catch_signals()
    with stack:
        try:
            stack.start(servers.needed(data_dir, {}))
            environment = portal._environment(data_dir)
            migrate = [sys.executable, "manage.py", "migrate", "--noinput"]
            stack.run(Child("migrate", migrate, environment, folder=CHECKOUT))
            stack.start(_children(data_dir, int(os.environ["PORT"]), int(os.environ["INGEST_PORT"])))
            _say(SERVING)
            stack.keep()
        except Stopped:
            pass


def _children(data_dir: Path, port: int, ingest_port: int) -> list[Child]:
    children = {child.name: child for child in portal._portal(data_dir, port, ingest_port)}
    beat = children["beat"]
    for name in ("archiver", "loader"):
        worker = children[name]
        command = ["tests.faults.worker" if part == "celery" else part for part in worker.command]
        for number in (1, 2):
            children[f"{name}-{number}"] = replace(worker, name=f"{name}-{number}", command=_own(command, number))
        del children[name]
    children["beat-2"] = replace(beat, name="beat-2")
    return list(children.values())


def _own(command: list[str], number: int) -> list[str]:
    """With a name, and a queue beside the one that both take from, of its own: weather.py sends to both at once."""
    queue = command[command.index("--queues") + 1]
    return [
        {queue: f"{queue},{queue}-{number}", f"{queue}@%h": f"{queue}-{number}@%h"}.get(part, part) for part in command
    ]


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
