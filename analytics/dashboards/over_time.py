"""Over time: figures of each step of the period as a chart with its table, as cards, and as sparklines.

In: what queries.series and queries.totals found. Out: panels.
"""

from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from analytics import charts, releases
from analytics.charts import BEFORE, Layer, Line, LogScale, Marker, Step
from analytics.dashboards import wording
from analytics.dashboards.metrics import METRICS, Metric, exact
from analytics.dashboards.page import Asked
from analytics.dashboards.panel import NO_PICTURE, Card, CardsPanel, Cell, ChartPanel, Column, Row, Table
from analytics.queries import Point, Series, Span, Totals

_T = TypeVar("_T")

LOOKS = ("main", "second", "third")
_MARKS = {"release": "release", "annotation": "note"}
_LINES = {"runs": ("runs", "installations")}  # beside runs stands who ran them

LAYERS = 5
"""As many layers a stacked chart can tell apart; what is beyond them is put together."""


def over_time(
    asked: Asked,
    series: Series,
    metrics: Sequence[Metric],
    *,
    id: str,
    title: str,
    note: str = "",
    cards: Sequence[Card] = (),
    wide: bool = True,
    scale: LogScale | None = None,
) -> ChartPanel:
    """Lines of at most three metrics that share an axis, the first one with what it was before; releases marked.

    The axis begins at 0, or is `scale`.
    """
    starts = [point.start for point in series.now]
    steps = steps_of(starts, [point.partial for point in series.now], series.interval)
    lines = [
        Line(metric.label, look, values_of(series.now, metric, asked.now))
        for metric, look in zip(metrics, LOOKS, strict=False)
    ]
    main = metrics[0]
    before = [main.of(point.figures) for point in series.before][: len(starts)]
    if asked.compared:
        lines.append(Line(asked.before_in_words, BEFORE, before + [None] * (len(starts) - len(before))))
    markers = markers_of(asked.markers, starts, series.interval)
    table = _table(asked, series, metrics, lines, markers)
    return ChartPanel(
        id=id,
        title=title,
        note=note,
        wide=wide,
        cards=cards,
        table=table,
        legend=charts.line_legend(lines, partial=partial_in_words(steps, asked), markers=bool(markers)),
        chart=charts.time_series(
            steps,
            lines,
            summary=f"{title}, {wording.stretch(asked.chosen.period.first, asked.chosen.period.last)}, as lines",
            write_tick=main.write_tick,
            unit=main.unit([value for line in lines for value in line.values]),
            finest=main.finest_tick,
            markers=markers,
            scale=scale,
        ),
    )


def figures_panel(
    asked: Asked,
    metrics: Mapping[str, Metric],
    totals: Totals,
    series: Series,
    *,
    lines: Mapping[str, Sequence[str]] = _LINES,
) -> ChartPanel:
    """Metrics as cards, and the one that is asked for, else the first, as a chart.

    `lines` names the metrics that are drawn for one, where it is not that one alone.
    """
    metric = metrics.get(asked.metric) or next(iter(metrics.values()))
    return over_time(
        asked,
        series,
        [METRICS[name] for name in lines[metric.name]] if metric.name in lines else [metric],
        id="figures",
        title=metric.label,
        cards=[card(asked, each, totals, series, current=each is metric) for each in metrics.values()],
    )


def card(asked: Asked, metric: Metric, totals: Totals, series: Series, *, current: bool = False) -> Card:
    """A metric in all, what it was before, and over time; a link that makes it the chart's."""
    now = metric.of(totals.now)
    before = metric.of(totals.before) if totals.before and asked.compared else None
    return Card(
        label=metric.label,
        figure=metric.write(now),
        exactly=metric.write_exactly(now),
        change=NO_PICTURE if now is None else metric.change(now, before),
        before="" if before is None else metric.write(before),
        sparkline=charts.sparkline([None if point.partial else metric.of(point.figures) for point in series.now]),
        url=asked.url(metric=metric.name),
        current=current,
    )


