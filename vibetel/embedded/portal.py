"""Portal: the whole of it on one machine, as one supervised tree: servers, then web, ingest, archiver, loader and beat.

In: as arguments the data folder, two ports, the admin's path and the commands to run then; the process environment.
Out: lines, until a signal ends it. Fails: exit status 1, and why. Next: the URL it prints

`manage.py up` becomes this program.

It never asks the servers itself: ports may have been replaced after this process read its settings. What asks them
is a new process.
"""

import fcntl
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from vibetel import start
from vibetel.embedded import servers
from vibetel.embedded.addresses import AddressesDamaged, environment, is_free, is_given, is_replaced
from vibetel.embedded.child import Child, StartFailed, answer
from vibetel.embedded.supervisor import AlreadyRunning, Stopped, Supervisor

CHECKOUT = Path(__file__).resolve().parent.parent.parent

# Who brings a bucket brings its keys: without them every put would fail, in a log that nobody reads.
ARCHIVE_KEYS = {
    role: [f"ARCHIVE_{role}_{part}" for part in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")] for role in ("WRITE", "READ")
}


class PortTaken(Exception):
    """The portal's port cannot be listened on."""


def main() -> None:
    """Runs the portal until a signal ends it."""
    data_dir, port, ingest_port, admin_path, *then = sys.argv[1:]
    try:
        up(Path(data_dir), int(port), int(ingest_port), admin_path, then, _say)
    except (PortTaken, AlreadyRunning, AddressesDamaged, StartFailed) as error:
        sys.exit(f"{error}")


def _say(line: str) -> None:
    with suppress(OSError):  # the terminal may be gone, which must not keep anything from being stopped
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def up(
    data_dir: Path, port: int, ingest_port: int, admin_path: str, then: list[str], say: Callable[[str], None]
) -> None:
    """Runs the portal until SIGINT, SIGTERM or SIGHUP; once it serves, runs the commands of `then`."""
    supervisor = Supervisor(data_dir, say)
    supervisor.catch_signals()
    with supervisor, _port_held(port, "PORT"), _port_held(ingest_port, "INGEST_PORT"):
        try:
            if lacking := _lacking_keys(os.environ):
                raise StartFailed(f"ARCHIVE_BUCKET is set, but {', '.join(lacking)} not")
            supervisor.start(servers.needed(data_dir, os.environ))
            supervisor.run(_manage(data_dir, "migrate", "--noinput"))
            supervisor.start(_portal(data_dir, port, ingest_port))
            supervisor.run_on_terminal(_manage(data_dir, "create_administrator"))
            if missing := _missing(port):
                say(f"\nNot ready: {' and '.join(missing)} cannot be reached. See http://127.0.0.1:{port}/readyz")
            say(f"\nThe portal is at http://127.0.0.1:{port}/ and its admin at http://127.0.0.1:{port}/{admin_path}/")
            say(f"Events go to http://127.0.0.1:{ingest_port}/api/pipeline (OpenAPI: /api/schema)")
            say(f"Logs are in {data_dir / 'log'}. Ctrl-C stops everything.")
            for command in then:
                if status := supervisor.run_on_terminal(_manage(data_dir, *shlex.split(command))):
                    say(f"manage.py {command}: failed with status {status}")
            supervisor.keep()
        except Stopped:
            say("\nstopping")
    say("stopped")


def _lacking_keys(given: Mapping[str, str]) -> list[str]:
    if not is_replaced("ARCHIVE_BUCKET", given):
        return []
    return [key for keys in ARCHIVE_KEYS.values() for key in keys if not is_given(key, given)]


@contextmanager
def _port_held(port: int, variable: str) -> Iterator[None]:
    """Keep the port from other portals of this user, whose granian would listen beside ours and take half the events.

    To be entered under the supervisor's lock: until then a worker that outlived its portal may still have the port.
    Raises PortTaken.
    """
    with (Path(tempfile.gettempdir()) / f"vibetel-{os.getuid()}-{port}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        else:
            free = is_free(port)
        if not free:
            raise PortTaken(
                f"cannot listen on 127.0.0.1:{port}: end the program that does, or set {variable} to another number"
            )
        yield


def _manage(data_dir: Path, *arguments: str) -> Child:
    return Child(arguments[0], [sys.executable, "manage.py", *arguments], _environment(data_dir), folder=CHECKOUT)


def _portal(data_dir: Path, port: int, ingest_port: int) -> list[Child]:
    keyless = _with_keys(data_dir)
    web, ingest = start.web_command(port), start.ingest_command(ingest_port)
    return [
        Child("web", web, keyless, ready=lambda: _is_healthy(port), folder=CHECKOUT),
        Child("ingest", ingest, keyless, ready=lambda: _is_healthy(ingest_port), folder=CHECKOUT),
        # To confirm what an earlier put has written, it has to read that, too.
        Child("archiver", start.archiver_command(), _with_keys(data_dir, "WRITE", "READ"), folder=CHECKOUT),
        Child("loader", start.loader_command(), _with_keys(data_dir, "READ"), folder=CHECKOUT),
        Child("beat", start.beat_command(), keyless, folder=CHECKOUT),
    ]


def _environment(data_dir: Path) -> dict[str, str]:
    return {**os.environ, "DATA_DIR": str(data_dir), "PYTHONUNBUFFERED": "1"}


def _with_keys(data_dir: Path, *roles: str) -> dict[str, str]:
    """The environment of a process that has these roles' keys of the bucket, and no others.

    It names the embedded bucket, too: else settings.py would take all its keys from portal.env.
    """
    known = environment(data_dir, os.environ)
    bucket = {name: value for name, value in known.items() if name.startswith("ARCHIVE_")}
    others = {key for role, keys in ARCHIVE_KEYS.items() if role not in roles for key in keys}
    given = bucket | _environment(data_dir)
    return {name: value for name, value in given.items() if name.removesuffix("_FILE") not in others}


def _is_healthy(port: int) -> bool:
    status, _ = answer(port, "/healthz")
    return status == 200


def _missing(port: int) -> list[str]:
    """What the portal cannot reach of its servers."""
    status, body = answer(port, "/readyz")
    return list(json.loads(body)["missing"]) if status else ["the portal itself"]


if __name__ == "__main__":
    main()
