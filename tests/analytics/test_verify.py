"""Verify: what is normal is no fault; each fault, planted in one store alone, is found, named rightly, and alone."""

import json
import os
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from io import StringIO

import numpy as np
import pytest
import zstandard
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings
from vibetel_client import contract

from analytics import combinations, evidence, history, load, packing, prune, rollups, runs, tasks, usage, verify
from analytics.combinations import Combinations
from analytics.examine import Entry
from analytics.models import (
    DailyCombinations,
    DailyRollup,
    Event,
    HourlyRollup,
    Installation,
    LoadedObject,
    TouchedHour,
    Value,
    Verification,
)
from analytics.rollups import CombinationsRow
from analytics.runs import Runs
from analytics.verify import Look, Report
from ingest import archive, batches, buffer
from ingest.archive import ArchiveUnavailable, Fetched
from tests.analytics import bucket, planted_faults
from tests.analytics.planted_faults import Planted
from tests.events import NOON, line
from vibetel.celery import app

pytestmark = [
    pytest.mark.django_db(transaction=True),  # a snapshot is a transaction of its own
    pytest.mark.usefixtures("empty_buffer", "empty_bucket"),
]

SEED = int(os.environ.get("VERIFY_SEED", "1"))
OBJECTS = int(os.environ.get("VERIFY_OBJECTS", "300"))
COUNT = int(os.environ.get("VERIFY_FAULTS", "110"))

# What only reading every object tells: rows and metadata of which nothing but their content is wrong.
DEEP_ONLY = {
    *("metadata_digest_altered", "metadata_time_altered", "installation_altered"),
    *("row_options_altered", "row_session_altered", "row_received_earlier", "row_received_later", "row_clock_altered"),
    *("row_placeholder_added", "row_id_altered", "row_line_altered"),
    *("kept_line_altered", "kept_line_reason_altered", "kept_line_moved"),
}


def found(report: Report) -> set[Planted]:
    return {Planted(fault.kind.value, fault.name) for fault in report.faults.listed()}


def in_two_hours(reach: verify.Reach = verify.deep) -> Report:
    """What the ledger does not know by then has been left behind."""
    return verify.verify(reach, now=timezone.now() + timedelta(hours=2))


def put(*lines: bytes, name: str = "a", **marks: str) -> None:
    archive.put(batches.archive_object(f"event_date=2026-11-22/hr=12/{name}.json.gz", lines, **marks))


def load_all() -> None:
    load.catch_up(everything=True, wait=True)
    rollups.refresh()


def test_verify_finds_seeded_faults_and_nothing_else() -> None:
    """Long as `make verify-faults`. Before: no fault, however closely it looks."""
    dice = random.Random(SEED)
    started = time.monotonic()
    planted_faults.fill(dice, OBJECTS)
    filled = time.monotonic()
    for reach in (verify.shallow, verify.deep, verify.slice_of(timezone.now())):
        report = in_two_hours(reach)
        assert found(report) == set()
    clean = time.monotonic()
    assert report.quarantined_lines > 0 < report.quarantined_objects
    planted = set(planted_faults.plant(dice, COUNT))
    assert len(planted) == COUNT
    began = time.monotonic()
    report = in_two_hours()
    took = time.monotonic() - began
    missed = sorted((fault.kind, fault.name, fault.what) for fault in planted - found(report))
    false = sorted((fault.kind, fault.name) for fault in found(report) - planted)
    details = {(fault.kind.value, fault.name): fault.detail for fault in report.faults.listed()}
    print(  # noqa: T201 - the figures of make verify-faults
        f"\nseed {SEED}: {report.objects_count:,} objects, {report.events_count:,} events, filled in "
        f"{filled - started:.0f} s, clean three times in {clean - filled:.0f} s; {len(planted)} faults of "
        f"{len({fault.what for fault in planted})} sorts: {len(planted) - len(missed)} found, {len(missed)} missed, "
        f"{len(false)} false alarms, in {took:.1f} s"
    )
    shallow = found(in_two_hours(verify.shallow))
    assert not missed, (f"VERIFY_SEED={SEED}", missed, [(key, details[key]) for key in false])
    assert not false, [(key, details[key]) for key in false]
    assert shallow <= planted, shallow - planted
    assert {fault.what for fault in planted - shallow} <= DEEP_ONLY


