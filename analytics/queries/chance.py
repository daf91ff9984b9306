"""Chance: whether some runs are worse than others beyond chance.

In: for each installation, how many runs it had and what they come to, of one kind and of another. Out: how far the
means are apart, and a p-value. Pure. Next: versions.py

Three things make the usual test of two means cry wolf here, and each has its remedy:

- Runs of one installation are not independent: one broken set-up fails a hundred times. The installation is the
  cluster. Means are ratio estimators, sum over sum, and their difference is linearised into one term an installation
  (Cochran, Sampling Techniques, 1977, chapters 6 and 9; Deng et al., Applying the Delta Method in Metric Analytics,
  KDD 2018). Who ran both kinds has one term with both in it.
- A few installations have most of the runs, and failures are rare. An installation's runs weigh as many as they are
  worth where they resemble each other (WITHIN), so that a CI job does not outvote everybody. The spread is that
  around the mean of both kinds together, as if there were no difference: an installation that stands out widens it as
  much as it moves the mean (a self-normalised sum), and a kind without failures is not taken for one that cannot fail.
- Maintainers look every day, at several things. See `anytime`.
"""

import math
from dataclasses import dataclass

import numpy as np

from analytics.packing import Numbers, starts

INSTALLATIONS_MIN = 50
"""Fewer than this of one kind say nothing: the normal curve would promise too much."""

FALSE_ALARMS_MAX = 0.05
"""What is flagged: an always valid p-value of at most this."""


WITHIN = 0.1
"""How much runs of one installation resemble each other (intraclass correlation): n of them are worth
n / (1 + (n - 1) * WITHIN) independent ones, which is 10 at most (Kish, Survey Sampling, 1965, the design effect). Only
how sharp the test is hangs on it, not what is promised."""


@dataclass(frozen=True)
class Sums:
    """Of each installation that had any such runs: who it is (once each, in order), how many, what they come to."""

    installations: Numbers
    counts: Numbers
    totals: Numbers

    def __len__(self) -> int:
        return len(self.installations)

    def weighed(self) -> "Sums":
        """Each installation's runs as many as they are worth."""
        worth = 1 / (1 + (self.counts - 1) * WITHIN)
        return Sums(self.installations, self.counts * worth, self.totals * worth)


@dataclass(frozen=True)
class Difference:
    """How much higher the mean of the first kind is, and how likely that much or more is where nothing differs.

    Runs weigh as the module says. `p` is one-sided, for a single look at a single thing.
    """

    by: float
    p: float


def sums(installations: Numbers, counts: Numbers, totals: Numbers) -> Sums:
    """Columns of one length; installations without such runs are left out."""
    had = counts > 0
    return Sums(installations[had], counts[had], totals[had])


def difference(these: Sums, those: Sums) -> Difference | None:
    """Of two kinds of runs; None under INSTALLATIONS_MIN installations of either."""
    if min(len(these), len(those)) < INSTALLATIONS_MIN:
        return None
    these, those = these.weighed(), those.weighed()
    count = float(these.counts.sum() + those.counts.sum())
    mean = float(these.totals.sum() + those.totals.sum()) / count
    off = [kind.totals - mean * kind.counts for kind in (these, those)]
    variance = sum(float((each**2).sum()) for each in off) / count
    both = np.sort(np.concatenate([these.installations, those.installations]))
    everybody = both[starts(both)]
    terms, by = np.zeros(len(everybody)), 0.0
    for kind, each, sign in zip((these, those), off, (1, -1), strict=True):
        share = sign * each / kind.counts.sum()
        by += float(share.sum())
        usual, own = variance * float(kind.counts.sum()), float((each**2).sum())
        terms[np.searchsorted(everybody, kind.installations)] += share * math.sqrt(max(1, usual / own) if own else 1)
    spread = math.sqrt(float((terms**2).sum()))
    # The upper tail of the normal curve.
    return Difference(by, 0.5 * math.erfc(by / spread / math.sqrt(2)) if spread else 1.0)


def anytime(p: float, *, look: int, tests: int) -> float:
    """An always valid p-value (Johari et al., Always Valid Inference, Operations Research 2022), 0 to 1.

    `look` counts days from 1 on, one look a day; `tests` says at how many things one looks. Look number d may spend
    1 / (d * (d + 1)) of the chance of a false alarm, which adds up to 1 over all days to come; tests share it equally
    (alpha spending, Lan and DeMets, Biometrika 1983; Bonferroni). Adding up chances holds whatever depends on what:
    on days that share most of their runs, or of which the oldest drop out, where a sequential likelihood ratio would
    need runs that only ever become more.

    Promised, as far as `p` is right at each single look: where none of `tests` things differs, the chance that any of
    them ever shows a value of `a` or less, on any day, is at most `a`.
    """
    return min(1.0, p * look * (look + 1) * tests)
