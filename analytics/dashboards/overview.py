"""Overview: the portal's front page.

In: the query string (`period`, `metric`) and the time. Out: the context of templates/analytics/overview.html.
A value that is not known falls back, and the page says so.
"""

import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from django.utils.safestring import SafeString
from packaging.version import InvalidVersion, Version
from vibetel_client import contract

from analytics import charts, queries
from analytics.charts import Layer, Line, LogScale
from analytics.dashboards import wording
from analytics.dashboards.panel import Column, Panel, Row, row
from analytics.queries import Figures, Filter, Part, Period, Totals

# Rows of a table, and layers of the adoption chart; what is beyond them is put together.
_ROWS = 8
_LAYERS = 5

_PERIODS = ("7d", "30d", "90d")

_Words = Callable[[float | None], str]


@dataclass(frozen=True)
class _Report:
    """What the page shows. `days` and `days_before` are whole days, as far as they are over."""

    period: Period
    totals: Totals
    before: Figures
    days: Sequence[Figures]
    days_before: Sequence[Figures]
    parts: Mapping[str, Sequence[Part]]

    @property
    def now(self) -> Figures:
        return self.totals.now


@dataclass(frozen=True)
class Metric:
    """One of the figures on top of the page. `good` is 1 where more is better, -1 where less is."""

    name: str
    label: str
    of: Callable[[Figures], float | None]
    write: _Words
    write_exactly: _Words
    write_tick: charts.Words
    good: int = 0
    finest_tick: int = 0


_RUNS, _INSTALLATIONS, _ERROR_RATE, _DURATION = "runs", "installations", "error_rate", "duration"
_COUNT = (wording.compact, wording.exact, wording.compact)
_RATIO = (wording.decimal, wording.decimal, "{:g}".format)
_RATE = (wording.percent, wording.percent, wording.round_percent)
_TIME = (wording.duration, wording.duration, wording.round_duration)

METRICS = {
    metric.name: metric
    for metric in (
        Metric(_RUNS, "Command runs", lambda figures: figures.runs, *_COUNT, good=1, finest_tick=1),
        Metric(
            _INSTALLATIONS,
            "Active installations",
            lambda figures: figures.installations,
            *_COUNT,
            good=1,
            finest_tick=1,
        ),
        Metric("frequency", "Runs per installation", lambda figures: figures.runs_per_installation, *_RATIO),
        Metric(_ERROR_RATE, "Error rate", lambda figures: figures.error_rate, *_RATE, good=-1),
        Metric(_DURATION, "Median duration", lambda figures: figures.p50_ms, *_TIME, good=-1),
        Metric("tokens", "Tokens", lambda figures: figures.tokens, *_COUNT, finest_tick=1),
    )
}


@dataclass(frozen=True)
class Choice:
    """A link that changes one thing about the page."""

    label: str
    url: str
    chosen: bool


@dataclass(frozen=True)
class Card:
    """A figure on top of the page; choosing it redraws the chart."""

    choice: Choice
    figure: str
    change: SafeString
    before: str
    sparkline: SafeString


@queries.snapshot()
def context(asked: Mapping[str, str], *, pipeline_url: str, now: datetime) -> dict[str, object]:
    """Everything the page shows: figures, nothing in this range, or how to send the first event."""
    notices: list[str] = []
    chosen = {
        "period": _known(asked, "period", _PERIODS, queries.DEFAULT_PERIOD, notices),
        "metric": _known(asked, "metric", METRICS, _RUNS, notices),
    }
    period = Period.ending_today(chosen["period"], now)
    freshness = queries.freshness()
    newest = freshness.newest_day
    page: dict[str, object] = {
        "title": "Overview",
        "notices": notices,
        "state": "figures" if newest and newest >= period.first else "nothing in range" if newest else "waiting",
        "periods": _choices(chosen, "period", {name: f"{queries.PERIOD_DAYS[name]} days" for name in _PERIODS}),
        "stretch": wording.stretch(period.first, period.last),
        "stretch_before": wording.stretch(period.before().first, period.before().last),
        "now": now,
        "loaded": wording.ago(freshness.loaded_at, now) if freshness.loaded_at else "never",
        "placeholders": contract.PLACEHOLDER_USER_IDS,
    }
    if page["state"] == "figures":
        report = _report(period, now)
        return page | _figures(report, METRICS[chosen["metric"]], chosen)
    if page["state"] == "nothing in range":
        return page | {"newest_day": newest, "wider": _wider(chosen, newest, now)}
    return page | {"first_event": first_event(pipeline_url, now)}


