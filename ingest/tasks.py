"""Tasks: each says "look now" to a stage."""

import logging

from celery import shared_task

from ingest import archive, buffer

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def archive_due_batches() -> None:
    """Bring the archive up to the buffer. A store that is away only delays: the next look is a second off."""
    try:
        archive.archive_due()
        buffer.note_finished("archiver")
    except (archive.ArchiveUnavailable, buffer.BufferUnavailable) as error:
        logger.warning("archive delayed: %s %s", type(error).__name__, error)
