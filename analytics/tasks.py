"""Tasks: each says "look now" to a stage."""

import logging
import threading

from celery import shared_task
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from analytics import ledger, load, prune, releases, rollups, verify
from analytics.warehouse import WarehouseBusy
from ingest import archive, buffer

logger = logging.getLogger(__name__)

# Each of several beats says "look now". Who hears it first looks; who hears it so soon after is at another beat's.
# A turn ends before the job is next asked for, so that what a killed worker left undone is done then.
_TURN_SHARE = 0.9  # of the time between two
_BOOKS_SECONDS = 15.0  # as vibetel.celery has it
_HOUR_SECONDS = 3600.0
# What is asked for every hour, or every hour of the night, is due so long after it was last done.
_MISSED_SECONDS = 5.5 * _HOUR_SECONDS
_VERIFY_SECONDS = 12 * _HOUR_SECONDS
_ANOTHER_ENDS_SECONDS = 60.0

# While Postgres or the bucket is slow, looks must not fill every thread of the worker: other tasks need one, and where
# one worker takes both queues, the archiver's.
_one_look_at_a_time = threading.Lock()
_one_reading_at_a_time = threading.Lock()
_one_verification_at_a_time = threading.Lock()


@shared_task(ignore_result=True)
def load_new_objects() -> None:
    """Bring Postgres up to what can have come into the bucket since the last look."""
    _bring_up(everything=False)


@shared_task(ignore_result=True)
def load_missed_objects() -> None:
    """Bring Postgres up to the whole bucket: finds what came in by other ways than the buffer."""
    _bring_up(everything=True)


@shared_task(ignore_result=True)
def watch_books() -> None:
    """Read the books. Where a store is away the reading before stays, and is shown with its age."""
    if not _one_reading_at_a_time.acquire(blocking=False):
        return
    try:
        if buffer.take_turn("books", _TURN_SHARE * _BOOKS_SECONDS):
            with buffer.looking("books"):
                ledger.watch(timezone.now())
    except (archive.ArchiveUnavailable, buffer.BufferUnavailable, DatabaseError, InterfaceError) as error:
        logger.warning("books not read: %s %s", type(error).__name__, str(error).partition("\n")[0])
    finally:
        _one_reading_at_a_time.release()


@shared_task(ignore_result=True)
def verify_nightly() -> None:
    """Compare the stores; of the objects, read a share, so that each is read once a month."""
    if not _one_verification_at_a_time.acquire(blocking=False):
        return
    try:
        if not _is_due("verify", _VERIFY_SECONDS) or not buffer.take_turn("verify", _TURN_SHARE * _HOUR_SECONDS):
            return
        with buffer.looking("verify"):
            report = verify.verify(verify.slice_of(timezone.now()))
    except (archive.ArchiveUnavailable, buffer.BufferUnavailable, DatabaseError, InterfaceError) as error:
        logger.warning("not verified: %s %s", type(error).__name__, str(error).partition("\n")[0])
        return
    finally:
        _one_verification_at_a_time.release()
    level = logging.WARNING if report.faults else logging.INFO
    counts = (report.objects_count, report.read_count, report.events_count, len(report.faults))
    logger.log(level, "verified objects=%d read=%d events=%d faults=%d", *counts)


@shared_task(ignore_result=True)
def prune_nightly() -> None:
    """Remove the events that are older than RETENTION_MONTHS; the next look removes what this one could not."""
    now = timezone.now()
    before = prune.kept_from(now)
    try:
        with buffer.looking("prune"):
            pruned = prune.prune(before, now)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("not pruned: %s %s", type(error).__name__, str(error).partition("\n")[0])
        return
    logger.info("pruned before=%s events=%d days=%d", before, pruned.events, pruned.days)


def _bring_up(*, everything: bool) -> None:
    # Of looks at what is new another is due in a moment; one at the whole bucket lets the one that is on end first.
    if not _one_look_at_a_time.acquire(timeout=_ANOTHER_ENDS_SECONDS if everything else 0):
        return
    try:
        job, seconds = ("missed", _HOUR_SECONDS) if everything else ("loader", settings.LOAD_INTERVAL_SECONDS)
        if everything and not _is_due(job, _MISSED_SECONDS):
            return
        if not buffer.take_turn(job, _TURN_SHARE * seconds):
            return
        with buffer.looking(job, unless=(WarehouseBusy,)):
            loaded = load.catch_up(everything=everything, wait=False, progress=_tell)
        with buffer.looking("rollups", unless=(WarehouseBusy,)):
            rollups.refresh(wait=False)
        if loaded.objects or everything:
            releases.notice(timezone.now())
    except WarehouseBusy:
        return  # a command is at it
    except (archive.ArchiveUnavailable, buffer.BufferUnavailable, DatabaseError, InterfaceError) as error:
        logger.warning("load delayed: %s %s", type(error).__name__, str(error).partition("\n")[0])
        return
    finally:
        _one_look_at_a_time.release()
    if loaded.objects:
        counts = {"objects": loaded.objects, "rows": loaded.rows, "duplicates": loaded.duplicates}
        logger.info("look ended", extra=counts)


def _is_due(job: str, seconds: float) -> bool:
    """Whether it was not done in the last so many seconds, by Redis's clock; one that was set back knows no better."""
    done_at = buffer.finished().get(job)
    return done_at is None or not 0 <= buffer.now_ms() / 1000 - done_at < seconds


def _tell(seen: load.Loaded) -> None:
    """One line an object: the archiver's line of the same name says which requests' events it has."""
    for row in seen.latest:
        logger.info("loaded", extra={"object": row.name, "rows": row.rows, "state": row.state})
