"""Load: what the bucket holds is in Postgres exactly once, in whatever order and grouping it was found."""

import gzip
import itertools
import json
import random
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from analytics import ledger, lines, load, objects, replay, rollups, verify, warehouse
from analytics.load import Loaded
from analytics.models import Event, Installation, LoadedObject, LoadProgress, Quarantined, TouchedHour
from analytics.warehouse import WarehouseBusy
from ingest import archive, archiver, batches, buffer
from ingest.archive import ArchiveUnavailable, Fetched
from tests.analytics import bucket
from tests.analytics.bucket import put, put_raw, put_text
from tests.events import NOON, line

pytestmark = pytest.mark.usefixtures("empty_stores")


def catch_up() -> Loaded:
    return load.catch_up(everything=True, wait=True)


def test_load_waits_for_what_the_archiver_may_write_again() -> None:
    whole = batches.archive_object(batches.object_name(buffer.now_ms()), [line()])
    put_raw(whole.name, whole.body[:20], whole.metadata)  # a put that was cut short
    assert catch_up().delayed_objects == 1
    assert not LoadedObject.objects.exists()
    put_raw(whole.name, whole.body, whole.metadata)
    assert catch_up() == Loaded(objects=1, rows=1)


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
    before = bucket.events()
    assert catch_up() == Loaded()
    assert bucket.events() == before


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
        for name, late in (("a", 30), ("b", 0), ("c", 0))
    }
    results = []
    for order in itertools.permutations(copies):
        bucket.empty_warehouse()
        for name in order:
            put(*copies[name], name=name)
            catch_up()
        books = list(LoadedObject.objects.order_by("name").values("name", "loaded_rows", "duplicate_rows"))
        results.append((bucket.events(), books))
        for listed in archive.listing():
            bucket.remove(listed.name)
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


# What random copies are made of: few events, so that copies meet; few hours, so that rollups do.
_IDS = [str(uuid.UUID(int=number)) for number in range(1, 13)]


def random_lines(dice: random.Random) -> list[bytes]:
    """Copies of a dozen events, received at other times, by other clocks, with other words; and two broken lines."""
    copies = []
    for event_id in _IDS:
        for _ in range(dice.randint(1, 4)):
            received_at = NOON + timedelta(minutes=dice.choice((0, 0, 30, 90, 3 * 1440)))
            clock = dice.choice((received_at, received_at - timedelta(hours=2), NOON + timedelta(days=4000)))
            words = {
                "userId": dice.choice(_IDS),
                "duration": dice.randrange(9),
                "command": dice.choice(("repo", "ask")),
            }
            copies.append(line(received_at, eventId=event_id, timestamp=clock.isoformat(), sessionId=_IDS[0], **words))
    copies += [b"not json", copies[0].replace(b'"duration":', b'"duration":-1')]
    dice.shuffle(copies)
    return copies


class _Killed(Exception):
    pass


def load_somehow(dice: random.Random) -> None:
    """Load what is there in transactions of some size, killed between two of them now and then."""

    def perhaps_die(seen: Loaded) -> None:
        if dice.random() < 0.3:
            raise _Killed

    load.OBJECTS_AT_ONCE = dice.randint(1, 4)
    while True:
        try:
            load.catch_up(everything=dice.random() < 0.5, wait=True, progress=perhaps_die)
            break
        except _Killed:
            continue


@pytest.mark.parametrize("seed", range(6))
def test_load_of_random_copies_gives_one_database_however_they_come(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "OBJECTS_AT_ONCE", load.OBJECTS_AT_ONCE)  # put back afterwards
    dice = random.Random(seed)
    copies = random_lines(dice)
    cuts = [0, *sorted(dice.sample(range(1, len(copies)), 7)), len(copies)]
    groups = {f"{index}": copies[begin:end] for index, (begin, end) in enumerate(itertools.pairwise(cuts))}
    for name, group in groups.items():
        put_text(*group, name=name)
    catch_up()
    at_once = bucket.warehouse()
    assert len(at_once["events"]) == len(_IDS)
    assert len(at_once["quarantine"]) == 2

    for _ in range(3):
        bucket.empty_warehouse()
        for listed in archive.listing():
            bucket.remove(listed.name)
        for name in dice.sample(sorted(groups), len(groups)):
            put_text(*groups[name], name=name)
            if dice.random() < 0.5:
                load_somehow(dice)
            if dice.random() < 0.3:
                rollups.refresh()
        catch_up()
        bucket.assert_books_balance()
        assert bucket.warehouse() == at_once


