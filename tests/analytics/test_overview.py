"""The Overview: what its panels show of a period's parts, and in which order."""

import re
import uuid
from collections.abc import Mapping
from datetime import timedelta

import pytest
from django.test import Client

from analytics import queries
from analytics.dashboards import wording
from analytics.dashboards.page import Asked
from analytics.dashboards.pages import PAGES
from analytics.dashboards.panel import ChartPanel, Panel
from analytics.models import Event, Installation
from tests.analytics.history import record, run
from tests.events import NOON

PAGE = PAGES["overview"]
PATHS = {"overview": "/admin/"}


def panels(**words: str) -> dict[str, Panel]:
    """Those of the Overview at noon, by id."""
    chosen, _ = queries.parsed({name: [value] for name, value in words.items() if name != "metric"}, NOON)
    asked = Asked(chosen, NOON, "overview", PATHS, chosen.before is not None, words.get("metric", ""))
    return {each.id: each for panel in PAGE.panels(asked) for each in panel.all()}


def names(panel: Panel) -> list[object]:
    return [row.cells[0].exact for row in panel.table.rows]


def runs_of(command: str, count: int, duration_ms: int) -> list[Event]:
    return [run(NOON, command=command, duration_ms=duration_ms) for _ in range(count)]


def adoption(installations: Mapping[str, int]) -> list[str]:
    """The names of the chart's layers, from the top, after runs by so many installations of each version."""
    for version, count in installations.items():
        people = Installation.objects.bulk_create([Installation(user_id=uuid.uuid4()) for _ in range(count)])
        record(run(NOON, tool_version=version, installation=somebody) for somebody in people)
    return [column.label for column in panels()["adoption"].columns[1:]]


@pytest.mark.django_db
def test_adoption_shows_the_most_used_versions_newest_first() -> None:
    used = {"0.9": 4, "0.10": 5, "0.8": 3, "0.7": 6, "0.6": 2, "9.9.8": 1, "9.9.9": 1}
    assert adoption(used) == ["0.10", "0.9", "0.8", "0.7", "0.6", "2 others"]


@pytest.mark.django_db
def test_durations_are_of_the_commands_run_most_slowest_first() -> None:
    for place in range(10):
        record(runs_of(f"command-{place}", 40 - place, duration_ms=1000 * (place + 1)))
    record(runs_of("seldom", 19, duration_ms=5))
    panel = panels()["durations"]
    assert names(panel) == [f"command-{place}" for place in reversed(range(8))]
    assert panel.rest == "2 more, with 63 runs"


@pytest.mark.django_db
def test_panels_draw_bars_as_long_as_the_runs() -> None:
    failed = [run(NOON, command="ask", has_error=True, error_type="FileError") for _ in range(5)]
    record([*runs_of("repo", 10, duration_ms=1000), *failed])
    shown = panels()
    for panel, bars in (("commands", {"repo": "100%", "ask": "50%"}), ("errors", {"FileError": "100%"})):
        assert {
            row.cells[0].exact: re.findall('<rect width="([^"]+)"', row.bar)[0] for row in shown[panel].table.rows
        } == bars


@pytest.mark.django_db
def test_models_say_how_many_runs_have_none_and_lead_to_them() -> None:
    record([*runs_of("repo", 3, duration_ms=1), run(NOON, model="gpt-4.1", provider="openai")])
    panel = panels()["models"]
    assert (panel.none, panel.none_url) == ("3 runs without one", "/admin/?period=30d&model=%28none%29")


@pytest.mark.django_db
def test_errors_are_rates_of_all_runs() -> None:
    record([*runs_of("repo", 3, duration_ms=1), run(NOON, has_error=True, error_type="FileError")])
    assert "FileError,0.25,1," in panels()["errors"].table.csv()


@pytest.mark.django_db
@pytest.mark.parametrize("metric", PAGE.metrics)
@pytest.mark.parametrize("period", ["today", "7d", "90d", "12mo", "month"])
def test_every_figure_is_drawn_over_every_period(metric: str, period: str) -> None:
    record([run(NOON - timedelta(days=day, hours=1)) for day in (0, 3, 40) for _ in range(2)])
    figures = panels(period=period, metric=metric)["figures"]
    assert isinstance(figures, ChartPanel)
    assert figures.title == PAGE.metrics[metric].label
    assert [card.label for card in figures.cards if card.current] == [figures.title]
    assert figures.chart.count('class="day"') == len(figures.table.rows)


@pytest.mark.django_db
def test_today_ends_where_hours_are_still_to_come() -> None:
    record(runs_of("repo", 3, duration_ms=1))
    rows = panels(period="today")["figures"].table.rows
    assert [row.cells[1].exact for row in rows] == [0] * 12 + [3] + [None] * 11
    assert "(so far)" in rows[12].cells[0].shown
    assert "(to come)" in rows[13].cells[0].shown


@pytest.mark.django_db
def test_without_comparison_nothing_is_said_of_before() -> None:
    record(runs_of("repo", 3, duration_ms=1))
    shown = panels(compare="off")
    for panel in shown.values():
        assert not [column.name for column in panel.columns if column.name.endswith("_before")]


@pytest.mark.django_db
def test_cards_tell_what_changed(admin_client: Client) -> None:
    record([run(NOON) for _ in range(30)] + [run(NOON, has_error=True, error_type="FileError")])
    figures = panels()["figures"]
    assert isinstance(figures, ChartPanel)
    assert [(card.label, card.figure) for card in figures.cards] == [
        ("Command runs", "31"),
        ("Active installations", "0"),
        ("Runs per installation", "\N{EN DASH}"),
        ("Error rate", "3.2%"),
        ("Median duration", "1.2 s"),
        ("Tokens", "0"),
    ]


@pytest.mark.django_db
def test_a_card_without_a_figure_says_nothing_of_before() -> None:
    record([run(NOON, placeholder="anonymous_opt_out"), run(NOON - timedelta(days=36))])
    figures = panels()["figures"]
    assert isinstance(figures, ChartPanel)
    said = {card.label: (card.figure, card.change, card.before) for card in figures.cards}
    assert said["Median duration"] == ("\N{EN DASH}", "", "")
    assert said["Command runs"][2] == "1"


@pytest.mark.django_db
@pytest.mark.parametrize(("compare", "name"), [("previous", "Previous period"), ("yoy", "Year before")])
def test_the_line_of_before_is_named_after_what_is_compared_with(compare: str, name: str) -> None:
    record(runs_of("repo", 3, duration_ms=1))
    figures = panels(compare=compare)["figures"]
    assert isinstance(figures, ChartPanel)
    assert figures.columns[-1].label == name
    assert name in figures.legend


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
