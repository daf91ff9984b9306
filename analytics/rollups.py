"""Rollup: recompute what dashboards read, for the hours whose events changed.

In: touched hours. Out: HourlyRollup, DailyRollup and DailyCombinations rows, and the days an installation was first and
last seen. Next: queries/selection.py

An hour is recomputed from its events, a day from its hours; nothing is ever added up on the side. So late events,
resends and repairs are one mechanism, and running it again changes nothing. Hours whose events were pruned are frozen:
only their days are computed anew.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import numpy as np
from django.db import connection, models, transaction
from pyroaring import BitMap

from analytics import breakdowns, combinations, runs, warehouse
from analytics.by_value import ByValue
from analytics.combinations import Combinations
from analytics.dimensions import DIMENSIONS, TOTAL
from analytics.models import DailyCombinations, DailyRollup, Event, HourlyRollup, LoadProgress, TouchedHour
from analytics.packing import GARBLED
from analytics.runs import Runs

logger = logging.getLogger(__name__)

# A transaction's share. Loaders wait for it.
_DAYS_AT_ONCE = 28


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
            if late := sum(map(_has_events, set(touched).difference(recomputed))):
                logger.warning(
                    "%d hours stay as they are, since their events were pruned: what came late is left out of figures"
                    " until a rebuild.",
                    late,
                )
            _recompute(touched, recomputed)
            TouchedHour.objects.filter(hour__in=touched).delete()
        hours += len(recomputed)
        progress(len(touched))


def frozen_before() -> datetime | None:
    """Hours before this one keep their rollups, since their events were pruned; None before the first pruning."""
    return LoadProgress.objects.filter(pk=1).values_list("pruned_before", flat=True).first()


def _some_touched() -> list[datetime]:
    """Of the newest days: whoever looks at pages meanwhile looks at these."""
    touched = list(TouchedHour.objects.order_by("-hour").values_list("hour", flat=True)[: 24 * _DAYS_AT_ONCE])
    days = sorted({_day(hour) for hour in touched}, reverse=True)[:_DAYS_AT_ONCE]
    return sorted(hour for hour in touched if _day(hour) in days)


def _day(hour: datetime) -> date:
    return hour.astimezone(UTC).date()


def _has_events(hour: datetime) -> bool:
    return Event.objects.filter(occurred_at__gte=hour, occurred_at__lt=hour + timedelta(hours=1)).exists()


def _recompute(touched: Sequence[datetime], recomputed: Sequence[datetime]) -> None:
    """Replace the rows of the touched hours' days, and those of hours to recompute. With the warehouse locked."""
    came: dict[date, BitMap] = {}
    left = BitMap()
    for made in _made(touched, recomputed):
        before = _seen_on(made.day)
        HourlyRollup.objects.filter(hour__in=made.hours).delete()
        _copy(HourlyRollup, made.hour_rows)
        _replace_day(made.day, made.rows, made.of_combinations)
        came[made.day] = made.installations - before
        left |= before - made.installations
    _note_days(came)
    if left:  # an earlier copy of an event came, with another time: who else knows
        _look_again(left)


@dataclass(frozen=True)
class _Made:
    """A day's rows as they should be, those of some of its hours, and who had a run."""

    day: date
    hours: Sequence[datetime]
    hour_rows: Sequence["HourRow"]
    rows: Sequence["DayRow"]
    of_combinations: "CombinationsRow | None"
    installations: BitMap


def _made(touched: Sequence[datetime], recomputed: Sequence[datetime]) -> Iterator[_Made]:
    """Each touched day, which is made whole, however many of its hours were touched."""
    with ThreadPoolExecutor(1) as beside:
        coming: Future[_Made] | None = None
        for day in sorted({_day(hour) for hour in touched}):
            # Postgres reads and writes these while the rows of another are made.
            hours = [hour for hour in recomputed if _day(hour) == day]
            others = _others(day, hours)
            ready, coming = coming, beside.submit(_make, day, hours, others, runs.of_events(hours))
            if ready:
                yield ready.result()
        if coming:
            yield coming.result()


def _others(day: date, hours: list[datetime]) -> list[Runs]:
    """What the day's other hours have. One that cannot be read is added to `hours` or, where it is frozen, left out."""
    start, others = datetime.combine(day, time(), UTC), []
    for hour, packed in runs.packed_hours(start, start + timedelta(days=1)):
        if hour in hours:
            continue
        try:
            others.append(runs.unpacked(hour, packed))
        except GARBLED:
            frozen_until = frozen_before()
            if frozen_until and hour < frozen_until:
                logger.error("hour %s cannot be read, and its events were pruned: its day is without it.", hour)
            else:
                logger.error("hour %s cannot be read: it is recomputed from its events.", hour)
                hours.append(hour)
    return others


def _make(day: date, hours: Sequence[datetime], others: Sequence[Runs], new: Runs) -> _Made:
    """In a thread of its own: no database here."""
    them = combinations.of(runs.together([*others, new]))
    return _Made(
        *(day, hours, list(hour_rows(new)), list(day_rows(day, them)), combinations_row(day, them)),
        BitMap(them.users.installations),
    )


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
    usage: bytes


class CombinationsRow(NamedTuple):
    """A DailyCombinations."""

    day: date
    counts: bytes
    durations: bytes
    installations: bytes
    usage: bytes
    options: bytes


