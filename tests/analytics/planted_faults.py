"""Seeded faults: stores full of what is normal, and faults planted in one store at a time, to be found by verify.

In: dice. Out: a bucket with its warehouse; a list of what was planted. Fails: where there is nothing left to plant in.

No two faults are planted where one could hide or explain the other: each object, hour, day and installation has one at
most. Rollups are broken on the last days only, rows on the others.
"""

import gzip
import hashlib
import itertools
import json
import random
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.db import connection

from analytics import combinations, history, load, rollups, runs
from analytics.combinations import Combinations
from analytics.faults import Kind
from analytics.models import (
    DailyCombinations,
    DailyRollup,
    Event,
    HourlyRollup,
    Installation,
    LoadedObject,
    Quarantined,
    Value,
)
from analytics.packing import GARBLED, Numbers
from analytics.runs import Runs
from ingest import archive, batches, checks
from ingest.archive import Fetched
from ingest.checks import Accepted
from tests.events import KEY, event

START = datetime(2026, 9, 1, tzinfo=UTC)
DAYS = 60
_ROLLUP_DAYS_FROM = START + timedelta(days=37)
_PEOPLE = 400
_PEOPLE_FOR_FAULTS = 40  # whose installations may be broken; none of their events is


# -- What is normal ---------------------------------------------------------------------------------------------------


def fill(dice: random.Random, objects_count: int, rows: int = 20) -> None:
    """A bucket of so many objects over two months, loaded and rolled up.

    Placeholders, twins, copies among objects, resent batches, broken lines, broken objects, simulated objects and
    history are among them.
    """
    people = [_uuid(dice) for _ in range(_PEOPLE)]
    older: list[dict[str, Any]] = []
    pause = timedelta(days=DAYS) / objects_count
    archive.prepare()
    with ThreadPoolExecutor(archive.PUTS_AT_ONCE) as pool:
        done = []
        for number in range(objects_count):
            received_at = START + number * pause
            if number % 50 == 13:  # a client that did not hear the answer
                batch = dice.sample(older, min(rows, len(older)))
            else:
                copies = dice.sample(older, dice.randrange(1, 4)) if number % 10 == 3 else []
                batch = [_event(dice, people, received_at) for _ in range(rows - len(copies))] + copies
                older = (older + batch)[-2000:]
            done.append(pool.submit(_put, number, received_at, batch, dice.getrandbits(32)))
        for future in done:
            future.result()
    load.catch_up(everything=True, wait=True)
    history.load(list(history.find("old/")))
    rollups.refresh()


def _uuid(dice: random.Random) -> str:
    return str(uuid.UUID(int=dice.getrandbits(128), version=4))


def _event(dice: random.Random, people: list[str], received_at: datetime) -> dict[str, Any]:
    failed = dice.random() < 0.1
    fields = {
        "eventId": _uuid(dice),
        "sessionId": _uuid(dice),
        "userId": dice.choice(people) if dice.random() > 0.05 else "anonymous_opt_out",
        "timestamp": (received_at - timedelta(milliseconds=dice.randrange(200_000))).isoformat(timespec="milliseconds"),
        "command": dice.choice(("repo", "ask", "plan", "web")),
        "duration": dice.randrange(100, 90_000),
        "promptTokens": dice.randrange(20_000),
        "options": dice.choice(({}, {"debug": True}, {"maxTokens": 500, "quiet": False})),
        "hasError": failed,
        "errorType": "FileError" if failed else None,
    }
    if failed and dice.random() < 0.3:
        fields |= {"eventName": "command_error", "duration": None, "options": None, "hasError": None}
    return event(**fields)


def _lines(received_at: datetime, events: list[dict[str, Any]]) -> list[bytes]:
    body = json.dumps({"data": events}).encode()
    found = checks.check(body, received_at=received_at, identity_hash_key=KEY, events_max_count=len(events))
    return [verdict.line for verdict in found.verdicts if isinstance(verdict, Accepted)]


