"""Rollup: recompute what dashboards read, for the hours whose events changed.

In: touched hours. Out: HourlyRollup and DailyRollup rows. Next: queries.py

An hour is recomputed from its events, a day from its hours; nothing is ever added up on the side. So late events,
resends and repairs are one mechanism, and running it again changes nothing.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypedDict

from django.db import connection, transaction
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

_HOURS_AT_ONCE = 72

# One row an hour, dimension and value. Failures count; their durations do not: a run that fails early is not fast.
_VALUES = ", ".join(f"('{name}', {sql})" for name, sql in DIMENSIONS.items())
_RECOMPUTE = f"""
    SELECT dimension, value,
           count(*) AS runs,
           count(*) FILTER (WHERE has_error) AS failures,
           count(*) FILTER (WHERE installation_id IS NULL) AS placeholder_runs,
           coalesce(sum(context_tokens), 0)::bigint AS context_tokens,
           coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
           coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
           array_agg(ceil(ln(greatest(duration_ms, 1)) / {math.log(_GAMMA)!r})::int)
               FILTER (WHERE has_error IS NOT TRUE) AS buckets,
           array_agg(DISTINCT installation_id) FILTER (WHERE installation_id IS NOT NULL) AS installations
    FROM analytics_event
    CROSS JOIN LATERAL (VALUES {_VALUES}) AS d (dimension, value)
    WHERE duration_ms IS NOT NULL AND value IS NOT NULL
      AND occurred_at >= %(hour)s AND occurred_at < %(hour)s + interval '1 hour'
    GROUP BY dimension, value
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


def _recompute(hours: Iterable[datetime]) -> None:
    """Replace the rows of these hours and of their days. Call with the warehouse locked."""
    for hour in hours:
        HourlyRollup.objects.filter(hour=hour).delete()
        HourlyRollup.objects.bulk_create(_hour_rows(hour), batch_size=500)
    for day in sorted({hour.astimezone(UTC).date() for hour in hours}):
        DailyRollup.objects.filter(day=day).delete()
        DailyRollup.objects.bulk_create(_day_rows(day), batch_size=500)


def _hour_rows(hour: datetime) -> list[HourlyRollup]:
    with connection.cursor() as cursor:
        cursor.execute(_RECOMPUTE, {"hour": hour})
        return [_hour_row(hour, *row) for row in cursor.fetchall()]


def _hour_row(hour: datetime, dimension: str, value: str, *figures: Any) -> HourlyRollup:
    *counts, buckets, installations = figures
    tally = Tally(*counts)
    tally.durations.update(buckets or ())
    tally.installations.update(installations or ())
    return HourlyRollup(hour=hour, dimension=dimension, value=value, **tally.columns())


def _day_rows(day: date) -> list[DailyRollup]:
    start = datetime.combine(day, time(), UTC)
    tallies: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
    for row in HourlyRollup.objects.filter(hour__gte=start, hour__lt=start + timedelta(days=1)):
        tallies[row.dimension, row.value].add(row)
    return [
        DailyRollup(day=day, dimension=dimension, value=value, **tally.columns())
        for (dimension, value), tally in tallies.items()
    ]
