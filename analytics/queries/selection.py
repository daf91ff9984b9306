"""Selection: which runs a page is about, and their breakdowns for any hours.

In: for each dimension the values wanted and those not wanted. Out: breakdowns, in all, by day or by hour. Next:
figures.py

A page that filters by one dimension, or by none, reads the rollups of days. Several dimensions at once cannot be put
together from those (who ran `repo`, and separately 0.64, may never have run both): the hours' runs are read, once.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property

import numpy as np
from django.db.models import Q

from analytics import breakdowns, runs
from analytics.breakdowns import Breakdown, Flat
from analytics.dimensions import ALL, DIMENSIONS, NUMBERED, TOTAL
from analytics.models import DailyRollup, Value
from analytics.packing import Numbers
from analytics.runs import Runs

NONE = "(none)"
"""Filters by it want the runs that have no value. No value looks like this."""

_WHOLE = ("counts", "durations", "installations")
_PARTS = ("part_counts", "part_durations", "part_installations")


@dataclass(frozen=True)
class Selection:
    """Runs of these values: `only` names for a dimension those wanted, `without` those not wanted.

    It remembers what it read, since a page asks for several breakdowns of the same days: make one for each page.
    """

    only: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    without: Mapping[str, AbstractSet[str]] = field(default_factory=dict)

    def breakdown(self, by: str, start: datetime, until: datetime, *, sets: bool = True) -> Breakdown:
        """The runs from `start` to before `until`, both on the hour; `sets` False leaves out installations."""
        first, last = _whole_days(start, until)
        if first >= last:
            found = breakdowns.of(self.runs(start, until), by)
        else:
            days = [one for _, one in self._by_day(by, first, last, sets=sets)]
            edges = (self.runs(start, _midnight(first)), self.runs(_midnight(last), until))
            found = breakdowns.merged([*days, *(breakdowns.of(them, by) for them in edges)])
        return found if sets else replace(found, members=None)

    def days(self, by: str, first: date, last: date, *, sets: bool = True) -> dict[date, Breakdown]:
        """Each UTC day that has runs, from `first` to `last` inclusive."""
        several: dict[date, list[Breakdown]] = {}
        for day, one in self._by_day(by, first, last + timedelta(days=1), sets=sets):
            several.setdefault(day, []).append(one)
        return {day: breakdowns.merged(some) for day, some in several.items()}

    def hours(self, by: str, start: datetime, until: datetime) -> dict[datetime, Breakdown]:
        """Each hour that has runs, from `start` to before `until`."""
        return {hour: breakdowns.of(them, by) for hour, them in self.runs(start, until).by_hour()}

    def runs(self, start: datetime, until: datetime) -> Runs:
        """The runs from `start` to before `until`, one by one."""
        if start >= until:
            return runs.none()
        return runs.together(self._chosen(them) for them in runs.stored(start, until))

    # -- How ----------------------------------------------------------------------------------------------------------

    def _by_day(self, by: str, first: date, until: date, *, sets: bool) -> Iterator[tuple[date, Breakdown]]:
        """Breakdowns to be merged, with their days."""
        if len(self._numbers) > 1:
            for day, them in self._runs_of_days(first, until).by_day():
                yield day, breakdowns.of(them, by)
            return
        for day, stored in self._rows(by == ALL, first, until, sets=sets or by == ALL):
            yield day, stored.by(by)

    def _rows(self, whole: bool, first: date, until: date, *, sets: bool) -> list[tuple[date, Flat]]:
        asked = (whole, first, until, sets)
        if asked not in self._stored:
            names = _WHOLE if whole else _PARTS
            rows = DailyRollup.objects.filter(self._stored_under(), day__gte=first, day__lt=until)
            columns = rows.values_list("day", *(names if sets else names[:2]))
            self._stored[asked] = [(day, breakdowns.unpacked(*packed)) for day, *packed in runs.binary_rows(columns)]
        return self._stored[asked]

    @cached_property
    def _stored(self) -> dict[tuple[bool, date, date, bool], list[tuple[date, Flat]]]:
        return {}

    def _stored_under(self) -> Q:
        if not self._numbers:
            return Q(dimension=TOTAL)
        [(dimension, (only, without))] = self._numbers.items()
        of_values = Q(dimension=dimension) & ~Q(value__in=without)
        return of_values if only is None else of_values & Q(value__in=only)

    def _runs_of_days(self, first: date, until: date) -> Runs:
        if (first, until) not in self._read:
            self._read[first, until] = self.runs(_midnight(first), _midnight(until))
        return self._read[first, until]

    @cached_property
    def _read(self) -> dict[tuple[date, date], Runs]:
        return {}

    def _chosen(self, them: Runs) -> Runs:
        for dimension, wanted in self._wanted.items():
            them = them.where(wanted[np.minimum(them[dimension].astype(np.int64), len(wanted) - 1)])
        return them

    @cached_property
    def _wanted(self) -> dict[str, Numbers]:
        """For each dimension that is filtered by, whether each number is wanted; the last stands for all above it."""
        found = {}
        for dimension, (only, without) in self._numbers.items():
            wanted = np.full(max([0, *(only or []), *without]) + 2, only is None)
            wanted[only or []] = True
            wanted[without] = False
            found[dimension] = wanted
        return found

    @cached_property
    def _numbers(self) -> dict[str, tuple[list[int] | None, list[int]]]:
        """For each dimension that is filtered by, the numbers wanted (None: any) and not wanted."""
        wanted = {name for name in DIMENSIONS if self.only.get(name) or self.without.get(name)}
        return {
            name: (
                _numbers(name, self.only[name]) if self.only.get(name) else None,
                _numbers(name, self.without.get(name, ())),
            )
            for name in sorted(wanted)
        }


def values(dimension: str, numbers: AbstractSet[int]) -> dict[int, str]:
    """What these numbers stand for."""
    rows = Value.objects.filter(dimension=dimension, number__in=numbers)
    return dict(rows.values_list("number", "value"))


def _numbers(dimension: str, names: "AbstractSet[str] | tuple[()]") -> list[int]:
    """A name that no run ever had fits none; one with a NUL Postgres would not even look for."""
    names = {name for name in names if "\0" not in name}
    found = Value.objects.filter(dimension=NUMBERED[dimension][0], value__in=names).values_list("number", flat=True)
    return [*found, *([0] if NONE in names else [])]


def _whole_days(start: datetime, until: datetime) -> tuple[date, date]:
    """The first whole day and the first day after it that is not whole."""
    first = start.astimezone(UTC).date()
    if _midnight(first) < start:
        first += timedelta(days=1)
    return first, until.astimezone(UTC).date()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
