"""Users: how many installations are active, how many are new, and how many stay.

In: a filter, and the time. Out: counts by step, weekly cohorts, and how often an installation runs; never who. Next:
dashboards/, the stats API

Daily users are never added up: each figure is the size of a union of days' sets. Placeholders are no installations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
from pyroaring import BitMap

from analytics import breakdowns, packing, runs
from analytics.dimensions import ALL
from analytics.queries.filters import CUSTOM, Filter, Period
from analytics.queries.totals import step_of, steps

_WEEK_DAYS, _MONTH_DAYS = 7, 30
COHORTS_MAX_COUNT = 12
# The first and last number of runs of each; None is any.
_RUNS = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, None))


@dataclass(frozen=True)
class Active:
    """Installations of one step, from `start` (UTC) on.

    `partial` where the step is not over, or not all of it in the period; days outside of the period do not count.
    """

    start: datetime
    partial: bool
    installations: int


@dataclass(frozen=True)
class ActiveDay(Active):
    """And those of the 7 and 30 days that end with it, of which the first may be before the period."""

    of_7_days: int
    of_30_days: int


@dataclass(frozen=True)
class ActiveRow:
    """One step of an Activity, which is an `interval`; what is of days alone is None of others."""

    interval: str
    start: datetime
    partial: bool
    installations: int
    of_7_days: int | None = None
    of_30_days: int | None = None


@dataclass(frozen=True)
class Activity:
    """Every day, every week from Monday on and every month of the period."""

    days: Sequence[ActiveDay]
    weeks: Sequence[Active]
    months: Sequence[Active]

    @property
    def stickiness(self) -> float | None:
        """What share of the installations of 30 days is active on an average day; None without any.

        Today, which is not over, does not count.
        """
        whole = [day for day in self.days if not day.partial]
        of_30_days = sum(day.of_30_days for day in whole)
        return sum(day.installations for day in whole) / of_30_days if of_30_days else None

    def rows(self) -> list[ActiveRow]:
        """The days, then the weeks, then the months."""
        steps = {"day": self.days, "week": self.weeks, "month": self.months}
        return [ActiveRow(interval, **vars(step)) for interval, several in steps.items() for step in several]


@dataclass(frozen=True)
class Newcomers(Active):
    """Active installations of one step, which are either new, returning or back again.

    `new` had their first run ever in this step, whatever the filter. Of the others `returning` were active in the
    step before, by this filter, and `back_again` were not. `before` counts all that were active in the step before.
    """

    new: int
    returning: int
    before: int

    @property
    def back_again(self) -> int:
        """Neither new nor active in the step before."""
        return self.installations - self.new - self.returning

    @property
    def retained(self) -> float | None:
        """Share (0 to 1) of the installations of the step before that are active in this one; None without any."""
        return self.returning / self.before if self.before else None


@dataclass(frozen=True)
class Cohort:
    """Installations that had their first run ever in the week from `start` on, and in it a run of the filter.

    `active` counts those that have one in that week, which are all, in the next one, and so on.
    """

    start: datetime
    active: Sequence[int]

    @property
    def size(self) -> int:
        """How many there are."""
        return self.active[0]

    def share(self, week: int) -> float | None:
        """Share (0 to 1) of them that is active so many weeks later; None without any."""
        return self.active[week] / self.size if self.size else None


@dataclass(frozen=True)
class Cohorts:
    """The earliest first. Their last counts are all of the same week; `partial` where that is not over."""

    partial: bool
    cohorts: Sequence[Cohort]


@dataclass(frozen=True)
class RunsBucket:
    """Installations with `first` to `last` runs (None: or more), and their share (0 to 1) of all."""

    first: int
    last: int | None
    installations: int
    share: float


@dataclass(frozen=True)
class RunsPerInstallation:
    """How often installations ran in the period. Half of them at most `median` times; None without any."""

    installations: int
    buckets: Sequence[RunsBucket]
    median: int | None
    p90: int | None


def activity(chosen: Filter, now: datetime) -> Activity:
    """Active installations, by every calendar step and over trailing days."""
    period, seen = chosen.period, _seen(chosen, now)
    of_7_days, of_30_days = (_trailing(seen, period, days) for days in (_WEEK_DAYS, _MONTH_DAYS))
    days = zip(_active(seen, "day", period, now), of_7_days, of_30_days, strict=True)
    return Activity(
        days=[ActiveDay(day.start, day.partial, day.installations, week, month) for day, week, month in days],
        weeks=list(_active(seen, "week", period, now)),
        months=list(_active(seen, "month", period, now)),
    )


def newcomers(chosen: Filter, now: datetime) -> list[Newcomers]:
    """Who is new and who returns, for each step of the filter's interval; by day where that is hours.

    When an installation was first seen is known to the day. The step before is a whole one, also of the first step.
    """
    interval, period, seen = _interval(chosen), chosen.period, _seen(chosen, now)
    first_seen = _first_seen(step_of(interval, period.start), period.until)
    before = _union(seen, _step_before(chosen), step_of(interval, period.start))
    found = []
    for one, (start, until) in zip(_active(seen, interval, period, now), steps(interval, period), strict=True):
        there = _union(seen, max(start, period.start), min(until, period.until))
        found.append(
            Newcomers(
                one.start,
                one.partial,
                one.installations,
                new=there.intersection_cardinality(_union(first_seen, start, until)),
                returning=there.intersection_cardinality(before),
                before=len(before),
            )
        )
        before = _union(seen, start, until)
    return found


def cohorts(chosen: Filter, now: datetime, *, at_most: int = COHORTS_MAX_COUNT) -> Cohorts:
    """Cohorts of the last weeks of the period.

    Weeks are whole ones, until now: the first may begin before the period, the last end after it.
    """
    seen, weeks = _seen(chosen, now), list(steps("week", chosen.period))[-at_most:]
    first_seen = _first_seen(weeks[0][0], weeks[-1][1])
    active = [_union(seen, *week) for week in weeks]
    found = []
    for place, week in enumerate(weeks):
        members = active[place] & _union(first_seen, *week)
        found.append(Cohort(week[0], [members.intersection_cardinality(later) for later in active[place:]]))
    return Cohorts(partial=weeks[-1][1] > now, cohorts=found)


def retention(chosen: Filter, now: datetime) -> Cohorts:
    """Cohorts of the last weeks to the end of the period, however few days it has: fewer weeks would say little."""
    last = chosen.period.last
    weeks = Period(CUSTOM, last - timedelta(weeks=COHORTS_MAX_COUNT - 1), last)
    return cohorts(replace(chosen, period=weeks), now)


def runs_per_installation(chosen: Filter) -> RunsPerInstallation:
    """How many installations ran how often."""
    found = chosen.selection.usage(chosen.period.first, chosen.period.last)
    installations, places = packing.numbered(found.installations)
    counts = packing.sums(places, found.runs, len(installations))  # of whatever version
    if not len(counts):
        return RunsPerInstallation(0, [RunsBucket(first, last, 0, 0) for first, last in _RUNS], None, None)
    times = np.diff([0, *np.searchsorted(np.sort(counts), [first for first, _ in _RUNS[1:]]), len(counts)]).tolist()
    median, p90 = np.quantile(counts, [0.5, 0.9], method="inverted_cdf").tolist()
    return RunsPerInstallation(
        installations=len(counts),
        buckets=[RunsBucket(*ends, number, number / len(counts)) for ends, number in zip(_RUNS, times, strict=True)],
        median=median,
        p90=p90,
    )


# -- Sets of installations --------------------------------------------------------------------------------------------

_Sets = Mapping[date, BitMap]
_NOBODY = BitMap()


def _seen(chosen: Filter, now: datetime) -> _Sets:
    """Who was active on each day, as far around the period as any of the figures looks: a page reads it once."""
    period = chosen.period
    first = min(_step_before(chosen).date(), period.first - timedelta(days=_MONTH_DAYS - 1))
    last_monday = step_of("week", period.until - timedelta(days=1)).date()
    last = min(last_monday + timedelta(days=_WEEK_DAYS - 1), max(period.last, now.astimezone(UTC).date()))
    return {day: one.sets[0] for day, one in chosen.selection.days(ALL, first, last).items()}


def _first_seen(start: datetime, until: datetime) -> _Sets:
    """Who had the first run ever on each day."""
    [found] = runs.arrays(_FIRST_SEEN, {"first": start.date(), "until": until.date()}, 1)
    return {
        runs.moment(24 * day).date(): breakdowns.bitmap(found[places] & 0xFFFFFFFF)
        for day, places in runs.groups(found >> 32)
    }


_FIRST_SEEN = """
    SELECT array_agg((first_seen - DATE '1970-01-01')::bigint << 32 | id) FROM analytics_installation
    WHERE first_seen >= %(first)s AND first_seen < %(until)s
