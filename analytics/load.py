"""Load: bring Postgres up to the bucket.

In: archive objects that the ledger does not know. Out: events, ledger rows, quarantined lines and touched hours, in one
transaction for several objects. Fails: archive.ArchiveUnavailable, where the bucket cannot be listed. Next: rollups.py

Never trusts a message: what there is to load is read off the bucket. Of two copies of an event the one with the
smallest (received_at, object, line) counts, whatever the order of loading. history.py and replay.py load other objects
by the same means.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from vibetel_client import contract

from analytics import lines, objects, warehouse
from analytics.lines import Broken, Row
from analytics.models import LoadedObject, LoadProgress, TouchedHour
from analytics.objects import Open, Opened
from ingest import archive, batches, buffer
from ingest.archive import Listed

logger = logging.getLogger(__name__)

# A transaction's share: as many objects, as many of their bytes, and as many of their lines, but for those of the last
# one, as fit into memory with ease. How many lines there are in so many bytes is not known before they are unpacked.
OBJECTS_AT_ONCE = 200
OBJECTS_MAX_BYTES = 4 * 1_048_576
LINES_AT_ONCE = 100_000
# What the bucket lists and does not give out is asked for by each look for so long after it was put; then by the looks
# at the whole bucket.
ASKED_FOR = timedelta(hours=1)
# A Redis that takes another's place may be so far behind it, and its objects are still found by the next look. What is
# older, the looks at the whole bucket find.
CLOCK_STEP_MAX_MS = 60_000


@dataclass
class Loaded:
    """What a look at the bucket brought: objects, and what became of their rows.

    `delayed` are those that could not be fetched; they wait for another look. `latest` are those of the last
    transaction, as the ledger has them.
    """

    objects: int = 0
    rows: int = 0
    duplicates: int = 0
    quarantined: int = 0
    foreign_objects: int = 0
    delayed: list[Listed] = field(default_factory=list)
    latest: list[LoadedObject] = field(default_factory=list)

    @property
    def delayed_objects(self) -> int:
        """How many could not be fetched."""
        return len(self.delayed)


def catch_up(*, everything: bool, wait: bool, progress: Callable[[Loaded], None] = lambda loaded: None) -> Loaded:
    """Load what the bucket holds and the ledger does not know.

    Lists the whole bucket with `everything`, else this portal's names from the oldest that can have come since the last
    look.
    `progress` is called after each transaction. Raises WarehouseBusy, without `wait`, where another is loading;
    archive.ArchiveUnavailable.
    """
    # Read before listing: whatever is put after the list was made has a name from here on (see batches.object_name).
    next_from = _oldest_name_to_come()
    relist_from = oldest_name_to_list()
    # Only a clock that was set back makes it go back: an object may be where nobody looked any more.
    everything = everything or (next_from is not None and next_from < relist_from)
    listed = archive.listing() if everything else archive.listing(prefix=batches.PREFIX, start_after=relist_from)
    open_object = objects.open_finished(next_from)
    seen = load_objects(listed, open_object, known=LoadedObject.objects.all(), wait=wait, progress=progress)
    if next_from:
        # What could not be fetched is listed again; names before `relist_from` only with `everything`.
        asked_for = [one.name for one in seen.delayed if timezone.now() - one.last_modified < ASKED_FOR]
        next_from = min([next_from, *(name[:-1] for name in asked_for if name > relist_from)])
    if next_from and next_from != relist_from:
        LoadProgress.objects.update_or_create(pk=1, defaults={"relist_from": next_from})
    return seen


def load_objects(
    listed: Iterable[Listed],
    open_object: Open,
    *,
    known: "QuerySet[LoadedObject]",
    wait: bool = True,
    progress: Callable[[Loaded], None] = lambda loaded: None,
) -> Loaded:
    """Load those of the objects that are not among the `known` of the ledger, some in each transaction.

    `open_object` answers None for an object to be left alone; it is called in another thread. Raises WarehouseBusy,
    without `wait`.
    """
    seen = Loaded()
    waiting = chunks(unknown(listed, known))
    left: list[Listed] = []
    with ThreadPoolExecutor(1) as ahead:
        coming: Future[_Read] | None = None
        while (chunk := left or next(waiting, [])) or coming:
            left = []
            if chunk and not wait:
                _look_for_others()
            # Read before the lock is taken, while the chunk before it is written: a slow bucket holds up nobody.
            ready, coming = coming, ahead.submit(_read, chunk, open_object) if chunk else None
            if ready:
                left = ready.result().left
                _load_chunk(ready.result(), known, seen, wait=wait)
                progress(seen)
                seen.latest = []
    return seen


@dataclass
class _Parsed:
    """An object, its ledger row, not saved, and its lines as rows or as quarantined ones."""

    source: LoadedObject
    rows: list[Row]
    broken: list[Broken]


@dataclass
class _Read:
    """What the bucket gave out, what it did not, and what is left to be read because the others have so many lines."""

    parsed: list[_Parsed]
    delayed: list[Listed]
    left: list[Listed]


def _read(chunk: Sequence[Listed], open_object: Open) -> _Read:
    """Fetch and parse these objects. In a thread of its own: no database here."""
    found = _Read([], [], [])
    lines_count = 0
    for entry, item in objects.fetch(chunk):
        if lines_count >= LINES_AT_ONCE:
            found.left.append(entry)
        elif item is None:
            found.delayed.append(entry)
        else:
            try:
                opened = open_object(entry, item)
            except objects.NotWhole:
                found.delayed.append(entry)
                continue
            if opened:
                source = _ledger_row(opened)
                one = _Parsed(source, *lines.rows(source, opened.numbered, received_at=opened.received_at))
                found.parsed.append(one)
                lines_count += len(one.rows) + len(one.broken)
    return found


# What Postgres, or the way there, says of a value that it does not take.
_REFUSALS = (DataError, IntegrityError, UnicodeEncodeError)


def _load_chunk(read: _Read, known: "QuerySet[LoadedObject]", seen: Loaded, *, wait: bool) -> None:
    seen.delayed += read.delayed
    try:
        _load_parsed(read.parsed, known, seen, wait=wait)
    except _REFUSALS:
        # One of them holds what nobody foresaw. By itself, each other is loaded, and no look is stopped by that one.
        for one in read.parsed:
            try:
                _load_parsed([one], known, seen, wait=wait)
            except _REFUSALS as error:
                logger.error("Postgres refuses rows of %r: %s", one.source.name, type(error).__name__)
                _load_parsed([_put_aside(one, type(error).__name__)], known, seen, wait=wait)


def _load_parsed(parsed: Sequence[_Parsed], known: "QuerySet[LoadedObject]", seen: Loaded, *, wait: bool) -> None:
    with transaction.atomic():
        warehouse.lock(wait=wait)
        # Another may have been here since the list was made.
        names = [one.source.name for one in parsed]
        there = set(known.filter(name__in=names).values_list("name", flat=True))
        _store([one for one in parsed if one.source.name not in there], seen)


def _put_aside(one: _Parsed, reason: str) -> _Parsed:
    """The object in quarantine as a whole. Of one of others nobody knows then how many rows it has."""
    source = one.source
    source.rows = source.quarantined_rows = 0 if source.state == LoadedObject.State.HISTORY else source.rows
    source.state, source.reason = LoadedObject.State.QUARANTINED, reason
    return _Parsed(source, [], [])


# -- What to load -----------------------------------------------------------------------------------------------------


def _oldest_name_to_come() -> str | None:
    """What no object written from now on sorts before; None where the buffer cannot say."""
    try:
        now_ms = buffer.now_ms()  # asked first: what comes between the two is newer
        oldest_ms = buffer.oldest_waiting_ms() or now_ms
    except buffer.BufferUnavailable:
        return None
    # Names sort by their date and hour, then by the ULID, whose first ten letters are its time.
    return batches.object_name(oldest_ms - CLOCK_STEP_MAX_MS).removesuffix(".json.gz")[:-16]


def oldest_name_to_list() -> str:
    """Where the next look begins: what sorts before it has been seen. Empty before the first look."""
    progress = LoadProgress.objects.filter(pk=1).first()
    return progress.relist_from if progress else ""


def unknown(listed: Iterable[Listed], known: "QuerySet[LoadedObject]") -> Iterator[Listed]:
    """Those that are not among the `known` of the ledger, in this order."""
    entries = iter(listed)
    while page := list(islice(entries, 1000)):
        found = set(known.filter(name__in=[entry.name for entry in page]).values_list("name", flat=True))
        yield from (entry for entry in page if entry.name not in found)


def chunks(listed: Iterable[Listed]) -> Iterator[list[Listed]]:
    """As many as one transaction takes at a time."""
    chunk: list[Listed] = []
    size = 0
    for entry in listed:
        if chunk and (len(chunk) == OBJECTS_AT_ONCE or size + entry.size_bytes > OBJECTS_MAX_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += entry.size_bytes
    if chunk:
        yield chunk


def _look_for_others() -> None:
    """Raise WarehouseBusy where another is loading, before anything is fetched in vain."""
    with transaction.atomic():
        warehouse.lock(wait=False)


# -- One transaction --------------------------------------------------------------------------------------------------

_COPY_BROKEN = f"COPY analytics_quarantined (source_object_id, {', '.join(Broken._fields)}) FROM STDIN"


def _store(parsed: Sequence[_Parsed], seen: Loaded) -> None:
    """Write the objects' ledger rows and load their lines. Call in a transaction, with the warehouse locked.

    A ledger row that is there, of an object that was foreign or could not be read, becomes what the object is now.
    """
    if not parsed:
        return
    for one in parsed:
        one.source.pk = None  # one that it got in a transaction that failed is nobody's
    ledger = LoadedObject.objects.bulk_create(
        [one.source for one in parsed],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["state", "reason", "size_bytes", "etag", "imported", "rows", "quarantined_rows", "loaded_at"],
    )
    rows: list[Row] = []
    for source, one in zip(ledger, parsed, strict=True):
        for row in one.rows:
            row[lines.SOURCE_AT] = source.pk  # unknown when they were parsed
        rows += one.rows
        _keep(one.broken, source)
    loaded = write(rows)
    seen.latest += ledger
    seen.objects += len(parsed)
    seen.rows += loaded
    seen.duplicates += len(rows) - loaded
    seen.quarantined += sum(len(one.broken) + one.source.quarantined_rows for one in parsed)
    seen.foreign_objects += sum(source.state == LoadedObject.State.FOREIGN for source in ledger)


def _keep(broken: Sequence[Broken], source: LoadedObject) -> None:
    """Put an object's broken lines into quarantine."""
    if broken:
        with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(_COPY_BROKEN) as copy:
            for line in broken:
                copy.write_row((source.pk, *line))
        LoadedObject.objects.filter(pk=source.pk).update(quarantined_rows=F("quarantined_rows") + len(broken))