def first_event(pipeline_url: str, now: datetime) -> str:
    """A request to copy that sends an event such as a client sends."""
    event = {
        "eventName": contract.COMMAND_EXECUTED,
        "userId": str(uuid.uuid4()),
        "sessionId": str(uuid.uuid4()),
        "timestamp": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "toolVersion": "1.0.0",
        "command": "hello",
        "duration": 1200,
        "options": {},
        "hasError": False,
    }
    body = json.dumps({"data": event}, separators=(",", ":"))
    return f"curl {pipeline_url} \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"


# -- The query string -------------------------------------------------------------------------------------------------


def _known(asked: Mapping[str, str], name: str, known: Collection[str], fallback: str, notices: list[str]) -> str:
    value = asked.get(name, fallback)
    if value in known:
        return value
    notices.append(f"There is no {name} “{value[:40]}”: this is {name}={fallback}.")
    return fallback


def _choices(chosen: Mapping[str, str], name: str, labels: Mapping[str, str]) -> list[Choice]:
    return [
        Choice(label, "?" + urlencode({**chosen, name: value}), chosen[name] == value)
        for value, label in labels.items()
    ]


def _wider(chosen: Mapping[str, str], newest: date | None, now: datetime) -> Choice | None:
    """The shortest period that has a run in it."""
    for name in _PERIODS:
        if newest and newest >= Period.ending_today(name, now).first:
            return Choice(
                f"Show {queries.PERIOD_DAYS[name]} days", "?" + urlencode({**chosen, "period": name}), chosen=False
            )
    return None


# -- Figures ----------------------------------------------------------------------------------------------------------


def _report(period: Period, now: datetime) -> _Report:
    asked = Filter(period)
    series = queries.series(asked, now)
    totals = queries.totals(asked, now)
    return _Report(
        period=period,
        totals=totals,
        before=totals.before or Figures(),
        days=[point.figures for point in series.now],
        days_before=[point.figures for point in series.before],
        parts={
            by: queries.parts(asked, now, by, in_steps=by in ("version", "error_type"))
            for by in ("command", "version", "model", "provider", "error_type")
        },
    )


def _figures(report: _Report, metric: Metric, chosen: Mapping[str, str]) -> dict[str, object]:
    labels = {name: each.label for name, each in METRICS.items()}
    lines = _lines(report, metric)
    return {
        "cards": [
            _card(report, each, choice)
            for each, choice in zip(METRICS.values(), _choices(chosen, "metric", labels), strict=True)
        ],
        "legend": charts.line_legend(lines),
        "chart": _chart(report, metric, lines),
        "chart_table": _chart_table(report, lines),
        "commands": _panel("Commands", "command", report.parts["command"]),
        "versions": _panel("Versions", "version", report.parts["version"]),
        "adoption": _adoption(report),
        "models": _panel("Models", "model", report.parts["model"], tokens=True),
        "providers": _panel("Providers", "provider", report.parts["provider"], tokens=True),
        "tokens": _tokens(report.parts["provider"]),
        "errors": _errors(report),
        "durations": _durations(report.parts["command"]),
    }


def _card(report: _Report, metric: Metric, choice: Choice) -> Card:
    now, before = metric.of(report.now), metric.of(report.before)
    return Card(
        choice=choice,
        figure=metric.write(now),
        change=wording.change_of_rate(now, before)
        if metric.name == _ERROR_RATE
        else wording.change(now, before, good=metric.good),
        before=metric.write(before),
        sparkline=charts.sparkline([metric.of(day) for day in report.days]),
    )


