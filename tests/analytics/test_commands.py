"""Commands and one command: their figures are those of the queries, and every name leads to its runs."""

import csv
import io
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from analytics import queries
from analytics.dashboards.metrics import METRICS, exact
from analytics.dashboards.page import Asked
from analytics.dashboards.pages import PAGES
from analytics.dashboards.panel import ChartPanel, Panel
from analytics.models import Event
from analytics.queries import Filter
from tests.analytics.history import record, record_made_up, run
from tests.events import NOON

pytestmark = pytest.mark.django_db

PATHS = {page.name: f"/admin/{page.route}" for page in PAGES.values()}
FIGURES = ("runs", "installations", "runs_per_installation", "error_rate", "p50_ms", "p90_ms", "tokens_per_run")


def chosen_by(**words: str) -> Filter:
    return queries.parsed({name: [value] for name, value in words.items()}, NOON)[0]


def panels(page: str, *, sort: str = "", **words: str) -> dict[str, Panel]:
    """Those of a page at noon, by id."""
    chosen = chosen_by(**words)
    asked = Asked(chosen, NOON, page, PATHS, chosen.before is not None, sort=sort)
    return {each.id: each for panel in PAGES[page].panels(asked) for each in panel.all()}


def rows_of(panel: Panel) -> list[dict[str, str]]:
    """As its CSV has them."""
    return list(csv.DictReader(io.StringIO(panel.table.csv())))


def as_written(*figures: float | None) -> list[str]:
    """As a CSV has them."""
    return ["" if figure is None else str(exact(figure)) for figure in figures]


def names(panel: Panel) -> list[object]:
    return [row.cells[0].exact for row in panel.table.rows]


def led_to(url: str) -> int:
    """How many runs the page behind a link is about."""
    words = parse_qs(urlsplit(url).query)
    return queries.totals(queries.parsed(words, NOON)[0], NOON).now.runs


def runs_of(command: str, count: int, **columns: Any) -> list[Event]:
    return [run(NOON, command=command, **columns) for _ in range(count)]


# -- All of them ------------------------------------------------------------------------------------------------------


def test_commands_have_the_figures_of_the_query() -> None:
    record_made_up(NOON, days=20, a_day=20)
    rows = rows_of(panels("commands", period="7d")["commands"])
    parts = queries.parts(chosen_by(period="7d"), NOON, "command")
    assert len(parts) == 4
    for row, part in zip(rows, parts, strict=True):
        assert part.before
        figures = [METRICS[name].of(part.now) for name in FIGURES]
        assert [row[name] for name in ("command", "share", "runs_before", *FIGURES)] == [
            part.value,
            *as_written(part.share, part.before.runs, *figures),
        ]


def test_commands_are_sorted_by_any_figure() -> None:
    record([*runs_of("ask", 20, duration_ms=90_000), *runs_of("repo", 30), *runs_of("plan", 19, duration_ms=500_000)])
    assert names(panels("commands")["commands"]) == ["repo", "ask", "plan"]
    assert names(panels("commands", sort="-p50_ms")["commands"]) == ["ask", "repo", "plan"]
    assert names(panels("commands", sort="command")["commands"]) == ["ask", "plan", "repo"]


def test_a_percentile_of_too_few_runs_is_left_out_and_told() -> None:
    record([*runs_of("repo", 20), *runs_of("ask", 19)])
    shown = panels("commands")
    assert [row["p50_ms"] == "" for row in rows_of(shown["commands"])] == [False, True]
    assert "none under 20" in shown["commands"].note
    assert names(shown["durations"]) == ["repo"]


def test_a_command_leads_to_its_own_page_with_the_same_filter() -> None:
    record(runs_of("repo", 20, os="linux"))
    shown = panels("commands", period="7d", os="linux")
    for panel in ("commands", "durations"):
        assert shown[panel].table.rows[0].url == f"{PATHS['command']}?period=7d&os=linux&command=repo"


