"""Batch: the name and the bytes of one sealed batch.

In: a seal and its lines. Out: an archive object. Pure. Next: archive.py

When a batch is due is decided where its rows are, in lua/seal.lua: membership must be fixed in one step.
"""

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec

# What the names of this portal's objects begin with; other archives in the bucket may have any other (wire-format.md).
PREFIX = "event_date="

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LAST_MS = 253_402_300_799_000  # the end of the year 9999: of what comes later no name can tell the day


@dataclass(frozen=True)
class ArchiveObject:
    """One object of the bucket: its key, gzip NDJSON, and the metadata that says it is ours (wire-format.md)."""

    name: str
    body: bytes
    metadata: dict[str, str]


class _Received(msgspec.Struct, rename="camel"):
    # Any time that a loader can read, and nothing that metadata cannot hold.
    received_at: Annotated[str, msgspec.Meta(pattern=r"\A[0-9][0-9 TtZz:.+-]{,38}[0-9Zz]\Z")]


def archive_object(name: str, lines: Sequence[bytes], **marks: str) -> ArchiveObject:
    """The lines as one object; `marks` are further metadata. The same lines give the same object.

    Its times of arrival are those of the first and the last line that can be read, if there is one.
    """
    text = b"".join(line + b"\n" for line in lines)
    first, last = (next(filter(None, map(_received_at, found)), None) for found in (lines, reversed(lines)))
    received = {"first-received-at": first, "last-received-at": last} if first and last else {}
    return ArchiveObject(
        name=name,
        body=gzip.compress(text, compresslevel=6, mtime=0),
        metadata={
            "rows": str(len(lines)),
            "sha256": hashlib.sha256(text).hexdigest(),
            **received,
            **marks,
        },
    )


def object_name(first_ms: int, *identity: str) -> str:
    """`event_date=YYYY-MM-DD/hr=HH/<ulid>.json.gz`, in UTC, as Cloudflare lays its archives out (wire-format.md).

    A function of when the batch's first row came, in Unix milliseconds, and of what tells this batch from any other:
    so names sort by time, and a batch has one name however often it is written.
    """
    first_ms = min(first_ms, _LAST_MS)
    moment = datetime.fromtimestamp(first_ms / 1000, UTC)
    return f"{hour_prefix(moment)}{_ulid(first_ms, ' '.join(identity))}.json.gz"


def hour_prefix(moment: datetime) -> str:
    """What the names of an hour's objects start with."""
    return moment.astimezone(UTC).strftime(f"{PREFIX}%Y-%m-%d/hr=%H/")


def _received_at(line: bytes) -> str | None:
    """None for a line that no check wrote."""
    try:
        return msgspec.json.decode(line, type=_Received).received_at
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _ulid(unix_ms: int, seed: str) -> str:
    """48 bits of time, then 80 bits that a hash of `seed` stands in for (github.com/ulid/spec)."""
    number = unix_ms << 80 | int.from_bytes(hashlib.sha256(seed.encode()).digest()[:10])
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
