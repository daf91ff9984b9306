"""Queries: a filter -> figures, for pages, CSV and the stats API, which are three renderings of the same.

In: a Filter and the time. Out: frozen dataclasses of numbers; no words, no markup. Next: charts.py, dashboards/

Reads rollups only, never events: a question costs the same whatever the number of events behind it.
"""

from analytics.queries.figures import PERCENTILE_MIN_RUNS, Figures
from analytics.queries.filters import DEFAULT_PERIOD, PERIOD_DAYS, Filter, Period, parsed, words
from analytics.queries.freshness import Freshness, freshness
from analytics.queries.parts import Part, parts
from analytics.queries.selection import Selection
from analytics.queries.totals import Point, Series, Totals, series, totals

__all__ = [
    "DEFAULT_PERIOD",
    "PERCENTILE_MIN_RUNS",
    "PERIOD_DAYS",
    "Figures",
    "Filter",
    "Freshness",
    "Part",
    "Period",
    "Point",
    "Selection",
    "Series",
    "Totals",
    "freshness",
    "parsed",
    "parts",
    "series",
    "totals",
    "words",
]
