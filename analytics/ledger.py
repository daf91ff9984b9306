"""The books: every event in its place, each term counted where it happens (docs/books.md).

In: the counters beside the buffer, the ledger, the bucket. Out: Books, and what does not balance, by stage.
Fails: buffer.BufferUnavailable, archive.ArchiveUnavailable, NotCarriedOver.

The first two equations hold at any moment: Redis answers for both sides in one step. The third is read from three
stores one after the other, while events move. So it is not compared with a tolerance but with bounds: an object's put
comes before its release, and its seal before its put, so what bucket and ledger show lies between what was archived
before they were read, and what was archived or sealed after.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.postgres.aggregates import ArrayAgg
from django.db import transaction
from django.db.models import Count, Q, Sum, Value

from analytics import load
from analytics.models import BooksReading, LoadedObject, Quarantined
from analytics.objects import is_ours
from ingest import archive, batches, buffer
from ingest.archive import ArchiveUnavailable, Listed

logger = logging.getLogger(__name__)

INGEST, BUFFER, LOAD = STAGES = ("ingest", "buffer", "load")

# Shorter, and it may be somebody's hand that is not done yet.
LASTING_SECONDS = 60

# The bucket's own timeouts are minutes: a call is tried three times, half a minute each.
BUCKET_MAX_SECONDS = 10.0
_ASKED_AT_ONCE = 8

_REJECTED = "rejected:"
_CARRIED_OVER = "carried_over"


@dataclass(frozen=True)
class Books:
    """The terms of design.md ("Three stores, three promises"), in events; `rejected` by reason.

    received = accepted + rejected + limited + unavailable; accepted = archived + waiting;
    archived + imported = loaded + duplicate + quarantined + not_yet_loaded.
    """

    received: int
    accepted: int
    rejected: dict[str, int]
    limited: int
    unavailable: int
    waiting: int
    oldest_waiting_seconds: int
    archived: int
    imported: int
    loaded: int
    duplicate: int
    quarantined: int
    not_yet_loaded: int

    def as_json(self) -> dict[str, Any]:
        """Under the names of design.md."""
        return asdict(self)


@dataclass(frozen=True)
class Reading:
    """The books, and by stage how many events too many it shows (negative: too few), at least and at most.

    (0, 0) is even. Where the two differ, events moved while it was read, and the truth is between them.
    """

    books: Books
    deviations: Mapping[str, tuple[int, int]]
    carried_over: int


@dataclass(frozen=True)
class Imbalance:
    """What does not balance: so many events too many at a stage, or negative, too few."""

    stage: str
    events: int
    since: datetime
    lasts: bool  # for LASTING_SECONDS: then it was logged


class NotCarriedOver(Exception):
    """The books are not in a state that can be carried over; the text says why."""


def books() -> Books:
    """The books as of now."""
    return read().books


def read() -> Reading:
    """The books as of now, and whether they balance. Answers or raises within some seconds of a bucket that hangs."""
    archived_before = buffer.counters().get("archived", 0)
    relist_from = load.oldest_name_to_list()
    # Sums and names in one statement: an object that is loaded meanwhile is in one term, not in two.
    sums = LoadedObject.objects.aggregate(
        imported=Sum("rows", filter=Q(imported=True), default=0),
        loaded=Sum("loaded_rows", default=0),
        duplicate=Sum("duplicate_rows", default=0),
        quarantined=Sum("quarantined_rows", default=0),
        known=ArrayAgg("name", filter=Q(name__gt=relist_from, name__startswith=batches.PREFIX), default=Value([])),
    )
    not_yet_loaded = _not_yet_loaded_rows(relist_from, set(sums.pop("known")))
    sealed = sum(seal.rows for seal in buffer.sealed())  # before the counters: what is released between is in both
    counts = buffer.counters()
    oldest_ms = buffer.oldest_waiting_ms()
    waited_ms = buffer.now_ms() - oldest_ms if oldest_ms else 0
    found = Books(
        received=counts.get("received", 0),
        accepted=counts.get("accepted", 0),
        rejected={n.removeprefix(_REJECTED): c for n, c in sorted(counts.items()) if n.startswith(_REJECTED)},
        limited=counts.get("limited", 0),
        unavailable=counts.get("unavailable", 0),
        waiting=counts["waiting"],
        oldest_waiting_seconds=max(0, waited_ms // 1000),
        archived=counts.get("archived", 0),
        not_yet_loaded=not_yet_loaded,
        **sums,
    )
    return Reading(found, _deviations(found, archived_before, sealed), counts.get(_CARRIED_OVER, 0))


def watch(now: datetime) -> None:
    """Read the books, keep them in BooksReading, and log once what does not balance for LASTING_SECONDS."""
    reading = read()
    with transaction.atomic():
        kept = BooksReading.objects.select_for_update().filter(pk=1).first()
        before = kept.imbalances if kept else {}
        uneven = uneven_stages(reading, kept)
        imbalances = {stage: _noted(stage, events, before.get(stage), now) for stage, events in uneven.items()}
        for stage in before.keys() - uneven.keys():
            if before[stage]["told"]:
                logger.warning("the books are even again: stage=%s", stage)
        BooksReading.objects.update_or_create(
            pk=1, defaults={"read_at": now, "terms": reading.books.as_json(), "imbalances": imbalances}
        )


def uneven_stages(reading: Reading, kept: BooksReading | None) -> dict[str, int]:
    """Events too many, or negative, too few, by stage; without those that balance.

    A reading that leaves room both for what was wrong when the books were `kept` and for even books changes nothing:
    only one that shows them to be even says so.
    """
    before = kept.imbalances if kept else {}
    found = {
        stage: _nearest(bounds, before[stage]["events"] if stage in before else 0)
        for stage, bounds in reading.deviations.items()
    }
    return {stage: events for stage, events in found.items() if events}


def last_reading() -> BooksReading | None:
    """The books as they were last read; None before the first time."""
    return BooksReading.objects.filter(pk=1).first()


def imbalances(reading: BooksReading) -> list[Imbalance]:
    """What does not balance, in the order of the stages."""
    return [
        Imbalance(stage, noted["events"], datetime.fromisoformat(noted["since"]), noted["told"])
        for stage in STAGES
        if (noted := reading.imbalances.get(stage))
    ]


def in_words(stage: str, events: int) -> str:
    """What an imbalance says, as a sentence without a full stop."""
    count = f"{abs(events):,} event{'' if abs(events) == 1 else 's'}"
    return {
        (INGEST, False): f"{count} came and were neither accepted nor refused",
        (INGEST, True): f"{count} more were accepted or refused than came",
        (BUFFER, False): f"{count} accepted, and neither archived nor waiting",
        (BUFFER, True): f"{count} more are archived or waiting than were accepted",
        (LOAD, False): f"{count} archived, and in neither bucket nor database",
        (LOAD, True): f"{count} more in bucket and database than were archived",
    }[stage, events > 0]


def quarantined_by_reason() -> list[tuple[str, int, int]]:
    """Reason, unreadable lines, unreadable objects: the most of them first."""
    lines = dict(Quarantined.objects.values_list("reason").annotate(Count("pk")).order_by())
    unreadable = LoadedObject.objects.filter(state=LoadedObject.State.QUARANTINED)
    objects = dict(unreadable.values_list("reason").annotate(Count("pk")).order_by())
    found = [(reason, lines.get(reason, 0), objects.get(reason, 0)) for reason in {*lines, *objects}]
    return sorted(found, key=lambda row: (-row[1] - row[2], row[0]))


def carry_over(*, dry_run: bool) -> int:
    """Book what bucket and database hold beyond the counters as received, accepted and archived; answers how many.

    For a Redis that lost its disk, and so began to count at 0. Raises NotCarriedOver where the books show anything but
    that, or move.
    """
    reading = read()
    fewest, most = reading.deviations[LOAD]
    for stage in (INGEST, BUFFER):
        if reading.deviations[stage] != (0, 0):
            raise NotCarriedOver(f"{in_words(stage, reading.deviations[stage][0])}: no lost disk does that")
    if fewest != most:
        raise NotCarriedOver("events are being archived; try again in a moment")
    if fewest < 0:
        raise NotCarriedOver(f"{in_words(LOAD, fewest)}: this is a loss")
    if fewest and not dry_run:
        terms = dict.fromkeys(("received", "accepted", "archived", _CARRIED_OVER), fewest)
        # By its token, of two that do this at once only one is done.
        buffer.add_counts(terms, {}, token=f"carry-over:{reading.carried_over}:{fewest}")
        logger.warning("carried over: events=%d", fewest)
    return fewest


# -- Even or not ------------------------------------------------------------------------------------------------------


def _deviations(found: Books, archived_before: int, sealed: int) -> dict[str, tuple[int, int]]:
    ingest = found.accepted + sum(found.rejected.values()) + found.limited + found.unavailable - found.received
    waiting = found.archived + found.waiting - found.accepted
    shown = found.loaded + found.duplicate + found.quarantined + found.not_yet_loaded - found.imported
    at_least, at_most = min(archived_before, found.archived), found.archived + sealed
    return {INGEST: (ingest, ingest), BUFFER: (waiting, waiting), LOAD: (shown - at_most, shown - at_least)}


def _nearest(bounds: tuple[int, int], before: int) -> int:
    """What was seen before, if it can still be; else what is nearest to even."""
    fewest, most = bounds
    return before if fewest <= before <= most else max(fewest, min(0, most))


def _noted(stage: str, events: int, was: Mapping[str, Any] | None, now: datetime) -> dict[str, Any]:
    since = datetime.fromisoformat(was["since"]) if was else now
    told = was["told"] if was else False
    if not told and now - since >= timedelta(seconds=LASTING_SECONDS):
        told = True
        logger.warning(
            "the books do not balance: stage=%s events=%+d since=%s: %s",
            *(stage, events, f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", in_words(stage, events)),
        )
    return {"events": events, "since": since.isoformat(), "told": told}


# -- What the bucket holds and the ledger does not know ---------------------------------------------------------------

# An object never changes: its rows are asked for once, also where it waits long to be loaded.
_rows: dict[Listed, int] = {}
_waiting_for_the_bucket: list[threading.Thread] = []


def _not_yet_loaded_rows(relist_from: str, known: Collection[str]) -> int:
    """Rows of this portal's batches in the bucket, after this name and not among the known, by their metadata."""
    until = time.monotonic() + BUCKET_MAX_SECONDS
    unknown: list[Listed] = []

    def look() -> None:
        for listed in archive.listing(prefix=batches.PREFIX, start_after=relist_from):
            if time.monotonic() > until:
                return
            if listed.name not in known:
                unknown.append(listed)

    _all_within([look], until)
    for listed in _rows.keys() - set(unknown):
        del _rows[listed]
    unasked = [listed for listed in unknown if listed not in _rows]

    def ask(share: Sequence[Listed]) -> Callable[[], None]:
        def asking() -> None:
            for listed in share:
                if time.monotonic() > until:
                    return
                _rows[listed] = _batch_rows(archive.metadata(listed.name))

        return asking

    _all_within([ask(share) for start in range(_ASKED_AT_ONCE) if (share := unasked[start::_ASKED_AT_ONCE])], until)
    return sum(_rows[listed] for listed in unknown)


