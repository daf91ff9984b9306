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
# A flag for each pair that may be takes a fifth of the time of sorting the pairs there are, unless these are few.
_FLAGS_MAX_COUNT, _FLAGS_A_PAIR = 64 * 1_048_576, 32

Durations = tuple[Numbers, Numbers, Numbers]


@dataclass(frozen=True)
class Sets:
    """The installations of some parts as they are stored, opened when somebody asks: nothing where there are none."""

    sizes: Sequence[int]
    packed: Sequence[bytes]

    def cut(self, first: int, last: int) -> "Sets":
        """Those of the parts from `first` to before `last`."""
        return Sets(self.sizes[first:last], self.packed[first:last])

    @cached_property
    def opened(self) -> list[BitMap]:
        return [BitMap.deserialize(one) if one else BitMap() for one in self.packed]


@dataclass(frozen=True)
class Members:
    """Whose runs the parts are: pairs of a part's place and an installation, in pieces, and sets beside their places.

    Many days' stand side by side: put in one they would take the memory twice.
    """

    pairs: Sequence[tuple[Numbers, Numbers]] = ()
    sets: Sequence[tuple[Numbers, Sets]] = ()

    def sizes(self, count: int) -> Sequence[int]:
        """How many installations each of so many parts has."""
        if not self.sets:
            return list(map(len, self._of_pairs(count)))
        if len(self.sets) == 1 and not self.pairs:
            return self.sets[0][1].sizes
        return list(map(len, self.bitmaps(count)))

    def bitmaps(self, count: int) -> list[BitMap]:
        """The installations of each of so many parts."""
        several: list[list[BitMap]] = [[] for _ in range(count)]
        for places, sets in self.sets:
            for place, one in zip(places.tolist(), sets.opened, strict=True):
                several[place].append(one)
        if self.pairs:
            for some, ids in zip(several, self._of_pairs(count), strict=True):
                some.append(bitmap(ids))
        return [some[0] if len(some) == 1 else BitMap.union(BitMap(), *some) for some in several]

    def pairs_stored(self, count: int) -> Sets:
        """The installations of each of so many parts, as they are stored; of pairs alone."""
        several = self._of_pairs(count)
        return Sets([*map(len, several)], [_serialized(bitmap(ids)) if len(ids) else b"" for ids in several])

    def _of_pairs(self, count: int) -> list[Numbers]:
        """The distinct installations of each part, in order."""
        most = max(int(ids.max(initial=0)) for _, ids in self.pairs) + 1
        cells = (ids if count == 1 else parts * np.int64(most) + ids for parts, ids in self.pairs)
        if count * most > min(_FLAGS_MAX_COUNT, _FLAGS_A_PAIR * sum(len(ids) for _, ids in self.pairs)):
            every = np.sort(np.concatenate([*cells]))
            found = every[starts(every)]
        else:
            flags = np.zeros(count * most, bool)
            for piece in cells:
                flags[piece] = True
            found = np.flatnonzero(flags)
        ends = np.searchsorted(found, most * np.arange(count + 1)).tolist()
        return [found[at:to] - most * part for part, (at, to) in enumerate(pairwise(ends))]


def bitmap(ids: Numbers) -> BitMap:
    """The set of these."""
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

    @property
    def counted(self) -> "Breakdown":
        """The same without durations and installations, which take most of the time of putting breakdowns together."""
        return Breakdown(self.keys, self.counts, no_durations(), None)

    @cached_property
    def sizes(self) -> Sequence[int]:
        """How many installations each part has; empty where that is not known."""
        return self.members.sizes(len(self)) if self.members else ()

    @cached_property
    def sets(self) -> Sequence[BitMap]:
        """The installations of each part; empty where they are not known."""
        return self.members.bitmaps(len(self)) if self.members else ()

    def cut(self, first: int, last: int) -> "Breakdown":
        """The parts from `first` to before `last`."""
        members = self.members and Members(sets=[(np.arange(last - first), self.stored_sets.cut(first, last))])
        return Breakdown(self.keys[first:last], self.counts[first:last], _cut(self.durations, first, last), members)

    @cached_property
    def stored_sets(self) -> Sets:
        """The installations of each part as they are stored: nobody where they are not known."""
        if not self.members:
            return Sets([0] * len(self), [b""] * len(self))
        if not self.members.pairs and len(self.members.sets) == 1:
            return self.members.sets[0][1]
        if not self.members.sets:
            return self.members.pairs_stored(len(self))
        return Sets([*map(len, self.sets)], [*map(_serialized, self.sets)])

    def histogram(self, place: int) -> tuple[Numbers, Numbers]:
        """Buckets and their runs, of one part."""
        parts, buckets, times = self.durations
        first, last = np.searchsorted(parts, [place, place + 1])
        return buckets[first:last], times[first:last]

    def percentiles_ms(self, share: float, min_runs: int = 1) -> list[float | None]:
        """Of each part the duration that `share` (0 to 1) of its runs stayed within, ±2 %; None under `min_runs`."""
        if not len(self.durations[0]):
            return [None] * len(self)
        reached, before, of_part = self._timed
        rank = np.maximum(np.ceil(share * of_part).astype(np.int64), 1)
        buckets = self.durations[1][np.minimum(np.searchsorted(reached, before + rank), len(reached) - 1)].tolist()
        return [
            runs.bucket_ms(bucket) if count >= min_runs else None
            for bucket, count in zip(buckets, of_part.tolist(), strict=True)
        ]

    @cached_property
    def _timed(self) -> tuple[Numbers, Numbers, Numbers]:
        """Of durations, how many runs there are up to each; of parts, how many before them and in them."""
        parts, _, times = self.durations
        reached = np.cumsum(times)
        ends = np.concatenate([[0], reached])[np.searchsorted(parts, np.arange(len(self) + 1))]
        return reached, ends[:-1], np.diff(ends)


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
    first, last = np.searchsorted(keys.astype(np.int64), [code << _CODE_BITS, (code + 1) << _CODE_BITS])
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
    place = np.empty(len(every), np.min_scalar_type(len(bounds)))  # of each part among the merged ones
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
    pairs, sets = [], []
    alone = not any(at.any() for at in places)  # as of all runs: it is at 0, where it was
    for one, at in zip(several, places, strict=True):
        if not one.members:
            return None  # they were not read
        pairs += [(parts if alone else at[parts], ids) for parts, ids in one.members.pairs]
        sets += [(at[parts], of_parts) for parts, of_parts in one.members.sets]
    return Members(pairs, sets)


