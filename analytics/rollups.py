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
from typing import TypedDict

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


_Key = tuple[str, str]  # dimension and value


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

    def add(self, other: "Tally | Rollup") -> None:
        """Merge another, or a rollup row, into this."""
        self.runs += other.runs
        self.failures += other.failures
        self.placeholder_runs += other.placeholder_runs
        self.context_tokens += other.context_tokens
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        if isinstance(other, Tally):
            self.durations.update(other.durations)
            self.installations |= other.installations
            return
        for bucket, count in zip(other.duration_buckets, other.duration_counts, strict=True):
            self.durations[bucket] += count
        self.installations |= BitMap.deserialize(bytes(other.installations))

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
    for hour, (dimension, value), tally in _hour_tallies(hours):
        yield HourlyRollup(hour=hour, dimension=dimension, value=value, **tally.columns())


def _hour_tallies(hours: Sequence[datetime]) -> Iterator[tuple[datetime, _Key, Tally]]:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")  # some hours' runs, nine times: else it is done on disk
        cursor.execute(_RECOMPUTE, {"hours": list(hours)})
        for hour, dimension, value, *counts, buckets, installations in cursor:
            yield hour, (dimension, value), Tally(*counts, Counter(buckets or ()), BitMap(installations or ()))  # type: ignore[call-arg]


def _recompute(hours: Sequence[datetime]) -> None:
    """Replace the rows of these hours and of their days. Call with the warehouse locked."""
    rows = list(_hour_tallies(hours))
    HourlyRollup.objects.filter(hour__in=hours).delete()
    days: dict[date, defaultdict[_Key, Tally]] = {
        hour.astimezone(UTC).date(): defaultdict(Tally) for hour in sorted(hours)
    }
    for day, tallies in days.items():
        start = datetime.combine(day, time(), UTC)
        for stored in HourlyRollup.objects.filter(hour__gte=start, hour__lt=start + timedelta(days=1)):
            tallies[stored.dimension, stored.value].add(stored)
    for hour, key, tally in rows:
        days[hour.astimezone(UTC).date()][key].add(tally)
    _copy(HourlyRollup, "hour", rows)
    DailyRollup.objects.filter(day__in=days).delete()
    _copy(DailyRollup, "day", ((day, key, tally) for day, tallies in days.items() for key, tally in tallies.items()))


def _copy(model: type[Rollup], period: str, rows: Iterable[tuple[date, _Key, Tally]]) -> None:
    """Save rows. COPY with arrays as text takes a tenth of `bulk_create`, which looks at each number by itself."""
    names = ", ".join((period, "dimension", "value", *_Columns.__annotations__))
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {model._meta.db_table} ({names}) FROM STDIN") as copy,
    ):
        for moment, key, tally in rows:
            columns = tally.columns()
            arrays = {name: _array(columns[name]) for name in ("duration_buckets", "duration_counts")}
            copy.write_row((moment, *key, *(columns | arrays).values()))


def _array(numbers: list[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"
