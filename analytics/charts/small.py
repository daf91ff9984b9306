"""Small ones: pictures beside or behind a number or a name, which says it all."""

from django.utils.html import format_html
from django.utils.safestring import SafeString

from analytics.charts import drawing
from analytics.charts.drawing import SIDE, Values, join, percent

# How strongly cells are coloured; none between 0.58 and 0.88, where neither light nor dark words can be read.
_STRENGTHS = (0.06, 0.14, 0.24, 0.34, 0.46, 0.58, 0.88, 1.0)
_INVERTED = 6


def sparkline(values: Values) -> SafeString:
    """A line without words, for beside a number that says it all."""
    top = max((value for value in values if value is not None), default=0) or 1
    strokes = drawing.strokes(drawing.points(values, top * 1.05))
    return format_html(
        '<svg class="sparkline" viewBox="0 0 {0} {0}" preserveAspectRatio="none" aria-hidden="true">{1}{2}</svg>',
        SIDE,
        join('<polygon class="area" points="{}"/>', ((drawing.under(stroke),) for stroke in strokes)),
        join('<polyline class="line" points="{}"/>', ((drawing.written(stroke),) for stroke in strokes)),
    )


def bar(share: float) -> SafeString:
    """A bar as long as its share (0 to 1) of the place it has, for behind a label."""
    return format_html(
        '<svg class="bar" aria-hidden="true"><rect width="{}" height="100%" rx="3"/></svg>', percent(100 * share)
    )


def split_bar(first: float, second: float) -> SafeString:
    """Two bars end to end, each as long as its share (0 to 1) of the place they have together."""
    return format_html(
        '<svg class="split" aria-hidden="true"><rect width="{0}" height="100%" rx="1"/>'
        '<rect class="second" x="{0}" width="{1}" height="100%" rx="1"/></svg>',
        percent(100 * first),
        percent(100 * second),
    )


def heat(share: float) -> SafeString:
    """The colour of a cell, the stronger the more, for behind a number; 0 to 1 of the most there is."""
    return format_html(
        '<svg class="heat" aria-hidden="true"><rect width="100%" height="100%" rx="4" fill-opacity="{}"/></svg>',
        _STRENGTHS[heat_level(share)],
    )


def heat_look(share: float) -> str:
    """The CSS class of a cell over such a colour: whether its words are inverted."""
    return "inverted" if heat_level(share) >= _INVERTED else ""


def heat_level(share: float) -> int:
    """Which of the eight strengths, from 0 on."""
    return min(int(max(share, 0) * len(_STRENGTHS)), len(_STRENGTHS) - 1)
