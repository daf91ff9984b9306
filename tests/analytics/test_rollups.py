"""Rollup: an hour's rows are a function of its events, a day's of its hours."""

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from analytics import breakdowns, combinations, load, rollups, runs, usage
from analytics.breakdowns import COUNTS, Breakdown
from analytics.combinations import Combinations
from analytics.dimensions import ALL, BREAKDOWNS
from analytics.models import (
    DailyCombinations,
    DailyRollup,
    Event,
    HourlyRollup,
    Installation,
    LoadProgress,
    TouchedHour,
    Value,
)
from analytics.rollups import CombinationsRow
from analytics.runs import Runs
from ingest import archive, batches
from tests.analytics import bucket, canonical
from tests.events import NOON, line

pytestmark = pytest.mark.usefixtures("empty_stores")

ALICE, BOB = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
EVENT = str(uuid.UUID(int=3))
TODAY = NOON.date()


def load_lines(*lines: bytes) -> None:
    archive.put(batches.archive_object(f"{uuid.uuid4()}.json.gz", lines))
    load.catch_up(everything=True, wait=True)
    rollups.refresh()


def hour_runs(hour: datetime = NOON) -> Runs:
    row = HourlyRollup.objects.get(hour=hour)
    them = runs.unpacked(row.hour, bytes(row.packed))
    assert row.runs == len(them)
    return them


def part(by: str = ALL, *values: str) -> dict[str, Any]:
    """Counts of a part of the day: all of it, or that of one of BREAKDOWNS with these values; and who it is of."""
    _, _, _, _, _, *several = next(row for row in rows() if row[:2] == (TODAY.isoformat(), "total"))
    parts = dict(zip((ALL, *BREAKDOWNS), several, strict=True))[by]
    ((counts, users),) = [(counts, users) for of, counts, _, users in parts if of == list(values)]
    return dict(zip(COUNTS, counts, strict=True)) | {"installations": len(users)}


def totals() -> dict[date, int]:
    return dict(DailyRollup.objects.filter(dimension="total").values_list("day", "runs"))


def rows() -> list[Any]:
    return list(canonical.rollup_rows())


def seen(user: str) -> tuple[date | None, date | None]:
    found = Installation.objects.get(user_id=user)
    return found.first_seen, found.last_seen


# -- What is counted --------------------------------------------------------------------------------------------------


def test_refresh_counts_runs_failures_and_tokens() -> None:
    load_lines(
        line(promptTokens=10, completionTokens=1),
        line(promptTokens=20, contextTokens=5),
        line(promptTokens=None, hasError=True, errorType="FileError"),
    )
    found = part()
    assert (found["runs"], found["failures"]) == (3, 1)
    assert (found["prompt_tokens"], found["completion_tokens"], found["context_tokens"]) == (30, 1, 5)
    row = DailyRollup.objects.get(dimension="total")
    assert (row.runs, row.failures, row.prompt_tokens, row.installations_count) == (3, 1, 30, 3)


def test_refresh_leaves_out_the_twin_of_a_failing_run() -> None:
    load_lines(
        line(hasError=True, errorType="FileError"),
        line(eventName="command_error", duration=None, hasError=None, options=None, errorType="FileError"),
    )
    assert len(hour_runs()) == 1
    assert part("error_type", "FileError")["runs"] == 1


def test_refresh_counts_installations_and_no_placeholder() -> None:
    load_lines(line(userId=ALICE), line(userId=ALICE), line(userId=BOB), line(userId="anonymous_opt_out"))
    found = part()
    assert (found["runs"], found["placeholder_runs"], found["installations"]) == (4, 1, 2)


def test_refresh_tells_runs_apart_by_each_dimension() -> None:
    load_lines(line(command="repo", ci=True), line(command="ask", model=None, provider=None))
    names = {
        (dimension, number): value
        for dimension, number, value in Value.objects.values_list("dimension", "number", "value")
    }
    found = DailyRollup.objects.values_list("dimension", "value", "runs")
    assert {(dimension, names.get((dimension, value), ""), count) for dimension, value, count in found} == {
        ("total", "", 2),
        ("command", "repo", 1),
        ("command", "ask", 1),
        ("version", "0.64.0", 2),
        ("provider", "gemini", 1),
        ("provider", "", 1),
        ("model", "gemini-2.5-pro", 1),
        ("model", "", 1),
        ("error_type", "", 2),
        ("os", "", 2),
        ("ci", "true", 1),
        ("ci", "", 1),
        ("agent", "", 2),
    }


