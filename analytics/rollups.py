"""Rollup: recompute what dashboards read, for the hours whose events changed.

In: touched hours. Out: HourlyRollup and DailyRollup rows. Next: queries.py

An hour is recomputed from its events, a day from its hours; nothing is ever added up on the side. So late events,
resends and repairs are one mechanism, and running it again changes nothing.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from operator import attrgetter
from typing import Any, TypedDict

from django.db import connection, transaction
from django.db.models import QuerySet
from pyroaring import BitMap

from analytics import warehouse
from analytics.models import DailyRollup, HourlyRollup, Rollup, TouchedHour

# What the runs of a period are told apart by: dimension -> its value, in SQL; runs where it is NULL are left out.
DIMENSIONS: Mapping[str, str] = {
    "total": "''",
    "command": "command",
    "version": "tool_version",
    "provider": "provider",
    "model": "model",
    "error_type": "CASE WHEN has_error THEN error_type END",
    "os": "os",
    "ci": "ci::text",
    "agent": "agent",
}

# Log-scale buckets whose middle is within 2 % of all they hold (DDSketch, Masson et al. 2019, section 2).
ACCURACY = 0.02
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)

_HOURS_AT_ONCE = 96

# One row an hour, dimension and value. Failures count; their durations do not: a run that fails early is not fast.
_VALUES = ", ".join(f"('{name}', {sql})" for name, sql in DIMENSIONS.items())
# The runs are looked up once, by the index on their time, before they are multiplied: an eighth of the time.
_RECOMPUTE = f"""
    WITH run AS MATERIALIZED (
        SELECT hour, analytics_event.*,
               CASE WHEN has_error IS NOT TRUE
                    THEN ceil(ln(greatest(duration_ms, 1)) / {math.log(_GAMMA)!r})::int END AS bucket
        FROM unnest(%(hours)s::timestamptz[]) AS hour
        JOIN analytics_event ON occurred_at >= hour AND occurred_at < hour + interval '1 hour'
        WHERE duration_ms IS NOT NULL
    )
    SELECT hour, dimension, value,
           count(*) AS runs,
           count(*) FILTER (WHERE has_error) AS failures,
           count(*) FILTER (WHERE installation_id IS NULL) AS placeholder_runs,
           coalesce(sum(context_tokens), 0)::bigint AS context_tokens,
           coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
           coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
           array_agg(bucket) FILTER (WHERE bucket IS NOT NULL) AS buckets,
           array_agg(installation_id) FILTER (WHERE installation_id IS NOT NULL) AS installations
    FROM run
    CROSS JOIN LATERAL (VALUES {_VALUES}) AS d (dimension, value)
    WHERE value IS NOT NULL
    GROUP BY hour, dimension, value
"""


class _Columns(TypedDict):
    runs: int
    failures: int
    placeholder_runs: int
    context_tokens: int
    prompt_tokens: int
    completion_tokens: int
    duration_buckets: list[int]
    duration_counts: list[int]
    installations: bytes


@dataclass
class Tally:
    """Runs of any stretch of time, put together: what a rollup row holds, in a form that merges."""

    runs: int = 0
    failures: int = 0
    placeholder_runs: int = 0
    context_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    durations: Counter[int] = field(default_factory=Counter)
    installations: BitMap = field(default_factory=BitMap)

    def add(self, row: Rollup) -> None:
        """Merge a rollup row into this."""
        self.runs += row.runs
        self.failures += row.failures
        self.placeholder_runs += row.placeholder_runs
        self.context_tokens += row.context_tokens
        self.prompt_tokens += row.prompt_tokens
        self.completion_tokens += row.completion_tokens
        for bucket, count in zip(row.duration_buckets, row.duration_counts, strict=True):
            self.durations[bucket] += count
        self.installations |= BitMap.deserialize(bytes(row.installations))

    def percentile_ms(self, share: float) -> float | None:
        """The duration that `share` (0 to 1) of the successful runs stayed within, ±2 %; None without any."""
        remaining = math.ceil(share * self.durations.total()) or 1
        for bucket in sorted(self.durations):
            remaining -= self.durations[bucket]
            if remaining <= 0:
                return 2 * _GAMMA**bucket / (_GAMMA + 1)
        return None

    def columns(self) -> _Columns:
        """As a rollup row's columns."""
        buckets = sorted(self.durations)
        return {
            "runs": self.runs,
            "failures": self.failures,
            "placeholder_runs": self.placeholder_runs,
            "context_tokens": self.context_tokens,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "duration_buckets": buckets,
            "duration_counts": [self.durations[bucket] for bucket in buckets],
            "installations": self.installations.serialize(),
        }


