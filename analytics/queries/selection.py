"""Selection: which runs a page is about, and their breakdowns for any hours.

In: for each dimension the values wanted and those not wanted. Out: breakdowns, in all, by day or by hour. Next:
figures.py

A page that filters by one dimension, or by none, reads the rollups of days. Several dimensions at once cannot be put
together from those (who ran `repo`, and separately 0.64, may never have run both): the days' combinations are read.
Parts of days are read from their hours.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
from django.db.models import Q

from analytics import breakdowns, combinations, runs, usage
from analytics.breakdowns import Breakdown, Stored
from analytics.combinations import Combinations
from analytics.dimensions import ALL, DIMENSIONS, OPTION, TOTAL
from analytics.models import DailyCombinations, DailyRollup, Value
from analytics.packing import Numbers
from analytics.queries.known import Known
from analytics.runs import Runs
from analytics.usage import Usage

NONE = "(none)"
"""Filters by it want the runs that have no value. No value looks like this."""

# Columns that are read together: of DailyRollup, then of DailyCombinations.
_WHOLE = ("counts", "durations", "installations")
_PARTS = ("part_counts", "part_durations", "part_installations")
_PART_COUNTS = _PARTS[:1]
_COMBINED = ("counts", "durations", "installations")
_COMBINED_OPTIONS = ("counts", "options")
_COMBINED_USAGE = ("counts", "installations", "usage")
_PIECE_DAYS = 92  # a quarter and the one before are two pieces: a page has few statements

_Kept = TypeVar("_Kept")
_Some = TypeVar("_Some", Runs, Combinations)


@dataclass(frozen=True)
class Selection:
    """Runs of these values: `only` names for a dimension those wanted, `without` those not wanted.

    It remembers what it read, since a page asks for several breakdowns of the same days: make one for each page, and
    derive others from it, with which it shares what is `known`. One that is `derived` of several filters reads the
    combinations, as that one does, which can then take from it what it has read.
    """

    only: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    without: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    known: Known = field(default_factory=Known, compare=False, repr=False)
    derived: bool = False

    def of_any(self, *dimensions: str) -> "Selection":
        """The same, without what it says about these.

        Where a page lists the values of a dimension, a filter by that one chooses rows, and not runs: shares and rates
        stay those of all runs, and a value is compared with others that are not listed.
        """
        dropped = frozenset(name for name in dimensions if self.only.get(name) or self.without.get(name))
        if not dropped:
            return self
        if dropped not in self._derived:
            only, without = (
                {name: those for name, those in said.items() if name not in dropped}
                for said in (self.only, self.without)
            )
            self._derived[dropped] = Selection(only, without, self.known, derived=self.is_combined)
        return self._derived[dropped]

    def lists(self, dimension: str, value: str) -> bool:
        """Whether it wants runs of the value, as far as this dimension goes."""
        only, without = (said.get(dimension, frozenset()) for said in (self.only, self.without))
        return (not only or value in only) and value not in without

    def read_ahead(self, *spans: tuple[date, date]) -> None:
        """Read these days, all at once, from a first to a last inclusive: they will be asked for by nothing (ALL)."""
        days = [day for first, last in spans for day in _days(first, last + timedelta(days=1))]
        if self.is_combined:
            self._combined(_COMBINED, days)
        else:
            self._stored(_WHOLE, days)

    def breakdown(self, by: str, start: datetime, until: datetime, *, counts_only: bool = False) -> Breakdown:
        """The runs from `start` to before `until`, both on the hour; perhaps without durations and installations."""
        first, last = _whole_days(start, until)
        if first >= last:
            return combinations.each(self._runs(start, until)).breakdown(by, counts_only=counts_only)
        days = [one for _, one in self._by_day(by, first, last, counts_only=counts_only)]
        edges = (self._runs(start, _midnight(first)), self._runs(_midnight(last), until))
        of_edges = (combinations.each(them).breakdown(by, counts_only=counts_only) for them in edges)
        return breakdowns.merged([*days, *of_edges])

    def days(self, by: str, first: date, last: date, *, counts_only: bool = False) -> dict[date, Breakdown]:
        """Each UTC day that has runs, from `first` to `last` inclusive."""
        several: dict[date, list[Breakdown]] = {}
        for day, one in self._by_day(by, first, last + timedelta(days=1), counts_only=counts_only):
            several.setdefault(day, []).append(one)
        return {day: breakdowns.merged(some) for day, some in several.items()}

    def hours(
        self, by: str, start: datetime, until: datetime, *, counts_only: bool = False
    ) -> dict[datetime, Breakdown]:
        """Each hour that has runs, from `start` to before `until`."""
        return {
            hour: combinations.each(them).breakdown(by, counts_only=counts_only)
            for hour, them in self._runs(start, until).by_hour()
        }

    def usage(self, first: date, last: date) -> Usage:
        """How often each installation ran which version, from `first` to `last` inclusive; not added up."""
        if len(self._numbers) > 1:
            days = _days(first, last + timedelta(days=1))
            return usage.together(them.usage() for _, them in self._read_combined(_COMBINED_USAGE, days))
        stored = DailyRollup.objects.filter(self._stored_under(), day__gte=first, day__lte=last).values_list("usage")
        return usage.together(usage.unpacked(packed) for (packed,) in runs.binary_rows(stored))

    # -- How ----------------------------------------------------------------------------------------------------------

    def _by_day(
        self, by: str, first: date, until: date, *, counts_only: bool = False
    ) -> Iterator[tuple[date, Breakdown]]:
        """Breakdowns to be merged, with their days."""
        days = _days(first, until)
        if self.is_combined:
            combined = self._combined(_COMBINED_OPTIONS if by == OPTION else _COMBINED, days)
            for day in days:
                for them in combined[day]:
                    if len(them):
                        whole = by == ALL and not counts_only
                        yield day, them.whole if whole else them.breakdown(by, counts_only=counts_only)
            return
        names: Sequence[str] = _WHOLE if by == ALL else _PARTS
        if counts_only and by != ALL and not self._of_days.get(_PARTS, {}).keys() >= set(days):
            names = _PART_COUNTS
        stored = self._stored(names, days)
        for day in days:
            for one in stored[day]:
                yield day, one.by(by).counted if counts_only else one.by(by)

    def _stored(self, names: Sequence[str], days: Sequence[date]) -> Mapping[date, Sequence[Stored]]:
        """What these days at least have in the rollups by one value, or of all runs; read once."""
        return _filled(self._of_days.setdefault(names, {}), days, partial(self._read_stored, names))

    def _combined(self, names: Sequence[str], days: Sequence[date]) -> Mapping[date, Sequence[Combinations]]:
        """What these days at least have in combinations; read once."""
        found = self._of_combinations.setdefault(names, {})
        return _filled(found, days, partial(self._taken_or_read, names))

    def _taken_or_read(self, names: Sequence[str], days: Sequence[date]) -> Iterator[tuple[date, Combinations]]:
        for wider in self._derived.values():
            there = wider._of_combinations.get(names, {})
            if there.keys() >= set(days):
                return ((day, self._chosen(them)) for day in days for them in there[day])
        return self._read_combined(names, days)

    def _read_stored(self, names: Sequence[str], days: Sequence[date]) -> Iterator[tuple[date, Stored]]:
        rows = DailyRollup.objects.filter(self._stored_under(), day__in=days).values_list("day", *names)
        return ((day, breakdowns.unpacked(*packed)) for day, *packed in runs.binary_rows(rows))

    def _read_combined(self, names: Sequence[str], days: Sequence[date]) -> Iterator[tuple[date, Combinations]]:
        # Of several pieces one is in memory as Postgres sent it, beside what was chosen of the others.
        for at in range(0, len(days), _PIECE_DAYS):
            piece = DailyCombinations.objects.filter(day__in=days[at : at + _PIECE_DAYS])
            for day, *packed in runs.binary_rows(piece.values_list("day", *names)):
                yield day, self._chosen(combinations.unpacked(**dict(zip(names, packed, strict=True))))

    @cached_property
    def _of_days(self) -> dict[Sequence[str], dict[date, list[Stored]]]:
        return {}

    @cached_property
    def _of_combinations(self) -> dict[Sequence[str], dict[date, list[Combinations]]]:
        return {}

    @cached_property
    def _derived(self) -> "dict[AbstractSet[str], Selection]":
        return {}

    @cached_property
    def is_combined(self) -> bool:
        """Whether it reads combinations, and not the rollups by one value."""
        # Of one value that is not wanted, all others would be read, row by row.
        return len(self._numbers) > 1 or (self.derived and any(only is None for only, _ in self._numbers.values()))

    def _stored_under(self) -> Q:
        if not self._numbers:
            return Q(dimension=TOTAL)
        [(dimension, (only, without))] = self._numbers.items()
        of_values = Q(dimension=dimension) & ~Q(value__in=without)
        return of_values if only is None else of_values & Q(value__in=only)

    def _runs(self, start: datetime, until: datetime) -> Runs:
        """The runs from `start` to before `until`, one by one."""
        if start >= until:
            return runs.none()
        if (start, until) not in self._read:
            self._read[start, until] = runs.together(map(self._chosen, self.known.hours(start, until)))
        return self._read[start, until]

    @cached_property
    def _read(self) -> dict[tuple[datetime, datetime], Runs]:
        return {}

    def _chosen(self, them: _Some) -> _Some:
        values = them.columns if isinstance(them, Runs) else them.values
        chosen = np.ones(len(them), bool)
        for dimension, wanted in self._wanted.items():
            # As wide as a number may be: columns are as narrow as theirs allow.
            chosen &= wanted[np.minimum(values[dimension], np.int64(len(wanted) - 1))]
        return them.where(chosen)

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
        said = {
            name: (self.only.get(name, frozenset()), self.without.get(name, frozenset()))
            for name in DIMENSIONS
            if self.only.get(name) or self.without.get(name)
        }
        known = _numbered({name: only | without for name, (only, without) in said.items()})
        return {
            name: (
                sorted(known[name, value] for value in only if (name, value) in known) if only else None,
                sorted(known[name, value] for value in without if (name, value) in known),
            )
            for name, (only, without) in said.items()
        }


def _filled(
    found: dict[date, list[_Kept]],
    days: Sequence[date],
    read: Callable[[Sequence[date]], Iterable[tuple[date, _Kept]]],
) -> dict[date, list[_Kept]]:
    """What was read of days, with these among them."""
    # How days are read is not kept with them: it knows the selection, and what knows itself is freed late.
    missing = [day for day in days if day not in found]
    if missing:
        found.update((day, []) for day in missing)
        for day, one in read(missing):
            found[day].append(one)
    return found


def _numbered(wanted: Mapping[str, AbstractSet[str]]) -> dict[tuple[str, str], int]:
    """The numbers of these values of dimensions, those that any run ever had."""
    found = {(name, NONE): 0 for name in wanted}
    said = Q(pk__in=())
    for name, several in wanted.items():
        said |= Q(dimension=name, value__in=[value for value in several if "\0" not in value])  # Postgres knows no NUL
    for name, value, number in Value.objects.filter(said).values_list("dimension", "value", "number"):
        found[name, value] = number
    return found


def _days(first: date, until: date) -> list[date]:
    return [first + timedelta(days=offset) for offset in range((until - first).days)]


def _whole_days(start: datetime, until: datetime) -> tuple[date, date]:
    """The first whole day and the first day after it that is not whole."""
    first = start.astimezone(UTC).date()
    if _midnight(first) < start:
        first += timedelta(days=1)
    return first, until.astimezone(UTC).date()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
