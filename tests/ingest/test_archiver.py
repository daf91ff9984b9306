"""Archiver: each accepted event in exactly one object, whoever is killed when."""

import gzip
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_django.fixtures import Settings

from ingest import archive, archiver, batches, buffer
from ingest.archive import ArchiveUnavailable
from ingest.batches import ArchiveObject
from tests.events import line

pytestmark = pytest.mark.usefixtures("empty_buffer", "empty_bucket")


def push(count: int) -> list[bytes]:
    lines = [line() for _ in range(count)]
    buffer.push(lines, received=count, counts={})
    return lines


def archived_lines() -> list[bytes]:
    return [
        text for listed in archive.listing() for text in gzip.decompress(archive.get(listed.name).body).splitlines()
    ]


def test_archive_due_writes_objects_of_a_hundred_rows_at_most() -> None:
    lines = push(250)
    assert archiver.archive_due(force=True) == 250
    assert sorted(archived_lines()) == sorted(lines)
    assert sorted(int(archive.metadata(item.name)["rows"]) for item in archive.listing()) == [50, 100, 100]
    assert buffer.counters()["archived"] == 250


def test_archive_due_again_changes_nothing() -> None:
    push(10)
    archiver.archive_due(force=True)
    before = list(archive.listing())
    assert archiver.archive_due(force=True) == 0
    assert list(archive.listing()) == before


def test_archive_due_leaves_what_is_not_due() -> None:
    push(10)
    assert archiver.archive_due() == 0
    assert list(archive.listing()) == []


def test_archive_due_by_many_at_once_writes_each_event_once() -> None:
    lines = push(500)
    with ThreadPoolExecutor(4) as pool:
        rows = sum(pool.map(lambda _: archiver.archive_due(force=True), range(4)))
    assert rows == 500
    assert sorted(archived_lines()) == sorted(lines)


def test_archive_due_after_a_kill_between_put_and_release() -> None:
    lines = push(100)
    buffer.seal_due()
    (seal,) = buffer.sealed()
    name = batches.object_name(seal.first_ms, seal.identity, seal.first_id, seal.last_id)
    archive.put(batches.archive_object(name, buffer.lines(seal)))
    assert archiver.archive_due() == 100
    assert archived_lines() == lines


def test_archive_due_keeps_what_the_bucket_refuses(settings: Settings) -> None:
    push(100)
    settings.ARCHIVE_BUCKET = "no-such-bucket"
    with pytest.raises(ArchiveUnavailable):
        archiver.archive_due()
    assert buffer.counters()["waiting"] == 100


def test_archive_due_forced_leaves_what_comes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under traffic the command ends, and does not write an object for every few events."""
    push(10)
    put = archive.put

    def put_while_more_comes(item: ArchiveObject) -> None:
        time.sleep(0.01)
        push(1)
        put(item)

    monkeypatch.setattr(archive, "put", put_while_more_comes)
    assert archiver.archive_due(force=True) == 10
    assert buffer.counters()["waiting"] == 1