def _put(number: int, received_at: datetime, events: list[dict[str, Any]], salt: int) -> None:
    name = batches.object_name(int(received_at.timestamp() * 1000), str(number), str(salt))
    if number % 300 == 277:
        put(f"old/{received_at:event_date=%Y-%m-%d/hr=%H}/{number}.json.gz", b"\x1f\x8b cut %d" % number, {})
        return
    if number % 100 == 77:
        text = "\n".join(json.dumps(item) for item in events)
        day = received_at.strftime("year=%Y/month=%m/day=%d")
        put(f"old/{day}/{uuid.UUID(int=number)}.json", text.encode(), {})
        return
    lines = _lines(received_at, events)
    if number % 15 == 7:
        lines.insert(1, b"broken %d" % number)
        lines.insert(3, b'{"eventName": "broken %d"}' % number)
    marks = {"origin": "simulate"} if number % 20 == 4 else {}
    item = batches.archive_object(name, lines, **marks)
    body = b"not gzip %d" % number if number % 200 == 99 else item.body
    put(item.name, body, item.metadata)


# -- The bucket, by hand ----------------------------------------------------------------------------------------------


def _client() -> Any:
    return storages["archive"].connection.meta.client  # type: ignore[attr-defined]


def put(name: str, body: bytes, metadata: dict[str, str]) -> None:
    """Write an object over whatever is there."""
    _client().put_object(Bucket=settings.ARCHIVE_BUCKET, Key=name, Body=body, Metadata=metadata)


def remove(name: str) -> None:
    """Delete an object."""
    _client().delete_object(Bucket=settings.ARCHIVE_BUCKET, Key=name)


@contextmanager
def _without_foreign_keys() -> Iterator[None]:
    """As a restore by halves, or a broken disk, leaves tables behind."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        yield
        cursor.execute("SET session_replication_role = origin")


# -- Faults -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Planted:
    """What verify is to find: the fault's kind, and the name it gives. `what` is the planting function's."""

    kind: str
    name: str
    what: str = field(compare=False, default="")


class Planter:
    """Plants faults, each where there is none yet."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        loaded = LoadedObject.objects.filter(state="loaded")
        before = LoadedObject.objects.filter(name__lt=batches.hour_prefix(_ROLLUP_DAYS_FROM)).values("pk")
        self._whole = self._shuffled(loaded.filter(pk__in=before, loaded_rows__gt=5))
        self._resent = self._shuffled(loaded.filter(pk__in=before, loaded_rows=0))
        self._with_broken_lines = self._shuffled(loaded.filter(pk__in=before, quarantined_rows__gt=0))
        self._broken = self._shuffled(LoadedObject.objects.filter(state="quarantined"))
        people = list(Installation.objects.order_by("user_id"))
        self.dice.shuffle(people)
        self._people = people[:_PEOPLE_FOR_FAULTS]
        self._spared = {person.pk for person in self._people}
        hours = HourlyRollup.objects.filter(hour__gte=_ROLLUP_DAYS_FROM).order_by("hour")
        self._hours = list(hours.values_list("hour", flat=True))
        self._days = sorted({hour.date() for hour in self._hours})
        self.dice.shuffle(self._hours)
        self.dice.shuffle(self._days)
        self._used: set[int] = set()

    def plant(self, what: str) -> Planted:
        """One fault of this name (FAULTS)."""
        kind, name = FAULTS[what](self)
        return Planted(kind.value, name, what)

    def _shuffled(self, rows: Any) -> list[LoadedObject]:
        found = list(rows.order_by("name"))
        self.dice.shuffle(found)
        return found

    def _take(self, from_: list[LoadedObject]) -> LoadedObject:
        while from_[-1].pk in self._used:
            from_.pop()
        self._used.add(from_[-1].pk)
        return from_.pop()

    def object(self) -> LoadedObject:
        """One that has rows of its own."""
        return self._take(self._whole)

    def resent(self) -> LoadedObject:
        """One whose rows are all copies."""
        return self._take(self._resent)

    def broken_object(self) -> LoadedObject:
        """One that is in quarantine as a whole."""
        return self._take(self._broken)

    def broken_line(self) -> Quarantined:
        """A quarantined line, of an object that is nobody else's."""
        return Quarantined.objects.filter(source_object=self._take(self._with_broken_lines)).order_by("pk")[0]

    def event(self) -> Event:
        """A run of an object that is nobody else's, by one whose installation stays whole."""
        while True:
            events = Event.objects.filter(source_object=self.object(), duration_ms__isnull=False)
            events = events.filter(installation__isnull=False).exclude(installation__in=self._spared)
            if found := list(events.order_by("pk")):
                return self.dice.choice(found)

    def person(self) -> Installation:
        """An installation, with events, none of which is touched otherwise."""
        return self._people.pop()

    def hour(self) -> datetime:
        """An hour with rollups."""
        return self._hours.pop()

    def day(self) -> Any:
        """A day with rollups; it has no other fault."""
        return self._days.pop()


