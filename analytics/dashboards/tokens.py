"""Tokens: how many are sent and received, over time, by which models and for which commands."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analytics import queries
from analytics.dashboards import grids, over_time, wording
from analytics.dashboards.metrics import exact, some
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import Cell, Column, Panel
from analytics.dashboards.parts import FIGURES, Figure, before, tree_panel
from analytics.queries import Branch, Figures, Matrix, Part

_METRICS = some("tokens", "prompt_tokens", "completion_tokens", "context_tokens", "tokens_per_run", "runs")
_NOTHING = "No run of these days counted tokens."

_CHANGE = Figure(
    Column("Change", "tokens_before"),
    lambda part: Cell(exact(before(part).tokens), wording.change(part.now.tokens, before(part).tokens)),
    compares=True,
)
_FIGURES = (
    replace(FIGURES["tokens"], column=Column("Tokens", "tokens", "strong")),
    *("prompt_tokens", "completion_tokens", "context_tokens"),
    replace(FIGURES["runs"], column=Column("Runs", "runs", "wide quiet")),
    "tokens_per_run",
    _CHANGE,
)


def panels(asked: Asked) -> Sequence[Panel]:
    """Figures over time, then by provider and model, and by command and model."""
    chosen, now = asked.chosen, asked.now
    main = over_time.figures_panel(
        asked,
        _METRICS,
        queries.totals(chosen, now),
        queries.series(chosen, now),
        lines={"tokens": ("prompt_tokens", "completion_tokens", "context_tokens")},
    )
    return [
        replace(main, note="prompt and completion; the context, such as files, is part of the prompt"),
        tree_panel(
            asked,
            _spenders(queries.tree(chosen, now)),
            _FIGURES,
            bars="tokens",
            id="models",
            title="By provider and model",
            nothing=_NOTHING,
            wide=True,
        ),
        grids.heat_map(
            _by_tokens(queries.matrix(chosen, now, "command_model")),
            lambda figures: figures.tokens or None,
            wording.compact,
            id="heat",
            title="By command and model",
            note="prompt and completion tokens",
            corner="Command",
            name="model",
            url=lambda command, model: asked.url(command=command, command__not="", model=model, model__not=""),
            nothing=_NOTHING,
        ),
    ]


PAGE = Page(name="tokens", title="Tokens", icon="tokens", panels=panels, metrics=_METRICS)


def _spenders(branches: Sequence[Branch]) -> list[Branch]:
    """Those with any tokens, the most first, and their models likewise."""

    def most(part: Part) -> int:
        return -part.now.tokens

    return [
        replace(branch, models=sorted((part for part in branch.models if part.now.tokens), key=most))
        for branch in sorted(branches, key=lambda branch: most(branch.provider))
        if branch.provider.now.tokens
    ]


def _by_tokens(found: Matrix) -> Matrix:
    """Its rows and columns with any tokens, the most first."""
    return Matrix(_most(found.rows, 0, found.cells), _most(found.columns, 1, found.cells), found.cells)


def _most(names: Sequence[str], place: int, cells: Mapping[tuple[str, str], Figures]) -> list[str]:
    tokens = dict.fromkeys(names, 0)
    for pair, figures in cells.items():
        tokens[pair[place]] += figures.tokens
    return sorted((name for name in names if tokens[name]), key=lambda name: -tokens[name])
