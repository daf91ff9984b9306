"""Prune: old events go, and nothing that anybody was shown changes."""

import io
import os
import pty
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any, NoReturn

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from analytics import ledger, load, prune, queries, rollups, tasks, warehouse
from analytics.dimensions import BREAKDOWNS
from analytics.models import (
    DailyCombinations,
    DailyRollup,
    Event,
    HourlyRollup,
    Installation,
    LoadedObject,
    LoadProgress,
    Quarantined,
    TouchedHour,
    Value,
)
from analytics.prune import Pruned, TooRecent
from analytics.queries import Filter, Period, Selection
from analytics.runs import binary_rows
from ingest import archive, buffer
from tests.analytics.bucket import put, put_text
from tests.analytics.history import record, record_made_up, run
from tests.events import NOON, line
from vibetel.celery import app

pytestmark = pytest.mark.django_db
stores = pytest.mark.usefixtures("empty_stores")

TODAY = NOON.date()
OLD = TODAY - timedelta(days=40)
LONG_AGO = NOON - timedelta(days=60)


def at(moment: datetime, **changes: Any) -> bytes:
    """The archive line of a run that came as it happened."""
    return line(moment, timestamp=moment.isoformat(), **changes)


def load_all() -> None:
    load.catch_up(everything=True, wait=True)
    rollups.refresh()


def frozen() -> list[list[Any]]:
    """Every row that must outlive its events."""
    return [
        [*binary_rows(model.objects.order_by("pk").values_list())]
        for model in (HourlyRollup, DailyRollup, DailyCombinations, Value, Installation, Quarantined)
    ]


def figures() -> list[Any]:
    """What pages show of periods that are wholly, partly and not at all before OLD, for filters of every kind."""
    long = Period("custom", TODAY - timedelta(days=80), TODAY)
    early = Period("custom", TODAY - timedelta(days=75), OLD - timedelta(days=10))
    found: list[Any] = []
    for period in (long, early, Period.ending_today("7d", NOON)):
        for only in ({}, {"command": {"repo"}}, {"command": {"repo"}, "model": {"gpt-4.1"}}):
            chosen = Filter(period, selection=Selection(only))
            found += [queries.totals(chosen, NOON), queries.series(chosen, NOON)]
            found += [queries.parts(chosen, NOON, by) for by in BREAKDOWNS]
    return found


def pruned_before() -> date | None:
    moment = rollups.frozen_before()
    if moment:
        assert moment == moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return moment.astimezone(UTC).date() if moment else None


# -- What goes, and what stays ----------------------------------------------------------------------------------------


def test_prune_leaves_every_figure_as_it_was() -> None:
    record_made_up(NOON, days=70, a_day=6)
    before = figures(), frozen()
    pruned = prune.prune(OLD, NOON)
    assert pruned.events > 100
    assert (figures(), frozen()) == before
    assert rollups.refresh() == 0
    assert (figures(), frozen()) == before


def test_prune_removes_what_is_before_the_day_and_no_other() -> None:
    midnight = datetime(OLD.year, OLD.month, OLD.day, tzinfo=UTC)
    record([run(midnight), run(midnight - timedelta(microseconds=1)), run(midnight - timedelta(days=300)), run(NOON)])
    assert prune.prune(OLD, NOON) == Pruned(events=2, days=2)
    assert set(Event.objects.values_list("occurred_at", flat=True)) == {midnight, NOON}
    assert pruned_before() == OLD


def test_prune_again_changes_nothing() -> None:
    record_made_up(NOON, days=50, a_day=3)
    prune.prune(OLD, NOON)
    before = list(LoadedObject.objects.values()), list(LoadProgress.objects.values()), Event.objects.count()
    assert prune.prune(OLD, NOON) == Pruned(events=0, days=0)
    assert (list(LoadedObject.objects.values()), list(LoadProgress.objects.values()), Event.objects.count()) == before


@stores
def test_prune_counts_what_went_of_each_object() -> None:
    """An object may have events of many days, and a day events of many objects; the books stay even."""
    put(at(LONG_AGO), at(LONG_AGO + timedelta(days=1)), at(NOON), name="a")
    put(at(LONG_AGO), name="b")
    put_text(at(NOON), b"not json", name="c")
    load_all()
    books, objects = ledger.books(), [listed.name for listed in archive.listing()]
    assert prune.prune(OLD, NOON) == Pruned(events=3, days=2)
    counts = LoadedObject.objects.order_by("name").values_list("loaded_rows", "pruned_rows")
    assert list(counts) == [(3, 2), (1, 1), (1, 0)]
    for source in LoadedObject.objects.all():
        assert Event.objects.filter(source_object=source).count() == source.loaded_rows - source.pruned_rows
    assert ledger.books() == books
    assert [listed.name for listed in archive.listing()] == objects
    load_all()
    assert Event.objects.count() == 2


def test_prune_never_goes_back() -> None:
    record_made_up(NOON, days=50, a_day=3)
    prune.prune(OLD, NOON)
    assert pruned_before() == OLD
    record([run(LONG_AGO)])
    assert prune.prune(OLD - timedelta(days=5), NOON) == Pruned(events=1, days=1)
    assert pruned_before() == OLD