def _ledger_row(one: Opened) -> LoadedObject:
    return LoadedObject(
        name=one.listed.name,
        state=one.state,
        reason=one.reason,
        size_bytes=one.listed.size_bytes,
        etag=one.listed.etag,
        imported=one.imported,
        rows=one.rows,
        quarantined_rows=one.rows if one.state == LoadedObject.State.QUARANTINED else 0,
        loaded_at=timezone.now(),
    )


# -- Rows to Postgres -------------------------------------------------------------------------------------------------

_STAGED = ", ".join(lines.COLUMNS)
_SHARED = ", ".join(column for column in lines.COLUMNS if column != "user_id")
_PLACEHOLDERS = ", ".join(f"'{name}'" for name in contract.PLACEHOLDER_USER_IDS)

_CREATE_STAGING = f"""
    CREATE TEMP TABLE staging ON COMMIT DROP AS
    SELECT {_SHARED}, ''::text AS user_id FROM analytics_event LIMIT 0
"""
_COPY = f"COPY staging ({_STAGED}) FROM STDIN"
_ADD_INSTALLATIONS = f"""
    INSERT INTO analytics_installation (user_id)
    SELECT DISTINCT user_id::uuid FROM staging
    WHERE user_id NOT IN ({_PLACEHOLDERS})
      AND NOT EXISTS (SELECT FROM analytics_installation i WHERE i.user_id = staging.user_id::uuid)
"""
_PICK_FIRST_COPIES = """
    CREATE TEMP TABLE first_copy ON COMMIT DROP AS
    SELECT DISTINCT ON (event_id) staging.*, o.name AS source_name
    FROM staging JOIN analytics_loadedobject o ON o.id = source_object_id
    ORDER BY event_id, received_at, o.name, source_line
"""
_ADD_NEW_EVENTS = f"""
    WITH added AS (
        INSERT INTO analytics_event ({_SHARED}, installation_id, placeholder)
        SELECT {_SHARED}, i.id, CASE WHEN i.id IS NULL THEN f.user_id ELSE '' END
        FROM first_copy f LEFT JOIN analytics_installation i
          ON i.user_id = CASE WHEN f.user_id NOT IN ({_PLACEHOLDERS}) THEN f.user_id::uuid END
        ON CONFLICT (event_id) DO NOTHING
        RETURNING occurred_at, source_object_id
    )
    SELECT date_trunc('hour', occurred_at, 'UTC'), source_object_id, count(*) FROM added GROUP BY 1, 2
"""
_REMOVE_LATER_COPIES = """
    WITH removed AS (
        DELETE FROM analytics_event e USING first_copy f, analytics_loadedobject o
        WHERE e.event_id = f.event_id AND o.id = e.source_object_id
          AND (f.received_at, f.source_name, f.source_line) < (e.received_at, o.name, e.source_line)
        RETURNING e.occurred_at, e.source_object_id
    )
    SELECT date_trunc('hour', occurred_at, 'UTC'), source_object_id, count(*) FROM removed GROUP BY 1, 2
"""
_COUNT = """
    UPDATE analytics_loadedobject o
    SET loaded_rows = loaded_rows + c.loaded, duplicate_rows = duplicate_rows + c.staged - c.loaded
    FROM unnest(%s::bigint[], %s::int[], %s::int[]) AS c (id, staged, loaded)
    WHERE o.id = c.id
"""