def hour_rows(them: Runs) -> Iterator[HourRow]:
    """Of the hours of these runs, as they should be stored."""
    for hour, of_hour in them.by_hour():
        yield HourRow(hour, len(of_hour), of_hour.packed())


def day_rows(day: date, them: Combinations) -> Iterator[DayRow]:
    """Of a day with these runs, as they should be stored."""
    by_value = ByValue(them)
    for dimension in (TOTAL, *DIMENSIONS):
        values = them.values[dimension] if dimension != TOTAL else np.zeros(len(them), np.uint8)
        for value, of_value in by_value.of(values):
            whole = of_value.whole
            counts = whole.counts[0].tolist()
            packed = (*breakdowns.packed([whole]), *breakdowns.packed(of_value.parts), of_value.usage.packed())
            yield DayRow._make((day, dimension, value, *counts, whole.sizes[0], *packed))


def combinations_row(day: date, them: Combinations) -> CombinationsRow | None:
    """Of a day with these runs, as it should be stored; None without any."""
    return CombinationsRow(day, *them.packed()) if len(them) else None


# -- Rows to Postgres -------------------------------------------------------------------------------------------------


def _replace_day(day: date, rows: Iterable[DayRow], of_combinations: CombinationsRow | None) -> None:
    """Make these the rows of the day. What is the same stays: a new event changes few of a day's rows."""
    DailyCombinations.objects.filter(day=day).delete()
    _copy(DailyCombinations, [of_combinations] if of_combinations else [])
    new = {row[:3]: row for row in rows}
    gone = []
    for pk, *columns in runs.binary_rows(DailyRollup.objects.filter(day=day).values_list("pk", *DayRow._fields)):
        row = DayRow._make(columns)
        if new.get(row[:3]) == row:
            del new[row[:3]]
        else:
            gone.append(pk)
    DailyRollup.objects.filter(pk__in=gone).delete()
    _copy(DailyRollup, new.values())


def _copy(model: type[models.Model], rows: Iterable[HourRow | DayRow | CombinationsRow]) -> None:
    """Save rows: COPY takes a tenth of `bulk_create`; as Postgres keeps them, since bytes as text are twice as long."""
    waiting = list(rows)
    if not waiting:
        return
    names = waiting[0]._fields
    types = [str(model._meta.get_field(name).db_type(connection)).partition("(")[0] for name in names]
    statement = f"COPY {model._meta.db_table} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in waiting:
            copy.write_row(row)


# -- When an installation was seen ------------------------------------------------------------------------------------


def _seen_on(day: date) -> BitMap:
    """Who had a run on this day, by the rollups as they are."""
    for _, installations in _totals(day=day):
        return installations
    return BitMap()


def _totals(**when: date) -> Iterator[tuple[date, BitMap]]:
    """Who had a run on each day."""
    totals = DailyRollup.objects.filter(dimension=TOTAL, **when).order_by("day")
    for day, packed in runs.binary_rows(totals.values_list("day", "installations")):
        try:
            installations = breakdowns.only_set(packed)
        except GARBLED:
            logger.error("day %s cannot be read: who had a run is read from its hours.", day)
            installations = _in_hours_of(day)
        yield day, installations


def _in_hours_of(day: date) -> BitMap:
    start, found = datetime.combine(day, time(), UTC), BitMap()
    for hour, packed in runs.packed_hours(start, start + timedelta(days=1)):
        with suppress(*GARBLED):
            found |= breakdowns.bitmap(runs.unpacked(hour, packed)["installation"])
    found.discard(0)  # placeholders
    return found


def _note_days(came: Mapping[date, BitMap]) -> None:
    """Bring first and last days up to date, where installations came to a day."""
    first: dict[int, date] = {}
    last: dict[int, date] = {}
    for day in sorted(came):
        of_day = dict.fromkeys(came[day].to_array().tolist(), day)
        first = of_day | first
        last |= of_day
    with connection.cursor() as cursor:
        cursor.execute(_WIDEN, [list(first), list(first.values()), [last[number] for number in first]])


_WIDEN = """
    UPDATE analytics_installation i
    SET first_seen = least(i.first_seen, seen.first), last_seen = greatest(i.last_seen, seen.last)
    FROM unnest(%s::int[], %s::date[], %s::date[]) AS seen (id, first, last)
    WHERE i.id = seen.id
      AND (i.first_seen IS NULL OR i.first_seen > seen.first OR i.last_seen < seen.last)
"""


def _look_again(ids: BitMap) -> None:
    """Find the first and last day of these by looking at every day."""
    first: dict[int, date | None] = dict.fromkeys(ids)
    last: dict[int, date | None] = dict.fromkeys(ids)
    for day, installations in _totals():
        for number in installations & ids:
            first[number] = first[number] or day
            last[number] = day
    with connection.cursor() as cursor:
        cursor.execute(_SET_DAYS, [list(first), list(first.values()), list(last.values())])


_SET_DAYS = """
    UPDATE analytics_installation i SET first_seen = seen.first, last_seen = seen.last
    FROM unnest(%s::int[], %s::date[], %s::date[]) AS seen (id, first, last) WHERE i.id = seen.id
"""
