"""Grids: tables of coloured cells: weekly cohorts, and a matrix of pairs.

In: what queries.cohorts and queries.matrix found. Out: panels.
"""

from collections.abc import Callable, Sequence

from django.utils.html import format_html

from analytics import charts
from analytics.dashboards import wording
from analytics.dashboards.metrics import exact
from analytics.dashboards.panel import Cell, Column, Exact, GridPanel, Row, Table
from analytics.queries import Cohort, Cohorts, Figures, Matrix

ROWS, COLUMNS = 12, 10
"""Of a matrix, as far as it is shown."""


def retention(found: Cohorts, *, id: str = "retention", title: str = "Weekly retention") -> GridPanel:
    """A row for each week's new installations, a column for each week after it; the last cells are of this week."""
    cohorts = [cohort for cohort in found.cohorts if cohort.size]
    weeks = max((len(cohort.active) - 1 for cohort in cohorts), default=0)
    strongest = max((cohort.share(week) or 0 for cohort in cohorts for week in range(1, len(cohort.active))), default=0)
    rows = []
    for cohort in cohorts:
        cells = [
            cell(exact(share), wording.round_share(share), share / strongest if strongest else 0, partial)
            for week in range(1, len(cohort.active))
            for share in [cohort.share(week) or 0.0]
            for partial in [found.partial and week == len(cohort.active) - 1]
        ]
        cells += [Cell(None, "")] * (weeks - len(cells))
        rows.append(
            Row(
                [
                    Cell(cohort.start.date(), wording.short_day(cohort.start)),
                    Cell(cohort.size, wording.exact(cohort.size), "quiet"),
                    *cells,
                ]
            )
        )
    if cohorts:
        rows.append(_together(found, cohorts, weeks))
    columns = [
        Column("First seen", "first_seen"),
        Column("Installations", "installations", "quiet"),
        *(Column(f"Week {week}", f"week_{week}") for week in range(1, weeks + 1)),
    ]
    partial = "; the week that is not over is framed" if found.partial else ""
    return GridPanel(
        id=id,
        title=title,
        note=f"share of each week's new installations with a run so many weeks later{partial}",
        table=Table(columns, rows if weeks else []),
        nothing="These days have not two weeks with new installations: choose more of them.",
        wide=True,
    )


def heat_map(
    found: Matrix,
    of: Callable[[Figures], float | None],
    write: Callable[[float | None], str],
    *,
    id: str,
    title: str,
    corner: str,
    name: str,
    note: str = "",
    url: Callable[[str, str], str] | None = None,
    nothing: str = "No run of these days has both.",
) -> GridPanel:
    """A cell for each pair of values, the stronger the more; `name` is what its columns are in CSV, `name: value`.

    `url` is where a cell leads to, for its row and column. What is beyond ROWS and COLUMNS is in the CSV only.
    """
    most = max((of(figures) or 0 for figures in found.cells.values()), default=0) or 1

    def at(row: str, column: str) -> Cell:
        figures = found.cells.get((row, column))
        value = of(figures) if figures else None
        if value is None:
            return Cell(None, "")
        return cell(exact(value), write(value), value / most, url=url(row, column) if url else "")

    columns = [
        Column(corner, corner.lower().replace(" ", "_")),
        *(Column(column, f"{name}: {column}") for column in found.columns),
    ]
    rows = [Row([Cell(row, row), *(at(row, column) for column in found.columns)]) for row in found.rows]
    left = {"rows": len(found.rows) - ROWS, "columns": len(found.columns) - COLUMNS}
    more = " and ".join(f"{number} more {what}" for what, number in left.items() if number > 0)
    return GridPanel(
        id=id,
        title=title,
        note=note,
        table=Table(columns, rows),
        at_most=ROWS,
        columns_at_most=COLUMNS + 1,
        rest=f"{more} in the CSV" if more else "",
        nothing=nothing,
        wide=True,
    )


def cell(value: Exact, words: str, share: float, partial: bool = False, url: str = "") -> Cell:
    """A coloured one; `share` (0 to 1) of the strongest there is."""
    inner = format_html('<a href="{}">{}</a>', url, words) if url else words
    shown = format_html("{}<span>{}</span>", charts.heat(share), inner)
    look = f"hot {charts.heat_look(share)} {'partial' if partial else ''}"
    return Cell(value, shown, " ".join(look.split()))


def _together(found: Cohorts, cohorts: Sequence[Cohort], weeks: int) -> Row:
    """All cohorts at once, so that large ones weigh more; weeks that are not over are left out."""
    cells = []
    for week in range(1, weeks + 1):
        whole = [cohort for cohort in cohorts if len(cohort.active) - found.partial > week]
        size = sum(cohort.size for cohort in whole)
        share = sum(cohort.active[week] for cohort in whole) / size if size else None
        cells.append(Cell(exact(share), wording.round_share(share), "quiet"))
    size = sum(cohort.size for cohort in cohorts)
    return Row([Cell("all", "All"), Cell(size, wording.exact(size), "quiet"), *cells])
