"""Load: what the bucket holds is in Postgres exactly once, in whatever order and grouping it was found."""

import gzip
import hashlib
import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.files.storage import storages
from django.db import connection

from analytics import ledger, load, rollups, warehouse
from analytics.load import Loaded
from analytics.models import Event, Installation, LoadedObject, LoadProgress, Quarantined, TouchedHour
from analytics.warehouse import WarehouseBusy
from ingest import archive, archiver, batches, buffer
from tests.events import NOON, line

pytestmark = pytest.mark.usefixtures("empty_stores")


def put(*lines: bytes, name: str = "a", **marks: str) -> None:
    archive.put(batches.archive_object(f"event_date=2026-11-22/hr=12/{name}.json.gz", lines, **marks))


def put_raw(name: str, body: bytes, metadata: dict[str, str]) -> None:
    writer = storages["archive"].connection.meta.client  # type: ignore[attr-defined]
    writer.put_object(Bucket=settings.ARCHIVE_BUCKET, Key=name, Body=body, Metadata=metadata)


def catch_up() -> Loaded:
    return load.catch_up(everything=True, wait=True)


def content() -> list[dict[str, Any]]:
    """Every event as loaded, without the serial numbers that depend on the order of loading."""
    columns = [field.name for field in Event._meta.fields if field.name not in ("installation", "source_object")]
    return list(Event.objects.order_by("event_id").values(*columns, "installation__user_id", "source_object__name"))


def test_load_makes_a_typed_row_of_a_line() -> None:
    user_id, event_id = uuid.uuid4(), uuid.uuid4()
    put(
        line(
            userId=str(user_id),
            eventId=str(event_id),
            timestamp="2026-11-22T11:59:59.500Z",
            duration=34700,
            options={"debug": True, "maxTokens": 5},
            hasError=True,
            errorType="FileError",
            os="linux",
            ci=True,
        )
    )
    assert catch_up() == Loaded(objects=1, rows=1)
    event = Event.objects.get()
    assert event.event_id == event_id
    assert event.occurred_at == datetime(2026, 11, 22, 11, 59, 59, 500_000, tzinfo=UTC)
    assert event.received_at == NOON
    assert event.installation is not None
    assert event.installation.user_id == user_id
    assert (event.placeholder, event.clock_is_server) == ("", False)
    assert (event.duration_ms, event.options) == (34700, {"debug": True, "maxTokens": 5})
    assert (event.has_error, event.error_type, event.os, event.ci, event.agent) == (
        True,
        "FileError",
        "linux",
        True,
        None,
    )
    assert list(TouchedHour.objects.values_list("hour", flat=True)) == [NOON - timedelta(hours=1)]


def test_load_keeps_a_placeholder_apart_from_installations() -> None:
    put(line(userId="anonymous_opt_out"))
    catch_up()
    assert Event.objects.get().placeholder == "anonymous_opt_out"
    assert not Installation.objects.exists()


def test_load_again_changes_nothing() -> None:
    put(line(), line())
    catch_up()
    before = content()
    assert catch_up() == Loaded()
    assert content() == before


def test_load_writes_the_ledger() -> None:
    put(line(), line(), line(), name="a")
    put(line(), name="b", origin="simulate")
    catch_up()
    ours, imported = LoadedObject.objects.order_by("name")
    assert (ours.state, ours.rows, ours.loaded_rows, ours.imported) == ("loaded", 3, 3, False)
    assert (imported.rows, imported.loaded_rows, imported.imported) == (1, 1, True)
    listed = {item.name: item for item in archive.listing()}
    assert (ours.size_bytes, ours.etag) == (listed[ours.name].size_bytes, listed[ours.name].etag)


def test_load_counts_a_second_copy_as_duplicate() -> None:
    put(line(eventId=str(uuid.UUID(int=1))), line(eventId=str(uuid.UUID(int=1))), name="a")
    put(line(eventId=str(uuid.UUID(int=1))), name="b")
    assert catch_up() == Loaded(objects=2, rows=1, duplicates=2)
    assert Event.objects.count() == 1


def test_load_in_any_order_and_grouping_gives_the_same_database() -> None:
    """A resend days later, with another time of arrival and another clock, is the same event."""
    ids = [str(uuid.UUID(int=number)) for number in range(3)]
    copies = {
        name: [
            line(NOON + timedelta(minutes=late), eventId=event_id, userId=ids[0], sessionId=ids[1], duration=late)
            for event_id in ids
        ]
        for name, late in (("a", 30), ("b", 0), ("c", 0), ("d", 90))
    }
    results = []
    for order in itertools.permutations(copies):
        for model in (Event, LoadedObject, Installation):
            model.objects.all().delete()
        for name in order:
            put(*copies[name], name=name)
            catch_up()
        books = list(LoadedObject.objects.order_by("name").values("name", "loaded_rows", "duplicate_rows"))
        results.append((content(), books))
        for listed in archive.listing():
            storages["archive"].delete(listed.name)
    assert all(result == results[0] for result in results)
    assert {event["duration_ms"] for event in results[0][0]} == {0}


