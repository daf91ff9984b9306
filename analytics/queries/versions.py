"""Versions: who runs which, how fast they spread, and whether one is worse than the one before it.

In: a filter and the time. Out: Adoption, Comparison. Next: dashboards/, the stats API

A filter by version chooses which versions are listed; shares are of those who ran any version, and a version is
compared with the one before it whether that is chosen or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from packaging.version import InvalidVersion, Version
from pyroaring import BitMap

from analytics import breakdowns, runs
from analytics.breakdowns import Breakdown
from analytics.models import DailyRollup
from analytics.queries import chance
from analytics.queries.chance import FALSE_ALARMS_MAX, Difference, Sums
from analytics.queries.filters import Filter
from analytics.queries.totals import by_step, steps
from analytics.runs import GAMMA
from analytics.usage import Usage

VERSION = "version"
_TRAILING_DAYS = 7
_YOUNG_DAYS = 60
_TESTS_A_PAIR = 2  # errors and duration


# -- Adoption ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AdoptionStep:
    """From `start` (UTC) on. `installations` ran any version; `partial` as in a Point."""

    start: datetime
    partial: bool
    installations: int


@dataclass(frozen=True)
class VersionAdoption:
    """A version, with a figure for each step.

    `shares` (0 to 1) are of the installations that ran any version. One that ran two in a step counts for both, so
    they add up to 1 and more: `stacked` are shares of that sum, which add up to 1. 0 in a step without installations.

    `first_day` is the UTC day of its first run ever, `days_to_half` as in `adoption`; both whatever the filter.
    """

    version: str
    first_day: date
    days_to_half: int | None
    installations: Sequence[int]
    shares: Sequence[float]
    stacked: Sequence[float]


@dataclass(frozen=True)
class AdoptionRow:
    """A version in a step, as AdoptionStep and VersionAdoption have it; `active` installations ran any version."""

    version: str
    first_day: date
    days_to_half: int | None
    start: datetime
    partial: bool
    installations: int
    share: float
    stacked: float
    active: int


@dataclass(frozen=True)
class Adoption:
    """The steps of the period, without gaps, and the versions that ran in it, the newest one first."""

    interval: str
    steps: Sequence[AdoptionStep]
    versions: Sequence[VersionAdoption]

    def rows(self) -> list[AdoptionRow]:
        """Each version's steps."""
        return [
            AdoptionRow(
                version=one.version,
                first_day=one.first_day,
                days_to_half=one.days_to_half,
                start=step.start,
                partial=step.partial,
                installations=one.installations[place],
                share=one.shares[place],
                stacked=one.stacked[place],
                active=step.installations,
            )
            for one in self.versions
            for place, step in enumerate(self.steps)
        ]


def adoption(chosen: Filter, now: datetime) -> Adoption:
    """Which share of the installations ran which version, step by step.

    `days_to_half`: from `first_day` to the first UTC day at whose end at least half of the installations active in the
    7 days that end with it (distinct, with any run) had run the version in those 7 days. A single day is restless:
    weekends, and few who run it daily. 0 is the first day itself. None where that has not come, counting days that
    are over; for versions of the very first day of all, of which nobody knows how long they had been there; and for
    those first seen more than 60 days before the period, since days back to then would have to be read.
    """
    period = chosen.period
    found = by_step(replace(chosen, selection=chosen.selection.of_any(VERSION)), VERSION, period)
    ran = {breakdowns.numbers_of(key)[1] for one in found.values() for key in one.keys.tolist()}
    first_days = _first_days(chosen)
    names = chosen.selection.known.names(
        VERSION, ran & first_days.keys()
    )  # days are counted a moment after their hours
    shown = [number for number in _in_order(names, first_days) if chosen.selection.lists(VERSION, names[number])]
    young = {number for number in shown if first_days[number] >= period.first - timedelta(days=_YOUNG_DAYS)}
    days_to_half = _days_to_half(young, first_days, now.astimezone(UTC).date() - timedelta(days=1))
    stepped, counts = [], []
    for start, until in steps(chosen.interval, period):
        sets = _sets(found.get(start))
        partial = start < period.start or until > min(period.until, now)
        stepped.append(AdoptionStep(start, partial, len(BitMap.union(BitMap(), *sets.values()))))
        counts.append({number: len(installations) for number, installations in sets.items()})
    everybody = [step.installations for step in stepped]
    added_up = [sum(of_step.values()) for of_step in counts]
    versions = []
    for number in shown:
        own = [of_step.get(number, 0) for of_step in counts]
        versions.append(
            VersionAdoption(
                version=names[number],
                first_day=first_days[number],
                days_to_half=days_to_half.get(number),
                installations=own,
                shares=_shares(own, everybody),
                stacked=_shares(own, added_up),
            )
        )
    return Adoption(chosen.interval, stepped, versions)


