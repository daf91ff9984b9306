"""Version: one of them: its figures, who runs it, and whether it is worse than the version before."""

from collections.abc import Sequence

from django.utils.html import format_html
from django.utils.safestring import SafeString

from analytics import queries
from analytics.dashboards import over_time, wording
from analytics.dashboards.failures import failures
from analytics.dashboards.metrics import METRICS, exact, some
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import Cell, Column, Panel, Row, Table
from analytics.dashboards.parts import parts_panel
from analytics.dashboards.versions import PROMISE, adoption, duration_against, errors_against, short
from analytics.queries import Adoption, Comparison, Side, VersionAdoption

_METRICS = some("runs", "installations", "runs_per_installation", "error_rate", "p50_ms", "tokens")


def panels(asked: Asked) -> Sequence[Panel]:
    """Figures over time, adoption, the version before; then what it was run for, how it failed, models and systems."""
    chosen, now = asked.chosen, asked.now
    totals, series = queries.totals(chosen, now), queries.series(chosen, now)
    return [
        over_time.figures_panel(asked, _METRICS, totals, series),
        *_adoption(asked),
        _against(asked),
        parts_panel(
            asked,
            "command",
            queries.parts(chosen, now, "command"),
            ("runs", "share", "error_rate", "p50_ms", "change"),
            page="command",
        ),
        failures(asked, totals, series, queries.parts(chosen, now, "error_type", in_steps=True), page="error"),
        parts_panel(
            asked,
            "model",
            queries.parts(chosen, now, "model"),
            ("runs", "installations", "error_rate", "p50_ms", "change"),
            of=totals.now.runs,
        ),
        parts_panel(
            asked,
            "os",
            queries.parts(chosen, now, "os"),
            ("runs", "share", "error_rate", "change"),
            id="systems",
            title="Operating systems",
            of=totals.now.runs,
        ),
    ]


PAGE = Page(
    name="version",
    title="One version",
    icon="versions",
    panels=panels,
    metrics=_METRICS,
    of="version",
    parent="versions",
    lists="version",
)


def _adoption(asked: Asked) -> Sequence[Panel]:
    """It, and all others in one."""
    found = queries.adoption(asked.chosen, asked.now)
    return [
        adoption(
            asked,
            found,
            [(version.version, version.stacked), ("other versions", _others(found, version))],
            _spread(asked, version),
        )
        for version in found.versions
    ]


def _others(found: Adoption, version: VersionAdoption) -> list[float]:
    return [1 - share if step.installations else 0 for step, share in zip(found.steps, version.stacked, strict=True)]


def _spread(asked: Asked, version: VersionAdoption) -> str:
    first, days = f"; first seen on {wording.past_day(version.first_day, asked.now)}", version.days_to_half
    if days is None:
        return first
    return f"{first}, run by half of them {wording.many(days, 'day')} later"


def _against(asked: Asked) -> Panel:
    """Both sides as they are, and the difference as it is tested."""
    compared = queries.comparisons(asked.chosen, asked.now)
    rows = [row for found in compared if found.before for row in _sides(asked, found, found.before)]
    columns = [
        Column("Figure", "figure"),
        Column("This one", "now", "strong"),
        Column("Before", "before"),
        Column("Against it", "difference", "wide"),
        Column("Worse", "p"),
    ]
    return Panel(
        id="against",
        title="Against the version before",
        note="days that are over; durations are geometric means of successful runs",
        table=Table(columns, rows),
        rest=PROMISE,
        nothing="There is nothing to compare: that takes an older version, days that are over, and at least"
        f" {queries.INSTALLATIONS_MIN} installations that ran each of the two on them.",
        look="plain",
        wide=True,
    )


def _sides(asked: Asked, found: Comparison, before: Side) -> Sequence[Row]:
    now, runs, rate = found.now, METRICS["runs"], METRICS["error_rate"]
    nothing, duration = Cell(None, ""), METRICS["p50_ms"]
    return [
        Row([Cell("version", "Version"), _named(asked, now), _named(asked, before), nothing, nothing]),
        *(
            Row([Cell(name, label), runs.cell_of(of_now), runs.cell_of(of_before), nothing, nothing])
            for name, label, of_now, of_before in (
                ("installations", "Installations", now.installations, before.installations),
                ("runs", "Runs", now.runs, before.runs),
            )
        ),
        Row(
            [
                Cell("error_rate", "Error rate"),
                rate.cell_of(now.error_rate),
                rate.cell_of(before.error_rate),
                errors_against(found),
                _verdict(found.errors_p, "fails more", worse=found.worse_errors),
            ]
        ),
        Row(
            [
                Cell("duration_ms", "Duration"),
                duration.cell_of(now.duration_ms),
                duration.cell_of(before.duration_ms),
                duration_against(found),
                _verdict(found.duration_p, "slower", worse=found.worse_duration),
            ]
        ),
    ]


def _named(asked: Asked, side: Side) -> Cell:
    return Cell(
        side.version, format_html('<a href="{}">{}</a>', asked.only("version", side.version), short(side.version))
    )


def _verdict(p: float | None, what: str, *, worse: bool) -> Cell:
    shown: str | SafeString = "no"
    if p is None:
        shown = wording.NOTHING
    elif worse:
        shown = format_html('<em class="flag">▲ {}</em>', what)
    return Cell(exact(p), shown)
