"""Providers and models: which are run, how long and how often in vain; and which ones plan chooses."""

from collections.abc import Sequence
from dataclasses import replace

from analytics import queries
from analytics.dashboards import grids, over_time, wording
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import Column, Panel
from analytics.dashboards.parts import FIGURES, tree_panel
from analytics.queries import Part

_FIGURES = (
    *("runs", "share", "installations", "tokens_per_run"),
    replace(FIGURES["p50_ms"], column=Column("p50", "p50_ms", "wide")),  # else names are cut off
    *("error_rate", "change"),
)


def panels(asked: Asked) -> Sequence[Panel]:
    """The tree, models over time, and the pairs of models of the plan command."""
    chosen, now = asked.chosen, asked.now
    branches = queries.tree(chosen, now)
    without = queries.excluded(chosen).runs - sum(each.provider.now.runs for each in branches)
    return [
        tree_panel(
            asked,
            branches,
            _FIGURES,
            id="models",
            title="Providers and models",
            page="model",
            none=f"{wording.many(without, 'run')} without a provider" if without else "",
            none_url=asked.only("provider", queries.NONE),
            wide=True,
        ),
        _over_time(asked, queries.parts(chosen, now, "model", in_steps=True)),
        grids.heat_map(
            queries.matrix(chosen, now, "file_thinking_model"),
            lambda figures: figures.runs,
            wording.compact,
            id="plan",
            title="Models of the plan command",
            note="runs: the model that chooses files in rows, the one that thinks in columns",
            corner="File model",
            name="thinking_model",
            nothing="No run of these days names both a file model and a thinking model, as plan does.",
        ),
    ]


PAGE = Page(name="models", title="Providers and models", icon="models", panels=panels)


def _over_time(asked: Asked, models: Sequence[Part]) -> Panel:
    """Shares rather than runs: weekends would be all there is to see."""
    spans = queries.spans(asked.chosen, asked.now)
    whole = [sum(of_step) for of_step in zip(*(part.steps for part in models), strict=True)]
    layers = [
        (part.value, [of_part / runs if runs else 0.0 for of_part, runs in zip(part.steps, whole, strict=True)])
        for part in models
    ]
    return over_time.stacked(
        asked,
        [span.start for span in spans],
        [span.partial for span in spans],
        over_time.most(layers),
        id="shares",
        title="Models over time",
        note=f"share of the runs with a model, by {asked.chosen.interval}",
        nothing="No run of these days names a model.",
        high=True,
        wide=True,
    )