def cards_panel(asked: Asked, metrics: Sequence[Metric], totals: Totals, series: Series, *, title: str) -> CardsPanel:
    """Figures side by side, none of which redraws anything."""
    cards = [card(asked, metric, totals, series) for metric in metrics]
    columns = [Column("Figure", "figure"), Column("Now", "now"), Column(asked.before_in_words, "before")]
    rows = [
        Row(
            [
                Cell(metric.name, metric.label),
                metric.cell(totals.now),
                metric.cell(totals.before if asked.compared else None),
            ]
        )
        for metric in metrics
    ]
    return CardsPanel(id="figures", title=title, table=Table(columns, rows), cards=cards, wide=True)


def stacked(
    asked: Asked,
    starts: Sequence[datetime],
    partial: Sequence[bool],
    layers: Sequence[tuple[str, Sequence[float]]],
    *,
    id: str,
    title: str,
    note: str = "",
    nothing: str = "",
    high: bool = False,
    wide: bool = False,
) -> ChartPanel:
    """Shares (0 to 1) of each step, as layers, of which the first is on top; at most LAYERS, and one for the others.

    `nothing` is said where there is no layer.
    """
    over = [start > asked.now for start in starts]
    starts, partial = _kept(starts, over), _kept(partial, over)
    kept = [Layer(name, _kept(shares, over)) for name, shares in layers]
    steps = steps_of(starts, partial, asked.chosen.interval)
    places = range(1, len(kept) + 1)
    newest = max((at for at in range(len(steps)) if any(layer.shares[at] for layer in kept)), default=-1)
    columns = [Column("Step", "start"), *(Column(layer.name, layer.name or "(empty)") for layer in kept)]
    rows = [
        Row(
            [
                _step_cell(start, step, asked),
                *(Cell(exact(layer.shares[at]), wording.percent(layer.shares[at])) for layer in kept),
            ]
        )
        for at, (start, step) in enumerate(zip(starts, steps, strict=True))
        if kept
    ]
    return ChartPanel(
        id=id,
        title=title,
        note=note,
        nothing=nothing,
        wide=wide,
        table=Table(columns, rows),
        legend=charts.legend(
            (f"layer-{place}", layer.name, wording.percent(layer.shares[newest]))
            for place, layer in zip(places, kept, strict=True)
        ),
        chart=charts.stacked_shares(steps, kept, summary=title, high=high),
    )


def most(layers: Sequence[tuple[str, Sequence[float]]], at_most: int = LAYERS) -> list[tuple[str, Sequence[float]]]:
    """Those with the greatest sums, in the order they are in, and after them the others in one."""
    if len(layers) <= at_most:
        return list(layers)
    places = sorted(range(len(layers)), key=lambda place: -sum(layers[place][1]))
    kept, left = set(places[:at_most]), [layers[place][1] for place in places[at_most:]]
    others = f"{len(left)} other{'s' if len(left) > 1 else ''}"
    return [layers[place] for place in sorted(kept)] + [(others, [sum(of_step) for of_step in zip(*left, strict=True)])]


def values_of(points: Sequence[Point], metric: Metric, now: datetime) -> list[float | None]:
    """A metric of each step; None for steps to come."""
    return [metric.of(point.figures) if point.start <= now else None for point in points]


def sparkline(asked: Asked, spans: Sequence[Span], steps: Sequence[int]) -> Cell:
    """A part's runs over time, for a cell of a table; `spans` tell which steps are still to come."""
    values = [runs if span.start <= asked.now else None for span, runs in zip(spans, steps, strict=True)]
    return Cell(None, charts.sparkline(values))


def steps_of(starts: Sequence[datetime], partial: Sequence[bool], interval: str) -> list[Step]:
    """As an axis names them."""
    return [Step(step_in_words(start, interval), is_partial) for start, is_partial in zip(starts, partial, strict=True)]


