"""Breakdowns: runs, told apart by something and counted.

In: runs, or breakdowns of days as stored. Out: for each part its counts, a histogram of its durations and the set of
its installations, in a form that merges. Pure. Next: rollups.py, selection.py

Distinct installations cannot be added up, so sets are kept (roaring bitmaps); nor can percentiles, so histograms are.
A key is the code of what runs are told apart by, then one number of Value or two (dimensions.BREAKDOWNS); so all
breakdowns of some runs are one, made in one go.
"""

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from pyroaring import BitMap

from analytics import packing, runs
from analytics.dimensions import ALL, BREAKDOWNS, INSTALLATION, OPTION
from analytics.packing import Numbers
from analytics.runs import Runs

# What is counted of each part. `log_durations` adds up the buckets of successful runs: their mean logarithm.
COUNTS = (
    "runs",
    "failures",
    "placeholder_runs",
    "context_tokens",
    "prompt_tokens",
    "completion_tokens",
    "log_durations",
)
_TOKENS = slice(3, 6)
_CODE_BITS, _FIRST_BITS = 58, 32
_LOW = 0xFFFFFFFF
_FLAGS_MAX = 64 * 1_048_576  # bytes; with more, sets take less memory

_Durations = tuple[Numbers, Numbers, Numbers]


@dataclass(frozen=True)
class Members:
    """Whose runs the parts are: pairs (place of the part, installation). `distinct` where none is there twice."""

    parts: Numbers
    ids: Numbers
    distinct: bool

    def sizes(self, count: int) -> list[int]:
        """How many installations each of so many parts has."""
        if self.distinct:
            return list(np.bincount(self.parts, minlength=count).tolist())
        most = int(self.ids.max(initial=0)) + 1
        if count * most > _FLAGS_MAX:
            return [len(installations) for installations in self.sets(count)]
        there = np.zeros(count * most, bool)  # a flag for each pair that may be: a fifth of the time that sets take
        there[self.parts * most + self.ids] = True
        return list(np.count_nonzero(there.reshape(count, most), axis=1).tolist())

    def sets(self, count: int) -> list[BitMap]:
        """The installations of each of so many parts."""
        ids = self.ids[np.argsort(self.parts, kind="stable")].astype(np.uint32).tobytes()
        ends = (4 * np.cumsum(np.bincount(self.parts, minlength=count))).tolist()
        # pyroaring reads an `array` ten times faster than an array of numpy's.
        return [BitMap(array("I", ids[at:to])) for at, to in pairwise([0, *ends])]


@dataclass(frozen=True)
class Breakdown:
    """Parts in the order of their keys.

    `counts` has a row a part and a column for each of COUNTS. Durations are triples (place of the part, bucket, runs),
    in order. `members` is None where installations were not kept, or not asked for.
    """

    keys: Numbers
    counts: Numbers
    durations: _Durations
    members: Members | None

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def sizes(self) -> Sequence[int]:
        """How many installations each part has; empty where that is not known."""
        return self.members.sizes(len(self)) if self.members else ()

    @cached_property
    def sets(self) -> Sequence[BitMap]:
        """The installations of each part; empty where they are not known."""
        return self.members.sets(len(self)) if self.members else ()

    def histogram(self, place: int) -> tuple[Numbers, Numbers]:
        """Buckets and their runs, of one part."""
        parts, buckets, times = self.durations
        first, last = np.searchsorted(parts, [place, place + 1])
        return buckets[first:last], times[first:last]


def numbers_of(key: int) -> tuple[int, int]:
    """The numbers of a key; the first is 0 where it has one only."""
    return key >> _FIRST_BITS & ((1 << _CODE_BITS - _FIRST_BITS) - 1), key & _LOW


def percentile_ms(histogram: tuple[Numbers, Numbers], share: float) -> float | None:
    """The duration that `share` (0 to 1) of the runs stayed within, ±2 %; None without any."""
    buckets, times = histogram
    if not len(buckets):
        return None
    reached = np.cumsum(times)
    rank = math.ceil(share * int(reached[-1])) or 1
    return runs.bucket_ms(int(buckets[np.searchsorted(reached, rank)]))


def nothing() -> Breakdown:
    """Of no runs."""
    return Breakdown(np.zeros(0, np.int64), np.zeros((0, len(COUNTS)), np.int64), _no_durations(), None)


def _no_durations() -> _Durations:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)


