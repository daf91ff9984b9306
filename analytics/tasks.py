"""Tasks: each says "look now" to a stage."""

import logging
import threading

from celery import shared_task

from analytics import load, rollups
from analytics.warehouse import WarehouseBusy
from ingest import archive, buffer

logger = logging.getLogger(__name__)

# While Postgres or the bucket is slow, looks must not fill every thread of the worker: the archiver needs one.
_one_look_at_a_time = threading.Lock()


@shared_task(ignore_result=True)
def load_new_objects() -> None:
    """Bring Postgres up to what can have come into the bucket since the last look."""
    _bring_up(everything=False)


@shared_task(ignore_result=True)
def load_missed_objects() -> None:
    """Bring Postgres up to the whole bucket: finds what came in by other ways than the buffer."""
    _bring_up(everything=True)


def _bring_up(*, everything: bool) -> None:
    if not _one_look_at_a_time.acquire(blocking=False):
        return
    try:
        loaded = load.catch_up(everything=everything, wait=False)
        rollups.refresh(wait=False)
        buffer.note_finished("loader")
    except WarehouseBusy:
        return  # a command is at it
    except (archive.ArchiveUnavailable, buffer.BufferUnavailable) as error:
        logger.warning("load delayed: %s %s", type(error).__name__, error)
        return
    finally:
        _one_look_at_a_time.release()
    if loaded.objects:
        logger.info("loaded objects=%d rows=%d duplicates=%d", loaded.objects, loaded.rows, loaded.duplicates)
