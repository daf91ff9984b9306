"""Load: bring Postgres up to the bucket.

In: archive objects that the ledger does not know. Out: events, ledger rows, quarantined lines and touched hours, in one
transaction for several objects. Fails: archive.ArchiveUnavailable, where the bucket cannot be listed. Next: rollups.py

Never trusts a message: what there is to load is read off the bucket. Of two copies of an event the one with the
smallest (received_at, object, line) counts, whatever the order of loading.
"""

import gzip
import hashlib
import io
import json
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone
from vibetel_client import contract
from vibetel_client.contract import Field, Kind

from analytics import warehouse
from analytics.models import LoadedObject, LoadProgress, Quarantined, TouchedHour
from ingest import archive, batches, buffer
from ingest.archive import ArchiveUnavailable, Fetched, Listed

logger = logging.getLogger(__name__)

# A transaction's share: as many objects, and as many of their bytes, as fit into memory with ease.
OBJECTS_AT_ONCE = 200
OBJECTS_MAX_BYTES = 4 * 1_048_576
FETCHES_AT_ONCE = 8
# Uncompressed. A larger object was not written by this portal.
OBJECT_MAX_BYTES = 256 * 1_048_576


@dataclass
class Loaded:
    """What a look at the bucket brought: objects, and what became of their rows; `delayed` ones wait for the next."""

    objects: int = 0
    rows: int = 0
    duplicates: int = 0
    quarantined: int = 0
    foreign_objects: int = 0
    delayed_objects: int = 0


def catch_up(*, everything: bool, wait: bool, progress: Callable[[Loaded], None] = lambda loaded: None) -> Loaded:
    """Load what the bucket holds and the ledger does not know.

    Lists the whole bucket with `everything`, else from the oldest name that can have come since the last look.
    `progress` is called after each transaction. Raises WarehouseBusy, without `wait`, where another is loading;
    archive.ArchiveUnavailable.
    """
    seen = Loaded()
    # Read before listing: whatever is put after the list was made has a name from here on (see batches.object_name).
    next_from = _oldest_name_to_come()
    relist_from = oldest_name_to_list()
    for chunk in _chunks(_unknown(archive.listing(start_after="" if everything else relist_from))):
        with transaction.atomic():
            warehouse.lock(wait=wait)
            _load(chunk, seen)
        progress(seen)
    if next_from and next_from != relist_from and not seen.delayed_objects:
        LoadProgress.objects.update_or_create(pk=1, defaults={"relist_from": next_from})
    return seen


def not_yet_loaded_rows(relist_from: str, known: Collection[str]) -> int:
    """Rows of this portal's batches in the bucket, after this name and not among the known, by their metadata."""
    rows = 0
    for listed in archive.listing(start_after=relist_from):
        if listed.name in known:
            continue
        metadata = archive.metadata(listed.name)
        if _is_ours(metadata) and "origin" not in metadata:
            rows += int(metadata["rows"])
    return rows


# -- What to load -----------------------------------------------------------------------------------------------------


def _oldest_name_to_come() -> str | None:
    """What no object written from now on sorts before; None where the buffer cannot say."""
    try:
        oldest_ms = buffer.oldest_waiting_ms() or buffer.now_ms()
    except buffer.BufferUnavailable:
        return None
    return batches.hour_prefix(datetime.fromtimestamp(oldest_ms / 1000, UTC))


def oldest_name_to_list() -> str:
    """Where the next look begins: what sorts before it has been seen. Empty before the first look."""
    progress = LoadProgress.objects.filter(pk=1).first()
    return progress.relist_from if progress else ""


def _unknown(listed: Iterable[Listed]) -> Iterator[Listed]:
    """Those that the ledger does not know."""
    entries = iter(listed)
    while page := list(islice(entries, 1000)):
        names = [entry.name for entry in page]
        known = set(LoadedObject.objects.filter(name__in=names).values_list("name", flat=True))
        yield from (entry for entry in page if entry.name not in known)


def _chunks(listed: Iterable[Listed]) -> Iterator[list[Listed]]:
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


# -- One transaction --------------------------------------------------------------------------------------------------