def _cut(durations: _Durations, first: int, last: int) -> _Durations:
    """Those of the parts from `first` to before `last`, which are counted from 0 then."""
    parts, buckets, times = durations
    start, end = np.searchsorted(parts, [first, last])
    return parts[start:end] - first, buckets[start:end], times[start:end]


def _range(keys: Numbers, name: str) -> tuple[int, int]:
    if not len(keys):
        return 0, 0
    code = BREAKDOWNS[name].code
    first, last = np.searchsorted(keys, np.array([code << _CODE_BITS, (code + 1) << _CODE_BITS], keys.dtype))
    return int(first), int(last)


# -- Of runs ----------------------------------------------------------------------------------------------------------


class Ready:
    """Runs with their keys, ready to be broken down as a whole or some of them."""

    def __init__(self, them: Runs, names: Iterable[str]) -> None:
        keys = [(name, column) for name in names for column in _keys(them, name)]
        self._keys = np.stack([column for _, column in keys]) if keys else np.zeros((0, len(them)), np.int64)
        self._with_sets = np.array([name == ALL or BREAKDOWNS[name].sets for name, _ in keys], bool)
        self._with_durations = np.array([name == ALL or BREAKDOWNS[name].durations for name, _ in keys], bool)
        self._of_installations = np.array([name == INSTALLATION for name, _ in keys], bool)
        self._succeeded = them["failed"] == 0
        self._installation = them["installation"].astype(np.int64)
        self._bucket = them["bucket"].astype(np.int64)
        counted = {
            "runs": np.ones(len(them)),
            "failures": them["failed"],
            "placeholder_runs": self._installation == 0,
            "log_durations": self._bucket * self._succeeded,
        }
        self._counts = [np.asarray(counted.get(name, them.columns.get(name))).astype(np.int64) for name in COUNTS]

    def breakdown(self, chosen: Numbers) -> "Flat":
        """Of the runs at these places."""
        keys = self._keys[:, chosen]
        rows, columns = np.nonzero(keys >= 0)
        keys = keys[rows, columns]
        order = np.argsort(keys)
        keys, rows, places = keys[order], rows[order], chosen[columns[order]]
        bounds = runs.starts(keys)
        counts = [np.add.reduceat(counted[places], bounds) for counted in self._counts]
        if self._of_installations.any():  # of a single installation nobody asks for tokens
            for column in counts[_TOKENS]:
                column[self._of_installations[rows[bounds]]] = 0
        part = np.repeat(np.arange(len(bounds)), np.diff(np.append(bounds, len(keys))))
        timed = self._with_durations[rows] & self._succeeded[places]
        known = self._with_sets[rows] & (self._installation[places] > 0)
        members = np.sort(part[known] << 32 | self._installation[places[known]])
        members = members[runs.starts(members)]
        steps = np.diff(members & _LOW, prepend=0)  # small numbers, but where a part begins
        begins = runs.starts(members >> 32)
        steps[begins] = members[begins] & _LOW
        return Flat(
            keys[bounds],
            counts,
            _histograms(part[timed] << 32 | self._bucket[places[timed]]),
            np.bincount(members >> 32, minlength=len(bounds)),
            steps,
        )


def of(them: Runs, name: str) -> Breakdown:
    """Runs told apart by one of BREAKDOWNS, or by nothing (ALL)."""
    return Ready(them, [name]).breakdown(np.arange(len(them))).by(name) if len(them) else nothing()


def _keys(them: Runs, name: str) -> Iterator[Numbers]:
    """The key of each run, -1 for none; several times for what a run may have several of."""
    if name == ALL:
        yield np.zeros(len(them), np.int64)
        return
    code = BREAKDOWNS[name].code << _CODE_BITS
    if name == OPTION:
        bits = them["options"].astype(np.int64)
        for bit in range(int(bits.max()).bit_length() if len(bits) else 0):
            yield np.where(bits >> bit & 1, code | bit + 1, -1)
        return
    *first, second = (them[column].astype(np.int64) for column in BREAKDOWNS[name].columns)
    keys, there = code | second, second > 0
    for further in first:
        keys, there = keys | further << _FIRST_BITS, there & (further > 0)
    yield np.where(there, keys, -1)


def _histograms(of_each: Numbers) -> _Durations:
    of_each = np.sort(of_each)
    bounds = runs.starts(of_each)
    found = of_each[bounds]
    return found >> 32, found & _LOW, np.diff(np.append(bounds, len(of_each)))


