"""The books balance, each term is counted where it happens, and what does not balance is named by its stage."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING, cast

import boto3
import pytest
from botocore.config import Config
from django.conf import settings as portal
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from analytics import ledger, load, tasks
from analytics.ledger import Reading
from analytics.models import BooksReading, LoadedObject
from ingest import archive, archiver, batches, buffer
from ingest.archive import ArchiveUnavailable
from tests.events import line

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

stores = pytest.mark.usefixtures("empty_stores")
MINUTE = timedelta(seconds=ledger.LASTING_SECONDS)


@stores
def test_books_follow_an_event_through_the_stages() -> None:
    buffer.push([line(), line()], received=4, counts={"rejected:bad_json": 1, "rejected:bad_type": 1})
    books = ledger.books()
    assert (books.received, books.accepted, books.rejected) == (4, 2, {"bad_json": 1, "bad_type": 1})
    assert (books.waiting, books.archived, books.loaded) == (2, 0, 0)
    archiver.archive_due(force=True)
    books = ledger.books()
    assert (books.waiting, books.archived, books.not_yet_loaded, books.loaded) == (0, 2, 2, 0)
    load.catch_up(everything=False, wait=True)
    books = ledger.books()
    assert (books.archived, books.not_yet_loaded, books.loaded) == (2, 0, 2)


@stores
def test_books_count_what_was_imported_apart() -> None:
    archive.put(batches.archive_object("a.json.gz", [line(), line()], origin="simulate"))
    assert ledger.books().not_yet_loaded == 0
    load.catch_up(everything=True, wait=True)
    books = ledger.books()
    assert (books.archived, books.imported, books.loaded) == (0, 2, 2)
    assert deviating() == {}


# -- Even, or named by its stage --------------------------------------------------------------------------------------


def deviating() -> dict[str, tuple[int, int]]:
    return {stage: bounds for stage, bounds in ledger.read().deviations.items() if bounds != (0, 0)}


def fill() -> None:
    """Two batches loaded, one archived, and two events waiting; some of each refusal."""
    counts = {"rejected:bad_json": 2, "limited": 1, "unavailable": 1}
    for step in (archiver_and_loader, archiver_and_loader, archive_all, None):
        buffer.push([line(), line()], received=6, counts=counts)
        if step:
            step()


def archive_all() -> None:
    archiver.archive_due(force=True)


def archiver_and_loader() -> None:
    archive_all()
    load.catch_up(everything=False, wait=True)


def bucket_names() -> list[str]:
    return [listed.name for listed in archive.listing()]


def delete_counter(name: str) -> None:
    buffer.connection().hdel(buffer.COUNTERS, name)


def delete_waiting_row() -> None:
    ((row, _),) = cast(list[tuple[bytes, object]], buffer.connection().xrange(buffer.STREAM, count=1))
    buffer.connection().xdel(buffer.STREAM, row)


def remove_object() -> None:
    (not_loaded,) = set(bucket_names()) - set(LoadedObject.objects.values_list("name", flat=True))
    writer().delete_object(Bucket=portal.ARCHIVE_BUCKET, Key=not_loaded)


def double_object() -> None:
    twin = archive.get(bucket_names()[0])
    writer().put_object(
        Bucket=portal.ARCHIVE_BUCKET,
        Key=f"{twin.name.removesuffix('.json.gz')}-2.json.gz",
        Body=twin.body,
        Metadata=twin.metadata,
    )


def double_object_and_load_it() -> None:
    double_object()
    load.catch_up(everything=True, wait=True)


def alter_ledger_row() -> None:
    LoadedObject.objects.filter(pk=LoadedObject.objects.earliest("pk").pk).update(loaded_rows=1)


def empty_redis() -> None:
    buffer.connection().flushdb()


def writer() -> "S3Client":
    return storages["archive"].connection.meta.client  # type: ignore[attr-defined,no-any-return]


BROKEN: dict[str, tuple[Callable[[], None], dict[str, int]]] = {
    "received deleted": (lambda: delete_counter("received"), {"ingest": 24}),
    "limited deleted": (lambda: delete_counter("limited"), {"ingest": -4}),
    "rejected deleted": (lambda: delete_counter("rejected:bad_json"), {"ingest": -8}),
    "accepted deleted": (lambda: delete_counter("accepted"), {"ingest": -8, "buffer": 8}),
    "archived deleted": (lambda: delete_counter("archived"), {"buffer": -6, "load": 6}),
    "row deleted from the stream": (delete_waiting_row, {"buffer": -1}),
    "object removed before it was loaded": (remove_object, {"load": -2}),
    "object doubled": (double_object, {"load": 2}),
    "object doubled and loaded": (double_object_and_load_it, {"load": 2}),
    "ledger row altered": (alter_ledger_row, {"load": -1}),
    "Redis emptied": (empty_redis, {"load": 6}),
}


@stores
@pytest.mark.parametrize("fault", BROKEN)
def test_books_name_a_broken_equation_by_its_stage_after_a_minute(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    break_it, expected = BROKEN[fault]
    now = timezone.now()
    fill()
    ledger.watch(now)
    assert kept() == []
    break_it()
    ledger.watch(now)
    assert [(found.stage, found.events, found.lasts) for found in kept()] == [
        (stage, events, False) for stage, events in expected.items()
    ]
    ledger.watch(now + MINUTE - timedelta(seconds=1))
    assert warnings(caplog) == []
    ledger.watch(now + MINUTE)
    ledger.watch(now + 2 * MINUTE)
    assert [(found.stage, found.events, found.since, found.lasts) for found in kept()] == [
        (stage, events, now, True) for stage, events in expected.items()
    ]
    assert [re.findall(r"stage=(\w+) events=([+-]\d+)", said) for said in warnings(caplog)] == [
        [(stage, f"{events:+}")] for stage, events in expected.items()
    ]


def kept() -> list[ledger.Imbalance]:
    reading = ledger.last_reading()
    return ledger.imbalances(reading) if reading else []


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "analytics.ledger"]


@stores
def test_books_say_once_that_they_are_even_again(caplog: pytest.LogCaptureFixture) -> None:
    now = timezone.now()
    fill()
    limited = buffer.counters()["limited"]
    delete_counter("limited")
    ledger.watch(now)
    ledger.watch(now + MINUTE)
    buffer.add_counts({"limited": limited}, {}, token="repair")
    ledger.watch(now + 2 * MINUTE)
    ledger.watch(now + 3 * MINUTE)
    assert warnings(caplog)[1:] == ["the books are even again: stage=ingest"]
    assert kept() == []


@stores
def test_books_say_nothing_of_what_was_mended_within_the_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = timezone.now()
    fill()
    delete_counter("limited")
    ledger.watch(now)
    buffer.add_counts({"limited": 4}, {}, token="repair")
    ledger.watch(now + MINUTE)
    assert (kept(), warnings(caplog)) == ([], [])


@stores
def test_books_keep_an_imbalance_that_a_reading_in_motion_cannot_rule_out() -> None:
    now = timezone.now()
    fill()
    remove_object()
    ledger.watch(now)
    buffer.seal_due(max_age_ms=0)  # two rows are sealed, and may be in the bucket already
    assert ledger.read().deviations["load"] == (-4, -2)
    buffer.push([line()] * 100, received=100, counts={})
    buffer.seal_due(max_age_ms=0)
    assert ledger.read().deviations["load"] == (-104, -2)
    double_object()  # so that even books are possible, and what was seen before is, too
    assert ledger.read().deviations["load"] == (-102, 0)
    ledger.watch(now + MINUTE)
    assert [(found.stage, found.events) for found in kept()] == [("load", -2)]
    assert "NOT EVEN at load: 2 events archived" in printed()


@stores
def test_books_are_even_while_an_object_is_put_and_not_released() -> None:
    buffer.push([line(), line()], received=2, counts={})
    buffer.seal_due(max_age_ms=0)
    (seal,) = buffer.sealed()
    name = batches.object_name(seal.first_ms, seal.identity, seal.first_id, seal.last_id)
    archive.put(batches.archive_object(name, buffer.lines(seal)))
    assert ledger.read().deviations["load"] == (0, 2)
    load.catch_up(everything=False, wait=True)  # the loader may be faster than the release
    assert ledger.read().deviations["load"] == (0, 2)
    buffer.release(seal)
    assert deviating() == {}


@pytest.mark.usefixtures("empty_buffer", "empty_bucket", "transactional_db")
def test_books_give_no_false_alarm_while_events_are_pushed_archived_and_loaded() -> None:
    stop = threading.Event()
    failed: list[BaseException] = []

    @contextmanager
    def at_work(*steps: Callable[[], object]) -> Iterator[None]:
        def work(step: Callable[[], object]) -> None:
            try:
                while not stop.is_set():
                    step()
            except BaseException as error:
                failed.append(error)
                raise
            finally:
                connection.close()

        threads = [threading.Thread(target=work, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def push() -> None:
        buffer.push([line() for _ in range(7)], received=9, counts={"rejected:bad_json": 2})

    archive.prepare()
    readings: list[Reading] = []
    with at_work(push, push, archive_all, archive_all, lambda: load.catch_up(everything=False, wait=True)):
        while len(readings) < 40 or ledger.books().loaded < 500:
            readings.append(ledger.read())
            assert not failed
    alarms = [
        (stage, bounds)
        for reading in readings
        for stage, bounds in reading.deviations.items()
        if not bounds[0] <= 0 <= bounds[1]
    ]
    assert alarms == []
    assert any(reading.deviations["load"] != (0, 0) for reading in readings)  # events moved while it was read
    archiver_and_loader()
    assert deviating() == {}


# -- Stores that are away ---------------------------------------------------------------------------------------------


@pytest.fixture
def silent_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A bucket that takes connections and never answers."""
    monkeypatch.setattr(ledger, "BUCKET_MAX_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            region_name="auto",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1}),
        )
        monkeypatch.setattr(archive, "_client", lambda alias: client)
        yield
    for thread in ledger._waiting_for_the_bucket:  # told so, now that the listener is closed
        thread.join()


