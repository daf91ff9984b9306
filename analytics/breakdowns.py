"""Breakdowns: runs, told apart by something and counted.

In: breakdowns of some runs, or of days as stored. Out: for each part its counts, a histogram of its durations and the
set of its installations, in a form that merges. Pure. Next: rollups.py, selection.py

Distinct installations cannot be added up, so sets are kept (roaring bitmaps); nor can percentiles, so histograms are.
A key is the code of what runs are told apart by, then one number of Value or two (dimensions.BREAKDOWNS); so all
breakdowns of some runs are stored as one.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from pyroaring import BitMap

from analytics import packing, runs
from analytics.dimensions import ALL, BREAKDOWNS, KEPT
from analytics.packing import Numbers, starts

# What is counted of each part.
COUNTS = (
    "runs",
    "failures",
    "placeholder_runs",
    "context_tokens",
    "prompt_tokens",
    "completion_tokens",
)
_CODE_BITS, _FIRST_BITS = 58, 32
_LOW = 0xFFFFFFFF
_FLAGS_MAX = 64 * 1_048_576  # bytes; with more, sets take less memory

Durations = tuple[Numbers, Numbers, Numbers]


@dataclass(frozen=True)
class Members:
    """Whose runs the parts are: places of parts and installations, in pieces.

    Many days' pieces stand side by side: put in one they would take the memory twice. `distinct` where there is one, in
    order, with no pair twice.
    """

    pieces: Sequence[tuple[Numbers, Numbers]]
    distinct: bool

    def sizes(self, count: int) -> list[int]:
        """How many installations each of so many parts has."""
        if self.distinct:
            return list(np.bincount(self.pieces[0][0], minlength=count).tolist())
        flags = self._flags(count)
        return [len(one) for one in self.sets(count)] if flags is None else list(flags.sum(axis=1).tolist())

    def sets(self, count: int) -> list[BitMap]:
        """The installations of each of so many parts."""
        flags = None if self.distinct else self._flags(count)
        if flags is not None:
            return [_bitmap(np.flatnonzero(of_part)) for of_part in flags]
        parts, ids = (np.concatenate(columns) for columns in zip(*self.pieces, strict=True))
        if not self.distinct:
            order = np.argsort(parts, kind="stable")
            parts, ids = parts[order], ids[order]
        ends = np.cumsum(np.bincount(parts, minlength=count)).tolist()
        return [_bitmap(ids[at:to]) for at, to in pairwise([0, *ends])]

    def _flags(self, count: int) -> Numbers | None:
        """One for each pair that may be, where that is not too many: a fifth of the time that sets take."""
        most = max(int(ids.max(initial=0)) for _, ids in self.pieces) + 1
        if count * most > _FLAGS_MAX:
            return None
        flags = np.zeros(count * most, bool)
        for parts, ids in self.pieces:
            flags[parts * np.int64(most) + ids] = True
        return flags.reshape(count, most)


def _bitmap(ids: Numbers) -> BitMap:
    # pyroaring reads an `array` ten times faster than an array of numpy's.
    return BitMap(array("I", ids.astype(np.uint32).tobytes()))


@dataclass(frozen=True)
class Breakdown:
    """Parts in the order of their keys.

    `counts` has a row a part and a column for each of COUNTS. Durations are triples (place of the part, bucket, runs),
    in order. `members` is None where installations were not kept, or not asked for.
    """

    keys: Numbers
    counts: Numbers
    durations: Durations
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

    def percentiles_ms(self, share: float, min_runs: int = 1) -> list[float | None]:
        """Of each part the duration that `share` (0 to 1) of its runs stayed within, ±2 %; None under `min_runs`."""
        parts, buckets, times = self.durations
        reached = np.concatenate([[0], np.cumsum(times)])
        ends = np.searchsorted(parts, np.arange(len(self) + 1))
        before, of_part = reached[ends[:-1]], np.diff(reached[ends])
        rank = np.maximum(np.ceil(share * of_part).astype(np.int64), 1)
        places = np.searchsorted(reached[1:], before + rank)
        return [
            runs.bucket_ms(int(buckets[place])) if count >= min_runs else None
            for place, count in zip(places.tolist(), of_part.tolist(), strict=True)
        ]


def numbers_of(key: int) -> tuple[int, int]:
    """The numbers of a key; the first is 0 where it has one only."""
    return key >> _FIRST_BITS & ((1 << _CODE_BITS - _FIRST_BITS) - 1), key & _LOW


def keys(name: str, first: Numbers, second: Numbers) -> Numbers:
    """Of parts of one of BREAKDOWNS, by their numbers (0 for a first one that is not)."""
    return KEPT[name].code << _CODE_BITS | first << _FIRST_BITS | second


def nothing() -> Breakdown:
    """Of no runs."""
    return Breakdown(np.zeros(0, np.int64), np.zeros((0, len(COUNTS)), np.int64), no_durations(), None)


def no_durations() -> Durations:
    """Of runs that all failed, or where they are not kept."""
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)


def _cut(durations: Durations, first: int, last: int) -> Durations:
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


# -- Put together -----------------------------------------------------------------------------------------------------


def merged(several: Sequence[Breakdown]) -> Breakdown:
    """All of them as one: of several days, or of several values of a dimension."""
    several = [one for one in several if len(one)]
    if len(several) < 2:
        return several[0] if several else nothing()
    every = np.concatenate([one.keys for one in several])
    order = np.argsort(every)
    bounds = starts(every[order])
    counts = np.add.reduceat(np.concatenate([one.counts for one in several])[order], bounds, axis=0)
    place = np.empty(len(every), np.uint32)  # of each part among the merged ones
    place[order] = np.repeat(np.arange(len(bounds)), np.diff(np.append(bounds, len(every))))
    places = np.split(place, np.cumsum([len(one) for one in several])[:-1])
    return Breakdown(every[order][bounds], counts, _merged_durations(several, places), _merged_members(several, places))


def _merged_durations(several: Sequence[Breakdown], places: Sequence[Numbers]) -> Durations:
    of_each = np.concatenate(
        [at[one.durations[0]] * np.int64(1 << 32) | one.durations[1] for one, at in zip(several, places, strict=True)]
    )
    if not len(of_each):
        return no_durations()
    order = np.argsort(of_each)
    bounds = starts(of_each[order])
    found = of_each[order][bounds]
    times = np.add.reduceat(np.concatenate([one.durations[2] for one in several])[order], bounds)
    return found >> 32, found & _LOW, times


def _merged_members(several: Sequence[Breakdown], places: Sequence[Numbers]) -> Members | None:
    pieces = []
    for one, at in zip(several, places, strict=True):
        if not one.members:
            return None  # they were not read
        pieces += [(at[parts], ids) for parts, ids in one.members.pieces]
    return Members(pieces, distinct=False)


# -- As stored --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """Several breakdowns in one, opened as far as they are asked for.

    Keys, counts and durations are as in Breakdown, but of any type. Each part has so many installations (`lengths`);
    `steps` leads to their ids, one part after the other. Durations and steps are None where they were not read.
    """

    keys: Numbers
    counts: Sequence[Numbers]
    durations: Durations | None
    lengths: Numbers
    steps: Numbers | None

    def by(self, name: str) -> Breakdown:
        """The parts of one of BREAKDOWNS; or of ALL, where that is all there is."""
        if name not in self._opened:
            first, last = (0, len(self.keys)) if name == ALL else _range(self.keys, name)
            kept = self.steps is not None and KEPT[name].sets
            self._opened[name] = Breakdown(
                self.keys[first:last].astype(np.int64),
                np.stack([column[first:last] for column in self.counts], axis=1).astype(np.int64),
                _cut(self.durations, first, last) if self.durations else no_durations(),
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
        parts = np.repeat(np.arange(last - first), lengths)
        ids = packing.from_steps(lengths, self.steps[start : start + len(parts)])
        return Members([(parts, ids.astype(np.uint32))], distinct=True)


def packed(several: Sequence[Breakdown]) -> tuple[bytes, bytes, bytes]:
    """Keys, counts and lengths; durations; steps. The same breakdowns give the same bytes."""
    offsets = np.cumsum([0, *(len(one) for one in several)])
    durations = [
        np.concatenate(columns)
        for columns in zip(
            *((one.durations[0] + at, *one.durations[1:]) for one, at in zip(several, offsets, strict=False)),
            strict=True,
        )
    ]
    members = [
        (parts + at) << 32 | ids
        for one, at in zip(several, offsets, strict=False)
        if one.members
        for parts, ids in one.members.pieces
    ]
    pairs = np.sort(np.concatenate([np.zeros(0, np.int64), *members]))
    pairs = pairs[starts(pairs)]
    keys, counts = np.concatenate([one.keys for one in several]), np.concatenate([one.counts for one in several])
    lengths = np.bincount(pairs >> 32, minlength=len(keys))
    steps = packing.steps(pairs >> 32, pairs & _LOW)
    return packing.pack([keys, lengths, *counts.T]), packing.pack(durations), packing.pack([steps])


def unpacked(counts: bytes, durations: bytes | None = None, installations: bytes | None = None) -> Stored:
    """What was packed, as far as it was read."""
    keys, lengths, *columns = packing.unpack(counts)
    steps = None if installations is None else packing.unpack(installations)[0]
    return Stored(keys, columns, None if durations is None else _unpacked(durations), lengths.astype(np.int64), steps)


def only_set(installations: bytes) -> BitMap:
    """Of what was packed of a single part, who it is of."""
    [steps] = packing.unpack(installations)
    return _bitmap(np.cumsum(steps, dtype=np.int64))


def _unpacked(durations: bytes) -> Durations:
    parts, buckets, times = (column.astype(np.int64) for column in packing.unpack(durations))
    return parts, buckets, times