def without(*names: str) -> dict[str, Any]:
    archived = json.loads(line(eventId=_IDS[0]))
    return {name: value for name, value in archived.items() if name not in names}


def change(**changes: Any) -> dict[str, Any]:
    return without() | changes


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"not json", "bad_json"),
        (b"", "bad_json"),
        (b"\xff", "bad_json"),
        (b'{"duration": NaN}', "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b"[]", "bad_type data"),
        (b"{}", "missing_field receivedAt"),
        (without("receivedAt"), "missing_field receivedAt"),
        (change(receivedAt="yesterday"), "bad_value receivedAt"),
        (change(receivedAt="9999-12-31T23:59:59-01:00"), "bad_value receivedAt"),
        (change(timestamp="9999-12-31T23:59:59-01:00"), "bad_value timestamp"),
        (change(timestamp=5), "bad_type timestamp"),
        (change(clock="client"), "bad_value clock"),
        (change(duration=-1), "bad_value duration"),
        (change(duration="long"), "bad_type duration"),
        (change(eventId="7"), "bad_value eventId"),
        (without("sessionId"), "missing_field sessionId"),
        (change(eventName="\0"), "unknown_event eventName"),
    ],
)
def test_load_keeps_a_broken_line_aside_and_loads_the_others(broken: bytes | dict[str, Any], reason: str) -> None:
    payload = broken if isinstance(broken, bytes) else json.dumps(broken).encode()
    put_text(line(), payload, line())
    assert catch_up() == Loaded(objects=1, rows=2, quarantined=1)
    kept = Quarantined.objects.get()
    assert (kept.source_line, kept.reason, bytes(kept.payload)) == (2, reason, payload)
    bucket.assert_books_balance()
    assert catch_up() == Loaded()


def test_load_folds_what_a_stricter_contract_refuses_and_keeps_the_event() -> None:
    """Such lines were archived under a contract that took their words."""
    late = NOON - timedelta(days=400)
    put_text(
        json.dumps(
            change(model="a model of ours", options={"query": "who", "saveTo": "/home/x"}, note="mine")
        ).encode(),
        json.dumps(change(eventId=_IDS[1], agent="/usr/bin/agent", clock="server")).encode(),
        json.dumps(change(eventId=_IDS[2], userId="alice@example.com", timestamp=late.isoformat())).encode(),
    )
    assert catch_up() == Loaded(objects=1, rows=3)
    folded, marked, hashed = Event.objects.select_related("installation").order_by("event_id")
    assert (folded.model, folded.options, folded.clock_is_server) == ("other", {"saveTo": True}, False)
    assert (folded.received_at, str(folded.event_id)) == (NOON, _IDS[0])
    assert (marked.agent, marked.clock_is_server, marked.received_at) == ("other", True, NOON)
    assert hashed.installation is not None
    assert hashed.installation.user_id.version == 5
    assert (hashed.occurred_at, hashed.clock_is_server) == (late, False), "what was settled at arrival stays"


def test_load_gives_a_line_without_an_id_the_same_one_each_time() -> None:
    put_text(json.dumps(without("eventId")).encode())
    catch_up()
    (once,) = bucket.events()
    bucket.empty_warehouse()
    catch_up()
    assert bucket.events() == [once]


@pytest.mark.parametrize(
    ("body", "digest", "reason"),
    [
        (b"not gzip", "0", "bad_gzip"),
        (gzip.compress(b"{}\n" * 3, mtime=0)[:-9], "0", "bad_gzip"),
        (gzip.compress(b"{}\n" * 3, mtime=0), "0", "bad_digest"),
    ],
)
def test_load_keeps_a_broken_object_aside_and_loads_the_others(body: bytes, digest: str, reason: str) -> None:
    put_raw("x.json.gz", body, {"rows": "3", "sha256": digest})
    put(line())
    assert catch_up() == Loaded(objects=2, rows=1, quarantined=3)
    broken = LoadedObject.objects.get(name="x.json.gz")
    assert (broken.state, broken.reason, broken.quarantined_rows) == ("quarantined", reason, 3)