def _sets(one: Breakdown | None) -> dict[int, BitMap]:
    """Who ran each version."""
    if one is None:
        return {}
    return {
        breakdowns.numbers_of(key)[1]: installations
        for key, installations in zip(one.keys.tolist(), one.sets, strict=True)
    }


def _shares(some: Sequence[int], of: Sequence[int]) -> list[float]:
    return [part / whole if whole else 0.0 for part, whole in zip(some, of, strict=True)]


def _days_to_half(wanted: set[int], first_days: Mapping[int, date], last: date) -> dict[int, int]:
    """Of the versions that got there by the end of the day `last`."""
    very_first = min(first_days.values(), default=last)
    waiting = {number for number in wanted if first_days[number] > very_first}
    if not waiting:
        return {}
    day = min(first_days[number] for number in waiting)
    before = day - timedelta(days=_TRAILING_DAYS - 1)
    rows = DailyRollup.objects.filter(dimension=VERSION, day__gte=before, day__lte=last)
    of_day: dict[date, dict[int, BitMap]] = {}
    for row_day, number, installations in runs.binary_rows(rows.values_list("day", "value", "installations")):
        of_day.setdefault(row_day, {})[number] = breakdowns.only_set(installations)
    found = {}
    while waiting and day <= last:
        trailing = [of_day.get(day - timedelta(days=ago), {}) for ago in range(_TRAILING_DAYS)]
        active = len(BitMap.union(BitMap(), *(ids for sets in trailing for ids in sets.values())))
        for number in [number for number in waiting if first_days[number] <= day]:
            ran_it = BitMap.union(BitMap(), *(sets[number] for sets in trailing if number in sets))
            if ran_it and 2 * len(ran_it) >= active:
                found[number] = (day - first_days[number]).days
                waiting.remove(number)
        day += timedelta(days=1)
    return found