_Found = tuple[Kind, str]
FAULTS: dict[str, Callable[[Planter], _Found]] = {}


def _fault(plant: Callable[[Planter], _Found]) -> Callable[[Planter], _Found]:
    FAULTS[plant.__name__] = plant
    return plant


# In the bucket alone.


def _fetch(planter: Planter) -> Fetched:
    return archive.get(planter.object().name)


@_fault
def object_removed(planter: Planter) -> _Found:
    name = planter.object().name
    remove(name)
    return Kind.MISSING_OBJECT, name


@_fault
def resent_object_removed(planter: Planter) -> _Found:
    name = planter.resent().name
    remove(name)
    return Kind.MISSING_OBJECT, name


@_fault
def object_renamed(planter: Planter) -> _Found:
    item = _fetch(planter)
    put(item.name.replace(".json.gz", "-moved.json.gz"), item.body, item.metadata)
    remove(item.name)
    return Kind.RENAMED_OBJECT, item.name


@_fault
def object_doubled(planter: Planter) -> _Found:
    item = _fetch(planter)
    name = planter.dice.choice(("", "a/", "z/")) + item.name.replace(".json.gz", "-copy.json.gz")
    put(name, item.body, item.metadata)
    return Kind.DOUBLED_OBJECT, name


@_fault
def object_doubled_without_metadata(planter: Planter) -> _Found:
    item = _fetch(planter)
    put(f"backup/{item.name}", item.body, {})
    return Kind.DOUBLED_OBJECT, f"backup/{item.name}"


@_fault
def object_cut_short(planter: Planter) -> _Found:
    item = _fetch(planter)
    put(item.name, item.body[: planter.dice.randrange(len(item.body))], item.metadata)
    return Kind.TRUNCATED_OBJECT, item.name


@_fault
def object_emptied(planter: Planter) -> _Found:
    item = _fetch(planter)
    put(item.name, b"", item.metadata)
    return Kind.TRUNCATED_OBJECT, item.name


@_fault
def object_with_fewer_lines(planter: Planter) -> _Found:
    item = _fetch(planter)
    lines = gzip.decompress(item.body).splitlines()[:-3]
    short = batches.archive_object(item.name, lines)
    put(item.name, short.body, item.metadata | short.metadata)
    return Kind.TRUNCATED_OBJECT, item.name


@_fault
def object_with_an_altered_line(planter: Planter) -> _Found:
    item = _fetch(planter)
    text = gzip.decompress(item.body).replace(b'"duration":', b'"duration":1', 1)
    put(item.name, gzip.compress(text, mtime=0), item.metadata)
    return Kind.ALTERED_OBJECT, item.name


@_fault
def object_with_an_altered_line_and_metadata(planter: Planter) -> _Found:
    item = _fetch(planter)
    text = gzip.decompress(item.body).replace(b'"duration":', b'"duration":1', 1)
    put(item.name, gzip.compress(text, mtime=0), item.metadata | {"sha256": hashlib.sha256(text).hexdigest()})
    return Kind.ALTERED_OBJECT, item.name


@_fault
def object_with_flipped_bytes(planter: Planter) -> _Found:
    item = _fetch(planter)
    at = planter.dice.randrange(20, len(item.body) - 20)
    put(item.name, item.body[:at] + bytes([item.body[at] ^ 255]) + item.body[at + 1 :], item.metadata)
    return Kind.ALTERED_OBJECT, item.name