@stores
def test_ledger_does_not_wait_for_a_bucket_that_hangs(silent_bucket: None) -> None:
    with pytest.raises(CommandError, match="The bucket does not answer"):
        call_command("ledger")
    with pytest.raises(ArchiveUnavailable, match="the look before"):
        ledger.read()


@stores
def test_watching_keeps_the_old_reading_where_a_store_is_away(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    fill()
    tasks.watch_books()
    before = BooksReading.objects.get().read_at
    settings.ARCHIVE_BUCKET = "no-such-bucket"
    buffer.connection().delete(buffer.turn_key("books"))  # a quarter of a minute later
    tasks.watch_books()
    assert BooksReading.objects.get().read_at == before
    assert "books not read: ArchiveUnavailable" in caplog.text


@stores
def test_watching_survives_a_redis_that_is_away(redis_away: None, caplog: pytest.LogCaptureFixture) -> None:
    tasks.watch_books()
    assert "books not read: BufferUnavailable" in caplog.text


@stores
def test_watching_is_done_once_at_a_time() -> None:
    with tasks._one_reading_at_a_time:
        tasks.watch_books()
    assert not BooksReading.objects.exists()
    tasks.watch_books()
    assert BooksReading.objects.count() == 1


# -- The command ------------------------------------------------------------------------------------------------------


def printed(*arguments: str) -> str:
    out = StringIO()
    call_command("ledger", *arguments, stdout=out)
    return out.getvalue()


@stores
def test_ledger_prints_the_names_of_the_books() -> None:
    buffer.push([line()], received=2, counts={"rejected:bad_json": 1})
    terms = json.loads(printed("--json"))
    assert list(terms) == [
        "received", "accepted", "rejected", "limited", "unavailable", "waiting", "oldest_waiting_seconds",
        "archived", "imported", "loaded", "duplicate", "quarantined", "not_yet_loaded",
    ]  # fmt: skip
    assert terms["rejected"] == {"bad_json": 1}
    assert "bad_json" in printed()
    assert "The books balance." in printed()


@stores
def test_ledger_marks_what_does_not_balance_and_since_when() -> None:
    fill()
    delete_waiting_row()
    sentence = "NOT EVEN at buffer: 1 event accepted, and neither archived nor waiting"
    assert f"{sentence} (not seen before)." in printed()
    since = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
    ledger.watch(since)
    assert f"{sentence} (since 2026-11-23 12:00:00 UTC)." in printed()


def test_ledger_says_what_to_do_where_redis_is_away(redis_away: None) -> None:
    with pytest.raises(CommandError, match="Is the portal running"):
        call_command("ledger")


# -- Carrying over ----------------------------------------------------------------------------------------------------


@stores
def test_carry_over_books_what_the_bucket_holds_beyond_counters_that_were_lost() -> None:
    fill()
    buffer.connection().flushdb()
    buffer.push([line()], received=2, counts={"limited": 1})
    assert "6 events would be carried over" in printed("--carry-over", "--dry-run")
    assert deviating() == {"load": (6, 6)}
    assert "6 events were carried over" in printed("--carry-over")
    assert deviating() == {}
    books = ledger.books()
    assert (books.received, books.accepted, books.archived, books.waiting) == (8, 7, 6, 1)
    assert "6 were carried over" in printed()
    assert "nothing to carry over" in printed("--carry-over")


@stores
def test_carry_over_does_not_hide_a_loss() -> None:
    fill()
    remove_object()
    with pytest.raises(CommandError, match="this is a loss"):
        printed("--carry-over")
    assert deviating() == {"load": (-2, -2)}


@stores
def test_carry_over_does_not_mend_what_no_lost_disk_breaks() -> None:
    fill()
    delete_counter("archived")
    with pytest.raises(CommandError, match="no lost disk does that"):
        printed("--carry-over")


@stores
def test_carry_over_waits_for_a_quiet_moment() -> None:
    fill()
    buffer.connection().flushdb()
    buffer.push([line()], received=1, counts={})
    buffer.seal_due(max_age_ms=0)
    with pytest.raises(CommandError, match="try again"):
        printed("--carry-over")


@stores
def test_quarantined_by_reason_counts_lines_and_objects() -> None:
    source = LoadedObject.objects.create(
        name="a",
        state="quarantined",
        reason="bad_gzip",
        size_bytes=1,
        etag="",
        imported=False,
        loaded_at=timezone.now(),
    )
    for number in (1, 2):
        source.quarantined_set.create(source_line=number, reason="bad_line", payload=b"")
    assert ledger.quarantined_by_reason() == [("bad_line", 2, 0), ("bad_gzip", 0, 1)]