# -- As stored --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """Several breakdowns in one, opened as far as they are asked for.

    Keys, counts and durations are as in Breakdown, but of any type. Each part has so many installations (`sizes`),
    whose set takes so many bytes. Durations and sets are None where they were not read.
    """

    keys: Numbers
    counts: Sequence[Numbers]
    durations: Durations | None
    sizes: Numbers
    set_bytes: Numbers
    sets: bytes | None

    def by(self, name: str) -> Breakdown:
        """The parts of one of BREAKDOWNS; or of ALL, where that is all there is."""
        if name not in self._opened:
            first, last = (0, len(self.keys)) if name == ALL else _range(self.keys, name)
            self._opened[name] = Breakdown(
                self.keys[first:last].astype(np.int64),
                np.stack([column[first:last] for column in self.counts], axis=1).astype(np.int64),
                _cut(self.durations, first, last) if self.durations else no_durations(),
                self._members(self.sets, first, last) if self.sets is not None and KEPT[name].sets else None,
            )
        return self._opened[name]

    @cached_property
    def _opened(self) -> dict[str, Breakdown]:
        return {}

    def _members(self, sets: bytes, first: int, last: int) -> Members:
        ends = self._ends[first : last + 1]
        packed = [sets[at:to] for at, to in pairwise(ends)]
        return Members(sets=[(np.arange(last - first), Sets(self.sizes[first:last].tolist(), packed))])

    @cached_property
    def _ends(self) -> list[int]:
        return [0, *np.cumsum(self.set_bytes).tolist()]


def packed(several: Sequence[Breakdown]) -> tuple[bytes, bytes, bytes]:
    """Keys, sizes and counts; durations; sets. The same breakdowns give the same bytes."""
    offsets = np.cumsum([0, *(len(one) for one in several)])
    durations = [
        np.concatenate(columns)
        for columns in zip(
            *((one.durations[0] + at, *one.durations[1:]) for one, at in zip(several, offsets, strict=False)),
            strict=True,
        )
    ]
    sets = [packed for one in several for packed in one.stored_sets.packed]
    sizes = [size for one in several for size in one.stored_sets.sizes]
    keys, counts = np.concatenate([one.keys for one in several]), np.concatenate([one.counts for one in several])
    return (
        packing.pack([keys, *(np.array(column, np.int64) for column in (sizes, [*map(len, sets)])), *counts.T]),
        packing.pack(durations),
        packing.pack([np.frombuffer(b"".join(sets), np.uint8)]),
    )


def _serialized(one: BitMap) -> bytes:
    if not one:
        return b""
    one.run_optimize()  # many numbers in a row take little
    return one.serialize()


def unpacked(counts: bytes, durations: bytes | None = None, installations: bytes | None = None) -> Stored:
    """What was packed, as far as it was read."""
    keys, sizes, set_bytes, *columns = packing.unpack(counts)
    return Stored(
        keys,
        columns,
        None if durations is None else _unpacked(durations),
        sizes,
        set_bytes.astype(np.int64),
        None if installations is None else _set_bytes(installations),
    )


def only_set(installations: bytes) -> BitMap:
    """Of what was packed of a single part, who it is of."""
    packed = _set_bytes(installations)
    return BitMap.deserialize(packed) if packed else BitMap()


def _set_bytes(installations: bytes) -> bytes:
    [packed] = packing.unpack(installations)
    return packed.tobytes()


def _unpacked(durations: bytes) -> Durations:
    parts, buckets, times = (column.astype(np.int64) for column in packing.unpack(durations))
    return parts, buckets, times
