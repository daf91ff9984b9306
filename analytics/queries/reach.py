"""Reach: on which days the newest runs of a filter are, so that nobody looks for them on others.

In: a filter. Out: Reach. Next: analytics/events.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from analytics.breakdowns import COUNTS, Breakdown
from analytics.dimensions import ALL, DIMENSIONS
from analytics.queries.filters import Filter, Period

_DAYS_AT_ONCE = 31


@dataclass(frozen=True)
class Reach:
    """`days` have runs of the filter, the newest day first; `further` says whether earlier ones have some, too."""

    days: Sequence[date]
    further: bool


def reach(chosen: Filter, *, runs_max_count: int, others_max_count: int) -> Reach:
    """The newest days with runs of the filter, one at least if there is any.

    Together they have at most `runs_max_count` such runs, and at most `others_max_count` of any kind, among which those
    are to be looked for; one day may have more by itself.
    """
    everything, runs, others = chosen.selection.of_any(*DIMENSIONS), 0, 0
    days: list[date] = []
    for first, last in _months(chosen.period):
        wanted, all_runs = chosen.selection.days(ALL, first, last), everything.days(ALL, first, last)
        for day in sorted((day for day in wanted if _runs(wanted[day])), reverse=True):
            runs += _runs(wanted[day])
            others += _runs(all_runs[day])
            if days and (runs > runs_max_count or others > others_max_count):
                return Reach(days, further=True)
            days.append(day)
    return Reach(days, further=False)


def _months(period: Period) -> Iterator[tuple[date, date]]:
    """First and last days that are read at once, the newest first."""
    last = period.last
    while last >= period.first:
        first = max(period.first, last - timedelta(days=_DAYS_AT_ONCE - 1))
        yield first, last
        last = first - timedelta(days=1)


def _runs(of_day: Breakdown) -> int:
    return int(of_day.counts[:, COUNTS.index("runs")].sum())
