"""Charts: figures -> SVG, as strings that are safe to put into a page.

In: numbers and words. Out: SafeString; every word in it is escaped. Pure: no database, no request.

The markup would pass a strict content security policy: no inline style, no script. Colours, strokes and fonts are CSS
classes (static/analytics/portal.css). A chart is as wide as its place: positions are percentages, and what percentages
cannot express, lines and areas, stands in a nested <svg> that is stretched without stretching its strokes.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

Values = Sequence[float | None]
Words = Callable[[float], str]

_PLOT_HEIGHT = 220
_PLOT_TOP = 16
_CHART_HEIGHT = _PLOT_TOP + _PLOT_HEIGHT + 4
_AXIS_HEIGHT = 28
_MAX_DAY_LABELS = 8
# Side of the stretched drawing, in its own units.
_SIDE = 1000


@dataclass(frozen=True)
class Line:
    """A line of a time series, a value a day; None leaves a gap. `look` is its CSS class: main, second or before."""

    name: str
    look: str
    values: Values
    write: Words


@dataclass(frozen=True)
class Layer:
    """A layer of a stacked area: its share (0 to 1) of each day."""

    name: str
    shares: Sequence[float]


def short_day(day: date) -> str:
    """As in `3 Nov`."""
    return f"{day.day} {day:%b}"


# -- Lines over time --------------------------------------------------------------------------------------------------


def time_series(
    days: Sequence[date],
    lines: Sequence[Line],
    *,
    summary: str,
    write_tick: Words,
    unit: float = 1,
    finest: float = 0,
) -> SafeString:
    """Lines over at least two days, the last of which is not over. The first line is on top; axis as in nice_ticks."""
    highest = max((value for line in lines for value in line.values if value is not None), default=0)
    ticks = nice_ticks(highest, unit, finest)
    top = ticks[-1]
    return format_html(
        '<div class="chart" data-chart=""><svg class="axis" width="48" height="{height}" aria-hidden="true">{axis}'
        '</svg><svg class="plot" width="100%" height="{height}" role="img" aria-label="{summary}">'
        "{grid}{drawing}{today}{days}</svg>{labels}</div>",
        height=_CHART_HEIGHT,
        summary=summary,
        axis=_join('<text x="40" y="{}">{}</text>', ((_y(tick / top) + 4, write_tick(tick)) for tick in ticks)),
        grid=_join('<line class="grid" x2="100%" y1="{0}" y2="{0}"/>', ((_y(tick / top),) for tick in ticks)),
        drawing=_stretched(_join("{}", ((_line(line, top),) for line in reversed(lines)))),
        today=_join("{}", ((_open_end(line, top),) for line in lines if line.look != "before")),
        days=_join("{}", ((_day(days, index, lines, top),) for index in range(len(days)))),
        labels=day_labels(days),
    )


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


def _line(line: Line, top: float) -> SafeString:
    """The line and what is under it. The way to today, which is not over, is drawn apart."""
    points = _points(line.values, top)
    settled = points if line.look == "before" else points[:-1]
    area = _strokes(points) if line.look == "main" else []
    return format_html(
        "{}{}{}",
        _join('<polygon class="area" points="{}"/>', ((_under(stroke),) for stroke in area)),
        _join(
            f'<polyline class="line {line.look}" points="{{}}"/>', ((_write(stroke),) for stroke in _strokes(settled))
        ),
        _join(
            f'<polyline class="line {line.look} open" points="{{}}"/>',
            ((_write(stroke),) for stroke in _strokes(points[-2:]) if line.look != "before"),
        ),
    )


def _open_end(line: Line, top: float) -> SafeString:
    """A hollow point: today so far."""
    last = line.values[-1]
    if last is None:
        return SafeString("")
    return format_html('<circle class="point {} open" cx="100%" cy="{}" r="3.5"/>', line.look, _y(last / top))


def _day(days: Sequence[date], index: int, lines: Sequence[Line], top: float) -> SafeString:
    """What shows while the pointer is over a day: a guide, its points, and its figures as a tooltip."""
    width = 100 / (len(days) - 1)
    x = _percent(index * width)
    standing = [(line, value) for line in lines if (value := line.values[index]) is not None]
    words = [f"{days[index]:%a} {short_day(days[index])}", *(f"{line.name}: {line.write(at)}" for line, at in standing)]
    return format_html(
        '<g class="day"><title>{words}</title><rect x="{left}" width="{width}" height="100%"/>'
        '<line class="guide" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>{points}</g>',
        words="\n".join(words),
        left=_percent(max(index - 0.5, 0) * width),
        width=_percent(width if 0 < index < len(days) - 1 else width / 2),
        x=x,
        top=_PLOT_TOP,
        bottom=_PLOT_TOP + _PLOT_HEIGHT,
        points=_join(
            '<circle class="point {}" cx="{}" cy="{}" r="4"/>',
            ((line.look, x, _y(at / top)) for line, at in standing),
        ),
    )


def day_labels(days: Sequence[date]) -> SafeString:
    """Some days' names under a chart, evenly apart and counted back from the last one; every other one is `minor`."""
    last = len(days) - 1
    step = max(1, math.ceil(len(days) / _MAX_DAY_LABELS))
    shown = list(range(last, -1, -step))
    return format_html(
        '<svg class="days" width="100%" height="{}" aria-hidden="true">{}</svg>',
        _AXIS_HEIGHT,
        _join(
            '<text class="{}" x="{}" y="18">{}</text>',
            (
                (_label_class(index, last, place), _percent(100 * index / last), short_day(days[index]))
                for place, index in enumerate(shown)
            ),
        ),
    )


