"""Prune: remove old events from Postgres; the figures of their days stay, and are frozen (docs/retention.md).

In: a UTC day. Out: no events before it; the ledger says how many of each object went, LoadProgress which hours are
frozen. Fails: TooRecent.

A day is a transaction, the oldest first: its rollups are brought up to its events, then these go. Killed anywhere, the
next run goes on; run again, it changes nothing. The archive is left alone.
"""

from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Min, Q
from django.db.models.functions import TruncDate

from analytics import rollups, warehouse
from analytics.models import Event, LoadProgress, TouchedHour
from ingest.checks import OLDEST_PLAUSIBLE

KEPT_AT_LEAST = OLDEST_PLAUSIBLE
"""So late an event may come and still be of the time that it says: its hour must not be frozen by then."""

_FIRST_YEAR = 1970  # no event is older


class TooRecent(Exception):
    """Events of days that would be frozen may still be on their way; the text says which days may be."""


@dataclass(frozen=True)
class Old:
    """The events before a day: how many, of how many UTC days and from which on, and about how many bytes they take."""

    events: int
    days: int
    first_day: date | None
    size_bytes: int


@dataclass(frozen=True)
class Pruned:
    """What went: so many events, of so many UTC days."""

    events: int
    days: int


def kept_from(now: datetime) -> date:
    """The first UTC day whose events are kept: RETENTION_MONTHS calendar months before today, or KEPT_AT_LEAST.

    A month that is too short gives its last day: a month before 31 March is 28 February, or the 29th.
    """
    today = now.astimezone(UTC).date()
    year, month = divmod(12 * today.year + today.month - 1 - settings.RETENTION_MONTHS, 12)
    if year < _FIRST_YEAR:
        return date(_FIRST_YEAR, 1, 1)
    day = min(today.day, monthrange(year, month + 1)[1])
    return min(date(year, month + 1, day), _latest(now))


def preview(before: date, now: datetime) -> Old:
    """What `prune` would remove; changes nothing. Raises TooRecent."""
    _refuse_recent(before, now)
    old = Event.objects.filter(occurred_at__lt=_midnight(before)).aggregate(
        events=Count("*"),
        days=Count(TruncDate("occurred_at", tzinfo=UTC), distinct=True),
        first=Min("occurred_at"),
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size(%s)", [Event._meta.db_table])
        (size_bytes,) = cursor.fetchone()
    return Old(
        events=old["events"],
        days=old["days"],
        first_day=old["first"].astimezone(UTC).date() if old["first"] else None,
        size_bytes=size_bytes * old["events"] // max(1, Event.objects.count()),
    )


def prune(before: date, now: datetime, *, progress: Callable[[int], None] = lambda events: None) -> Pruned:
    """Remove the events before this UTC day. `progress` is told after each day how many went. Raises TooRecent."""
    _refuse_recent(before, now)
    days = Event.objects.filter(occurred_at__lt=_midnight(before)).datetimes("occurred_at", "day", tzinfo=UTC)
    pruned = Pruned(0, 0)
    for day in days:
        events = _prune_day(day)
        pruned = Pruned(pruned.events + events, pruned.days + 1)
        progress(events)
    return pruned


def _latest(now: datetime) -> date:
    return (now - KEPT_AT_LEAST).astimezone(UTC).date()


def _refuse_recent(before: date, now: datetime) -> None:
    if before > _latest(now):
        raise TooRecent(f"Events may come {KEPT_AT_LEAST.days} days late: the latest possible date is {_latest(now)}.")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


# -- A day ------------------------------------------------------------------------------------------------------------


def _prune_day(start: datetime) -> int:
    """Remove the events of the UTC day that starts then, and freeze all hours before its end. Answers how many went."""
    until = start + timedelta(days=1)
    while True:
        with transaction.atomic():
            warehouse.lock(wait=True)
            # What is frozen with figures that are older than its events would stay wrong.
            if not TouchedHour.objects.filter(hour__lt=until).exists():
                _freeze(until)
                return _remove(start, until)
        rollups.refresh()


def _freeze(until: datetime) -> None:
    """Only days that had events: a history that is loaded later may still fill those before the first."""
    LoadProgress.objects.get_or_create(pk=1)
    not_so_far = Q(pruned_before=None) | Q(pruned_before__lt=until)
    LoadProgress.objects.filter(not_so_far, pk=1).update(pruned_before=until)


# One statement: what is counted is what is removed.
_REMOVE = """
    WITH removed AS (
        DELETE FROM analytics_event WHERE occurred_at >= %s AND occurred_at < %s RETURNING source_object_id
    ), of_object AS (
        SELECT source_object_id AS id, count(*) AS events FROM removed GROUP BY 1
    ), noted AS (
        UPDATE analytics_loadedobject o SET pruned_rows = pruned_rows + events FROM of_object WHERE o.id = of_object.id
    )
    SELECT coalesce(sum(events), 0)::bigint FROM of_object
"""


def _remove(start: datetime, until: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_REMOVE, [start, until])
        (events,) = cursor.fetchone()
    return int(events)