@_fault
def object_replaced_by_another(planter: Planter) -> _Found:
    item, other = _fetch(planter), archive.get(planter.object().name)
    lines = gzip.decompress(other.body).splitlines()[1:]
    put(item.name, *_body_and_metadata(item.name, lines))
    return Kind.ALTERED_OBJECT, item.name


def _body_and_metadata(name: str, lines: list[bytes]) -> tuple[bytes, dict[str, str]]:
    made = batches.archive_object(name, lines)
    return made.body, made.metadata


@_fault
def metadata_rows_altered(planter: Planter) -> _Found:
    item = _fetch(planter)
    put(item.name, item.body, item.metadata | {"rows": "3"})
    return Kind.ALTERED_OBJECT, item.name


@_fault
def metadata_digest_altered(planter: Planter) -> _Found:
    item = _fetch(planter)
    put(item.name, item.body, item.metadata | {"sha256": "0" * 64})
    return Kind.ALTERED_OBJECT, item.name


@_fault
def metadata_time_altered(planter: Planter) -> _Found:
    item = _fetch(planter)
    put(item.name, item.body, item.metadata | {"last-received-at": "2026-01-01T00:00:00.000Z"})
    return Kind.ALTERED_OBJECT, item.name


@_fault
def metadata_lost(planter: Planter) -> _Found:
    item = _fetch(planter)
    put(item.name, item.body, {})
    return Kind.ALTERED_OBJECT, item.name


@_fault
def foreign_object_added(planter: Planter) -> _Found:
    name = f"notes-{planter.dice.getrandbits(32)}.txt"
    put(name, name.encode(), {})
    return Kind.FOREIGN_OBJECT, name


# In the ledger alone.


def _ledger(planter: Planter, **changes: Any) -> _Found:
    row = planter.object()
    LoadedObject.objects.filter(pk=row.pk).update(**changes)
    return Kind.WRONG_LEDGER_ROW, row.name


def _changed(name: str, **changes: Any) -> None:
    def plant(planter: Planter) -> _Found:
        return _ledger(planter, **changes)

    FAULTS[name] = plant


_changed("ledger_size_altered", size_bytes=1)
_changed("ledger_rows_altered", rows=21)
_changed("ledger_loaded_altered", loaded_rows=2)
_changed("ledger_duplicates_altered", duplicate_rows=9)
_changed("ledger_quarantined_altered", quarantined_rows=4)
_changed("ledger_pruned_altered", pruned_rows=2)
_changed("ledger_foreign", state="foreign")
_changed("ledger_quarantined", state="quarantined")
_changed("ledger_history", state="history")
_changed("ledger_reason_altered", reason="bad_gzip")


@_fault
def ledger_etag_altered(planter: Planter) -> _Found:
    return _ledger(planter, etag=f"{planter.dice.getrandbits(128):032x}")


@_fault
def ledger_counts_swapped(planter: Planter) -> _Found:
    """They still add up."""
    row = planter.object()
    changes = {"loaded_rows": row.loaded_rows - 1, "duplicate_rows": row.duplicate_rows + 1}
    LoadedObject.objects.filter(pk=row.pk).update(**changes)
    return Kind.WRONG_LEDGER_ROW, row.name


@_fault
def ledger_origin_altered(planter: Planter) -> _Found:
    row = planter.object()
    LoadedObject.objects.filter(pk=row.pk).update(imported=not row.imported)
    return Kind.WRONG_LEDGER_ROW, row.name


@_fault
def ledger_name_altered(planter: Planter) -> _Found:
    """Which of the two has the right name, nobody can tell."""
    row = planter.object()
    LoadedObject.objects.filter(pk=row.pk).update(name=f"{row.name}-altered")
    return Kind.RENAMED_OBJECT, f"{row.name}-altered"


@_fault
def ledger_row_invented(planter: Planter) -> _Found:
    row = LoadedObject.objects.get(pk=planter.object().pk)
    row.pk, row.name, row.etag = None, f"{row.name}-invented", f"{planter.dice.getrandbits(128):032x}"
    row.save()
    return Kind.WRONG_LEDGER_ROW, row.name


@_fault
def ledger_row_of_copies_removed(planter: Planter) -> _Found:
    row = planter.resent()
    LoadedObject.objects.filter(pk=row.pk).delete()
    return Kind.LEFT_BEHIND_OBJECT, row.name


