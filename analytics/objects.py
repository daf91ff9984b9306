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
from functools import lru_cache

from analytics.lines import LINE_MAX_BYTES, Numbered
from analytics.models import LoadedObject
from ingest import archive, batches
from ingest.archive import ArchiveUnavailable, Fetched, Listed

logger = logging.getLogger(__name__)

FETCHES_AT_ONCE = 8
# As stored, and as text. A larger object was not written by this portal, and is never read into memory.
OBJECT_MAX_BYTES = 128 * 1_048_576
# Of events, no text within its bounds has so many. Each line takes memory, however short it is.
OBJECT_MAX_LINES = 1_000_000
# With more lines than this, and not one in ten that begins like an event, an object is something else.
_LINES_OF_ANYTHING_MAX = 1000
_PART_BYTES = 1_048_576

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Lines:
    """The lines of a text, by number, without their ends: each made when its turn comes, each time they are asked for.

    `tidied`, they are without white space around them, and empty ones are left out. Of a line that is too long it is
    the beginning, by which lines.rows sees that, as does a replay; the object has it whole.
    """

    text: bytes
    tidied: bool = False

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Number and line; the first is 1."""
        for number, line in enumerate(io.BytesIO(self.text), start=1):
            if not self.tidied:
                yield number, line.removesuffix(b"\n")[: LINE_MAX_BYTES + 1]
            elif tidy := line.removeprefix(_BOM).strip():
                yield number, tidy[: LINE_MAX_BYTES + 1]


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


class NotWhole(Exception):
    """The object cannot be read, and is about to be written once more."""


# None for an object that is to be left alone. Raises NotWhole.
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
        _tell_delayed(entry, str(error))
        return None
    if len(found.body) != entry.size_bytes:  # the answer is broken, not the object
        _tell_delayed(entry, "came with another length than it is listed with")
        return None
    return found


@lru_cache(maxsize=1000)  # each look asks again: once is enough
def _tell_delayed(entry: Listed, why: str) -> None:
    logger.warning("load delayed: %r %s", entry.name, why)


def is_ours(metadata: Mapping[str, str]) -> bool:
    """Whether an object of this metadata was written by this portal (wire-format.md, "Envelope, answer, …")."""
    rows = metadata.get("rows", "")
    return "sha256" in metadata and rows.isdecimal() and len(rows) < 10  # what the ledger can count


def open_ours(entry: Listed, item: Fetched) -> Opened:
    """An object of this portal; one of others is `foreign`, whatever is in it.

    Reasons: bad_gzip, too_large, not_ndjson, bad_digest, bad_row_count.
    """
    if not is_ours(item.metadata):
        return Opened(entry, LoadedObject.State.FOREIGN, imported=False)
    rows = int(item.metadata["rows"])
    imported = "origin" in item.metadata
    text, reason = unzip(entry, item)
    if not reason and hashlib.sha256(text).hexdigest() != item.metadata["sha256"]:
        reason = "bad_digest"
    if not reason and _lines_count(text) != rows:
        reason = "bad_row_count"
    if reason:
        return Opened(entry, LoadedObject.State.QUARANTINED, imported, reason, rows)
    return Opened(entry, LoadedObject.State.LOADED, imported, rows=rows, numbered=Lines(text))


def open_finished(oldest_name_to_come: str | None) -> Open:
    """As open_ours, but for what the archiver may be about to write once more, because a put was cut short.

    None where nobody can say what it is at.
    """

    def open_object(entry: Listed, item: Fetched) -> Opened:
        opened = open_ours(entry, item)
        may_come = entry.name.startswith(batches.PREFIX) and entry.name >= (oldest_name_to_come or "")
        if opened.state == LoadedObject.State.QUARANTINED and may_come:
            _tell_delayed(entry, opened.reason)
            raise NotWhole
        return opened

    return open_object


def unzip(entry: Listed, item: Fetched, *, plain: bool = False) -> tuple[bytes, str]:
    """An object's text; or none, and why: `bad_gzip`, `too_large` or `not_ndjson`.

    With `plain`, it may also be uncompressed.
    """
    if entry.size_bytes > OBJECT_MAX_BYTES:
        return b"", "too_large"
    if plain and not item.body.startswith(_GZIP):
        text = item.body
    else:
        try:
            text = _gunzip(item.body)
        except (OSError, EOFError, zlib.error):
            return b"", "bad_gzip"
    lines_count = _lines_count(text)
    if len(text) > OBJECT_MAX_BYTES or lines_count > OBJECT_MAX_LINES:
        return b"", "too_large"
    if lines_count > max(_LINES_OF_ANYTHING_MAX, 10 * (text.count(b"\n{") + text.startswith(b"{"))):
        return b"", "not_ndjson"
    return text, ""


def _gunzip(body: bytes) -> bytes:
    """The text, or of one that is longer a little more than OBJECT_MAX_BYTES."""
    parts: list[bytes] = []
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as unzipped:
        while sum(map(len, parts)) <= OBJECT_MAX_BYTES and (part := unzipped.read(_PART_BYTES)):
            parts.append(part)
    return b"".join(parts)


def _lines_count(text: bytes) -> int:
    return text.count(b"\n") + (text != b"" and not text.endswith(b"\n"))
