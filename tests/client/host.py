"""Host: programs with telemetry in processes of their own, and what they leave in the spool.

Programs begin with HOST, get the endpoint as their first argument, and share the test's HOME.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import vibetel_client
from vibetel_client import Telemetry, identity
from vibetel_client.spool import Event, Spool

TOOL = "vibe-tools"

# Refuses at once: nothing listens there, and nobody but root may.
NOWHERE = "http://127.0.0.1:9/"

HOST = """
import os, signal, sys, time
from vibetel_client import Telemetry, transport
telemetry = Telemetry(tool="vibe-tools", version="0.64.0", endpoint=sys.argv[1])
"""
ONE_RUN = (
    HOST
    + """
with telemetry.command("repo"):
    pass
"""
)
# What the host started, told on stdout; it delivers in a fork of its own.
TELL = "\nprint(*transport._started, flush=True)\n"


def say_yes() -> None:
    """The user's choice, in the test's HOME."""
    identity.record_choice(identity.path(TOOL), True)


def say_no() -> None:
    """The user's other choice, and what follows from it."""
    assert Telemetry(tool=TOOL, version="0.64.0").disable()


def spool() -> Spool:
    return Spool(TOOL)


def event(number: int = 0, **more: object) -> Event:
    """An event of its own, by its number."""
    ids = {"eventId": f"00000000-0000-7000-8000-{number:012d}", "timestamp": "2100-01-01T00:00:00.000Z"}
    return {"eventName": "command_executed", "command": "repo", **ids, **more}


def command(program: str, *arguments: str, options: "tuple[str, ...]" = ()) -> list[str]:
    """How to run a program; `options` are Python's own."""
    return [sys.executable, "-B", *options, "-c", program, *(arguments or (NOWHERE,))]


def environment() -> dict[str, str]:
    """This environment, in which programs find the client."""
    return {**os.environ, "PYTHONPATH": str(Path(vibetel_client.__file__).parents[1])}


def start(program: str, *arguments: str, options: "tuple[str, ...]" = (), **popen: Any) -> "subprocess.Popen[str]":
    """A program under way."""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    named = {**streams, "text": True, "env": environment(), **popen}
    return subprocess.Popen(command(program, *arguments, options=options), **named)


def run(program: str, *arguments: str, **popen: Any) -> "subprocess.CompletedProcess[str]":
    """A whole program: its exit status, stdout and stderr."""
    with start(program, *arguments, **popen) as started:
        return finish(started)


def finish(started: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
    """What became of a program; one that does not end is killed, and an error."""
    try:
        stdout, stderr = started.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        started.kill()
        raise
    return subprocess.CompletedProcess(started.args, started.returncode, stdout, stderr)


def wait_until(condition: Callable[[], object], patience_s: float = 20) -> None:
    give_up_at = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.03)  # a look at all processes takes some of its own


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def deliverers() -> list[int]:
    """The processes that deliver for hosts of this HOME."""
    marks = {b"VIBETEL_DELIVERING=1", f"HOME={os.environ['HOME']}".encode()}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marks <= set((folder / "environ").read_bytes().split(b"\0")) and is_alive(int(folder.name)):
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def deliverer() -> int:
    """The one process that delivers."""
    [found] = deliverers()
    return found


def reported() -> list[tuple[object, object, object]]:
    """Command, hasError and errorType of what waits, what vanished included."""
    return [(e["command"], e["hasError"], e.get("errorType")) for e in spool().take(time.time())]
