"""Providers and models: the tree, the shares of models over time, and the pairs of models of the plan command."""

import re
from typing import Any

import pytest

from analytics import queries
from analytics.dashboards.page import Asked
from analytics.dashboards.pages import PAGES
from analytics.dashboards.panel import Panel
from tests.analytics.history import record, run
from tests.events import NOON

pytestmark = pytest.mark.django_db

PATHS = {"models": "/admin/models/", "model": "/admin/model/"}


def panels(**words: str) -> dict[str, Panel]:
    """Those of the page at noon, by id."""
    chosen, _ = queries.parsed({name: [value] for name, value in words.items()}, NOON)
    return {
        panel.id: panel
        for panel in PAGES["models"].panels(Asked(chosen, NOON, "models", PATHS, chosen.before is not None))
    }


def runs_of(provider: str | None, model: str | None, count: int, **columns: Any) -> None:
    record(run(NOON, provider=provider, model=model, **columns) for _ in range(count))


def test_tree_has_models_under_their_provider_and_leads_to_both() -> None:
    runs_of("gemini", "gemini-2.5-pro", 3)
    runs_of("openai", "gpt-4.1", 2)
    runs_of("openai", "gpt-4o", 5)
    rows = panels()["models"].table.rows
    assert [(row.cells[0].exact, row.depth) for row in rows] == [
        ("openai", 0),
        ("gpt-4o", 1),
        ("gpt-4.1", 1),
        ("gemini", 0),
        ("gemini-2.5-pro", 1),
    ]
    assert rows[0].url == "/admin/models/?period=30d&provider=openai"
    assert rows[1].url == "/admin/model/?period=30d&provider=openai&model=gpt-4o"


def test_tree_says_how_many_runs_have_no_provider_and_leads_to_them() -> None:
    runs_of("gemini", "gemini-2.5-pro", 1)
    runs_of(None, None, 2)
    panel = panels()["models"]
    assert (panel.none, panel.none_url) == (
        "2 runs without a provider",
        "/admin/models/?period=30d&provider=%28none%29",
    )


def test_tree_says_what_is_in_the_csv_only() -> None:
    record(run(NOON, provider="openai", model=f"model-{place}") for place in range(101))
    panel = panels()["models"]
    assert (len(list(panel.rows)), len(panel.table.rows), panel.rest) == (100, 102, "2 more in the CSV")


def test_models_over_time_are_shares_of_the_runs_with_a_model() -> None:
    for place in range(7):
        runs_of("openai", f"model-{place}", 10 - place)
    runs_of(None, None, 100)
    panel = panels()["shares"]
    assert [column.label for column in panel.columns[1:]] == [*(f"model-{place}" for place in range(5)), "2 others"]
    today = [cell.exact for cell in panel.table.rows[-1].cells[1:]]
    assert today == [pytest.approx(count / 49, abs=1e-6) for count in (10, 9, 8, 7, 6, 9)]


def test_plan_is_a_matrix_of_the_two_models_it_names() -> None:
    plan = {"command": "plan", "thinking_model": "o3"}
    runs_of("gemini", "gemini-2.5-pro", 2, file_model="gemini-2.5-pro", **plan)
    runs_of("openai", "gpt-4.1", 1, file_model="gpt-4.1", **plan)
    panel = panels()["plan"]
    assert panel.table.csv().splitlines() == ["file_model,thinking_model: o3", "gemini-2.5-pro,2", "gpt-4.1,1"]


def test_runs_without_models_have_nothing_to_show() -> None:
    runs_of(None, None, 2)
    for panel in panels().values():
        assert not panel.table.rows
        assert re.match("No run of these days names", panel.nothing)
