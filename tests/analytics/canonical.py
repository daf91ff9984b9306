"""What the warehouse says, in a form to compare: every query's answer, and every row but for its serial numbers.

In: the database that Django is connected to. Out: canonical JSON; rollups in words. Fails: AssertionError, where a
query takes what this module cannot make up: teach it then, so that no query goes uncompared.
"""

import dataclasses
import hashlib
import inspect
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple, get_type_hints

from django.db import connection

from analytics import breakdowns, combinations, ledger, queries, runs, usage
from analytics.breakdowns import Breakdown
from analytics.dimensions import ALL, BREAKDOWNS, DIMENSIONS, NUMBERED, OPTION
from analytics.models import DailyCombinations, DailyRollup, HourlyRollup, Installation, Value
from analytics.packing import Numbers
from analytics.queries import Filter
from analytics.rollups import CombinationsRow, DayRow
from analytics.runs import COLUMNS

# When, not what: how fresh the figures are, which an object that the ledger forgot cannot keep, and how long the oldest
# event has waited in the buffer.
NOT_COMPARED = {"loaded_at", "oldest_waiting_seconds"}
# They answer nothing.
_OF_QUERY_STRINGS = {"parsed", "words", "snapshot"}

_FILTERS: Sequence[Mapping[str, Sequence[str]]] = (
    {},
    {"period": ["today"]},
    {"period": ["7d"], "command": ["repo", "ask"]},
    {"period": ["12mo"], "version__not": ["0.64.0"]},
    {"command": ["repo"], "model": ["gemini-2.5-pro"], "error_type__not": ["FileError"], "compare": ["yoy"]},
)


def answers(now: datetime) -> str:
    """What every public function of queries answers, asked with several filters; and the books."""
    filters = [_Asked(words, queries.parsed(words, now)[0]) for words in _FILTERS]
    with queries.snapshot():
        said = {
            f"{name}({', '.join(words)})": query(*arguments)
            for name, query in _queries().items()
            for words, arguments in _arguments(query, filters, now)
        }
    assert said
    said["books"] = {term: count for term, count in ledger.books().as_json().items() if term not in NOT_COMPARED}
    said["quarantined"] = ledger.quarantined_by_reason()
    return json.dumps(_plain(said), sort_keys=True, indent=1)


class _Asked(NamedTuple):
    words: Mapping[str, Sequence[str]]
    chosen: Filter


def _queries() -> dict[str, Callable[..., Any]]:
    public = {name: getattr(queries, name) for name in queries.__all__}
    return {
        name: function
        for name, function in public.items()
        if inspect.isfunction(function) and name not in _OF_QUERY_STRINGS
    }


