"""Rollup: an hour's rows are a function of its events."""

import uuid
from datetime import date, timedelta

import pytest
from pyroaring import BitMap

from analytics import load, rollups
from analytics.models import DailyRollup, Event, HourlyRollup, Installation, TouchedHour
from analytics.rollups import Tally
from ingest import archive, batches
from tests.events import NOON, line

pytestmark = pytest.mark.usefixtures("empty_stores")

ALICE, BOB = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def load_lines(*lines: bytes) -> None:
    archive.put(batches.archive_object(f"{uuid.uuid4()}.json.gz", lines))
    load.catch_up(everything=True, wait=True)
    rollups.refresh()


def hourly(dimension: str = "total", value: str = "") -> HourlyRollup:
    return HourlyRollup.objects.get(dimension=dimension, value=value)


def test_refresh_counts_runs_failures_and_tokens() -> None:
    load_lines(
        line(promptTokens=10, completionTokens=1),
        line(promptTokens=20, contextTokens=5),
        line(promptTokens=None, hasError=True, errorType="FileError"),
    )
    row = hourly()
    assert (row.runs, row.failures) == (3, 1)
    assert (row.prompt_tokens, row.completion_tokens, row.context_tokens) == (30, 1, 5)


def test_refresh_leaves_out_the_twin_of_a_failing_run() -> None:
    load_lines(
        line(hasError=True, errorType="FileError"),
        line(eventName="command_error", duration=None, hasError=None, options=None, errorType="FileError"),
    )
    assert (hourly().runs, hourly().failures) == (1, 1)
    assert hourly("error_type", "FileError").runs == 1


def test_refresh_counts_installations_and_no_placeholder() -> None:
    load_lines(line(userId=ALICE), line(userId=ALICE), line(userId=BOB), line(userId="anonymous_opt_out"))
    ids = set(Installation.objects.values_list("id", flat=True))
    assert (hourly().runs, hourly().placeholder_runs) == (4, 1)
    assert set(BitMap.deserialize(bytes(hourly().installations))) == ids
    assert len(ids) == 2


def test_refresh_tells_runs_apart_by_each_dimension() -> None:
    load_lines(line(command="repo", ci=True), line(command="ask", model=None, provider=None))
    found = set(HourlyRollup.objects.values_list("dimension", "value", "runs"))
    assert found == {
        ("total", "", 2),
        ("command", "repo", 1),
        ("command", "ask", 1),
        ("version", "0.64.0", 2),
        ("provider", "gemini", 1),
        ("model", "gemini-2.5-pro", 1),
        ("ci", "true", 1),
    }


def test_refresh_makes_days_of_hours() -> None:
    load_lines(
        line(timestamp="2026-11-21T23:59:59Z", userId=ALICE),
        line(timestamp="2026-11-22T00:00:00Z", userId=ALICE),
        line(timestamp="2026-11-22T11:00:00Z", userId=BOB),
    )
    days = {row.day: row for row in DailyRollup.objects.filter(dimension="total")}
    assert {day: row.runs for day, row in days.items()} == {date(2026, 11, 21): 1, date(2026, 11, 22): 2}
    assert len(BitMap.deserialize(bytes(days[date(2026, 11, 22)].installations))) == 2


def test_refresh_puts_a_late_event_where_it_belongs() -> None:
    load_lines(line(timestamp="2026-11-20T10:00:00Z"), line())
    load_lines(line(timestamp="2026-11-20T10:30:00Z"))
    assert HourlyRollup.objects.get(hour=NOON - timedelta(days=2, hours=2), dimension="total").runs == 2
    assert DailyRollup.objects.get(day=date(2026, 11, 20), dimension="total").runs == 2


def test_refresh_again_changes_nothing() -> None:
    load_lines(line(), line(hasError=True, errorType="FileError"))
    columns = [field.name for field in HourlyRollup._meta.fields if field.name != "id"]
    before = list(HourlyRollup.objects.order_by("dimension", "value").values(*columns))
    assert rollups.refresh() == 0
    TouchedHour.objects.create(hour=NOON)
    assert rollups.refresh() == 1
    assert list(HourlyRollup.objects.order_by("dimension", "value").values(*columns)) == before


def test_refresh_removes_the_rows_of_an_hour_whose_events_are_gone() -> None:
    load_lines(line())
    Event.objects.all().delete()
    TouchedHour.objects.create(hour=NOON)
    rollups.refresh()
    assert not HourlyRollup.objects.exists()
    assert not DailyRollup.objects.exists()


def test_percentile_is_within_its_accuracy() -> None:
    durations = [1, 7, 150, 1_200, 11_600, 300_000, 86_400_000, 366 * 86_400_000]
    load_lines(*(line(duration=duration) for duration in durations))
    tally = Tally()
    tally.add(hourly())
    for rank, duration in enumerate(durations, start=1):
        found = tally.percentile_ms(rank / len(durations))
        assert found == pytest.approx(duration, rel=rollups.ACCURACY + 1e-9)


def test_percentile_leaves_out_failures_and_needs_a_run() -> None:
    load_lines(line(duration=5, hasError=True))
    tally = Tally()
    tally.add(hourly())
    assert tally.percentile_ms(0.5) is None
