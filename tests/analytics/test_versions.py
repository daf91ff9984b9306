"""Versions: adoption is a recount of the events, and a version is compared with the right one."""

import math
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from analytics import queries
from analytics.models import DailyRollup, Event, Installation
from analytics.queries import Comparison, Filter, Period, Selection
from analytics.queries.chance import INSTALLATIONS_MIN
from tests.analytics.history import record, record_made_up, run
from tests.events import NOON

pytestmark = pytest.mark.django_db

TODAY = NOON.date()
OLD, NEW = "0.63.3", "0.64.0"


def of(name: str = "30d", interval: str = "day", **only: set[str]) -> Filter:
    return Filter(Period.ending_today(name, NOON), interval, selection=Selection(only))


def ago(days: float) -> datetime:
    return NOON - timedelta(days=days)


def somebody(count: int) -> list[Installation]:
    return Installation.objects.bulk_create([Installation(user_id=uuid.uuid4()) for _ in range(count)])


def installations(events: Iterable[Event]) -> set[int | None]:
    return {event.installation_id for event in events} - {None}


# -- Adoption ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "step"),
    [
        (of("30d"), timedelta(days=1)),
        (of("7d", "hour"), timedelta(hours=1)),
        (of("30d", "week"), timedelta(weeks=1)),
        (of("30d", command={"repo"}), timedelta(days=1)),
        (of("30d", "week", command={"repo", "ask"}, provider={"openai"}), timedelta(weeks=1)),
        (of("30d", version={NEW}), timedelta(days=1)),
    ],
)
def test_adoption_is_a_recount_of_the_events(chosen: Filter, step: timedelta) -> None:
    events = record_made_up(NOON, days=60, a_day=20)
    found = queries.adoption(chosen, NOON)
    only = chosen.selection.only
    events = [
        event
        for event in events
        if event.command in only.get("command", {event.command})
        and event.provider in only.get("provider", {event.provider})
        and event.occurred_at >= chosen.period.start
    ]
    ran = {event.tool_version for event in events} & only.get("version", {OLD, NEW})
    assert [version.version for version in found.versions] == sorted(ran, reverse=True)
    for place, point in enumerate(found.steps):
        here = [event for event in events if point.start <= event.occurred_at < point.start + step]
        assert point.installations == len(installations(here))
        for version in found.versions:
            own = len(installations(event for event in here if event.tool_version == version.version))
            assert version.installations[place] == own
            assert version.shares[place] == (own / point.installations if own else 0)
        if "version" not in only and point.installations:
            assert sum(version.stacked[place] for version in found.versions) == pytest.approx(1)


def test_adoption_counts_an_installation_for_each_version_it_ran() -> None:
    both, one = somebody(2)
    record([run(NOON, installation=both, tool_version=version) for version in (OLD, NEW)])
    record([run(NOON, installation=one, tool_version=NEW)])
    new, old = queries.adoption(of("7d"), NOON).versions
    assert (new.shares[-1], old.shares[-1]) == (1, 0.5)
    assert (new.stacked[-1], old.stacked[-1]) == (2 / 3, 1 / 3)
    assert new.shares[0] == new.stacked[0] == 0


def test_first_day_is_the_first_ever_whatever_the_filter() -> None:
    record([run(ago(90)), run(ago(50), command="ask", tool_version=OLD), run(ago(1), tool_version=OLD)])
    [old] = queries.adoption(of("7d", command={"repo"}), NOON).versions
    assert (old.version, old.first_day) == (OLD, TODAY - timedelta(days=50))


def spread(days_ago: dict[int, list[int]]) -> int | None:
    """Days to half of NEW, which from so many days ago on these of four people ran; all of them ran OLD 30 days ago.

    Each of them runs every sixth day and on the day of moving.
    """
    people = somebody(4)
    moved = {person: days for days, movers in days_ago.items() for person in movers}
    for place, person in enumerate(people):
        days = {*range(40, -1, -6), *([moved[place]] if place in moved else [])}
        record(
            run(ago(day), installation=person, tool_version=NEW if day <= moved.get(place, -1) else OLD) for day in days
        )
    return queries.adoption(of(), NOON).versions[0].days_to_half


def test_days_to_half_is_until_half_of_a_weeks_installations_ran_it() -> None:
    assert spread({15: [0], 11: [1], 9: [2]}) == 4


def test_days_to_half_of_the_first_day_is_zero() -> None:
    assert spread({15: [0, 1]}) == 0


def test_days_to_half_is_none_where_that_has_not_come() -> None:
    assert spread({15: [0]}) is None


