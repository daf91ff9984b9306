"""Shares: who runs it, with which options and models, and whom figures leave out.

In: a filter, and the time where it compares. Out: shares, trees and tables of figures. Next: dashboards/, the stats API
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pyroaring import BitMap

from analytics import breakdowns
from analytics.dimensions import ALL, OPTION
from analytics.queries import figures
from analytics.queries.figures import Figures
from analytics.queries.filters import Filter
from analytics.queries.parts import Part, parts

UNKNOWN = "unknown"
WHO_VALUES = ("person", "ci", "agent", UNKNOWN)


@dataclass(frozen=True)
class Who:
    """The runs of people, of CI jobs or of agents, or of clients that do not say; `value` is one of WHO_VALUES.

    Shares (0 to 1) are of all runs and of all installations; None without any. An installation may be several of them;
    unknown are those of which no run says. So installations do not add up.
    """

    value: str
    runs: int
    runs_share: float | None
    installations: int
    installations_share: float | None


@dataclass(frozen=True)
class Excluded:
    """Who is left out: runs by placeholders count as runs, but are nobody's, so as no installation's."""

    runs: int
    placeholder_runs: int

    @property
    def share(self) -> float | None:
        """Share (0 to 1) of the runs that are by placeholders; None without runs."""
        return self.placeholder_runs / self.runs if self.runs else None


@dataclass(frozen=True)
class Branch:
    """A provider and its models. Its installations are counted once, so those of its models may come to more.

    Of a model, `values` has the provider, too, and `share` is of all runs with both.
    """

    provider: Part
    models: Sequence[Part]

    def rows(self) -> list[Part]:
        """The provider, then its models."""
        return [self.provider, *self.models]


@dataclass(frozen=True)
class Matrix:
    """Figures of pairs of values. Rows and columns with the most runs come first; a pair without runs has no cell.

    Neither installations nor durations are kept of these.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    cells: Mapping[tuple[str, str], Figures]


def who(chosen: Filter) -> list[Who]:
    """One for each of WHO_VALUES, in that order."""
    period, read = chosen.period, chosen.selection.breakdown
    everyone, said = read(ALL, period.start, period.until), read("who", period.start, period.until)
    names = chosen.selection.known.names("who", {breakdowns.numbers_of(key)[1] for key in said.keys.tolist()})
    runs: dict[str, int] = {}
    installations: dict[str, BitMap] = {}
    for place, key in enumerate(said.keys.tolist()):
        name = names[breakdowns.numbers_of(key)[1]]
        runs[name], installations[name] = int(said.counts[place, 0]), said.sets[place]
    total = figures.of_all(everyone)
    runs[UNKNOWN] = total.runs - sum(runs.values())
    unknown = BitMap.union(BitMap(), *everyone.sets) - BitMap.union(BitMap(), *installations.values())
    installations[UNKNOWN] = unknown
    return [
        Who(
            value=name,
            runs=runs.get(name, 0),
            runs_share=_share(runs.get(name, 0), total.runs),
            installations=len(installations.get(name, ())),
            installations_share=_share(len(installations.get(name, ())), total.installations or 0),
        )
        for name in WHO_VALUES
    ]


def options(chosen: Filter, now: datetime) -> list[Part]:
    """The options that runs used, the one with the most runs first. `share` is of all runs of the filter."""
    all_runs = excluded(chosen).runs
    return [replace(part, share=part.now.runs / all_runs) for part in parts(chosen, now, OPTION)]


def excluded(chosen: Filter) -> Excluded:
    """Whom the figures of this filter leave out."""
    period = chosen.period
    total = figures.of_all(chosen.selection.breakdown(ALL, period.start, period.until, counts_only=True))
    return Excluded(total.runs, total.placeholder_runs)


def tree(chosen: Filter, now: datetime) -> list[Branch]:
    """Providers and their models, those with the most runs first. Runs without a model count for the provider only."""
    models: dict[str, list[Part]] = {}
    for model in parts(chosen, now, "provider_model"):
        models.setdefault(model.values[0], []).append(model)
    return [Branch(provider, models.get(provider.value, [])) for provider in parts(chosen, now, "provider")]


def matrix(chosen: Filter, now: datetime, by: str) -> Matrix:
    """Of one of BREAKDOWNS that has two columns, as `command_model` and `file_thinking_model`."""
    cells = parts(replace(chosen, compare="off"), now, by)
    return Matrix(
        rows=_by_runs((cell.values[0], cell.now.runs) for cell in cells),
        columns=_by_runs((cell.values[1], cell.now.runs) for cell in cells),
        cells={(cell.values[0], cell.values[1]): cell.now for cell in cells},
    )


def _by_runs(counted: Iterable[tuple[str, int]]) -> list[str]:
    runs: Counter[str] = Counter()
    for value, number in counted:
        runs[value] += number
    return sorted(runs, key=lambda value: (-runs[value], value))


def _share(some: int, of_all: int) -> float | None:
    return some / of_all if of_all else None
