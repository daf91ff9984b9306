"""Users and retention: how many installations are active, how many are new, and how many stay; never which."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile
from statistics import mean
from typing import NamedTuple

from analytics import charts, queries
from analytics.dashboards import grids, over_time, wording
from analytics.dashboards.commands import who_runs
from analytics.dashboards.histograms import Bucket, histogram
from analytics.dashboards.metrics import METRICS, exact
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import NO_PICTURE, Card, CardsPanel, Cell, ChartPanel, Column, Panel, Row, Table
from analytics.queries import ActiveDay, Activity, Figures, Newcomers, Point, RunsBucket, Series, Totals

_STICKY = "The share of the installations of 30 days that is active on an average day"
_STICKY_NOTE, _AVERAGE_NOTE = "a day's share of 30 days", "of the days that are over"


@dataclass(frozen=True)
class _Trailing(Figures):
    """Installations of a day, and those of the 7 and 30 days that end with it."""

    of_7_days: int = 0
    of_30_days: int = 0


_INSTALLATIONS = METRICS["installations"]
_OF_DAYS = [
    replace(_INSTALLATIONS, label="On the day"),
    replace(
        _INSTALLATIONS,
        name="of_7_days",
        label="In the 7 days to it",
        of=lambda of: of.of_7_days if isinstance(of, _Trailing) else None,
    ),
    replace(
        _INSTALLATIONS,
        name="of_30_days",
        label="In the 30 days to it",
        of=lambda of: of.of_30_days if isinstance(of, _Trailing) else None,
    ),
]


def panels(asked: Asked) -> Sequence[Panel]:
    """Who is active, new and back again, how often they run it, how many of them stay, and who is not counted."""
    chosen, now = asked.chosen, asked.now
    retention = _retention(asked)  # looks back furthest, so the others find their days read
    activity, series = queries.activity(chosen, now), queries.series(chosen, now)
    by_day = queries.newcomers(replace(chosen, interval="day"), now)
    return [
        _figures(asked, queries.totals(chosen, now), series, activity, by_day),
        _active(asked, series, activity),
        _newcomers(asked, queries.newcomers(chosen, now) if chosen.interval in ("week", "month") else by_day),
        _runs(asked),
        retention,
        who_runs(asked),
        _left_out(asked),
    ]


PAGE = Page(name="users", title="Users & retention", icon="users", panels=panels)


def _figures(
    asked: Asked, totals: Totals, series: Series, activity: Activity, by_day: Sequence[Newcomers]
) -> CardsPanel:
    """Active installations, in all and by the day, and how often they come."""
    found = over_time.cards_panel(asked, [_INSTALLATIONS], totals, series, title="Users")
    days, last = activity.days, activity.days[-1]
    whole = [day for day in days if not day.partial]
    active = list(dropwhile(lambda day: not day.installations, whole))  # not the days before there was anybody
    a_day, sticky = mean(day.installations for day in active) if active else None, activity.stickiness
    shares = [day.installations / day.of_30_days if day.of_30_days else None for day in whole]
    to_day, average = (
        f"to {wording.short_day(last.start)}",
        "Of the days that are over, from the first one on that has any",
    )
    more = [
        _count("New installations", "new", sum(day.new for day in by_day), [day.new for day in by_day[: len(whole)]]),
        _Figure("On an average day", "average_day", a_day, wording.compact(a_day), average, [], _AVERAGE_NOTE),
        _count(f"In 7 days {to_day}", "of_7_days", last.of_7_days, [day.of_7_days for day in days]),
        _count(f"In 30 days {to_day}", "of_30_days", last.of_30_days, [day.of_30_days for day in days]),
        _Figure("Stickiness", "stickiness", sticky, wording.percent(sticky), _STICKY, shares, _STICKY_NOTE),
    ]  # fmt: skip
    cards = [
        Card(
            one.label,
            one.shown,
            one.exactly,
            NO_PICTURE,
            "",
            charts.sparkline(one.values if len(days) > 1 else []),
            note=one.note,
        )
        for one in more
    ]
    rows = [
        Row([Cell(one.name, one.label), Cell(exact(one.value), one.shown), Cell(None, wording.NOTHING)]) for one in more
    ]
    table = Table(found.table.columns, [*found.table.rows, *rows])
    return replace(found, table=table, cards=[*found.cards, *cards])


class _Figure(NamedTuple):
    """A card, and its row in CSV. `values` are those of the days, `note` says what the label leaves open."""

    label: str
    name: str
    value: float | None
    shown: str
    exactly: str
    values: Sequence[float | None]
    note: str = ""


def _count(label: str, name: str, count: int, values: Sequence[float]) -> _Figure:
    return _Figure(label, name, count, wording.compact(count), wording.exact(count), values)


def _active(asked: Asked, series: Series, activity: Activity) -> ChartPanel:
    """Of each step; of days also the installations of the 7 and 30 days that end with each."""
    metrics, note = [_INSTALLATIONS], f"each counts once in a{'n' * (series.interval == 'hour')} {series.interval}"
    if series.interval == "day":
        metrics, note = _OF_DAYS, "each counts once; for calendar weeks and months choose By week or By month"
        series = replace(series, now=[_trailing(day) for day in activity.days])
    return over_time.over_time(asked, series, metrics, id="active", title="Active installations", note=note)


def _trailing(day: ActiveDay) -> Point:
    counted = _Trailing(installations=day.installations, of_7_days=day.of_7_days, of_30_days=day.of_30_days)
    return Point(day.start, day.partial, counted)


def _newcomers(asked: Asked, found: Sequence[Newcomers]) -> ChartPanel:
    """As shares of each step's installations; the table has how many."""
    interval = "day" if asked.chosen.interval == "hour" else asked.chosen.interval
    kinds = [
        ("New", [step.new for step in found]),
        ("Back again", [step.back_again for step in found]),
        ("Returning", [step.returning for step in found]),
    ]
    panel = over_time.stacked(
        replace(asked, chosen=replace(asked.chosen, interval=interval)),
        [step.start for step in found],
        [step.partial for step in found],
        [
            (name, [count / (step.installations or 1) for count, step in zip(counts, found, strict=True)])
            for name, counts in kinds
        ],
        id="newcomers",
        title="New, back again, returning",
        note=f"shares; returning: the {interval} before, too",
        high=True,
    )
    columns = [
        panel.table.columns[0],
        Column("Active", "installations"),
        Column("New", "new"),
        Column("Back again", "back_again"),
        Column("Returning", "returning"),
        Column(f"Of the {interval} before, still here", "retained"),
    ]
    rows = [
        Row(
            [
                row.cells[0],
                *(_counted(count) for count in (step.installations, step.new, step.back_again, step.returning)),
                Cell(exact(step.retained), wording.percent(step.retained)),
            ]
        )
        for row, step in zip(panel.table.rows, found, strict=False)  # which may have days to come
    ]
    return replace(panel, table=Table(columns, rows))


