"""Rollup: recompute what dashboards read, for the hours whose events changed.

In: touched hours. Out: HourlyRollup and DailyRollup rows, and the days an installation was first and last seen. Next:
queries/selection.py

An hour is recomputed from its events, a day from its hours; nothing is ever added up on the side. So late events,
resends and repairs are one mechanism, and running it again changes nothing. Hours whose events were pruned are frozen.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import numpy as np
from django.db import connection, models, transaction
from pyroaring import BitMap

from analytics import breakdowns, runs, warehouse
from analytics.breakdowns import Ready
from analytics.dimensions import ALL, BREAKDOWNS, DIMENSIONS, TOTAL
from analytics.models import DailyRollup, HourlyRollup, Installation, LoadProgress, TouchedHour
from analytics.runs import Runs

logger = logging.getLogger(__name__)

# A transaction's share: days are recomputed whole, so what counts is in how many the hours are.
_DAYS_AT_ONCE = 4


def refresh(*, wait: bool = True, progress: Callable[[int], None] = lambda hours: None) -> int:
    """Bring the rollups up to the events. Answers how many hours were recomputed; `progress` is told now and then.

    Raises WarehouseBusy, without `wait`, where another is writing.
    """
    hours = 0
    while True:
        with transaction.atomic():
            warehouse.lock(wait=wait)
            touched = _some_touched()
            if not touched:
                return hours
            frozen_until = frozen_before()
            recomputed = [hour for hour in touched if frozen_until is None or hour >= frozen_until]
            if len(recomputed) < len(touched):
                logger.warning(
                    "Events came for %d hours whose events were pruned: figures leave them out until a rebuild.",
                    len(touched) - len(recomputed),
                )
            if recomputed:
                _recompute(recomputed)
            TouchedHour.objects.filter(hour__in=touched).delete()
        hours += len(recomputed)
        progress(len(touched))


def frozen_before() -> datetime | None:
    """Hours before this one keep their rollups, since their events were pruned; None before the first pruning."""
    return LoadProgress.objects.filter(pk=1).values_list("pruned_before", flat=True).first()


def _some_touched() -> list[datetime]:
    touched = TouchedHour.objects.order_by("hour").values_list("hour", flat=True)[: 24 * _DAYS_AT_ONCE]
    days = sorted({_day(hour) for hour in touched})[:_DAYS_AT_ONCE]
    return [hour for hour in touched if _day(hour) in days]


def _day(hour: datetime) -> date:
    return hour.astimezone(UTC).date()


def _recompute(hours: Sequence[datetime]) -> None:
    """Replace the rows of these hours and of their days. Call with the warehouse locked."""
    new = runs.of_events(hours)
    HourlyRollup.objects.filter(hour__in=hours).delete()
    _copy(HourlyRollup, hour_rows(new))
    days = sorted({_day(hour) for hour in hours})
    of_day = dict(new.by_day())
    for day in days:
        start = datetime.combine(day, time(), UTC)
        # Those that were recomputed are at hand.
        others = [
            them
            for them in runs.stored(start, start + timedelta(days=1))
            if runs.moment(int(them["hour"][0])) not in hours
        ]
        of_day[day] = runs.together([*others, *([of_day[day]] if day in of_day else [])])
    before, after = _seen_on(days), {day: BitMap(np.unique(of_day[day]["installation"]).tolist()) for day in days}
    _replace_days(days, (row for day in days for row in day_rows(day, of_day[day])))
    _note_days(before, after)


# -- Rows -------------------------------------------------------------------------------------------------------------


class HourRow(NamedTuple):
    """A HourlyRollup."""

    hour: datetime
    runs: int
    packed: bytes


class DayRow(NamedTuple):
    """A DailyRollup."""

    day: date
    dimension: str
    value: int
    runs: int
    failures: int
    placeholder_runs: int
    context_tokens: int
    prompt_tokens: int
    completion_tokens: int
    installations_count: int
    counts: bytes
    durations: bytes
    installations: bytes
    part_counts: bytes
    part_durations: bytes
    part_installations: bytes


def hour_rows(them: Runs) -> Iterator[HourRow]:
    """Of the hours of these runs, as they should be stored."""
    for hour, of_hour in them.by_hour():
        yield HourRow(hour, len(of_hour), of_hour.packed())


def day_rows(day: date, them: Runs) -> Iterator[DayRow]:
    """Of a day with these runs, as they should be stored."""
    whole, parts = Ready(them, [ALL]), Ready(them, BREAKDOWNS)
    for dimension in (TOTAL, *DIMENSIONS):
        values = them[dimension] if dimension != TOTAL else np.zeros(len(them), np.uint8)
        for value, places in runs.groups(values):
            one = whole.breakdown(places)
            *plain, _ = one.counts[0].tolist()
            packed = (*breakdowns.packed(one), *breakdowns.packed(parts.breakdown(places)))
            yield DayRow._make((day, dimension, value, *plain, len(one.sets[0]), *packed))


# -- Rows to Postgres -------------------------------------------------------------------------------------------------


def _replace_days(days: Sequence[date], rows: Iterable[DayRow]) -> None:
    """Make the rows of these days these. What is the same stays: a new event changes few of a day's rows."""
    new = {row[:3]: row for row in rows}
    gone = []
    stored = DailyRollup.objects.filter(day__in=days).values_list("pk", *DayRow._fields)
    for pk, *columns in runs.binary_rows(stored):
        row = DayRow(*columns)
        if new.get(row[:3]) == row:
            del new[row[:3]]
        else:
            gone.append(pk)
    DailyRollup.objects.filter(pk__in=gone).delete()
    _copy(DailyRollup, new.values())


