"""Report: rows as tables in Markdown, and what is beyond its limit. Times in milliseconds."""

import math
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from statistics import median
from typing import Literal

from tests.bench.conditions import Row
from tests.bench.herd import Arrivals
from tests.bench.programs import Run

# What the client may add.
IMPORT_MAX = 15.0
EXIT_MAX = 10.0
EXIT_P99_MAX = 50.0
# No process of it may be left after this.
LEFT_MAX_S = 60.0

_TEXT = ("program", "endpoint", "home", "runs that end at once")

Span = Literal["whole", "inside", "exit"]


def load_average() -> str:
    """Of the last 1, 5 and 15 minutes."""
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


def head(load_before: str) -> str:
    """Where it was measured, and how much else the machine had to do."""
    return (
        f"Python {platform.python_version()} on {platform.system()}, {os.cpu_count()} cores, load average "
        f"{load_before} before and {load_average()} after, posthog {version('posthog')}. Milliseconds."
    )


def imports(rows: Sequence[Row]) -> str:
    """How long the whole process takes that imports and constructs."""
    names = ["program", "runs", "without", "p99", "client adds", "p99", "posthog adds", "p99"]
    lines = []
    for row in rows:
        times = [*_without(row, "whole"), *_added(row, row.client, "whole"), *_added(row, row.posthog, "whole")]
        lines.append([row.condition.name, str(len(row.client)), *_cells(times)])
    return table(names, lines)


def exits(rows: Sequence[Row]) -> str:
    """How long it takes from before `end_command` to the end of the process, and what else a run is charged for."""
    names = ["endpoint", "home", "runs", "without", "p99", "client adds", "p99", "start to end", "p99", "whole run"]
    names += ["posthog adds", "p99", "whole run"]
    lines = []
    for row in rows:
        name = [row.condition.name, row.condition.home]
        if row.not_measured:
            lines.append([*name, f"not measured: {row.not_measured}", *[""] * (len(names) - 3)])
            continue
        times = [*_without(row, "exit"), *_added(row, row.client, "exit"), *_added(row, row.client, "inside")]
        times += [_added(row, row.client, "whole")[0], *_added(row, row.posthog, "exit")]
        times += [_added(row, row.posthog, "whole")[0]]
        lines.append([*name, str(len(row.client)), *_cells(times)])
    return table(names, lines)


def arrivals(seen: Arrivals) -> str:
    """What became of the runs that ended at once."""
    arrived = seen.runs - seen.killed - seen.missing
    return table(
        ["runs that end at once", "", ""],
        [
            ["not killed", f"{seen.runs - seen.killed:,}", f"{arrived:,} arrived"],
            [
                "killed with -9 after `end_command`",
                f"{seen.killed:,}",
                f"{seen.killed - seen.missing_killed:,} arrived",
            ],
            ["in Postgres more than once", f"{seen.repeated:,}", ""],
            ["in the bucket more than once", f"{seen.repeated_in_bucket:,}", "Postgres keeps one of them"],
            ["waited for the tool to be run again", f"{seen.delivered_later:,}", ""],
            ["until no process of the client ran", f"{seen.last_delivery_s:.1f} s", "after the last run"],
        ],
    )


def beyond(import_rows: Sequence[Row], exit_rows: Sequence[Row], seen: Arrivals) -> list[str]:
    """A line for each figure that is beyond its limit."""
    figures = [
        (f"import, {row.condition.name}", _added(row, row.client, "whole")[0], IMPORT_MAX) for row in import_rows
    ]
    for row in exit_rows:
        if not row.not_measured:
            typical, p99 = _added(row, row.client, "exit")
            name = f"exit, {row.condition.name}, home {row.condition.home}"
            figures.append((f"{name}, p99", p99, EXIT_P99_MAX))
            if not row.condition.waiting_bytes:  # a run that cuts a full spool is one in a hundred: its limit is p99's
                figures.append((name, typical, EXIT_MAX))
    figures += [
        ("runs not killed that did not arrive", seen.missing, 0),
        ("runs that arrived more than once", seen.repeated, 0),
        ("seconds that a process was left", seen.last_delivery_s, LEFT_MAX_S),
    ]
    return [f"Beyond its limit: {name}: {found:.1f} > {limit:g}" for name, found, limit in figures if found > limit]


def table(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; columns of text to the left, of figures to the right."""
    ruler = ["---" if name in _TEXT else "---:" for name in names]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, ruler, *lines))


def _without(row: Row, span: Span) -> list[float]:
    """Median, and how far the 99th percentile is from it: what the machine adds by itself."""
    return [median(getattr(run, span) for run in row.without), _added(row, row.without, span)[1]]


def _added(row: Row, runs: Sequence[Run], span: Span) -> list[float]:
    """What the median and the 99th percentile of these runs are above the median without telemetry."""
    if not runs:
        return [math.nan, math.nan]
    base = median(getattr(run, span) for run in row.without)
    times = sorted(getattr(run, span) for run in runs)
    return [median(times) - base, times[math.ceil(0.99 * len(times)) - 1] - base]


def _cells(times: Sequence[float]) -> list[str]:
    return ["" if math.isnan(time) else f"{time:,.1f}" for time in times]
