"""Error: one error type: how often runs end in it, since when, and in which versions, commands, models and systems."""

from collections.abc import Sequence
from dataclasses import replace

from analytics import queries
from analytics.dashboards import over_time, wording
from analytics.dashboards.errors import ERROR_RATE, ERROR_TYPE, FAILURES, failures_by, plus, rates, whatever_error
from analytics.dashboards.metrics import METRICS
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import CardsPanel, Cell, Panel
from analytics.queries import ErrorType, Series, Totals

_RATE = replace(ERROR_RATE, label="Share of all runs")
_TOUCHED = replace(METRICS["installations"], label="Installations touched", good=-1)

_WHERE = {"version": "Versions", "command": "Commands", "model": "Models", "os": "Systems"}


def panels(asked: Asked) -> Sequence[Panel]:
    """Its share of all runs over time, and where it happens."""
    [name] = asked.chosen.selection.only[ERROR_TYPE]
    everything = whatever_error(asked.chosen)
    totals, series = rates(asked, everything)
    one = next((one for one in queries.errors(everything, asked.now) if one.error_type == name), None)
    return [
        _figures(asked, totals, series, one),
        over_time.over_time(
            asked, series, [_RATE], id="rate", title="Share of all runs", note="that end in this error"
        ),
        *(
            failures_by(
                asked,
                everything,
                by,
                totals.now.failures,
                id=title.lower(),
                title=title,
                note="and the share of their runs that end in this error",
            )
            for by, title in _WHERE.items()
        ),
    ]


PAGE = Page(
    name="error", title="Error type", icon="errors", panels=panels, of=ERROR_TYPE, parent="errors", lists=ERROR_TYPE
)


def _figures(asked: Asked, totals: Totals, series: Series, one: ErrorType | None) -> CardsPanel:
    """`one` is None for runs without an error type, which are none."""
    found = over_time.cards_panel(asked, [_RATE, FAILURES, _TOUCHED], totals, series, title="This error")
    if not one:
        return found
    found = replace(found, title=one.error_type)
    whatever = "of all time, whatever the filter"
    first = "First seen (new)" if one.new else "First seen"
    found = plus(found, first, "first_day", Cell(one.first_day, wording.past_day(one.first_day, asked.now)), whatever)
    return plus(found, "Last seen", "last_day", Cell(one.last_day, wording.past_day(one.last_day, asked.now)), whatever)