def test_load_touches_the_hours_of_both_copies_where_an_earlier_one_comes_late() -> None:
    event_id = str(uuid.uuid4())
    put(line(eventId=event_id, timestamp="2026-11-22T11:00:00Z"), name="a")
    catch_up()
    TouchedHour.objects.all().delete()
    put(line(NOON - timedelta(minutes=1), eventId=event_id, timestamp="2026-11-22T10:00:00Z"), name="b")
    catch_up()
    assert set(TouchedHour.objects.values_list("hour", flat=True)) == {
        NOON - timedelta(hours=1),
        NOON - timedelta(hours=2),
    }


@pytest.mark.parametrize("broken", [b"not json", b"{}", b'{"eventName":"\\u0000"}', b"\xff"])
def test_load_keeps_a_broken_line_aside_and_loads_the_others(broken: bytes) -> None:
    text = line() + b"\n" + broken + b"\n" + line() + b"\n"
    put_raw("x.json.gz", gzip.compress(text), {"rows": "3", "sha256": hashlib.sha256(text).hexdigest()})
    assert catch_up() == Loaded(objects=1, rows=2, quarantined=1)
    kept = Quarantined.objects.get()
    assert (kept.source_line, kept.reason, bytes(kept.payload)) == (2, "bad_line", broken)
    assert catch_up() == Loaded()


@pytest.mark.parametrize(
    ("body", "digest", "reason"),
    [
        (b"not gzip", "0", "bad_gzip"),
        (gzip.compress(b"{}\n" * 3)[:-9], "0", "bad_gzip"),
        (gzip.compress(b"{}\n" * 3), "0", "bad_digest"),
    ],
)
def test_load_keeps_a_broken_object_aside_and_loads_the_others(body: bytes, digest: str, reason: str) -> None:
    put_raw("x.json.gz", body, {"rows": "3", "sha256": digest})
    put(line())
    assert catch_up() == Loaded(objects=2, rows=1, quarantined=3)
    broken = LoadedObject.objects.get(name="x.json.gz")
    assert (broken.state, broken.reason, broken.quarantined_rows) == ("quarantined", reason, 3)


def test_load_leaves_objects_of_others_alone() -> None:
    put_raw("event_date=2026-01-01/hr=00/x.json.gz", gzip.compress(line()), {})
    assert catch_up() == Loaded(objects=1, foreign_objects=1)
    assert not Event.objects.exists()
    assert catch_up() == Loaded()


def test_load_finds_an_object_that_was_put_late_under_an_older_name() -> None:
    """The bucket was away for an hour: the batch keeps the name of its first row, older than what came since."""
    buffer.push([line()], received=1, counts={})
    buffer.seal_due(max_age_ms=0)
    (late,) = buffer.sealed()
    hour_later = datetime.fromtimestamp(late.first_ms / 1000, UTC) + timedelta(hours=1)
    archive.put(batches.archive_object(batches.object_name(int(hour_later.timestamp() * 1000), "x"), [line()]))
    assert load.catch_up(everything=False, wait=True).rows == 1
    archiver.archive_due()
    assert load.catch_up(everything=False, wait=True).rows == 1


def test_load_lists_no_more_than_what_can_be_new() -> None:
    put(line(), name="a")
    load.catch_up(everything=False, wait=True)
    assert LoadProgress.objects.get().relist_from == batches.hour_prefix(datetime.now(UTC))
    put(line(), name="b")
    assert load.catch_up(everything=False, wait=True) == Loaded()
    assert load.catch_up(everything=True, wait=True).rows == 1


def test_load_works_without_redis(redis_away: None) -> None:
    put(line())
    assert load.catch_up(everything=False, wait=True).rows == 1


def test_not_yet_loaded_counts_this_portals_rows_only() -> None:
    put(line(), line(), name="a")
    put(line(), name="b", origin="simulate")
    put_raw("x.json.gz", b"", {})
    assert ledger.books().not_yet_loaded == 2
    catch_up()
    assert ledger.books().not_yet_loaded == 0


@pytest.mark.django_db(transaction=True)
def test_load_leaves_the_warehouse_to_another_loader(empty_buffer: None, empty_bucket: None) -> None:
    put(line())
    with psycopg.connect(settings.DATABASE_URL, dbname=connection.settings_dict["NAME"]) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [warehouse._LOCK])
        with pytest.raises(WarehouseBusy):
            load.catch_up(everything=True, wait=False)
        TouchedHour.objects.create(hour=NOON)
        with pytest.raises(WarehouseBusy):
            rollups.refresh(wait=False)
    assert load.catch_up(everything=True, wait=False).rows == 1