_Counted = tuple[datetime, int, int]  # an hour, an object, so many events


def write(rows: Sequence[Row]) -> int:
    """Insert the events that are new, mark the hours touched, count loaded and duplicate rows in the ledger.

    Answers how many of the rows were inserted. Call in a transaction, with the warehouse locked.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CREATE_STAGING)
        with connection.wrap_database_errors, cursor.copy(_COPY) as copy:  # psycopg's own method
            for row in rows:
                copy.write_row(row)
        cursor.execute(_ADD_INSTALLATIONS)
        cursor.execute(_PICK_FIRST_COPIES)
        first_copies = cursor.rowcount
        cursor.execute(_ADD_NEW_EVENTS)
        added: list[_Counted] = cursor.fetchall()
        removed: list[_Counted] = []
        if sum(count for *_, count in added) < first_copies:  # of some, another copy is there: this one may be earlier
            cursor.execute(_REMOVE_LATER_COPIES)
            removed = cursor.fetchall()
            cursor.execute(_ADD_NEW_EVENTS)
            added += cursor.fetchall()
        cursor.execute("DROP TABLE staging, first_copy")
        staged = Counter(row[lines.SOURCE_AT] for row in rows)
        loaded = _by_source(added)
        earlier = _by_source(removed)
        loaded.subtract(earlier)  # an earlier copy came: theirs are duplicates now
        pks = list(staged | earlier)
        cursor.execute(_COUNT, [pks, [staged[pk] for pk in pks], [loaded[pk] for pk in pks]])
    touched = {hour for hour, _, _ in removed} | {hour for hour, _, _ in added}
    TouchedHour.objects.bulk_create([TouchedHour(hour=hour) for hour in touched], ignore_conflicts=True)
    return sum(count for _, _, count in added)


def _by_source(counted: Iterable[_Counted]) -> Counter[int]:
    found: Counter[int] = Counter()
    for _, pk, count in counted:
        found[pk] += count
    return found
