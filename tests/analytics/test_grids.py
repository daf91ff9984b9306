"""Grids: what stands in coloured cells, on the page and in the CSV."""

from datetime import UTC, datetime, timedelta

from analytics.dashboards import grids, wording
from analytics.queries import Cohort, Cohorts, Figures, Matrix

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)


def test_heat_map_leaves_pairs_without_runs_empty_and_keeps_the_rest_in_the_csv() -> None:
    columns = [f"model-{place}" for place in range(grids.COLUMNS + 2)]
    cells = {
        ("ask", columns[0]): Figures(runs=3, prompt_tokens=50),
        ("ask", columns[-1]): Figures(prompt_tokens=200_000),
    }
    panel = grids.heat_map(
        Matrix(["ask"], columns, cells),
        lambda figures: figures.tokens,
        wording.compact,
        id="heat",
        title="Tokens",
        corner="Command",
        name="model",
    )
    [(_, _, shown)] = panel.rows
    assert (len(shown), shown[1][0].shown) == (grids.COLUMNS, "")
    assert panel.rest == "2 more columns in the CSV"
    assert panel.table.csv().splitlines()[1] == "ask,50" + "," * (grids.COLUMNS + 1) + "200000"
    assert "200k" in panel.table.rows[0].cells[-1].shown


def test_retention_frames_the_week_that_is_not_over_and_leaves_it_out_of_all() -> None:
    weeks = [MONDAY + timedelta(weeks=week) for week in range(3)]
    found = Cohorts(True, [Cohort(weeks[0], [10, 5, 1]), Cohort(weeks[1], [30, 3]), Cohort(weeks[2], [4])])
    panel = grids.retention(found)
    assert panel.table.csv().splitlines() == [
        "first_seen,installations,week_1,week_2",
        "2026-11-02,10,0.5,0.1",
        "2026-11-09,30,0.1,",
        "2026-11-16,4,,",
        "all,44,0.5,",
    ]
    first, second, *_ = panel.table.rows
    assert ["partial" in cell.look for cell in (*first.cells[2:], second.cells[2])] == [False, True, True]


def test_retention_of_a_single_week_has_nothing_to_show() -> None:
    assert not grids.retention(Cohorts(True, [Cohort(MONDAY, [4])])).table.rows
