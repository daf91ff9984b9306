"""Batch: names that sort by time and never change, bytes that anyone can read."""

import gzip
import hashlib
from datetime import UTC, datetime

import pytest

from ingest import batches
from tests.events import line

NOON_MS = int(datetime(2026, 11, 22, 12, 34, 56, tzinfo=UTC).timestamp() * 1000)


def test_object_name_is_cloudflares_layout() -> None:
    name = batches.object_name(NOON_MS, "a stream", "1-0", "9-0")
    folder, _, file = name.rpartition("/")
    assert folder == "event_date=2026-11-22/hr=12"
    assert file.endswith(".json.gz")
    assert len(file.removesuffix(".json.gz")) == 26


def test_object_name_is_a_function_of_its_batch() -> None:
    assert batches.object_name(NOON_MS, "a", "1") == batches.object_name(NOON_MS, "a", "1")
    assert batches.object_name(NOON_MS, "a", "1") != batches.object_name(NOON_MS, "b", "1")
    assert batches.object_name(NOON_MS, "a", "1") < batches.object_name(NOON_MS + 1, "a", "1")


def test_ulid_carries_its_time() -> None:
    assert batches._ulid(0, "x").startswith("0000000000")
    assert batches._ulid(2**48 - 1, "x").startswith("7ZZZZZZZZZ")


def test_archive_object_is_gzip_ndjson_with_its_digest() -> None:
    lines = [line(), line()]
    item = batches.archive_object("name", lines)
    text = gzip.decompress(item.body)
    assert text == lines[0] + b"\n" + lines[1] + b"\n"
    assert item.metadata == {
        "rows": "2",
        "sha256": hashlib.sha256(text).hexdigest(),
        "first-received-at": "2026-11-22T12:00:00.000Z",
        "last-received-at": "2026-11-22T12:00:00.000Z",
    }
    assert batches.archive_object("name", lines) == item


@pytest.mark.parametrize(
    "odd",
    [b"", b"not json", b"\xff", b"[" * 100_000, b"{}", b"[]", '{"receivedAt":"2026-11-22T12:00:00é"}'.encode()],
    ids=["empty", "text", "bytes", "deep", "object", "list", "accent"],
)
def test_archive_object_holds_lines_that_no_check_wrote(odd: bytes) -> None:
    item = batches.archive_object("name", [odd, line(), odd])
    assert gzip.decompress(item.body).split(b"\n")[0::2] == [odd, odd]
    assert (item.metadata["rows"], item.metadata["last-received-at"]) == ("3", "2026-11-22T12:00:00.000Z")
    assert batches.archive_object("name", [odd]).metadata.keys() == {"rows", "sha256"}


def test_object_name_of_a_time_that_no_calendar_has() -> None:
    name = batches.object_name(2**64 - 1, "a stream")
    assert name.startswith("event_date=9999-12-31/hr=23/7")
    assert batches.object_name(2**64 - 2, "another stream") != name
