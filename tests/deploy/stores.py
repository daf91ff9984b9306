"""Stores: PostgreSQL and Redis as a distribution has them, with passwords and TLS; SeaweedFS with scoped keys for R2.

In: a data folder, the lines of its portal.env. Out: children for a Supervisor, and the addresses that the portal is
given. Fails: FileNotFoundError where they are not installed (.ci/run installs them).
"""

import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psycopg
import redis
import trustme

from vibetel.embedded import postgres, seaweedfs
from vibetel.embedded.addresses import BUCKET, DATABASE, POSTGRES_USER, archive_endpoint_url
from vibetel.embedded.child import SERVER_ENVIRONMENT, Child, write_private

_DEBIAN = Path("/usr/lib/postgresql")


def missing() -> list[str]:
    """Which of Debian's packages are not installed."""
    return [
        package
        for package, there in (
            ("postgresql", any(_DEBIAN.glob("*/bin/postgres"))),
            ("redis-server", shutil.which("redis-server")),
        )
        if not there
    ]


def children(data_dir: Path, lines: Mapping[str, str]) -> list[Child]:
    """All three. Their certificates are of an authority of the data folder's own: `<data_dir>/ca.pem`."""
    certify(data_dir)
    return [seaweedfs.child(data_dir, lines), _redis(data_dir, lines), _postgres(data_dir, lines)]


def addresses(data_dir: Path, lines: Mapping[str, str]) -> dict[str, str]:
    """DATABASE_URL and REDIS_URL over TLS, and the archive's without keys."""
    return {
        "DATABASE_URL": database_url(data_dir, lines),
        "REDIS_URL": redis_url(data_dir, lines),
        "ARCHIVE_BUCKET": BUCKET,
        "ARCHIVE_ENDPOINT_URL": archive_endpoint_url(lines),
    }


def keys(lines: Mapping[str, str]) -> dict[str, str]:
    """The archiver's and the loader's keys: one may only write, the other only read."""
    return {
        "ARCHIVE_WRITE_ACCESS_KEY_ID": "write",
        "ARCHIVE_WRITE_SECRET_ACCESS_KEY": lines["SEAWEEDFS_WRITE_SECRET"],
        "ARCHIVE_READ_ACCESS_KEY_ID": "read",
        "ARCHIVE_READ_SECRET_ACCESS_KEY": lines["SEAWEEDFS_READ_SECRET"],
    }


def database_url(data_dir: Path, lines: Mapping[str, str], database: str = DATABASE) -> str:
    """As a hosted one's: the server must show a certificate of its name by an authority that is known."""
    user = f"{POSTGRES_USER}:{lines['POSTGRES_PASSWORD']}"
    return (
        f"postgresql://{user}@localhost:{lines['POSTGRES_PORT']}/{database}"
        f"?sslmode=verify-full&sslrootcert={data_dir}/ca.pem"
    )


def redis_url(data_dir: Path, lines: Mapping[str, str]) -> str:
    """The same of Redis."""
    password = lines["VALKEY_PASSWORD"]
    return f"rediss://:{password}@localhost:{lines['VALKEY_PORT']}/0?ssl_ca_certs={data_dir}/ca.pem"


def redis_options(data_dir: Path, lines: Mapping[str, str]) -> list[str]:
    """Its configuration: TLS on the only port, on disk before it answers, nothing evicted."""
    return [
        *("--bind", "127.0.0.1", "--port", "0", "--tls-port", lines["VALKEY_PORT"], "--tls-auth-clients", "no"),
        *("--tls-cert-file", f"{data_dir}/server.pem", "--tls-key-file", f"{data_dir}/server.key"),
        *("--tls-ca-cert-file", f"{data_dir}/ca.pem"),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
        *("--maxmemory", "1gb", "--maxmemory-policy", "noeviction", "--daemonize", "no"),
    ]


def certify(data_dir: Path) -> None:
    """An authority, and a certificate for localhost."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(data_dir / "ca.pem"))
    (data_dir / "server.pem").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    write_private(data_dir / "server.key", server.private_key_pem.bytes().decode())


def _redis(data_dir: Path, lines: Mapping[str, str]) -> Child:
    folder = data_dir / "redis"
    config = folder / "redis.conf"

    def prepare() -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_private(config, f"requirepass {lines['VALKEY_PASSWORD']}\ndir {folder}\n")

    def answers() -> bool:
        with suppress(redis.RedisError), redis.Redis.from_url(redis_url(data_dir, lines)) as connection:
            return bool(connection.ping())
        return False

    command = [shutil.which("redis-server") or "redis-server", str(config), *redis_options(data_dir, lines)]
    return Child("redis", command, SERVER_ENVIRONMENT, prepare=prepare, ready=answers)


def _postgres(data_dir: Path, lines: Mapping[str, str]) -> Child:
    folder = data_dir / "postgres"
    programs = max(_DEBIAN.glob("*/bin"), key=lambda path: int(path.parent.name))
    prefix, user = postgres._unprivileged(folder)

    def prepare() -> None:
        if folder.exists():
            return
        password = data_dir / "postgres.password"
        write_private(password, lines["POSTGRES_PASSWORD"])
        folder.mkdir(mode=0o700)
        if user is not None:
            data_dir.chmod(0o711)
            for path in (folder, password, data_dir / "server.key"):
                postgres._give(path, user)
        initdb = [*prefix, str(programs / "initdb"), "-D", str(folder), "-U", POSTGRES_USER, "-A", "scram-sha-256"]
        options = ["--pwfile", str(password), "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run([*initdb, *options], check=True, capture_output=True, user=user, group=user, cwd="/")
        password.unlink()

    def has_database() -> bool:
        with suppress(psycopg.OperationalError):
            server = database_url(data_dir, lines, "postgres")
            with psycopg.connect(server, connect_timeout=2, autocommit=True) as connection:
                if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                    connection.execute(f"CREATE DATABASE {DATABASE}")
                return True
        return False

    return Child(
        name="postgres",
        command=[
            *(*prefix, str(programs / "postgres"), "-D", str(folder), "-p", lines["POSTGRES_PORT"]),
            *("-c", "listen_addresses=localhost", "-c", "unix_socket_directories=", "-c", "ssl=on"),
            *("-c", f"ssl_cert_file={data_dir}/server.pem", "-c", f"ssl_key_file={data_dir}/server.key"),
        ],
        environment=SERVER_ENVIRONMENT,
        prepare=prepare,
        ready=has_database,
        user=user,
    )
