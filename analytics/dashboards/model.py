"""One model: its figures over time, how long its runs take, how they fail, and what it is used for."""

from collections.abc import Sequence

from analytics import queries
from analytics.dashboards import over_time
from analytics.dashboards.failures import failures
from analytics.dashboards.metrics import some
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import Panel
from analytics.dashboards.parts import far, parts_panel
from analytics.dashboards.performance import percentiles

_METRICS = some("runs", "installations", "tokens", "tokens_per_run", "error_rate", "p50_ms")


def panels(asked: Asked) -> Sequence[Panel]:
    """Figures and percentiles over time; its errors, commands, versions and providers."""
    chosen, now = asked.chosen, asked.now
    totals, series = queries.totals(chosen, now), queries.series(chosen, now)
    errors = queries.parts(chosen, now, "error_type", in_steps=True)
    figures = ("runs", "tokens_per_run", far("installations"), "error_rate", "p50_ms", "change")
    return [
        over_time.figures_panel(asked, _METRICS, totals, series),
        percentiles(asked, series),
        failures(asked, totals, series, errors, page="error"),
        *(
            parts_panel(asked, by, queries.parts(chosen, now, by), figures, page=page, of=totals.now.runs)
            for by, page in (("command", "command"), ("version", "version"), ("provider", ""))
        ),
    ]


PAGE = Page(
    name="model",
    title="One model",
    icon="models",
    panels=panels,
    metrics=_METRICS,
    of="model",
    parent="models",
)