def test_verify_leaves_alone_what_is_on_its_way_for_an_hour() -> None:
    put(line())
    report = verify.verify(verify.deep)
    assert (report.waiting_objects, found(report)) == (1, set())
    assert found(in_two_hours()) == {Planted("left_behind_object", "event_date=2026-11-22/hr=12/a.json.gz")}


def test_verify_leaves_alone_hours_that_are_about_to_be_recomputed() -> None:
    put(line())
    load.catch_up(everything=True, wait=True)
    report = verify.verify(verify.deep)
    assert (report.waiting_hours, found(report)) == (1, set())
    TouchedHour.objects.all().delete()
    assert {fault.kind for fault in found(verify.verify(verify.deep))} == {"wrong_hour", "wrong_day"}


def test_verify_sees_the_moment_it_began_in() -> None:
    """Objects that come and are loaded while it looks, before and after the name it is at."""
    for name in "bdf":
        put(line(), line(), name=name)
    load_all()

    def look(entry: Entry) -> Look:
        if entry.name.endswith("d.json.gz"):
            for name in "ace":
                put(line(), name=name)
            loader = threading.Thread(target=_load_and_leave)
            loader.start()
            loader.join()
        return Look.READ

    report = verify.verify(look)
    assert (report.objects_count, report.events_count, found(report)) == (3, 6, set())
    assert LoadedObject.objects.count() == 6


def _load_and_leave() -> None:
    load_all()
    connection.close()


def test_verify_reads_only() -> None:
    put(line())
    load_all()
    seen = []

    def look(entry: Entry) -> Look:
        with connection.cursor() as cursor:
            for name in ("transaction_read_only", "transaction_isolation"):
                cursor.execute(f"SHOW {name}")
                seen.extend(cursor.fetchone())
        return Look.READ

    before = list(archive.listing())
    verify.verify(look)
    assert seen == ["on", "repeatable read"]
    assert list(archive.listing()) == before


def test_verify_leaves_a_record() -> None:
    put(line(), line())
    load_all()
    Event.objects.filter(source_line=2).delete()
    verify.verify(verify.deep)
    record = Verification.objects.get()
    assert (record.deep, record.objects_count, record.events_count, record.faults_count) == (True, 1, 1, 1)
    assert record.finished_at is not None
    assert record.finished_at >= record.started_at
    (fault,) = record.faults
    assert set(fault) == {"kind", "name", "detail", "advice"}
    assert fault["kind"] == "missing_row"


def test_verify_finds_a_copy_that_has_been_loaded() -> None:
    put(line(), name="b")
    load_all()
    original = archive.get("event_date=2026-11-22/hr=12/b.json.gz")
    planted_faults.put("event_date=2026-11-22/hr=12/c.json.gz", original.body, original.metadata)
    load_all()
    assert found(verify.verify(verify.shallow)) == {Planted("doubled_object", "event_date=2026-11-22/hr=12/c.json.gz")}


def test_verify_finds_a_renamed_object_that_has_been_loaded_again() -> None:
    put(line(), name="b")
    load_all()
    original = archive.get("event_date=2026-11-22/hr=12/b.json.gz")
    planted_faults.put("event_date=2026-11-22/hr=12/c.json.gz", original.body, original.metadata)
    planted_faults.remove(original.name)
    load_all()
    assert found(verify.verify(verify.shallow)) == {Planted("renamed_object", original.name)}


def test_verify_forgets_a_foreign_object_that_was_taken_away() -> None:
    planted_faults.put("notes.txt", b"notes", {})
    load_all()
    assert found(verify.verify(verify.shallow)) == {Planted("foreign_object", "notes.txt")}
    planted_faults.remove("notes.txt")
    assert found(verify.verify(verify.shallow)) == set()


