"""Archiver: each accepted event in exactly one object, whoever is killed when."""

import gzip
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings as now_set
from django.core.files.storage import storages
from django.test import override_settings
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from ingest import archive, archiver, batches, buffer
from ingest.archive import ArchiveUnavailable
from ingest.batches import ArchiveObject
from ingest.buffer import BufferUnavailable, Seal
from tests.events import line

pytestmark = pytest.mark.usefixtures("empty_buffer", "empty_bucket")


def push(count: int) -> list[bytes]:
    lines = [line() for _ in range(count)]
    buffer.push(lines, received=count, counts={})
    return lines


def object_name(seal: Seal) -> str:
    return batches.object_name(seal.first_ms, seal.identity, seal.first_id, seal.last_id)


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


def test_archive_due_forced_drains_all_of_it_after_a_gap(settings: Settings) -> None:
    settings.BATCH_MAX_ROWS = 10
    pushed = push(510)  # more batches than are sealed in one call
    buffer.connection().hset(buffer.BUFFER, "looked_ms", buffer.now_ms() - 4000)
    assert archiver.archive_due(force=True) == 510
    assert sorted(archived_lines()) == sorted(pushed)


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


def test_archive_due_leaves_what_another_process_writes() -> None:
    push(200)
    buffer.seal_due()
    other, _ = buffer.sealed()
    buffer.claim(other)
    assert archiver.archive_due() == 100
    assert buffer.sealed() == [other]
    assert archiver.archive_due(force=True) == 100  # somebody asks for it


def test_archive_due_lets_others_write_what_it_could_not(settings: Settings) -> None:
    push(100)
    bucket, settings.ARCHIVE_BUCKET = settings.ARCHIVE_BUCKET, "no-such-bucket"
    with pytest.raises(ArchiveUnavailable):
        archiver.archive_due()
    settings.ARCHIVE_BUCKET = bucket
    (seal,) = buffer.sealed()
    assert buffer.claim(seal)


