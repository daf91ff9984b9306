"""Performance: how long successful runs take: over time, in all, and by command, version and model."""

from collections.abc import Sequence
from dataclasses import replace

from analytics import queries
from analytics.charts import LogScale
from analytics.dashboards import histograms, over_time, wording
from analytics.dashboards.histograms import Bucket
from analytics.dashboards.metrics import METRICS, some
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import ChartPanel, Panel, Table
from analytics.dashboards.parts import FIGURES, Figure, parts_panel, whisker_figure
from analytics.queries import Part, Series

_PERCENTILES = some("p50_ms", "p90_ms", "p99_ms")
_FAR_APART = 50
_FEW = f"under {queries.PERCENTILE_MIN_RUNS} successful runs"


def panels(asked: Asked) -> Sequence[Panel]:
    """Percentiles over time, a histogram, and tables of percentiles."""
    chosen, now = asked.chosen, asked.now
    totals, series = queries.totals(chosen, now), queries.series(chosen, now)
    return [
        over_time.cards_panel(asked, [*_PERCENTILES.values(), METRICS["runs"]], totals, series, title="Durations"),
        percentiles(asked, series),
        _histogram(asked),
        *(_by(asked, by, queries.parts(chosen, now, by)) for by in ("command", "version", "model")),
    ]


PAGE = Page(name="performance", title="Performance", icon="performance", panels=panels)


def percentiles(asked: Asked, series: Series) -> ChartPanel:
    """p50, p90 and p99 of each step; a gap where a step has too few runs for them.

    On a log scale where they are so far apart that the lowest would lie on the axis.
    """
    told = [value for metric in _PERCENTILES.values() for point in series.now if (value := metric.of(point.figures))]
    scale = LogScale.around(told) if told and max(told) > _FAR_APART * min(told) else None
    lines = [replace(metric, label=name.removesuffix("_ms")) for name, metric in _PERCENTILES.items()]
    panel = over_time.over_time(
        replace(asked, compared=False),
        series,
        lines,
        id="percentiles",
        title="Percentiles over time",
        note=f"of successful runs; {series.interval}s with {_FEW} are left out{'; log scale' if scale else ''}",
        scale=scale,
    )
    if told:
        return panel
    return replace(
        panel,
        table=Table(panel.table.columns, []),
        nothing=f"Every {series.interval} has {_FEW}, too few for percentiles: choose longer steps or more days.",
    )


def _histogram(asked: Asked) -> Panel:
    """From the first bucket with runs to the last one."""
    buckets = queries.durations(asked.chosen).buckets
    told = [place for place, bucket in enumerate(buckets) if bucket.runs]
    id, title = "histogram", "How long runs take"
    if not told:
        return Panel(id=id, title=title, table=Table([], []), nothing="No run of these days succeeded.", wide=True)
    return histograms.histogram(
        [
            Bucket(wording.between(bucket.first_ms, bucket.until_ms), bucket.first_ms, bucket.runs, bucket.share)
            for bucket in buckets[told[0] : told[-1] + 1]
        ],
        id=id,
        title=title,
        size="Duration",
        size_name="from_ms",
        count="Successful runs",
        count_name="runs",
        note="successful runs, log scale: a bar spans about twice the time of the one before",
        wide=True,
    )


def _by(asked: Asked, by: str, parts: Sequence[Part]) -> Panel:
    return parts_panel(
        asked,
        by,
        parts,
        (_looking("runs", "strong wide"), whisker_figure(parts), "p50_ms", "p90_ms", _looking("p99_ms", "")),
        title=f"Percentiles by {by}",
        note=f"none under {queries.PERCENTILE_MIN_RUNS} successful runs",
        page=by,
        details=asked.url(f"{by}s"),
        look="durations",
        sortable=True,
        at_most=20,
        wide=True,
    )


def _looking(name: str, look: str) -> Figure:
    """Which columns narrow screens leave out is another matter here: percentiles are what it is about."""
    figure = FIGURES[name]
    return replace(figure, column=replace(figure.column, look=look))
