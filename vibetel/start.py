"""Start: one program of the portal, in this process's place: `python -m vibetel.start web|ingest|archiver|loader|beat`.

In: the settings' variables. Out: the program, under this process's id, so that it gets the signals.
Fails: exit status 1 with the name of the variable that is missing or bad. Next: granian, celery

`manage.py up` starts the same commands.
"""

import argparse
import os
import sys
from importlib import import_module

from django.core.exceptions import ImproperlyConfigured

PROGRAMS = ("web", "ingest", "archiver", "loader", "beat")
LOCAL = "127.0.0.1"


def web_command(port: int, host: str = LOCAL, workers: int = 1) -> list[str]:
    """The command that serves dashboards, stats API and metrics."""
    return _wsgi_server("vibetel.wsgi:application", port, host, workers, threads=32, arenas=1)


def ingest_command(port: int, host: str = LOCAL, workers: int = 1) -> list[str]:
    """The command that serves the endpoint for events."""
    # Threads wait for Redis's disk most of the time: 8 take half as many events again as 2 do; with 32 the slowest wait
    # five times as long (docs/performance.md).
    return _wsgi_server("vibetel.ingest_wsgi:application", port, host, workers, threads=8, arenas=2)


def archiver_command() -> list[str]:
    """The command that writes to the bucket when it is told to look."""
    return _worker("archive", "vibetel.archiver_settings", threads=3)


def loader_command() -> list[str]:
    """The command that loads, reads the books, verifies and prunes when it is told to look."""
    return _worker("load", "vibetel.settings", threads=5)


def beat_command() -> list[str]:
    """The command that says when to look. It keeps nothing on disk: from its start on, each job is due at its time."""
    return ["env", "CELERY_LOADER=vibetel.beat:Loader", *_CELERY, "beat", "--scheduler", "celery.beat:Scheduler"]


_CELERY = (sys.executable, "-m", "celery", "--quiet", "-A", "vibetel.celery")


def _worker(queue: str, settings: str, threads: int) -> list[str]:
    return [
        # Without the latter glibc keeps the memory of the largest batch for each thread.
        *("env", f"DJANGO_SETTINGS_MODULE={settings}", "MALLOC_ARENA_MAX=2"),
        *(*_CELERY, "worker", "--queues", queue, "--hostname", f"{queue}@%h"),
        *("--pool", "threads", "--concurrency", str(threads), "--without-mingle", "--without-gossip"),
    ]


def _wsgi_server(application: str, port: int, host: str, workers: int, threads: int, arenas: int) -> list[str]:
    # A request whose body never ends holds a thread until its sender hangs up. In production a proxy in front reads
    # bodies to their end before it passes them on.
    return [
        # Else glibc keeps the memory of the largest body or page for each arena, and for good.
        *("env", f"MALLOC_ARENA_MAX={arenas}", "MALLOC_MMAP_THRESHOLD_=131072", "MALLOC_TRIM_THRESHOLD_=131072"),
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", host, "--port", str(port)),
        *("--workers", str(workers), "--blocking-threads", str(threads), "--http", "1", "--no-ws", application),
    ]


def main() -> None:
    """Become the program."""
    parser = argparse.ArgumentParser(prog="python -m vibetel.start", description=__doc__.splitlines()[0])
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--host", default=LOCAL, help="where web and ingest listen (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes of web or ingest on one port (%(default)s)")
    asked = parser.parse_args()
    name = "vibetel.ingest_settings" if asked.program == "ingest" else "vibetel.settings"
    os.environ["DJANGO_SETTINGS_MODULE"] = name  # by which settings.py knows what this process does without
    try:
        settings = import_module(name)
    except ImproperlyConfigured as error:
        sys.exit(f"{error}")
    command = {
        "web": web_command(settings.PORT, asked.host, asked.workers),
        "ingest": ingest_command(settings.INGEST_PORT, asked.host, asked.workers),
        "archiver": archiver_command(),
        "loader": loader_command(),
        "beat": beat_command(),
    }[asked.program]
    os.execvp(command[0], command)  # noqa: S606 - our own command


if __name__ == "__main__":
    main()