def test_days_to_half_leaves_out_today() -> None:
    assert spread({15: [0], 0: [1]}) is None


def test_days_to_half_of_the_very_first_versions_is_not_known() -> None:
    record([run(ago(3), installation=person) for person in somebody(1)])
    assert queries.adoption(of(), NOON).versions[0].days_to_half is None


@pytest.mark.parametrize(("seen_days_ago", "found"), [(66, 0), (67, None)])
def test_days_to_half_is_looked_for_sixty_days_before_the_period(seen_days_ago: int, found: int | None) -> None:
    [person] = somebody(1)
    record([run(ago(100), tool_version=OLD), *(run(ago(day), installation=person) for day in (seen_days_ago, 0))])
    assert queries.adoption(of("7d"), NOON).versions[0].days_to_half == found


def test_days_to_half_may_be_a_day_on_which_nobody_ran_it() -> None:
    one, other, third = somebody(3)
    record(
        [
            run(ago(40), installation=one, tool_version=OLD),
            *(run(ago(20), installation=who, tool_version=OLD) for who in (one, other)),
            run(ago(19), installation=third, tool_version=NEW),
        ]
    )
    # Of the seven days that end with the thirteenth day ago, those with the old version are the first no more.
    assert {each.version: each.days_to_half for each in queries.adoption(of(), NOON).versions}[NEW] == 6


def test_days_to_half_counts_an_installation_of_several_days_once() -> None:
    first, *others = somebody(3)
    record([run(ago(day), installation=person, tool_version=OLD) for day in (40, 12) for person in others])
    record([run(ago(day), installation=first) for day in (10, 9, 8)])
    record([run(ago(day), installation=others[0]) for day in (7,)])
    assert queries.adoption(of(), NOON).versions[0].days_to_half == 3


# -- Against the version before ---------------------------------------------------------------------------------------


def runs_of(
    people: Iterable[Installation], version: str, *, failures: int = 0, day: float = 2, **columns: Any
) -> list[Event]:
    """Ten runs of each, some of them failed."""
    return [
        run(ago(day), installation=person, tool_version=version, has_error=place < failures, **columns)
        for person in people
        for place in range(10)
    ]


def by_version(chosen: Filter) -> dict[str, Comparison]:
    return {one.now.version: one for one in queries.comparisons(chosen, NOON)}


def test_comparisons_have_what_a_recount_has() -> None:
    people = somebody(2 * INSTALLATIONS_MIN)
    events = [
        *runs_of(people, OLD, failures=1, day=4, duration_ms=1000),
        *runs_of(people[:-40], NEW, failures=2, duration_ms=2000),
        run(ago(2), placeholder="anonymous_opt_out"),
        run(NOON, installation=people[-1]),  # today is not over
    ]
    record(events)
    for chosen in (of(), of(command={"repo"})):
        new, old = queries.comparisons(chosen, NOON)
        assert old == Comparison(old.now)
        assert (new.before, new.now.installations, old.now.installations) == (old.now, 60, 100)
        assert (new.now.runs, new.now.failures, new.now.error_rate) == (600, 120, 0.2)
        assert new.now.duration_ms == pytest.approx(2000, rel=0.021)
        assert new.error_rate_difference == pytest.approx(0.1)
        assert new.duration_ratio == pytest.approx(2, rel=0.041)


def test_comparisons_flag_what_is_worse() -> None:
    old, new = somebody(100), somebody(100)
    record(runs_of(old[:80], OLD, failures=1, duration_ms=1000) + runs_of(old[80:], OLD, failures=3, duration_ms=1500))
    record(runs_of(new[:80], NEW, failures=3, duration_ms=900) + runs_of(new[80:], NEW, failures=5, duration_ms=1300))
    found = by_version(of())[NEW]
    assert (found.worse_errors, found.worse_duration) == (True, False)
    assert found.duration_ratio
    assert found.duration_ratio < 1
    assert found.duration_p == 1


def test_comparisons_flag_what_takes_longer() -> None:
    record(runs_of(somebody(60), OLD, duration_ms=1000) + runs_of(somebody(60), NEW, duration_ms=1500))
    found = by_version(of())[NEW]
    assert (found.worse_errors, found.worse_duration) == (False, True)


def test_comparisons_flag_no_difference_of_one_installation() -> None:
    old, (broken, *new) = somebody(60), somebody(60)
    record(runs_of(old, OLD) + runs_of(new, NEW))
    record(event for hours in range(10) for event in runs_of([broken], NEW, failures=10, day=2 + hours / 24))
    found = by_version(of())[NEW]
    assert found.now.error_rate > 0.1
    assert not found.worse_errors


