"""Batch: the name and the bytes of one sealed batch.

In: a seal and its lines. Out: an archive object. Pure. Next: archive.py

When a batch is due is decided where its rows are, in lua/seal.lua: membership must be fixed in one step.
"""

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

# What the names of this portal's objects begin with; other archives in the bucket may have any other (wire-format.md).
PREFIX = "event_date="

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True)
class ArchiveObject:
    """One object of the bucket: its key, gzip NDJSON, and the metadata that says it is ours (wire-format.md)."""

    name: str
    body: bytes
    metadata: dict[str, str]


class _Received(msgspec.Struct, rename="camel"):
    received_at: str


def archive_object(name: str, lines: Sequence[bytes], **marks: str) -> ArchiveObject:
    """The lines as one object; `marks` are further metadata. The same lines give the same object."""
    text = b"".join(line + b"\n" for line in lines)
    received = [msgspec.json.decode(line, type=_Received).received_at for line in (lines[0], lines[-1])]
    return ArchiveObject(
        name=name,
        body=gzip.compress(text, compresslevel=6, mtime=0),
        metadata={
            "rows": str(len(lines)),
            "sha256": hashlib.sha256(text).hexdigest(),
            "first-received-at": received[0],
            "last-received-at": received[1],
            **marks,
        },
    )


def object_name(first_ms: int, *identity: str) -> str:
    """`event_date=YYYY-MM-DD/hr=HH/<ulid>.json.gz`, in UTC, as Cloudflare lays its archives out (wire-format.md).

    A function of when the batch's first row came, in Unix milliseconds, and of what tells this batch from any other:
    so names sort by time, and a batch has one name however often it is written.
    """
    moment = datetime.fromtimestamp(first_ms / 1000, UTC)
    return f"{hour_prefix(moment)}{_ulid(first_ms, ' '.join(identity))}.json.gz"


def hour_prefix(moment: datetime) -> str:
    """What the names of an hour's objects start with."""
    return moment.astimezone(UTC).strftime(f"{PREFIX}%Y-%m-%d/hr=%H/")


def _ulid(unix_ms: int, seed: str) -> str:
    """48 bits of time, then 80 bits that a hash of `seed` stands in for (github.com/ulid/spec)."""
    number = unix_ms << 80 | int.from_bytes(hashlib.sha256(seed.encode()).digest()[:10])
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
