"""Homes: home directories for the measured programs, one for each state a user's may be in."""

import json
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.events import event

TOOL = "vibe-tools"

# Shell scripts; the home is "$1".
FULL = """
mount -t tmpfs -o size=64k tmpfs /mnt
cp -r "$1/." /mnt
cat /dev/zero > /mnt/rest 2> /dev/null || true
mount --bind /mnt "$1"
"""
READ_ONLY = 'mount --bind -o ro "$1" "$1"'


class NotAllowed(Exception):
    """This user may not mount; the message says why."""


def make(folder: Path, choice: bool | None, waiting_bytes: int = 0) -> Path:
    """A new home in `folder`, with the user's choice if there is one, and so many bytes of events in the spool."""
    home = Path(tempfile.mkdtemp(dir=folder))
    if choice is not None:
        saved = {"telemetryEnabled": choice, "userId": str(uuid.uuid4())}
        (home / f".{TOOL}").mkdir()
        (home / f".{TOOL}/diagnostics.json").write_text(json.dumps(saved))
    if waiting_bytes:
        line = json.dumps(event(timestamp=datetime.now(UTC).isoformat())) + "\n"
        spool(home).parent.mkdir()
        spool(home).write_text(line * (waiting_bytes // len(line)))
    return home


def spool(home: Path) -> Path:
    """The file in which the client keeps what waits."""
    return home / f".{TOOL}/telemetry/events.ndjson"


@contextmanager
def mounted(home: Path, script: str) -> Iterator[list[str]]:
    """What to put before a command, so that it, and nobody else, sees the home as the script mounts it.

    Raises NotAllowed.
    """
    hold = ["sh", "-e", "-c", f"{script}\necho mounted\nexec cat", "sh", str(home)]  # the mounts last as long as `cat`
    try:
        holder = subprocess.Popen(
            ["unshare", "--mount", *hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise NotAllowed("there is no program `unshare`") from error
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        if not holder.stdout.readline():
            raise NotAllowed(holder.stderr.read().decode().strip())
        try:
            yield ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--"]
        finally:
            holder.stdin.close()
