"""Errors: each figure is a recount of the events."""

import uuid
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from analytics import queries
from analytics.models import Event, Installation
from analytics.queries import ErrorType, Filter, Period, Selection
from tests.analytics.history import record, record_made_up, run
from tests.events import NOON

pytestmark = pytest.mark.django_db

TODAY = NOON.date()


def of(name: str = "7d", **only: set[str]) -> Filter:
    return Filter(Period.ending_today(name, NOON), selection=Selection(only))


def ago(days: int) -> datetime:
    return NOON - timedelta(days=days)


def failed(occurred_at: datetime, error_type: str | None, version: str = "0.64.0") -> Event:
    return run(occurred_at, has_error=True, error_type=error_type, tool_version=version)


def by_type(chosen: Filter) -> dict[str, ErrorType]:
    return {one.error_type: one for one in queries.errors(chosen, NOON)}


@pytest.mark.parametrize(
    "chosen",
    [of("30d"), of("7d"), of("7d", command={"repo"}), of("30d", command={"repo"}, provider={"openai"})],
)
def test_errors_are_a_recount_of_the_events(chosen: Filter) -> None:
    everything = record_made_up(NOON, days=80, a_day=8)
    only, before = chosen.selection.only, chosen.before
    assert before
    events = [
        event
        for event in everything
        if event.command in only.get("command", {event.command})
        and event.provider in only.get("provider", {event.provider})
    ]
    current = [event for event in events if event.occurred_at >= chosen.period.start]
    # Until the same hour: today is not over.
    earlier = [event for event in events if before.start <= event.occurred_at < NOON - (TODAY - before.last)]
    found = queries.errors(chosen, NOON)
    assert [one.error_type for one in found] == [
        name for name, _ in sorted(counted(current).items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    for one in found:
        own = [event for event in current if event.error_type == one.error_type]
        assert (one.runs, one.rate) == (len(own), len(own) / len(current))
        was = counted(earlier)[one.error_type]
        assert (one.runs_before, one.rate_before) == (was, was / len(earlier))
        assert one.installations == len({event.installation_id for event in own} - {None})
        days = [event.occurred_at.date() for event in everything if event.error_type == one.error_type]
        assert (one.first_day, one.last_day) == (min(days), max(days))
        assert dict(one.versions) == Counter(event.tool_version for event in own)
        assert not one.new


def counted(events: list[Event]) -> Counter[str]:
    return Counter(event.error_type for event in events if event.error_type)


def test_errors_leave_out_twins_and_failures_without_a_type() -> None:
    record(
        [
            failed(NOON, None),
            run(NOON, event_name="command_error", duration_ms=None, has_error=None, error_type="FileError"),
        ]
    )
    assert queries.errors(of(), NOON) == []


def test_errors_first_seen_in_the_period_are_new() -> None:
    record([run(ago(20)), failed(ago(8), "FileError"), failed(ago(2), "FileError"), failed(ago(6), "NetworkError")])
    found = by_type(of())
    assert {name: one.new for name, one in found.items()} == {"FileError": False, "NetworkError": True}
    assert found["FileError"].first_day == TODAY - timedelta(days=8)


def test_errors_are_not_new_where_the_portal_is() -> None:
    record([run(ago(6)), failed(ago(2), "FileError")])
    assert not by_type(of())["FileError"].new


def test_errors_first_and_last_days_are_of_all_time_and_any_filter() -> None:
    record([failed(ago(90), "FileError"), failed(ago(5), "FileError", "0.63.3"), failed(NOON, "FileError")])
    earlier = Filter(Period("custom", TODAY - timedelta(days=6), TODAY - timedelta(days=3)))
    chosen = replace(earlier, selection=Selection({"version": {"0.63.3"}}))
    [one] = queries.errors(chosen, NOON)
    assert (one.runs, one.first_day, one.last_day) == (1, TODAY - timedelta(days=90), TODAY)


def test_errors_of_a_chosen_type_keep_their_rate_of_all_runs() -> None:
    record([failed(NOON, "FileError"), failed(NOON, "NetworkError"), run(NOON), run(NOON)])
    assert queries.errors(of(error_type={"FileError"}), NOON) == [by_type(of())["FileError"]]
    [other] = queries.errors(replace(of(), selection=Selection({}, {"error_type": {"FileError"}})), NOON)
    assert (other.error_type, other.rate) == ("NetworkError", 0.25)


def test_errors_without_a_period_before_have_no_change() -> None:
    record([failed(ago(8), "FileError"), failed(NOON, "FileError"), failed(NOON, "NetworkError")])
    assert by_type(of())["FileError"].rate_before == 1
    assert (by_type(of())["NetworkError"].runs_before, by_type(of())["NetworkError"].rate_before) == (0, 0)
    [one, _] = queries.errors(replace(of(), compare="off"), NOON)
    assert (one.runs_before, one.rate_before) == (None, None)
    [one, _] = queries.errors(replace(of(), compare="yoy"), NOON)
    assert (one.runs_before, one.rate_before) == (0, None)


def test_errors_list_versions_by_runs() -> None:
    somebody = Installation.objects.create(user_id=uuid.uuid4())
    record([failed(NOON, "FileError", version) for version in ("0.62.0", "0.64.0", "0.63.3", "0.64.0")])
    record([run(NOON, installation=somebody, has_error=True, error_type="FileError")])
    [one] = queries.errors(of(), NOON)
    assert one.versions == [("0.64.0", 3), ("0.62.0", 1), ("0.63.3", 1)]
    assert one.installations == 1


def test_errors_take_as_many_statements_for_many_as_for_few(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for names in (["FileError"], ["NetworkError", "ModelError", "OtherError"]):
        record([failed(NOON, name) for name in names])
        # Days by type and in all, now and before, an hour of before; what values are called; and the days of types.
        with django_assert_num_queries(7):
            queries.errors(of(), NOON)