# -- Put together -----------------------------------------------------------------------------------------------------


def merged(several: Sequence[Breakdown]) -> Breakdown:
    """All of them as one: of several days, or of several values of a dimension."""
    several = [one for one in several if len(one)]
    if len(several) < 2:
        return several[0] if several else nothing()
    every = np.concatenate([one.keys for one in several])
    order = np.argsort(every)
    bounds = runs.starts(every[order])
    counts = np.add.reduceat(np.concatenate([one.counts for one in several])[order], bounds, axis=0)
    place = np.empty(len(every), np.int64)  # of each part among the merged ones
    place[order] = np.repeat(np.arange(len(bounds)), np.diff(np.append(bounds, len(every))))
    places = np.split(place, np.cumsum([len(one) for one in several])[:-1])
    return Breakdown(every[order][bounds], counts, _merged_durations(several, places), _merged_members(several, places))


def _merged_durations(several: Sequence[Breakdown], places: Sequence[Numbers]) -> _Durations:
    of_each = np.concatenate(
        [at[one.durations[0]] << 32 | one.durations[1] for one, at in zip(several, places, strict=True)]
    )
    if not len(of_each):
        return _no_durations()
    order = np.argsort(of_each)
    bounds = runs.starts(of_each[order])
    found = of_each[order][bounds]
    times = np.add.reduceat(np.concatenate([one.durations[2] for one in several])[order], bounds)
    return found >> 32, found & _LOW, times


def _merged_members(several: Sequence[Breakdown], places: Sequence[Numbers]) -> Members | None:
    them = [(one.members, at) for one, at in zip(several, places, strict=True) if one.members]
    if len(them) < len(several):
        return None  # of some they were not read
    parts = [at[members.parts] for members, at in them]
    return Members(np.concatenate(parts), np.concatenate([members.ids for members, _ in them]), distinct=False)


# -- As stored --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flat:
    """Several breakdowns in one, opened as far as it is asked for.

    Keys and durations are as in Breakdown; of counts there is a column each. They may be of any type: most of them
    nobody asks for, those of single installations above all. Each part has so many installations (`lengths`); their
    ids stand one part after the other in `steps`: a part's first id, then how far it is to each next. `steps` is None
    where it was not read.
    """

    keys: Numbers
    counts: Sequence[Numbers]
    durations: _Durations
    lengths: Numbers
    steps: Numbers | None

    def by(self, name: str) -> Breakdown:
        """The parts of one of BREAKDOWNS; or of ALL, where that is all there is."""
        if name not in self._opened:
            first, last = (0, len(self.keys)) if name == ALL else _range(self.keys, name)
            kept = self.steps is not None and (name == ALL or BREAKDOWNS[name].sets)
            self._opened[name] = Breakdown(
                self.keys[first:last].astype(np.int64),
                np.stack([column[first:last] for column in self.counts], axis=1).astype(np.int64),
                _cut(self.durations, first, last),
                self._members(first, last) if kept else None,
            )
        return self._opened[name]

    @cached_property
    def _opened(self) -> dict[str, Breakdown]:
        return {}

    def _members(self, first: int, last: int) -> Members:
        assert self.steps is not None
        lengths = self.lengths[first:last]
        start = int(self.lengths[:first].sum())
        steps = self.steps[start : start + int(lengths.sum())]
        sums = np.cumsum(steps, dtype=np.int64)
        there = np.flatnonzero(lengths)
        begins = (np.cumsum(lengths) - lengths)[there]
        before = sums[begins] - steps[begins]  # what the parts before it add to a part's ids
        parts = np.repeat(np.arange(last - first), lengths)
        return Members(parts, sums - np.repeat(before, lengths[there]), distinct=True)

    def packed(self) -> tuple[bytes, bytes, bytes]:
        """Keys, counts and lengths; durations; steps."""
        assert self.steps is not None
        counts = packing.pack([self.keys, self.lengths, *self.counts])
        return counts, packing.pack(self.durations), packing.pack([self.steps])


def unpacked(counts: bytes, durations: bytes, installations: bytes | None = None) -> Flat:
    """What was packed."""
    keys, lengths, *columns = packing.unpack(counts)
    parts, buckets, times = (column.astype(np.int64) for column in packing.unpack(durations))
    steps = None if installations is None else packing.unpack(installations)[0]
    return Flat(keys, columns, (parts, buckets, times), lengths.astype(np.int64), steps)