"""


def _interval(chosen: Filter) -> str:
    return "day" if chosen.interval == "hour" else chosen.interval


def _step_before(chosen: Filter) -> datetime:
    interval = _interval(chosen)
    return step_of(interval, step_of(interval, chosen.period.start) - timedelta(days=1))


def _active(seen: _Sets, interval: str, period: Period, now: datetime) -> Iterator[Active]:
    for start, until in steps(interval, period):
        yield Active(
            start=start,
            partial=start < period.start or until > min(period.until, now),
            installations=len(_union(seen, max(start, period.start), min(until, period.until))),
        )


def _trailing(seen: _Sets, period: Period, days: int) -> Iterator[int]:
    """How many were active in so many days, up to each day of the period."""
    # All 365 unions of 30 sets of 8,000 out of 50,000 take 6 ms; to share them between windows takes longer.
    sets = _between(seen, period.first - timedelta(days=days - 1), period.last + timedelta(days=1))
    for place in range(len(period.days)):
        yield len(BitMap.union(*sets[place : place + days]))


def _union(of_days: _Sets, start: datetime, until: datetime) -> BitMap:
    """All of the days from `start` to before `until`."""
    return BitMap.union(*_between(of_days, start.date(), until.date()))


def _between(of_days: _Sets, first: date, until: date) -> list[BitMap]:
    """The set of each day, from `first` to before `until`."""
    return [of_days.get(first + timedelta(days=offset), _NOBODY) for offset in range((until - first).days)]