def test_refresh_counts_pairs_of_values_and_each_option() -> None:
    load_lines(
        line(options={"debug": True, "maxTokens": 500}),
        line(options={"debug": True, "quiet": False}, model=None),
        line(options={"quiet": False}),
    )
    assert part("provider_model", "gemini", "gemini-2.5-pro")["runs"] == 2
    assert part("option", "debug")["runs"] == 2
    assert part("option", "maxTokens")["runs"] == 1


def test_refresh_makes_days_of_hours() -> None:
    load_lines(
        line(timestamp="2026-11-21T23:59:59Z", userId=ALICE),
        line(timestamp="2026-11-22T00:00:00Z", userId=ALICE),
        line(timestamp="2026-11-22T11:00:00Z", userId=BOB),
    )
    assert totals() == {date(2026, 11, 21): 1, date(2026, 11, 22): 2}
    assert part()["installations"] == 2
    assert HourlyRollup.objects.count() == 3


# -- A function of the events -----------------------------------------------------------------------------------------


def test_refresh_puts_a_late_event_where_it_belongs() -> None:
    load_lines(line(timestamp="2026-11-20T10:00:00Z"), line())
    load_lines(line(timestamp="2026-11-20T10:30:00Z"))
    assert len(hour_runs(NOON - timedelta(days=2, hours=2))) == 2
    assert totals() == {date(2026, 11, 20): 2, date(2026, 11, 22): 1}


def test_refresh_does_not_depend_on_order_and_grouping() -> None:
    dice = random.Random(1)
    lines = [
        line(
            userId=dice.choice([ALICE, BOB, "anonymous_opt_out"]),
            timestamp=(NOON - timedelta(minutes=dice.randrange(4000))).isoformat(),
            command=dice.choice(["repo", "ask", "plan"]),
            model=dice.choice([None, "gemini-2.5-pro", "gpt-5"]),
            options=dice.choice([{}, {"debug": True}, {"maxTokens": 500}]),
            duration=dice.randrange(100_000),
            hasError=dice.random() < 0.2,
        )
        for _ in range(60)
    ]
    load_lines(*lines)
    at_once, people = rows(), [seen(ALICE), seen(BOB)]
    for share in (7, 20):
        bucket.empty_warehouse()
        _empty_bucket()
        dice.shuffle(lines)
        for start in range(0, len(lines), share):
            load_lines(*lines[start : start + share])
        assert rows() == at_once
        assert [seen(ALICE), seen(BOB)] == people


def _empty_bucket() -> None:
    for listed in list(archive.listing()):
        bucket.remove(listed.name)


def test_refresh_again_changes_nothing() -> None:
    load_lines(line(), line(hasError=True, errorType="FileError"))
    before = rows()
    assert rollups.refresh() == 0
    TouchedHour.objects.create(hour=NOON)
    assert rollups.refresh() == 1
    assert rows() == before


def test_refresh_leaves_rows_of_a_day_that_are_the_same() -> None:
    """A new event changes few of a day's rows: only those are written."""
    load_lines(line(command="repo", version="0.64.0"), line(command="ask"))
    before = dict(_row_ids())
    load_lines(line(command="ask"))
    after = dict(_row_ids())
    assert after["command", "repo"] == before["command", "repo"]
    assert after["command", "ask"] != before["command", "ask"]
    assert after["total", ""] != before["total", ""]


def _row_ids() -> Iterator[tuple[tuple[str, str], int]]:
    for row in DailyRollup.objects.all():
        value = Value.objects.filter(dimension=row.dimension, number=row.value).first()
        yield (row.dimension, value.value if value else ""), row.pk


def test_refresh_removes_the_rows_of_an_hour_whose_events_are_gone() -> None:
    load_lines(line(), line(timestamp="2026-11-22T09:00:00Z"))
    Event.objects.filter(occurred_at__gte=NOON).delete()
    TouchedHour.objects.create(hour=NOON)
    rollups.refresh()
    assert [row.hour.hour for row in HourlyRollup.objects.all()] == [9]
    assert totals() == {TODAY: 1}
    Event.objects.all().delete()
    TouchedHour.objects.create(hour=NOON - timedelta(hours=3))
    rollups.refresh()
    assert not HourlyRollup.objects.exists()
    assert not DailyRollup.objects.exists()
    assert not DailyCombinations.objects.exists()