def test_verify_bears_a_bucket_that_lists_in_another_order() -> None:
    """SeaweedFS lists a folder whole; S3 sorts names by their bytes, and `-` before `/`."""
    for name in ("a/x.json.gz", "a-b/x.json.gz", "a.json.gz", "a/é.json.gz", "a/z.json.gz"):
        archive.put(batches.archive_object(name, [line()]))
    load_all()
    report = in_two_hours()
    assert (report.objects_count, report.read_count, found(report)) == (5, 5, set())


def test_verify_names_an_object_that_the_bucket_does_not_give_out(monkeypatch: pytest.MonkeyPatch) -> None:
    put(line(), name="a")
    put(line(), name="b")
    load_all()
    refuse(monkeypatch, "a.json.gz")
    assert found(verify.verify(verify.deep)) == {Planted("unreadable_object", "event_date=2026-11-22/hr=12/a.json.gz")}


def test_verify_stops_where_the_bucket_gives_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        put(line(), name=str(number))
    load_all()
    refuse(monkeypatch, ".json.gz")
    with pytest.raises(ArchiveUnavailable):
        verify.verify(verify.deep)
    assert Verification.objects.get().finished_at is None


def refuse(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """A bucket that answers 500 for these names."""
    get = archive.get

    def get_or_fail(name: str) -> Fetched:
        if name.endswith(ending):
            raise ArchiveUnavailable("InternalError")
        return get(name)

    monkeypatch.setattr(archive, "get", get_or_fail)


def test_slice_of_a_night_reads_each_object_once_a_month() -> None:
    for number in range(40):
        put(line(), name=str(number))
    load.catch_up(everything=True, wait=True)
    today = timezone.now()
    LoadedObject.objects.update(loaded_at=today - timedelta(days=90))
    nights = [verify.slice_of(today + timedelta(days=number)) for number in range(verify.NIGHTS)]
    for entry in evidence.entries():
        assert [look(entry) for look in nights].count(Look.READ) == 1
    LoadedObject.objects.update(loaded_at=today - timedelta(hours=20))
    assert {nights[0](entry) for entry in evidence.entries()} == {Look.READ}


# -- Numbers of values ------------------------------------------------------------------------------------------------


def test_verify_names_values_whose_numbers_were_swapped() -> None:
    put(*(line(command=name, duration=number) for number in range(9) for name in ("repo", "ask", "plan")))
    load_all()
    numbers = dict(Value.objects.filter(dimension="command").values_list("value", "number"))
    Value.objects.filter(value="repo").update(number=99)
    Value.objects.filter(value="ask").update(number=numbers["repo"])
    Value.objects.filter(value="repo").update(number=numbers["ask"])
    report = verify.verify(verify.deep)
    details = {fault.name: fault.detail for fault in report.faults.listed()}
    assert details == {
        f"value {numbers['repo']} of command": "stands for “ask”, by the events for “repo”",
        f"value {numbers['ask']} of command": "stands for “repo”, by the events for “ask”",
    }


def test_verify_takes_a_new_value_in_an_old_rollup_for_the_hours_fault() -> None:
    """The value has no number yet because nobody rolled it up, not because somebody took that away."""
    put(line(command="repo"), line(command="ask"), name="a")
    load_all()
    put(line(command="plan"), name="b")
    load.catch_up(everything=True, wait=True)
    TouchedHour.objects.all().delete()
    assert {fault.kind for fault in found(verify.verify(verify.deep))} == {"wrong_hour", "wrong_day"}


def test_verify_writes_no_numbers() -> None:
    put(line())
    load.catch_up(everything=True, wait=True)
    TouchedHour.objects.all().delete()
    verify.verify(verify.deep)
    assert not Value.objects.exists()


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"runs": 9}, "runs 9, by the events 2"),
        ({"packed": b"garbled"}, "cannot be read"),
    ],
    ids=["runs", "garbled"],
)
def test_verify_says_what_is_wrong_in_an_hour(changes: dict[str, object], detail: str) -> None:
    put(line(), line())
    load_all()
    HourlyRollup.objects.update(**changes)
    (fault,) = verify.verify(verify.shallow).faults.listed()
    assert (fault.name, fault.detail) == ("hour 2026-11-22 12:00", detail)


