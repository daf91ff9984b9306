"""The Overview: what its panels show of a period's parts, and in which order."""

import random
import re
import uuid
from collections.abc import Mapping

import pytest

from analytics.dashboards import overview, wording
from analytics.dashboards.panel import Panel
from analytics.models import Event, Installation
from analytics.queries import Period
from tests.analytics.history import record, run
from tests.events import NOON


def page() -> dict[str, object]:
    return overview.context({}, pipeline_url="", now=NOON)


def runs_of(command: str, count: int, duration_ms: int) -> list[Event]:
    return [run(NOON, command=command, duration_ms=duration_ms) for _ in range(count)]


def test_versions_sort_as_python_packages_do_and_what_is_none_below_them() -> None:
    ascending = ["1.0.0-alice", "other", "²", "0.63.3", "0.64.0-beta.2", "0.64.0-beta.10", "0.64.0rc1", "0.64.0"]
    ascending += ["0.64.1rc1", "0.64.1", "0.64.1+local", "0.64.10", "1.0"]
    shuffled = random.Random(7).sample(ascending, len(ascending))
    assert sorted(shuffled, key=overview._version_key) == ascending


def adoption(installations: Mapping[str, int]) -> list[str]:
    """The names of the chart's layers, from the top, after runs by so many installations of each version."""
    for version, count in installations.items():
        people = Installation.objects.bulk_create([Installation(user_id=uuid.uuid4()) for _ in range(count)])
        record(run(NOON, tool_version=version, installation=somebody) for somebody in people)
    drawn = overview._adoption(overview._report(Period.ending_today("30d", NOON), NOON))
    return re.findall("<title>([^<]+)</title>", drawn["chart"])[::-1]


@pytest.mark.django_db
def test_adoption_shows_the_most_used_versions_newest_first() -> None:
    used = {"0.9": 4, "0.10": 5, "0.8": 3, "0.7": 6, "0.6": 2, "9.9.8": 1, "9.9.9": 1}
    assert adoption(used) == ["0.10", "0.9", "0.8", "0.7", "0.6", "2 others"]


@pytest.mark.django_db
def test_adoption_leaves_out_nobody() -> None:
    assert adoption({"0.2": 2, "0.1": 2}) == ["0.2", "0.1"]


@pytest.mark.django_db
def test_durations_are_of_the_commands_run_most_slowest_first() -> None:
    for place in range(10):
        record(runs_of(f"command-{place}", 40 - place, duration_ms=1000 * (place + 1)))
    record(runs_of("seldom", 19, duration_ms=5))
    panel = page()["durations"]
    assert isinstance(panel, Panel)
    assert [row.label for row in panel.rows] == [f"command-{place}" for place in reversed(range(8))]
    assert panel.rest == "2 more, with 63 runs"


@pytest.mark.django_db
def test_panels_draw_bars_as_long_as_the_runs() -> None:
    failed = [run(NOON, command="ask", has_error=True, error_type="FileError") for _ in range(5)]
    record([*runs_of("repo", 10, duration_ms=1000), *failed])
    for panel, bars in (("commands", {"repo": "100%", "ask": "50%"}), ("errors", {"FileError": "100%"})):
        shown = page()[panel]
        assert isinstance(shown, Panel)
        assert {row.label: re.findall('<rect width="([^"]+)"', row.bar)[0] for row in shown.rows} == bars


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (9_999, "9,999"),
        (23_412, "23.4k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (2.5e9, "2.5G"),
        (1.2e12, "1.2T"),
        (1e16, "10,000T"),
    ],
)
def test_compact_has_a_letter_for_each_thousand(number: float, words: str) -> None:
    assert wording.compact(number) == words


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(340, "340 ms"), (12_300, "12.3 s"), (84_000, "1m 24s"), (7_500_000, "2h 05m"), (31_000_000_000, "8,611h")],
)
def test_duration_is_told_in_two_units_at_most(milliseconds: float, words: str) -> None:
    assert wording.duration(milliseconds) == words
