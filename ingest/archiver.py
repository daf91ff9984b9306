"""Archiver: bring the archive up to the buffer.

In: what waits in the buffer. Out: archive objects, each released when it is in the bucket.
Fails: buffer.BufferUnavailable, archive.ArchiveUnavailable. Next: archive.py

Safe to run at any moment, by any number of processes, killed anywhere: a seal is written under one name, and forgotten
only when its object is there.
"""

import logging
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from ingest import archive, batches, buffer
from ingest.archive import ArchiveUnavailable
from ingest.buffer import BufferUnavailable, Seal

logger = logging.getLogger(__name__)

# While the bucket takes nothing it is asked ever more seldom, with jitter, so that many workers do not come at once.
_PAUSE_MAX_SECONDS = 30.0

_failed_looks = 0  # one after the other
_away_until = 0.0  # monotonic clock


class _Look:
    """What became of the seals of one look."""

    def __init__(self) -> None:
        self.rows = 0
        self.failed = 0
        self.written = 0
        self.error: ArchiveUnavailable | None = None

    @property
    def is_hopeless(self) -> bool:
        """Nothing gets through: the other seals need not wait for their timeouts, one after the other."""
        return self.failed >= archive.PUTS_AT_ONCE and not self.written


def archive_due(*, force: bool = False) -> int:
    """Seal what is due, write each sealed batch, release it. Answers how many rows went into the archive.

    With `force`, all that waits when it is called is due, a bucket that was away a moment ago is asked again, and what
    another process writes is written, too. A batch that the bucket refuses holds up no other. Raises
    ArchiveUnavailable, when the others are done.
    """
    if not force and time.monotonic() < _away_until:
        return 0
    archive.prepare()
    rows = 0
    started_ms = buffer.now_ms()
    while True:
        # Forced, a batch is due that began before the call: what comes meanwhile is left to its own time.
        buffer.seal_due(max_age_ms=buffer.now_ms() - started_ms if force else None)
        look = _Look()
        try:
            with ThreadPoolExecutor(archive.PUTS_AT_ONCE) as pool:
                write = _archive_batch if force else _archive_claimed
                for future in [pool.submit(write, seal, look) for seal in buffer.sealed()]:
                    look.rows += future.result()
        finally:
            _note(look)  # what the bucket answered holds, though Redis may be away by now
        rows += look.rows
        if look.error:
            raise look.error
        if not look.rows:
            return rows


def forget() -> None:
    """Know nothing of the bucket, as a new process does."""
    global _failed_looks, _away_until
    _failed_looks, _away_until = 0, 0.0


def _archive_claimed(seal: Seal, look: _Look) -> int:
    """A batch that no other process is writing: each put costs time and money."""
    if look.is_hopeless or not buffer.claim(seal):
        return 0
    rows = _archive_batch(seal, look)
    if not rows:
        with suppress(BufferUnavailable):  # the claim ends by itself, and the bucket's error is the one to tell
            buffer.unclaim(seal)
    return rows


def _archive_batch(seal: Seal, look: _Look) -> int:
    if look.is_hopeless:
        return 0
    started = time.monotonic()
    lines = buffer.lines(seal)
    if len(lines) != seal.rows:
        if not buffer.is_sealed(seal):
            return 0  # released by another process since it was listed
        # Only somebody else's hand in Redis can do that. What is left goes into the archive; the books show the rest.
        logger.error("rows are missing in Redis: a batch of %d has %d left", seal.rows, len(lines), extra=_span(seal))
    name = batches.object_name(seal.first_ms, seal.identity, seal.first_id, seal.last_id)
    try:
        if lines:
            archive.put(batches.archive_object(name, lines))
    except ArchiveUnavailable as error:
        look.failed += 1
        look.error = error
        return 0
    look.written += 1
    rows = buffer.release(seal)
    if not rows:
        return 0  # released by another process that wrote the same object
    took_ms = int((time.monotonic() - started) * 1000)
    logger.info("archived", extra={"object": name, "rows": rows, **_span(seal), "ms": took_ms})
    return rows


def _span(seal: Seal) -> dict[str, str]:
    """Which requests' events a batch has: those whose id is not below the first, nor above the last."""
    return {"first_id": seal.first_id, "last_id": seal.last_id}


def _note(look: _Look) -> None:
    global _failed_looks, _away_until
    if not look.failed or look.written:
        forget()
        return
    _failed_looks += 1
    pause_seconds = min(2.0**_failed_looks, _PAUSE_MAX_SECONDS) * random.uniform(0.5, 1)  # noqa: S311 - jitter
    _away_until = time.monotonic() + pause_seconds
