"""Objects: an archive object -> its lines, or the reason why they cannot be read.

In: objects as the bucket lists them. Out: their lines, and what the ledger is to say of them.
Fails: never: an object that cannot be had now is None, one that cannot be read has a reason. Next: lines.py
"""

import gzip
import hashlib
import io
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from analytics.lines import Numbered
from analytics.models import LoadedObject
from ingest import archive
from ingest.archive import ArchiveUnavailable, Fetched, Listed

logger = logging.getLogger(__name__)

FETCHES_AT_ONCE = 8
# As stored, and as text. A larger object was not written by this portal, and is never read into memory.
OBJECT_MAX_BYTES = 256 * 1_048_576

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Opened:
    """What the ledger is to say of an object, and its lines.

    `rows` are those that the books count. `received_at` is when lines came that do not say so (lines.rows).
    """

    listed: Listed
    state: str
    imported: bool
    reason: str = ""
    rows: int = 0
    numbered: Numbered = ()
    received_at: datetime | None = None


# None for an object that is to be left alone.
Open = Callable[[Listed, Fetched], Opened | None]


def fetch(entries: Sequence[Listed]) -> Iterator[tuple[Listed, Fetched | None]]:
    """The objects in this order, several on their way at a time; None for one that cannot be had now."""
    with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        yield from zip(entries, pool.map(_fetch, entries), strict=True)


def _fetch(entry: Listed) -> Fetched | None:
    try:
        if entry.size_bytes > OBJECT_MAX_BYTES:
            return Fetched(entry.name, b"", archive.metadata(entry.name))
        found = archive.get(entry.name)
    except ArchiveUnavailable as error:
        logger.warning("load delayed: %r %s", entry.name, error)
        return None
    if len(found.body) != entry.size_bytes:  # the answer is broken, not the object
        logger.warning("load delayed: %r came with another length than it is listed with", entry.name)
        return None
    return found


def is_ours(metadata: Mapping[str, str]) -> bool:
    """Whether an object of this metadata was written by this portal (wire-format.md, "Envelope, answer, …")."""
    rows = metadata.get("rows", "")
    return "sha256" in metadata and rows.isdecimal() and len(rows) < 10  # what the ledger can count


def open_ours(entry: Listed, item: Fetched) -> Opened:
    """An object of this portal; one of others is `foreign`, whatever is in it.

    Reasons: bad_gzip, too_large, bad_digest, bad_row_count.
    """
    if not is_ours(item.metadata):
        return Opened(entry, LoadedObject.State.FOREIGN, imported=False)
    rows = int(item.metadata["rows"])
    imported = "origin" in item.metadata
    text, reason = unzip(entry, item)
    numbered: list[tuple[int, bytes]] = []
    if not reason and hashlib.sha256(text).hexdigest() != item.metadata["sha256"]:
        reason = "bad_digest"
    if not reason:
        numbered = list(enumerate(text.removesuffix(b"\n").split(b"\n") if text else (), start=1))
        if len(numbered) != rows:
            reason = "bad_row_count"
    if reason:
        return Opened(entry, LoadedObject.State.QUARANTINED, imported, reason, rows)
    return Opened(entry, LoadedObject.State.LOADED, imported, rows=rows, numbered=numbered)


def unzip(entry: Listed, item: Fetched, *, plain: bool = False) -> tuple[bytes, str]:
    """An object's text; or none, and why: `bad_gzip` or `too_large`. With `plain`, it may also be uncompressed."""
    if entry.size_bytes > OBJECT_MAX_BYTES:
        return b"", "too_large"
    if plain and not item.body.startswith(_GZIP):
        return item.body, ""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(item.body)) as unzipped:
            text = unzipped.read(OBJECT_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        return b"", "bad_gzip"
    return (b"", "too_large") if len(text) > OBJECT_MAX_BYTES else (text, "")