def test_verify_says_what_is_wrong_in_a_day() -> None:
    put(line(command="repo"), line(command="ask"))
    load_all()
    row = DailyRollup.objects.get(dimension="total")
    other = DailyRollup.objects.get(dimension="command", value=Value.objects.get(value="repo").number)
    for name in ("part_counts", "part_durations", "part_installations"):
        setattr(row, name, getattr(other, name))
    row.save()
    (fault,) = verify.verify(verify.shallow).faults.listed()
    assert (fault.name, fault.detail) == ("day 2026-11-22", "total: its command ask is missing")


def day_details() -> list[str]:
    """Of the only day."""
    listed = verify.verify(verify.shallow).faults.listed()
    assert {fault.name for fault in listed} <= {"day 2026-11-22"}
    return [fault.detail for fault in listed]


def test_verify_says_what_is_wrong_in_the_usage_of_a_day() -> None:
    put(line(), line())
    load_all()
    row = DailyRollup.objects.get(dimension="total")
    found = usage.unpacked(bytes(row.usage))
    for changes, detail in (
        ({"runs": found.runs + 4}, "runs 5, by the hours 1"),
        ({"versions": found.versions * 0}, "version none, by the hours 0.64.0"),
        ({"installations": found.installations + 7}, "other installations"),
    ):
        DailyRollup.objects.filter(pk=row.pk).update(usage=replace(found, **changes).packed())
        assert day_details() == [f"total: usage: {detail}"]
    three_bytes_wide = zstandard.ZstdCompressor().compress(b"\1\0\0\0\3\0\0\0")
    for garbled in (b"garbled", three_bytes_wide, packing.pack([found.runs])):
        DailyRollup.objects.filter(pk=row.pk).update(usage=garbled)
        assert day_details() == ["total: usage: cannot be read"]


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda them: with_value(them, "command", 3, 1), "counts: command plan, by the hours repo"),
        (
            lambda them: replace(them, options=replace(them.options, options=them.options.options * 2)),
            f"options: options {contract.OPTIONS[1].name}, by the hours {contract.OPTIONS[0].name}",
        ),
        (lambda them: them.where(them.values["command"] == 2), "counts: entries 1, by the hours 2"),
    ],
    ids=["value", "options", "lost"],
)
def test_verify_says_what_is_wrong_in_the_combinations_of_a_day(
    change: Callable[[Combinations], Combinations], detail: str
) -> None:
    debug = {contract.OPTIONS[0].name: True}
    put(line(command="ask"), line(command="repo", options=debug), line(OLD, timestamp=OLD.isoformat(), command="plan"))
    load_all()
    row = DailyCombinations.objects.get(day=NOON.date())
    them = combinations.unpacked(*(bytes(getattr(row, name)) for name in CombinationsRow._fields[1:]))
    changed = rollups.combinations_row(row.day, change(them))
    assert changed
    DailyCombinations.objects.filter(day=row.day).update(**changed._asdict())
    assert day_details() == [f"combinations: {detail}"]


def with_value(them: Combinations, name: str, number: int, other: int) -> Combinations:
    """Those with this number in a column have another."""
    column = them.values[name].copy()
    column[column == number] = other
    return replace(them, values={**them.values, name: column})


def test_verify_misses_combinations_and_finds_those_of_no_day() -> None:
    put(line())
    load_all()
    DailyCombinations.objects.update(day=date(2026, 11, 21))
    report = verify.verify(verify.shallow)
    assert {fault.name: fault.detail for fault in report.faults.listed()} == {
        "day 2026-11-21": "combinations: a row without runs",
        "day 2026-11-22": "combinations: no row",
    }