def test_who_runs_them_leads_to_just_those_runs() -> None:
    kinds: Sequence[dict[str, Any]] = (
        {"ci": True},
        {"ci": False},
        {"agent": "cursor"},
        {"agent": "codex", "ci": True},
        {},
    )
    record([run(NOON, **kind) for place, kind in enumerate(kinds) for _ in range(place + 1)])
    who = panels("commands")["who"]
    assert [(row.cells[0].shown, row.cells[1].exact) for row in who.table.rows] == [
        ("People", 2),
        ("CI jobs", 1),
        ("Agents", 7),
        ("Not said", 5),
    ]
    assert [led_to(row.url) for row in who.table.rows] == [2, 1, 7, 5]
    cursors = panels("commands", agent="cursor")["who"]
    assert [led_to(row.url) for row in cursors.table.rows if row.cells[1].exact] == [3]


def test_options_are_shares_of_all_runs_and_lead_nowhere() -> None:
    record([run(NOON, options={"debug": True, "quiet": True}), run(NOON, options={"debug": True}), run(NOON)])
    options = panels("commands")["options"]
    assert [(row["option"], row["runs"], row["share"]) for row in rows_of(options)] == [
        ("debug", "2", "0.666667"),
        ("quiet", "1", "0.333333"),
    ]
    assert {row.url for row in options.table.rows} == {""}


# -- One of them ------------------------------------------------------------------------------------------------------


def test_one_command_has_the_figures_of_its_runs() -> None:
    record_made_up(NOON, days=20, a_day=20)
    shown = panels("command", period="7d", command="repo")
    of_repo = chosen_by(period="7d", command="repo")
    total = queries.totals(of_repo, NOON).now
    figures = shown["figures"]
    assert isinstance(figures, ChartPanel)
    assert {card.label: card.exactly for card in figures.cards} == {
        metric.label: metric.write_exactly(metric.of(total)) for metric in PAGES["command"].metrics.values()
    }
    for panel, by in (("errors", "error_type"), ("models", "model"), ("versions", "version")):
        parts = queries.parts(of_repo, NOON, by)
        assert [(row[by], row["runs"]) for row in rows_of(shown[panel])] == [
            (part.value, str(part.now.runs)) for part in parts
        ]
        assert [led_to(row.url) for row in shown[panel].table.rows if row.url] == [
            part.now.runs for part, row in zip(parts, shown[panel].table.rows, strict=True) if row.url
        ]
    rates = [int(row["runs"]) / total.runs for row in rows_of(shown["errors"])]
    assert [float(row["rate"]) for row in rows_of(shown["errors"])] == pytest.approx(rates, abs=1e-6)
    assert led_to(shown["models"].none_url) == total.runs - sum(int(row["runs"]) for row in rows_of(shown["models"]))


def test_percentiles_of_one_command_are_those_of_each_day() -> None:
    record([*runs_of("repo", 20, duration_ms=60_000), *runs_of("ask", 30)])
    record([run(NOON.replace(day=NOON.day - 1), command="repo") for _ in range(19)])
    *_, before, today = rows_of(panels("command", period="7d", command="repo")["percentiles"])
    [*_, point] = queries.series(chosen_by(period="7d", command="repo"), NOON).now
    told = as_written(point.figures.p50_ms, point.figures.p90_ms, point.figures.p99_ms)
    assert [today[name] for name in ("p50_ms", "p90_ms", "p99_ms")] == told
    assert float(told[0]) == pytest.approx(60_000, rel=0.02)
    assert before["p50_ms"] == ""


def test_percentiles_of_days_with_too_few_runs_say_the_way_out() -> None:
    record(runs_of("repo", 19))
    panel = panels("command", command="repo")["percentiles"]
    assert panel.table.rows == []
    assert panel.nothing.endswith(
        "under 20 successful runs, too few for percentiles: choose longer steps or more days."
    )


def test_events_of_one_command_are_led_to_with_its_filter(admin_client: Client) -> None:
    record([run(timezone.now(), command="a&b")])
    events = admin_client.get("/admin/command/?period=7d&command=a%26b").context["controls"].events
    assert events == "/admin/analytics/event/?period=7d&command=a%26b"
    assert admin_client.get(events).status_code == 200
