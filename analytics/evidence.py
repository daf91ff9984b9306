"""Evidence: what Postgres and the bucket hold, as verify.py compares it.

In: names and ids. Out: ledger rows with counts, event rows, objects. Writes nothing. Fails: archive.ArchiveUnavailable
and Django's DatabaseError, where a store cannot be looked at. Next: examine.py
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, transaction
from vibetel_client import contract

from analytics import history, lines, objects
from analytics.dimensions import NUMBERED
from analytics.examine import Entry, Kept, State, Stored, canonical_options
from analytics.models import (
    DailyCombinations,
    DailyRollup,
    Event,
    HourlyRollup,
    Installation,
    LoadedObject,
    LoadProgress,
    Quarantined,
    TouchedHour,
    Value,
)
from analytics.objects import Opened
from analytics.runs import GAMMA
from ingest import archive
from ingest.archive import ArchiveUnavailable, Fetched, Listed

NOT_THERE = ("404", "NoSuchKey")

_OBJECTS_AT_ONCE = 200
_OBJECTS_MAX_BYTES = 4 * 1_048_576

_TABLES = [
    model._meta.db_table
    for model in (
        *(LoadedObject, LoadProgress, Installation, Event, Quarantined),
        *(TouchedHour, Value, HourlyRollup, DailyRollup, DailyCombinations),
    )
]


@contextmanager
def snapshot() -> Iterator[None]:
    """One view of Postgres for all that is read; the tables cannot be replaced meanwhile (rebuild.py waits)."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL cursor_tuple_fraction = 1")  # cursors here are read to the end
            cursor.execute(f"LOCK TABLE {', '.join(_TABLES)} IN ACCESS SHARE MODE")
            cursor.execute("SELECT")  # takes the snapshot
        yield


# -- The bucket -------------------------------------------------------------------------------------------------------


def ask(name: str, *, whole: bool) -> Fetched | str:
    """An object, with its bytes where it is wanted `whole`; or the bucket's code, where it cannot be had."""
    try:
        return archive.get(name) if whole else Fetched(name, b"", archive.metadata(name))
    except ArchiveUnavailable as error:
        return str(error)


def opened(entry: Entry, listed: Listed, fetched: Fetched) -> Opened:
    """An object's lines, read as the ledger says that they were."""
    imported = entry.imported and not objects.is_ours(fetched.metadata)
    if entry.state == State.HISTORY or (entry.state == State.QUARANTINED and imported):
        return history.open_history(listed, fetched) or objects.open_ours(listed, fetched)
    return objects.open_ours(listed, fetched)


def side_by_side(entries: Iterator[Entry], listing: Iterator[Listed]) -> Iterator[tuple[Entry | None, Listed | None]]:
    """Both in the order of names; None on the side that has no such name."""
    entry, listed = next(entries, None), next(listing, None)
    while entry or listed:
        if listed is None or (entry and entry.name < listed.name):
            yield entry, None
            entry = next(entries, None)
        elif entry is None or listed.name < entry.name:
            yield None, listed
            listed = next(listing, None)
        else:
            yield entry, listed
            entry, listed = next(entries, None), next(listing, None)


_Item = TypeVar("_Item")


