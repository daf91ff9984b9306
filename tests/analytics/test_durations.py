"""Durations: how many successful runs took how long, beside a recount, and by hand."""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise

import pytest

from analytics import queries
from analytics.models import Event
from analytics.queries import Filter, Period
from tests.analytics.history import made_up, record, run
from tests.analytics.recount import nearest_rank
from tests.events import NOON

pytestmark = pytest.mark.django_db

WITHIN = 1.0200001

Chosen = Callable[[Event], bool]
FILTERS: Sequence[tuple[Mapping[str, str], Chosen]] = (
    ({"period": "30d"}, lambda event: True),
    ({"period": "today"}, lambda event: event.occurred_at.date() == NOON.date()),
    ({"period": "30d", "command": "repo"}, lambda event: event.command == "repo"),
    ({"period": "30d", "command__not": "repo"}, lambda event: event.command != "repo"),
    (
        {"period": "7d", "command": "repo", "model": "gpt-4.1"},
        lambda event: (
            (event.command, event.model) == ("repo", "gpt-4.1")
            and event.occurred_at.date() > NOON.date() - timedelta(days=7)
        ),
    ),
)


def week() -> Filter:
    return Filter(Period.ending_today("7d", NOON))


def test_durations_are_a_recount_of_the_events() -> None:
    dice = random.Random(3)
    events = made_up(NOON, days=30, a_day=20)
    for event in events:
        event.duration_ms = int(10 ** dice.uniform(0, 7.5))
    record(events)
    for words, is_chosen in FILTERS:
        succeeded = [event.duration_ms or 0 for event in events if is_chosen(event) and not event.has_error]
        found = queries.durations(queries.parsed({name: [value] for name, value in words.items()}, NOON)[0])
        assert found.runs == sum(bucket.runs for bucket in found.buckets) == len(succeeded) > 0
        under = 0
        for bucket in found.buckets[:-1]:
            under += bucket.runs
            assert bucket.until_ms is not None
            assert bucket.share == bucket.runs / len(succeeded)
            at_least, at_most = (
                sum(duration < end for duration in succeeded)
                for end in (bucket.until_ms / WITHIN, bucket.until_ms * WITHIN)
            )
            assert at_least <= under <= at_most, words
        for percent, percentile in ((50, found.p50_ms), (90, found.p90_ms), (99, found.p99_ms)):
            enough = len(succeeded) >= queries.PERCENTILE_MIN_RUNS
            expected = pytest.approx(nearest_rank(succeeded, percent), rel=WITHIN - 1) if enough else None
            assert percentile == expected, words


def test_durations_leave_out_failures_and_other_days() -> None:
    failed = run(NOON, duration_ms=3_000, has_error=True)
    record([run(NOON, duration_ms=3_000), run(NOON, duration_ms=0), failed])
    record([run(NOON.replace(day=1), duration_ms=3_000)])
    found = queries.durations(week())
    assert {(bucket.first_ms, bucket.until_ms): bucket.runs for bucket in found.buckets if bucket.runs} == {
        (0, 15): 1,
        (2_000, 4_000): 1,
    }
    assert (found.runs, found.p50_ms) == (2, None)


def test_buckets_of_no_runs_are_there_without_gaps_and_about_double() -> None:
    found = queries.durations(week())
    assert (found.runs, {bucket.runs for bucket in found.buckets}, {bucket.share for bucket in found.buckets}) == (
        *(0, {0}),
        {0},
    )
    for bucket, following in pairwise(found.buckets):
        assert bucket.until_ms == following.first_ms
        assert bucket.first_ms == 0 or 1.8 < following.first_ms / bucket.first_ms < 2.2
    assert found.buckets[-1].until_ms is None
