"""Charts: figures -> SVG, as strings that are safe to put into a page.

In: numbers and words. Out: SafeString; every word in it is escaped. Pure: no database, no request.

The markup passes a strict content security policy: no inline style, no script. Colours, strokes and fonts are CSS
classes (static/analytics/portal.css). A chart is as wide as its place: positions are percentages, and what percentages
cannot express, lines and areas, stands in a nested <svg> that is stretched without stretching its strokes.
"""

from analytics.charts.bars import histogram
from analytics.charts.drawing import Step, Values, Words, nice_ticks
from analytics.charts.durations import LogScale, whisker, whisker_axis
from analytics.charts.series import BEFORE, Line, Marker, line_legend, time_series
from analytics.charts.shares import Layer, legend, stacked_shares
from analytics.charts.small import bar, heat, heat_look, sparkline, split_bar

__all__ = [
    "BEFORE",
    "Layer",
    "Line",
    "LogScale",
    "Marker",
    "Step",
    "Values",
    "Words",
    "bar",
    "heat",
    "heat_look",
    "histogram",
    "legend",
    "line_legend",
    "nice_ticks",
    "sparkline",
    "split_bar",
    "stacked_shares",
    "time_series",
    "whisker",
    "whisker_axis",
]
