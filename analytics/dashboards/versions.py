"""Versions: who runs which, how fast they spread, and which are worse than the one before them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from analytics import queries
from analytics.dashboards import over_time, parts, wording
from analytics.dashboards.metrics import exact
from analytics.dashboards.page import Asked, Page
from analytics.dashboards.panel import Cell, ChartPanel, Column, Panel, Row, Table
from analytics.dashboards.parts import FIGURES, Figure
from analytics.queries import Comparison, VersionAdoption

PROMISE = (
    "▲ is worse than the version before, beyond chance: a version that does not differ from it is ever marked with a"
    f" chance of at most {queries.FALSE_ALARMS_MAX:.0%}, even if you look every day, with the same filters and length"
    " of period. It tells that these runs are worse, not that the version is why; compared are days that are over and"
    f" versions of at least {queries.INSTALLATIONS_MIN} installations, of which those that run very often weigh less"
    " than in the plain figures."
)
"""What a flag says (queries.comparisons), under each table that has one."""

_NAME_SHOWN_CHARS = 12


def panels(asked: Asked) -> Sequence[Panel]:
    """Adoption over time, and every version of the period, the newest one first."""
    found = queries.adoption(asked.chosen, asked.now)
    return [adoption(asked, found), _versions(asked, found.versions)]


PAGE = Page(name="versions", title="Versions", icon="versions", panels=panels, lists="version")


def adoption(
    asked: Asked,
    found: queries.Adoption,
    layers: Sequence[tuple[str, Sequence[float]]] = (),
    more: str = "",
    *,
    wide: bool = True,
) -> ChartPanel:
    """Versions, the first one on top, as they took each other's place; `more` is what else there is to say.

    Without `layers` those with the most installations, the newest one on top.
    """
    return over_time.stacked(
        asked,
        [step.start for step in found.steps],
        [step.partial for step in found.steps],
        layers or over_time.most([(version.version, version.stacked) for version in found.versions]),
        id="adoption",
        title="Adoption",
        note=f"share of active installations, by {found.interval}{more}",
        high=wide,
        wide=wide,
    )


def short(version: str) -> SafeString:
    """For where there is no room for more than the name of a release."""
    name = version or "(empty)"
    return format_html('<bdi title="{}">{}</bdi>', name, Truncator(name).chars(_NAME_SHOWN_CHARS))


def errors_against(found: Comparison | None) -> Cell:
    """How many percentage points more of its runs fail than of the version before; red where beyond chance."""
    if not found or not found.before or found.error_rate_difference is None:
        return Cell(None, wording.NOTHING)
    rate = found.before.error_rate
    words = wording.change_of_rate(rate + found.error_rate_difference, rate, good=-1 if found.worse_errors else 0)
    return Cell(exact(found.error_rate_difference), words)


def duration_against(found: Comparison | None) -> Cell:
    """By which share its successful runs take longer; red where beyond chance."""
    if not found or found.duration_ratio is None:
        return Cell(None, wording.NOTHING)
    words = wording.change(found.duration_ratio, 1, good=-1 if found.worse_duration else 0)
    return Cell(exact(found.duration_ratio), words)


def _versions(asked: Asked, versions: Sequence[VersionAdoption]) -> Panel:
    adopted = {version.version: version for version in versions}
    compared = {found.now.version: found for found in queries.comparisons(asked.chosen, asked.now)}
    found = {part.value: part for part in queries.parts(asked.chosen, asked.now, "version")}
    panel = parts.parts_panel(
        asked,
        "version",
        [found[name] for name in adopted],
        _figures(asked, adopted, compared),
        id="versions",
        title="All versions",
        page="version",
        at_most=100,
        wide=True,
    )
    rows = [
        replace(_flagged(row, compared.get(name)), cells=[Cell(name, name, order=-age), *row.cells[1:]])
        for age, (name, row) in enumerate(zip(adopted, panel.table.rows, strict=True))
    ]
    table = parts.sortable_by(asked, Table(panel.table.columns, rows))
    return replace(panel, table=table, rest=" ".join([f"{panel.rest}." if panel.rest else "", PROMISE]).strip())


def _figures(
    asked: Asked, adopted: Mapping[str, VersionAdoption], compared: Mapping[str, Comparison]
) -> Sequence[str | Figure]:
    def first_seen(name: str) -> Cell:
        day = adopted[name].first_day
        return Cell(day, wording.past_day(day, asked.now))

    def before(name: str) -> Cell:
        found = compared.get(name)
        if not found or not found.before:
            return Cell(None, wording.NOTHING)
        return Cell(found.before.version, short(found.before.version))

    def days_to_half(name: str) -> Cell:
        days = adopted[name].days_to_half
        return Cell(days, wording.exact(days))

    return (
        Figure(Column("First seen", "first_day", "wide far quiet"), lambda part: first_seen(part.value)),
        Figure(Column("Days to 50%", "days_to_half", "wide far"), lambda part: days_to_half(part.value)),
        replace(FIGURES["runs"], column=Column("Runs", "runs", "wide strong")),
        "share",
        "installations",
        Figure(Column("Before it", "before", "wide far quiet"), lambda part: before(part.value)),
        replace(FIGURES["p50_ms"], column=Column("p50", "p50_ms", "wide")),
        Figure(Column("Against it", "duration_ratio", "wide"), lambda part: duration_against(compared.get(part.value))),
        "error_rate",
        Figure(Column("Against it", "error_rate_difference"), lambda part: errors_against(compared.get(part.value))),
    )


def _flagged(row: Row, found: Comparison | None) -> Row:
    """With what is worse than in the version before, in words."""
    if not found or not found.before or not (found.worse_errors or found.worse_duration):
        return row
    worse = ["fails more"] * found.worse_errors + ["slower"] * found.worse_duration
    return replace(row, flag=f"▲ {', '.join(worse)}", flag_title=f"than {found.before.version}, beyond chance")