def test_archive_due_says_which_requests_events_an_object_has(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    first = buffer.push([line()], received=1, counts={})
    last = buffer.push([line()], received=1, counts={})
    archiver.archive_due(force=True)
    (told,) = [vars(record) for record in caplog.records if record.getMessage() == "archived"]
    (listed,) = archive.listing()
    assert {name: told[name] for name in ("object", "rows", "first_id", "last_id")} == {
        "object": listed.name,
        "rows": 2,
        "first_id": first,
        "last_id": last,
    }


def test_archive_due_after_a_kill_between_put_and_release() -> None:
    lines = push(100)
    buffer.seal_due()
    (seal,) = buffer.sealed()
    archive.put(batches.archive_object(object_name(seal), buffer.lines(seal)))
    assert archiver.archive_due() == 100
    assert archived_lines() == lines


@pytest.mark.parametrize("kept", [b"", b"\x1f\x8b\x08half of it"])
def test_archive_due_writes_again_what_a_cut_put_left_behind(kept: bytes) -> None:
    push(2)
    buffer.seal_due(max_age_ms=0)
    [seal] = buffer.sealed()
    name = batches.object_name(seal.first_ms, seal.identity, seal.first_id, seal.last_id)
    item = batches.archive_object(name, buffer.lines(seal))
    writer = storages["archive"].connection.meta.client  # type: ignore[attr-defined]
    writer.put_object(Bucket=now_set.ARCHIVE_BUCKET, Key=item.name, Body=kept, Metadata=item.metadata)
    archiver.archive_due()
    assert archive.get(item.name).body == item.body
    assert buffer.sealed() == []


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


def test_archive_due_writes_the_other_batches_where_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    push(300)
    buffer.seal_due()
    refused, *others = buffer.sealed()
    put = archive.put

    def put_but_one(item: ArchiveObject) -> None:
        if item.name == object_name(refused):
            raise ArchiveUnavailable("AccessDenied")
        put(item)

    monkeypatch.setattr(archive, "put", put_but_one)
    with pytest.raises(ArchiveUnavailable):
        archiver.archive_due()
    assert buffer.sealed() == [refused]
    assert {listed.name for listed in archive.listing()} == {object_name(seal) for seal in others}
    monkeypatch.undo()
    assert archiver.archive_due() == 100  # at once: a bucket that takes some is not away


def test_archive_due_leaves_a_bucket_alone_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    push(100 * 100)
    asked: list[str] = []

    def refuse(item: ArchiveObject) -> None:
        asked.append(item.name)
        raise ArchiveUnavailable("ServiceUnavailable")

    monkeypatch.setattr(archive, "put", refuse)
    with pytest.raises(ArchiveUnavailable):
        archiver.archive_due()
    assert archive.PUTS_AT_ONCE <= len(asked) < 50  # of fifty that are sealed in one step
    already = len(asked)
    assert archiver.archive_due() == 0
    assert len(asked) == already
    monkeypatch.undo()
    assert archiver.archive_due(force=True) == 10_000
    assert buffer.counters()["waiting"] == 0


def test_archive_due_leaves_alone_a_bucket_that_takes_nothing_though_redis_went_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push(100)
    asked: list[str] = []

    def refuse(item: ArchiveObject) -> None:
        asked.append(item.name)
        raise ArchiveUnavailable("ServiceUnavailable")

    def time_out(seal: Seal) -> None:
        raise BufferUnavailable("TimeoutError")

    monkeypatch.setattr(archive, "put", refuse)
    monkeypatch.setattr(buffer, "unclaim", time_out)
    with pytest.raises(ArchiveUnavailable):
        archiver.archive_due()
    monkeypatch.undo()
    (seal,) = buffer.sealed()
    buffer.unclaim(seal)  # as it ends by itself
    assert archiver.archive_due() == 0
    assert buffer.sealed() == [seal]
    assert len(asked) == 1


def test_archive_due_notes_what_the_bucket_took_though_redis_went_away(monkeypatch: pytest.MonkeyPatch) -> None:
    push(100)
    monkeypatch.setattr(archiver, "_failed_looks", 4)

    def time_out(seal: Seal) -> int:
        raise BufferUnavailable("TimeoutError")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(buffer, "release", time_out)
        with pytest.raises(BufferUnavailable):
            archiver.archive_due()
    assert archiver._failed_looks == 0
    assert archiver.archive_due(force=True) == 100


def test_archive_due_tells_of_rows_that_are_missing_in_redis(caplog: pytest.LogCaptureFixture) -> None:
    """Only a stranger's hand does that: what is left is archived, and the books do not balance."""
    lines = push(100)
    buffer.seal_due()
    (seal,) = buffer.sealed()
    buffer.connection().xdel(buffer.STREAM, seal.first_id)
    assert archiver.archive_due() == 99
    assert "rows are missing in Redis: a batch of 100 has 99 left" in caplog.text
    assert archived_lines() == lines[1:]
    counters = buffer.counters()
    assert (counters["accepted"], counters["archived"], counters["waiting"]) == (100, 99, 0)


def test_archive_due_forgets_a_batch_of_which_nothing_is_left() -> None:
    push(100)
    buffer.seal_due()
    buffer.connection().delete(buffer.STREAM)
    assert archiver.archive_due() == 0
    assert buffer.sealed() == []


def test_archive_due_is_not_stopped_by_rows_that_somebody_else_made() -> None:
    """They go into the archive as lines that nobody can read, in the objects of the others around them."""
    poison: list[dict[Any, Any]] = [
        {"odd": b"row"},
        {"line": b"not json"},
        {"line": b""},
        {"line": b"[" * 100_000},
        {"line": b"\xff\n"},
    ]
    for fields in poison:
        buffer.connection().xadd(buffer.STREAM, fields)
    lines = push(98)
    buffer.connection().xadd(buffer.STREAM, {"line": b"{}"})
    others = push(100)
    assert archiver.archive_due(force=True) == 204
    assert buffer.sealed() == []
    archived = [gzip.decompress(archive.get(listed.name).body).split(b"\n")[:-1] for listed in archive.listing()]
    odd = [b"odd row", b"not json", b"", b"[" * 100_000, b"\xff "]
    assert sorted(itertools.chain.from_iterable(archived)) == sorted([*odd, *lines, b"{}", *others])
    assert [len(rows) for rows in archived] == [int(archive.metadata(o.name)["rows"]) for o in archive.listing()]


def test_archive_due_takes_rows_whose_time_no_calendar_has() -> None:
    """Redis goes on from there: all that comes has such a time."""
    buffer.connection().xadd(buffer.STREAM, {"line": line()}, id=f"{2**63}-0")
    lines = push(2)
    assert archiver.archive_due() == 3
    assert archived_lines()[1:] == lines


class Killed(BaseException):
    """What stands for kill -9 here: nothing catches it. Real ones: tests/faults."""


# What happens, in any order and number: so many rows of such a length come; a worker looks, or two do at the same time;
# one is killed at the n-th time that it comes to a step.
_ARRIVAL = st.tuples(st.just("push"), st.integers(1, 25), st.integers(0, 120))
_LOOK = st.tuples(st.just("look"), st.booleans(), st.integers(1, 2))
_KILL = st.tuples(
    st.just("kill"),
    st.builds("{} {}".format, st.sampled_from(["before", "after"]), st.sampled_from(["claim", "put", "release"])),
    st.integers(0, 3),
)


@given(st.lists(st.one_of(_ARRIVAL, _LOOK, _KILL), max_size=12))
@effort(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@override_settings(BATCH_MAX_ROWS=7, BATCH_MAX_BYTES=600)
def test_archive_due_keeps_its_promise_whatever_comes_when(steps: list[tuple[str, object, int]]) -> None:
    """Each row in one object, objects within their bounds and never changed, the books even at each moment."""
    _start_empty()
    pushed: list[bytes] = []
    seen: dict[str, str] = {}
    for step, what, number in steps:
        if step == "push":
            assert isinstance(what, int)
            lines = [_numbered(len(pushed) + index, number) for index in range(what)]
            buffer.push(lines, received=len(lines), counts={})
            pushed += lines
        elif step == "look":
            with ThreadPoolExecutor(number) as pool:
                for look in [pool.submit(archiver.archive_due, force=bool(what)) for _ in range(number)]:
                    look.result()
        else:
            with _killed(str(what), number), suppress(Killed):
                archiver.archive_due(force=bool(number % 2))  # forced, it claims nothing
        counters = buffer.counters()
        assert counters.get("accepted", 0) == counters.get("archived", 0) + counters["waiting"] == len(pushed)
        etags = {listed.name: listed.etag for listed in archive.listing()}
        assert seen.items() <= etags.items()
        seen = etags
    archiver.archive_due(force=True)
    assert sorted(archived_lines()) == sorted(pushed)
    for listed in archive.listing():
        text = gzip.decompress(archive.get(listed.name).body)
        assert text.count(b"\n") <= 7
        assert len(text) <= 600 or text.count(b"\n") == 1


def _start_empty() -> None:
    buffer.connection().flushdb()
    archiver.forget()
    writer = storages["archive"].connection.meta.client  # type: ignore[attr-defined]
    for listed in archive.listing():
        writer.delete_object(Bucket=now_set.ARCHIVE_BUCKET, Key=listed.name)


def _numbered(number: int, padding: int) -> bytes:
    return b'{"receivedAt":"2026-11-22T12:00:00.000Z","number":%d,"padding":"%s"}' % (number, b"x" * padding)


def _killed(step: str, after: int) -> AbstractContextManager[object]:
    moment, verb = step.split()
    owner = archive if verb == "put" else buffer
    real = getattr(owner, verb)
    calls = iter(range(1000))

    def killed(argument: Any) -> object:
        is_last = next(calls) == after
        if is_last and moment == "before":
            raise Killed
        done = real(argument)
        if is_last:
            raise Killed
        return done

    return patch.object(owner, verb, killed)
