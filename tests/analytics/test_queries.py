"""Queries: figures are those of a plain recount of the events."""

from datetime import UTC, date, datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from analytics import queries
from analytics.models import Event, Installation
from analytics.queries import Figures, Period
from tests.analytics.history import made_up, record, run
from tests.events import NOON

pytestmark = pytest.mark.django_db

TODAY = NOON.date()


def recount(events: list[Event]) -> dict[str, int]:
    return {
        "runs": len(events),
        "failures": sum(event.has_error is True for event in events),
        "installations": len({event.installation_id for event in events} - {None}),
        "prompt_tokens": sum(event.prompt_tokens or 0 for event in events),
        "completion_tokens": sum(event.completion_tokens or 0 for event in events),
    }


def counted(figures: Figures) -> dict[str, int]:
    names = ("runs", "failures", "installations", "prompt_tokens", "completion_tokens")
    return {name: getattr(figures, name) for name in names}


def between(events: list[Event], first: date, until: datetime) -> list[Event]:
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return [event for event in events if start <= event.occurred_at < until]


@pytest.mark.parametrize("name", queries.PERIOD_DAYS)
def test_report_is_a_recount_of_the_events(name: str) -> None:
    events = made_up(NOON, days=80, a_day=12)
    record(events)
    period = Period.ending_today(name, NOON)
    report = queries.report(period, NOON)
    current = between(events, period.first, NOON + timedelta(hours=12))
    before = between(events, period.before().first, NOON - (TODAY - period.before().last))
    assert counted(report.now) == recount(current)
    assert counted(report.before) == recount(before)
    for day, figures in zip(period.days, report.days, strict=True):
        assert counted(figures) == recount([event for event in current if event.occurred_at.date() == day])
    for part in report.parts["command"]:
        assert counted(part.now) == recount([event for event in current if event.command == part.value])
        assert counted(part.before) == recount([event for event in before if event.command == part.value])
        assert sum(part.daily_runs) == part.now.runs
    for part in report.parts["error_type"]:
        assert part.now.runs == sum(event.error_type == part.value for event in current)


def test_report_orders_parts_by_runs_and_shares_add_up() -> None:
    record(made_up(NOON, days=7, a_day=40))
    parts = queries.report(Period.ending_today("7d", NOON), NOON).parts
    for dimension in queries.BREAKDOWNS:
        runs = [part.now.runs for part in parts[dimension]]
        assert runs == sorted(runs, reverse=True)
        assert sum(part.share for part in parts[dimension]) == pytest.approx(1)


def test_report_of_nothing_is_zeros() -> None:
    report = queries.report(Period.ending_today("30d", NOON), NOON)
    assert report.now == Figures(0, 0, 0, 0, 0, 0, None, None, None)
    assert (report.now.error_rate, report.now.runs_per_installation, report.now.tokens_per_run) == (None, None, None)
    assert [figures.runs for figures in report.days] == [0] * 30
    assert not any(report.parts.values())


def test_report_leaves_out_twins_and_counts_placeholders_as_runs_only() -> None:
    record(
        [
            run(NOON, placeholder="anonymous_opt_out"),
            run(NOON, event_name="command_error", duration_ms=None, has_error=None, error_type="FileError"),
        ]
    )
    now = queries.report(Period.ending_today("7d", NOON), NOON).now
    assert (now.runs, now.installations, now.failures) == (1, 0, 0)


def test_runs_per_installation_leaves_out_placeholders() -> None:
    somebody = Installation.objects.create(user_id="7d444840-9dc0-41d1-b245-5ffdce74fad2")
    record(
        [run(NOON, installation=somebody), run(NOON, installation=somebody), run(NOON, placeholder="anonymous_opt_out")]
    )
    now = queries.report(Period.ending_today("7d", NOON), NOON).now
    assert (now.runs, now.runs_per_installation) == (3, 2)


def test_report_counts_an_installation_of_several_days_once() -> None:
    somebody = Installation.objects.create(user_id="7d444840-9dc0-41d1-b245-5ffdce74fad2")
    record([run(NOON - timedelta(days=days), installation=somebody) for days in range(3)])
    report = queries.report(Period.ending_today("7d", NOON), NOON)
    assert report.now.installations == 1
    assert [figures.installations for figures in report.days] == [0, 0, 0, 0, 1, 1, 1]


def test_report_ends_the_period_before_at_the_same_hour() -> None:
    week_ago = NOON - timedelta(days=7)
    record([run(NOON), run(week_ago - timedelta(hours=1)), run(week_ago + timedelta(hours=1))])
    report = queries.report(Period.ending_today("7d", NOON), NOON)
    assert report.before.runs == 1
    assert report.days_before[-1].runs == 2


@pytest.mark.parametrize(("runs", "told"), [(19, False), (20, True)])
def test_percentiles_need_twenty_successful_runs(runs: int, told: bool) -> None:
    record([*(run(NOON, duration_ms=5000) for _ in range(runs)), run(NOON, has_error=True)])
    now = queries.report(Period.ending_today("7d", NOON), NOON).now
    assert (now.p50_ms is not None) is told
    if told:
        assert now.p50_ms == pytest.approx(5000, rel=0.021)


def test_report_takes_two_statements(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    record(made_up(NOON, days=10, a_day=10))
    with django_assert_num_queries(2):
        queries.report(Period.ending_today("90d", NOON), NOON)


@pytest.mark.parametrize(("name", "days_back"), [("7d", 7), ("30d", 35), ("90d", 91)])
def test_period_before_is_moved_by_whole_weeks(name: str, days_back: int) -> None:
    period = Period.ending_today(name, NOON)
    before = period.before()
    assert (period.last, len(period.days)) == (TODAY, queries.PERIOD_DAYS[name])
    assert period.first - before.first == period.last - before.last == timedelta(days=days_back)
    assert before.last < period.first


def test_newest_day_and_loaded_at_are_none_before_the_first_event() -> None:
    assert queries.newest_day() is None
    assert queries.loaded_at() is None
    record([run(NOON - timedelta(days=3)), run(NOON - timedelta(days=9))])
    assert queries.newest_day() == TODAY - timedelta(days=3)
    assert queries.loaded_at() is not None
