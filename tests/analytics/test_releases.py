"""Releases: which versions are noticed, that edits stay, and what charts are told."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import call_command
from pytest_django import DjangoAssertNumQueries

from analytics import releases
from analytics.models import Annotation, Event, Installation, Release
from analytics.releases import MIN_INSTALLATIONS, Marker
from tests.analytics.history import record, run

pytestmark = pytest.mark.django_db

BEGAN = datetime(2026, 10, 1, 12, tzinfo=UTC)
NOW = BEGAN + timedelta(days=30)


def ran(version: str, day: int, people: int = MIN_INSTALLATIONS) -> list[Event]:
    """Runs of a version by so many installations, on a day after the portal began."""
    for number in range(people):
        Installation.objects.get_or_create(user_id=f"00000000-0000-4000-8000-{number:012}")
    return [
        run(BEGAN + timedelta(days=day), tool_version=version, installation=installation)
        for installation in Installation.objects.order_by("user_id")[:people]
    ]


def noticed() -> dict[str, int]:
    """Version -> the day after the portal began on which it is marked."""
    releases.notice(NOW)
    found = Release.objects.exclude(released_on=None).values_list("version", "released_on")
    return {version: (day - BEGAN.date()).days for version, day in found if day}


def test_a_new_version_is_noticed_on_its_first_day() -> None:
    record([*ran("0.63.0", 0), *ran("0.64.0", 9, people=1), *ran("0.64.0", 12)])
    assert noticed() == {"0.64.0": 9}
    assert Release.objects.get().first_seen_on == date(2026, 10, 10)


def test_what_few_run_is_not_noticed_until_enough_do() -> None:
    record([*ran("0.63.0", 0), *ran("0.64.0", 9, people=MIN_INSTALLATIONS - 1)])
    assert noticed() == {}
    record(ran("0.64.0", 11))
    assert noticed() == {"0.64.0": 9}


def test_versions_of_the_first_day_and_older_ones_that_turn_up_are_no_releases() -> None:
    record([*ran("0.63.0", 0), *ran("0.64.0", 0), *ran("0.62.5", 3), *ran("0.62.6", 5), *ran("0.63.0rc1", 6)])
    assert noticed() == {}


def test_a_mended_older_series_is_a_release() -> None:
    record([*ran("0.63.3", 0), *ran("0.64.0", 4), *ran("0.63.4", 8)])
    assert noticed() == {"0.64.0": 4, "0.63.4": 8}


def test_versions_of_one_day_are_judged_by_the_days_before() -> None:
    record([*ran("0.9.0", 0), *ran("0.9.1", 4), *ran("0.10.1", 4), *ran("v0.11.0rc2", 4)])
    assert noticed() == {"0.9.1": 4, "0.10.1": 4, "v0.11.0rc2": 4}


def test_of_one_day_a_series_has_one_release() -> None:
    record([*ran("0.9.0", 0), *ran("0.10.0rc1", 4), *ran("0.10.1", 4), *ran("0.10.0", 4)])
    assert noticed() == {"0.10.1": 4}


def test_a_trial_before_the_roll_out_makes_no_old_version_a_release() -> None:
    record([*ran("0.60.0", 0, people=1), *ran("0.59.0", 0, people=MIN_INSTALLATIONS - 1)])
    record([*ran("0.60.0", 1), *ran("0.61.0", 1), *ran("0.62.0", 1), *ran("0.64.0", 1), *ran("0.65.0", 9)])
    assert noticed() == {"0.65.0": 9}


@pytest.mark.parametrize(
    "version", ["other", "0.64.0.dev3", "0.64.0+local", "64", "1.0-SNAPSHOT", "<script>", "\u202e1.2.3", "0.64.0\n"]
)
def test_what_nobody_releases_is_not_noticed(version: str) -> None:
    record([*ran("0.63.0", 0), *ran(version, 4)])
    assert noticed() == {}


def test_tomorrow_is_for_tomorrow() -> None:
    record([*ran("0.63.0", 0), *ran("0.64.0", 31)])
    assert noticed() == {}
    assert releases.notice(NOW + timedelta(days=1)) == 1


def test_an_empty_portal_has_no_releases() -> None:
    assert noticed() == {}


def test_noticed_again_nothing_changes_and_edits_stay() -> None:
    record([*ran("0.63.0", 0), *ran("0.64.0", 4), *ran("0.65.0", 8)])
    assert releases.notice(NOW) == 2
    Release.objects.filter(version="0.64.0").update(released_on=date(2026, 10, 3), notes="from the tag")
    Release.objects.filter(version="0.65.0").update(released_on=None)
    assert releases.notice(NOW) == 0
    assert noticed() == {"0.64.0": 2}
    assert Release.objects.get(version="0.64.0").notes == "from the tag"


def test_a_release_that_was_written_down_before_keeps_its_day() -> None:
    Release.objects.create(version="0.64.0", released_on=date(2026, 10, 2))
    record([*ran("0.63.0", 0), *ran("0.64.0", 4)])
    assert noticed() == {"0.64.0": 1}
    assert Release.objects.get().first_seen_on == date(2026, 10, 5)


@pytest.mark.usefixtures("empty_stores")
def test_loading_notices() -> None:
    record([*ran("0.63.0", 0), *ran("0.64.0", 4)])
    call_command("load")
    assert Release.objects.get().version == "0.64.0"


def test_markers_are_those_of_the_days_by_day_in_one_statement(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for day, version in ((1, "0.63.0"), (3, "0.64.0"), (5, "0.65.0")):
        Release.objects.create(version=version, released_on=date(2026, 10, day))
    Release.objects.create(version="0.66.0")
    Annotation.objects.create(day=date(2026, 10, 3), text="moved to the new model")
    Annotation.objects.create(day=date(2026, 10, 6), text="later")
    with django_assert_num_queries(1):
        found = releases.markers(date(2026, 10, 2), date(2026, 10, 5))
    assert found == [
        Marker(date(2026, 10, 3), "moved to the new model", "annotation"),
        Marker(date(2026, 10, 3), "0.64.0", "release"),
        Marker(date(2026, 10, 5), "0.65.0", "release"),
    ]


def test_a_version_that_was_unmarked_hides_no_later_one() -> None:
    record([*ran("0.63.0", 0), *ran("9999.0", 3), *ran("0.64.0", 9)])
    assert noticed() == {"9999.0": 3}
    Release.objects.filter(version="9999.0").update(released_on=None)
    assert noticed() == {"0.64.0": 9}