def test_load_survives_an_object_without_rows() -> None:
    put_text()
    assert catch_up() == Loaded(objects=1)
    bucket.assert_books_balance()


def test_load_does_not_fetch_what_does_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "OBJECT_MAX_BYTES", 1000)
    big = put(*(line() for _ in range(30)))
    put_raw("backup.tar", b"x" * 1001)
    put(line(), name="small")
    assert catch_up() == Loaded(objects=3, rows=1, quarantined=30, foreign_objects=1)
    source = LoadedObject.objects.get(name=big)
    assert (source.state, source.reason, source.rows) == ("quarantined", "too_large", 30)


def test_load_does_not_unpack_what_does_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "OBJECT_MAX_BYTES", 4000)
    put_text(b" " * 4001)
    assert catch_up() == Loaded(objects=1, quarantined=1)
    assert LoadedObject.objects.get().reason == "too_large"


def of_length(length: int) -> bytes:
    """A line of so many bytes."""
    return line().removesuffix(b"}").ljust(length - 1) + b"}"


def test_load_keeps_the_beginning_of_a_line_that_is_too_long() -> None:
    """One line more in quarantine, whatever follows; a replay says the same, and the object has it whole."""
    too_long = of_length(2 * lines.LINE_MAX_BYTES)
    put_text(of_length(lines.LINE_MAX_BYTES), too_long, line())
    assert catch_up() == Loaded(objects=1, rows=2, quarantined=1)
    kept = Quarantined.objects.get()
    assert (kept.source_line, kept.reason) == (2, "too_long")
    assert bytes(kept.payload) == too_long[: lines.LINE_MAX_BYTES + 1]
    assert replay.replay().lines_left == 1
    assert Quarantined.objects.get().reason == "too_long"
    bucket.assert_books_balance()


def test_load_keeps_an_object_aside_that_is_no_list_of_events() -> None:
    """It would be as many lines in quarantine."""
    put_text(*([b"a;b;c"] * 1001), name="table")
    put_text(*([b"a;b;c"] * 950), *(line() for _ in range(150)), name="mixed")
    assert catch_up() == Loaded(objects=2, rows=150, quarantined=950 + 1001)
    source = LoadedObject.objects.get(state="quarantined")
    assert (source.name, source.reason, source.rows) == (f"{bucket.HOUR}table.json.gz", "not_ndjson", 1001)


@pytest.mark.django_db(transaction=True)
def test_load_keeps_aside_what_verify_finds_no_fault_with() -> None:
    put_text(*([b"a;b;c"] * 1001), name="table")
    put_text(line(), of_length(2 * lines.LINE_MAX_BYTES), line(), name="long")
    catch_up()
    assert not verify.verify(verify.deep).faults.listed()


def test_load_keeps_an_object_aside_of_more_lines_than_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "OBJECT_MAX_LINES", 3)
    put_text(b"{}", b"{}", b"{}", b"{}", name="a")
    put_text(line(), line(), line(), name="b")
    assert catch_up() == Loaded(objects=2, rows=3, quarantined=4)
    assert LoadedObject.objects.get(state="quarantined").reason == "too_large"


