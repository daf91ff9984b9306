"""Errors, and the page of one type: rates of all runs, what is new, and where failures happen."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from analytics import queries
from analytics.dashboards.page import Asked
from analytics.dashboards.pages import PAGES
from analytics.dashboards.panel import CardsPanel, Panel, Row
from analytics.models import Event, Installation
from tests.analytics.history import record, run
from tests.events import NOON

pytestmark = pytest.mark.django_db

PATHS = {"errors": "/admin/errors/", "error": "/admin/error/"}
LONG_AGO = NOON - timedelta(days=100)


def panels(page: str, **words: str) -> dict[str, Panel]:
    """Those of a page at noon, by id."""
    chosen, _ = queries.parsed({name: [value] for name, value in words.items() if name != "sort"}, NOON)
    asked = Asked(chosen, NOON, page, PATHS, chosen.before is not None, sort=words.get("sort", ""))
    return {each.id: each for panel in PAGES[page].panels(asked) for each in panel.all()}


def cards(panel: Panel) -> dict[str, str]:
    """The figures by their labels."""
    assert isinstance(panel, CardsPanel)
    return {card.label: card.figure for card in panel.cards}


def exactly(panel: Panel, row: Row) -> dict[str, object]:
    """A row's cells by their columns' names."""
    return {column.name: cell.exact for column, cell in zip(panel.columns, row.cells, strict=True) if column.name}


def rows(panel: Panel) -> dict[object, dict[str, object]]:
    """The same of all rows, by their own names."""
    return {row.cells[0].exact: exactly(panel, row) for row in panel.table.rows}


def failed(count: int, error_type: str | None = "FileError", days_ago: int = 0, **columns: object) -> list[Event]:
    at = NOON - timedelta(days=days_ago)
    return [run(at, has_error=True, error_type=error_type, **columns) for _ in range(count)]


def fine(count: int, days_ago: int = 0, **columns: object) -> list[Event]:
    return [run(NOON - timedelta(days=days_ago), **columns) for _ in range(count)]


def test_types_say_since_when_in_which_versions_and_how_the_rate_changed() -> None:
    somebody = Installation.objects.create(user_id=uuid.uuid4())
    record([*fine(8), *failed(1, tool_version="0.63.3"), *failed(1, installation=somebody, tool_version="0.64.0")])
    record([*fine(9, days_ago=36), *failed(1, days_ago=36), run(LONG_AGO)])
    panel = panels("errors")["types"]
    assert rows(panel)["FileError"] == {
        "error_type": "FileError",
        "runs": 2,
        "rate": 0.2,
        "rate_change": 1.0,
        "installations": 1,
        "first_day": (NOON - timedelta(days=36)).date(),
        "last_day": NOON.date(),
        "versions": "0.63.3, 0.64.0",
    }
    assert "0.63.3</bdi> and 1 more" in panel.table.rows[0].cells[-1].shown


def test_types_that_are_new_say_so_in_words() -> None:
    record([run(LONG_AGO), *failed(1, "OldError", days_ago=60), *failed(1, "OldError"), *failed(1, "NewError")])
    shown = panels("errors")
    flags = {row.cells[0].exact: (row.flag, row.flag_title) for row in shown["types"].table.rows}
    assert flags["NewError"] == ("new", f"First seen on {NOON.day} {NOON:%b}")
    assert flags["OldError"][0] == ""
    assert cards(shown["figures"])["New types"] == "1"


def test_types_of_a_portal_that_is_younger_than_the_period_are_not_new() -> None:
    record(failed(1))
    assert panels("errors")["types"].table.rows[0].flag == ""


def test_first_days_of_another_year_have_it() -> None:
    record([*failed(1, days_ago=400), *failed(1)])
    [row] = panels("errors")["types"].table.rows
    assert f"{(NOON - timedelta(days=400)).year}" in row.cells[6].shown
    assert str(NOON.year) not in row.cells[7].shown


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", ["often", "touching", "grown"]),
        ("-installations", ["touching", "grown", "often"]),
        ("-rate_change", ["grown", "touching", "often"]),
        ("error_type", ["grown", "often", "touching"]),
    ],
)
def test_types_are_sorted_as_asked(sort: str, expected: list[str]) -> None:
    people = Installation.objects.bulk_create([Installation(user_id=uuid.uuid4()) for _ in range(3)])
    touching = [event for one in people for event in failed(1, "touching", installation=one)]
    record([*failed(4, "often"), *touching, *failed(2, "grown", installation=people[0])])
    record([*failed(8, "often", 36), *failed(3, "touching", 36), *failed(1, "grown", 36)])
    panel = panels("errors", sort=sort)["types"]
    assert [row.cells[0].exact for row in panel.table.rows] == expected


def test_failures_without_a_type_are_counted_and_said() -> None:
    record([*fine(5), *failed(3), *failed(1, None)])
    shown = panels("errors")
    assert shown["types"].rest == "1 failed run without a type"
    assert cards(shown["figures"])["Failures without a type"] == "25.0%"
    assert list(rows(shown["types"])) == ["FileError"]


def test_runs_that_all_succeed_leave_the_table_with_a_sentence() -> None:
    record(fine(5))
    shown = panels("errors")
    assert (shown["types"].table.rows, shown["types"].nothing) == ([], "No run failed.")
    assert cards(shown["figures"])["Failures without a type"] == "\N{EN DASH}"


def test_rates_by_version_and_command_are_of_their_runs_with_most_failures_first() -> None:
    record([*fine(8, command="repo"), *failed(2, command="repo"), *failed(1, command="ask"), *fine(3, command="web")])
    shown = panels("errors", compare="off")
    assert rows(shown["commands"]) == {
        "repo": {"command": "repo", "error_rate": 0.2, "failures": 2, "runs": 10},
        "ask": {"command": "ask", "error_rate": 1.0, "failures": 1, "runs": 1},
        "web": {"command": "web", "error_rate": 0.0, "failures": 0, "runs": 3},
    }
    assert rows(shown["versions"])["0.64.0"]["failures"] == 3


@pytest.mark.parametrize(("runs_before", "shown"), [(19, "\N{EN DASH}"), (40, "up")])
def test_a_rate_of_few_runs_has_no_change(runs_before: int, shown: str) -> None:
    record([run(LONG_AGO), *fine(15), *failed(5), *fine(runs_before - 1, days_ago=36), *failed(1, days_ago=36)])
    [row] = panels("errors")["versions"].table.rows
    assert shown in row.cells[-1].shown
    assert row.cells[-1].exact == round(1 / runs_before, 6)


def test_a_filter_by_type_counts_its_failures_and_rates_stay_those_of_all_runs() -> None:
    record([*fine(6), *failed(3), *failed(1, "NetworkError")])
    shown = panels("errors", error_type="FileError")
    assert cards(shown["figures"])["Error rate"] == "30.0%"
    assert list(rows(shown["types"])) == ["FileError"]
    assert rows(shown["commands"])["repo"]["error_rate"] == 0.3
    today = shown["rate"].table.rows[-1]
    assert today.cells[1].exact == 0.3


def test_a_type_leads_to_its_page_and_a_version_filters() -> None:
    record([*fine(1), *failed(1)])
    shown = panels("errors")
    assert shown["types"].table.rows[0].url == "/admin/error/?period=30d&error_type=FileError"
    assert shown["versions"].table.rows[0].url == "/admin/errors/?period=30d&version=0.64.0"


# -- One type ---------------------------------------------------------------------------------------------------------


def test_one_type_says_how_often_whom_it_touches_and_since_when() -> None:
    somebody = Installation.objects.create(user_id=uuid.uuid4())
    record([run(LONG_AGO), *fine(7), *failed(2, installation=somebody), *failed(1, "NetworkError")])
    assert cards(panels("error", error_type="FileError")["figures"]) == {
        "Share of all runs": "20.0%",
        "Failed runs": "2",
        "Installations touched": "1",
        "First seen (new)": f"{NOON.day} {NOON:%b}",
        "Last seen": f"{NOON.day} {NOON:%b}",
    }


def test_one_type_names_where_it_appears_and_nothing_else() -> None:
    gpt: dict[str, Any] = {"provider": "openai", "model": "gpt-4.1", "os": "linux"}
    record([*fine(3, command="web", tool_version="0.63.3"), *fine(1, **gpt), *failed(1, **gpt), *failed(1)])
    shown = panels("error", error_type="FileError")
    assert {id: list(rows(shown[id])) for id in ("versions", "commands", "models", "systems")} == {
        "versions": ["0.64.0"],
        "commands": ["repo"],
        "models": ["gpt-4.1"],
        "systems": ["linux"],
    }
    assert rows(shown["models"])["gpt-4.1"]["error_rate"] == 0.5
    assert shown["models"].none == "1 run without one"


def test_runs_without_a_type_are_no_type() -> None:
    record([*fine(3), *failed(1, None)])
    shown = panels("error", error_type="(none)")
    assert "First seen" not in cards(shown["figures"])
    assert cards(shown["figures"])["Failed runs"] == "1"


def test_figures_have_none_of_before_where_nothing_is_compared() -> None:
    record([*fine(8), *failed(2), *fine(9, days_ago=36), *failed(1, days_ago=36)])
    for words, before in (({}, "0.1"), ({"compare": "off"}, "")):
        assert f"error_rate,0.2,{before}\r\n" in panels("errors", **words)["figures"].table.csv()