def chunks(items: Iterable[_Item], size_bytes: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    """As many as fit into memory with ease."""
    chunk: list[_Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += size_bytes(item)
        if len(chunk) == _OBJECTS_AT_ONCE or size >= _OBJECTS_MAX_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


# -- Postgres ---------------------------------------------------------------------------------------------------------

_ENTRIES = """
    SELECT o.id, o.name, o.state, o.reason, o.size_bytes, o.etag, o.imported, o.rows,
           o.loaded_rows, o.duplicate_rows, o.quarantined_rows, o.pruned_rows, o.loaded_at,
           coalesce(e.events, 0), coalesce(e.lines, 0), coalesce(e.first, 0), coalesce(e.last, 0), coalesce(q.kept, 0)
    FROM analytics_loadedobject o
    LEFT JOIN (SELECT source_object_id, count(*) AS events, count(DISTINCT source_line) AS lines,
                      min(source_line) AS first, max(source_line) AS last
               FROM analytics_event WHERE %(all)s OR source_object_id = ANY(%(ids)s) GROUP BY 1
              ) e ON e.source_object_id = o.id
    LEFT JOIN (SELECT source_object_id, count(*) AS kept
               FROM analytics_quarantined WHERE %(all)s OR source_object_id = ANY(%(ids)s) GROUP BY 1
              ) q ON q.source_object_id = o.id
    WHERE %(all)s OR o.id = ANY(%(ids)s)
    ORDER BY o.name
"""


def entries(ids: Sequence[int] | None = None) -> Iterator[Entry]:
    """The ledger, or these rows of it, in the order of names, with what the tables hold of each object."""
    with connection.chunked_cursor() as cursor:
        # Both sides are whole tables: where Postgres believes them small, looking up each row would take for ever.
        _execute("SET LOCAL enable_nestloop = off")
        cursor.execute(_ENTRIES, {"all": ids is None, "ids": list(ids or ())})
        _execute("SET LOCAL enable_nestloop = on")
        while page := cursor.fetchmany(2000):
            for row in page:
                yield Entry(*row)


def entries_named(names: Sequence[str]) -> Iterator[Entry]:
    """Those of these names."""
    ids = list(LoadedObject.objects.filter(name__in=names).values_list("id", flat=True))
    return entries(ids) if ids else iter(())


_COMPARED = [name for name in lines.COLUMNS if name != "user_id"] + ["placeholder"]
_STORED = f"""
    SELECT {", ".join(f"e.{name}" for name in _COMPARED)}, i.user_id, e.installation_id, coalesce(o.name, '')
    FROM analytics_event e
    LEFT JOIN analytics_installation i ON i.id = e.installation_id
    LEFT JOIN analytics_loadedobject o ON o.id = e.source_object_id
"""  # noqa: S608 - the model's own names


def rows_by_id(event_ids: Iterable[str]) -> dict[str, Stored]:
    """Event rows of these ids."""
    found = _stored(f"{_STORED} WHERE e.event_id = ANY(%s::uuid[])", sorted(set(event_ids)))
    return {stored.event_id: stored for stored in found}


def rows_by_source(ids: Sequence[int]) -> dict[int, list[Stored]]:
    """Event rows that name these ledger rows as their source. Reads the whole table: no index serves this."""
    found: defaultdict[int, list[Stored]] = defaultdict(list)
    for stored in _stored(f"{_STORED} WHERE e.source_object_id = ANY(%s)", ids):
        found[stored.place[0]].append(stored)
    return found


def _stored(query: str, keys: Sequence[Any]) -> Iterator[Stored]:
    if not keys:
        return
    for *values, user_id, installation_id, source_name in _rows(query, [list(keys)]):
        columns = {
            name: str(value) if isinstance(value, UUID) else value
            for name, value in zip(_COMPARED, values, strict=True)
        }
        columns["options"] = canonical_options(columns["options"])
        yield Stored(columns["event_id"], columns, user_id and str(user_id), installation_id, source_name)


def installed(user_ids: Iterable[str]) -> set[str]:
    """Those of these users that are an installation."""
    uuids = sorted(set(user_ids) - set(contract.PLACEHOLDER_USER_IDS))
    return {str(user_id) for user_id in _column(_USERS, [uuids])}


_USERS = "SELECT user_id FROM analytics_installation WHERE user_id = ANY(%s::uuid[])"


def kept_lines(ids: Sequence[int]) -> dict[int, list[Kept]]:
    """Quarantined lines of these ledger rows."""
    found: defaultdict[int, list[Kept]] = defaultdict(list)
    for line in Quarantined.objects.filter(source_object__in=ids):
        found[line.source_object_id].append(Kept(line.source_line, line.reason, bytes(line.payload)))
    return found


def same_as(listed: Sequence[Listed]) -> dict[str, list[tuple[str, str]]]:
    """For objects that hold the same bytes as others which the ledger knows: names and states of those."""
    known: defaultdict[tuple[str, int], list[tuple[str, str]]] = defaultdict(list)
    found = LoadedObject.objects.filter(etag__in=[item.etag for item in listed], size_bytes__gt=0).order_by("name")
    for etag, size_bytes, name, state in found.values_list("etag", "size_bytes", "name", "state"):
        known[etag, size_bytes].append((name, state))
    return {item.name: known[item.etag, item.size_bytes] for item in listed if (item.etag, item.size_bytes) in known}


def groups_of_same_bytes() -> list[list[str]]:
    """This portal's objects that the ledger has with the same ETag and size, the one whose rows count first."""
    return _column(_SAME_BYTES)


def homeless_sources() -> set[int]:
    """Ids that rows name as their source, and that the ledger does not have."""
    return set(_column(_HOMELESS))


def lacking_installations() -> list[int]:
    """Ids that events name, and that no installation has."""
    return _column(_NO_INSTALLATION)


def hours_with_figures() -> list[datetime]:
    """Hours with runs, or with rollups, in order."""
    return sorted(_column(_HOURS))


def runs_of(hour: datetime) -> list[tuple[Any, ...]]:
    """The runs of an hour, as its events have it: values in words, in the order of runs.COLUMNS; options as JSON."""
    return _rows(_RUNS, [hour, hour])


def sources_of(hours: Iterable[datetime], *, at_most: int) -> list[int]:
    """Ids of ledger rows that events of these hours come from."""
    return _column(_SOURCES, [sorted(hours), at_most])


_SAME_BYTES = """
    SELECT array_agg(name::text ORDER BY loaded_rows DESC, name) FROM analytics_loadedobject
    WHERE (state = 'loaded' OR (state = 'quarantined' AND rows > 0)) AND size_bytes > 0
    GROUP BY etag, size_bytes HAVING count(*) > 1
"""
_HOMELESS = """
    SELECT DISTINCT source_object_id FROM analytics_event e
    WHERE NOT EXISTS (SELECT FROM analytics_loadedobject o WHERE o.id = e.source_object_id)
    UNION SELECT source_object_id FROM analytics_quarantined q
    WHERE NOT EXISTS (SELECT FROM analytics_loadedobject o WHERE o.id = q.source_object_id)
"""
_NO_INSTALLATION = """
    SELECT DISTINCT installation_id FROM analytics_event e
    WHERE installation_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM analytics_installation i WHERE i.id = e.installation_id)
"""
_HOURS = """
    SELECT date_trunc('hour', occurred_at, 'UTC') FROM analytics_event WHERE duration_ms IS NOT NULL
    UNION SELECT date_trunc('hour', hour, 'UTC') FROM analytics_hourlyrollup
"""
# Not by what made the rollups: were that wrong, nobody would see it.
_RUNS = f"""
    SELECT {", ".join(sql for _, sql in NUMBERED.values())}, options::text, (has_error IS TRUE)::int,
           coalesce(installation_id, 0), ceil(ln(greatest(duration_ms, 1)) / {math.log(GAMMA)!r})::int,
           coalesce(context_tokens, 0), coalesce(prompt_tokens, 0), coalesce(completion_tokens, 0)
    FROM analytics_event
    WHERE occurred_at >= %s AND occurred_at < %s::timestamptz + interval '1 hour' AND duration_ms IS NOT NULL
"""  # noqa: S608 - the expressions are the project's own
_SOURCES = """
    SELECT DISTINCT source_object_id FROM unnest(%s::timestamptz[]) AS hour
    JOIN analytics_event ON occurred_at >= hour AND occurred_at < hour + interval '1 hour'
    ORDER BY 1 LIMIT %s
"""


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _rows(query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def _column(query: str, parameters: Sequence[Any] = ()) -> list[Any]:
    return [value for (value,) in _rows(query, parameters)]