def test_refresh_leaves_frozen_hours_as_they_are() -> None:
    load_lines(line(timestamp="2026-11-20T10:00:00Z"), line())
    before = rows()
    LoadProgress.objects.update_or_create(pk=1, defaults={"pruned_before": datetime(2026, 11, 21, tzinfo=UTC)})
    Event.objects.filter(occurred_at__lt=datetime(2026, 11, 21, tzinfo=UTC)).delete()
    load_lines(line(timestamp="2026-11-20T10:30:00Z"))
    assert rows() == before
    assert not TouchedHour.objects.exists()


def test_refresh_makes_days_anew_of_frozen_hours() -> None:
    load_lines(line(timestamp="2026-11-20T10:00:00Z"), line(timestamp="2026-11-20T11:00:00Z", userId=ALICE), line())
    before, person = rows(), seen(ALICE)
    LoadProgress.objects.update_or_create(pk=1, defaults={"pruned_before": datetime(2026, 11, 21, tzinfo=UTC)})
    Event.objects.filter(occurred_at__lt=datetime(2026, 11, 21, tzinfo=UTC)).delete()
    DailyRollup.objects.all().delete()
    DailyCombinations.objects.all().delete()
    TouchedHour.objects.bulk_create(TouchedHour(hour=row.hour) for row in HourlyRollup.objects.all())
    assert rollups.refresh() == 1
    assert rows() == before
    assert seen(ALICE) == person
    assert not TouchedHour.objects.exists()