# -- Against the version before ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """A version's runs of the days compared, but for those by placeholders, who are no installations.

    `duration_ms` is the geometric mean of its successful runs, ±2 %.
    """

    version: str
    installations: int
    runs: int
    failures: int
    duration_ms: float | None

    @property
    def error_rate(self) -> float:
        """Share (0 to 1) of its runs that failed."""
        return self.failures / self.runs


@dataclass(frozen=True)
class Comparison:
    """A version against the one before it; everything but `now` is None where nothing can be said.

    `error_rate_difference` (now less before) and `duration_ratio` (now over before, of geometric means) are what is
    tested: between installations that weigh less the more their runs repeat each other (chance.WITHIN), where `now`
    and `before` have every run alike. `errors_p` and `duration_p` are their always valid p-values (`comparisons`), of
    "more failures" and of "takes longer".
    """

    now: Side
    before: Side | None = None
    error_rate_difference: float | None = None
    errors_p: float | None = None
    duration_ratio: float | None = None
    duration_p: float | None = None

    @property
    def worse_errors(self) -> bool:
        """More of its runs fail, beyond chance."""
        return self.errors_p is not None and self.errors_p <= FALSE_ALARMS_MAX

    @property
    def worse_duration(self) -> bool:
        """Its successful runs take longer, beyond chance."""
        return self.duration_p is not None and self.duration_p <= FALSE_ALARMS_MAX


def comparisons(chosen: Filter, now: datetime) -> list[Comparison]:
    """Each version that installations ran in the period against the version before it, the newest one first.

    Days that are over count: a look a day, the same all day long. The version before is the next older one that
    chance.INSTALLATIONS_MIN installations ran in the period; a version that fewer ran is compared with none. Older is
    told by PEP 440; names that are no such versions come after all that are, by the day they were first seen.

    Promised: if a pair does not differ, and one looks at it every day from its first day on, the chance of ever
    seeing it flagged is at most FALSE_ALARMS_MAX, divided by the smallest number of pairs that stood on the page. That
    is as good as the normal approximation (chance.py), and for one filter and length of period: each further one is a
    chance more, and so is each further release: of twenty that are as good as the one before, one may be flagged.
    Where a flag stands, these runs are worse; whether the version is why (and not who moved to it first, for which
    commands, on which days), it cannot say.
    """
    first, until = chosen.period.first, min(chosen.period.last + timedelta(days=1), now.astimezone(UTC).date())
    last = until - timedelta(days=1)
    found = dict(chosen.selection.of_any(VERSION).usage(first, last).added_up().by_version())
    found.pop(0, None)  # those that did not say which
    names, first_days = chosen.selection.known.names(VERSION, set(found)), _first_days(chosen)
    order = _in_order(names, first_days)
    enough = [number for number in order if len(found[number]) >= chance.INSTALLATIONS_MIN]
    before = dict(pairwise(enough))
    compared = []
    for number in order:
        if not chosen.selection.lists(VERSION, names[number]):
            continue
        side = _side(names[number], found[number])
        if number not in before:
            compared.append(Comparison(side))
            continue
        other = found[before[number]]
        look, tests = (until - first_days[number]).days, _TESTS_A_PAIR * len(before)
        errors = chance.difference(_failures(found[number]), _failures(other))
        duration = chance.difference(_log_durations(found[number]), _log_durations(other))
        compared.append(
            Comparison(
                now=side,
                before=_side(names[before[number]], other),
                error_rate_difference=errors.by if errors else None,
                errors_p=_anytime(errors, look, tests),
                duration_ratio=GAMMA**duration.by if duration else None,
                duration_p=_anytime(duration, look, tests),
            )
        )
    return compared


def _anytime(found: Difference | None, look: int, tests: int) -> float | None:
    return chance.anytime(found.p, look=look, tests=tests) if found else None


def _side(version: str, one: Usage) -> Side:
    durations = _log_durations(one)
    succeeded = int(durations.counts.sum())
    return Side(
        version=version,
        installations=len(one),
        runs=int(one.runs.sum()),
        failures=int(one.failures.sum()),
        duration_ms=runs.bucket_ms(0) * GAMMA ** (int(durations.totals.sum()) / succeeded) if succeeded else None,
    )


def _failures(one: Usage) -> Sums:
    return chance.sums(one.installations, one.runs, one.failures)


def _log_durations(one: Usage) -> Sums:
    """Of successful runs, to the base GAMMA."""
    return chance.sums(one.installations, one.runs - one.failures, one.log_durations)


# -- Which versions ---------------------------------------------------------------------------------------------------


def _first_days(chosen: Filter) -> dict[int, date]:
    """The UTC day of each version's first run ever, whatever the filter."""
    return {number: first for number, (first, _) in chosen.selection.known.days(VERSION).of.items()}


def _in_order(names: Mapping[int, str], first_days: Mapping[int, date]) -> list[int]:
    """The newest one first."""

    def age(number: int) -> tuple[bool, Version, date, str]:
        version = _version(names[number])
        return version is None, version or Version("0"), first_days[number], names[number]

    return sorted(names, key=age, reverse=True)


def _version(name: str) -> Version | None:
    try:
        return Version(name)
    except InvalidVersion:
        return None