@_fault
def ledger_row_removed(planter: Planter) -> _Found:
    row = planter.object()
    with _without_foreign_keys(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM analytics_loadedobject WHERE id = %s", [row.pk])
    return Kind.MISSING_LEDGER_ROW, row.name


# In the events alone.


@_fault
def row_removed(planter: Planter) -> _Found:
    row = planter.event()
    Event.objects.filter(pk=row.pk).delete()
    return Kind.MISSING_ROW, f"event {row.pk}"


@_fault
def row_doubled(planter: Planter) -> _Found:
    row = planter.event()
    row.pk = _uuid(planter.dice)
    row.save(force_insert=True)
    return Kind.DOUBLED_ROW, f"event {row.pk}"


def _row(planter: Planter, change: Callable[[Event], dict[str, Any]]) -> _Found:
    row = planter.event()
    Event.objects.filter(pk=row.pk).update(**change(row))
    return Kind.ALTERED_ROW, f"event {row.pk}"


def _altered(name: str, change: Callable[[Event], dict[str, Any]]) -> None:
    def plant(planter: Planter) -> _Found:
        return _row(planter, change)

    FAULTS[name] = plant


_HOUR = timedelta(hours=1)
_altered("row_duration_altered", lambda row: {"duration_ms": (row.duration_ms or 0) * 2 + 1000})
_altered("row_command_altered", lambda row: {"command": "doc"})
_altered("row_options_altered", lambda row: {"options": {"debug": 1}})
_altered("row_tokens_nulled", lambda row: {"prompt_tokens": None})
_altered("row_session_altered", lambda row: {"session_id": uuid.UUID(int=7)})
_altered("row_occurred_at_altered", lambda row: {"occurred_at": row.occurred_at - _HOUR})
_altered("row_received_earlier", lambda row: {"received_at": row.received_at - _HOUR})
_altered("row_received_later", lambda row: {"received_at": row.received_at + _HOUR})
_altered("row_clock_altered", lambda row: {"clock_is_server": not row.clock_is_server})
_altered("row_user_lost", lambda row: {"installation": None, "placeholder": "anonymous_opt_out"})
_altered("row_placeholder_added", lambda row: {"placeholder": "anonymous_opt_out"})
_altered("row_line_altered", lambda row: {"source_line": 1 if row.source_line > 1 else 2})
_altered("row_line_out_of_range", lambda row: {"source_line": 999})


@_fault
def row_of_another_user(planter: Planter) -> _Found:
    return _row(planter, lambda row: {"installation": Installation.objects.exclude(event=row.pk)[0]})


@_fault
def row_of_another_object(planter: Planter) -> _Found:
    other = planter.object()
    return _row(planter, lambda row: {"source_object": other})


@_fault
def row_of_a_broken_object(planter: Planter) -> _Found:
    other = planter.broken_object()
    return _row(planter, lambda row: {"source_object": other})


@_fault
def row_id_altered(planter: Planter) -> _Found:
    row = planter.event()
    Event.objects.filter(pk=row.pk).update(event_id=_uuid(planter.dice))
    return Kind.ALTERED_ROW, f"event {row.pk}"


# In the quarantine alone.


def _line_name(line: Quarantined) -> str:
    return f"line {line.source_line} of {line.source_object.name}"


@_fault
def kept_line_removed(planter: Planter) -> _Found:
    line = planter.broken_line()
    Quarantined.objects.filter(pk=line.pk).delete()
    return Kind.MISSING_QUARANTINED_LINE, _line_name(line)


@_fault
def kept_line_altered(planter: Planter) -> _Found:
    line = planter.broken_line()
    Quarantined.objects.filter(pk=line.pk).update(payload=bytes(line.payload) + b" ")
    return Kind.ALTERED_QUARANTINED_LINE, _line_name(line)


@_fault
def kept_line_reason_altered(planter: Planter) -> _Found:
    line = planter.broken_line()
    Quarantined.objects.filter(pk=line.pk).update(reason="other")
    return Kind.ALTERED_QUARANTINED_LINE, _line_name(line)


@_fault
def kept_line_moved(planter: Planter) -> _Found:
    line = planter.broken_line()
    Quarantined.objects.filter(pk=line.pk).update(source_line=1)
    return Kind.ALTERED_QUARANTINED_LINE, _line_name(line)


@_fault
def kept_line_doubled(planter: Planter) -> _Found:
    line = planter.broken_line()
    line.pk, line.source_line = None, 5
    line.save(force_insert=True)
    return Kind.DOUBLED_QUARANTINED_LINE, _line_name(line)


# In the rollups alone.


def _hour_name(hour: datetime) -> str:
    return f"hour {hour:%Y-%m-%d %H:%M}"


def _hour(planter: Planter, change: Callable[[HourlyRollup], dict[str, Any]]) -> _Found:
    row = HourlyRollup.objects.get(hour=planter.hour())
    HourlyRollup.objects.filter(hour=row.hour).update(**change(row))
    return Kind.WRONG_HOUR, _hour_name(row.hour)


def _altered_hour(name: str, change: Callable[[HourlyRollup], dict[str, Any]]) -> None:
    def plant(planter: Planter) -> _Found:
        return _hour(planter, change)

    FAULTS[name] = plant


def _with_column(row: HourlyRollup, name: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    """An hour's runs, with one number of the first of them changed."""
    them = runs.unpacked(row.hour, bytes(row.packed))
    column = them[name].astype("int64")
    column[0] = change(int(column[0]))
    return {"packed": Runs({**them.columns, name: column}).packed()}


_altered_hour("hour_runs_altered", lambda row: {"runs": row.runs + 1})
_altered_hour("hour_run_lost", lambda row: {"packed": _without_a_run(row)})
_altered_hour("hour_value_altered", lambda row: _with_column(row, "command", lambda number: number % 4 + 1))
_altered_hour("hour_value_lost", lambda row: _with_column(row, "model", lambda number: 0))
_altered_hour("hour_options_altered", lambda row: _with_column(row, "options", lambda bits: bits ^ 1))
_altered_hour("hour_failure_altered", lambda row: _with_column(row, "failed", lambda failed: 1 - failed))
_altered_hour("hour_installation_altered", lambda row: _with_column(row, "installation", lambda number: 999_999))
_altered_hour("hour_duration_altered", lambda row: _with_column(row, "bucket", lambda bucket: bucket + 3))
_altered_hour("hour_tokens_altered", lambda row: _with_column(row, "prompt_tokens", lambda tokens: tokens + 1))
_altered_hour("hour_value_impossible", lambda row: _with_column(row, "command", lambda number: 1 << 40))
_altered_hour("hour_garbled", lambda row: {"packed": b"garbled"})


def _without_a_run(row: HourlyRollup) -> bytes:
    them = runs.unpacked(row.hour, bytes(row.packed))
    return them.where(slice(1, None)).packed()  # type: ignore[arg-type]


@_fault
def hour_removed(planter: Planter) -> _Found:
    hour = planter.hour()
    HourlyRollup.objects.filter(hour=hour).delete()
    return Kind.WRONG_HOUR, _hour_name(hour)


@_fault
def hour_invented(planter: Planter) -> _Found:
    row = HourlyRollup.objects.get(hour=planter.hour())
    row.hour = START - timedelta(hours=planter.dice.randrange(1, 9999))
    row.save(force_insert=True)
    return Kind.WRONG_HOUR, _hour_name(row.hour)


def _day(planter: Planter, change: Callable[[DailyRollup], dict[str, Any]]) -> _Found:
    day = planter.day()
    rows = DailyRollup.objects.filter(day=day, runs__gt=5).exclude(dimension="error_type")  # failures have no durations
    row = planter.dice.choice(list(rows.order_by("dimension", "value")))
    DailyRollup.objects.filter(pk=row.pk).update(**change(row))
    return Kind.WRONG_DAY, f"day {day}"


def _altered_day(name: str, change: Callable[[DailyRollup], dict[str, Any]]) -> None:
    def plant(planter: Planter) -> _Found:
        return _day(planter, change)

    FAULTS[name] = plant


def _of_other_runs(row: DailyRollup, name: str, change: Callable[[Numbers], Numbers], *columns: str) -> dict[str, Any]:
    """These columns of the row, as they would be if the day's runs had other numbers in this one of theirs."""
    others = _other_runs(row.day, name, change)
    (found,) = [one for one in rollups.day_rows(row.day, others) if one[1:3] == (row.dimension, row.value)]
    return {column: getattr(found, column) for column in columns}


def _other_runs(day: date, name: str, change: Callable[[Numbers], Numbers]) -> Combinations:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    hours = HourlyRollup.objects.filter(hour__gte=start, hour__lt=start + timedelta(days=1))
    whole = []
    for row in hours:
        with suppress(*GARBLED):  # another fault may be in it
            whole.append(runs.unpacked(row.hour, bytes(row.packed)))
    them = runs.together(whole)
    return combinations.of(Runs({**them.columns, name: change(them[name].astype("int64"))}))


_altered_day("day_runs_altered", lambda row: {"runs": row.runs + 1})
_altered_day("day_counts_altered", lambda row: _of_other_runs(row, "failed", lambda one: 1 - one, "counts"))
_altered_day("day_durations_altered", lambda row: _of_other_runs(row, "bucket", lambda one: one + 7, "durations"))
_altered_day("day_set_altered", lambda row: _of_other_runs(row, "installation", lambda one: one + 999, "installations"))
_altered_day("day_set_garbled", lambda row: {"installations": b"garbled"})
_altered_day("day_parts_altered", lambda row: _of_other_runs(row, "options", lambda one: one ^ 1, "part_counts"))
_altered_day(
    "day_part_counts_altered", lambda row: _of_other_runs(row, "prompt_tokens", lambda one: one + 1, "part_counts")
)
_altered_day(
    "day_part_durations_altered", lambda row: _of_other_runs(row, "bucket", lambda one: one + 7, "part_durations")
)
_altered_day(
    "day_part_set_altered",
    lambda row: _of_other_runs(row, "installation", lambda one: one + 999, "part_installations"),
)
_altered_day("day_usage_altered", lambda row: _of_other_runs(row, "bucket", lambda one: one + 7, "usage"))
_altered_day("day_usage_of_others", lambda row: _of_other_runs(row, "installation", lambda one: one + 999, "usage"))
_altered_day("day_usage_garbled", lambda row: {"usage": b"garbled"})
_altered_day("day_value_altered", lambda row: {"value": 9999})


@_fault
def day_row_removed(planter: Planter) -> _Found:
    day = planter.day()
    DailyRollup.objects.filter(pk=planter.dice.choice(list(DailyRollup.objects.filter(day=day))).pk).delete()
    return Kind.WRONG_DAY, f"day {day}"


@_fault
def day_row_added(planter: Planter) -> _Found:
    day = planter.day()
    row = DailyRollup.objects.filter(day=day)[0]
    row.pk, row.value = None, 9999
    row.save(force_insert=True)
    return Kind.WRONG_DAY, f"day {day}"


# In the combinations of days alone.


def _combinations(planter: Planter, change: Callable[[date], dict[str, Any]]) -> _Found:
    day = planter.day()
    DailyCombinations.objects.filter(day=day).update(**change(day))
    return Kind.WRONG_DAY, f"day {day}"


def _altered_combinations(column: str, name: str, change: Callable[[Numbers], Numbers]) -> None:
    """This column of the row, as it would be if the day's runs had other numbers in that one of theirs."""

    def altered(day: date) -> dict[str, Any]:
        row = rollups.combinations_row(day, _other_runs(day, name, change))
        return {column: getattr(row, column)}

    FAULTS[f"combinations_{column}_of_other_{name}"] = lambda planter: _combinations(planter, altered)


_altered_combinations("counts", "command", lambda one: one % 4 + 1)
_altered_combinations("counts", "prompt_tokens", lambda one: one + 1)
_altered_combinations("durations", "bucket", lambda one: one + 60_000)
_altered_combinations("installations", "installation", lambda one: one + 999)
_altered_combinations("usage", "bucket", lambda one: one + 7)


@_fault
def combinations_garbled(planter: Planter) -> _Found:
    return _combinations(planter, lambda day: {"counts": b"garbled"})


@_fault
def combinations_removed(planter: Planter) -> _Found:
    day = planter.day()
    DailyCombinations.objects.filter(day=day).delete()
    return Kind.WRONG_DAY, f"day {day}"


@_fault
def combinations_of_a_foreign_day(planter: Planter) -> _Found:
    row = DailyCombinations.objects.order_by("day")[0]
    row.day = START.date() - timedelta(days=planter.dice.randrange(500, 900))
    row.save(force_insert=True)
    return Kind.WRONG_DAY, f"day {row.day}"


# In the values alone: the name is of the number that the rollups have.


def _value(planter: Planter, value: str, change: Callable[[Value], object]) -> _Found:
    row = Value.objects.get(value=value)
    name = f"value {row.number} of {row.dimension}"
    change(row)
    return Kind.WRONG_VALUE, name


def _renumber(row: Value) -> None:
    Value.objects.filter(pk=row.pk).update(number=row.number + 100)


def _swap_with_an_unused_one(row: Value) -> None:
    number = row.number
    Value.objects.filter(pk=row.pk).update(number=number + 200)
    Value.objects.create(dimension=row.dimension, number=number, value="never used")


@_fault
def value_renumbered(planter: Planter) -> _Found:
    return _value(planter, "plan", _renumber)


@_fault
def value_of_an_option_renumbered(planter: Planter) -> _Found:
    return _value(planter, "maxTokens", lambda row: Value.objects.filter(pk=row.pk).update(number=20))


@_fault
def value_swapped(planter: Planter) -> _Found:
    return _value(planter, "web", _swap_with_an_unused_one)


@_fault
def value_removed(planter: Planter) -> _Found:
    return _value(planter, "FileError", lambda row: row.delete())


@_fault
def value_of_an_option_removed(planter: Planter) -> _Found:
    return _value(planter, "debug", lambda row: row.delete())


@_fault
def value_altered(planter: Planter) -> _Found:
    return _value(planter, "gemini", lambda row: Value.objects.filter(pk=row.pk).update(value="gemeni"))


# In the installations alone.


@_fault
def installation_altered(planter: Planter) -> _Found:
    person = planter.person()
    Installation.objects.filter(pk=person.pk).update(user_id=_uuid(planter.dice))
    return Kind.ALTERED_INSTALLATION, f"installation {person.pk}"


@_fault
def installation_seen_earlier(planter: Planter) -> _Found:
    return _seen_otherwise(planter, first_seen=START.date() - timedelta(days=100))


@_fault
def installation_seen_later(planter: Planter) -> _Found:
    return _seen_otherwise(planter, last_seen=START.date() + timedelta(days=100))


@_fault
def installation_never_seen(planter: Planter) -> _Found:
    return _seen_otherwise(planter, first_seen=None, last_seen=None)


def _seen_otherwise(planter: Planter, **days: Any) -> _Found:
    person = planter.person()
    Installation.objects.filter(pk=person.pk).update(**days)
    return Kind.ALTERED_INSTALLATION, f"installation {person.pk}"


@_fault
def installation_removed(planter: Planter) -> _Found:
    person = planter.person()
    with _without_foreign_keys(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM analytics_installation WHERE id = %s", [person.pk])
    return Kind.MISSING_INSTALLATION, f"installation {person.pk}"


# Of these there are few places: a few of each at most, however many are planted.
_FEW = {
    "row_of_a_broken_object": 1,
    "day_": 1,
    "combinations_": 1,
    "value_": 1,
    "resent_": 8,
    "ledger_row_of_copies": 8,
    "installation_": 8,
}


def plant(dice: random.Random, count: int) -> list[Planted]:
    """So many faults: each of FAULTS, as often as it takes."""
    planter = Planter(dice)
    names = sorted(FAULTS)
    dice.shuffle(names)
    planted: list[Planted] = []
    times: dict[str, int] = {}
    for name in itertools.cycle(names):
        if len(planted) == count:
            break
        if times.get(name, 0) < next((few for prefix, few in _FEW.items() if name.startswith(prefix)), count):
            planted.append(planter.plant(name))
            times[name] = times.get(name, 0) + 1
    return planted
