"""Known: what is read once for a page, whatever its filter says: values' names, their days, and hours' runs.

In: numbers of values, hours. Out: names, days, runs. Next: selection.py
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property

from django.db.models import Max, Min

from analytics import runs
from analytics.dimensions import TOTAL
from analytics.models import DailyRollup, Value
from analytics.runs import Runs

_FIRST_NAMES = 100  # of each dimension, which are read at once


@dataclass(frozen=True)
class DaysSeen:
    """UTC days of runs: the first of any, and the first and last of each value, by its number."""

    very_first: date
    of: Mapping[int, tuple[date, date]]


@dataclass(frozen=True)
class Known:
    """It remembers what it read."""

    _days: dict[str, DaysSeen] = field(default_factory=dict)
    _hours: dict[tuple[datetime, datetime], Sequence[Runs]] = field(default_factory=dict)

    def names(self, dimension: str, numbers: AbstractSet[int]) -> dict[int, str]:
        """What these numbers stand for."""
        known = self._names.setdefault(dimension, {})
        if missing := numbers - known.keys():
            rows = Value.objects.filter(dimension=dimension, number__in=missing)
            known.update(rows.values_list("number", "value"))
        return {number: known[number] for number in numbers}

    def days(self, dimension: str) -> DaysSeen:
        """When each value had runs, of all time."""
        if dimension not in self._days:
            rows = DailyRollup.objects.filter(dimension__in=(TOTAL, dimension)).values_list("dimension", "value")
            found = {(of, number): days for of, number, *days in rows.annotate(Min("day"), Max("day"))}
            first, _ = found.pop((TOTAL, 0), (date.max, date.min))
            self._days[dimension] = DaysSeen(
                first, {number: (one, other) for (_, number), (one, other) in found.items()}
            )
        return self._days[dimension]

    def hours(self, start: datetime, until: datetime) -> Sequence[Runs]:
        """The runs of each hour from `start` to before `until`."""
        if (start, until) not in self._hours:
            self._hours[start, until] = list(runs.stored(start, until))
        return self._hours[start, until]

    @cached_property
    def _names(self) -> dict[str, dict[int, str]]:
        """Those of all dimensions that most runs have, at once: what was met first has the lowest numbers."""
        found: dict[str, dict[int, str]] = {}
        for dimension, number, value in Value.objects.filter(number__lte=_FIRST_NAMES).values_list(
            "dimension", "number", "value"
        ):
            found.setdefault(dimension, {})[number] = value
        return found
