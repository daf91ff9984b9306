"""Usage: how often each installation ran each version, how often it failed, and how long it took.

In: columns, or as stored. Out: the same, added up. Pure. Next: queries/users.py, queries/versions.py
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analytics import packing, runs
from analytics.packing import Numbers

_KEPT_MAX_COUNT = 500_000


@dataclass(frozen=True)
class Usage:
    """Columns of one length: an installation and a version that it ran (0 where it did not say), several times perhaps.

    `log_durations` adds up the buckets of the runs that succeeded: their mean logarithm.
    """

    versions: Numbers
    installations: Numbers
    runs: Numbers
    failures: Numbers
    log_durations: Numbers

    def __len__(self) -> int:
        return len(self.runs)

    def added_up(self) -> "Usage":
        """Each pair once, in order."""
        width = int(self.installations.max(initial=0)) + 1
        pairs, place = packing.numbered(self.versions.astype(np.int64) * width + self.installations)
        sums = (self.runs, self.failures, self.log_durations)
        return Usage(pairs // width, pairs % width, *(packing.sums(place, column, len(pairs)) for column in sums))

    def by_version(self) -> "Iterator[tuple[int, Usage]]":
        """Each version's, in order."""
        for version, places in runs.groups(self.versions):
            yield version, Usage(*(column[places] for column in self.columns()))

    def columns(self) -> tuple[Numbers, ...]:
        return self.versions, self.installations, self.runs, self.failures, self.log_durations

    def packed(self) -> bytes:
        """Of what is added up. The same gives the same bytes."""
        steps = packing.steps(self.versions, self.installations)
        return packing.pack([self.versions, steps, self.runs, self.failures, self.log_durations])


def unpacked(packed: bytes) -> Usage:
    """What was packed."""
    versions, steps, *counts = packing.unpack(packed)
    return Usage(versions, packing.from_steps(np.bincount(versions), steps), *counts)


def together(several: Iterable[Usage]) -> Usage:
    """All of them, one after the other; where they are many, added up as they come, which takes less memory."""
    kept: list[Usage] = []
    count = 0
    for one in several:
        kept.append(one)
        count += len(one)
        if count > _KEPT_MAX_COUNT:
            kept, count = [Usage(*map(packing.narrow, _joined(kept).added_up().columns()))], 0
    return _joined(kept) if kept else nobody()


def _joined(several: Sequence[Usage]) -> Usage:
    return Usage(*map(np.concatenate, zip(*(one.columns() for one in several), strict=True)))


def nobody() -> Usage:
    """Of no installations."""
    return Usage(*[np.zeros(0, np.int64)] * 5)