def step_in_words(start: datetime, interval: str) -> str:
    """As in `14:00`, `3 Nov` or `Nov 2026`."""
    if interval == "hour":
        return f"{start:%H:%M}"
    return f"{start:%b %Y}" if interval == "month" else wording.short_day(start)


def partial_in_words(steps: Sequence[Step], asked: Asked) -> str:
    """What hollow points are; empty where the chart has none."""
    if not any(step.partial for step in steps):
        return ""
    if asked.chosen.interval in ("hour", "day"):
        return f"{'This hour' if asked.chosen.interval == 'hour' else 'Today'} so far"
    return f"Not a whole {asked.chosen.interval}"


def markers_of(noted: Sequence[releases.Marker], starts: Sequence[datetime], interval: str) -> list[Marker]:
    """Each at the step that its day is in; those before the first step are left out."""
    found = []
    for mark in noted:
        inside = [place for place, start in enumerate(starts) if start.date() <= mark.day]
        past = starts[-1].date() + timedelta(days={"week": 6, "month": 30}.get(interval, 0))
        if inside and mark.day <= past:
            first = next(place for place in inside if starts[place].date() == starts[inside[-1]].date())
            found.append(Marker(first, mark.label, _MARKS[mark.kind]))
    return found


def _table(
    asked: Asked, series: Series, metrics: Sequence[Metric], lines: Sequence[Line], markers: Sequence[Marker]
) -> Table:
    """A row for each step, with what is marked in it: also for who cannot point at the chart."""
    steps = steps_of([point.start for point in series.now], [point.partial for point in series.now], series.interval)
    shown = [*metrics[: len(LOOKS)], *([metrics[0]] if asked.compared else [])]
    names = [metric.name for metric in metrics] + ([f"{metrics[0].name}_before"] if asked.compared else [])
    columns = [
        Column(series.interval.capitalize(), "start"),
        *(Column(line.name, name) for line, name in zip(lines, names, strict=True)),
    ]
    rows = [
        Row(
            [
                _step_cell(point.start, step, asked, [mark.label for mark in markers if mark.index == place]),
                *(metric.cell_of(line.values[place]) for metric, line in zip(shown, lines, strict=True)),
            ],
            url=_events_of(point.start, asked),
        )
        for place, (point, step) in enumerate(zip(series.now, steps, strict=True))
    ]
    return Table(columns, rows)


def _events_of(start: datetime, asked: Asked) -> str:
    """The list of the step's events, for who may see it; of an hour's, that of its day."""
    days = {"week": 7, "month": monthrange(start.year, start.month)[1]}.get(asked.chosen.interval, 1)
    first, last = start.date(), start.date() + timedelta(days=days - 1)
    period = asked.chosen.period
    return asked.url(
        "events",
        period="custom",
        **{"from": max(first, period.first).isoformat(), "to": min(last, period.last).isoformat()},
    )


def _step_cell(start: datetime, step: Step, asked: Asked, marked: Sequence[str] = ()) -> Cell:
    interval = asked.chosen.interval
    shown = {
        "hour": f"{start:%a} {wording.short_day(start)}, {start:%H:%M}",
        "day": f"{start:%a} {wording.short_day(start)}",
        "week": f"Week of {wording.short_day(start)}",
    }.get(interval, step.label)
    note = ""
    if step.partial:
        note = " (to come)" if start > asked.now else " (so far)" if _runs_on(start, asked) else " (in part)"
    return Cell(start if interval == "hour" else start.date(), ": ".join([shown + note, *marked]))


def _runs_on(start: datetime, asked: Asked) -> bool:
    """Whether the step is not over, rather than cut by the period's beginning."""
    days = {"week": 7, "month": 31}.get(asked.chosen.interval, 1)
    return start <= asked.now < start + timedelta(days=days) and asked.chosen.period.until > asked.now


def _kept(values: Sequence[_T], over: Sequence[bool]) -> list[_T]:
    return [value for value, left_out in zip(values, over, strict=True) if not left_out]
