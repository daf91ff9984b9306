"""Integrations: the command's name and its options come by themselves. Each is imported only by who uses it.

Here is what they share. Next: argparse.py, click.py
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from enum import Enum

from vibetel_client.log import debug

# What the run of a tool without commands is called. Not by the program's name: that is the user's, who may change it.
MAIN = "main"

# The contract allows `group:group:command`; what is nested deeper is reported as the group it is in.
_MAX_DEPTH = 3


def command_name(path: Iterable[str]) -> str:
    """The name to report for the names of nested commands, outermost first."""
    return ":".join([*path][:_MAX_DEPTH]) or MAIN


def plain(value: object) -> object:
    """The value as the contract knows values: a member of an enumeration is its value, and of anything that is neither
    text nor a number (a path, an open file, a list) only `True` is left; None where it is empty."""
    if isinstance(value, Enum):
        value = value.value
    return value if isinstance(value, (bool, int, float, str)) else bool(value) or None


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """The border to the host: what fails inside becomes a debug line."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - telemetry must never break its host
        debug("the integration failed", error=error)
