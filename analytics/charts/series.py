"""Series: lines over time, with what was before and what happened meanwhile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from analytics.charts import drawing
from analytics.charts.drawing import PLOT_HEIGHT, PLOT_TOP, Step, Values, Words, join, percent, y
from analytics.charts.durations import LogScale

BEFORE = "before"

# Names of markers would overprint: as many as there is room for, the newest ones; fewer on narrow screens.
_MARKER_NAMES_APART, _MARKER_NAMES_APART_NARROW = 0.07, 0.33
_MARKER_NAME_SHOWN_CHARS = 12


@dataclass(frozen=True)
class Line:
    """A line of a time series, a value a step; None leaves a gap. `look`: main, second, third or before."""

    name: str
    look: str
    values: Values


@dataclass(frozen=True)
class Marker:
    """What happened in a step, such as a release. `look`: release or note."""

    index: int
    label: str
    look: str = "release"


def time_series(
    steps: Sequence[Step],
    lines: Sequence[Line],
    *,
    summary: str,
    write_tick: Words,
    unit: float = 1,
    finest: float = 0,
    markers: Sequence[Marker] = (),
    scale: LogScale | None = None,
) -> SafeString:
    """Lines over steps, of which there is at least one. The first line is on top; axis as in nice_ticks, or a `scale`.

    The script shows a step's figures from the table beside the chart: its rows are the steps.
    """
    highest = max((value for line in lines for value in line.values if value is not None), default=0)
    if scale:
        ticks = [(scale.share(tick), write_tick(tick)) for tick in scale.ticks_ms]
        lines = [_scaled(line, scale.share) for line in lines]
    else:
        values = drawing.nice_ticks(highest, unit, finest)
        ticks = drawing.named(values, write_tick)
        lines = [_scaled(line, lambda value: value / values[-1]) for line in lines]
    return format_html(
        '<div class="chart" data-chart="">{axis}<svg class="plot" width="100%" height="{height}" role="img"'
        ' aria-label="{summary}">{grid}{markers}{lines}{open}{steps}</svg>{labels}</div>',
        axis=drawing.axis(ticks),
        height=drawing.CHART_HEIGHT,
        summary=summary,
        grid=drawing.grid(ticks),
        markers=_markers(markers, len(steps)),
        lines=drawing.stretched(join("{}", ((_line(line, steps),) for line in reversed(lines)))),
        open=join("{}", ((_open_points(line, steps),) for line in lines if line.look != BEFORE)),
        steps=join("{}", ((_step(index, len(steps), lines),) for index in range(len(steps)))),
        labels=drawing.step_labels(steps),
    )


def line_legend(lines: Sequence[Line], *, partial: str = "", markers: bool = False) -> SafeString:
    """How each line is drawn, and, where the chart has them, what hollow points and markers mean."""
    return format_html(
        '<ul class="legend">{}{}{}</ul>',
        join(
            '<li><svg width="18" height="10" aria-hidden="true"><line class="line {}" x2="18" y1="5" y2="5"/></svg>'
            "{}</li>",
            ((line.look, line.name) for line in lines),
        ),
        join(
            '<li><svg width="10" height="10" aria-hidden="true"><circle class="point main open" cx="5" cy="5" r="3.5"/>'
            "</svg>{}</li>",
            [(partial,)] if partial else [],
        ),
        join(
            '<li><svg class="marker" width="6" height="12" aria-hidden="true"><line y2="12" x1="3" x2="3"/></svg>'
            "{}</li>",
            [("Release or note",)] if markers else [],
        ),
    )


def _scaled(line: Line, share: Callable[[float], float]) -> Line:
    """With shares of the plot's height (0 to 1) as its values."""
    return replace(line, values=[None if value is None else share(value) for value in line.values])


def _line(line: Line, steps: Sequence[Step]) -> SafeString:
    """The line and what is under it. The way to and from what is not whole is drawn apart."""
    standing = drawing.points(line.values, 1)
    settled: list[list[drawing.Point]] = []
    still_open: list[list[drawing.Point]] = []
    if line.look == BEFORE:
        settled = drawing.strokes(standing)
    else:
        settled = drawing.strokes(
            [None if step.partial else point for step, point in zip(steps, standing, strict=True)]
        )
        still_open = [
            [first, second]
            for place, (first, second) in enumerate(pairwise(standing))
            if first and second and (steps[place].partial or steps[place + 1].partial)
        ]
    area = drawing.strokes(standing) if line.look == "main" else []
    return format_html(
        "{}{}{}",
        join('<polygon class="area" points="{}"/>', ((drawing.under(stroke),) for stroke in area)),
        join(
            '<polyline class="line {}" points="{}"/>',
            ((line.look, drawing.written(stroke)) for stroke in settled),
        ),
        join(
            '<polyline class="line {} open" points="{}"/>',
            ((line.look, drawing.written(stroke)) for stroke in still_open),
        ),
    )


def _open_points(line: Line, steps: Sequence[Step]) -> SafeString:
    """Hollow points: what there is of steps that are not whole."""
    return join(
        '<circle class="point {} open" cx="{}" cy="{}" r="3.5"/>',
        (
            (line.look, percent(100 * drawing.across(index, len(steps))), y(value))
            for index, (step, value) in enumerate(zip(steps, line.values, strict=True))
            if step.partial and value is not None
        ),
    )


def _step(index: int, count: int, lines: Sequence[Line]) -> SafeString:
    """What shows while the pointer is over a step: a guide and its points."""
    x = percent(100 * drawing.across(index, count))
    width = 100 / max(count - 1, 1)
    left = max((index - 0.5) * width, 0) if count > 1 else 0
    right = min((index + 0.5) * width, 100)
    standing = [(line, value) for line in lines if (value := line.values[index]) is not None]
    return format_html(
        '<g class="day"><rect x="{left}" width="{width}" height="100%"/>'
        '<line class="guide" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>{points}</g>',
        left=percent(left),
        width=percent((right if count > 1 else 100) - left),
        x=x,
        top=PLOT_TOP,
        bottom=PLOT_TOP + PLOT_HEIGHT,
        points=join(
            '<circle class="point {}" cx="{}" cy="{}" r="4"/>', ((line.look, x, y(at)) for line, at in standing)
        ),
    )


def _markers(markers: Sequence[Marker], count: int) -> SafeString:
    """A dotted line each, its name over the plot where it does not touch the next one's."""
    drawn, free, free_narrow = [], 2.0, 2.0
    for marker in sorted(markers, key=lambda marker: -marker.index):
        at = drawing.across(marker.index, count)
        named = free - at >= _MARKER_NAMES_APART
        free = at if named else free
        crowded = free_narrow - at < _MARKER_NAMES_APART_NARROW
        free_narrow = free_narrow if crowded else at
        anchor = "start" if at < _MARKER_NAMES_APART / 2 else "end" if at > 1 - _MARKER_NAMES_APART / 2 else ""
        look = f"{anchor} crowded".strip() if crowded else anchor
        x = percent(100 * at)
        name = (x, PLOT_TOP - 8, look, Truncator(marker.label).chars(_MARKER_NAME_SHOWN_CHARS))
        drawn.append(
            format_html(
                '<g class="marker {}"><title>{}</title><line x1="{x}" x2="{x}" y1="{}" y2="{}"/>{}</g>',
                marker.look,
                marker.label,
                PLOT_TOP - 4,
                PLOT_TOP + PLOT_HEIGHT,
                join('<text x="{}" y="{}" class="{}">{}</text>', [name] if named else []),
                x=x,
            )
        )
    return join("{}", ((one,) for one in drawn))