def _batch_rows(metadata: Mapping[str, str]) -> int:
    """How many rows came through this portal's buffer into an object."""
    return int(metadata["rows"]) if is_ours(metadata) and "origin" not in metadata else 0


def _all_within(jobs: Sequence[Callable[[], None]], until: float) -> None:
    """Do the jobs side by side; raises ArchiveUnavailable if one does, or if they take longer than until then.

    In threads that a process does not wait for when it ends. None begins while others of before hang.
    """
    _waiting_for_the_bucket[:] = [thread for thread in _waiting_for_the_bucket if thread.is_alive()]
    if _waiting_for_the_bucket:
        raise ArchiveUnavailable("it has not answered the look before")
    asking = [_Asking(job) for job in jobs]
    _waiting_for_the_bucket.extend(asking)
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(max(0.0, until - time.monotonic()))
    for thread in asking:
        if thread.error:
            raise thread.error
    if time.monotonic() > until or not all(thread.done for thread in asking):
        raise ArchiveUnavailable(f"no answer within {BUCKET_MAX_SECONDS:.0f} s")


class _Asking(threading.Thread):
    def __init__(self, job: Callable[[], None]) -> None:
        super().__init__(name="books", daemon=True)
        self._job = job
        self.error: ArchiveUnavailable | None = None
        self.done = False

    def run(self) -> None:
        """Keep what the bucket says for the thread that waits."""
        try:
            self._job()
            self.done = True
        except ArchiveUnavailable as error:
            self.error = error
