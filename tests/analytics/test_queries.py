"""Queries: figures are those of a plain recount of the events."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.db import InternalError, OperationalError, connection

from analytics import queries
from analytics.models import Event, Installation, LoadedObject
from analytics.queries import Figures, Filter, Period, Selection
from tests.analytics.history import record, record_made_up, run
from tests.events import NOON

pytestmark = pytest.mark.django_db

TODAY = NOON.date()


def week() -> Filter:
    return Filter(Period.ending_today("7d", NOON))


def recount(events: list[Event]) -> dict[str, int]:
    return {
        "runs": len(events),
        "failures": sum(event.has_error is True for event in events),
        "installations": len({event.installation_id for event in events} - {None}),
        "prompt_tokens": sum(event.prompt_tokens or 0 for event in events),
        "completion_tokens": sum(event.completion_tokens or 0 for event in events),
    }


def counted(figures: Figures | None) -> dict[str, int]:
    assert figures
    names = ("runs", "failures", "installations", "prompt_tokens", "completion_tokens")
    return {name: getattr(figures, name) for name in names}


def between(events: list[Event], start: datetime, until: datetime) -> list[Event]:
    return [event for event in events if start <= event.occurred_at < until]


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection({"command": {"repo", "ask"}}),
        Selection({}, {"command": {"repo"}}),
        Selection({"provider": {"(none)"}}),
        Selection({"command": {"repo"}, "version": {"0.64.0"}}, {"model": {"gpt-4.1"}}),
    ],
)
def test_totals_are_a_recount_of_the_events(selection: Selection) -> None:
    events = record_made_up(NOON, days=80, a_day=12)

    def wanted(event: Event) -> bool:
        values = {
            "command": event.command,
            "version": event.tool_version,
            "provider": event.provider or "(none)",
            "model": event.model or "(none)",
        }
        return all(values[name] in those for name, those in selection.only.items()) and not any(
            values[name] in those for name, those in selection.without.items()
        )

    events = [event for event in events if wanted(event)]
    for name in ("today", "7d", "30d", "90d"):
        chosen = Filter(Period.ending_today(name, NOON), selection=replace(selection))  # which has read nothing
        before = chosen.before
        assert before
        current = between(events, chosen.period.start, chosen.period.until)
        earlier = between(events, before.start, NOON - (TODAY - before.last))
        found = queries.totals(chosen, NOON)
        assert counted(found.now) == recount(current)
        assert counted(found.before) == recount(earlier)
        for point in queries.series(chosen, NOON).now:
            step = timedelta(hours=1) if chosen.interval == "hour" else timedelta(days=1)
            assert counted(point.figures) == recount(between(current, point.start, point.start + step))
        for part in queries.parts(chosen, NOON, "command", in_steps=True):
            own = [event for event in current if (event.command,) == part.values]
            assert counted(part.now) == recount(own)
            assert part.before
            assert part.before.runs == len([event for event in earlier if (event.command,) == part.values])
            assert sum(part.steps) == part.now.runs
        for part in queries.parts(chosen, NOON, "error_type"):
            assert part.now.runs == sum((event.error_type,) == part.values for event in current if event.has_error)


def test_parts_are_ordered_by_runs_and_shares_add_up() -> None:
    record_made_up(NOON, days=7, a_day=40)
    for by in ("command", "version", "model", "provider_model", "error_type"):
        parts = queries.parts(week(), NOON, by)
        runs = [part.now.runs for part in parts]
        assert runs == sorted(runs, reverse=True)
        assert sum(part.share for part in parts) == pytest.approx(1)


def test_queries_of_nothing_are_zeros() -> None:
    found = queries.totals(Filter(Period.ending_today("30d", NOON)), NOON)
    assert found.now == found.before == Figures()
    assert (found.now.error_rate, found.now.runs_per_installation, found.now.tokens_per_run) == (None, None, None)
    assert [point.figures.runs for point in queries.series(Filter(Period.ending_today("30d", NOON)), NOON).now] == [
        0
    ] * 30
    assert queries.parts(Filter(Period.ending_today("30d", NOON)), NOON, "command") == []


def test_totals_leave_out_twins_and_count_placeholders_as_runs_only() -> None:
    record(
        [
            run(NOON, placeholder="anonymous_opt_out"),
            run(NOON, event_name="command_error", duration_ms=None, has_error=None, error_type="FileError"),
        ]
    )
    now = queries.totals(week(), NOON).now
    assert (now.runs, now.installations, now.failures, now.placeholder_runs) == (1, 0, 0, 1)


def test_runs_per_installation_leaves_out_placeholders() -> None:
    somebody = Installation.objects.create(user_id="7d444840-9dc0-41d1-b245-5ffdce74fad2")
    record(
        [run(NOON, installation=somebody), run(NOON, installation=somebody), run(NOON, placeholder="anonymous_opt_out")]
    )
    now = queries.totals(week(), NOON).now
    assert (now.runs, now.runs_per_installation) == (3, 2)


def test_totals_count_an_installation_of_several_days_once() -> None:
    somebody = Installation.objects.create(user_id="7d444840-9dc0-41d1-b245-5ffdce74fad2")
    record([run(NOON - timedelta(days=days), installation=somebody) for days in range(3)])
    assert queries.totals(week(), NOON).now.installations == 1
    series = queries.series(week(), NOON).now
    assert [point.figures.installations for point in series] == [0, 0, 0, 0, 1, 1, 1]


def test_the_period_before_ends_at_the_same_hour() -> None:
    week_ago = NOON - timedelta(days=7)
    record([run(NOON), run(week_ago - timedelta(hours=1)), run(week_ago + timedelta(hours=1))])
    before = queries.totals(week(), NOON).before
    assert before
    assert before.runs == 1
    assert queries.series(week(), NOON).before[-1].figures.runs == 2


@pytest.mark.parametrize(("runs", "told"), [(19, False), (20, True)])
def test_percentiles_need_twenty_successful_runs(runs: int, told: bool) -> None:
    record([*(run(NOON, duration_ms=5000) for _ in range(runs)), run(NOON, has_error=True)])
    now = queries.totals(week(), NOON).now
    assert (now.p50_ms is not None) is told
    if told:
        assert now.p50_ms == pytest.approx(5000, rel=0.021)


def test_installations_that_were_not_counted_are_not_zero() -> None:
    somebody = Installation.objects.create(user_id="7d444840-9dc0-41d1-b245-5ffdce74fad2")
    record([run(NOON - timedelta(days=days), installation=somebody, os="linux") for days in (1, 8)])
    for by, counted_now in (("command", 1), ("os", None)):
        (part,) = queries.parts(week(), NOON, by)
        assert part.before
        assert (part.now.installations, part.before.installations, part.before.runs) == (counted_now, None, 1)


def test_a_run_counts_for_each_option_that_it_used() -> None:
    record(
        [
            run(NOON, options={"debug": True, "maxTokens": 5}),
            run(NOON, options={"debug": False, "maxTokens": 0}),
            run(NOON, options=None),
        ]
    )
    assert {part.value: part.now.runs for part in queries.parts(week(), NOON, "option")} == {"debug": 1, "maxTokens": 2}


def test_freshness_says_when_and_which_days() -> None:
    assert queries.freshness() == queries.Freshness(None, None, None, 0)
    record([run(NOON - timedelta(days=3)), run(NOON)])
    found = queries.freshness()
    assert (found.first_day, found.newest_day) == (TODAY - timedelta(days=3), TODAY)
    assert found.loaded_at
    assert found.loaded_at.tzinfo == UTC


def test_values_beyond_the_first_255_can_be_combined() -> None:
    record([run(NOON, command=f"c{number:03}", os="linux") for number in range(300)])
    # Hours and days without the high numbers keep theirs in narrower columns.
    record([run(NOON - timedelta(days=days, hours=1), command="c000", os="darwin") for days in (0, 1)])
    for number in (0, 254, 255, 256, 299):
        chosen = {"command": {f"c{number:03}"}, "os": {"linux"}}
        by_hour = Filter(week().period, "hour", selection=Selection({"command": chosen["command"], "os": {"linux"}}))
        assert sum(point.figures.runs for point in queries.series(by_hour, NOON).now) == 1
        assert queries.totals(Filter(week().period, selection=Selection(chosen)), NOON).now.runs == 1
        neither = Filter(week().period, selection=Selection({}, chosen))
        assert queries.totals(neither, NOON).now.runs == (2 if number else 0)  # those of darwin, by c000
        others = Selection({"os": {"linux"}}, {"command": chosen["command"]})
        assert queries.totals(Filter(week().period, selection=others), NOON).now.runs == 299


def test_a_year_and_the_year_before_do_not_overlap() -> None:
    for name in ("12mo", "90d", "today"):
        chosen = Filter(Period.ending_today(name, NOON), compare="yoy")
        assert chosen.before
        assert chosen.before.last < chosen.period.first
        assert (chosen.period.first - chosen.before.first).days % 7 == 0


@pytest.mark.django_db(transaction=True)
def test_a_snapshot_is_of_one_moment() -> None:
    record([run(NOON)])
    with queries.snapshot():
        before = queries.totals(week(), NOON)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_in_a_connection_of_its_own, lambda: record([run(NOON)])).result()
        assert queries.totals(week(), NOON) == before
    assert queries.totals(week(), NOON).now.runs == 2
    with queries.snapshot(), pytest.raises(InternalError, match="read-only"):
        LoadedObject.objects.update(reason="x")


def _in_a_connection_of_its_own(do: Callable[[], None]) -> None:
    try:
        do()
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_goes_away_is_an_error_of_djangos() -> None:
    record([run(NOON)])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_in_a_connection_of_its_own, lambda: _end(pid)).result()
    with pytest.raises(OperationalError):
        queries.totals(week(), NOON)
    connection.close()
    assert queries.totals(week(), NOON).now.runs == 1


def _end(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