def test_verify_finds_what_no_part_of_a_day_has() -> None:
    put(line())
    load_all()
    row = DailyRollup.objects.get(dimension="total")
    [sets] = packing.unpack(bytes(row.part_installations))
    row.part_installations = packing.pack([np.append(sets, 7)])
    row.save()
    entries = len(sets)
    assert day_details() == [f"total: part_installations: entries {entries + 1}, by the hours {entries}"]


def test_verify_bears_what_another_version_compressed() -> None:
    put(line(), line())
    load_all()
    for model in (DailyRollup, DailyCombinations):
        row = model.objects.first()
        assert row
        raw = zstandard.ZstdDecompressor().decompress(bytes(row.usage))
        other = zstandard.ZstdCompressor(level=19, write_checksum=False).compress(raw)
        assert packing.unpack(other)
        assert other != bytes(row.usage)
        row.usage = other
        row.save()
    assert day_details() == []


def test_verify_finds_a_day_on_which_nobody_was_seen() -> None:
    put(line(timestamp="2026-11-20T10:00:00Z"))
    load_all()
    number = Installation.objects.get().pk
    Installation.objects.update(first_seen=date(2026, 11, 19))
    (fault,) = verify.verify(verify.shallow).faults.listed()
    assert (fault.name, fault.detail) == (
        f"installation {number}",
        "seen from 2026-11-19 to 2026-11-20, by its runs from 2026-11-20 to 2026-11-20",
    )


# -- Pruned -----------------------------------------------------------------------------------------------------------

OLD = NOON - timedelta(days=100)


def prune_old() -> None:
    prune.prune(OLD.date() + timedelta(days=30), NOON)


def test_verify_does_not_miss_what_was_pruned() -> None:
    """Neither rows nor copies of events whose row is gone, however closely it looks."""
    copied = line(OLD, eventId=str(uuid.UUID(int=1)), timestamp=OLD.isoformat())
    put(copied, line(OLD, timestamp=OLD.isoformat()), line(), name="a")
    put(copied, line(), name="b")
    put(copied, b"broken", name="c")
    load_all()
    prune_old()
    assert Event.objects.count() == 2
    for reach in (verify.shallow, verify.deep):
        assert found(verify.verify(reach)) == set()


def test_verify_bears_an_event_that_came_again_after_it_was_pruned() -> None:
    event_id = str(uuid.UUID(int=1))
    put(line(OLD, eventId=event_id, timestamp=OLD.isoformat()), name="a")
    load_all()
    prune_old()
    put(line(OLD + timedelta(days=1), eventId=event_id, timestamp=OLD.isoformat()), name="b")
    load_all()
    assert Event.objects.count() == 1
    for reach in (verify.shallow, verify.deep):
        assert found(verify.verify(reach)) == set()


def test_verify_misses_a_row_of_an_object_of_which_others_were_pruned() -> None:
    put(line(OLD, timestamp=OLD.isoformat()), line(), line(), name="a")
    load_all()
    prune_old()
    event_id = Event.objects.get(source_line=2).pk
    Event.objects.filter(pk=event_id).delete()
    for reach in (verify.shallow, verify.deep):
        assert found(verify.verify(reach)) == {Planted("missing_row", f"event {event_id}")}


@pytest.mark.parametrize("pruned_rows", [0, 1, 3])
def test_verify_finds_a_wrong_number_of_pruned_rows(pruned_rows: int) -> None:
    put(*(line(OLD, timestamp=OLD.isoformat()) for _ in range(2)), line(), name="a")
    load_all()
    prune_old()
    LoadedObject.objects.update(pruned_rows=pruned_rows)
    for reach in (verify.shallow, verify.deep):
        (fault,) = verify.verify(reach).faults.listed()
        assert "event_date=2026-11-22/hr=12/a.json.gz" in fault.name


