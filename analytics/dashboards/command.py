"""One command: its figures over time, how long it takes, how it fails, and with what it runs."""

from collections.abc import Sequence

from analytics import queries
from analytics.dashboards import over_time
from analytics.dashboards.commands import options_used, who_runs
from analytics.dashboards.failures import failures
from analytics.dashboards.metrics import some
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import Panel
from analytics.dashboards.parts import far, parts_panel
from analytics.dashboards.performance import percentiles

_METRICS = some("runs", "installations", "runs_per_installation", "error_rate", "p50_ms", "tokens_per_run")


def panels(asked: Asked) -> Sequence[Panel]:
    """Figures and percentiles over time; its errors, versions, models and options, and who runs it."""
    chosen, now = asked.chosen, asked.now
    totals, series = queries.totals(chosen, now), queries.series(chosen, now)
    errors = queries.parts(chosen, now, "error_type", in_steps=True)
    return [
        over_time.figures_panel(asked, _METRICS, totals, series),
        percentiles(asked, series),
        failures(asked, totals, series, errors, page="error"),
        parts_panel(
            asked,
            "version",
            queries.parts(chosen, now, "version"),
            ("runs", "share", "installations", "error_rate", "p50_ms", "change"),
            page="version",
            details=asked.url("versions"),
            more=[who_runs(asked)],
        ),
        parts_panel(
            asked,
            "model",
            queries.parts(chosen, now, "model"),
            ("runs", "tokens_per_run", far("installations"), "error_rate", "p50_ms", "change"),
            details=asked.url("models"),
            of=totals.now.runs,
        ),
        options_used(asked),
    ]


PAGE = Page(
    name="command",
    title="One command",
    icon="commands",
    panels=panels,
    metrics=_METRICS,
    of="command",
    parent="commands",
)
