"""Dimensions: what runs are told apart by. Pure. Next: runs.py

A dimension has one value a run, or none, and pages filter by it. A breakdown is what a page lists runs by: a dimension,
two of them at once, or something of which a run may have several (options).
"""

from collections.abc import Mapping
from typing import NamedTuple

# Dimension -> a run's value, in SQL over analytics_event; NULL for none.
DIMENSIONS: Mapping[str, str] = {
    "command": "command",
    "version": "tool_version",
    "provider": "provider",
    "model": "model",
    "error_type": "CASE WHEN has_error THEN error_type END",
    "os": "os",
    "ci": "ci::text",
    "agent": "agent",
}

# Who ran it, as far as the client says: an agent, a CI job, or a person.
WHO = "CASE WHEN agent IS NOT NULL THEN 'agent' WHEN ci THEN 'ci' WHEN NOT ci THEN 'person' END"

# Further columns of a run that hold a value's number: column -> the dimension that numbers it, and SQL.
NUMBERED: Mapping[str, tuple[str, str]] = {
    **{name: (name, sql) for name, sql in DIMENSIONS.items()},
    "who": ("who", WHO),
    "file_model": ("model", "file_model"),
    "thinking_model": ("model", "thinking_model"),
}

TOTAL = "total"
OPTION = "option"


class Breakdown(NamedTuple):
    """Which columns of a run make its key; runs that lack one of them are left out.

    `code` stands for it in stored keys, for good. Sets of installations and histograms of durations are what takes
    space: they are kept where a page shows them.
    """

    code: int
    columns: tuple[str, ...]
    sets: bool = True
    durations: bool = True


ALL = "all"
"""By nothing: one part, whose key is 0."""

BREAKDOWNS: Mapping[str, Breakdown] = {
    "command": Breakdown(1, ("command",)),
    "version": Breakdown(2, ("version",)),
    "provider": Breakdown(3, ("provider",)),
    "model": Breakdown(4, ("model",)),
    "error_type": Breakdown(5, ("error_type",), durations=False),  # failures have none
    "os": Breakdown(6, ("os",), sets=False, durations=False),
    "ci": Breakdown(7, ("ci",), sets=False, durations=False),
    "agent": Breakdown(8, ("agent",), sets=False, durations=False),
    "who": Breakdown(9, ("who",), durations=False),
    "provider_model": Breakdown(10, ("provider", "model")),
    "command_model": Breakdown(11, ("command", "model"), sets=False, durations=False),
    "error_version": Breakdown(12, ("error_type", "version"), sets=False, durations=False),
    "file_thinking_model": Breakdown(13, ("file_model", "thinking_model"), sets=False, durations=False),
    OPTION: Breakdown(14, ("options",), sets=False, durations=False),
}

KEPT: Mapping[str, Breakdown] = {ALL: Breakdown(0, ()), **BREAKDOWNS}
"""And what is kept of all runs."""
