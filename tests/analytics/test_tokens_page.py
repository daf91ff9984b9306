"""Tokens: what the chart draws, and who spends them."""

from typing import Any

import pytest

from analytics import queries
from analytics.dashboards.page import Asked
from analytics.dashboards.pages import PAGES
from analytics.dashboards.panel import ChartPanel, Panel
from tests.analytics.history import record, run
from tests.events import NOON

pytestmark = pytest.mark.django_db

PATHS = {"tokens": "/admin/tokens/"}


def panels(metric: str = "", sort: str = "", **words: str) -> dict[str, Panel]:
    """Those of the page at noon, by id."""
    chosen, _ = queries.parsed({name: [value] for name, value in words.items()}, NOON)
    asked = Asked(chosen, NOON, "tokens", PATHS, chosen.before is not None, metric, sort)
    return {panel.id: panel for panel in PAGES["tokens"].panels(asked)}


def spend(prompt: int, completion: int = 0, *, model: str = "gpt-4.1", count: int = 1, **columns: Any) -> None:
    record(
        run(
            NOON,
            provider=columns.pop("provider", "openai"),
            model=model,
            prompt_tokens=prompt,
            completion_tokens=completion,
            context_tokens=prompt // 2,
            **columns,
        )
        for _ in range(count)
    )


def test_chart_draws_prompt_completion_and_context() -> None:
    spend(100, 7)
    figures = panels(compare="off")["figures"]
    assert isinstance(figures, ChartPanel)
    assert figures.table.csv().splitlines()[0] == "start,prompt_tokens,completion_tokens,context_tokens"
    assert figures.table.csv().splitlines()[-1] == "2026-11-22,100,7,50"
    assert "context, such as files, is part of the prompt" in figures.note
    assert [(card.label, card.figure) for card in figures.cards] == [
        ("Tokens", "107"),
        ("Prompt tokens", "100"),
        ("Completion tokens", "7"),
        ("Context tokens", "50"),
        ("Tokens per run", "107"),
        ("Command runs", "1"),
    ]


def test_chart_draws_the_figure_that_is_asked_for() -> None:
    spend(100, count=2)
    figures = panels("tokens_per_run", compare="off")["figures"]
    assert figures.table.csv().splitlines()[-1] == "2026-11-22,100.0"


def test_tree_begins_with_those_who_spend_most() -> None:
    spend(10, model="gpt-4.1", count=5)
    spend(30, 40, model="o3")
    spend(1000, provider="gemini", model="gemini-2.5-pro")
    spend(0, provider="perplexity", model="sonar", count=9)
    panel = panels()["models"]
    names = ["gemini", "gemini-2.5-pro", "openai", "o3", "gpt-4.1"]
    assert [row.cells[0].exact for row in panel.table.rows] == names
    assert 'width="12%"' in panel.table.rows[2].bar
    fewest = panels(sort="tokens_per_run")["models"]
    assert [row.cells[0].exact for row in fewest.table.rows] == ["openai", "gpt-4.1", "o3", *names[:2]]


def test_heat_map_has_commands_and_models_that_spend_tokens_and_leads_to_them() -> None:
    spend(10, command="ask", count=3)
    spend(900, command="repo")
    spend(20, command="repo", model="o3")
    spend(0, command="doc", model="sonar")
    panel = panels()["heat"]
    assert panel.table.csv().splitlines() == ["command,model: gpt-4.1,model: o3", "repo,900,20", "ask,30,"]
    assert "?period=30d&amp;command=repo&amp;model=o3" in panel.table.rows[0].cells[2].shown


def test_runs_without_tokens_have_nothing_to_show() -> None:
    spend(0)
    for name in ("models", "heat"):
        assert panels()[name].nothing == "No run of these days counted tokens."
        assert not panels()[name].table.rows