def test_prune_keeps_where_the_loader_is() -> None:
    LoadProgress.objects.create(pk=1, relist_from="event_date=2026-11-22/hr=12/a")
    record([run(LONG_AGO)])
    prune.prune(OLD, NOON)
    assert LoadProgress.objects.get().relist_from == "event_date=2026-11-22/hr=12/a"


@stores
def test_prune_brings_figures_up_to_the_events_first() -> None:
    put(at(LONG_AGO), at(LONG_AGO + timedelta(hours=1)))
    load.catch_up(everything=True, wait=True)
    assert TouchedHour.objects.count() == 2
    prune.prune(OLD, NOON)
    assert not TouchedHour.objects.exists()
    assert sum(HourlyRollup.objects.values_list("runs", flat=True)) == 2


@pytest.mark.django_db(transaction=True)
def test_prune_lets_the_loader_in_between_days() -> None:
    record([run(LONG_AGO), run(LONG_AGO + timedelta(days=1))])
    turns: list[int] = []

    def take_a_turn(events: int) -> None:
        with transaction.atomic():
            warehouse.lock(wait=False)  # raises where prune still has it
        connection.close()
        turns.append(events)

    with ThreadPoolExecutor(1) as loader:
        prune.prune(OLD, NOON, progress=lambda events: loader.submit(take_a_turn, events).result())
    assert turns == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_prune_waits_for_whoever_writes() -> None:
    record([run(LONG_AGO)])
    with psycopg.connect(settings.DATABASE_URL, dbname=connection.settings_dict["NAME"]) as other:
        other.execute(warehouse.LOCK)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
        with pytest.raises(OperationalError, match="lock timeout"):
            prune.prune(OLD, NOON)
    assert prune.prune(OLD, NOON) == Pruned(events=1, days=1)


# -- Killed -----------------------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def killed(*arguments: object) -> NoReturn:
    raise Killed


def test_prune_killed_between_days_goes_on() -> None:
    record_made_up(NOON, days=50, a_day=3)
    before, old = frozen(), prune.preview(OLD, NOON)
    with pytest.raises(Killed):
        prune.prune(OLD, NOON, progress=killed)
    first = LoadedObject.objects.get().pruned_rows
    assert 0 < first < old.events
    assert first + Event.objects.count() == 150
    assert prune.prune(OLD, NOON) == Pruned(old.events - first, old.days - 1)
    assert LoadedObject.objects.get().pruned_rows == old.events
    assert (pruned_before(), frozen()) == (OLD, before)


def test_prune_killed_within_a_day_leaves_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    record([run(LONG_AGO)])
    with monkeypatch.context() as patch:
        patch.setattr(prune, "_remove", killed)
        with pytest.raises(Killed):
            prune.prune(OLD, NOON)
    assert pruned_before() is None
    assert Event.objects.count() == 1
    assert prune.prune(OLD, NOON) == Pruned(events=1, days=1)


# -- Late events ------------------------------------------------------------------------------------------------------


@stores
def test_event_for_a_frozen_hour_is_loaded_not_counted_and_pruned_next(caplog: pytest.LogCaptureFixture) -> None:
    put(at(LONG_AGO), name="a")
    load_all()
    prune.prune(OLD, NOON)
    before = figures(), frozen()[:3]
    put(at(LONG_AGO + timedelta(minutes=5)), name="b")
    load_all()
    assert "what came late is left out of figures" in caplog.text
    assert (figures(), frozen()[:3]) == before
    assert Event.objects.count() == 1
    assert prune.prune(OLD, NOON) == Pruned(events=1, days=1)
    assert list(LoadedObject.objects.values_list("loaded_rows", "pruned_rows")) == [(1, 1), (1, 1)]
    assert (figures(), frozen()[:3]) == before
    assert pruned_before() == LONG_AGO.date() + timedelta(days=1)


@stores
def test_event_sent_again_after_it_was_pruned_counts_again_where_the_hour_is_not_frozen() -> None:
    """Where it ends (docs/retention.md): an id is known as long as its row is there."""
    event_id = str(uuid.uuid4())
    put(at(LONG_AGO, eventId=event_id), name="a")
    load_all()
    prune.prune(OLD, NOON)
    put(at(LONG_AGO, eventId=event_id), name="b")
    load_all()
    assert sum(HourlyRollup.objects.values_list("runs", flat=True)) == 1
    prune.prune(OLD, NOON)
    put(at(NOON, eventId=event_id), name="c")
    load_all()
    assert sum(HourlyRollup.objects.values_list("runs", flat=True)) == 2


def test_history_of_days_after_the_last_pruned_one_still_counts() -> None:
    """Only what had events is frozen: a portal that begins empty takes a history of any age."""
    assert prune.prune(OLD, NOON) == Pruned(events=0, days=0)
    assert pruned_before() is None
    record([run(LONG_AGO)])
    prune.prune(OLD, NOON)
    record([run(LONG_AGO + timedelta(days=1))])
    assert sum(HourlyRollup.objects.values_list("runs", flat=True)) == 2


