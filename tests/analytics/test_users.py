"""Users: who is active, who is new and who stays, in small histories made by hand."""

import tracemalloc
from datetime import UTC, date, datetime, timedelta

import pytest

from analytics import queries
from analytics.models import Installation
from analytics.queries import Cohort, Filter, Newcomers, Period, Selection
from tests.analytics.history import record, run

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)


def installations(count: int) -> list[Installation]:
    return Installation.objects.bulk_create(
        [Installation(user_id=f"00000000-0000-4000-8000-{n:012}") for n in range(count)]
    )


def since(first: date, *, interval: str = "day") -> Filter:
    return Filter(Period("custom", first, NOW.date()), interval)


def test_activity_counts_an_installation_of_several_days_once_a_week_and_month() -> None:
    often, once = installations(2)
    record([run(MONDAY + hour * timedelta(hours=12), installation=often) for hour in range(4)])
    record([run(MONDAY, installation=once), run(NOW, placeholder="anonymous_opt_out")])
    found = queries.activity(since(date(2026, 11, 16)), NOW)
    assert [day.installations for day in found.days] == [0] * 7 + [2, 1, 0]
    assert [(week.start, week.installations, week.partial) for week in found.weeks] == [
        (MONDAY - WEEK, 0, False),
        (MONDAY, 2, True),
    ]
    assert [(month.start.day, month.installations, month.partial) for month in found.months] == [(1, 2, True)]


def test_activity_of_trailing_days_looks_before_the_period() -> None:
    early, late = installations(2)
    record([run(NOW - 30 * DAY, installation=early), run(NOW - 2 * DAY, installation=late)])
    last = queries.activity(since(date(2026, 11, 23)), NOW).days
    assert [(day.installations, day.of_7_days, day.of_30_days) for day in last] == [(1, 1, 2), (0, 1, 2), (0, 1, 1)]


def test_stickiness_leaves_out_a_day_that_is_not_over() -> None:
    first, second = installations(2)
    record([run(MONDAY, installation=first), run(MONDAY + DAY, installation=second), run(NOW, installation=second)])
    found = queries.activity(since(date(2026, 11, 23)), NOW)
    assert found.stickiness == pytest.approx((1 + 1) / (1 + 2))
    assert queries.activity(since(NOW.date()), NOW).stickiness is None


def test_newcomers_are_new_returning_or_back_again() -> None:
    new, returning, back, gone = installations(4)
    before = [run(MONDAY - WEEK, installation=returning), run(MONDAY - WEEK, installation=gone)]
    long_ago = [run(MONDAY - 3 * WEEK, installation=back)]
    record([*before, *long_ago, *(run(MONDAY, installation=one) for one in (new, returning, back))])
    [week] = queries.newcomers(since(MONDAY.date(), interval="week"), NOW)
    assert week == Newcomers(MONDAY, partial=True, installations=3, new=1, returning=1, before=2)
    assert (week.back_again, week.retained) == (1, 0.5)


def test_newcomers_are_not_those_who_ran_something_else_before() -> None:
    [somebody] = installations(1)
    record([run(MONDAY - WEEK, installation=somebody), run(MONDAY, installation=somebody, command="ask")])
    chosen = Filter(Period("custom", MONDAY.date(), NOW.date()), "week", selection=Selection({"command": {"ask"}}))
    [week] = queries.newcomers(chosen, NOW)
    assert (week.new, week.returning, week.back_again, week.retained) == (0, 0, 1, None)


def test_newcomers_of_hours_are_those_of_the_day() -> None:
    [somebody] = installations(1)
    record([run(NOW, installation=somebody)])
    [day] = queries.newcomers(Filter(Period.ending_today("today", NOW), "hour"), NOW)
    assert (day.start, day.installations, day.new) == (MONDAY + 2 * DAY, 1, 1)


def test_cohorts_follow_who_came_in_a_week() -> None:
    stays, leaves, came_later = installations(3)
    record(
        [
            *(run(MONDAY - 2 * WEEK + number * WEEK, installation=stays) for number in range(3)),
            run(MONDAY - WEEK - timedelta(milliseconds=1), installation=leaves),
            run(MONDAY - WEEK, installation=came_later),
        ]
    )
    found = queries.cohorts(since(date(2026, 11, 15)), NOW)  # a Sunday: the week before counts whole
    assert found.partial
    assert found.cohorts == [
        Cohort(MONDAY - 2 * WEEK, [2, 1, 1]),
        Cohort(MONDAY - WEEK, [1, 0]),
        Cohort(MONDAY, [0]),
    ]
    assert [found.cohorts[0].share(week) for week in range(3)] == [1, 0.5, 0.5]
    assert found.cohorts[2].share(0) is None


def test_cohorts_are_those_of_the_last_weeks() -> None:
    found = queries.cohorts(Filter(Period.ending_today("12mo", NOW)), NOW)
    assert [cohort.start for cohort in found.cohorts] == [MONDAY - weeks * WEEK for weeks in range(11, -1, -1)]
    last_week = Filter(Period("custom", date(2026, 11, 16), date(2026, 11, 22)))
    assert not queries.cohorts(last_week, NOW).partial


def test_runs_per_installation_are_in_buckets() -> None:
    times = [1, 1, 2, 5, 101]
    people = installations(len(times))
    record([run(NOW, installation=one) for one, number in zip(people, times, strict=True) for _ in range(number)])
    found = queries.runs_per_installation(since(MONDAY.date()))
    assert [(bucket.first, bucket.last, bucket.installations) for bucket in found.buckets if bucket.installations] == [
        (1, 1, 2),
        (2, 2, 1),
        (3, 5, 1),
        (101, None, 1),
    ]
    assert (found.installations, found.median, found.p90, found.buckets[0].share) == (5, 2, 101, 0.4)


def test_runs_per_installation_take_memory_by_their_number_not_by_ids() -> None:
    far = Installation.objects.create(pk=20_000_000, user_id="00000000-0000-4000-8000-000000000000")
    record([run(MONDAY, installation=far)])
    chosen = since(MONDAY.date())
    queries.runs_per_installation(chosen)  # what the first time imports and keeps is not counted
    tracemalloc.start()
    try:
        assert queries.runs_per_installation(chosen).installations == 1
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 10_000_000


def test_runs_per_installation_of_nobody_are_none() -> None:
    record([run(NOW, placeholder="anonymous_opt_out")])
    found = queries.runs_per_installation(since(MONDAY.date()))
    assert (found.installations, found.median, found.p90) == (0, None, None)
    assert {bucket.share for bucket in found.buckets} == {0}