def _load(chunk: list[Listed], seen: Loaded) -> None:
    """Load these objects and write their ledger rows. Call in a transaction, with the warehouse locked."""
    entries = list(_unknown(chunk))  # another loader may have been here between the listing and the lock
    with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        fetched = [found for found in pool.map(_fetch, entries) if found is not None]
    seen.delayed_objects += len(entries) - len(fetched)
    listed = {entry.name: entry for entry in entries}
    opened = [_open(item) for item in fetched]
    ledger = LoadedObject.objects.bulk_create(
        [_ledger_row(item, listed[item.name], object_) for item, object_ in zip(fetched, opened, strict=True)]
    )
    readable = [(row, object_.lines) for row, object_ in zip(ledger, opened, strict=True) if object_.lines]
    rows, broken = _parse(readable)
    Quarantined.objects.bulk_create(broken)
    _write(rows, ledger)
    for line in broken:
        line.source_object.quarantined_rows += 1
    LoadedObject.objects.bulk_update(ledger, ["loaded_rows", "duplicate_rows", "quarantined_rows"])
    for row in ledger:
        seen.objects += 1
        seen.rows += row.loaded_rows
        seen.duplicates += row.duplicate_rows
        seen.quarantined += row.quarantined_rows
        seen.foreign_objects += row.state == LoadedObject.State.FOREIGN


def _fetch(entry: Listed) -> Fetched | None:
    """The object, or None where it cannot be had now: then it is listed, and tried, again."""
    try:
        return archive.get(entry.name)
    except ArchiveUnavailable as error:
        logger.warning("load delayed: %s %s", entry.name, error)
        return None


@dataclass(frozen=True)
class _Opened:
    """An object's lines, or why it has none."""

    lines: list[bytes]
    reason: str = ""
    foreign: bool = False


def _is_ours(metadata: Mapping[str, str]) -> bool:
    return "sha256" in metadata and metadata.get("rows", "").isdigit()


def _open(item: Fetched) -> _Opened:
    if not _is_ours(item.metadata):
        return _Opened([], foreign=True)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(item.body)) as unzipped:
            text = unzipped.read(OBJECT_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        return _Opened([], reason="bad_gzip")
    if len(text) > OBJECT_MAX_BYTES:
        return _Opened([], reason="too_large")
    if hashlib.sha256(text).hexdigest() != item.metadata["sha256"]:
        return _Opened([], reason="bad_digest")
    lines = text.removesuffix(b"\n").split(b"\n")
    if len(lines) != int(item.metadata["rows"]):
        return _Opened([], reason="bad_row_count")
    return _Opened(lines)


def _ledger_row(item: Fetched, entry: Listed, opened: _Opened) -> LoadedObject:
    rows = 0 if opened.foreign else int(item.metadata["rows"])
    state = LoadedObject.State.LOADED
    if opened.foreign:
        state = LoadedObject.State.FOREIGN
    elif opened.reason:
        state = LoadedObject.State.QUARANTINED
    return LoadedObject(
        name=entry.name,
        state=state,
        reason=opened.reason,
        size_bytes=entry.size_bytes,
        etag=entry.etag,
        imported="origin" in item.metadata,
        rows=rows,
        quarantined_rows=rows if opened.reason else 0,
        loaded_at=timezone.now(),
    )


# -- Lines to rows ----------------------------------------------------------------------------------------------------

_UUID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def _matching(*alternatives: str) -> Any:
    return Annotated[str, msgspec.Meta(pattern=rf"\A(?:{'|'.join(alternatives)})\Z")]


def _type_on_the_line(spec: Field) -> Any:
    """What a field's value is in an archive line: what the check lets through, and nothing else."""
    match spec.kind:
        case Kind.EVENT_NAME:
            return _matching(*contract.EVENT_NAMES)
        case Kind.USER_ID:
            return _matching(_UUID_PATTERN, *contract.PLACEHOLDER_USER_IDS)
        case Kind.UUID:
            return _matching(_UUID_PATTERN)
        case Kind.TIMESTAMP:
            return Annotated[datetime, msgspec.Meta(tz=True)]
        case Kind.IDENTIFIER:
            assert spec.pattern is not None
            return _matching(contract.OTHER, spec.pattern.pattern)
        case Kind.CHOICE:
            return _matching(contract.OTHER, *spec.choices)
        case Kind.COUNT:
            return Annotated[int, msgspec.Meta(ge=0, le=spec.maximum)]
        case Kind.FLAG:
            return bool
        case Kind.OPTIONS:
            return dict[_matching("[A-Za-z]+"), bool | int | _matching("[A-Za-z]+")]  # type: ignore[misc]


# A line's columns in the contract's order. `timestamp` becomes `occurred_at`; `user_id` is resolved by the database.
_COLUMNS = ["occurred_at" if spec.name == "timestamp" else spec.attribute for spec in contract.FIELDS]
_ALWAYS = [spec for spec in contract.FIELDS if spec.required_for == contract.EVENT_NAMES or spec.name == "eventId"]
_SOMETIMES = [spec for spec in contract.FIELDS if spec not in _ALWAYS]

_ArchiveLine = msgspec.defstruct(
    "_ArchiveLine",
    [
        *((spec.attribute, _type_on_the_line(spec)) for spec in _ALWAYS),
        ("received_at", Annotated[datetime, msgspec.Meta(tz=True)]),
        ("schema_version", int),
        *((spec.attribute, _type_on_the_line(spec) | None, None) for spec in _SOMETIMES),
        ("clock", _matching("server") | None, None),
    ],
    rename={
        **{spec.attribute: spec.name for spec in contract.FIELDS},
        "received_at": "receivedAt",
        "schema_version": "schemaVersion",
    },
)
_decode = msgspec.json.Decoder(_ArchiveLine).decode
_values = attrgetter(*(spec.attribute for spec in contract.FIELDS))
_OPTIONS_AT = _COLUMNS.index("options")
_SOURCE_AT = -2

_Row = list[Any]


def _parse(readable: list[tuple[LoadedObject, list[bytes]]]) -> tuple[list[_Row], list[Quarantined]]:
    """Each line as a row of the staging table, or as a quarantined one."""
    rows: list[_Row] = []
    broken: list[Quarantined] = []
    for source, lines in readable:
        for number, text in enumerate(lines, start=1):
            try:
                line: Any = _decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError):
                broken.append(Quarantined(source_object=source, source_line=number, reason="bad_line", payload=text))
                continue
            row = list(_values(line))
            row[_OPTIONS_AT] = None if line.options is None else json.dumps(line.options)
            row += (line.received_at, line.clock is not None, source.pk, number)
            rows.append(row)
    return rows, broken


