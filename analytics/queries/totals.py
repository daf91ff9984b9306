"""Totals: what all runs of a filter come to, in one and step by step.

In: a filter and the time. Out: Totals, Series. Next: charts.py, dashboards/, the stats API

Today is not over: the period before ends at the same hour of its last day, so that like is compared with like. Steps
of both are shown whole, as far as they are over.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from analytics import breakdowns
from analytics.breakdowns import Breakdown
from analytics.dimensions import ALL
from analytics.queries import figures
from analytics.queries.figures import Figures
from analytics.queries.filters import Filter, Period


@dataclass(frozen=True)
class Totals:
    """All of the period, and of the one it is compared with; None where it is compared with none."""

    now: Figures
    before: Figures | None


@dataclass(frozen=True)
class Span:
    """One step: from `start` (UTC) on. `partial` where it is not over, or not all of it in the period."""

    start: datetime
    partial: bool


@dataclass(frozen=True)
class Point(Span):
    """One step of a series."""

    figures: Figures


@dataclass(frozen=True)
class Series:
    """The steps of the period, without gaps, and those of the one it is compared with, empty for none."""

    interval: str
    now: Sequence[Point]
    before: Sequence[Point]


def totals(chosen: Filter, now: datetime) -> Totals:
    """Six figures and more, with what they were before."""
    before = chosen.before
    read = chosen.selection.breakdown
    return Totals(
        now=figures.of_all(read(ALL, chosen.period.start, chosen.period.until)),
        before=figures.of_all(read(ALL, *comparable(chosen, now))) if before else None,
    )


def series(chosen: Filter, now: datetime) -> Series:
    """The same figures for each step."""
    before = chosen.before
    return Series(
        interval=chosen.interval,
        now=_points(chosen, chosen.period, now),
        before=_points(chosen, before, now) if before else [],
    )


def spans(chosen: Filter, now: datetime) -> list[Span]:
    """The steps of the period, without gaps: what a series has without its figures, which take time."""
    return _spans(chosen.interval, chosen.period, now)


def comparable(chosen: Filter, now: datetime) -> tuple[datetime, datetime]:
    """From when to when the period before is compared: until the same hour of its last day, where today is not over.

    To the nearest hour. Of a filter that compares with nothing it is nothing.
    """
    before = chosen.before
    if before is None:
        return chosen.period.start, chosen.period.start
    today = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    if chosen.period.until <= today:
        return before.start, before.until
    passed = (now.astimezone(UTC) + timedelta(minutes=30)).replace(minute=0, second=0, microsecond=0) - today
    return before.start, before.until - timedelta(days=1) + passed


def steps(interval: str, period: Period) -> Iterator[tuple[datetime, datetime]]:
    """Start and end of each step that has a part of the period: weeks begin on Monday, months on the first."""
    start = step_of(interval, period.start)
    while start < period.until:
        until = _next(interval, start)
        yield start, until
        start = until


def step_of(interval: str, moment: datetime) -> datetime:
    """The beginning of the step that a moment is in."""
    day = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if interval == "hour":
        return day
    day = day.replace(hour=0)
    if interval == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval == "month" else day


def _next(interval: str, start: datetime) -> datetime:
    if interval == "month":
        return (start + timedelta(days=31)).replace(day=1)
    return start + {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}[interval]


def _points(chosen: Filter, period: Period, now: datetime) -> list[Point]:
    found = by_step(chosen, ALL, period)
    return [
        Point(span.start, span.partial, figures.of_all(found.get(span.start)))
        for span in _spans(chosen.interval, period, now)
    ]


def _spans(interval: str, period: Period, now: datetime) -> list[Span]:
    return [
        Span(start, partial=start < period.start or until > min(period.until, now))
        for start, until in steps(interval, period)
    ]


def by_step(chosen: Filter, by: str, period: Period, *, counts_only: bool = False) -> Mapping[datetime, Breakdown]:
    """A breakdown for each step that has runs."""
    if chosen.interval == "hour":
        return chosen.selection.hours(by, period.start, period.until, counts_only=counts_only)
    several: dict[datetime, list[Breakdown]] = {}
    for day, one in chosen.selection.days(by, period.first, period.last, counts_only=counts_only).items():
        several.setdefault(step_of(chosen.interval, _midnight(day)), []).append(one)
    return {start: breakdowns.merged(some) for start, some in several.items()}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
