"""Commands: which of them run, how often they fail, how long they take, with which options and by whom."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analytics import charts, queries
from analytics.dashboards import over_time, wording
from analytics.dashboards.metrics import exact
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import Cell, Column, Panel, Row, Table
from analytics.dashboards.parts import Figure, far, parts_panel, whiskers
from analytics.queries import NONE, Part

_WHO: Mapping[str, str] = {"person": "People", "ci": "CI jobs", "agent": "Agents", "unknown": "Not said"}
_OPTIONS = 12
"""As many as the contract has: all of them are shown."""


def panels(asked: Asked) -> Sequence[Panel]:
    """All commands, sortable; their durations, who runs them and with which options."""
    commands = queries.parts(asked.chosen, asked.now, "command", in_steps=True)
    return [
        _commands(asked, commands),
        whiskers(
            asked,
            "command",
            commands,
            id="durations",
            title="Duration by command",
            page="command",
            details=asked.url("performance"),
            more=[who_runs(asked)],
        ),
        options_used(asked),
    ]


PAGE = Page(name="commands", title="Commands", icon="commands", panels=panels)


def who_runs(asked: Asked) -> Panel:
    """People, CI jobs and agents: shares of the runs and of the installations. A click filters by them."""
    them = queries.who(asked.chosen)
    columns = [
        Column("Who", "who"),
        Column("Runs", "runs", "strong"),
        Column("Share", "runs_share"),
        Column("Installations", "installations", "wide"),
        Column("Share of them", "installations_share", "wide quiet"),
    ]
    rows = [
        Row(
            [
                Cell(one.value, _WHO[one.value]),
                Cell(one.runs, wording.exact(one.runs)),
                Cell(exact(one.runs_share), wording.percent(one.runs_share)),
                Cell(one.installations, wording.exact(one.installations)),
                Cell(exact(one.installations_share), wording.percent(one.installations_share)),
            ],
            bar=charts.bar(one.runs_share or 0),
            url=_only_who(asked, one.value),
        )
        for one in them
    ]
    return Panel(
        id="who",
        title="Who runs it",
        note="as clients say; an installation may be several of these",
        table=Table(columns, rows),
    )


def options_used(asked: Asked) -> Panel:
    """The options of the contract that runs used. Nothing is filtered by them, so that they lead nowhere."""
    panel = parts_panel(
        asked,
        "option",
        queries.options(asked.chosen, asked.now),
        ("runs", _SHARE_OF_RUNS, "error_rate", "tokens_per_run", "change"),
        id="options",
        title="Options used",
        note="share of all runs; a run may have several",
        at_most=_OPTIONS,
        nothing="No run of these days used an option.",
    )
    return replace(panel, table=replace(panel.table, rows=[replace(row, url="") for row in panel.table.rows]))


_SHARE_OF_RUNS = Figure(
    Column("Share", "share", "quiet"), lambda part: Cell(exact(part.share), wording.percent(part.share))
)


def _commands(asked: Asked, commands: Sequence[Part]) -> Panel:
    spans = queries.spans(asked.chosen, asked.now)
    trend = Figure(
        Column("Trend", look="wide far trend"),
        lambda part: over_time.sparkline(asked, spans, part.steps),
    )
    runs_each, tokens = (far(name) for name in ("runs_per_installation", "tokens_per_run"))
    figures = (
        *("runs", "share", "installations", runs_each, "error_rate"),
        *("p50_ms", "p90_ms", tokens, trend, "change"),
    )
    return parts_panel(
        asked,
        "command",
        commands,
        figures,
        id="commands",
        title="All commands",
        note=f"percentiles of successful runs, none under {queries.PERCENTILE_MIN_RUNS} of them",
        page="command",
        sortable=True,
        at_most=100,
        wide=True,
    )


def _only_who(asked: Asked, who: str) -> str:
    """The filter that dimensions.WHO stands for: an agent is one in a CI job, too."""
    if who == "agent":
        return asked.url(agent__not=NONE)
    ci = {"person": "false", "ci": "true", "unknown": NONE}[who]
    return asked.url(ci=ci, ci__not="", agent=NONE, agent__not="")
