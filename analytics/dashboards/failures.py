"""Failures: error types, as a table for pages that are about more than errors.

In: what queries.totals, queries.series and queries.parts found. Out: a panel.
"""

from collections.abc import Sequence

from analytics import charts
from analytics.dashboards import wording
from analytics.dashboards.metrics import METRICS, exact
from analytics.dashboards.page import Asked
from analytics.dashboards.panel import Cell, Column, Panel
from analytics.dashboards.parts import Figure, before, parts_panel
from analytics.queries import Figures, Part, Series, Totals


def failures(asked: Asked, totals: Totals, series: Series, errors: Sequence[Part], *, page: str = "") -> Panel:
    """Error types by the share of all runs that end in them: a rate does not grow with the number of runs.

    `errors` have their steps. A type leads to `page` with that filter, else filters this.
    """
    rate, runs = METRICS["error_rate"], METRICS["runs"]

    def share(failures: int, of: Figures | None) -> float | None:
        return failures / of.runs if of and of.runs else None

    def change(part: Part) -> Cell:
        was = share(before(part).runs, totals.before)
        return Cell(exact(was), wording.change(share(part.now.runs, totals.now), was, good=-1))

    def trend(part: Part) -> Cell:
        shares = [
            share(step, point.figures) if point.start <= asked.now else None
            for step, point in zip(part.steps, series.now, strict=True)
        ]
        return Cell(None, charts.sparkline(shares))

    figures = (
        Figure(Column("Rate", "rate", "strong"), lambda part: rate.cell_of(share(part.now.runs, totals.now))),
        Figure(Column("Runs", "runs", "quiet"), lambda part: runs.cell(part.now)),
        "installations",
        Figure(Column("Trend", look="wide trend"), trend),
        Figure(Column("Change", "rate_before"), change, compares=True),
    )
    return parts_panel(
        asked,
        "error_type",
        errors,
        figures,
        id="errors",
        title="Errors",
        note="share of all runs that end in them",
        look="failures",
        page=page,
        details=asked.url("errors"),
    )