@pytest.mark.parametrize("late", [False, True])
def test_refresh_says_that_frozen_hours_stay_where_something_came_late(
    late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    load_lines(line(timestamp="2026-11-20T10:00:00Z"), line(timestamp="2026-11-20T11:00:00Z"), line())
    LoadProgress.objects.update_or_create(pk=1, defaults={"pruned_before": datetime(2026, 11, 21, tzinfo=UTC)})
    Event.objects.filter(occurred_at__lt=datetime(2026, 11, 21, tzinfo=UTC)).delete()
    TouchedHour.objects.bulk_create(TouchedHour(hour=row.hour) for row in HourlyRollup.objects.all())  # a migration
    if late:
        load_lines(line(timestamp="2026-11-20T10:30:00Z"))
    rollups.refresh()
    assert ("1 hours stay as they are" in caplog.text) == late


def test_refresh_recomputes_an_hour_of_the_day_that_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    load_lines(line(timestamp="2026-11-22T10:00:00Z"), line())
    garble(datetime(2026, 11, 22, 10, tzinfo=UTC))
    load_lines(line())
    assert (totals(), part()["runs"]) == ({TODAY: 3}, 3)
    assert len(hour_runs(datetime(2026, 11, 22, 10, tzinfo=UTC))) == 1
    assert "hour 2026-11-22 10:00:00+00:00 cannot be read" in caplog.text


def test_refresh_goes_on_past_a_frozen_hour_that_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    old = datetime(2026, 11, 20, 10, tzinfo=UTC)
    load_lines(line(timestamp="2026-11-20T10:00:00Z"), line(timestamp="2026-11-20T11:00:00Z"), line())
    LoadProgress.objects.update_or_create(pk=1, defaults={"pruned_before": datetime(2026, 11, 21, tzinfo=UTC)})
    Event.objects.filter(occurred_at__lt=datetime(2026, 11, 21, tzinfo=UTC)).delete()
    garbled = garble(old)
    TouchedHour.objects.bulk_create(TouchedHour(hour=row.hour) for row in HourlyRollup.objects.all())
    assert rollups.refresh() == 1
    assert totals() == {old.date(): 1, TODAY: 1}
    assert "hour 2026-11-20 10:00:00+00:00 cannot be read, and its events were pruned" in caplog.text
    assert bytes(HourlyRollup.objects.get(hour=old).packed) == garbled  # for whoever can mend it


def test_refresh_goes_on_past_days_that_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    load_lines(
        line(userId=ALICE, timestamp="2026-11-21T10:00:00Z"),
        line(userId=ALICE, eventId=EVENT, received_at=NOON + timedelta(minutes=1)),
        line(userId=BOB),
    )
    DailyRollup.objects.update(installations=b"garbled")
    load_lines(line(userId=ALICE, eventId=EVENT, timestamp="2026-11-20T10:00:00Z"))
    assert totals() == {date(2026, 11, 20): 1, date(2026, 11, 21): 1, TODAY: 1}
    assert (seen(ALICE), seen(BOB)) == ((date(2026, 11, 20), date(2026, 11, 21)), (TODAY, TODAY))
    assert "day 2026-11-21 cannot be read" in caplog.text


def test_refresh_that_fails_beside_has_written_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day's rows are made in a thread, while those of the day before are written."""
    days = [date(2026, 11, day) for day in (18, 19, 20)]
    archive.put(batches.archive_object("a", [line(timestamp=f"{day}T10:00:00Z") for day in days]))
    load.catch_up(everything=True, wait=True)

    def fail(day: date, them: Combinations) -> CombinationsRow | None:
        if day == days[1]:
            raise MemoryError
        return made(day, them)

    made = rollups.combinations_row
    with monkeypatch.context() as patch:
        patch.setattr(rollups, "combinations_row", fail)
        with pytest.raises(MemoryError):
            rollups.refresh()
    assert not HourlyRollup.objects.exists()
    assert (totals(), TouchedHour.objects.count()) == ({}, 3)
    assert rollups.refresh() == 3
    assert totals() == dict.fromkeys(days, 1)


def garble(hour: datetime) -> bytes:
    """A bit of the hour's rollup is flipped. Answers what it is now."""
    row = HourlyRollup.objects.get(hour=hour)
    packed = bytearray(row.packed)
    packed[len(packed) // 2] ^= 1
    HourlyRollup.objects.filter(hour=hour).update(packed=bytes(packed))
    return bytes(packed)


# -- Numbers of values ------------------------------------------------------------------------------------------------


def test_refresh_numbers_a_value_once() -> None:
    load_lines(line(command="repo"), line(command="ask"))
    before = set(Value.objects.values_list("dimension", "number", "value"))
    load_lines(line(command="plan"), line(command="ask"))
    after = set(Value.objects.values_list("dimension", "number", "value"))
    assert {(dimension, value) for dimension, _, value in after - before} == {("command", "plan")}
    assert before < after
    assert all(number > 0 for _, number, _ in after)
    names = dict(Value.objects.filter(dimension="command").values_list("number", "value"))
    assert sorted(names[number] for number in hour_runs()["command"].tolist()) == ["ask", "ask", "plan", "repo"]


def test_refresh_gives_a_model_one_number_in_whatever_column() -> None:
    load_lines(line(model="gpt-5", fileModel="gpt-5"), line(model=None, thinkingModel="gpt-5"))
    found = hour_runs()
    number = Value.objects.get(dimension="model", value="gpt-5").number
    assert Value.objects.filter(value="gpt-5").count() == 1
    assert sorted(found["model"].tolist()) == [0, number]
    assert sorted(found["file_model"].tolist()) == [0, number]
    assert sorted(found["thinking_model"].tolist()) == [0, number]


# -- When an installation was seen ------------------------------------------------------------------------------------


def test_refresh_notes_when_an_installation_was_first_and_last_seen() -> None:
    load_lines(line(userId=ALICE))
    assert seen(ALICE) == (TODAY, TODAY)
    load_lines(line(userId=ALICE, timestamp="2026-11-01T10:00:00Z"), line(userId=BOB))
    assert seen(ALICE) == (date(2026, 11, 1), TODAY)
    assert seen(BOB) == (TODAY, TODAY)


def test_refresh_has_never_seen_who_has_no_run() -> None:
    load_lines(line(userId=ALICE, eventName="command_error", duration=None, hasError=None, options=None))
    assert seen(ALICE) == (None, None)


def test_refresh_moves_days_with_an_earlier_copy_of_an_event() -> None:
    """Of two copies the one received first counts; by that one, the run was on another day."""
    load_lines(line(userId=ALICE, timestamp="2026-11-15T10:00:00Z"), line(userId=BOB))
    load_lines(line(NOON, userId=ALICE, eventId=EVENT, timestamp="2026-11-20T10:00:00Z"))
    assert seen(ALICE) == (date(2026, 11, 15), date(2026, 11, 20))
    load_lines(line(NOON - timedelta(hours=1), userId=ALICE, eventId=EVENT, timestamp="2026-11-17T10:00:00Z"))
    assert seen(ALICE) == (date(2026, 11, 15), date(2026, 11, 17))
    load_lines(line(NOON - timedelta(hours=2), userId=BOB, eventId=EVENT, timestamp="2026-11-10T10:00:00Z"))
    assert seen(ALICE) == (date(2026, 11, 15), date(2026, 11, 15))
    assert seen(BOB) == (date(2026, 11, 10), TODAY)
    assert totals() == {date(2026, 11, 10): 1, date(2026, 11, 15): 1, TODAY: 1}


# -- Durations --------------------------------------------------------------------------------------------------------


def of_all() -> Breakdown:
    return combinations.each(hour_runs()).breakdown(ALL)


def test_percentile_is_within_its_accuracy() -> None:
    durations = [1, 7, 150, 1_200, 11_600, 300_000, 86_400_000, 366 * 86_400_000]
    load_lines(*(line(duration=duration) for duration in durations))
    found = of_all()
    for rank, duration in enumerate(durations, start=1):
        assert found.percentiles_ms(rank / len(durations)) == [pytest.approx(duration, rel=runs.ACCURACY + 1e-9)]


def test_percentile_leaves_out_failures_and_needs_a_run() -> None:
    load_lines(line(duration=5, hasError=True))
    assert of_all().percentiles_ms(0.5) == [None]


def test_histograms_tell_many_parts_apart() -> None:
    """Parts are numbered in 32 bits, and with their buckets they are more."""
    parts, columns = np.array([0, 5_000_000], np.int32), (np.array([605, 3]), np.array([1, 2]))
    found = combinations.histograms(parts, *columns)
    assert [column.tolist() for column in found] == [[0, 5_000_000], [605, 3], [1, 2]]


# -- In a form that merges --------------------------------------------------------------------------------------------


def test_merged_days_are_the_breakdown_of_all_their_runs() -> None:
    load_lines(
        *(
            line(userId=dice_user, timestamp=f"2026-11-{day}T10:00:00Z", duration=day * 100, command=command)
            for day in (18, 19, 20)
            for dice_user, command in ((ALICE, "repo"), (BOB, "ask"), (ALICE, "ask"))
        )
    )
    every = runs.together(runs.stored(NOON - timedelta(days=9), NOON))
    days = [combinations.each(them).breakdown("command") for _, them in every.by_day()]
    assert len(days) == 3
    assert_same(breakdowns.merged(days), combinations.each(every).breakdown("command"))


def assert_same(one: Breakdown, other: Breakdown) -> None:
    assert np.array_equal(one.keys, other.keys)
    assert np.array_equal(one.counts, other.counts)
    assert all(map(np.array_equal, one.durations, other.durations))
    assert list(one.sets) == list(other.sets)
    assert list(one.sizes) == list(other.sizes)


# -- Combinations -----------------------------------------------------------------------------------------------------


def a_days_lines() -> list[bytes]:
    """Runs of a day in several hours, some of them alike."""
    dice = random.Random(7)
    failed = [dice.random() < 0.3 for _ in range(80)]
    return [
        line(
            userId=dice.choice([ALICE, BOB, "anonymous_opt_out"]),
            timestamp=(NOON - timedelta(minutes=dice.randrange(600))).isoformat(),
            toolVersion=dice.choice(["0.64.0", "0.65.0"]),
            command=dice.choice(["repo", "ask"]),
            model=dice.choice([None, "gpt-5"]),
            options=dice.choice([{}, {"debug": True}, {"debug": True, "maxTokens": 500}]),
            duration=dice.randrange(1, 3000),
            hasError=fails,
            errorType="FileError" if fails else None,
        )
        for fails in failed
    ]


def day_runs() -> Runs:
    return runs.together(runs.stored(NOON - timedelta(hours=12), NOON + timedelta(hours=12)))


def stored() -> Combinations:
    row = DailyCombinations.objects.get()
    return combinations.unpacked(*packed_columns(row))


def packed_columns(row: DailyCombinations) -> list[bytes]:
    return [bytes(getattr(row, name)) for name in CombinationsRow._fields[1:]]


def shuffled(them: Runs) -> Runs:
    return them.where(np.random.default_rng(1).permutation(len(them)))


def test_combinations_are_broken_down_as_the_days_runs() -> None:
    load_lines(*a_days_lines())
    them, every = stored(), day_runs()
    assert len(HourlyRollup.objects.all()) > 5 < len(them) < len(every)
    for name in (ALL, *BREAKDOWNS):
        assert_same(them.breakdown(name), combinations.each(every).breakdown(name))


@pytest.mark.parametrize("number", [0, 1, 2, 99])
def test_combinations_that_a_filter_leaves_are_broken_down_as_its_runs(number: int) -> None:
    load_lines(*a_days_lines())
    them, every = stored(), day_runs()
    for column in ("command", "version", "model", "who"):
        some, their_runs = them.where(them.values[column] == number), every.where(every[column] == number)
        for name in (ALL, *BREAKDOWNS):
            assert_same(some.breakdown(name), combinations.each(their_runs).breakdown(name))
        assert some.usage().added_up().packed() == combinations.of(their_runs).usage().added_up().packed()


def test_combinations_count_what_the_runs_say() -> None:
    """Held against a recount that knows nothing of combinations."""
    load_lines(*a_days_lines())
    every = day_runs()
    found = stored().breakdown("command_model")
    pairs = [*zip(every["command"].tolist(), every["model"].tolist(), every["failed"].tolist(), strict=True)]
    assert dict(zip(map(breakdowns.numbers_of, found.keys.tolist()), found.counts[:, :2].tolist(), strict=True)) == {
        pair: [sum(one[:2] == pair for one in pairs), sum(one == (*pair, 1) for one in pairs)]
        for pair in {one[:2] for one in pairs if one[0] and one[1]}
    }


def test_usage_is_a_recount_of_the_runs() -> None:
    load_lines(*a_days_lines())
    every, ran = day_runs(), Counter[tuple[int, int]]()
    failed, log_durations = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    names = ("version", "installation", "failed", "bucket")
    for version, installation, fails, bucket_ in zip(*(every[name].tolist() for name in names), strict=True):
        if installation:
            ran[version, installation] += 1
            failed[version, installation] += fails
            log_durations[version, installation] += bucket_ * (1 - fails)
    assert len(ran) == 4
    expected = [(*who, ran[who], failed[who], log_durations[who]) for who in sorted(ran)]
    row = DailyRollup.objects.get(dimension="total")
    for found in (
        stored().usage().added_up(),
        usage.unpacked(bytes(row.usage)),
        combinations.of(every).usage().added_up(),
    ):
        assert [*zip(*(column.tolist() for column in found.columns()), strict=True)] == expected
    of_each = dict(DailyRollup.objects.filter(dimension="version").values_list("value", "usage"))
    for version, packed in of_each.items():
        found = usage.unpacked(bytes(packed))
        rows_ = [*zip(*(column.tolist() for column in found.columns()), strict=True)]
        assert rows_ == [one for one in expected if one[0] == version]
    together = usage.together(usage.unpacked(bytes(packed)) for packed in of_each.values())
    assert together.added_up().packed() == bytes(row.usage)


def test_packed_is_the_same_for_runs_in_any_order() -> None:
    load_lines(*a_days_lines())
    row, of_day = DailyCombinations.objects.get(), list(rollups.day_rows(TODAY, combinations.of(day_runs())))
    other = combinations.of(shuffled(day_runs()))
    assert tuple(packed_columns(row)) == other.packed()
    assert list(rollups.day_rows(TODAY, other)) == of_day


def test_unpacked_is_what_was_packed() -> None:
    load_lines(*a_days_lines())
    them = combinations.of(day_runs())
    found = combinations.unpacked(*them.packed())
    assert found.packed() == them.packed() == stored().packed()
    for_each = found.usage().added_up().packed()
    assert for_each == them.usage().added_up().packed() == usage.unpacked(for_each).packed()
    several = [them.breakdown(name) for name in BREAKDOWNS]
    apart = breakdowns.unpacked(*breakdowns.packed(several))
    for name, one in zip(BREAKDOWNS, several, strict=True):
        assert_same(apart.by(name), one)
    assert breakdowns.packed([apart.by(name) for name in BREAKDOWNS]) == breakdowns.packed(several)


def test_unpacked_without_usage_is_broken_down_all_the_same() -> None:
    load_lines(*a_days_lines())
    them = combinations.of(day_runs())
    some = combinations.unpacked(*them.packed()[:3])
    chosen = them.values["command"] == 1
    assert_same(some.where(chosen).breakdown("version"), them.where(chosen).breakdown("version"))
