"""Errors: which types, how often, whom they touch, since when, and in which versions.

In: a filter and the time. Out: ErrorType, one a type. Next: dashboards/, the stats API

A filter by error type chooses which types are listed; rates stay those of all runs, failed or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from analytics import breakdowns
from analytics.dimensions import ALL
from analytics.packing import Numbers
from analytics.queries.filters import Filter
from analytics.queries.parts import RUNS
from analytics.queries.selection import Selection
from analytics.queries.totals import comparable

ERROR_TYPE = "error_type"


@dataclass(frozen=True)
class ErrorType:
    """The failed runs of one type in the period. Failures without a type are in none.

    `rate` (0 to 1) is of all runs of the filter. `runs_before` and `rate_before` are of the period compared with: None
    where there is none, the rate also where that has no runs. `versions` are those it appeared in, with its runs of
    each, the most first. `first_day` and `last_day` are UTC days, of all time and whatever the filter. `new`: first
    seen in the period, and the portal is older than that.
    """

    error_type: str
    runs: int
    rate: float
    runs_before: int | None
    rate_before: float | None
    installations: int
    first_day: date
    last_day: date
    versions: Sequence[tuple[str, int]]
    new: bool


def errors(chosen: Filter, now: datetime) -> list[ErrorType]:
    """The types that runs of the period failed with, the most frequent first."""
    selection, period = chosen.selection.of_any(ERROR_TYPE), chosen.period
    current = selection.breakdown(ERROR_TYPE, period.start, period.until)
    numbers = [breakdowns.numbers_of(key)[1] for key in current.keys.tolist()]
    names, seen = selection.known.names(ERROR_TYPE, set(numbers)), selection.known.days(ERROR_TYPE)
    versions = _versions(selection, period.start, period.until)
    all_runs = _all_runs(selection, period.start, period.until)
    was, all_before = {}, 0
    if chosen.before:
        earlier = selection.breakdown(ERROR_TYPE, *comparable(chosen, now), counts_only=True)
        was = {breakdowns.numbers_of(key)[1]: count for key, count in _runs_of(earlier.keys, earlier.counts)}
        all_before = _all_runs(selection, *comparable(chosen, now))
    found = []
    for place, number in enumerate(numbers):
        if not chosen.selection.lists(ERROR_TYPE, names[number]):
            continue
        count = int(current.counts[place, RUNS])
        first_day, last_day = seen.of[number]
        found.append(
            ErrorType(
                error_type=names[number],
                runs=count,
                rate=count / all_runs,
                runs_before=was.get(number, 0) if chosen.before else None,
                rate_before=was.get(number, 0) / all_before if all_before else None,
                installations=current.sizes[place],
                first_day=first_day,
                last_day=last_day,
                versions=versions.get(number, ()),
                new=seen.very_first < period.first <= first_day,
            )
        )
    return sorted(found, key=lambda one: (-one.runs, one.error_type))


def _versions(selection: Selection, start: datetime, until: datetime) -> dict[int, list[tuple[str, int]]]:
    """For each type the versions it appeared in, with its runs of each."""
    one = selection.breakdown("error_version", start, until)
    counted = [(*breakdowns.numbers_of(key), count) for key, count in _runs_of(one.keys, one.counts)]
    names = selection.known.names("version", {version for _, version, _ in counted})
    found: dict[int, list[tuple[str, int]]] = {}
    for error_type, version, count in counted:
        found.setdefault(error_type, []).append((names[version], count))
    return {number: sorted(some, key=lambda pair: (-pair[1], pair[0])) for number, some in found.items()}


def _all_runs(selection: Selection, start: datetime, until: datetime) -> int:
    return int(selection.breakdown(ALL, start, until, counts_only=True).counts[:, RUNS].sum())


def _runs_of(keys: Numbers, counts: Numbers) -> list[tuple[int, int]]:
    return list(zip(keys.tolist(), counts[:, RUNS].tolist(), strict=True))
