"""Overview: the portal's front page: six figures, and where they come from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analytics import charts, queries
from analytics.dashboards import grids, over_time, wording
from analytics.dashboards.failures import failures
from analytics.dashboards.metrics import exact, some
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import Cell, Column, Panel, Row, Table
from analytics.dashboards.parts import ROWS, parts_panel, whiskers
from analytics.dashboards.versions import adoption
from analytics.queries import Part

_METRICS = some("runs", "installations", "runs_per_installation", "error_rate", "p50_ms", "tokens")

_MODELS = 14  # beside providers and their tokens is room for more than ROWS

_WHERE = ("runs", "share", "installations", "error_rate", "change")
_SPENT = ("runs", "tokens", "installations", "error_rate", "change")
_SHOWN = {
    "command": (_WHERE, "commands"),
    "version": (_WHERE, "versions"),
    "model": (_SPENT, "models"),
    "provider": (_SPENT, "models"),
}
"""What runs are told apart by -> figures of each, and the page that says more."""


def panels(asked: Asked) -> Sequence[Panel]:
    """Figures over time, then commands, versions, models, providers, errors, durations, and who stays."""
    chosen, now = asked.chosen, asked.now
    totals, series = queries.totals(chosen, now), queries.series(chosen, now)
    parts = {by: queries.parts(chosen, now, by) for by in _SHOWN}
    errors = queries.parts(chosen, now, "error_type", in_steps=True)
    more: Mapping[str, Sequence[Panel]] = {
        "version": [adoption(asked, queries.adoption(chosen, now), wide=False)],
        "provider": [_tokens(asked, parts["provider"])],
    }
    return [
        over_time.figures_panel(asked, _METRICS, totals, series),
        *(
            parts_panel(
                asked,
                by,
                parts[by],
                figures,
                details=asked.url(page),
                at_most=_MODELS if by == "model" else ROWS,
                of=totals.now.runs,
                more=more.get(by, ()),
            )
            for by, (figures, page) in _SHOWN.items()
        ),
        failures(asked, totals, series, errors),
        whiskers(
            asked,
            "command",
            parts["command"],
            id="durations",
            title="Duration by command",
            details=asked.url("performance"),
        ),
        replace(grids.retention(queries.cohorts(chosen, now)), details=asked.url("users")),
    ]


PAGE = Page(name="overview", title="Overview", icon="overview", panels=panels, metrics=_METRICS)


def _tokens(asked: Asked, providers: Sequence[Part]) -> Panel:
    """What the providers' runs sent and received, most tokens first; those without any are left out."""
    spenders = sorted((part for part in providers if part.now.tokens), key=lambda part: -part.now.tokens)
    most = max((part.now.tokens for part in spenders), default=1)
    columns = [
        Column("Provider", "provider"),
        Column("Both", look="split-column"),
        Column("Prompt", "prompt_tokens", "strong"),
        Column("Completion", "completion_tokens"),
        Column("Per run", "tokens_per_run", "wide"),
    ]
    rows = [
        Row(
            [
                Cell(part.value, part.value),
                Cell(None, charts.split_bar(part.now.prompt_tokens / most, part.now.completion_tokens / most)),
                *(
                    Cell(exact(value), wording.compact(value))
                    for value in (part.now.prompt_tokens, part.now.completion_tokens, part.now.tokens_per_run)
                ),
            ],
            url=asked.only("provider", part.value),
        )
        for part in spenders
    ]
    return Panel(
        id="tokens",
        title="Tokens",
        note="prompt and completion",
        look="tokens",
        table=Table(columns, rows),
        at_most=ROWS,
        nothing="No run of these days counted tokens.",
        details=asked.url("tokens"),
    )