def test_load_is_not_stopped_by_what_nobody_foresaw_in_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The line is put aside, and loaded when the code is mended."""
    make_row = lines._row

    def row_but_one(archived: Any) -> lines.Row:
        if archived.duration_ms == 7:
            raise ZeroDivisionError("duration 7")
        return make_row(archived)

    put_text(line(), line(duration=7), line(), name="a")
    with monkeypatch.context() as patch:
        patch.setattr(lines, "_row", row_but_one)
        assert catch_up() == Loaded(objects=1, rows=2, quarantined=1)
    assert Quarantined.objects.get().reason == "ZeroDivisionError"
    assert f"unforeseen ZeroDivisionError in line 2 of '{bucket.HOUR}a.json.gz'" in caplog.text
    assert "duration 7" not in caplog.text
    assert replay.replay().rows == 1


# What Postgres, or the way there, does not take: a column's name, and what is in it.
_REFUSED = [
    ("duration_ms", 2**63, "DataError"),
    ("command", "nul\0", "DataError"),
    ("command", "\ud800", "UnicodeEncodeError"),
    ("tool_version", None, "IntegrityError"),
]


@pytest.mark.parametrize(("column", "value", "reason"), _REFUSED)
def test_load_is_not_stopped_by_what_postgres_refuses(
    column: str, value: Any, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its object is put aside as a whole, and loaded when the code is mended."""
    make_row = lines._row

    def row_but_one(archived: Any) -> lines.Row:
        row = make_row(archived)
        if archived.duration_ms == 7:
            row[lines.COLUMNS.index(column)] = value
        return row

    put_text(line(), b"not json", name="a")
    put_text(line(), line(duration=7), b"not json", name="b")
    put(line(), line(), name="c")
    with monkeypatch.context() as patch:
        patch.setattr(lines, "_row", row_but_one)
        assert catch_up() == Loaded(objects=3, rows=3, quarantined=4)
        assert catch_up() == Loaded()
        assert replay.replay().objects_left == 1
    source = LoadedObject.objects.get(state="quarantined")
    assert (source.name, source.reason, source.rows) == (f"{bucket.HOUR}b.json.gz", reason, 3)
    assert f"Postgres refuses rows of '{source.name}': {reason}" in caplog.text
    bucket.assert_books_balance()
    assert replay.replay().rows == 2
    bucket.assert_books_balance()


def test_load_takes_some_lines_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many objects of however few bytes they are in."""
    monkeypatch.setattr(load, "LINES_AT_ONCE", 3)
    for name in "abcde":
        put(line(), line(), name=name)
    rows_then: list[int] = []
    loaded = load.catch_up(everything=True, wait=True, progress=lambda seen: rows_then.append(seen.rows))
    assert loaded == Loaded(objects=5, rows=10)
    assert rows_then == [4, 8, 10]


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchKey"])
def test_load_leaves_what_is_never_given_out_to_the_looks_at_the_whole_bucket(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The books say what is missing, and verify which object."""
    stuck = batches.object_name(buffer.now_ms() - 7_200_000, "stuck")
    archive.put(batches.archive_object(stuck, [line()]))
    buffer.add_counts(dict.fromkeys(("received", "accepted", "archived"), 1), {}, token="stuck")
    asked: list[str] = []

    def refuse(name: str) -> Fetched:
        asked.append(name)
        raise ArchiveUnavailable(code)

    with monkeypatch.context() as patch:
        patch.setattr(archive, "get", refuse)
        load.catch_up(everything=False, wait=True)
        assert ledger.read().deviations[ledger.LOAD] == (0, 0), "it may be given out yet"
        patch.setattr(load, "ASKED_FOR", timedelta(0))
        load.catch_up(everything=False, wait=True)
        assert LoadProgress.objects.get().relist_from > stuck
        load.catch_up(everything=False, wait=True)
        assert asked == [stuck] * 2
        assert ledger.read().deviations[ledger.LOAD] == (-1, -1)
    assert catch_up().rows == 1
    assert ledger.read().deviations[ledger.LOAD] == (0, 0)