def _lines(report: _Report, metric: Metric) -> list[Line]:
    lines = [Line(metric.label, "main", [metric.of(day) for day in report.days], metric.write_exactly)]
    if metric.name == _RUNS:
        second = METRICS[_INSTALLATIONS]
        lines.append(Line(second.label, "second", [second.of(day) for day in report.days], second.write_exactly))
    before = [metric.of(day) for day in report.days_before]
    return [*lines, Line("Previous period", "before", before, metric.write_exactly)]


def _chart(report: _Report, metric: Metric, lines: Sequence[Line]) -> SafeString:
    highest = max((value for line in lines for value in line.values if value), default=0)
    return charts.time_series(
        report.period.days,
        lines,
        summary=f"{metric.label} a day, {wording.stretch(report.period.first, report.period.last)}, as lines",
        write_tick=metric.write_tick,
        unit=wording.duration_unit_ms(highest) if metric.name == _DURATION else 1,
        finest=metric.finest_tick,
    )


def _chart_table(report: _Report, lines: Sequence[Line]) -> SafeString:
    days = report.period.days
    return charts.table(
        "Figures of each day",
        ["Day", *(line.name for line in lines)],
        (
            [
                f"{day:%a} {charts.short_day(day)}" + (" (so far)" if day == days[-1] else ""),
                *(wording.NOTHING if (at := line.values[index]) is None else line.write(at) for line in lines),
            ]
            for index, day in enumerate(days)
        ),
    )


# -- Panels -----------------------------------------------------------------------------------------------------------


def _panel(title: str, dimension: str, parts: Sequence[Part], *, tokens: bool = False) -> Panel:
    """Where the runs went. `tokens` takes the place of the share."""
    columns = (
        Column(dimension.capitalize()),
        Column("Runs", "strong"),
        Column("Tokens", "wide") if tokens else Column("Share", "wide quiet"),
        Column("Installations", "wide"),
        Column("Errors"),
        Column("Change"),
    )

    def cells(part: Part) -> Sequence[str]:
        return (
            wording.exact(part.now.runs),
            wording.compact(part.now.tokens) if tokens else wording.percent(part.share),
            wording.exact(part.now.installations),
            wording.percent(part.now.error_rate),
            wording.change(part.now.runs, part.before.runs),
        )

    rows = _barred_rows(columns, parts, cells)
    return Panel(title, "", "runs", columns, rows, _rest(parts), f"No run of these days names a {dimension}.")


def _tokens(providers: Sequence[Part]) -> Panel:
    """What the providers' runs sent and received, most tokens first; those without any are left out."""
    spenders = sorted((part for part in providers if part.now.tokens), key=lambda part: -part.now.tokens)
    most = max((part.now.tokens for part in spenders), default=1)
    columns = (
        Column("Provider"),
        Column("Both", "split-column"),
        Column("Prompt", "strong"),
        Column("Completion"),
        Column("Per run", "wide"),
    )
    rows = [
        row(
            columns,
            part.value,
            SafeString(""),
            charts.split_bar(part.now.prompt_tokens / most, part.now.completion_tokens / most),
            wording.compact(part.now.prompt_tokens),
            wording.compact(part.now.completion_tokens),
            wording.compact(part.now.tokens_per_run),
        )
        for part in spenders[:_ROWS]
    ]
    return Panel("Tokens", "prompt and completion", "tokens", columns, rows, "", "No run of these days counted tokens.")


def _barred_rows(columns: Sequence[Column], parts: Sequence[Part], cells: Callable[[Part], Sequence[str]]) -> list[Row]:
    """The first parts, each behind its name a bar as long as its runs."""
    longest = max((part.now.runs for part in parts), default=1)
    return [row(columns, part.value, charts.bar(part.now.runs / longest), *cells(part)) for part in parts[:_ROWS]]


def _rest(parts: Sequence[Part]) -> str:
    left = parts[_ROWS:]
    return f"{len(left)} more, with {sum(part.now.runs for part in left):,} runs" if left else ""


