"""Performance: percentiles and the histogram are those of the queries, and say what they leave out."""

import pytest

from analytics import queries
from analytics.dashboards import wording
from analytics.dashboards.panel import CardsPanel, ChartPanel
from tests.analytics.history import record, record_made_up, run
from tests.analytics.test_commands import PATHS, as_written, chosen_by, names, panels, rows_of, runs_of
from tests.events import NOON

PERCENTILES = ("p50_ms", "p90_ms", "p99_ms")


@pytest.mark.django_db
def test_percentiles_are_those_of_the_queries() -> None:
    record_made_up(NOON, days=20, a_day=60)
    shown, chosen = panels("performance", period="7d"), chosen_by(period="7d")
    totals = queries.totals(chosen, NOON)
    figures = shown["figures"]
    assert isinstance(figures, CardsPanel)
    assert [card.exactly for card in figures.cards[:3]] == [
        wording.duration(getattr(totals.now, name)) for name in PERCENTILES
    ]
    assert [[row[name] for name in PERCENTILES] for row in rows_of(shown["percentiles"])] == [
        as_written(*(getattr(point.figures, name) for name in PERCENTILES))
        for point in queries.series(chosen, NOON).now
    ]
    for by in ("command", "version", "model"):
        assert [[row[by], *(row[name] for name in PERCENTILES)] for row in rows_of(shown[f"{by}s"])] == [
            [part.value, *as_written(*(getattr(part.now, name) for name in PERCENTILES))]
            for part in queries.parts(chosen, NOON, by)
        ]


@pytest.mark.django_db
def test_percentiles_of_too_few_runs_are_left_out_and_told() -> None:
    record([*runs_of("repo", 20), *runs_of("ask", 19)])
    shown = panels("performance")
    for panel in ("commands", "versions", "models"):
        assert shown[panel].note == "none under 20 successful runs"
    assert [row["p99_ms"] == "" for row in rows_of(shown["commands"])] == [False, True]
    assert ["whisker" in row.cells[2].shown for row in shown["commands"].table.rows] == [True, False]


@pytest.mark.django_db
def test_percentiles_over_time_are_three_lines_without_those_before() -> None:
    record(runs_of("repo", 20))
    panel = panels("performance", period="7d")["percentiles"]
    assert isinstance(panel, ChartPanel)
    assert [column.label for column in panel.columns] == ["Day", "p50", "p90", "p99"]
    assert "Previous period" not in panel.legend


@pytest.mark.django_db
@pytest.mark.parametrize(("longest_ms", "note"), [(40_000, "left out"), (100_000, "left out; log scale")])
def test_percentiles_that_are_far_apart_are_on_a_log_scale(longest_ms: int, note: str) -> None:
    record([*runs_of("ask", 20, duration_ms=1_000), *runs_of("repo", 5, duration_ms=longest_ms)])
    panel = panels("performance", period="7d")["percentiles"]
    assert isinstance(panel, ChartPanel)
    assert panel.note.endswith(note)
    assert (">0<" in panel.chart) == (longest_ms < 50_000)


@pytest.mark.django_db
def test_commands_are_sorted_by_a_percentile_and_lead_to_their_page() -> None:
    record([*runs_of("ask", 20, duration_ms=90_000), *runs_of("repo", 30)])
    shown = panels("performance", period="7d", sort="-p99_ms")
    assert names(shown["commands"]) == ["ask", "repo"]
    assert shown["commands"].table.rows[0].url == f"{PATHS['command']}?period=7d&command=ask"


@pytest.mark.django_db
def test_histogram_goes_from_the_shortest_to_the_longest_runs() -> None:
    record([*runs_of("repo", 3, duration_ms=700), *runs_of("ask", 1, duration_ms=3_000)])
    panel = panels("performance")["histogram"]
    assert isinstance(panel, ChartPanel)
    assert [(row.cells[0].shown, row.cells[1].exact) for row in panel.table.rows] == [
        ("500ms\N{EN DASH}1s", 3),
        ("1\N{EN DASH}2s", 0),
        ("2\N{EN DASH}4s", 1),
    ]
    assert panel.table.csv().splitlines() == ["from_ms,runs,share", "500,3,0.75", "1000,0,0.0", "2000,1,0.25"]
    assert panel.chart.count('class="column"') == 3


@pytest.mark.django_db
def test_histogram_of_failures_alone_says_so() -> None:
    record([run(NOON, has_error=True)])
    panel = panels("performance")["histogram"]
    assert (panel.table.rows, panel.nothing) == ([], "No run of these days succeeded.")


@pytest.mark.parametrize(
    ("first_ms", "until_ms", "words"),
    [
        (0, 15, "<15ms"),
        (15, 30, "15\N{EN DASH}30ms"),
        (500, 1_000, "500ms\N{EN DASH}1s"),
        (30_000, 60_000, "30s\N{EN DASH}1m"),
        (60_000, 120_000, "1\N{EN DASH}2m"),
        (14_400_000, None, "≥4h"),
    ],
)
def test_between_names_the_unit_once_where_it_is_the_same(first_ms: int, until_ms: int | None, words: str) -> None:
    assert wording.between(first_ms, until_ms) == words
