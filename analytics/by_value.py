"""By value: a day's runs with each value of a dimension, and all breakdowns of these.

In: a day's combinations. Out: for each value its breakdowns and its usage. Pure. Next: rollups.py

A day has some sixty values, with fourteen breakdowns each. Those of a dimension are made in one piece, which is cut up:
one by one, most of the time would go into calls.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from analytics import breakdowns, combinations, usage
from analytics.breakdowns import Breakdown, Members
from analytics.combinations import Combinations
from analytics.dimensions import KEPT, OPTION
from analytics.packing import Numbers, numbered, starts
from analytics.usage import Usage


class OfValue(NamedTuple):
    """The runs with one value: all of them, the parts of each breakdown (options come last), and who ran what."""

    whole: Breakdown
    parts: Sequence[Breakdown]
    usage: Usage


class ByValue:
    """A day's combinations, to be told apart by one dimension after the other."""

    def __init__(self, them: Combinations) -> None:
        self._them = them
        self._parts = _parts(them)

    def of(self, numbers: Numbers) -> Iterator[tuple[int, OfValue]]:
        """For each number of a column, in order, the runs that have it."""
        numbers = numbers.astype(np.int64)  # for sums that one of a byte would not hold
        options, by_whom = dict(_cut(*self._them.by_option(numbers))), dict(self._usage(numbers))
        for number, them in _cut(*self._told_apart(numbers)):
            parts = them.cut(1, len(them)), options.get(number, breakdowns.nothing())
            yield number, OfValue(them.cut(0, 1), parts, by_whom.get(number, usage.nobody()))

    def _told_apart(self, numbers: Numbers) -> tuple[Numbers, Breakdown]:
        """All parts of all numbers; and whose each is."""
        them, parts = self._them, self._parts
        buckets, times = them.durations.buckets, them.durations.runs
        of_each = [
            numbers[of.combinations] * len(parts.keys) + of.parts for of in (parts.runs, parts.timed, parts.used)
        ]
        cells, places = numbered(np.concatenate(of_each))
        runs, timed, used = np.split(places, np.cumsum([*map(len, of_each)])[:-1])
        number, part = np.divmod(cells, max(len(parts.keys), 1))
        return number, Breakdown(
            parts.keys[part],
            combinations.counts_of([column[parts.runs.places] for column in them.counted], runs, len(cells)),
            combinations.histograms(timed, buckets[parts.timed.places], times[parts.timed.places]),
            Members(pairs=[(used, them.users.installations[parts.used.places])]),
        )

    def _usage(self, numbers: Numbers) -> Iterator[tuple[int, Usage]]:
        versions = self._them.values["version"]
        width = int(versions.max(initial=0)) + 1
        found, place = numbered(numbers * width + versions)
        them = self._them.usage(place).added_up()
        number, version = np.divmod(found[them.versions], width)
        for one, first, last in _ranges(number):
            yield one, Usage(*(column[first:last] for column in (version, *them.columns()[1:])))


class _Belonging(NamedTuple):
    """Some entries of a day by their places; the combination that each is of, and the part that it counts for."""

    places: Numbers
    combinations: Numbers
    parts: Numbers


class _Parts(NamedTuple):
    """The keys of all parts of a day but options, in order; and what counts for them."""

    keys: Numbers
    runs: _Belonging
    timed: _Belonging
    used: _Belonging


def _parts(them: Combinations) -> _Parts:
    found = {name: them.with_values(name) for name in KEPT if name != OPTION}
    before = dict(zip(found, np.cumsum([0, *(len(keys) for keys, _ in found.values())]).tolist(), strict=False))

    def belonging(names: Iterable[str], of: Numbers) -> _Belonging:
        """Entries are of these combinations."""
        several = []
        for name in names:
            keys, part = found[name]
            places = np.flatnonzero(part[of] < len(keys))
            several.append((places, of[places], part[of[places]] + before[name]))
        return _Belonging(*map(np.concatenate, zip(*several, strict=True)))

    return _Parts(
        np.concatenate([keys for keys, _ in found.values()]),
        belonging(found, np.arange(len(them))),
        belonging([name for name in found if KEPT[name].durations], them.durations.places),
        belonging([name for name in found if KEPT[name].sets], them.users.places),
    )


def _cut(numbers: Numbers, them: Breakdown) -> Iterator[tuple[int, Breakdown]]:
    """What is of each number."""
    for number, first, last in _ranges(numbers):
        yield number, them.cut(first, last)


def _ranges(numbers: Numbers) -> Iterator[tuple[int, int, int]]:
    """Each of these numbers, which are in order, with the places where it stands, the last exclusive."""
    bounds = starts(numbers).tolist()
    for first, last in pairwise([*bounds, len(numbers)]):
        yield int(numbers[first]), first, last
