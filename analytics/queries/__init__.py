"""Queries: a filter -> figures, for pages, CSV and the stats API, which are three renderings of the same.

In: a Filter and the time. Out: frozen dataclasses of numbers; no words, no markup. Next: charts.py, dashboards/

Reads rollups only, never events. Unfiltered, or filtered by one dimension, a question costs the same whatever the
number of events behind it; by several it costs a little for each combination of values that its days have.
"""

from analytics.queries.chance import FALSE_ALARMS_MAX, INSTALLATIONS_MIN
from analytics.queries.durations import DurationBucket, Durations, durations
from analytics.queries.errors import ErrorType, errors
from analytics.queries.figures import PERCENTILE_MIN_RUNS, Figures
from analytics.queries.filters import DEFAULT_PERIOD, PERIOD_DAYS, WORDS, Filter, Period, parsed, words
from analytics.queries.freshness import Freshness, freshness
from analytics.queries.parts import Part, parts
from analytics.queries.selection import NONE, Selection
from analytics.queries.shares import Branch, Excluded, Matrix, Who, excluded, matrix, options, tree, who
from analytics.queries.snapshot import snapshot
from analytics.queries.totals import Point, Series, Span, Totals, series, spans, totals
from analytics.queries.users import (
    Active,
    ActiveDay,
    Activity,
    Cohort,
    Cohorts,
    Newcomers,
    RunsBucket,
    RunsPerInstallation,
    activity,
    cohorts,
    newcomers,
    retention,
    runs_per_installation,
)
from analytics.queries.versions import (
    Adoption,
    AdoptionStep,
    Comparison,
    Side,
    VersionAdoption,
    adoption,
    comparisons,
)

__all__ = [
    "DEFAULT_PERIOD",
    "FALSE_ALARMS_MAX",
    "INSTALLATIONS_MIN",
    "NONE",
    "PERCENTILE_MIN_RUNS",
    "PERIOD_DAYS",
    "WORDS",
    "Active",
    "ActiveDay",
    "Activity",
    "Adoption",
    "AdoptionStep",
    "Branch",
    "Cohort",
    "Cohorts",
    "Comparison",
    "DurationBucket",
    "Durations",
    "ErrorType",
    "Excluded",
    "Figures",
    "Filter",
    "Freshness",
    "Matrix",
    "Newcomers",
    "Part",
    "Period",
    "Point",
    "RunsBucket",
    "RunsPerInstallation",
    "Selection",
    "Series",
    "Side",
    "Span",
    "Totals",
    "VersionAdoption",
    "Who",
    "activity",
    "adoption",
    "cohorts",
    "comparisons",
    "durations",
    "errors",
    "excluded",
    "freshness",
    "matrix",
    "newcomers",
    "options",
    "parsed",
    "parts",
    "retention",
    "runs_per_installation",
    "series",
    "snapshot",
    "spans",
    "totals",
    "tree",
    "who",
    "words",
]
