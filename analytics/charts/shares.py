"""Shares: layers on top of each other, over time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString

from analytics.charts import drawing
from analytics.charts.drawing import SIDE, Point, Step, join


@dataclass(frozen=True)
class Layer:
    """A layer of a stacked area: its share (0 to 1) of each step."""

    name: str
    shares: Sequence[float]


def stacked_shares(steps: Sequence[Step], layers: Sequence[Layer], *, summary: str, high: bool = False) -> SafeString:
    """Layers on top of each other, the first one on top; at most six, told apart by place, shade and legend.

    Steps without any leave a gap. The script shows figures as for time_series.
    """
    lower = [0.0] * len(steps)
    totals = [sum(of_step) for of_step in zip(*(layer.shares for layer in layers), strict=True)]
    polygons: list[SafeString] = []
    for place, layer in reversed(list(enumerate(layers))):
        upper = [min(base + share, 1.0) for base, share in zip(lower, layer.shares, strict=True)]
        polygons += [
            format_html('<polygon class="layer layer-{}" points="{}"/>', place + 1, drawing.written(outline))
            for outline in _outlines(lower, upper, totals)
        ]
        lower = upper
    return format_html(
        '<div class="stack {4}" data-chart=""><svg class="plot" width="100%" height="100%" role="img" aria-label="{1}">'
        '<svg width="100%" height="100%" viewBox="0 0 {0} {0}" preserveAspectRatio="none">{2}</svg>{5}</svg>{3}</div>',
        SIDE,
        summary,
        join("{}", ((polygon,) for polygon in polygons)),
        drawing.step_labels(steps),
        "high" if high else "",
        join("{}", ((_step(index, len(steps)),) for index in range(len(steps)))),
    )


def legend(entries: Iterable[tuple[str, str, str]]) -> SafeString:
    """(CSS class, name, figure) of each layer."""
    return format_html(
        '<ul class="legend">{}</ul>',
        join(
            '<li><svg width="14" height="10" aria-hidden="true"><rect class="swatch {}" width="14" height="10" rx="2"/>'
            "</svg><bdi>{}</bdi> <b>{}</b></li>",
            entries,
        ),
    )


def _outlines(lower: Sequence[float], upper: Sequence[float], totals: Sequence[float]) -> list[list[Point]]:
    """Around a layer, once for each row of steps that have any; a lone one is as wide as a step."""
    over, below = (
        drawing.points([y if any_ else None for y, any_ in zip(ys, totals, strict=True)], 1) for ys in (upper, lower)
    )
    half = SIDE / 2 / max(len(totals) - 1, 1)
    found = []
    for top, bottom in zip(drawing.strokes(over), drawing.strokes(below), strict=True):
        if top[0] == top[-1]:
            (x, high), (_, low) = top[0], bottom[0]
            top, bottom = [(x - half, high), (x + half, high)], [(x - half, low), (x + half, low)]
        found.append([*top, *reversed(bottom)])
    return found


def _step(index: int, count: int) -> SafeString:
    """What the pointer meets, and a guide."""
    x = 100 * drawing.across(index, count)
    half = 50 / max(count - 1, 1)
    left, right = max(x - half, 0), min(x + half, 100)
    return format_html(
        '<g class="day"><rect x="{}" width="{}" height="100%"/><line class="guide" x1="{x}" x2="{x}" y2="100%"/></g>',
        drawing.percent(left),
        drawing.percent(right - left),
        x=drawing.percent(x),
    )
