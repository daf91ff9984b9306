"""Prompt: ask the user, at the terminal, whether anything may be sent.

In: a terminal. Out: the answer yes or no, or None: not asked, or not answered. It never guesses, and never a yes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

from vibetel_client import environment
from vibetel_client.description import TELEMETRY_DATA_DESCRIPTION, example_event

# How often it is asked; after that the question stays open.
ANSWERS_MAX_COUNT = 5


def ask(tool: str, endpoint: str) -> bool | None:
    """The user's answer. None without a terminal, in CI, under an AI coding agent, and at Ctrl-C or the input's end.

    All output goes to stderr.
    """
    here = environment.describe(os.environ)
    if here["ci"] or here["agent"] or not here["interactive"]:
        return None
    try:
        _say(
            f"May {tool} report how it is used? If you agree, it sends an event for each command to",
            f"{endpoint or 'its authors'}, with a random id of this installation, and without your name.",
            "",
            TELEMETRY_DATA_DESCRIPTION,
            "",
            "You can change your mind at any time:",
            f"  python -m vibetel_client --tool {tool} off",
            f"  {environment.variable(tool, 'NO_TELEMETRY')}=1 or DO_NOT_TRACK=1 in the environment",
            "",
        )
        return _answer()
    except KeyboardInterrupt:
        _say("")
    except (OSError, ValueError):  # the terminal has gone, or somebody typed what is no text
        pass
    return None


def _answer() -> bool | None:
    _forget_what_was_typed_before()
    for _ in range(ANSWERS_MAX_COUNT):
        sys.stderr.write("Do you agree? (yes / no / example: show me an event) ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        answer = line.strip().lower()
        if not line.endswith("\n"):  # the end of the input, perhaps in the middle of a word
            break
        if answer in ("y", "yes"):
            return True
        if answer in ("n", "no"):
            return False
        if answer in ("e", "example"):
            _say(json.dumps(example_event(), indent=2))
        else:
            _say("Please answer yes, no or example.")
    _say("", "Nothing is sent.")
    return None


def _forget_what_was_typed_before() -> None:
    """Whoever typed it answered another question."""
    if sys.platform != "win32":
        import termios  # noqa: PLC0415 - not on Windows

        with contextlib.suppress(termios.error):
            termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _say(*lines: str) -> None:
    sys.stderr.write("\n".join(lines) + "\n")