def _label_class(index: int, last: int, place: int) -> str:
    at = {0: "first", last: "last"}.get(index, "")
    return f"{at} minor".strip() if place % 2 else at


# -- Small ones -------------------------------------------------------------------------------------------------------


def sparkline(values: Values) -> SafeString:
    """A line without words, for beside a number that says it all."""
    top = max((value for value in values if value is not None), default=0) or 1
    strokes = _strokes(_points(values, top * 1.05))
    return format_html(
        '<svg class="sparkline" viewBox="0 0 {0} {0}" preserveAspectRatio="none" aria-hidden="true">{1}{2}</svg>',
        _SIDE,
        _join('<polygon class="area" points="{}"/>', ((_under(stroke),) for stroke in strokes)),
        _join('<polyline class="line" points="{}"/>', ((_write(stroke),) for stroke in strokes)),
    )


def bar(share: float) -> SafeString:
    """A bar as long as its share (0 to 1) of the place it has, for behind a label."""
    return format_html(
        '<svg class="bar" aria-hidden="true"><rect width="{}" height="100%" rx="3"/></svg>', _percent(100 * share)
    )


def split_bar(first: float, second: float) -> SafeString:
    """Two bars end to end, each as long as its share (0 to 1) of the place they have together."""
    return format_html(
        '<svg class="split" aria-hidden="true"><rect width="{0}" height="100%" rx="1"/>'
        '<rect class="second" x="{0}" width="{1}" height="100%" rx="1"/></svg>',
        _percent(100 * first),
        _percent(100 * second),
    )


# -- Shares over time -------------------------------------------------------------------------------------------------


def stacked_shares(days: Sequence[date], layers: Sequence[Layer], *, summary: str) -> SafeString:
    """Layers on top of each other, the first one on top; at most six, told apart by place, shade and legend."""
    lower = [0.0] * len(days)
    polygons: list[SafeString] = []
    for place, layer in reversed(list(enumerate(layers))):
        upper = [min(base + share, 1.0) for base, share in zip(lower, layer.shares, strict=True)]
        outline = [*_points(upper, 1), *reversed(_points(lower, 1))]
        polygons.append(
            format_html(
                '<polygon class="layer layer-{}" points="{}"><title>{}</title></polygon>',
                place + 1,
                _write([point for point in outline if point]),
                layer.name,
            )
        )
        lower = upper
    return format_html(
        '<div class="stack"><svg width="100%" height="128" viewBox="0 0 {0} {0}" preserveAspectRatio="none" role="img"'
        ' aria-label="{1}">{2}</svg>{3}</div>',
        _SIDE,
        summary,
        _join("{}", ((polygon,) for polygon in polygons)),
        day_labels(days),
    )


def line_legend(lines: Sequence[Line]) -> SafeString:
    """How each line of a time series is drawn, and what its hollow end means."""
    return format_html(
        '<ul class="legend">{}<li><svg width="10" height="10" aria-hidden="true">'
        '<circle class="point main open" cx="5" cy="5" r="3.5"/></svg>Today so far</li></ul>',
        _join(
            '<li><svg width="18" height="10" aria-hidden="true"><line class="line {}" x2="18" y1="5" y2="5"/></svg>'
            "{}</li>",
            ((line.look, line.name) for line in lines),
        ),
    )


def legend(entries: Iterable[tuple[str, str, str]]) -> SafeString:
    """(CSS class, name, figure) of each line or layer."""
    return format_html(
        '<ul class="legend">{}</ul>',
        _join(
            '<li><svg width="14" height="10" aria-hidden="true"><rect class="swatch {}" width="14" height="10" rx="2"/>'
            "</svg>{} <b>{}</b></li>",
            entries,
        ),
    )


# -- Percentiles ------------------------------------------------------------------------------------------------------

_DURATION_TICKS_MS = (100, 1_000, 10_000, 60_000, 600_000, 3_600_000, 36_000_000, 360_000_000)
# More names would overprint.
_MAX_DURATION_TICKS = 4