def _errors(report: _Report) -> Panel:
    """Error types by the share of all runs that they end: a rate does not grow with the number of runs."""
    parts = report.parts["error_type"]
    columns = (
        Column("Error type"),
        Column("Rate", "strong"),
        Column("Runs", "quiet"),
        Column("Installations", "wide"),
        Column("Trend", "wide trend"),
        Column("Change"),
    )

    def cells(part: Part) -> Sequence[str]:
        rate = _ratio(part.now.runs, report.now.runs)
        return (
            wording.percent(rate),
            wording.exact(part.now.runs),
            wording.exact(part.now.installations),
            charts.sparkline(
                [
                    _ratio(runs, day.runs)
                    for runs, day in zip((step.runs for step in part.steps), report.days, strict=True)
                ]
            ),
            wording.change(rate, _ratio(part.before.runs, report.before.runs), good=-1),
        )

    rows = _barred_rows(columns, parts, cells)
    note = "share of all runs that end in them"
    return Panel("Errors", note, "failures", columns, rows, _rest(parts), "No run of these days names an error type.")


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _adoption(report: _Report) -> dict[str, SafeString]:
    """The share of the most used versions in the days' active installations, the newest of them on top."""
    most_used = sorted(report.parts["version"], key=lambda part: -(part.now.installations or 0))
    shown, left = most_used[:_LAYERS], most_used[_LAYERS:]
    shown.sort(key=lambda part: _version_key(part.value), reverse=True)
    days = report.period.days
    totals = _daily_installations(most_used)
    counts = [(part.value, _daily_installations([part])) for part in shown]
    if left:
        counts.append((f"{len(left)} other{'s' if len(left) > 1 else ''}", _daily_installations(left)))
    layers = [
        Layer(name, [count / total if total else 0 for count, total in zip(of_days, totals, strict=True)])
        for name, of_days in counts
    ]
    return {
        "legend": charts.legend(
            (f"layer-{place}", layer.name, wording.percent(layer.shares[-1]))
            for place, layer in enumerate(layers, start=1)
        ),
        "chart": charts.stacked_shares(days, layers, summary="Share of each version in the days' active installations"),
        "table": charts.table(
            "Share of each version in the days' active installations",
            ["Day", *(layer.name for layer in layers)],
            (
                [charts.short_day(day), *(wording.percent(layer.shares[index]) for layer in layers)]
                for index, day in enumerate(days)
            ),
        ),
    }


def _daily_installations(parts: Sequence[Part]) -> list[int]:
    return [
        sum(step.installations or 0 for step in of_day) for of_day in zip(*(part.steps for part in parts), strict=True)
    ]


def _version_key(version: str) -> tuple[bool, Version, str]:
    """Sorts versions as PEP 440 has it, and what is none below them, as text."""
    try:
        return True, Version(version), version
    except InvalidVersion:
        return False, Version("0"), version


def _durations(commands: Sequence[Part]) -> Panel:
    """How long the successful runs of the commands run most took, the slowest first; without those with too few."""
    told = [part for part in commands if part.now.p50_ms]
    slowest_first = sorted(
        (
            (p50, p90, p99, part.value)
            for part in told[:_ROWS]
            if (p50 := part.now.p50_ms) and (p90 := part.now.p90_ms) and (p99 := part.now.p99_ms)
        ),
        reverse=True,
    )
    scale = LogScale.around([at for p50, _, p99, _ in slowest_first for at in (p50, p99)])
    columns = (
        Column("Command"),
        Column(charts.whisker_axis(scale, wording.round_duration), "whiskers"),
        Column("p50", "strong"),
        Column("p90", "wide"),
        Column("p99"),
    )
    rows = [
        row(
            columns,
            name,
            SafeString(""),
            charts.whisker(p50, p90, p99, scale),
            wording.duration(p50),
            wording.duration(p90),
            wording.duration(p99),
        )
        for p50, p90, p99, name in slowest_first
    ]
    note = "successful runs, log scale"
    nothing = f"No command has {queries.PERCENTILE_MIN_RUNS} successful runs in these days: too few for percentiles."
    return Panel("Duration by command", note, "durations", columns, rows, _rest(told), nothing)