# -- Rows to Postgres -------------------------------------------------------------------------------------------------

_ARRIVAL_COLUMNS = ["received_at", "clock_is_server", "source_object_id", "source_line"]
_STAGED = ", ".join([*_COLUMNS, *_ARRIVAL_COLUMNS])
_SHARED = ", ".join(column for column in [*_COLUMNS, *_ARRIVAL_COLUMNS] if column != "user_id")
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
    DELETE FROM analytics_event e USING first_copy f, analytics_loadedobject o
    WHERE e.event_id = f.event_id AND o.id = e.source_object_id
      AND (f.received_at, f.source_name, f.source_line) < (e.received_at, o.name, e.source_line)
    RETURNING date_trunc('hour', e.occurred_at, 'UTC'), e.source_object_id
"""
_ADD_NEW_EVENTS = f"""
    INSERT INTO analytics_event ({_SHARED}, installation_id, placeholder)
    SELECT {_SHARED}, i.id, CASE WHEN i.id IS NULL THEN f.user_id ELSE '' END
    FROM first_copy f LEFT JOIN analytics_installation i
      ON i.user_id = CASE WHEN f.user_id NOT IN ({_PLACEHOLDERS}) THEN f.user_id::uuid END
    ON CONFLICT (event_id) DO NOTHING
    RETURNING date_trunc('hour', occurred_at, 'UTC'), source_object_id
"""


def _write(rows: list[_Row], ledger: list[LoadedObject]) -> None:
    """Insert the events that are new, mark the hours touched, count loaded and duplicate rows in the ledger."""
    with connection.cursor() as cursor:
        cursor.execute(_CREATE_STAGING)
        with cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(_ADD_INSTALLATIONS)
        cursor.execute(_PICK_FIRST_COPIES)
        cursor.execute(_REMOVE_LATER_COPIES)
        removed: list[tuple[datetime, int]] = cursor.fetchall()
        cursor.execute(_ADD_NEW_EVENTS)
        added: list[tuple[datetime, int]] = cursor.fetchall()
        cursor.execute("DROP TABLE staging, first_copy")
    touched = {hour for hour, _ in removed} | {hour for hour, _ in added}
    TouchedHour.objects.bulk_create([TouchedHour(hour=hour) for hour in touched], ignore_conflicts=True)
    for pk, count in Counter(pk for _, pk in removed).items():
        earlier = LoadedObject.objects.get(pk=pk)
        earlier.loaded_rows -= count
        earlier.duplicate_rows += count
        earlier.save()
    read = Counter(row[_SOURCE_AT] for row in rows)
    loaded = Counter(pk for _, pk in added)
    for source in ledger:
        source.loaded_rows = loaded[source.pk]
        source.duplicate_rows = read[source.pk] - loaded[source.pk]
