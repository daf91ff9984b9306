"""Servers: which of the embedded servers this environment needs.

In: the data folder and the process environment. Out: children, on ports that are free. Fails: AddressesDamaged,
StartFailed. Next: supervisor.py
"""

from collections.abc import Mapping
from pathlib import Path

from vibetel.embedded import postgres, seaweedfs, valkey
from vibetel.embedded.addresses import (
    POSTGRES_PORTS,
    SEAWEEDFS_PORTS,
    VALKEY_PORTS,
    is_free,
    is_replaced,
    read_or_create,
    replace_ports,
)
from vibetel.embedded.child import Child

# By the variable that replaces it; the one that takes longest to start first.
SERVERS = {
    "ARCHIVE_BUCKET": (seaweedfs.child, SEAWEEDFS_PORTS),
    "REDIS_URL": (valkey.child, VALKEY_PORTS),
    "DATABASE_URL": (postgres.child, POSTGRES_PORTS),
}


def needed(data_dir: Path, given: Mapping[str, str]) -> list[Child]:
    """The servers that `given` does not replace.

    To be called under the supervisor's lock, when none of them runs: who listens on their ports is a stranger, and
    portal.env gets other ports.
    """
    servers = [server for variable, server in SERVERS.items() if not is_replaced(variable, given)]
    if not servers:
        return []
    lines = read_or_create(data_dir)
    if taken := [port for _, ports in servers for port in ports if not is_free(int(lines[port]))]:
        lines = replace_ports(data_dir, taken)
    return [child(data_dir, lines) for child, _ in servers]
