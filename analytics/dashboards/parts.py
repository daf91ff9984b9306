"""Parts: what runs are told apart by, as a table with bars. A click on a name filters by it.

In: what queries.parts found. Out: panels. A page chooses its columns from FIGURES by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analytics import charts, queries
from analytics.charts import LogScale
from analytics.dashboards import wording
from analytics.dashboards.metrics import METRICS, exact
from analytics.dashboards.page import Asked
from analytics.dashboards.panel import Cell, Column, Panel, Row, Table
from analytics.queries import Branch, Figures, Part

ROWS = 8
"""Of a table that stands beside others."""


@dataclass(frozen=True)
class Figure:
    """A column of figures about parts. `compares` says something only beside the period before."""

    column: Column
    cell: Callable[[Part], Cell]
    compares: bool = False


def _of(name: str, label: str, look: str = "") -> Figure:
    """A metric of what the part is now."""
    return Figure(Column(label, name, look), lambda part: METRICS[name].cell(part.now))


def _tokens(name: str, label: str, look: str = "") -> Figure:
    """A number that is large: compact, with the exact one in CSV."""
    metric = METRICS[name]
    return Figure(
        Column(label, name, look), lambda part: Cell(exact(metric.of(part.now)), wording.compact(metric.of(part.now)))
    )


def before(part: Part) -> Figures:
    """What a value had in the period compared with; nothing where that is none."""
    return part.before or Figures()


FIGURES: Mapping[str, Figure] = {
    "runs": _of("runs", "Runs", "strong"),
    "share": Figure(
        Column("Share", "share", "wide quiet"), lambda part: Cell(exact(part.share), wording.percent(part.share))
    ),
    "installations": _of("installations", "Installations", "wide"),
    "runs_per_installation": _of("runs_per_installation", "Runs each", "wide"),
    "failures": _of("failures", "Failed", "wide quiet"),
    "error_rate": _of("error_rate", "Errors"),
    "p50_ms": _of("p50_ms", "p50"),
    "p90_ms": _of("p90_ms", "p90", "wide"),
    "p99_ms": _of("p99_ms", "p99", "wide"),
    "tokens": _tokens("tokens", "Tokens", "wide"),
    "prompt_tokens": _tokens("prompt_tokens", "Prompt", "wide"),
    "completion_tokens": _tokens("completion_tokens", "Completion", "wide"),
    "context_tokens": _tokens("context_tokens", "Context", "wide"),
    "tokens_per_run": _tokens("tokens_per_run", "Tokens per run", "wide"),
    "change": Figure(
        Column("Change", "runs_before"),
        lambda part: Cell(before(part).runs, wording.change(part.now.runs, before(part).runs)),
        compares=True,
    ),
}


def far(name: str) -> Figure:
    """That one of FIGURES, left out where there is little room, so that names are not."""
    figure = FIGURES[name]
    return replace(figure, column=replace(figure.column, look=f"{figure.column.look} far"))


def parts_panel(
    asked: Asked,
    by: str,
    parts: Sequence[Part],
    figures: Sequence[str | Figure],
    *,
    id: str = "",
    title: str = "",
    page: str = "",
    sortable: bool = False,
    at_most: int = ROWS,
    of: int = 0,
    more: Sequence[Panel] = (),
    **panel: Any,
) -> Panel:
    """A row for each part, with a bar as long as its runs. A name leads to `page` with that filter, else filters this.

    `of` is how many runs there are: those without a part are linked to under the table. `id` and `title` are by default
    those of the parts. `panel`: note, look, details and so on.
    """
    chosen = _columns(asked, figures)
    longest = max((part.now.runs for part in parts), default=0) or 1
    without = max(of - sum(part.now.runs for part in parts), 0)
    rows = [_row(part.value, part, chosen, longest, asked.only(by, part.value, page)) for part in parts]
    table = Table([Column(title_of(by), by), *(figure.column for figure in chosen)], rows)
    texts: dict[str, Any] = {
        "nothing": f"No run of these days names {_article(by)}.",
        "rest": _in_csv(len(parts) - at_most) if sortable else rest(parts, at_most),
    } | panel
    return replace(
        Panel(
            id=id or f"{by}s",
            title=title or f"{title_of(by)}s",
            table=sortable_by(asked, table) if sortable else table,
            at_most=at_most,
            more=more,
        ),
        none=f"{wording.many(without, 'run')} without one" if without else "",
        none_url=asked.only(by, queries.NONE) if without else "",
        **texts,
    )


def tree_panel(
    asked: Asked,
    branches: Sequence[Branch],
    figures: Sequence[str | Figure],
    *,
    id: str,
    title: str,
    page: str = "",
    bars: str = "runs",
    **panel: Any,
) -> Panel:
    """Providers, and under each its models; sortable, the models within their provider. `bars` show that metric."""
    chosen = _columns(asked, figures)
    longest = max((METRICS[bars].of(branch.provider.now) or 0 for branch in branches), default=0) or 1
    rows = []
    for branch in branches:
        provider = branch.provider.value
        rows.append(_row(provider, branch.provider, chosen, longest, asked.only("provider", provider), bars))
        for part in branch.models:
            model = part.values[1]
            url = asked.url(page, provider=provider, provider__not="", model=model, model__not="")
            rows.append(replace(_row(model, part, chosen, longest, url, bars), depth=1))
    columns = [Column("Provider and model", "name"), *(figure.column for figure in chosen)]
    table = sortable_by(asked, Table(columns, rows))
    texts: dict[str, Any] = {"nothing": "No run of these days names a provider."} | panel
    found = replace(Panel(id=id, title=title, table=table), **texts)
    return replace(found, rest=_in_csv(len(rows) - found.at_most))


def sortable_by(asked: Asked, table: Table) -> Table:
    """Sorted as asked, with a link on each heading: the greatest first, the second time the smallest; names from A."""
    columns = []
    for place, column in enumerate(table.columns):
        descending = f"-{column.name}"
        order = {column.name: "ascending", descending: "descending"}.get(asked.sort, "") if column.name else ""
        first, second = (column.name, descending) if place == 0 else (descending, column.name)
        url = asked.url(sort=second if asked.sort == first else first) if column.name else ""
        columns.append(replace(column, url=url, order=order))
    return Table(columns, table.rows).sorted_by(asked.sort)


def whiskers(
    asked: Asked, by: str, parts: Sequence[Part], *, id: str, title: str, page: str = "", **panel: Any
) -> Panel:
    """How long the successful runs of those run most took, the slowest first; without those with too few.

    A name leads to `page` with that filter, else filters this.
    """
    told = [part for part in parts if part.now.p50_ms is not None]
    shown = sorted(told[:ROWS], key=lambda part: -(part.now.p50_ms or 0))
    whisker = whisker_figure(shown)
    columns = [
        Column(title_of(by), by),
        whisker.column,
        Column("p50", "p50_ms", "strong"),
        Column("p90", "p90_ms", "wide"),
        Column("p99", "p99_ms"),
    ]
    rows = [
        Row(
            [
                Cell(part.value, part.value),
                whisker.cell(part),
                *(METRICS[name].cell(part.now) for name in ("p50_ms", "p90_ms", "p99_ms")),
            ],
            url=asked.only(by, part.value, page),
        )
        for part in shown
    ]
    few = f"{queries.PERCENTILE_MIN_RUNS} successful runs in these days: too few for percentiles."
    texts: dict[str, Any] = {"note": "successful runs, log scale", "nothing": f"No {title_of(by).lower()} has {few}"}
    return replace(
        Panel(id=id, title=title, table=Table(columns, rows), look="durations"),
        **texts | {"rest": rest(told, ROWS)} | panel,
    )


def whisker_figure(parts: Sequence[Part]) -> Figure:
    """p50, p90 and p99 as one line, on a log scale that holds those of all parts; empty where runs are too few."""
    scale = LogScale.around([at for part in parts for at in (part.now.p50_ms, part.now.p99_ms) if at])

    def cell(part: Part) -> Cell:
        now = part.now
        if now.p50_ms is None:
            return Cell(None, "")
        return Cell(None, charts.whisker(now.p50_ms, now.p90_ms or 0, now.p99_ms or 0, scale))

    return Figure(Column(charts.whisker_axis(scale, wording.round_duration), look="whiskers"), cell)


def rest(parts: Sequence[Part], at_most: int, noun: str = "run") -> str:
    """What is not shown."""
    left = parts[at_most:]
    return f"{len(left)} more, with {wording.many(sum(part.now.runs for part in left), noun)}" if left else ""


def title_of(dimension: str) -> str:
    """As a heading."""
    return {"os": "OS", "ci": "CI"}.get(dimension, dimension.replace("_", " ").capitalize())


def _in_csv(left: int) -> str:
    """What a table leaves out that may be sorted by anything."""
    return f"{left} more in the CSV" if left > 0 else ""


def _columns(asked: Asked, figures: Sequence[str | Figure]) -> list[Figure]:
    chosen = [figure if isinstance(figure, Figure) else FIGURES[figure] for figure in figures]
    return [figure for figure in chosen if asked.compared or not figure.compares]


def _row(name: str, part: Part, figures: Sequence[Figure], longest: float, url: str, bars: str = "runs") -> Row:
    return Row(
        [Cell(name, name), *(figure.cell(part) for figure in figures)],
        bar=charts.bar((METRICS[bars].of(part.now) or 0) / longest),
        url=url,
    )


def _article(dimension: str) -> str:
    name = dimension.replace("_", " ")
    return f"an {name}" if name[0] in "aeio" else f"a {name}"
