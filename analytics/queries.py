"""Queries: a period -> figures, for the dashboards.

In: a Period and the time. Out: frozen dataclasses of numbers; no words, no markup. Next: charts.py, dashboards/.

Reads rollups only, never events, in a fixed number of statements. Days are UTC days. Today is not over: the period
before ends at the same hour of its last day, so that like is compared with like.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar

from django.db.models import QuerySet
from pyroaring import BitMap

from analytics.models import DailyRollup, HourlyRollup, LoadedObject, Rollup
from analytics.rollups import Tally

PERIOD_DAYS: Mapping[str, int] = {"7d": 7, "30d": 30, "90d": 90}
DEFAULT_PERIOD = "30d"

# Under this many successful runs a percentile says nothing.
PERCENTILE_MIN_RUNS = 20

# What the Overview breaks its runs down by (rollups.DIMENSIONS).
BREAKDOWNS = ("command", "version", "model", "provider", "error_type")


@dataclass(frozen=True)
class Period:
    """Whole UTC days, `first` to `last` inclusive."""

    name: str
    first: date
    last: date

    @classmethod
    def ending_today(cls, name: str, now: datetime) -> "Period":
        """The period of this name in PERIOD_DAYS, with today as its last day. Raises KeyError."""
        last = now.astimezone(UTC).date()
        return cls(name, last - timedelta(days=PERIOD_DAYS[name] - 1), last)

    @property
    def days(self) -> list[date]:
        """Each of its days, the first one first."""
        return [self.first + timedelta(days=offset) for offset in range((self.last - self.first).days + 1)]

    def before(self) -> "Period":
        """As many days before it, moved by whole weeks: weekdays meet weekdays (30 days are 35 days back)."""
        weeks = -(-len(self.days) // 7)
        return Period(self.name, self.first - timedelta(weeks=weeks), self.last - timedelta(weeks=weeks))


@dataclass(frozen=True)
class Figures:
    """Some runs, counted. Percentiles are of successful runs, and None under PERCENTILE_MIN_RUNS of them."""

    runs: int
    failures: int
    placeholder_runs: int
    installations: int
    prompt_tokens: int
    completion_tokens: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None

    @property
    def tokens(self) -> int:
        """Prompt and completion; the context is part of the prompt."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def tokens_per_run(self) -> float | None:
        """None without runs."""
        return self.tokens / self.runs if self.runs else None

    @property
    def runs_per_installation(self) -> float | None:
        """Without those by placeholders, who are no installations; None without installations."""
        return (self.runs - self.placeholder_runs) / self.installations if self.installations else None

    @property
    def error_rate(self) -> float | None:
        """Share (0 to 1) of the runs that failed; None without runs."""
        return self.failures / self.runs if self.runs else None


@dataclass(frozen=True)
class Part:
    """The runs of one value of a dimension: of one command, say. `share` (0 to 1) is of all runs that have a value."""

    value: str
    share: float
    now: Figures
    before: Figures
    daily_runs: Sequence[int]
    daily_installations: Sequence[int]


@dataclass(frozen=True)
class Report:
    """A period's figures. `days` and `days_before` hold a Figures for each day, whole days as far as they are over."""

    period: Period
    now: Figures
    before: Figures
    days: Sequence[Figures]
    days_before: Sequence[Figures]
    parts: Mapping[str, Sequence[Part]]


_Key = tuple[str, str]
_Row = TypeVar("_Row", bound=Rollup)


def report(period: Period, now: datetime) -> Report:
    """All the figures of a period: two statements, whatever it holds."""
    before = period.before()
    rows = list(_daily_rows(before.first, period.last))
    current = _grouped(row for row in rows if period.first <= row.day <= period.last)
    earlier_days = [row for row in rows if before.first <= row.day <= before.last]
    whole_days = [row for row in earlier_days if row.day < before.last]
    earlier: Mapping[_Key, Sequence[Rollup]] = _grouped([*whole_days, *_rows_until_this_hour(before.last, now)])
    total = ("total", "")
    return Report(
        period=period,
        now=_figures(current.get(total, ())),
        before=_figures(earlier.get(total, ())),
        days=_daily_figures(current.get(total, ()), period.days),
        days_before=_daily_figures(_grouped(earlier_days).get(total, ()), before.days),
        parts={dimension: _parts(dimension, current, earlier, period.days) for dimension in BREAKDOWNS},
    )


