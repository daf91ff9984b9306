"""Replay: try what is in quarantine once more, after a fix of the code or of an object.

In: unreadable objects of the ledger, and quarantined lines. Out: what can be read now, loaded as if it had been from
the start; what cannot stays, with the reason of today. Fails: archive.ArchiveUnavailable. Next: rollups.py

Only ever by hand. Safe to run again, and to stop anywhere: each transaction is whole.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F, QuerySet

from analytics import history, lines, objects, warehouse
from analytics.lines import Row
from analytics.load import load_objects, write
from analytics.models import LoadedObject, Quarantined
from analytics.objects import Opened
from ingest import archive
from ingest.archive import Fetched, Listed

LINES_AT_ONCE = 200  # of one transaction; a line may have megabytes

_State = LoadedObject.State
_Progress = Callable[[int], None]


@dataclass
class Replayed:
    """What left the quarantine: lines and whole objects, and the rows they became; and what stays there.

    Of the objects that stay, `missing_objects` are not in the bucket, and `delayed_objects` could not be fetched now.
    """

    lines: int = 0
    objects: int = 0
    rows: int = 0
    duplicates: int = 0
    lines_left: int = 0
    objects_left: int = 0
    missing_objects: int = 0
    delayed_objects: int = 0


def pending_count() -> int:
    """Lines and whole objects that are in quarantine."""
    return Quarantined.objects.count() + _unreadable().count()


def replay(*, progress: _Progress = lambda tried: None) -> Replayed:
    """Try all that is in quarantine, once. `progress` is told how many lines or objects were tried, now and then.

    Waits for the warehouse, for each transaction anew. Raises archive.ArchiveUnavailable.
    """
    seen = Replayed()
    _replay_lines(seen, progress)  # first: the broken lines of what is an object again have just been tried
    _replay_objects(seen, progress)
    return seen


# -- Lines ------------------------------------------------------------------------------------------------------------


def _replay_lines(seen: Replayed, progress: _Progress) -> None:
    came = _when_history_came()
    last = 0
    while True:
        with transaction.atomic():
            warehouse.lock(wait=True)
            waiting = Quarantined.objects.filter(pk__gt=last).select_related("source_object").order_by("pk")
            batch = list(waiting[:LINES_AT_ONCE])
            if not batch:
                return
            last = batch[-1].pk
            _replay_batch(batch, came, seen)
        progress(len(batch))


def _when_history_came() -> dict[str, datetime]:
    """When the lines of others came that are in quarantine, by object; without objects that cannot be asked now.

    By name: a rebuild that ends between two transactions gives ledger rows other numbers.
    """
    came = {}
    for source in LoadedObject.objects.filter(state=_State.HISTORY, quarantined_rows__gt=0):
        moment = history.time_in_name(source.name)
        if moment is None and (listed := _listed(source.name)):
            moment = history.received_at(listed)
        if moment is not None:
            came[source.name] = moment
    return came


def _replay_batch(batch: list[Quarantined], came: Mapping[str, datetime], seen: Replayed) -> None:
    """Load the lines that can be read, note the reason of the others. Call with the warehouse locked."""
    by_source: defaultdict[LoadedObject, list[Quarantined]] = defaultdict(list)
    for line in batch:
        by_source[line.source_object].append(line)
    rows: list[Row] = []
    left = []
    for source, waiting in by_source.items():
        if source.state == _State.HISTORY and source.name not in came:
            continue
        numbered = [(line.source_line, bytes(line.payload)) for line in waiting]
        readable, broken = lines.rows(source, numbered, received_at=came.get(source.name))
        rows += readable
        LoadedObject.objects.filter(pk=source.pk).update(quarantined_rows=F("quarantined_rows") - len(readable))
        reasons = {line.source_line: line.reason for line in broken}
        for line in waiting:
            if line.source_line not in reasons:
                left.append(line.pk)
            elif line.reason != reasons[line.source_line]:
                line.reason = reasons[line.source_line]
                line.save(update_fields=["reason"])
    Quarantined.objects.filter(pk__in=left).delete()
    loaded = write(rows)
    seen.lines += len(rows)
    seen.lines_left += len(batch) - len(rows)
    seen.rows += loaded
    seen.duplicates += len(rows) - loaded


# -- Objects ----------------------------------------------------------------------------------------------------------


def _replay_objects(seen: Replayed, progress: _Progress) -> None:
    unreadable = {source.name: source for source in _unreadable().order_by("name")}

    def still_there() -> Iterator[Listed]:
        for name in unreadable:
            if listed := _listed(name):
                yield listed
            else:
                seen.missing_objects += 1
            progress(1)

    def open_object(entry: Listed, item: Fetched) -> Opened | None:
        opened = _open(entry, item, unreadable[entry.name])
        before = unreadable[entry.name]
        unchanged = (opened.reason, entry.etag, entry.size_bytes) == (before.reason, before.etag, before.size_bytes)
        return None if unchanged else opened

    loaded = load_objects(still_there(), open_object, known=LoadedObject.objects.exclude(state=_State.QUARANTINED))
    left = _unreadable().filter(name__in=list(unreadable)).count()
    seen.objects += len(unreadable) - left
    seen.objects_left += left
    seen.rows += loaded.rows
    seen.duplicates += loaded.duplicates
    seen.delayed_objects += loaded.delayed_objects


def _open(entry: Listed, item: Fetched, before: LoadedObject) -> Opened:
    """As the loader does, or the history: by its metadata. One of this portal that has lost them cannot be verified."""
    if objects.is_ours(item.metadata):
        return objects.open_ours(entry, item)
    if before.imported and (opened := history.open_history(entry, item)):
        return opened
    return Opened(entry, _State.QUARANTINED, before.imported, reason="no_metadata", rows=before.rows)


def _unreadable() -> "QuerySet[LoadedObject]":
    return LoadedObject.objects.filter(state=_State.QUARANTINED)


def _listed(name: str) -> Listed | None:
    """An object as the bucket lists it now; None where it is gone."""
    return next((listed for listed in archive.listing(prefix=name) if listed.name == name), None)
