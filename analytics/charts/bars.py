"""Bars: a histogram. Next to each other, from the left: buckets have an order, such as 1, 2, 3 to 5."""

from collections.abc import Sequence

from django.utils.html import format_html
from django.utils.safestring import SafeString

from analytics.charts import drawing
from analytics.charts.drawing import Words, join, percent, y

_GAP = 0.12
_FEW = 8


def histogram(
    labels: Sequence[str], values: Sequence[float], *, summary: str, write_tick: Words, finest: float = 0
) -> SafeString:
    """A bar for each bucket, of which there is at least one. The script shows figures as for time_series."""
    ticks = drawing.nice_ticks(max(values, default=0), finest=finest)
    marks = drawing.named(ticks, write_tick)
    width = 100 / len(values)
    every = 2 if len(values) <= _FEW else 3  # of the names that there is room for on a narrow screen
    return format_html(
        '<div class="chart histogram{dense}" data-chart="">{axis}'
        '<svg class="plot" width="100%" height="{height}" role="img" aria-label="{summary}">{grid}{bars}</svg>'
        '<svg class="days" width="100%" height="28" aria-hidden="true">{labels}</svg></div>',
        dense="" if len(values) <= _FEW else " dense",
        axis=drawing.axis(marks),
        height=drawing.CHART_HEIGHT,
        summary=summary,
        grid=drawing.grid(marks),
        bars=join(
            '<g class="day"><rect class="column" x="{}" y="{}" width="{}" height="{}" rx="3"/>'
            '<rect x="{}" width="{}" height="100%"/></g>',
            (
                (
                    percent((index + _GAP / 2) * width),
                    y(value / ticks[-1]),
                    percent((1 - _GAP) * width),
                    round(drawing.PLOT_HEIGHT * value / ticks[-1], 1),
                    percent(index * width),
                    percent(width),
                )
                for index, value in enumerate(values)
            ),
        ),
        labels=join(
            '<text class="{}" x="{}" y="18">{}</text>',
            (
                ("minor" if index % every else "", percent((index + 0.5) * width), label)
                for index, label in enumerate(labels)
            ),
        ),
    )
