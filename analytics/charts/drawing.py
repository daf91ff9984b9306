"""Drawing: what the charts share: where values stand, strokes, ticks, names under an axis. Pure.

In: numbers and words. Out: points, and fragments that are safe to put into a page.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

Values = Sequence[float | None]
Words = Callable[[float], str]
Point = tuple[float, float]
Tick = tuple[float, str]
"""How high it stands, as a share of the plot (0 to 1), and its name."""

PLOT_HEIGHT = 220
PLOT_TOP = 20
CHART_HEIGHT = PLOT_TOP + PLOT_HEIGHT + 4
# Side of a stretched drawing, in its own units.
SIDE = 1000

_AXIS_HEIGHT = 28
_MAX_LABELS = 8


@dataclass(frozen=True)
class Step:
    """A step in time: its short name, for an axis, and whether it is not over, or not whole in the period."""

    label: str
    partial: bool = False


def join(template: str, rows: Iterable[Sequence[object]]) -> SafeString:
    """The template, filled with each row; what is no SafeString is escaped."""
    return format_html_join("", template, (tuple(row) for row in rows))


def percent(value: float) -> str:
    """As in `12.5%`."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"


def across(index: int, count: int) -> float:
    """Where one of so many stands from left to right, 0 to 1; a lone one in the middle."""
    return index / (count - 1) if count > 1 else 0.5


def y(share: float) -> float:
    """Pixels from the top of a plot."""
    return round(PLOT_TOP + (1 - share) * PLOT_HEIGHT, 1)


def stretched(content: SafeString) -> SafeString:
    """A drawing of SIDE by SIDE as wide as its place and as high as a plot."""
    return format_html(
        '<svg y="{0}" width="100%" height="{1}" viewBox="0 0 {2} {2}" preserveAspectRatio="none">{3}</svg>',
        PLOT_TOP,
        PLOT_HEIGHT,
        SIDE,
        content,
    )


def points(values: Values, top: float) -> list[Point | None]:
    """Where values stand in a stretched drawing, evenly from its left to its right edge."""
    return [
        None if value is None else (SIDE * across(index, len(values)), SIDE * (1 - value / top))
        for index, value in enumerate(values)
    ]


def strokes(standing: Sequence[Point | None]) -> list[list[Point]]:
    """Points without gaps between them. A lone one is there twice, which draws a dot."""
    found: list[list[Point]] = [[]]
    for point in standing:
        if point:
            found[-1].append(point)
        elif found[-1]:
            found.append([])
    return [stroke if len(stroke) > 1 else stroke * 2 for stroke in found if stroke]


def under(stroke: Sequence[Point]) -> str:
    """The outline of what is under a line."""
    return written([(stroke[0][0], SIDE), *stroke, (stroke[-1][0], SIDE)])


def written(standing: Iterable[Point]) -> str:
    """As SVG has points."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in standing)


def nice_ticks(maximum: float, unit: float = 1, finest: float = 0) -> list[float]:
    """From 0 to at least `maximum`, in at most five even steps of 1, 2 or 5 times a power of ten.

    `unit` is what the axis counts in: 1000 for milliseconds that are read as seconds. No step is below `finest` units.
    """
    if maximum <= 0:
        return [0, unit]
    rough = max(maximum / unit / 4, finest)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    count = math.ceil(maximum / unit / step - 1e-9)
    return [index * step * unit for index in range(count + 1)]


def named(ticks: Sequence[float], write_tick: Words) -> list[Tick]:
    """Of an axis from 0 to the last of them."""
    return [(tick / ticks[-1], write_tick(tick)) for tick in ticks]


def axis(ticks: Sequence[Tick]) -> SafeString:
    """The ticks' names, left of a plot."""
    return format_html(
        '<svg class="axis" width="48" height="{}" aria-hidden="true">{}</svg>',
        CHART_HEIGHT,
        join('<text x="40" y="{}">{}</text>', ((y(share) + 4, name) for share, name in ticks)),
    )


def grid(ticks: Sequence[Tick]) -> SafeString:
    """A line across the plot at each tick."""
    return join('<line class="grid" x2="100%" y1="{0}" y2="{0}"/>', ((y(share),) for share, _ in ticks))


def step_labels(steps: Sequence[Step]) -> SafeString:
    """Some steps' names under a chart, evenly apart and counted back from the last one; every other one is `minor`."""
    last = len(steps) - 1
    every = max(1, math.ceil(len(steps) / _MAX_LABELS))
    shown = list(range(last, -1, -every))
    return format_html(
        '<svg class="days" width="100%" height="{}" aria-hidden="true">{}</svg>',
        _AXIS_HEIGHT,
        join(
            '<text class="{}" x="{}" y="18">{}</text>',
            (
                (_label_class(index, last, place), percent(100 * across(index, len(steps))), steps[index].label)
                for place, index in enumerate(shown)
            ),
        ),
    )


def _label_class(index: int, last: int, place: int) -> str:
    at = {0: "first", last: "last"}.get(index, "") if last else ""
    return f"{at} minor".strip() if place % 2 else at
