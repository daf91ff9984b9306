"""Periods: what is wrong in the rollups of a day and its hours.

In: a day. Out: faults, each with the hours whose events it was held against. Next: verify.py
"""

from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta

from pyroaring import BitMap

from analytics import rollups
from analytics.faults import Fault, Kind
from analytics.models import DailyRollup, HourlyRollup, Rollup
from analytics.rollups import Tally

_Period = dict[tuple[str, str], Rollup]
_FIGURES = (
    "runs", "failures", "placeholder_runs", "context_tokens", "prompt_tokens", "completion_tokens",
    "duration_buckets", "duration_counts",
)  # fmt: skip


def wrong_in_day(
    day: date, hours: Sequence[datetime], touched: AbstractSet[datetime]
) -> list[tuple[Fault, set[datetime]]]:
    """Wrong hours of a day, and the day where it is wrong, each with the hours whose events it was held against.

    `hours` are the day's that have events or rollups, `touched` those that are about to be recomputed: they are no
    faults, nor is their day.
    """
    start = datetime.combine(day, time(), UTC)
    expected: defaultdict[datetime, _Period] = defaultdict(dict)
    stored: defaultdict[datetime, _Period] = defaultdict(dict)
    tallies: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
    for row in rollups.hour_rows(*hours) if hours else ():
        expected[row.hour][row.dimension, row.value] = row
        tallies[row.dimension, row.value].add(row)
    for row in HourlyRollup.objects.filter(hour__gte=start, hour__lt=start + timedelta(days=1)):
        stored[row.hour][row.dimension, row.value] = row
    wrong: list[tuple[Fault, set[datetime]]] = []
    for hour in sorted({*expected, *stored} - touched):
        if detail := _difference(stored[hour], expected[hour]):
            name = f"hour {hour.astimezone(UTC):%Y-%m-%d %H:%M}"
            wrong.append((Fault(Kind.WRONG_HOUR, name, detail, name), {hour}))
    if touched.isdisjoint(hours):
        in_day: _Period = {
            (dimension, value): DailyRollup(day=day, dimension=dimension, value=value, **tally.columns())
            for (dimension, value), tally in tallies.items()
        }
        stored_day: _Period = {(row.dimension, row.value): row for row in DailyRollup.objects.filter(day=day)}
        if detail := _difference(stored_day, in_day):
            wrong.append((Fault(Kind.WRONG_DAY, f"day {day}", detail, f"day {day}"), set(hours)))
    return wrong


def _difference(stored: _Period, expected: _Period) -> str:
    """The first difference, and how many rows differ; empty for none."""
    differences = []
    for key in sorted({*stored, *expected}):
        there, should = stored.get(key), expected.get(key)
        name = " ".join(filter(None, key))
        if there is None or should is None:
            differences.append(f"{name}: {'a row without events' if should is None else 'no row'}")
        elif wrong := [figure for figure in _FIGURES if getattr(there, figure) != getattr(should, figure)]:
            figure = wrong[0]
            differences.append(f"{name}: {figure} {getattr(there, figure)}, by the events {getattr(should, figure)}")
        elif not _same_installations(there, should):
            differences.append(f"{name}: other installations")
    more = f" (and {len(differences) - 1} more rows)" if len(differences) > 1 else ""
    return differences[0] + more if differences else ""


def _same_installations(there: Rollup, should: Rollup) -> bool:
    """As sets: the same set may be serialized in several ways."""
    if bytes(there.installations) == bytes(should.installations):
        return True
    try:
        return BitMap.deserialize(bytes(there.installations)) == BitMap.deserialize(bytes(should.installations))
    except (ValueError, IndexError):
        return False