def refresh(*, wait: bool = True, progress: Callable[[int], None] = lambda hours: None) -> int:
    """Bring the rollups up to the events. Answers how many hours were recomputed; `progress` is told now and then.

    Raises WarehouseBusy, without `wait`, where another is writing.
    """
    hours = 0
    while True:
        with transaction.atomic():
            warehouse.lock(wait=wait)
            touched = list(TouchedHour.objects.order_by("hour").values_list("hour", flat=True)[:_HOURS_AT_ONCE])
            if not touched:
                return hours
            _recompute(touched)
            TouchedHour.objects.filter(hour__in=touched).delete()
        hours += len(touched)
        progress(len(touched))


def hour_rows(*hours: datetime) -> Iterator[HourlyRollup]:
    """The rows of these hours as their events have it, not saved."""
    with connection.cursor() as cursor:
        cursor.execute(_RECOMPUTE, {"hours": list(hours)})
        for row in cursor:
            yield _hour_row(*row)


def day_rows(day: date) -> Iterator[DailyRollup]:
    """The rows of a day as its hours have it, not saved."""
    return _merged(day, _stored(day))


def _stored(day: date) -> QuerySet[HourlyRollup]:
    start = datetime.combine(day, time(), UTC)
    return HourlyRollup.objects.filter(hour__gte=start, hour__lt=start + timedelta(days=1))


def _merged(day: date, rows: Iterable[HourlyRollup]) -> Iterator[DailyRollup]:
    tallies: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
    for row in rows:
        tallies[row.dimension, row.value].add(row)
    for (dimension, value), tally in tallies.items():
        yield DailyRollup(day=day, dimension=dimension, value=value, **tally.columns())


def _hour_row(hour: datetime, dimension: str, value: str, *figures: Any) -> HourlyRollup:
    *counts, buckets, installations = figures
    tally = Tally(*counts)
    tally.durations.update(buckets or ())
    tally.installations.update(installations or ())
    return HourlyRollup(hour=hour, dimension=dimension, value=value, **tally.columns())


def _recompute(hours: Sequence[datetime]) -> None:
    """Replace the rows of these hours and of their days. Call with the warehouse locked."""
    HourlyRollup.objects.filter(hour__in=hours).delete()
    by_day: dict[date, list[HourlyRollup]] = {hour.astimezone(UTC).date(): [] for hour in hours}
    for row in hour_rows(*hours):
        by_day[row.hour.astimezone(UTC).date()].append(row)
    DailyRollup.objects.filter(day__in=by_day).delete()
    for day, rows in by_day.items():
        others = _stored(day)  # read before these are stored: they need not be fetched again
        _copy(DailyRollup, _merged(day, chain(others, rows)))
        _copy(HourlyRollup, rows)


def _copy(model: type[Rollup], rows: Iterable[Rollup]) -> None:
    """Save them. COPY with arrays as text takes a tenth of `bulk_create`, which looks at each number by itself."""
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    values = attrgetter(*(field.attname for field in fields))
    names = ", ".join(str(field.column) for field in fields)
    rows = list(rows)  # read to the end before the connection copies
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {model._meta.db_table} ({names}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row([_array(value) if isinstance(value, list) else value for value in values(row)])


def _array(numbers: list[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"
