"""Periods: what is wrong in the rollups of hours and days, in the numbers of values, in when installations were seen.

In: days with their hours, one after the other. Out: faults, each with the hours whose events it was held against.
Next: verify.py

Hours are held against their events, read in words; days and their combinations against their hours as those should be.
Of frozen hours the events are gone: their days are held against what the hours say. A value with a wrong number makes
everything wrong that has it: where the same runs are in events and rollups but for that number, it is the value that is
wrong, and one fault.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

import numpy as np
from pyroaring import BitMap
from vibetel_client import contract

from analytics import breakdowns, combinations, evidence, packing, rollups, runs
from analytics.breakdowns import COUNTS, Breakdown
from analytics.dimensions import ALL, BREAKDOWNS, NUMBERED, OPTION, TOTAL
from analytics.faults import Fault, Kind
from analytics.models import DailyCombinations, DailyRollup, HourlyRollup, Installation, Value
from analytics.packing import GARBLED, Numbers
from analytics.rollups import CombinationsRow, DayRow
from analytics.runs import COLUMNS, Runs

Wrong = tuple[Fault, set[datetime]]
"""A fault, and the hours whose events it was held against."""

_Numbered = tuple[str, int]  # a dimension, and a value's number
_Row = TypeVar("_Row", DayRow, CombinationsRow)

_BUCKETS_MAX = 10_000  # more than any duration has; of those beyond, no float holds the milliseconds
_STEPS = "installations"
# What the columns are that a row has packed. Of combinations and parts, the second is how many installations they have.
_OF_PARTS = (("key", "installations of a part", "bytes of their set", *COUNTS), ("part", "bucket", "runs"), (_STEPS,))
_PACKED_IN_DAY: Mapping[str, Sequence[str]] = {
    **dict(zip(("counts", "durations", "installations"), _OF_PARTS, strict=True)),
    **dict(zip(("part_counts", "part_durations", "part_installations"), _OF_PARTS, strict=True)),
    "usage": ("version", _STEPS, "runs", "failures", "log_durations"),
}
_COUNTED = tuple(name for name in COUNTS if name != "failures")
_PACKED_IN_COMBINATIONS: Mapping[str, Sequence[str]] = {
    "counts": ("buckets", "users", *combinations.VALUES, *_COUNTED),
    "durations": ("bucket", "runs"),
    "installations": (_STEPS,),
    "usage": ("runs", "log_durations"),
    "options": ("combination", "options", *_COUNTED),
}


class Periods:
    """Rollups held against events, a day at a time, and in the end with what all days together say.

    `touched` hours are about to be recomputed: these are no faults, nor are their days. Hours before `frozen_before`
    have no events any more.
    """

    def __init__(self, touched: AbstractSet[datetime], frozen_before: datetime | None) -> None:
        self._touched = touched
        self._touched_days = {_day(hour) for hour in touched}
        self._frozen_before = frozen_before
        self._numbers = _Numbers()
        self._odd: dict[date, Sequence[datetime]] = {}
        self._wrong: dict[date, list[Wrong]] = {}
        # (dimension, number by the events, number in the rollup) -> how many runs, and of which hours.
        self._votes: Counter[tuple[str, int, int]] = Counter()
        self._voting: defaultdict[tuple[str, int, int], set[datetime]] = defaultdict(set)
        self._confirmed: set[_Numbered] = set()  # in hours that are right
        self._in_frozen_hours: set[_Numbered] = set()
        self._seen: dict[date, BitMap] = {}  # who had a run on each day

    def compare(self, day: date, hours: Sequence[datetime]) -> None:
        """Hold a day's rollups against its `hours`, those that have events or rollups."""
        self._wrong[day] = self._wrong_in(day, hours)
        if self._wrong[day]:
            self._odd[day] = hours

    def wrong(self) -> list[Wrong]:
        """Wrong values, hours and days. Call when every day was compared."""
        values = self._wrong_values()
        if values:
            for day, hours in self._odd.items():
                self._wrong[day] = self._wrong_in(day, hours)
        for dimension, number in sorted(self._in_frozen_hours - self._numbers.in_use()):
            values.append((_value_fault(dimension, number, "stands for nothing, and rollups have it"), set()))
        return values + [one for day in sorted(self._wrong) for one in self._wrong[day]]

    def wrong_installations(self) -> list[Fault]:
        """Those that were first or last seen on another day than the events say, and than the rollups of days do.

        Where these two differ, the day is wrong, or about to be recomputed. Call when every day was compared.
        """
        by_events, by_days = _first_and_last(self._seen), _first_and_last(_seen_by_days())
        found = []
        for number, *noted in Installation.objects.values_list("pk", "first_seen", "last_seen").iterator():
            right = (by_events.get(number, (None, None)), by_days.get(number, (None, None)))
            if any(day not in days for day, *days in zip(noted, *right, strict=True)):
                name = f"installation {number}"
                detail = "seen from {} to {}, by its runs from {} to {}".format(*noted, *right[0])
                found.append(Fault(Kind.ALTERED_INSTALLATION, name, detail, name))
        return found

    # -- Hours --------------------------------------------------------------------------------------------------------

    def _wrong_in(self, day: date, hours: Sequence[datetime]) -> list[Wrong]:
        stored = _stored_hours(day)
        wrong: list[Wrong] = []
        right: list[Runs] = []  # as the hours should be
        whole = True
        for hour in sorted({*hours, *stored}):
            count, there = stored.get(hour, (0, runs.none()))
            frozen = self._frozen_before is not None and hour < self._frozen_before
            should = there if frozen else self._runs_of(hour)
            if should is None:
                whole = False
            else:
                right.append(should)
            if hour in self._touched:
                continue
            if detail := self._hour_difference(hour in stored, count, there, should):
                name = f"hour {hour.astimezone(UTC):%Y-%m-%d %H:%M}"
                wrong.append((Fault(Kind.WRONG_HOUR, name, detail, name), {hour}))
                if there is not None and should is not None:
                    self._note_votes(hour, there, should)
            elif there is not None:
                (self._in_frozen_hours if frozen else self._confirmed).update(_numbers_in(there))
        of_day = runs.together(right)
        self._seen[day] = BitMap(np.unique(of_day["installation"][of_day["installation"] > 0]).tolist())
        if whole and day not in self._touched_days and (detail := self._day_difference(day, of_day)):
            wrong.append((Fault(Kind.WRONG_DAY, f"day {day}", detail, f"day {day}"), set(hours)))
        return wrong

    def _runs_of(self, hour: datetime) -> Runs:
        """As the hour's events have it."""
        found = list(zip(*evidence.runs_of(hour), strict=True))
        columns = {"hour": np.full(len(found[0]) if found else 0, int(hour.timestamp()) // 3600, np.int64)}
        for name, values in zip(COLUMNS, found or [()] * len(COLUMNS), strict=True):
            numbers: Iterable[int] = values
            if name in NUMBERED:
                dimension, _ = NUMBERED[name]
                numbers = (0 if value is None else self._numbers.of(dimension, value) for value in values)
            elif name == "options":
                numbers = (
                    sum(1 << self._numbers.of(OPTION, option) - 1 for option in _options_used(value))
                    for value in values
                )
            columns[name] = np.fromiter(numbers, np.int64, len(values))
        return Runs(columns)

    def _hour_difference(self, has_row: bool, count: int, there: Runs | None, should: Runs | None) -> str:
        """The first difference; empty for none."""
        if there is None or should is None:
            return "cannot be read"
        if not has_row and len(should):
            return f"no row, by the events {len(should)} runs"
        if count != len(should):
            return f"runs {count}, by the events {len(should)}"
        if has_row and not count:
            return "a row without runs"
        stored, expected = _sorted(there), _sorted(should)
        if len(stored) != len(expected):
            return f"it holds {len(stored)} runs, by the events {len(expected)}"
        if np.array_equal(stored, expected):
            return ""
        for name, column, right in zip(COLUMNS, stored.T, expected.T, strict=True):
            if name.endswith("_tokens") and column.sum() != right.sum():
                return f"{name} {column.sum()}, by the events {right.sum()}"
            counted, due = Counter(column.tolist()), Counter(right.tolist())
            for number in sorted({*counted, *due}):
                if counted[number] != due[number]:
                    what = self._words(name, number)
                    return f"{what}: runs {counted[number]}, by the events {due[number]}"
        return "the same values, but of other runs"

    def _words(self, column: str, number: int) -> str:
        """What a run with this number in a column has."""
        if column in NUMBERED:
            return f"{column} {self._numbers.word(NUMBERED[column][0], number)}"
        if column == "options":
            used = [self._numbers.word(OPTION, option) for option in _bits(number)]
            return f"options {', '.join(used) or 'none'}"
        if column == "bucket" and number < _BUCKETS_MAX:
            return f"durations of about {runs.bucket_ms(number):.0f} ms"
        return f"{column} {number}"

    # -- Days ---------------------------------------------------------------------------------------------------------

    def _day_difference(self, day: date, of_day: Runs) -> str:
        """The first difference, and how many rows differ; empty for none."""
        found = map(DayRow._make, runs.binary_rows(DailyRollup.objects.filter(day=day).values_list(*DayRow._fields)))
        stored = {(row.dimension, row.value): row for row in found}
        them = combinations.of(of_day)
        expected = {(row.dimension, row.value): row for row in rollups.day_rows(day, them)}
        differences = []
        for key in sorted({*stored, *expected}, key=lambda key: (key[0] != TOTAL, key)):
            there, should = stored.get(key), expected.get(key)
            name = TOTAL if key[0] == TOTAL else f"{key[0]} {self._numbers.word(*key)}"
            if there is None or should is None:
                differences.append(f"{name}: {'a row without runs' if should is None else 'no row'}")
            elif there != should and (detail := self._row_difference(there, should)):
                differences.append(f"{name}: {detail}")
        if detail := self._combinations_difference(day, rollups.combinations_row(day, them)):
            differences.append(f"combinations: {detail}")
        more = f" (and {len(differences) - 1} more rows)" if len(differences) > 1 else ""
        return differences[0] + more if differences else ""

    def _row_difference(self, there: DayRow, should: DayRow) -> str:
        """In words of its parts, where these differ."""
        for name in DayRow._fields:
            noted, right = getattr(there, name), getattr(should, name)
            if isinstance(right, int) and noted != right:
                return f"{name} {noted}, by the hours {right}"
        try:
            whole = breakdowns.unpacked(there.counts, there.durations, there.installations)
            parts = breakdowns.unpacked(there.part_counts, there.part_durations, there.part_installations)
            opened = [whole.by(ALL), *(parts.by(name) for name in BREAKDOWNS)]
            readable = all(len(one.sets) in (0, len(one)) for one in opened)
        except GARBLED:
            readable = False
        if not readable:
            return "cannot be read"
        right_whole = breakdowns.unpacked(should.counts, should.durations, should.installations)
        right_parts = breakdowns.unpacked(should.part_counts, should.part_durations, should.part_installations)
        expected = [right_whole.by(ALL), *(right_parts.by(name) for name in BREAKDOWNS)]
        for name, one, right in zip((ALL, *BREAKDOWNS), opened, expected, strict=True):
            if detail := self._breakdown_difference(name, one, right):
                return detail
        return self._packed_difference(_PACKED_IN_DAY, there, should)

    def _breakdown_difference(self, name: str, there: Breakdown, should: Breakdown) -> str:
        lacking = np.setdiff1d(should.keys, there.keys).tolist()
        if lacking or len(there) != len(should):
            too_many = np.setdiff1d(there.keys, should.keys).tolist()
            return f"{self._part(name, (lacking or too_many or [0])[0])} is {'missing' if lacking else 'too many'}"
        if there.counts.shape != should.counts.shape:
            return "cannot be read"
        for place, at in np.argwhere(there.counts != should.counts).tolist():
            noted, right = there.counts[place, at], should.counts[place, at]
            return f"{self._part(name, should.keys[place])}: {COUNTS[at]} {noted}, by the hours {right}"
        for place, key in enumerate(should.keys.tolist()):
            if not all(map(np.array_equal, there.histogram(place), should.histogram(place))):
                return f"{self._part(name, key)}: other durations"
        for key, noted, right in zip(should.keys.tolist(), there.sets, should.sets, strict=False):
            if noted != right:
                return f"{self._part(name, key)}: other installations"
        return "" if len(there.sets) == len(should.sets) else "sets of installations are missing"

    def _part(self, name: str, key: int) -> str:
        if name == ALL:
            return "all of it"
        numbers = breakdowns.numbers_of(key)[-len(BREAKDOWNS[name].columns) :]
        words = (
            self._numbers.word(NUMBERED[column][0] if column in NUMBERED else name, number)
            for column, number in zip(BREAKDOWNS[name].columns, numbers, strict=True)
        )
        return f"its {name} {' '.join(words)}"

    def _combinations_difference(self, day: date, should: CombinationsRow | None) -> str:
        rows = DailyCombinations.objects.filter(day=day).values_list(*CombinationsRow._fields)
        there = next(map(CombinationsRow._make, runs.binary_rows(rows)), None)
        if there and should:
            return self._packed_difference(_PACKED_IN_COMBINATIONS, there, should)
        return "no row" if should else "a row without runs" if there else ""

    def _packed_difference(self, packed: Mapping[str, Sequence[str]], there: _Row, should: _Row) -> str:
        """The first difference. Bytes may differ and say the same, where another version compressed them."""
        for name, columns in packed.items():
            noted, right = getattr(there, name), getattr(should, name)
            if noted != right and (detail := self._columns_difference(columns, noted, right)):
                return f"{name}: {detail}"
        return ""

    def _columns_difference(self, names: Sequence[str], stored: bytes, expected: bytes) -> str:
        try:
            there, should = packing.unpack(stored), packing.unpack(expected)
        except GARBLED:
            return "cannot be read"
        if len(there) != len(should):
            return "cannot be read"
        if len(there[0]) != len(should[0]):
            return f"entries {len(there[0])}, by the hours {len(should[0])}"
        for name, column, due in zip(names, there, should, strict=True):
            for place in np.flatnonzero(column != due)[:1]:
                if name == _STEPS:
                    return "other installations"
                noted, right = (self._words(name, int(numbers[place])) for numbers in (column, due))
                return f"{noted}, by the hours {right.removeprefix(f'{name} ')}"
        return ""

    # -- Values -------------------------------------------------------------------------------------------------------

    def _note_votes(self, hour: datetime, there: Runs, should: Runs) -> None:
        """Which number the rollup has for each that the events give; by the runs that both surely have."""
        for stored, expected in _same_runs(_sorted(there), _sorted(should)):
            pairs = set()
            for at, dimension in _DIMENSION_AT.items():
                if stored[at] and expected[at]:
                    pairs.add((dimension, expected[at], stored[at]))
            noted, due = set(_bits(stored[_OPTIONS_AT])), set(_bits(expected[_OPTIONS_AT]))
            pairs |= {(OPTION, number, number) for number in noted & due}
            pairs |= {(OPTION, number, other) for number in due - noted for other in noted - due}
            self._votes.update(pairs)
            for pair in pairs:
                self._voting[pair].add(hour)

    def _wrong_values(self) -> list[Wrong]:
        """Those whose number the rollups have otherwise in each of their runs; from now on they have that number."""
        by_events: defaultdict[_Numbered, Counter[int]] = defaultdict(Counter)
        by_rollups: defaultdict[_Numbered, Counter[int]] = defaultdict(Counter)
        for (dimension, due, noted), times in self._votes.items():
            by_events[dimension, due][noted] = times
            by_rollups[dimension, noted][due] = times
        found: list[Wrong] = []
        renumbered: list[tuple[str, str, int]] = []
        for (dimension, due), votes in sorted(by_events.items()):
            noted = _most(votes)
            believed = {(dimension, due), (dimension, noted)} & self._confirmed
            if noted in (due, _NO_MAJORITY) or believed or _most(by_rollups[dimension, noted]) != due:
                continue
            word = self._numbers.word(dimension, due)
            said = self._numbers.said.get((dimension, noted))
            detail = f"stands for {f'“{said}”' if said is not None else 'nothing'}, by the events for “{word}”"
            found.append((_value_fault(dimension, noted, detail), self._voting[dimension, due, noted]))
            renumbered.append((dimension, word, noted))
        self._numbers.renumber(renumbered)
        return found


class _Numbers:
    """The number of each value: as Value has it, or where that has none, one of our own."""

    # More than Value has; they fit into a breakdown's key, or into an hour's options.
    _OWN, _OWN_OPTION = 1 << 25, 40

    def __init__(self) -> None:
        rows = Value.objects.values_list("dimension", "number", "value")
        self.said: dict[_Numbered, str] = {(dimension, number): value for dimension, number, value in rows}
        self._words: dict[_Numbered, str] = {}
        self._of: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for (dimension, number), value in self.said.items():
            if 0 < number < self._first_own(dimension):
                self._set(dimension, value, number)

    def _first_own(self, dimension: str) -> int:
        return self._OWN_OPTION if dimension == OPTION else self._OWN

    def _set(self, dimension: str, value: str, number: int) -> None:
        self._of[dimension][value] = number
        self._words[dimension, number] = value

    def of(self, dimension: str, value: str) -> int:
        """Never 0, which is none."""
        numbers = self._of[dimension]
        if value not in numbers:
            self._set(dimension, value, max(self._first_own(dimension) - 1, *numbers.values(), 0) + 1)
        return numbers[value]

    def word(self, dimension: str, number: int) -> str:
        """What a number stands for."""
        return self._words.get((dimension, number), f"number {number}") if number else "none"

    def in_use(self) -> set[_Numbered]:
        """Those that stand for something."""
        return set(self._words)

    def renumber(self, them: Iterable[tuple[str, str, int]]) -> None:
        """Give these values of a dimension other numbers."""
        for dimension, value, number in them:
            self._set(dimension, value, number)


_NO_MAJORITY = -1


def _value_fault(dimension: str, number: int, detail: str) -> Fault:
    name = f"value {number} of {dimension}"
    return Fault(Kind.WRONG_VALUE, name, detail, name)


def _most(votes: Counter[int]) -> int:
    """What more than half are for, or _NO_MAJORITY."""
    [(number, times)] = votes.most_common(1)
    return number if 2 * times > votes.total() else _NO_MAJORITY


# -- Runs -------------------------------------------------------------------------------------------------------------

_OPTIONS_AT = COLUMNS.index("options")
_DIMENSION_AT = {COLUMNS.index(name): dimension for name, (dimension, _) in NUMBERED.items()}
# By these a run is known again, whatever numbers its values have.
_PLAIN_AT = [at for at in range(len(COLUMNS)) if at not in _DIMENSION_AT and at != _OPTIONS_AT]


def _stored_hours(day: date) -> dict[datetime, tuple[int, Runs | None]]:
    """The rows of a day's hours: their number of runs, and these; None where they cannot be read."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    rows = HourlyRollup.objects.filter(hour__gte=start, hour__lt=start + timedelta(days=1))
    found: dict[datetime, tuple[int, Runs | None]] = {}
    for hour, count, packed in runs.binary_rows(rows.values_list("hour", "runs", "packed")):
        try:
            found[hour] = (count, runs.unpacked(hour, packed))
        except GARBLED:
            found[hour] = (count, None)
    return found


def _sorted(them: Runs) -> Numbers:
    """A row a run, a column for each of COLUMNS; the same runs give the same."""
    rows = np.stack([them[name].astype(np.int64) for name in COLUMNS], axis=1)
    return rows[np.lexsort(rows.T)]


def _same_runs(stored: Numbers, expected: Numbers) -> Iterator[tuple[list[int], list[int]]]:
    """Each run that both have, and that cannot be taken for another."""
    ours, theirs = _by_what_is_plain(stored), _by_what_is_plain(expected)
    for plain in ours.keys() & theirs.keys():
        (one, *others), (two, *more) = ours[plain], theirs[plain]
        if not others and not more:
            yield one, two


def _by_what_is_plain(rows: Numbers) -> dict[tuple[int, ...], list[list[int]]]:
    found: defaultdict[tuple[int, ...], list[list[int]]] = defaultdict(list)
    for row in rows.tolist():
        found[tuple(row[at] for at in _PLAIN_AT)].append(row)
    return found


def _numbers_in(them: Runs) -> set[_Numbered]:
    found = {
        (dimension, number)
        for name, (dimension, _) in NUMBERED.items()
        for number in np.unique(them[name]).tolist()
        if number
    }
    used = int(np.bitwise_or.reduce(them["options"], initial=0)) if len(them) else 0
    return found | {(OPTION, number) for number in _bits(used)}


def _bits(mask: int) -> list[int]:
    """The numbers of the options in it."""
    return [bit + 1 for bit in range(mask.bit_length()) if mask >> bit & 1]


@lru_cache(maxsize=16_384)  # the same come again and again
def _options_used(text: str | None) -> list[str]:
    """Flags that are on, and whatever else was given."""
    given = json.loads(text) if text else {}
    return [
        option.name
        for option in contract.OPTIONS
        if (given.get(option.name) is True if option.kind is contract.Kind.FLAG else option.name in given)
    ]


def _day(hour: datetime) -> date:
    return hour.astimezone(UTC).date()


def _seen_by_days() -> dict[date, BitMap]:
    """Who had a run on each day, by its rollup, as far as that can be read."""
    totals = DailyRollup.objects.filter(dimension=TOTAL).values_list("day", "counts", "durations", "installations")
    found = {}
    for day, *packed in runs.binary_rows(totals):
        with suppress(*GARBLED):
            found[day] = breakdowns.unpacked(*packed).by(ALL).sets[0]
    return found


def _first_and_last(seen: Mapping[date, BitMap]) -> dict[int, tuple[date, date]]:
    """Of each installation."""
    days = sorted(seen)
    first, last = (_first_with([(day, seen[day]) for day in order]) for order in (days, days[::-1]))
    return {number: (day, last[number]) for number, day in first.items()}


def _first_with(seen: Iterable[tuple[date, BitMap]]) -> dict[int, date]:
    """For each installation, the first of these days that has it."""
    found: dict[int, date] = {}
    known = BitMap()
    for day, installations in seen:
        found |= dict.fromkeys(installations - known, day)
        known |= installations
    return found