def test_verify_holds_pruned_days_against_their_hours() -> None:
    put(line(OLD, timestamp=OLD.isoformat()), line(), name="a")
    load_all()
    prune_old()
    DailyRollup.objects.filter(day=OLD.date(), dimension="total").update(runs=2)
    DailyCombinations.objects.filter(day=OLD.date()).update(counts=b"garbled")
    (fault,) = verify.verify(verify.shallow).faults.listed()
    assert fault.detail == "total: runs 2, by the hours 1 (and 1 more rows)"
    assert found(verify.verify(verify.shallow)) == {Planted("wrong_day", f"day {OLD.date()}")}


def test_verify_finds_a_pruned_hour_that_cannot_be_read() -> None:
    put(line(OLD, timestamp=OLD.isoformat()), line(), name="a")
    load_all()
    prune_old()
    HourlyRollup.objects.filter(hour__lt=NOON).update(packed=b"garbled")
    assert found(verify.verify(verify.shallow)) == {Planted("wrong_hour", f"hour {OLD:%Y-%m-%d %H:%M}")}


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        *[("command", 31), ("who", 40), ("installation", 31), ("installation", 63), ("bucket", 31), ("bucket", 63)],
        *[("failed", 31), ("options", 63), ("prompt_tokens", 63)],
    ],
)
def test_verify_finds_a_pruned_hour_with_impossible_numbers(name: str, bits: int) -> None:
    put(line(OLD, timestamp=OLD.isoformat()), line(), name="a")
    load_all()
    prune_old()
    row = HourlyRollup.objects.get(hour__lt=NOON)
    them = runs.unpacked(row.hour, bytes(row.packed))
    HourlyRollup.objects.filter(hour=row.hour).update(
        packed=Runs({**them.columns, name: np.array([1 << bits], np.uint64)}).packed()
    )
    assert found(verify.verify(verify.shallow)) == {Planted("wrong_hour", f"hour {OLD:%Y-%m-%d %H:%M}")}


def test_verify_finds_a_value_that_only_pruned_hours_have_gone() -> None:
    put(line(OLD, timestamp=OLD.isoformat(), command="plan"), line(), name="a")
    load_all()
    prune_old()
    number = Value.objects.get(value="plan").number
    Value.objects.filter(value="plan").delete()
    assert found(verify.verify(verify.shallow)) == {Planted("wrong_value", f"value {number} of command")}


