"""Prompt: ask the user, at the terminal, whether anything may be sent.

In: a terminal. Out: the answer yes or no, or None: not asked, or not answered. It never guesses, and never a yes.
"""

from __future__ import annotations

import json
import os
import sys

from vibetel_client import environment
from vibetel_client.description import TELEMETRY_DATA_DESCRIPTION, example_event

# Answers that are none of the three; after the last the question stays open.
MISUNDERSTANDINGS_MAX_COUNT = 3


def ask(tool: str, endpoint: str) -> bool | None:
    """The user's answer. None without a terminal, in CI, under an AI coding agent, and at Ctrl-C or the input's end.

    All output goes to stderr.
    """
    here = environment.describe(os.environ)
    if here["ci"] or here["agent"] or not here["interactive"]:
        return None
    _say(
        f"{tool} can send anonymous events about how it is used to {endpoint or 'its authors'}, if you agree.",
        "",
        TELEMETRY_DATA_DESCRIPTION,
        "",
        "You can change your mind at any time. In the environment,",
        f"{environment.variable(tool, 'NO_TELEMETRY')}=1 or DO_NOT_TRACK=1 always means no.",
    )
    try:
        return _answer()
    except KeyboardInterrupt:
        _say("")
        return None


def _answer() -> bool | None:
    misunderstood_count = 0
    while misunderstood_count < MISUNDERSTANDINGS_MAX_COUNT:
        sys.stderr.write("Send these events? (yes / no / example: show me one) ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        answer = line.strip().lower()
        if answer in ("y", "yes"):
            return True
        if answer in ("n", "no"):
            return False
        if not line:
            break
        if answer in ("e", "example"):
            _say(json.dumps(example_event(), indent=2))
        else:
            misunderstood_count += 1
    _say("")
    return None


def _say(*lines: str) -> None:
    sys.stderr.write("\n".join(lines) + "\n")
