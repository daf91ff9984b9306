"""Combinations: runs that are alike in every value, put together.

In: runs, or a day's combinations as stored. Out: their breakdowns, and who ran how often. Pure. Next: breakdowns.py,
usage.py, rollups.py, selection.py

A day has many runs and few combinations of values: 107,000 and 16,000, in the bench. Beside each is kept how long its
runs took and whose they were; so what is asked of some values of several dimensions is answered without the runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analytics import breakdowns, packing
from analytics.breakdowns import COUNTS, Breakdown, Durations, Members
from analytics.dimensions import ALL, KEPT, NUMBERED, OPTION
from analytics.packing import Numbers, starts
from analytics.runs import Runs
from analytics.usage import Usage

VALUES = (*NUMBERED, "options", "failed")
_TOKENS = COUNTS[3:]
_COUNTED = ("runs", "placeholder_runs", *_TOKENS)
_LOW = 0xFFFFFFFF
_CELLS_MAX = 1 << 20  # a flag for each key that may be takes a tenth of the time that sorting takes


@dataclass(frozen=True)
class Users:
    """Installations of combinations, in order: for each its runs, and `log_durations` as in Usage.

    Placeholders are left out. `runs` and `log_durations` are None where they were not read.
    """

    places: Numbers
    installations: Numbers
    runs: Numbers | None
    log_durations: Numbers | None


@dataclass(frozen=True)
class Combinations:
    """One of some runs each: `values` as runs have them, and `counts`, in columns of one length.

    Durations are of runs that succeeded, triples (place of the combination, bucket, runs).
    """

    values: Mapping[str, Numbers]
    counts: Mapping[str, Numbers]
    durations: Durations
    users: Users

    def __len__(self) -> int:
        return len(self.counts["runs"])

    def where(self, chosen: Numbers) -> "Combinations":
        """Those that a mask chooses."""
        place = (np.cumsum(chosen) - 1).astype(np.min_scalar_type(len(chosen)))  # among those that stay
        places, buckets, times = self.durations
        timed, used = chosen[places], chosen[self.users.places]
        runs, log_durations = self.users.runs, self.users.log_durations
        return Combinations(
            {name: column[chosen] for name, column in self.values.items()},
            {name: column[chosen] for name, column in self.counts.items()},
            (place[places[timed]], buckets[timed], times[timed]),
            Users(
                place[self.users.places[used]],
                self.users.installations[used],
                None if runs is None else runs[used],
                None if log_durations is None else log_durations[used],
            ),
        )

    # -- What is asked of them ----------------------------------------------------------------------------------------

    @cached_property
    def whole(self) -> Breakdown:
        """All of them: a breakdown by nothing."""
        return self.breakdown(ALL)

    def breakdown(self, name: str, *, counts_only: bool = False) -> Breakdown:
        """Told apart by one of BREAKDOWNS, or by nothing (ALL); perhaps without durations and installations."""
        if name == OPTION:
            return breakdowns.merged([self._parts(name, *one, counts_only=True) for one in self._with_options()])
        return self._parts(name, *self._with_values(name), counts_only=counts_only)

    def usage(self) -> Usage:
        """Who ran which version how often."""
        places, installations, runs, log_durations = (
            *(self.users.places, self.users.installations),
            *(self.users.runs, self.users.log_durations),
        )
        assert runs is not None
        assert log_durations is not None
        failures = runs * self.values["failed"][places]
        return Usage(self.values["version"][places], installations, runs, failures, log_durations).added_up()

    def _parts(self, name: str, keys: Numbers, part: Numbers, *, counts_only: bool) -> Breakdown:
        """`part` is the place of each combination among the keys; where that is beyond them, it has none."""
        runs = self.counts["runs"]
        counts = np.zeros((len(keys), len(COUNTS)), np.int64)
        for place, counted in enumerate(COUNTS):
            column = runs * self.values["failed"] if counted == "failures" else self.counts[counted]
            counts[:, place] = np.bincount(part, column, len(keys))[: len(keys)]  # exact up to 2^53
        durations, sets = KEPT[name].durations and not counts_only, KEPT[name].sets and not counts_only
        return Breakdown(
            keys,
            counts,
            self._histograms(part, len(keys)) if durations else breakdowns.no_durations(),
            self._members(part, len(keys)) if sets else None,
        )

    def _histograms(self, part: Numbers, count: int) -> Durations:
        places, buckets, times = self.durations
        width = int(buckets.max(initial=0)) + 1
        found = np.bincount(part[places] * width + buckets, times, count * width)[: count * width]
        cells = np.flatnonzero(found)
        return cells // width, cells % width, found[cells].astype(np.int64)

    def _members(self, part: Numbers, count: int) -> Members:
        parts, ids = part.astype(np.uint32)[self.users.places], self.users.installations
        if len(part) and part.max() >= count:
            there = parts < count
            parts, ids = parts[there], ids[there]
        return Members([(parts, ids)], distinct=False)

    def _with_values(self, name: str) -> tuple[Numbers, Numbers]:
        """The keys there are, in order, and each combination's place among them."""
        cells, width, there = np.zeros(len(self), np.int64), 1, np.ones(len(self), bool)
        for column in KEPT[name].columns:
            numbers = self.values[column]
            width = int(numbers.max(initial=0)) + 1
            cells = cells * width + numbers
            there &= numbers > 0
        found, place = _numbered(cells[there])
        part = np.full(len(self), len(found))
        part[there] = place
        return breakdowns.keys(name, found // width, found % width), part

    def _with_options(self) -> Iterator[tuple[Numbers, Numbers]]:
        """A run may have several: each option by itself."""
        bits = self.values["options"].astype(np.int64)
        for bit in range(int(bits.max(initial=0)).bit_length()):
            used = bits >> bit & 1
            if used.any():
                number = np.full(1, bit + 1)
                yield breakdowns.keys(OPTION, 0 * number, number), 1 - used

    # -- As stored ----------------------------------------------------------------------------------------------------

    def packed(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Values and counts; durations; installations; usage. The same runs give the same bytes."""
        places, *durations = self.durations
        users = self.users
        assert users.runs is not None
        assert users.log_durations is not None
        lengths = [np.bincount(of, minlength=len(self)) for of in (places, users.places)]
        columns = [*(self.values[name] for name in VALUES), *(self.counts[name] for name in _COUNTED)]
        return (
            packing.pack([*lengths, *columns]),
            packing.pack(durations),
            packing.pack([packing.steps(users.places, users.installations)]),
            packing.pack([users.runs, users.log_durations]),
        )


def unpacked(counts: bytes, durations: bytes | None, installations: bytes, usage: bytes | None = None) -> Combinations:
    """What was packed, as far as it was read."""
    timed, used, *columns = packing.unpack(counts)
    buckets, times = (None, None) if durations is None else packing.unpack(durations)
    [steps] = packing.unpack(installations)
    every = np.arange(len(timed), dtype=np.min_scalar_type(len(timed)))  # many days' stand side by side
    places = np.repeat(every, used)
    runs, log_durations = (None, None) if usage is None else packing.unpack(usage)
    return Combinations(
        dict(zip(VALUES, columns, strict=False)),
        dict(zip(_COUNTED, columns[len(VALUES) :], strict=True)),
        breakdowns.no_durations() if buckets is None or times is None else (np.repeat(every, timed), buckets, times),
        Users(places, packing.from_steps(used, steps).astype(np.uint32), runs, log_durations),
    )


def of(them: Runs, names: Sequence[str] = VALUES, *, counts_only: bool = False) -> Combinations:
    """Of runs, as far as these values go; perhaps without durations and installations."""
    names = [*names, "failed"] if "failed" not in names else names
    order = np.lexsort([them[name] for name in reversed(names)])
    new = np.zeros(len(them), bool)
    new[:1] = True
    for name in names:
        column = them[name][order]
        new[1:] |= column[1:] != column[:-1]
    bounds, place = np.flatnonzero(new), np.cumsum(new) - 1
    installation, bucket = (them[name][order].astype(np.int64) for name in ("installation", "bucket"))
    counted = {
        "runs": np.ones(len(them), np.int64),
        "placeholder_runs": installation == 0,
        **{name: them[name][order] for name in _TOKENS},
    }
    succeeded = (them["failed"][order] == 0) & (not counts_only)
    timed, times, _ = _sums(place[succeeded], bucket[succeeded], bucket[succeeded])
    known = (installation > 0) & (not counts_only)
    used, runs, log_durations = _sums(place[known], installation[known], (bucket * succeeded)[known])
    return Combinations(
        {name: them[name][order][bounds] for name in names},
        {name: _reduced(column, bounds) for name, column in counted.items()},
        (timed >> 32, timed & _LOW, times),
        Users(used >> 32, used & _LOW, runs, log_durations),
    )


def breakdown(them: Runs, name: str, *, counts_only: bool = False) -> Breakdown:
    """Runs told apart by one of BREAKDOWNS, or by nothing (ALL)."""
    return of(them, KEPT[name].columns, counts_only=counts_only).breakdown(name, counts_only=counts_only)


def _sums(places: Numbers, numbers: Numbers, amounts: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Each pair of place and number once, in order; how often it is there, and the sum of its amounts."""
    pairs = places << 32 | numbers
    order = np.argsort(pairs)
    bounds = starts(pairs[order])
    return pairs[order][bounds], np.diff(np.append(bounds, len(pairs))), _reduced(amounts[order], bounds)


def _reduced(column: Numbers, bounds: Numbers) -> Numbers:
    return np.add.reduceat(column, bounds, dtype=np.int64) if len(bounds) else np.zeros(0, np.int64)


def _numbered(cells: Numbers) -> tuple[Numbers, Numbers]:
    """Those there are, in order, and the place of each among them."""
    most = int(cells.max(initial=0)) + 1
    if most > _CELLS_MAX:
        in_order = np.sort(cells)
        found = in_order[starts(in_order)]
        return found, np.searchsorted(found, cells)
    there = np.zeros(most, bool)
    there[cells] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[cells]