def _runs(asked: Asked) -> ChartPanel:
    """How many installations ran how often."""
    found = queries.runs_per_installation(asked.chosen)
    median, p90 = (wording.exact(count) for count in (found.median, found.p90))
    return histogram(
        [Bucket(_from_to(one), one.first, one.installations, one.share) for one in found.buckets],
        id="runs",
        title="Runs per installation",
        note=f"median {median}, p90 {p90}" if found.installations else "",
        size="Runs",
        size_name="runs",
        count="Installations",
        count_name="installations",
    )


def _from_to(bucket: RunsBucket) -> str:
    if bucket.last is None:
        return f"{bucket.first}+"
    return f"{bucket.first}" if bucket.first == bucket.last else f"{bucket.first}{wording.NOTHING}{bucket.last}"


def _retention(asked: Asked) -> Panel:
    """Of more weeks than the period may have; the title says which."""
    found = queries.retention(asked.chosen, asked.now)
    weeks = wording.stretch(found.cohorts[0].start.date(), asked.chosen.period.last)
    nothing = f"Nobody has been back in a later week: there are not two weeks with new installations, {weeks}."
    return replace(grids.retention(found), title=f"Weekly retention, {weeks}", nothing=nothing)


def _left_out(asked: Asked) -> Panel:
    """Runs that count as runs, but are no installation's."""
    found = queries.excluded(asked.chosen)
    columns = [Column("Runs by", "of"), Column("Runs", "runs", "strong"), Column("Share", "share", "quiet")]
    both = (
        ("installations", "Installations", found.runs - found.placeholder_runs),
        ("placeholders", "Opted out, or not asked yet", found.placeholder_runs),
    )
    rows = [
        Row(
            [Cell(name, label), _counted(count), Cell(exact(count / found.runs), wording.percent(count / found.runs))],
            bar=charts.bar(count / found.runs),
        )
        for name, label, count in both
    ]
    note = "no installation's, so in no figure of installations"
    return Panel(id="left-out", title="Left out", note=note, table=Table(columns, rows))


def _counted(count: int) -> Cell:
    return Cell(count, wording.exact(count))
