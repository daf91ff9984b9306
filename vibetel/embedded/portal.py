"""Portal: the whole of it on one machine, as one supervised tree: servers, then web, worker and beat.

In: the data folder, the port, the process environment. Out: lines to `say`, until a signal ends it.
Fails: PortTaken, AlreadyRunning, StartFailed, AddressesDamaged. Next: the URL it prints

It never asks the servers itself: ports may have been replaced after this process read its settings. What asks them
is a new process.
"""

import os
import shlex
import sys
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from vibetel.embedded import servers
from vibetel.embedded.addresses import is_free
from vibetel.embedded.child import Child
from vibetel.embedded.supervisor import Stopped, Supervisor

CHECKOUT = Path(__file__).resolve().parent.parent.parent


class PortTaken(Exception):
    """The portal's port cannot be listened on."""


def up(data_dir: Path, port: int, then: list[str], say: Callable[[str], None]) -> None:
    """Runs the portal until SIGINT, SIGTERM or SIGHUP; once it serves, runs the commands of `then`."""
    supervisor = Supervisor(data_dir, say)
    supervisor.catch_signals()
    with supervisor:
        # Only under the lock: until then a worker that outlived its portal may still have the port.
        if not is_free(port):
            raise PortTaken(
                f"cannot listen on 127.0.0.1:{port}: end the program that does, or set PORT to another number"
            )
        try:
            supervisor.start(servers.needed(data_dir, os.environ))
            supervisor.run(_manage(data_dir, "migrate", "--noinput"))
            supervisor.start(_portal(data_dir, port))
            supervisor.run_on_terminal(_manage(data_dir, "create_administrator"))
            say(f"\nThe portal is at http://127.0.0.1:{port}/ and its admin at http://127.0.0.1:{port}/admin/")
            say(f"Logs are in {data_dir / 'log'}. Ctrl-C stops everything.")
            for command in then:
                if status := supervisor.run_on_terminal(_manage(data_dir, *shlex.split(command))):
                    say(f"manage.py {command}: failed with status {status}")
            supervisor.keep()
        except Stopped:
            say("\nstopping")
    say("stopped")


def _manage(data_dir: Path, *arguments: str) -> Child:
    return Child(arguments[0], [sys.executable, "manage.py", *arguments], _environment(data_dir), folder=CHECKOUT)


def _portal(data_dir: Path, port: int) -> list[Child]:
    schedule = data_dir / "beat-schedule"
    celery = [sys.executable, "-m", "celery", "-A", "vibetel"]

    def forget_schedule() -> None:
        # A kill while it is written leaves one that beat cannot read; without it, every job is due at its next time.
        for file in data_dir.glob(f"{schedule.name}*"):
            file.unlink()

    # A request whose body never ends holds a thread until its sender hangs up: 4 of them would stop a portal of 4
    # threads. In production a proxy in front reads bodies to their end before it passes them on.
    web = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--blocking-threads", "32", "--no-ws", "vibetel.wsgi:application"),
    ]
    worker = [
        *(*celery, "worker", "--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING"),
        *("--without-mingle", "--without-gossip"),
    ]
    beat = [*celery, "beat", "--loglevel", "WARNING", "--schedule", str(schedule)]
    environment = _environment(data_dir)
    return [
        Child("web", web, environment, ready=lambda: _is_healthy(port), folder=CHECKOUT),
        Child("worker", worker, environment, folder=CHECKOUT),
        Child("beat", beat, environment, prepare=forget_schedule, folder=CHECKOUT),
    ]


def _environment(data_dir: Path) -> dict[str, str]:
    return {**os.environ, "DATA_DIR": str(data_dir), "PYTHONUNBUFFERED": "1"}


def _is_healthy(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
