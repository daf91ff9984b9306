"""Load: bring Postgres up to the bucket.

In: archive objects that the ledger does not know. Out: events, ledger rows, quarantined lines and touched hours, in one
transaction for several objects. Fails: archive.ArchiveUnavailable, where the bucket cannot be listed. Next: rollups.py

Never trusts a message: what there is to load is read off the bucket. Of two copies of an event the one with the
smallest (received_at, object, line) counts, whatever the order of loading. history.py and replay.py load other objects
by the same means.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice

from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from vibetel_client import contract

from analytics import lines, objects, warehouse
from analytics.lines import Row
from analytics.models import LoadedObject, LoadProgress, Quarantined, TouchedHour
from analytics.objects import Open, Opened
from ingest import archive, batches, buffer
from ingest.archive import Listed

# A transaction's share: as many objects, and as many of their bytes, as fit into memory with ease.
OBJECTS_AT_ONCE = 200
OBJECTS_MAX_BYTES = 4 * 1_048_576
# A Redis that takes another's place may be so far behind it, and its objects are still found by the next look. What is
# older, the looks at the whole bucket find.
CLOCK_STEP_MAX_MS = 60_000


@dataclass
class Loaded:
    """What a look at the bucket brought: objects, and what became of their rows.

    `delayed` are the names of those that could not be fetched; they wait for the next look.
    """

    objects: int = 0
    rows: int = 0
    duplicates: int = 0
    quarantined: int = 0
    foreign_objects: int = 0
    delayed: list[str] = field(default_factory=list)

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
    seen = load_objects(listed, objects.open_ours, known=LoadedObject.objects.all(), wait=wait, progress=progress)
    if next_from:
        # What could not be fetched is listed again; names before `relist_from` only with `everything`.
        next_from = min([next_from, *(name[:-1] for name in seen.delayed if name > relist_from)])
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
    with ThreadPoolExecutor(1) as ahead:
        coming: Future[_Read] | None = None
        for chunk in chain(chunks(unknown(listed, known)), [None]):
            if chunk and not wait:
                _look_for_others()
            # Read before the lock is taken, while the chunk before it is written: a slow bucket holds up nobody.
            ready, coming = coming, ahead.submit(_read, chunk, open_object) if chunk else None
            if ready:
                _load_chunk(ready.result(), known, seen, wait=wait)
                progress(seen)
    return seen


@dataclass
class _Parsed:
    """An object, its ledger row, not saved, and its lines as rows or as quarantined ones."""

    source: LoadedObject
    rows: list[Row]
    broken: list[Quarantined]


@dataclass
class _Read:
    """What the bucket gave out, with the names of what it did not."""

    listed: list[Listed]
    parsed: list[_Parsed]
    delayed: list[str]


def _read(chunk: Sequence[Listed], open_object: Open) -> _Read:
    """Fetch and parse these objects. In a thread of its own: no database here."""
    found = _Read([], [], [])
    for entry, item in objects.fetch(chunk):
        if item is None:
            found.delayed.append(entry.name)
        elif opened := open_object(entry, item):
            source = _ledger_row(opened)
            found.listed.append(entry)
            found.parsed.append(_Parsed(source, *lines.rows(source, opened.numbered, received_at=opened.received_at)))
    return found


def _load_chunk(read: _Read, known: "QuerySet[LoadedObject]", seen: Loaded, *, wait: bool) -> None:
    seen.delayed += read.delayed
    with transaction.atomic():
        warehouse.lock(wait=wait)
        # Another may have been here since the list was made.
        new = {entry.name for entry in unknown(read.listed, known)}
        _store([one for one in read.parsed if one.source.name in new], seen)


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


def _store(parsed: Sequence[_Parsed], seen: Loaded) -> None:
    """Write the objects' ledger rows and load their lines. Call in a transaction, with the warehouse locked.

    A ledger row that is there, of an object that was foreign or could not be read, becomes what the object is now.
    """
    if not parsed:
        return
    ledger = LoadedObject.objects.bulk_create(
        [one.source for one in parsed],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["state", "reason", "size_bytes", "etag", "imported", "rows", "quarantined_rows", "loaded_at"],
    )
    rows: list[Row] = []
    broken: list[Quarantined] = []
    for source, one in zip(ledger, parsed, strict=True):
        for row in one.rows:
            row[lines.SOURCE_AT] = source.pk  # unknown when they were parsed
        for line in one.broken:
            line.source_object = source
        rows += one.rows
        broken += one.broken
    Quarantined.objects.bulk_create(broken, batch_size=500)
    quarantined = Counter(line.source_object_id for line in broken)
    for pk, count in quarantined.items():
        LoadedObject.objects.filter(pk=pk).update(quarantined_rows=F("quarantined_rows") + count)
    loaded = write(rows)
    seen.objects += len(parsed)
    seen.rows += loaded
    seen.duplicates += len(rows) - loaded
    seen.quarantined += len(broken) + sum(source.quarantined_rows for source in ledger)
    seen.foreign_objects += sum(source.state == LoadedObject.State.FOREIGN for source in ledger)


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
_REMOVE_LATER_COPIES = """
    WITH removed AS (
        DELETE FROM analytics_event e USING first_copy f, analytics_loadedobject o
        WHERE e.event_id = f.event_id AND o.id = e.source_object_id
          AND (f.received_at, f.source_name, f.source_line) < (e.received_at, o.name, e.source_line)
        RETURNING e.occurred_at, e.source_object_id
    )
    SELECT date_trunc('hour', occurred_at, 'UTC'), source_object_id, count(*) FROM removed GROUP BY 1, 2
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
        with cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(_ADD_INSTALLATIONS)
        cursor.execute(_PICK_FIRST_COPIES)
        cursor.execute(_REMOVE_LATER_COPIES)
        removed: list[_Counted] = cursor.fetchall()
        cursor.execute(_ADD_NEW_EVENTS)
        added: list[_Counted] = cursor.fetchall()
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
