"""History: load archives that Cloudflare wrote, when asked to.

In: objects of older pipelines and newer sinks (wire-format.md, "The archive that already exists"). Out: what load.py
writes, each line through the checks, the object as `history` in the ledger. Fails: archive.ArchiveUnavailable.
Next: rollups.py

Safe to run again, and to stop anywhere: what the ledger has is skipped, and a copy of an event is the same event.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import QuerySet

from analytics import lines, objects
from analytics.load import Loaded, chunks, load_objects, unknown
from analytics.models import LoadedObject
from analytics.objects import Lines, Opened
from ingest import archive
from ingest.archive import Fetched, Listed

_SUFFIXES = (".json", ".json.gz")
_DAY = re.compile(r"(?:^|/)(?:event_date=(\d{4})-(\d\d)-(\d\d)|year=(\d{4})/month=(\d\d)/day=(\d\d))/", re.ASCII)
_LAST_MOMENT = time(23, 59, 59, 999_000, tzinfo=UTC)
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(rf"(?:^|/)([0-7][{_CROCKFORD}]{{9}})[{_CROCKFORD}]{{16}}\.json(?:\.gz)?\Z")
_ULID_MAX_MS = 4_102_444_800_000  # the year 2100: any later time is another kind of name
_EVENT_ID_AT = lines.COLUMNS.index("event_id")


@dataclass
class Preview:
    """What loading would bring. Whether Postgres has the events already, nobody looked.

    `duplicates` are copies among the lines read; `quarantined` counts lines by reason, `broken_objects` objects.
    """

    objects: int = 0
    events: int = 0
    duplicates: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    broken_objects: Counter[str] = field(default_factory=Counter)
    delayed: list[str] = field(default_factory=list)


def find(prefix: str, since: date | None = None, until: date | None = None) -> Iterator[Listed]:
    """Objects that may be history, by their names: of this prefix and of these days, both included.

    The day is the one that the name tells, else that of `received_at`. This portal's objects are among them; `load`
    leaves them alone. Raises archive.ArchiveUnavailable.
    """
    for listed in archive.listing(prefix=prefix):
        if listed.name.endswith(_SUFFIXES):
            day = _day(listed.name) or received_at(listed).date()
            if (since or day) <= day <= (until or day):
                yield listed


def load(listed: Iterable[Listed], *, progress: Callable[[Loaded], None] = lambda seen: None) -> Loaded:
    """Load these objects, but for this portal's, and for those that the ledger has and not as foreign.

    Waits for the warehouse; `progress` is called after each transaction.
    """
    foreign = set(LoadedObject.objects.filter(state=LoadedObject.State.FOREIGN).values_list("name", flat=True))

    def open_object(entry: Listed, item: Fetched) -> Opened | None:
        if opened := open_history(entry, item):
            return opened
        # One of this portal's may be foreign in the ledger: it was copied without its metadata, and now it has them.
        return objects.open_ours(entry, item) if entry.name in foreign else None

    return load_objects(listed, open_object, known=_known(), progress=progress)


def preview(listed: Iterable[Listed]) -> Preview:
    """What `load` would do with these objects: reads them, and writes nothing."""
    seen = Preview()
    ids: set[str] = set()
    for chunk in chunks(unknown(listed, _known())):
        for entry, item in objects.fetch(chunk):
            if item is None:
                seen.delayed.append(entry.name)
            elif opened := open_history(entry, item):
                _preview(opened, seen, ids)
    return seen


def received_at(listed: Listed) -> datetime:
    """When an object's lines came, as nearly as it can be told, and the same each time it is asked.

    As its name tells; else when the bucket says that it was written, which a copy of the bucket does not keep.
    """
    return time_in_name(listed.name) or listed.last_modified


def time_in_name(name: str) -> datetime | None:
    """The time of the ULID in an object's name, which is when it was written; else the end of the day of its path."""
    day = _day(name)
    written = ulid_time(name)
    if written and (day is None or day <= written.date() <= day + timedelta(days=1)):
        return written
    return datetime.combine(day, _LAST_MOMENT) if day else None


def open_history(entry: Listed, item: Fetched) -> Opened | None:
    """An object's lines, those that are not empty, under the numbers they have in the text; None for one of ours.

    Reasons: bad_gzip, too_large, not_ndjson.
    """
    if objects.is_ours(item.metadata):
        return None
    text, reason = objects.unzip(entry, item, plain=True)
    if reason:
        return Opened(entry, LoadedObject.State.QUARANTINED, imported=True, reason=reason)
    numbered = Lines(text, tidied=True)
    return Opened(
        entry,
        LoadedObject.State.HISTORY,
        imported=True,
        rows=sum(1 for _ in numbered),
        numbered=numbered,
        received_at=received_at(entry),
    )


def _known() -> "QuerySet[LoadedObject]":
    return LoadedObject.objects.exclude(state=LoadedObject.State.FOREIGN)


def _preview(opened: Opened, seen: Preview, ids: set[str]) -> None:
    seen.objects += 1
    if opened.reason:
        seen.broken_objects[opened.reason] += 1
    rows, broken = lines.rows(LoadedObject(), opened.numbered, received_at=opened.received_at)
    new = {row[_EVENT_ID_AT] for row in rows} - ids
    ids |= new
    seen.events += len(new)
    seen.duplicates += len(rows) - len(new)
    seen.quarantined.update(line.reason for line in broken)


def _day(name: str) -> date | None:
    found = _DAY.search(name)
    if not found:
        return None
    try:
        return date(*(int(part) for part in found.groups() if part))
    except ValueError:
        return None  # there is no such day


def ulid_time(name: str) -> datetime | None:
    """What the first 48 of a ULID's bits say (github.com/ulid/spec)."""
    found = _ULID.search(name)
    if not found:
        return None
    unix_ms = 0
    for letter in found[1]:
        unix_ms = unix_ms << 5 | _CROCKFORD.index(letter)
    return datetime.fromtimestamp(unix_ms / 1000, UTC) if unix_ms < _ULID_MAX_MS else None