def _copy(model: type[models.Model], rows: Iterable[HourRow | DayRow]) -> None:
    """Save rows: COPY takes a tenth of `bulk_create`."""
    waiting = list(rows)
    if not waiting:
        return
    names = ", ".join(waiting[0]._fields)
    with connection.cursor() as cursor, cursor.copy(f"COPY {model._meta.db_table} ({names}) FROM STDIN") as copy:
        for row in waiting:
            copy.write_row(row)


# -- When an installation was seen ------------------------------------------------------------------------------------


def _seen_on(days: Sequence[date]) -> dict[date, BitMap]:
    """Who had a run on each of these days, by the rollups as they are."""
    totals = DailyRollup.objects.filter(dimension=TOTAL, day__in=days)
    return {day: breakdowns.set_of(sets) for day, sets in runs.binary_rows(totals.values_list("day", "installations"))}


def _note_days(before: dict[date, BitMap], after: dict[date, BitMap]) -> None:
    """Bring first and last days up to date, where the sets of some days changed."""
    came = [(day, now - before.get(day, BitMap())) for day, now in after.items()]
    left = BitMap.union(BitMap(), *(before.get(day, BitMap()) - now for day, now in after.items()))
    with connection.cursor() as cursor:
        for day, ids in came:
            cursor.execute(_WIDEN, {"day": day, "ids": ids.to_array().tolist()})
    if left:  # an earlier copy of an event came, with another time: who else knows
        _look_again(left)


_WIDEN = """
    UPDATE analytics_installation
    SET first_seen = least(first_seen, %(day)s), last_seen = greatest(last_seen, %(day)s)
    WHERE id = ANY(%(ids)s) AND (first_seen IS NULL OR first_seen > %(day)s OR last_seen < %(day)s)
"""


def _look_again(ids: BitMap) -> None:
    """Find the first and last day of these by looking at every day."""
    seen: dict[int, list[date]] = {}
    totals = DailyRollup.objects.filter(dimension=TOTAL).order_by("day")
    for day, sets in runs.binary_rows(totals.values_list("day", "installations")):
        for number in breakdowns.set_of(sets) & ids:
            seen.setdefault(number, []).append(day)
    for number in ids:
        days = seen.get(number)
        Installation.objects.filter(pk=number).update(
            first_seen=days[0] if days else None, last_seen=days[-1] if days else None
        )
