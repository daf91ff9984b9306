"""Usage: how often each installation ran each version, how often it failed, and how long it took.

In: columns, or as stored. Out: the same, added up. Pure. Next: queries/users.py, queries/versions.py
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from analytics import packing, runs
from analytics.packing import Numbers


@dataclass(frozen=True)
class Usage:
    """Columns of one length: an installation and a version that it ran (0 where it did not say).

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
        pairs = self.versions.astype(np.int64) << 32 | self.installations
        order = np.argsort(pairs)
        pairs = pairs[order]
        bounds = packing.starts(pairs)
        sums = (self.runs, self.failures, self.log_durations)
        counts = (np.add.reduceat(column[order], bounds, dtype=np.int64) if len(bounds) else order for column in sums)
        return Usage(pairs[bounds] >> 32, pairs[bounds] & 0xFFFFFFFF, *counts)

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
    """All of them added up."""
    them = [one.columns() for one in several]
    if not them:
        return nobody()
    return Usage(*map(np.concatenate, zip(*them, strict=True))).added_up()


def nobody() -> Usage:
    """Of no installations."""
    return Usage(*[np.zeros(0, np.int64)] * 5)
