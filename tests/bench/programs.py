"""Programs: small tools as whole processes, timed from outside.

The parent reads a program's output to its end and waits for it, as a shell does.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from vibetel_client.transport import DELIVERING

# A program that still runs then is killed.
LIFE_MAX_S = 60

_ARGPARSE = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--debug", action="store_true")
parser.parse_args(["--debug"])
"""
_CLIENT = """
from vibetel_client import Telemetry
telemetry = Telemetry(tool="vibe-tools", version="0.64.0")
"""
_POSTHOG = """
import os
from posthog import Posthog
client = Posthog("phc_none", host=os.environ["POSTHOG_HOST"])
"""


@dataclass(frozen=True)
class Program:
    """One program as source code: without telemetry, with the client, and with posthog-python."""

    without: str
    client: str
    posthog: str


def _tool(imports: str, begin: str, end: str) -> str:
    """It runs a command, and tells by the system's clock when that began, was about to end, and was reported."""
    return f"""{imports}{_ARGPARSE}
import os, time
began = time.monotonic_ns()
{begin}
ending = time.monotonic_ns()
{end}
ended = time.monotonic_ns()
os.write(1, b"%d %d %d" % (began, ending, ended))
"""


# As a run that used a model: its names have the longest patterns.
_RUN = """
telemetry.start_command("repo", {"debug": True})
telemetry.update_command_state(prompt_tokens=1200, completion_tokens=300, provider="openai", model="gpt-4.1")
"""
BARE = Program("", _CLIENT, _POSTHOG)
ARGPARSE = Program(_ARGPARSE, _CLIENT + _ARGPARSE, _POSTHOG + _ARGPARSE)
TOOL = Program(
    _tool("", "", ""),
    _tool(_CLIENT, _RUN, "telemetry.end_command()"),
    _tool(_POSTHOG, "", 'client.capture("command_executed", distinct_id="none", properties={"command": "repo"})'),
)


@dataclass(frozen=True)
class Run:
    """Milliseconds of one process. `inside` and `exit` are 0 where the program tells no times."""

    whole: float  # from before it is started until its parent has waited for it
    inside: float  # from before start_command to after end_command
    exit: float  # from before end_command until its parent has waited for it


def run(program: str, home: Path, prefix: Sequence[str], variables: Mapping[str, str]) -> Run:
    """One process from start to end, in its home."""
    started = time.monotonic_ns()
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", program],
        env=environment(home, variables),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    # Not `timeout=`: with it, Popen looks every now and then instead of waiting.
    killer = threading.Timer(LIFE_MAX_S, process.kill)
    killer.start()
    output, _ = process.communicate()
    over = time.monotonic_ns()
    killer.cancel()
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the program has failed with {process.returncode}: {program}")
    began, ending, ended = map(int, output.split() or (over, over, over))
    return Run(*(ns / 1e6 for ns in (over - started, ended - began, over - ending)))


def environment(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """What a program finds in its environment: little, so that nobody's settings change what is measured."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), **variables}


def deliveries(folder: Path) -> list[int]:
    """Process ids of the client's deliveries for this home, or any home in this folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environ = process.environ()
            if DELIVERING in environ and Path(environ.get("HOME", "")).is_relative_to(folder):
                found.append(process.pid)
    return found


def wait_until(reached: Callable[[], object], seconds: float) -> bool:
    """Whether it became true in time."""
    give_up_at = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.01)
    return True
