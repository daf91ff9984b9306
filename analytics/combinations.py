"""Combinations: runs that are alike in every value, put together.

In: runs, or a day's combinations as stored. Out: their breakdowns, and who ran how often. Pure. Next: breakdowns.py,
usage.py, rollups.py, selection.py

A day has many runs and few combinations of values: 107,000 and 16,000, in the bench. Beside each is kept how long its
runs took and whose they were; so what is asked of some values of several dimensions is answered without the runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analytics import breakdowns, packing
from analytics.breakdowns import COUNTS, Breakdown, Durations, Members
from analytics.dimensions import ALL, KEPT, NUMBERED, OPTION
from analytics.packing import Numbers, numbered, starts
from analytics.runs import Runs
from analytics.usage import Usage

VALUES = (*NUMBERED, "failed")
_TOKENS = COUNTS[3:]
_COUNTED = ("runs", "placeholder_runs", *_TOKENS)
_LOW = 0xFFFFFFFF


@dataclass(frozen=True)
class Timed:
    """How long runs of combinations took, in order: buckets and the runs in each, so many of each combination."""

    lengths: Numbers
    buckets: Numbers
    runs: Numbers

    def where(self, chosen: Numbers) -> "Timed":
        """Of the combinations that a mask chooses."""
        if not len(self.lengths):
            return self
        kept = np.repeat(chosen, self.lengths)
        return Timed(self.lengths[chosen], self.buckets[kept], self.runs[kept])

    @property
    def places(self) -> Numbers:
        """Of each bucket its combination. Not kept, as that of users: it takes as much room as they do."""
        return _places(self.lengths)


@dataclass(frozen=True)
class Users:
    """Installations of combinations, in order, so many of each: for each its runs, and `log_durations` as in Usage.

    Placeholders are left out. `runs` and `log_durations` are None where they were not read.
    """

    lengths: Numbers
    installations: Numbers
    runs: Numbers | None
    log_durations: Numbers | None

    def where(self, chosen: Numbers) -> "Users":
        """Of the combinations that a mask chooses."""
        if not len(self.lengths):
            return self
        kept = np.repeat(chosen, self.lengths)
        return Users(
            self.lengths[chosen],
            self.installations[kept],
            None if self.runs is None else self.runs[kept],
            None if self.log_durations is None else self.log_durations[kept],
        )

    @property
    def places(self) -> Numbers:
        """Of each installation its combination."""
        return _places(self.lengths)


@dataclass(frozen=True)
class Options:
    """Runs of combinations that used options, in order: which ones (as in Runs) by how many runs of a combination.

    They stand apart: with them, there would be three times as many combinations.
    """

    places: Numbers
    options: Numbers
    counts: Mapping[str, Numbers]


@dataclass(frozen=True)
class Combinations:
    """One of some runs each: `values` as runs have them, and `counts`, in columns of one length.

    Durations are of runs that succeeded. Durations, users and options are empty where they were not read.
    """

    values: Mapping[str, Numbers]
    counts: Mapping[str, Numbers]
    durations: Timed
    users: Users
    options: Options

    def __len__(self) -> int:
        return len(self.counts["runs"])

    def where(self, chosen: Numbers) -> "Combinations":
        """Those that a mask chooses."""
        place = (np.cumsum(chosen) - 1).astype(np.min_scalar_type(len(chosen)))  # among those that stay
        opted = chosen[self.options.places]
        return Combinations(
            {name: column[chosen] for name, column in self.values.items()},
            {name: column[chosen] for name, column in self.counts.items()},
            self.durations.where(chosen),
            self.users.where(chosen),
            Options(
                place[self.options.places[opted]],
                self.options.options[opted],
                {name: column[opted] for name, column in self.options.counts.items()},
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
            _, options = self.by_option(np.zeros(len(self), np.int64))
            return options
        return self._told_apart(name, *self.with_values(name), counts_only=counts_only)

    def _told_apart(self, name: str, keys: Numbers, part: Numbers, *, counts_only: bool = False) -> Breakdown:
        """`part` is the place of each combination among the keys; where that is beyond them, it has none."""
        durations, sets = KEPT[name].durations and not counts_only, KEPT[name].sets and not counts_only
        return Breakdown(
            keys,
            counts_of(self.counted, part, len(keys)),
            self._histograms(part, len(keys)) if durations else breakdowns.no_durations(),
            self._members(part, len(keys)) if sets else None,
        )

    def usage(self, told_apart: Numbers | None = None) -> Usage:
        """Who ran which version how often, not added up; or, instead of versions, which number of a column."""
        lengths, installations = self.users.lengths, self.users.installations
        runs, log_durations = self.users.runs, self.users.log_durations
        assert runs is not None
        assert log_durations is not None
        numbers = self.values["version"] if told_apart is None else told_apart
        failures = runs * np.repeat(self.values["failed"], lengths)
        return Usage(np.repeat(numbers, lengths), installations, runs, failures, log_durations)

    @property
    def counted(self) -> list[Numbers]:
        """A column for each of COUNTS."""
        return _in_order(self.counts, self.values["failed"])

    def _histograms(self, part: Numbers, count: int) -> Durations:
        timed = self.durations
        if not len(timed.lengths):
            return breakdowns.no_durations()
        parts = np.repeat(part, timed.lengths)
        there = parts < count
        return histograms(parts[there], timed.buckets[there], timed.runs[there])

    def _members(self, part: Numbers, count: int) -> Members:
        if count == 1 and not part.any():  # every day's are kept: a column of zeros need not take room
            return Members(
                pairs=[(np.broadcast_to(np.uint8(0), len(self.users.installations)), self.users.installations)]
            )
        if not len(self.users.lengths):
            return Members(pairs=[(_NOTHING, _NOTHING)])
        parts = np.repeat(part.astype(np.min_scalar_type(count)), self.users.lengths)
        ids = self.users.installations
        if len(part) and part.max() >= count:
            there = parts < count
            parts, ids = parts[there], ids[there]
        return Members(pairs=[(parts, ids)])

    def with_values(self, name: str) -> tuple[Numbers, Numbers]:
        """The keys there are, in order, and each combination's place among them; beyond them, where it has none."""
        cells, width, there = np.zeros(len(self), np.int64), 1, np.ones(len(self), bool)
        for column in KEPT[name].columns:
            numbers = self.values[column]
            width = int(numbers.max(initial=0)) + 1
            cells = cells * width + numbers
            there &= numbers > 0
        found, place = numbered(cells[there])
        part = np.full(len(self), len(found))
        part[there] = place
        return breakdowns.keys(name, found // width, found % width), part

    def by_option(self, told_apart: Numbers) -> tuple[Numbers, Breakdown]:
        """The options used with each number of a column, and which number that is.

        A run may have several, and counts for each.
        """
        places = self.options.places
        columns = _in_order(self.options.counts, self.values["failed"][places])
        used, which = numbered(self.options.options.astype(np.int64))
        # What several runs have alike is taken apart once.
        found, part = numbered(told_apart[places] * len(used) + which)
        counts = counts_of(columns, part, len(found))
        number, which = np.divmod(found, max(len(used), 1))
        bits = np.arange(int(used.max(initial=0)).bit_length())
        at, bit = np.nonzero(used[which, np.newaxis] >> bits & 1)
        found, part = numbered(number[at] * len(bits) + bit)
        number, bit = np.divmod(found, max(len(bits), 1))
        of_each = counts_of([column[at] for column in counts.T], part, len(found))
        keys = breakdowns.keys(OPTION, 0 * bit, bit + 1)
        return number, Breakdown(keys, of_each, breakdowns.no_durations(), None)

    # -- As stored ----------------------------------------------------------------------------------------------------

    def packed(self) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """Values and counts; durations; installations; usage; options. The same runs give the same bytes."""
        timed, users, options = self.durations, self.users, self.options
        assert users.runs is not None
        assert users.log_durations is not None
        columns = [*(self.values[name] for name in VALUES), *(self.counts[name] for name in _COUNTED)]
        return (
            packing.pack([timed.lengths, users.lengths, *columns]),
            packing.pack([timed.buckets, timed.runs]),
            packing.pack([packing.steps(users.places, users.installations)]),
            packing.pack([users.runs, users.log_durations]),
            packing.pack([np.diff(options.places, prepend=0), options.options, *options.counts.values()]),
        )


def unpacked(
    counts: bytes,
    durations: bytes | None = None,
    installations: bytes | None = None,
    usage: bytes | None = None,
    options: bytes | None = None,
) -> Combinations:
    """What was packed, as far as it was read."""
    timed, used, *columns = packing.unpack(counts)
    return Combinations(
        dict(zip(VALUES, columns, strict=False)),
        dict(zip(_COUNTED, columns[len(VALUES) :], strict=True)),
        _NOT_TIMED if durations is None else Timed(timed, *packing.unpack(durations)),
        _NO_USERS if installations is None else _users(used, installations, usage),
        _NO_OPTIONS if options is None else _options(options),
    )


def _users(used: Numbers, installations: bytes, usage: bytes | None) -> Users:
    [steps] = packing.unpack(installations)
    runs, log_durations = (None, None) if usage is None else packing.unpack(usage)
    found = packing.narrow(packing.from_steps(used, steps))  # many days' stand side by side
    return Users(used, found, runs, log_durations)


def _options(packed: bytes) -> Options:
    steps, options, *counts = packing.unpack(packed)
    return Options(np.cumsum(steps, dtype=np.int64), options, dict(zip(_COUNTED, counts, strict=True)))


_NOTHING = np.zeros(0, np.uint8)
_NOT_TIMED = Timed(_NOTHING, _NOTHING, _NOTHING)
_NO_USERS = Users(_NOTHING, _NOTHING, None, None)
_NO_OPTIONS = Options(_NOTHING, _NOTHING, dict.fromkeys(_COUNTED, _NOTHING))


# -- Of runs ----------------------------------------------------------------------------------------------------------


def of(them: Runs) -> Combinations:
    """Of a day's runs."""
    order = np.lexsort([them["options"], *(them[name] for name in reversed(VALUES))])
    new = np.zeros(len(them), bool)
    new[:1] = True
    for name in VALUES:
        column = them[name][order]
        new[1:] |= column[1:] != column[:-1]
    bounds, place = np.flatnonzero(new), np.cumsum(new) - 1
    installation, bucket, options = (
        them[name][order].astype(np.int64) for name in ("installation", "bucket", "options")
    )
    counted = {name: column[order] for name, column in _counted(them).items()}
    new[1:] |= options[1:] != options[:-1]
    of_options = np.flatnonzero(new)
    some = options[of_options] > 0
    succeeded, known = them["failed"][order] == 0, installation > 0
    timed, times, _ = _sums(place[succeeded], bucket[succeeded], bucket[succeeded])
    used, runs, log_durations = _sums(place[known], installation[known], (bucket * succeeded)[known])
    return Combinations(
        {name: them[name][order][bounds] for name in VALUES},
        {name: _reduced(column, bounds) for name, column in counted.items()},
        Timed(_lengths(timed >> 32, len(bounds)), timed & _LOW, times),
        Users(_lengths(used >> 32, len(bounds)), used & _LOW, runs, log_durations),
        Options(
            place[of_options][some],
            options[of_options][some],
            {name: _reduced(column, of_options)[some] for name, column in counted.items()},
        ),
    )


def each(them: Runs) -> Combinations:
    """Every run by itself, in any order: of some hours' runs, putting them together takes longer than it saves."""
    counted = _counted(them)
    succeeded, known = them["failed"] == 0, them["installation"] > 0
    opted = np.flatnonzero(them["options"])
    return Combinations(
        {name: them[name] for name in VALUES},
        counted,
        Timed(succeeded.astype(np.uint8), them["bucket"][succeeded], np.ones(succeeded.sum(), np.uint8)),
        Users(known.astype(np.uint8), them["installation"][known], None, None),
        Options(opted, them["options"][opted], {name: column[opted] for name, column in counted.items()}),
    )


def _counted(them: Runs) -> dict[str, Numbers]:
    return {
        "runs": np.ones(len(them), np.int64),
        "placeholder_runs": them["installation"] == 0,
        **{name: them[name] for name in _TOKENS},
    }


def _in_order(counted: Mapping[str, Numbers], failed: Numbers) -> list[Numbers]:
    """COUNTS of each."""
    found = {**counted, "failures": counted["runs"] * failed}
    return [found[name] for name in COUNTS]


def histograms(parts: Numbers, buckets: Numbers, times: Numbers) -> Durations:
    """How long runs took: each bucket of each part once, in order."""
    width = np.int64(buckets.max(initial=0)) + 1  # parts may be counted in 32 bits
    cells, found = packing.totals(parts * width + buckets, times)
    return cells // width, cells % width, found


def counts_of(columns: Sequence[Numbers], part: Numbers, count: int) -> Numbers:
    """A row for each of so many parts: `part` is the place of each; where that is beyond them, it has none.

    Sums are exact up to 2^53.
    """
    counts = np.zeros((count, len(COUNTS)), np.int64)
    for place, column in enumerate(columns):
        counts[:, place] = np.bincount(part, column, count)[:count]
    return counts


def _places(lengths: Numbers) -> Numbers:
    return np.repeat(np.arange(len(lengths), dtype=np.min_scalar_type(len(lengths))), lengths)


def _lengths(places: Numbers, count: int) -> Numbers:
    return np.bincount(places, minlength=count)


def _sums(places: Numbers, numbers: Numbers, amounts: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Each pair of place and number once, in order; how often it is there, and the sum of its amounts."""
    pairs = places << 32 | numbers
    order = np.argsort(pairs)
    bounds = starts(pairs[order])
    return pairs[order][bounds], np.diff(np.append(bounds, len(pairs))), _reduced(amounts[order], bounds)


def _reduced(column: Numbers, bounds: Numbers) -> Numbers:
    return np.add.reduceat(column, bounds, dtype=np.int64) if len(bounds) else np.zeros(0, np.int64)