@pytest.mark.parametrize(("count", "said"), [(INSTALLATIONS_MIN - 1, False), (INSTALLATIONS_MIN, True)])
def test_comparisons_say_nothing_of_few_installations(count: int, said: bool) -> None:
    record(runs_of(somebody(INSTALLATIONS_MIN), OLD) + runs_of(somebody(count), NEW, failures=10))
    found = by_version(of())[NEW]
    assert (found.before is not None, found.errors_p is not None, found.worse_errors) == (said, said, said)
    assert found.duration_p is None  # none of its runs succeeded
    assert found.now.duration_ms is None


def test_comparisons_are_with_the_next_older_version_that_enough_ran() -> None:
    people = somebody(INSTALLATIONS_MIN)
    for day, version in enumerate(["nightly", "0.10.0", "0.9.0", "0.10.0rc1", "another build"]):
        record(runs_of(people, version, day=9 - day))
    record(runs_of(people[:3], "0.9.9"))
    found = queries.comparisons(of(), NOON)
    assert [(one.now.version, one.before.version if one.before else None) for one in found] == [
        ("another build", "nightly"),
        ("nightly", "0.10.0"),
        ("0.10.0", "0.10.0rc1"),
        ("0.10.0rc1", "0.9.0"),
        ("0.9.9", None),
        ("0.9.0", None),
    ]


def test_comparisons_are_the_same_where_one_version_is_chosen() -> None:
    people = somebody(INSTALLATIONS_MIN)
    for place, version in enumerate(["0.62.0", OLD, NEW]):
        record(runs_of(people, version, failures=place))
    assert queries.comparisons(of(version={OLD}), NOON) == [by_version(of())[OLD]]
    assert [one.now.version for one in queries.comparisons(without(OLD), NOON)] == [NEW, "0.62.0"]


def without(version: str) -> Filter:
    return replace(of(), selection=Selection({}, {"version": {version}}))


def test_comparisons_grow_careful_with_each_day_and_each_pair() -> None:
    old, new = somebody(60), somebody(60)
    record(runs_of(old[:30], OLD, failures=1) + runs_of(old[30:], OLD, failures=3))
    record(runs_of(new[:20], NEW, failures=1) + runs_of(new[20:], NEW, failures=5))
    second_look = by_version(of())[NEW].errors_p
    assert second_look
    assert 0 < second_look < 0.01
    record([run(ago(5), tool_version=NEW)])  # by nobody in particular; now it is the fifth look
    fifth_look = by_version(of())[NEW].errors_p
    assert fifth_look
    assert fifth_look == pytest.approx(second_look * 5 * 6 / (2 * 3))
    record(runs_of(old, "0.62.0"))
    two_pairs = by_version(of())[NEW].errors_p
    assert two_pairs == pytest.approx(2 * fifth_look)


def test_comparisons_of_nothing_are_none() -> None:
    assert queries.comparisons(of(), NOON) == []
    assert queries.comparisons(of("today"), NOON) == []
    assert queries.adoption(of(), NOON).versions == []
    assert len(queries.adoption(of(), NOON).steps) == 30


def test_versions_take_as_many_statements_for_many_as_for_few(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    people = somebody(INSTALLATIONS_MIN)
    for versions in ([OLD, NEW], ["0.60.0", "0.61.0", "0.62.0"]):
        for version in versions:
            record(runs_of(people, version))
        # Rollups; what versions are called, and their first days.
        with django_assert_num_queries(3):
            queries.comparisons(of(), NOON)
        with django_assert_num_queries(3):
            queries.adoption(of(), NOON)


def test_geometric_mean_is_that_of_the_durations() -> None:
    people = somebody(INSTALLATIONS_MIN)
    durations = [100, 1000, 50_000]
    record(run(ago(2), installation=person, duration_ms=took) for person in people for took in durations)
    [one] = queries.comparisons(of(), NOON)
    assert one.now.duration_ms == pytest.approx(math.prod(durations) ** (1 / 3), rel=0.021)


def test_first_day_is_a_utc_day() -> None:
    record([run(datetime.fromisoformat("2026-11-20T23:30:00-02:00"))])
    assert queries.adoption(of(), NOON).versions[0].first_day == date(2026, 11, 21)


def test_adoption_waits_for_days_that_are_about_to_be_counted() -> None:
    record([run(NOON, tool_version="0.64.0")])
    DailyRollup.objects.all().delete()
    assert queries.adoption(of("today", "hour"), NOON).versions == []