# -- Before when ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "months", "first_kept"),
    [
        ("2026-11-22", 13, "2025-10-22"),
        ("2026-01-15", 1, "2025-12-15"),
        ("2026-03-31", 1, "2026-02-28"),
        ("2024-03-31", 1, "2024-02-29"),
        ("2026-12-31", 13, "2025-11-30"),
        ("2026-12-01", 12, "2025-12-01"),
        ("2026-03-01", 1, "2026-01-29"),  # 28 days are too few
        ("2026-11-22", 100_000, "1970-01-01"),
    ],
)
def test_kept_from_counts_calendar_months(settings: Settings, today: str, months: int, first_kept: str) -> None:
    settings.RETENTION_MONTHS = months
    for moment in (f"{today}T00:00:00+00:00", f"{today}T23:59:59+00:00"):
        assert prune.kept_from(datetime.fromisoformat(moment)) == date.fromisoformat(first_kept)


def test_prune_refuses_days_whose_events_may_still_come() -> None:
    latest = TODAY - prune.KEPT_AT_LEAST
    record([run(NOON - timedelta(days=35))])
    for ask in (prune.prune, prune.preview):
        with pytest.raises(TooRecent, match=f"the latest possible date is {latest}"):
            ask(latest + timedelta(days=1), NOON)
    assert prune.prune(latest, NOON) == Pruned(events=1, days=1)


def test_preview_says_what_prune_removes_and_changes_nothing() -> None:
    record_made_up(NOON, days=50, a_day=3)
    before = frozen(), Event.objects.count()
    old = prune.preview(OLD, NOON)
    assert (frozen(), Event.objects.count(), pruned_before()) == (*before, None)
    assert old.first_day == min(Event.objects.values_list("occurred_at", flat=True)).date()
    assert old.size_bytes > 0
    assert prune.prune(OLD, NOON) == Pruned(old.events, old.days)
    assert prune.preview(OLD, NOON) == prune.Old(events=0, days=0, first_day=None, size_bytes=0)


# -- The command ------------------------------------------------------------------------------------------------------


def command(*arguments: str) -> str:
    said = io.StringIO()
    call_command("prune", *arguments, stdout=said)
    return said.getvalue()


def answered(answer: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What it says on a terminal, where somebody answers."""
    ours, its = pty.openpty()
    with os.fdopen(its, "r") as terminal, monkeypatch.context() as patch:
        os.write(ours, f"{answer}\n".encode())
        patch.setattr(sys, "stdin", terminal)
        try:
            return command()
        finally:
            os.close(ours)


@pytest.fixture
def an_old_event(db: None) -> None:
    record([run(timezone.now() - timedelta(days=500)), run(timezone.now())])


@pytest.mark.usefixtures("an_old_event")
def test_command_says_what_would_go() -> None:
    said = command("--dry-run")
    assert f"Before {prune.kept_from(timezone.now())} (UTC) Postgres has 1 events of 1 days" in said
    assert Event.objects.count() == 2


@pytest.mark.usefixtures("an_old_event")
def test_command_removes_when_told_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "1 events of 1 days were removed" in answered("y", monkeypatch)
    assert Event.objects.count() == 1


@pytest.mark.usefixtures("an_old_event")
def test_command_removes_nothing_when_told_no(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="Nothing was removed"):
        answered("", monkeypatch)
    assert Event.objects.count() == 2


@pytest.mark.usefixtures("an_old_event")
def test_command_removes_nothing_where_there_is_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(CommandError, match="--yes"):
        command()
    assert Event.objects.count() == 2


@pytest.mark.usefixtures("an_old_event")
def test_command_in_a_script_removes_what_is_before_a_date() -> None:
    assert "Postgres has no events before 2020-02-29." in command("--before", "2020-02-29", "--yes")
    assert Event.objects.count() == 2
    year_ago = (timezone.now() - timedelta(days=365)).date()
    assert "1 events of 1 days were removed" in command("--before", year_ago.isoformat(), "--yes")
    assert Event.objects.count() == 1


@pytest.mark.parametrize(("day", "said"), [("2999-01-01", "latest possible date"), ("yesterday", "2026-01-31")])
def test_command_says_what_is_wrong_with_a_date(day: str, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        command("--before", day, "--yes")


# -- The task ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("empty_buffer", "an_old_event")
def test_prune_nightly_removes_what_is_older_than_the_setting(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings.RETENTION_MONTHS = 24
    tasks.prune_nightly()
    assert Event.objects.count() == 2
    settings.RETENTION_MONTHS = 13
    tasks.prune_nightly()
    assert (buffer.looks()["prune:looks"], buffer.looks()["prune:failures"]) == (2, 0)
    assert Event.objects.count() == 1
    assert "events=1 days=1" in caplog.text


def test_beat_knows_the_nightly_prune() -> None:
    assert app.conf.beat_schedule["prune-nightly"]["task"] == tasks.prune_nightly.name