def newest_day() -> date | None:
    """The last day with a run; None before the very first one."""
    days = DailyRollup.objects.filter(dimension="total").order_by("-day").values_list("day", flat=True)
    return days.first()


def loaded_at() -> datetime | None:
    """When events were last loaded; None before the first time."""
    return LoadedObject.objects.order_by("-loaded_at").values_list("loaded_at", flat=True).first()


# -- Rows to figures --------------------------------------------------------------------------------------------------


def _daily_rows(first: date, last: date) -> QuerySet[DailyRollup]:
    return DailyRollup.objects.filter(dimension__in=("total", *BREAKDOWNS), day__range=(first, last))


def _rows_until_this_hour(day: date, now: datetime) -> QuerySet[HourlyRollup]:
    """The hours of a day that have passed today too, to the nearest hour."""
    start = datetime.combine(day, time(), UTC)
    passed = (now.astimezone(UTC) + timedelta(minutes=30)).replace(minute=0, second=0, microsecond=0)
    today = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    return HourlyRollup.objects.filter(
        dimension__in=("total", *BREAKDOWNS), hour__gte=start, hour__lt=start + (passed - today)
    )


def _grouped(rows: Iterable[_Row]) -> Mapping[_Key, Sequence[_Row]]:
    """By dimension and value."""
    groups: defaultdict[_Key, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[row.dimension, row.value].append(row)
    return groups


def _figures(rows: Iterable[Rollup]) -> Figures:
    tally = Tally()
    for row in rows:
        tally.add(row)
    telling = tally.durations.total() >= PERCENTILE_MIN_RUNS
    return Figures(
        runs=tally.runs,
        failures=tally.failures,
        placeholder_runs=tally.placeholder_runs,
        installations=len(tally.installations),
        prompt_tokens=tally.prompt_tokens,
        completion_tokens=tally.completion_tokens,
        p50_ms=tally.percentile_ms(0.50) if telling else None,
        p90_ms=tally.percentile_ms(0.90) if telling else None,
        p99_ms=tally.percentile_ms(0.99) if telling else None,
    )


def _daily_figures(rows: Iterable[DailyRollup], days: Sequence[date]) -> list[Figures]:
    by_day = {row.day: row for row in rows}
    return [_figures([by_day[day]] if day in by_day else []) for day in days]


def _parts(
    dimension: str,
    current: Mapping[_Key, Sequence[DailyRollup]],
    earlier: Mapping[_Key, Sequence[Rollup]],
    days: Sequence[date],
) -> list[Part]:
    """The values of a dimension, the one with the most runs first. A value without runs in the period is left out."""
    values = [value for name, value in current if name == dimension]
    all_runs = sum(row.runs for value in values for row in current[dimension, value])
    parts = [
        _part(value, current[dimension, value], earlier.get((dimension, value), ()), all_runs, days) for value in values
    ]
    return sorted(parts, key=lambda part: (-part.now.runs, part.value))


def _part(
    value: str, rows: Sequence[DailyRollup], rows_before: Sequence[Rollup], all_runs: int, days: Sequence[date]
) -> Part:
    by_day = {row.day: row for row in rows}
    now = _figures(rows)
    return Part(
        value=value,
        share=now.runs / all_runs,
        now=now,
        before=_figures(rows_before),
        daily_runs=[by_day[day].runs if day in by_day else 0 for day in days],
        daily_installations=[_installations(by_day[day]) if day in by_day else 0 for day in days],
    )


def _installations(row: Rollup) -> int:
    return len(BitMap.deserialize(bytes(row.installations)))