def _arguments(
    query: Callable[..., Any], filters: Sequence[_Asked], now: datetime
) -> Iterator[tuple[list[str], list[Any]]]:
    """What to ask a query with, and in words: for each parameter that it must be given, values to try."""
    hints = get_type_hints(query)
    known: Mapping[tuple[str, Any], Sequence[Any]] = {
        ("chosen", Filter): filters,
        ("now", datetime): [now],
        ("by", str): _breakdowns(query),
    }
    needed = [
        (name, hints[name])
        for name, parameter in inspect.signature(query).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    for parameter in needed:
        assert parameter in known, f"queries.{query.__name__} takes {parameter}: canonical.py has none to give"
    for tried in itertools.product(*(known[parameter] for parameter in needed)):
        asked = [(str(one.words), one.chosen) if isinstance(one, _Asked) else (str(one), one) for one in tried]
        yield [words for words, _ in asked], [argument for _, argument in asked]


def _breakdowns(query: Callable[..., Any]) -> list[str]:
    pairs_only = query is queries.matrix
    return [name for name, breakdown in BREAKDOWNS.items() if len(breakdown.columns) == 2 or not pairs_only]


def _plain(value: Any) -> Any:
    """For JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.name not in NOT_COMPARED]
        return {name: _plain(getattr(value, name)) for name in fields}
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(_plain(key)): _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    assert value is None or isinstance(value, str | int | float), value
    return value


# -- Rollups in words -------------------------------------------------------------------------------------------------


def rollup_rows() -> Iterator[tuple[Any, ...]]:
    """Hours with their runs, days with their parts and combinations: values and `userId`s for numbers, which depend on
    the order of loading; everything in an order of its own."""
    words = _Words()
    hours = HourlyRollup.objects.order_by("hour").values_list("hour", "runs", "packed")
    for hour, count, packed in runs.binary_rows(hours):
        yield hour.isoformat(), count, words.of_runs(hour, packed)
    days = DailyRollup.objects.order_by("day").values_list(*DayRow._fields)
    for day, rows in itertools.groupby(map(DayRow._make, runs.binary_rows(days)), lambda row: row.day):
        yield from sorted((day.isoformat(), *words.of_row(row)) for row in rows)
    alike = DailyCombinations.objects.order_by("day").values_list(*CombinationsRow._fields)
    for day, *packed in runs.binary_rows(alike):
        yield day.isoformat(), "combinations", words.of_combinations(*packed)


class _Words:
    """What numbers stand for."""

    def __init__(self) -> None:
        rows = Value.objects.values_list("dimension", "number", "value")
        self._values = {(dimension, number): value for dimension, number, value in rows}
        self._people = {number: str(user) for number, user in Installation.objects.values_list("pk", "user_id")}

    def of(self, column: str, number: int) -> Any:
        """Of a number in a column of runs, or of a breakdown's key."""
        if column == "options":
            return " ".join(sorted(self._values[OPTION, bit + 1] for bit in range(64) if number >> bit & 1))
        if column in NUMBERED:
            return self._values[NUMBERED[column][0], number] if number else ""
        if column == "installation":
            return self._people[number] if number else ""
        return number

    def of_columns(self, columns: Mapping[str, Numbers]) -> list[tuple[Any, ...]]:
        """Columns of one length, row by row."""
        words = ([self.of(name, number) for number in column.tolist()] for name, column in columns.items())
        return list(zip(*words, strict=True))

    def of_runs(self, hour: datetime, packed: bytes) -> list[tuple[Any, ...]]:
        """Each run of an hour."""
        them = runs.unpacked(hour, packed)
        return sorted(self.of_columns({name: them[name] for name in COLUMNS}))

    def of_row(self, row: DayRow) -> tuple[Any, ...]:
        """A day's, but for the day."""
        whole = breakdowns.unpacked(row.counts, row.durations, row.installations)
        parts = breakdowns.unpacked(row.part_counts, row.part_durations, row.part_installations)
        value = self.of(row.dimension, row.value) if row.dimension in DIMENSIONS else ""
        plain = [column for column in row[3:] if isinstance(column, int)]
        return (
            row.dimension,
            value,
            plain,
            self.of_usage(row.usage),
            self.of_breakdown(ALL, whole.by(ALL)),
            *(self.of_breakdown(name, parts.by(name)) for name in BREAKDOWNS),
        )

    def of_usage(self, packed: bytes) -> list[tuple[Any, ...]]:
        """Who ran which version how often, and how long it took."""
        columns = usage.unpacked(packed).columns()
        names = ("version", "installation", "runs", "failures", "log_durations")
        return sorted(self.of_columns(dict(zip(names, columns, strict=True))))

    def of_combinations(self, *packed: bytes) -> list[tuple[Any, ...]]:
        """Each combination: values, counts, durations, and whose with how many runs and how long these took."""
        them = combinations.unpacked(*packed)
        timed, users = them.durations, them.users
        assert users.runs is not None
        assert users.log_durations is not None
        whose = {"installation": users.installations, "runs": users.runs, "log_durations": users.log_durations}
        return sorted(
            (
                values,
                [column[place] for column in them.counts.values()],
                self.of_columns(
                    {
                        name: column[timed.places == place]
                        for name, column in (("bucket", timed.buckets), ("runs", timed.runs))
                    }
                ),
                sorted(self.of_columns({name: column[users.places == place] for name, column in whose.items()})),
            )
            for place, values in enumerate(self.of_columns(them.values))
        )

    def of_breakdown(self, name: str, one: Breakdown) -> list[Any]:
        """Each part: what of, counts, durations, whose."""
        sets: Sequence[Iterable[int]] = one.sets or [()] * len(one)
        return sorted(
            (
                self._of_key(name, key),
                one.counts[place].tolist(),
                [column.tolist() for column in one.histogram(place)],
                sorted(self._people[number] for number in sets[place]),
            )
            for place, key in enumerate(one.keys.tolist())
        )

    def _of_key(self, name: str, key: int) -> list[Any]:
        if name == ALL:
            return []
        columns = BREAKDOWNS[name].columns
        numbers = breakdowns.numbers_of(key)[-len(columns) :]
        if name == OPTION:
            return [self._values[OPTION, number] for number in numbers]
        return [self.of(column, number) for column, number in zip(columns, numbers, strict=True)]


# -- Rows -------------------------------------------------------------------------------------------------------------

# Each table's rows, in an order of their own, without serial numbers and without when they were loaded.
_ROWS = {
    "events": """
        SELECT (to_jsonb(e) - 'installation_id' - 'source_object_id')::text || coalesce(i.user_id::text, '') || o.name
        FROM analytics_event e
        JOIN analytics_loadedobject o ON o.id = e.source_object_id
        LEFT JOIN analytics_installation i ON i.id = e.installation_id
        ORDER BY event_id
    """,
    "objects": "SELECT (to_jsonb(o) - 'id' - 'loaded_at')::text FROM analytics_loadedobject o ORDER BY name",
    "quarantined": """
        SELECT (to_jsonb(q) - 'id' - 'source_object_id')::text || o.name
        FROM analytics_quarantined q JOIN analytics_loadedobject o ON o.id = q.source_object_id
        ORDER BY o.name, source_line
    """,
    "installations": "SELECT (to_jsonb(i) - 'id')::text FROM analytics_installation i ORDER BY user_id",
    "touched": "SELECT hour::text FROM analytics_touchedhour ORDER BY hour",
    "pruned": "SELECT coalesce(max(pruned_before)::text, 'never') FROM analytics_loadprogress",
}


def digests() -> dict[str, str]:
    """A digest and a count of each table's rows, and of the rollups'."""
    return {name: _digest(_rows(query)) for name, query in _ROWS.items()} | {
        "rollups": _digest(map(repr, rollup_rows()))
    }


def _rows(query: str) -> Iterator[str]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(query)
        for (row,) in iter(cursor.fetchone, None):
            yield row


def _digest(rows: Iterator[str]) -> str:
    digest, count = hashlib.sha256(), 0
    for row in rows:
        digest.update(row.encode() + b"\n")
        count += 1
    return f"{digest.hexdigest()} of {count} rows"