def test_load_tells_once_of_an_object_that_cannot_be_fetched(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = put(line(), name=str(uuid.uuid4()))
    answers = iter(["SlowDown", "SlowDown", "AccessDenied"])

    def refuse(name: str) -> Fetched:
        raise ArchiveUnavailable(next(answers))

    monkeypatch.setattr(archive, "get", refuse)
    assert [catch_up().delayed_objects for _ in range(3)] == [1, 1, 1]
    told = [record.getMessage() for record in caplog.records if record.name == "analytics.objects"]
    assert told == [f"load delayed: {name!r} SlowDown", f"load delayed: {name!r} AccessDenied"]


@pytest.mark.parametrize("rows", ["²", "-1", "1e3", "99999999999", ""])
def test_load_takes_an_object_with_odd_metadata_for_one_of_others(rows: str) -> None:
    assert not objects.is_ours({"sha256": "0", "rows": rows})


def test_load_lists_again_what_could_not_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more than that, however long it lasts."""
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    stuck = batches.object_name(int(hour_ago.timestamp() * 1000), "stuck")
    archive.put(batches.archive_object(stuck, [line()]))
    fetch = archive.get

    def fetch_others(name: str) -> Fetched:
        if name == stuck:
            raise ArchiveUnavailable("SlowDown")
        return fetch(name)

    put(line(), name="old")
    with monkeypatch.context() as patch:
        patch.setattr(archive, "get", fetch_others)
        for _ in range(2):
            loaded = load.catch_up(everything=False, wait=True)
            assert loaded.delayed_objects == 1
            assert LoadProgress.objects.get().relist_from == stuck[:-1]
    assert Event.objects.count() == 1
    assert load.catch_up(everything=False, wait=True).rows == 1
    assert LoadProgress.objects.get().relist_from > stuck


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


def test_load_finds_what_a_redis_with_a_slower_clock_named() -> None:
    """It took the place of one whose clock was ahead; a batch of it was archived before the next look."""
    load.catch_up(everything=False, wait=True)
    archive.put(batches.archive_object(batches.object_name(buffer.now_ms() - 50_000, "x"), [line()]))
    assert load.catch_up(everything=False, wait=True).rows == 1


def test_load_lists_no_more_than_what_can_be_new() -> None:
    put(line(), name="a")
    load.catch_up(everything=False, wait=True)
    begin, end = (batches.object_name(buffer.now_ms() - ago_ms) for ago_ms in (120_000, 60_000))
    assert begin < LoadProgress.objects.get().relist_from < end
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
        other.execute(warehouse.LOCK)
        with pytest.raises(WarehouseBusy):
            load.catch_up(everything=True, wait=False)
        TouchedHour.objects.create(hour=NOON)
        with pytest.raises(WarehouseBusy):
            rollups.refresh(wait=False)
    assert load.catch_up(everything=True, wait=False).rows == 1


@pytest.mark.django_db(transaction=True)
def test_load_by_several_at_once_is_as_by_one(empty_buffer: None, empty_bucket: None) -> None:
    for number in range(6):
        put(line(), line(eventId=_IDS[0]), name=f"{number}")

    def look() -> Loaded:
        try:
            return catch_up()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        looks = [pool.submit(look) for _ in range(4)]
        found = [look.result() for look in looks]
    assert sum(loaded.objects for loaded in found) == 6
    assert Event.objects.count() == 7
    bucket.assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_load_of_random_copies_by_several_at_once_is_as_by_one(empty_buffer: None, empty_bucket: None) -> None:
    """Each with its rollups, while copies of the same events still come."""
    copies = random_lines(random.Random(1))
    several = 3

    def put_and_look(share: int) -> None:
        try:
            for number, copy in enumerate(copies[share::several]):
                put_text(copy, name=f"{number % 4}-{share}-{number}")
                catch_up()
                rollups.refresh()
        finally:
            connection.close()

    with ThreadPoolExecutor(several) as pool:
        for look in [pool.submit(put_and_look, share) for share in range(several)]:
            look.result()
    bucket.assert_books_balance()
    by_several = bucket.warehouse()
    bucket.empty_warehouse()
    catch_up()
    assert by_several == bucket.warehouse()


@pytest.mark.parametrize("when", ["before", "after"])
def test_load_stopped_before_or_after_the_events_has_written_nothing(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_text(line(), b"not json")

    def die(*args: Any) -> int:
        if when == "after":
            written(*args)
        raise _Killed

    written = load.write
    with monkeypatch.context() as patch:
        patch.setattr(load, "write", die)
        with pytest.raises(_Killed):
            catch_up()
    for model in (Event, LoadedObject, Quarantined, TouchedHour, Installation):
        assert not model.objects.exists()
    assert catch_up() == Loaded(objects=1, rows=1, quarantined=1)


def test_load_of_new_objects_lists_no_archives_of_others() -> None:
    """History of newer sinks sorts after every name of ours: each look would list all of it again."""
    put(line())
    load.catch_up(everything=False, wait=True)
    put_raw("telemetry/year=2026/month=11/day=22/a.json", line(), {})
    assert load.catch_up(everything=False, wait=True) == Loaded()
    assert load.catch_up(everything=True, wait=True).foreign_objects == 1


@pytest.mark.parametrize("depth", range(100, 1100, 25))
def test_load_quarantines_a_line_however_deep_it_is(depth: int) -> None:
    text = line().removesuffix(b"}") + b',"note":' + b"[" * depth + b"]" * depth + b"}"
    rows, broken = lines.rows(LoadedObject(), [(1, text)])
    assert len(rows) + len(broken) == 1


def test_load_finds_what_came_while_redis_had_its_clock_set_back() -> None:
    """Its stream goes on where it was: in the future, by the clock of now. What comes later is found, too."""
    ahead_ms = buffer.now_ms() + 3_600_000
    buffer.connection().xadd(buffer.STREAM, {"line": line()}, id=f"{ahead_ms}-0")
    buffer.connection().hincrby(buffer.COUNTERS, "received", 1)
    buffer.connection().hincrby(buffer.COUNTERS, "accepted", 1)
    for number in range(1, 4):
        buffer.push([line()], received=1, counts={})
        assert archiver.archive_due() == (2 if number == 1 else 1)  # at once: a negative age is no age to wait for
        assert load.catch_up(everything=False, wait=True).objects == 1
        assert ledger.books().loaded == number + 1
    assert all(low == high == 0 for low, high in ledger.read().deviations.values())


def test_load_finds_what_came_after_redis_had_its_clock_set_forward() -> None:
    """What waited is due at once, and what comes is an hour ahead, until the clock is right again."""
    behind_ms = buffer.now_ms() - 3_600_000
    buffer.connection().xadd(buffer.STREAM, {"line": line()}, id=f"{behind_ms}-0")
    buffer.connection().hincrby(buffer.COUNTERS, "received", 1)
    buffer.connection().hincrby(buffer.COUNTERS, "accepted", 1)
    load.catch_up(everything=False, wait=True)  # has looked while it waited
    buffer.push([line()], received=1, counts={})
    assert archiver.archive_due() == 2
    assert load.catch_up(everything=False, wait=True).rows == 2
    assert all(low == high == 0 for low, high in ledger.read().deviations.values())


@pytest.mark.parametrize("field", ["timestamp", "receivedAt"])
@pytest.mark.parametrize("moment", ["2026-11-22T12:00:00+23:59", "\\ud800"], ids=["zone", "surrogate"])
def test_load_is_not_stopped_by_one_odd_time(field: str, moment: str) -> None:
    """Nobody's check writes such a line; it must not hold up the others for ever."""
    odd = re.sub(rf'"{field}":"[^"]*"'.encode(), f'"{field}":"{moment}"'.encode().replace(b"\\", b"\\\\"), line())
    put_text(odd, line())
    loaded = catch_up()
    assert loaded.rows + loaded.quarantined == 2
    assert loaded.rows >= 1


def test_load_looks_everywhere_once_redis_had_its_clock_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look made while the clock was ahead would leave out what comes when it is right again."""
    now_ms = buffer.now_ms
    monkeypatch.setattr(buffer, "now_ms", lambda: now_ms() + 3_600_000)
    load.catch_up(everything=False, wait=True)
    monkeypatch.undo()
    archive.put(batches.archive_object(batches.object_name(now_ms() - 600_000, "between"), [line()]))
    assert load.catch_up(everything=False, wait=True).rows == 1


def test_load_keeps_listed_options_only() -> None:
    """Also of a line that no check wrote."""
    put_text(line().replace(b'"options":{}', b'"options":{"debug":true,"query":"alice","reasoningEffort":"secret"}'))
    assert catch_up().rows == 1
    assert Event.objects.get().options == {"debug": True, "reasoningEffort": True}
