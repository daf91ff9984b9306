"""Parts: the runs of a filter, told apart by something.

In: a filter, the time, and one of dimensions.BREAKDOWNS. Out: Part, one a value or pair of values. Next: dashboards/
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from analytics import breakdowns
from analytics.breakdowns import COUNTS, Breakdown
from analytics.dimensions import BREAKDOWNS, NUMBERED
from analytics.packing import Numbers
from analytics.queries import figures
from analytics.queries.figures import NOTHING, Figures
from analytics.queries.filters import Filter
from analytics.queries.totals import by_step, comparable, steps

RUNS = COUNTS.index("runs")


@dataclass(frozen=True)
class Part:
    """The runs of one value, or of a pair of them. `share` (0 to 1) is of all runs that have a value.

    A run may have several options: for shares of all runs ask `options`. `steps` has the
    runs of each step of the period, where they were asked for. Of `before`, which is None where nothing is compared,
    installations and percentiles are None.
    """

    values: tuple[str, ...]
    share: float
    now: Figures
    before: Figures | None
    steps: Sequence[int] = ()

    @property
    def value(self) -> str:
        """The only value, or both."""
        return " ".join(self.values)


def parts(chosen: Filter, now: datetime, by: str, *, in_steps: bool = False, counts_only: bool = False) -> list[Part]:
    """The values that runs of the period have, the one with the most runs first.

    Perhaps without installations and percentiles.
    """
    period = chosen.period
    current = chosen.selection.breakdown(by, period.start, period.until, counts_only=counts_only)
    earlier = chosen.selection.breakdown(by, *comparable(chosen, now), counts_only=True)
    names = _names(chosen, by, current.keys)
    was = dict(zip(earlier.keys.tolist(), figures.of_parts(earlier), strict=True))
    stepped = _in_steps(chosen, by, current) if in_steps else {}
    all_runs = int(current.counts[:, RUNS].sum())
    found = [
        Part(
            values=names[key],
            share=own.runs / all_runs,
            now=own,
            before=was.get(key, NOTHING) if chosen.before else None,
            steps=stepped.get(key, ()),
        )
        for key, own in zip(current.keys.tolist(), figures.of_parts(current), strict=True)
    ]
    return sorted(found, key=lambda part: (-part.now.runs, part.values))


def _in_steps(chosen: Filter, by: str, current: Breakdown) -> dict[int, list[int]]:
    found = by_step(chosen, by, chosen.period, counts_only=True)
    rows: dict[int, list[int]] = {key: [] for key in current.keys.tolist()}
    for start, _ in steps(chosen.interval, chosen.period):
        one = found.get(start)
        there = dict(zip(one.keys.tolist(), one.counts[:, RUNS].tolist(), strict=True)) if one else {}
        for key, row in rows.items():
            row.append(there.get(key, 0))
    return rows


def _names(chosen: Filter, by: str, keys: Numbers) -> dict[int, tuple[str, ...]]:
    """What each key stands for."""
    dimensions = [NUMBERED[column][0] if column in NUMBERED else by for column in BREAKDOWNS[by].columns]
    numbers = {key: breakdowns.numbers_of(key)[-len(dimensions) :] for key in keys.tolist()}
    names = [
        chosen.selection.known.names(dimension, {of_key[place] for of_key in numbers.values()})
        for place, dimension in enumerate(dimensions)
    ]
    return {
        key: tuple(name[number] for name, number in zip(names, of_key, strict=True)) for key, of_key in numbers.items()
    }