@dataclass(frozen=True)
class LogScale:
    """From one of the duration ticks to another, so that both ends have a name."""

    low_ms: float
    high_ms: float

    @classmethod
    def around(cls, values_ms: Sequence[float]) -> "LogScale":
        """The shortest that holds all values."""
        lowest, highest = min(values_ms, default=1_000), max(values_ms, default=60_000)
        low = max((tick for tick in _DURATION_TICKS_MS[:-1] if tick <= lowest), default=_DURATION_TICKS_MS[0])
        high = min(
            (tick for tick in _DURATION_TICKS_MS if tick >= highest and tick > low), default=_DURATION_TICKS_MS[-1]
        )
        return cls(low, high)

    def percent(self, value_ms: float) -> str:
        """Where a value stands, from left to right; what is beyond an end stands at it."""
        place = math.log(max(value_ms, 1) / self.low_ms) / math.log(self.high_ms / self.low_ms)
        return _percent(100 * min(max(place, 0), 1))

    @property
    def ticks_ms(self) -> list[float]:
        """The named values on it: both ends, and a few between them."""
        ticks = [tick for tick in _DURATION_TICKS_MS if self.low_ms <= tick <= self.high_ms]
        steps = min(len(ticks), _MAX_DURATION_TICKS) - 1
        return [ticks[round(step * (len(ticks) - 1) / steps)] for step in range(steps + 1)]


def whisker(p50_ms: float, p90_ms: float, p99_ms: float, scale: LogScale) -> SafeString:
    """One line: a solid point at p50, a thick stroke to the hollow point at p90, a thin one to the small one at p99."""
    return format_html(
        '<svg class="whisker" aria-hidden="true">{grid}<line class="thin" x1="{p50}" x2="{p99}" y1="50%" y2="50%"/>'
        '<line class="thick" x1="{p50}" x2="{p90}" y1="50%" y2="50%"/><circle class="p50" cx="{p50}" cy="50%" r="3.5"/>'
        '<circle class="p90" cx="{p90}" cy="50%" r="3.5"/><circle class="p99" cx="{p99}" cy="50%" r="2.5"/></svg>',
        grid=_join(
            '<line class="grid" x1="{0}" x2="{0}" y2="100%"/>', ((scale.percent(tick),) for tick in scale.ticks_ms)
        ),
        p50=scale.percent(p50_ms),
        p90=scale.percent(p90_ms),
        p99=scale.percent(p99_ms),
    )


def whisker_axis(scale: LogScale, write: Words) -> SafeString:
    """The names of a scale's ticks, for over the whiskers."""
    return format_html(
        '<svg class="whisker" role="img" aria-label="p50, p90 and p99 on one scale">{}</svg>',
        _join(
            '<text x="{}" y="65%">{}</text>',
            ((scale.percent(tick), write(tick)) for tick in scale.ticks_ms),
        ),
    )


# -- A chart's numbers ------------------------------------------------------------------------------------------------


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> SafeString:
    """The figures of a chart, folded away; the first column names the row."""
    return format_html(
        '<details class="chart-table"><summary>Show as table</summary><div class="scroll" tabindex="0" role="region"'
        ' aria-label="{caption}"><table><caption class="visually-hidden">{caption}</caption><thead><tr>{head}</tr>'
        "</thead><tbody>{body}</tbody></table></div></details>",
        caption=caption,
        head=_join('<th scope="col">{}</th>', ((column,) for column in columns)),
        body=_join(
            '<tr><th scope="row">{}</th>{}</tr>',
            ((row[0], _join("<td>{}</td>", ((cell,) for cell in row[1:]))) for row in rows),
        ),
    )


# -- Geometry ---------------------------------------------------------------------------------------------------------

_Point = tuple[float, float]


def _join(template: str, rows: Iterable[Sequence[object]]) -> SafeString:
    return format_html_join("", template, (tuple(row) for row in rows))


def _percent(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"


def _y(share: float) -> float:
    """Pixels from the top of a time series."""
    return round(_PLOT_TOP + (1 - share) * _PLOT_HEIGHT, 1)


def _stretched(content: SafeString) -> SafeString:
    return format_html(
        '<svg y="{0}" width="100%" height="{1}" viewBox="0 0 {2} {2}" preserveAspectRatio="none">{3}</svg>',
        _PLOT_TOP,
        _PLOT_HEIGHT,
        _SIDE,
        content,
    )


def _points(values: Values, top: float) -> list[_Point | None]:
    """Where values stand in the stretched drawing, evenly from its left to its right edge."""
    step = _SIDE / (len(values) - 1)
    return [None if value is None else (index * step, _SIDE * (1 - value / top)) for index, value in enumerate(values)]


def _strokes(points: Sequence[_Point | None]) -> list[list[_Point]]:
    """Points without gaps between them. A lone one is there twice, which draws a dot."""
    strokes: list[list[_Point]] = [[]]
    for point in points:
        if point:
            strokes[-1].append(point)
        elif strokes[-1]:
            strokes.append([])
    return [stroke if len(stroke) > 1 else stroke * 2 for stroke in strokes if stroke]


def _under(stroke: Sequence[_Point]) -> str:
    """The outline of what is under a line."""
    return _write([(stroke[0][0], _SIDE), *stroke, (stroke[-1][0], _SIDE)])


def _write(points: Iterable[_Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
