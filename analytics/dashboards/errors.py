"""Errors: how often runs fail, with which error types, since when, and in which versions and commands.

Rates are of all runs: a filter by error type chooses whose failures are counted, and not the runs they are a share of.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from analytics import charts, queries
from analytics.dashboards import over_time, wording
from analytics.dashboards.controls import label
from analytics.dashboards.metrics import METRICS, exact
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import NO_PICTURE, Card, CardsPanel, Cell, Column, Panel, Row, Table
from analytics.dashboards.parts import ROWS, Figure, before, parts_panel, rest, sortable_by
from analytics.queries import ErrorType, Figures, Filter, Part, Point, Series, Totals

ERROR_TYPE = "error_type"
ERROR_RATE, FAILURES = METRICS["error_rate"], METRICS["failures"]

_TYPES_SHOWN = 100
_VERSION_SHOWN_CHARS = 12


def panels(asked: Asked) -> Sequence[Panel]:
    """The error rate over time, the types that failures are of, and where they happen."""
    everything = whatever_error(asked.chosen)
    totals, series = rates(asked, everything)
    types = queries.errors(everything, asked.now)
    parts = queries.parts(asked.chosen, asked.now, ERROR_TYPE, in_steps=True, counts_only=True)
    steps = {part.value: part.steps for part in parts}
    types = [one for one in types if one.error_type in steps]
    without = totals.now.failures - sum(one.runs for one in types)
    only_some = "" if everything.selection is asked.chosen.selection else " with the error types of the filter"
    return [
        _figures(asked, totals, series, types, without),
        over_time.over_time(
            asked, series, [ERROR_RATE], id="rate", title="Error rate", note=f"share of all runs that failed{only_some}"
        ),
        _types(asked, types, [steps[one.error_type] for one in types], series, without),
        *(
            failures_by(
                asked,
                everything,
                by,
                totals.now.failures,
                id=f"{by}s",
                title=f"Error rate by {by}",
                details=asked.url(f"{by}s"),
            )
            for by in ("version", "command")
        ),
    ]


PAGE = Page(name="errors", title="Errors", icon="errors", panels=panels, lists=ERROR_TYPE)


# -- Also for the page of one type ------------------------------------------------------------------------------------


def whatever_error(chosen: Filter) -> Filter:
    """The filter without what it says of error types: the runs that rates are of."""
    everything = replace(chosen, selection=chosen.selection.of_any(ERROR_TYPE))
    everything.read_ahead()
    return everything


def rates(asked: Asked, everything: Filter) -> tuple[Totals, Series]:
    """The figures of the filter, in all and over time, but `runs` are all runs, so that error rates are of those."""
    totals, series = queries.totals(asked.chosen, asked.now), queries.series(asked.chosen, asked.now)
    if everything.selection is asked.chosen.selection:
        return totals, series
    of, of_steps = queries.totals(everything, asked.now), queries.series(everything, asked.now)
    before = _beside(totals.before, of.before) if totals.before and of.before else None
    return Totals(_beside(totals.now, of.now), before), Series(
        series.interval, _points(series.now, of_steps.now), _points(series.before, of_steps.before)
    )


def failures_by(
    asked: Asked, everything: Filter, by: str, failures: int, *, id: str, title: str, **panel: Any
) -> Panel:
    """Where the failures of the filter happen, most first, and how often: their share of all runs of each value.

    `failures` is how many there are: some may have no value. `panel`: note, details and so on.
    """
    found = queries.parts(everything, asked.now, by, counts_only=True)
    all_runs = {part.value: part for part in found}
    if everything.selection is not asked.chosen.selection:
        found = queries.parts(asked.chosen, asked.now, by, counts_only=True)
    failed = sorted(
        (replace(part, now=replace(part.now, runs=part.now.failures)) for part in found),
        key=lambda part: (-part.now.runs, -all_runs[part.value].now.runs, part.value),
    )

    def rate(part: Part) -> float | None:
        return _share(part.now.failures, all_runs[part.value].now)

    def change(part: Part) -> Cell:
        of = all_runs[part.value]
        was = _share(before(part).failures, before(of))
        few = min(of.now.runs, before(of).runs) < queries.PERCENTILE_MIN_RUNS  # one failure more would be a leap
        return Cell(exact(was), wording.change_of_rate(None if few else rate(part), was))

    figures = (
        Figure(Column("Error rate", "error_rate", "strong"), lambda part: ERROR_RATE.cell_of(rate(part))),
        Figure(Column("Failed", "failures"), lambda part: FAILURES.cell(part.now)),
        Figure(Column("Runs", "runs", "wide quiet"), lambda part: METRICS["runs"].cell(all_runs[part.value].now)),
        Figure(Column("Change", "error_rate_before"), change, compares=True),
    )
    texts: dict[str, Any] = {
        "rest": rest(failed, ROWS, "failed run"),
        "look": "failures",
        "of": failures,
    }
    shown = parts_panel(asked, by, failed, figures, id=id, title=title, **texts, **panel)
    first, *others = shown.table.columns
    return replace(shown, table=replace(shown.table, columns=[replace(first, label=label(by)), *others]))


def plus(panel: CardsPanel, label: str, name: str, value: Cell, title: str = "") -> CardsPanel:
    """With one more figure, of which there is none before."""
    card = Card(label, value.shown, title or value.shown, NO_PICTURE, "", NO_PICTURE, note=title)
    row = Row([Cell(name, label), value, Cell(None, wording.NOTHING)])
    table = Table(panel.table.columns, [*panel.table.rows, row])
    return replace(panel, table=table, cards=[*panel.cards, card])


# -- This page --------------------------------------------------------------------------------------------------------


def _figures(asked: Asked, totals: Totals, series: Series, types: Sequence[ErrorType], without: int) -> CardsPanel:
    new = sum(one.new for one in types)
    share = without / totals.now.failures if totals.now.failures else None
    found = over_time.cards_panel(asked, [ERROR_RATE, FAILURES], totals, series, title="Errors")
    found = plus(found, "Error types", "error_types", Cell(len(types), wording.exact(len(types))))
    found = plus(found, "New types", "new_types", Cell(new, wording.exact(new)), "first seen in these days")
    in_full = f"{wording.many(without, 'failed run')} without one"
    return plus(found, "Failures without a type", "without_type", Cell(exact(share), wording.percent(share)), in_full)


def _types(
    asked: Asked, types: Sequence[ErrorType], failed: Sequence[Sequence[int]], series: Series, without: int
) -> Panel:
    """A row for each type. `failed` has its failed runs of each step."""
    longest = max((one.runs for one in types), default=1)
    columns = [
        Column("Error type", ERROR_TYPE),
        Column("Trend", look="wide trend"),
        Column("Failed runs", "runs", "quiet"),
        Column("Rate", "rate", "strong"),
        *([Column("Change", "rate_change")] if asked.compared else []),
        Column("Installations", "installations", "wide"),
        Column("First seen", "first_day", "wide far"),
        Column("Last seen", "last_day", "wide far"),
        Column("Versions", "versions", "wide far"),
    ]
    rows = [
        Row(
            [
                Cell(one.error_type, one.error_type),
                Cell(None, _trend(asked, of_steps, series)),
                Cell(one.runs, wording.exact(one.runs)),
                ERROR_RATE.cell_of(one.rate),
                *([_change(one)] if asked.compared else []),
                Cell(one.installations, wording.exact(one.installations)),
                Cell(one.first_day, wording.past_day(one.first_day, asked.now)),
                Cell(one.last_day, wording.past_day(one.last_day, asked.now)),
                _versions(one),
            ],
            bar=charts.bar(one.runs / longest),
            url=asked.only(ERROR_TYPE, one.error_type, "error"),
            flag="new" if one.new else "",
            flag_title=f"First seen on {wording.past_day(one.first_day, asked.now)}",
        )
        for one, of_steps in zip(types, failed, strict=True)
    ]
    left = len(types) - _TYPES_SHOWN
    said = [f"{left} more in the CSV"] if left > 0 else []
    said += [f"{wording.many(without, 'failed run')} without a type"] if without else []
    return Panel(
        id="types",
        title="Error types",
        note="rates are shares of all runs; first and last seen are of all time",
        look="failures",
        table=sortable_by(asked, Table(columns, rows)),
        at_most=_TYPES_SHOWN,
        rest=" · ".join(said),
        nothing=f"No failed run of these days names a type: {without:,} have none." if without else "No run failed.",
        wide=True,
    )


def _trend(asked: Asked, failed: Sequence[int], series: Series) -> SafeString:
    return charts.sparkline(
        [
            _share(count, point.figures) if point.start <= asked.now else None
            for count, point in zip(failed, series.now, strict=True)
        ]
    )


def _change(one: ErrorType) -> Cell:
    """By which share the rate changed: no number, where there was none before."""
    change = one.rate / one.rate_before - 1 if one.rate_before else None
    return Cell(exact(change), wording.change(one.rate, one.rate_before, good=-1))


def _versions(one: ErrorType) -> Cell:
    """The version it appeared in most, and how many others; all of them in the CSV."""
    versions = [version for version, _ in one.versions]
    if not versions:
        return Cell(None, wording.NOTHING)
    first, others = Truncator(versions[0]).chars(_VERSION_SHOWN_CHARS), len(versions) - 1
    shown = format_html(
        '<bdi title="{}">{}</bdi>{}', ", ".join(versions), first, f" and {others} more" if others else ""
    )
    return Cell(", ".join(versions), shown)


def _share(failures: int, of: Figures) -> float | None:
    return failures / of.runs if of.runs else None


def _beside(some: Figures, everything: Figures) -> Figures:
    return replace(some, runs=everything.runs)


def _points(some: Sequence[Point], everything: Sequence[Point]) -> list[Point]:
    return [
        replace(point, figures=_beside(point.figures, of.figures)) for point, of in zip(some, everything, strict=True)
    ]