# -- The command ------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str]:
    """Its exit status and what it prints."""
    out = StringIO()
    try:
        call_command("verify", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()


def test_command_says_that_all_is_well() -> None:
    put(line(), line())
    load_all()
    assert run() == (0, "1 objects, 2 events.\nNo faults.\n")
    assert run("--deep") == (0, "1 objects, 2 events, 1 objects read line by line.\nNo faults.\n")


def test_command_says_what_is_wrong_and_what_to_do() -> None:
    put(line(), name="a")
    put(line(), name="b")
    load_all()
    planted_faults.remove("event_date=2026-11-22/hr=12/a.json.gz")
    HourlyRollup.objects.update(runs=9)
    status, text = run()
    assert status == 1
    assert "1 missing_object. Restore it under this name" in text
    assert "  event_date=2026-11-22/hr=12/a.json.gz: " in text
    assert "1 wrong_hour. " in text
    assert "  hour 2026-11-22 12:00: runs 9, by the events 2" in text
    assert text.endswith("2 faults.")


def test_command_prints_json() -> None:
    put(line())
    load_all()
    Event.objects.all().delete()
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("verify", "--json", stdout=out)
    report = json.loads(out.getvalue())
    assert (report["objects_count"], report["faults_count"], report["by_kind"]) == (1, 1, {"missing_row": 1})
    assert report["faults"][0]["kind"] == "missing_row"


def test_command_tells_a_bucket_that_is_away_from_faults(settings: Settings) -> None:
    settings.ARCHIVE_BUCKET = "nowhere"
    status, text = run()
    assert status == 2
    assert "The bucket cannot be read (AccessDenied)" in text


def test_command_tells_postgres_being_away_from_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    status, text = run()
    assert status == 2
    assert "Postgres cannot be read" in text


# -- The task ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("empty_buffer")
def test_verify_nightly_warns_of_faults(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    put(line())
    load_all()
    tasks.verify_nightly()
    Event.objects.all().delete()
    buffer.connection().delete(buffer.turn_key("verify"), buffer.FINISHED)  # the next night
    tasks.verify_nightly()
    fine, bad = [record for record in caplog.records if record.getMessage().startswith("verified")]
    assert (fine.levelname, bad.levelname) == ("INFO", "WARNING")
    assert "faults=1" in bad.getMessage()
    assert Verification.objects.filter(deep=True).count() == 2


@pytest.mark.usefixtures("empty_buffer")
def test_verify_nightly_of_two_beats_is_one() -> None:
    tasks.verify_nightly()
    tasks.verify_nightly()
    assert Verification.objects.count() == 1


@pytest.mark.usefixtures("empty_buffer")
def test_verify_nightly_is_done_once_a_night() -> None:
    """Though it is asked for every hour of it, until it is done."""
    asked_for = app.conf.beat_schedule["verify-nightly"]["schedule"]
    for _ in range(len(asked_for.hour)):
        tasks.verify_nightly()
        assert buffer.connection().pttl(buffer.turn_key("verify")) < 3_600_000
        buffer.connection().delete(buffer.turn_key("verify"))  # an hour later
    assert Verification.objects.count() == 1
    last_hour, first_hour = max(asked_for.hour), 24 + min(asked_for.hour)
    assert 3600 * (last_hour - min(asked_for.hour)) < tasks._VERIFY_SECONDS < 3600 * (first_hour - last_hour)


@pytest.mark.usefixtures("empty_buffer")
def test_verify_nightly_does_not_raise_where_the_bucket_is_away(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ARCHIVE_BUCKET = "nowhere"
    tasks.verify_nightly()
    assert "not verified: ArchiveUnavailable AccessDenied" in caplog.text


@pytest.mark.parametrize(
    "falsely",
    [
        {"state": "quarantined", "reason": "bad_gzip", "loaded_rows": 0, "quarantined_rows": 3},
        {"state": "foreign", "rows": 0, "loaded_rows": 0},
    ],
    ids=["quarantined", "foreign"],
)
def test_verify_names_the_ledger_row_that_denies_what_was_loaded(falsely: dict[str, object]) -> None:
    """One cause is one fault: not one for each event that says to come from there."""
    put(line(), line(), line())
    load_all()
    LoadedObject.objects.update(**falsely)
    for reach in (verify.shallow, verify.deep):
        assert found(verify.verify(reach)) == {
            Planted("wrong_ledger_row", "event_date=2026-11-22/hr=12/a.json.gz"),
        }


def test_verify_asks_whether_history_is_history() -> None:
    put(line())
    load_all()
    LoadedObject.objects.update(state="history", imported=True)
    assert {fault.kind for fault in found(verify.verify(verify.shallow))} == {"wrong_ledger_row"}


def test_verify_takes_no_broken_history_for_doubled() -> None:
    """Cloudflare writes at least once, also what is broken."""
    for name in "ab":
        bucket.put_raw(f"event_date=2025-06-01/hr=12/{name}.json.gz", b"\x1f\x8b broken")
    history.load(history.find(""))
    assert {row.state for row in LoadedObject.objects.all()} == {"quarantined"}
    assert found(verify.verify(verify.shallow)) == set()


def test_verify_prints_a_name_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    bucket.put_raw("x\nNo faults.\x1b[2J", b"foreign")
    with pytest.raises(CommandError):
        call_command("verify")
    assert "  x\\u000aNo faults.\\u001b[2J: " in capsys.readouterr().out
