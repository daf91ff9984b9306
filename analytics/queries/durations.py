"""Durations: how long successful runs took: percentiles, and how many took how long.

In: a filter. Out: Durations. Next: dashboards/, the stats API

Rollups keep durations in buckets of 4 %, far too many to look at: here they are put into some that read well, each
about twice as wide as the one before it, as on a log scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analytics import runs
from analytics.dimensions import ALL
from analytics.queries import figures
from analytics.queries.filters import Filter

# Where each bucket begins; the last one has no end.
_STARTS_MS = (
    *(0, 15, 30, 60, 125, 250, 500),
    *(1_000, 2_000, 4_000, 8_000, 15_000, 30_000),
    *(60_000, 120_000, 240_000, 480_000, 900_000, 1_800_000),
    *(3_600_000, 7_200_000, 14_400_000),
)


@dataclass(frozen=True)
class DurationBucket:
    """Successful runs that took `first_ms` to under `until_ms`, None for however long; ends are within 2 %.

    `share` (0 to 1) is of all successful runs, 0 without any.
    """

    first_ms: int
    until_ms: int | None
    runs: int
    share: float


@dataclass(frozen=True)
class Durations:
    """Of so many successful runs; the buckets are always the same, the shortest first.

    Percentiles are as in Figures: ±2 %, None under PERCENTILE_MIN_RUNS.
    """

    runs: int
    buckets: Sequence[DurationBucket]
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None


def durations(chosen: Filter) -> Durations:
    """How long the successful runs of the period took."""
    one = chosen.selection.breakdown(ALL, chosen.period.start, chosen.period.until)
    total = figures.of_all(one)
    kept, times = one.histogram(0)
    middles = [runs.bucket_ms(bucket) for bucket in kept.tolist()]
    places = np.searchsorted(_STARTS_MS[1:], middles, side="right")
    counts = np.bincount(places, times, len(_STARTS_MS)).astype(np.int64).tolist()
    of_all = sum(counts)
    return Durations(
        runs=of_all,
        buckets=[
            DurationBucket(first, until, count, count / of_all if of_all else 0.0)
            for first, until, count in zip(_STARTS_MS, (*_STARTS_MS[1:], None), counts, strict=True)
        ],
        p50_ms=total.p50_ms,
        p90_ms=total.p90_ms,
        p99_ms=total.p99_ms,
    )
