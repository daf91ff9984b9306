"""Tasks: each says "look now" to a stage."""

import logging
import threading

from celery import shared_task

from ingest import archive, archiver, buffer

logger = logging.getLogger(__name__)

# While the bucket is slow, looks must not fill every thread of the worker. Other processes are not kept out.
_one_look_at_a_time = threading.Lock()


@shared_task(ignore_result=True)
def archive_due_batches() -> None:
    """Bring the archive up to the buffer. A store that is away only delays: the next look is a second off."""
    try:
        buffer.seal_due()  # by its time, though the bucket may keep an earlier look
        if _one_look_at_a_time.acquire(blocking=False):
            try:
                with buffer.looking("archiver"):
                    archiver.archive_due()
            finally:
                _one_look_at_a_time.release()
    except (archive.ArchiveUnavailable, buffer.BufferUnavailable) as error:
        logger.warning("archive delayed: %s %s", type(error).__name__, error)
