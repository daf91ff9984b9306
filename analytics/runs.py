"""Runs: what rollups keep of each run, as columns of numbers.

In: hours. Out: their runs, read from events or unpacked from the hours' rollups. Next: breakdowns.py, rollups.py

A run is an event with a duration. Of its values only their numbers are kept (Value), of its installation the small id,
of its duration the bucket.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet
from vibetel_client import contract
from vibetel_client.contract import Kind

from analytics import packing
from analytics.dimensions import NUMBERED, OPTION
from analytics.models import HourlyRollup, Value
from analytics.packing import Numbers, starts

# Log-scale buckets whose middle is within 2 % of all they hold (DDSketch, Masson et al. 2019, section 2).
ACCURACY = 0.02
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)

# What a run has, in the order in which hours are sorted: what repeats most comes first.
COLUMNS = (
    *NUMBERED,
    "options",  # bit n - 1 for the option numbered n
    "failed",
    "installation",  # 0 for a placeholder
    "bucket",  # of its duration, failed or not
    "context_tokens",
    "prompt_tokens",
    "completion_tokens",
)

# No run has more: what is computed of such numbers fails, or takes all memory.
_MOST = {
    **dict.fromkeys(COLUMNS, 1 << 40),  # tokens
    **dict.fromkeys(NUMBERED, (1 << 25) - 1),
    "options": (1 << 62) - 1,
    "failed": 1,
    "installation": (1 << 31) - 1,
    "bucket": 10_000,
}


@dataclass(frozen=True)
class Runs:
    """Columns of one length: those of COLUMNS, and `hour`, the UTC hours since 1970."""

    columns: Mapping[str, Numbers]

    def __len__(self) -> int:
        return len(self.columns["hour"])

    def __getitem__(self, name: str) -> Numbers:
        return self.columns[name]

    def where(self, chosen: Numbers) -> "Runs":
        """Those that a mask or an array of places chooses."""
        return Runs({name: column[chosen] for name, column in self.columns.items()})

    def packed(self) -> bytes:
        """All but their hour. The same runs give the same bytes, in whatever order they come."""
        order = np.lexsort([self[name] for name in reversed(COLUMNS)])
        return packing.pack([self[name][order] for name in COLUMNS])

    def by_hour(self) -> "Iterator[tuple[datetime, Runs]]":
        """Each hour's, in order."""
        for hour, places in groups(self["hour"]):
            yield moment(hour), self.where(places)

    def by_day(self) -> "Iterator[tuple[date, Runs]]":
        """Each UTC day's, in order."""
        for day, places in groups(self["hour"] // 24):
            yield moment(24 * day).date(), self.where(places)


def bucket_ms(bucket: int) -> float:
    """The duration that stands for a bucket, within ACCURACY of all it holds."""
    return float(2 * GAMMA**bucket / (GAMMA + 1))


def groups(keys: Numbers) -> Iterator[tuple[int, Numbers]]:
    """Each key, in order, with the places where it stands."""
    if len(keys):
        order = np.argsort(keys, kind="stable")
        bounds = starts(keys[order])
        for places in np.split(order, bounds[1:]):
            yield int(keys[places[0]]), places


def moment(hour: int) -> datetime:
    """The beginning of an hour, counted from 1970."""
    return datetime.fromtimestamp(hour * 3600, UTC)


def none() -> Runs:
    """Of nothing."""
    return Runs({name: np.zeros(0, np.uint8) for name in ("hour", *COLUMNS)})


def together(several: Iterable[Runs]) -> Runs:
    """One after the other."""
    them = list(several)
    if not them:
        return none()
    return Runs({name: np.concatenate([runs[name] for runs in them]) for name in ("hour", *COLUMNS)})


# -- From rollups -----------------------------------------------------------------------------------------------------


def stored(start: datetime, until: datetime) -> Iterator[Runs]:
    """The runs of each hour from `start` to before `until`, as its rollup has them."""
    return (unpacked(hour, packed) for hour, packed in packed_hours(start, until))


def packed_hours(start: datetime, until: datetime) -> Iterator[tuple[datetime, bytes]]:
    """Each hour from `start` to before `until`, with what its rollup has packed."""
    hours = HourlyRollup.objects.filter(hour__gte=start, hour__lt=until).order_by("hour")
    yield from binary_rows(hours.values_list("hour", "packed"))


def unpacked(hour: datetime, packed: bytes) -> Runs:
    """The runs of an hour's rollup. Raises one of packing.GARBLED."""
    columns = dict(zip(COLUMNS, packing.unpack(packed), strict=True))
    for name, most in _MOST.items():
        if columns[name].itemsize > 2 and columns[name].max(initial=0) > most:  # few are so wide
            raise ValueError(f"{name}: no run has such a number")
    return Runs({"hour": np.full(len(columns["failed"]), int(hour.timestamp()) // 3600, np.uint32), **columns})


def binary_rows(query: QuerySet[Any, Any]) -> Iterator[tuple[Any, ...]]:
    """What a query answers. Left to itself, Postgres writes bytes as hexadecimal text, which takes thrice the time."""
    try:
        sql, parameters = query.query.sql_with_params()
    except EmptyResultSet:  # it asks for one of no values
        return
    with _binary_cursor() as cursor:
        cursor.execute(sql, parameters)
        yield from cursor  # all of it is here by now


# -- From events ------------------------------------------------------------------------------------------------------


def of_events(hours: Sequence[datetime]) -> Runs:
    """The runs of these hours, as their events have it now: hours of a day, since all between them is read.

    Numbers values that are new.
    """
    if not hours:
        return none()
    options = _option_numbers()
    runs = _read(hours, options)
    if runs["unknown"].any():
        with connection.cursor() as cursor:
            cursor.execute(_NUMBER_VALUES, _span(hours))
        runs = _read(hours, options)
    return runs


def _option_numbers() -> dict[str, int]:
    """The contract's options, numbered for good when they are first met."""
    numbers = dict(Value.objects.filter(dimension=OPTION).values_list("value", "number"))
    for option in contract.OPTIONS:
        if option.name not in numbers:
            numbers[option.name] = len(numbers) + 1
            Value.objects.create(dimension=OPTION, value=option.name, number=numbers[option.name])
    return numbers


def _read(hours: Sequence[datetime], options: Mapping[str, int]) -> Runs:
    """`unknown` is not 0 where a value has no number yet."""
    names = ("hour", *COLUMNS, "unknown")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")  # some days' runs: else it is done on disk
    found = arrays(_READ.format(options=_options(options)), _span(hours), len(names))
    return Runs(dict(zip(names, found, strict=True)))


def _span(hours: Sequence[datetime]) -> dict[str, Any]:
    return {"hours": list(hours), "first": min(hours), "until": max(hours) + timedelta(hours=1)}


def arrays(query: str, parameters: Mapping[str, Any], count: int) -> list[Numbers]:
    """The only row of a query, of so many arrays of bigint; NULL is empty.

    As Postgres sends them: a Python object for each number would take five times as long.
    """
    with _binary_cursor() as cursor:
        cursor.execute(query, parameters)
        answer = cursor.cursor.pgresult
        return [_numbers(answer.get_value(0, place)) for place in range(count)]


@contextmanager
def _binary_cursor() -> Iterator[CursorWrapper]:
    """What it answers comes as Postgres keeps it, which Django's own cursors cannot; else it is as they are."""
    connection.ensure_connection()
    binary: Any = psycopg.Cursor(connection.connection)  # whatever the type that Django's are said to have
    binary.format = psycopg.pq.Format.BINARY
    with (
        connection.make_debug_cursor(binary) if connection.queries_logged else connection.make_cursor(binary) as cursor
    ):
        yield cursor


def _numbers(sent: bytes | None) -> Numbers:
    """An array of bigint as it is sent: five int4 (array.c, array_send), then each number behind its length."""
    if sent is None:
        return np.zeros(0, np.int64)
    return np.frombuffer(sent, np.dtype([("length", ">i4"), ("number", ">i8")]), offset=20)["number"].astype(np.int64)


def _options(numbers: Mapping[str, int]) -> str:
    """Which options a run used: flags that are on, and whatever else it gave."""
    used = {
        option.name: f"options->'{option.name}' = 'true'" if option.kind is Kind.FLAG else f"options ? '{option.name}'"
        for option in contract.OPTIONS
    }
    return " | ".join(
        f"CASE WHEN {used[name]} THEN {1 << number - 1} ELSE 0 END" for name, number in numbers.items() if name in used
    )


# Looked up once, by the index on their time, before anything is joined. From one moment to another: beside a list of
# hours Postgres, while it has not counted the events of a first load yet, would read all of them for each.
_RUN = """
    WITH run AS MATERIALIZED (SELECT *, date_trunc('hour', occurred_at, 'UTC') AS hour FROM analytics_event
    WHERE occurred_at >= %(first)s AND occurred_at < %(until)s AND duration_ms IS NOT NULL
      AND date_trunc('hour', occurred_at, 'UTC') = ANY(%(hours)s::timestamptz[]))
"""
_NUMBERS = ", ".join(f"array_agg(coalesce({column}_value.number, 0)::bigint)" for column in NUMBERED)
_UNKNOWN = " OR ".join(
    f"(({sql}) IS NOT NULL AND {column}_value.number IS NULL)" for column, (_, sql) in NUMBERED.items()
)
_JOINS = " ".join(
    f"LEFT JOIN analytics_value {column}_value"
    f" ON {column}_value.dimension = '{dimension}' AND {column}_value.value = {sql}"
    for column, (dimension, sql) in NUMBERED.items()
)
_READ = f"""
    {_RUN}
    SELECT array_agg(extract(epoch FROM hour)::bigint / 3600), {_NUMBERS},
           array_agg(CASE WHEN options IS NULL OR options = '{{{{}}}}' THEN 0 ELSE {{options}} END::bigint),
           array_agg((has_error IS TRUE)::int::bigint),
           array_agg(coalesce(installation_id, 0)::bigint),
           array_agg(ceil(ln(greatest(duration_ms, 1)) / {math.log(GAMMA)!r})::bigint),
           array_agg(coalesce(context_tokens, 0)::bigint),
           array_agg(coalesce(prompt_tokens, 0)::bigint),
           array_agg(coalesce(completion_tokens, 0)::bigint),
           array_agg(({_UNKNOWN})::int::bigint)
    FROM run {_JOINS}
"""  # noqa: S608 - the expressions are this module's own
_VALUES = ", ".join(f"('{dimension}', {sql})" for dimension, sql in NUMBERED.values())
_NUMBER_VALUES = f"""
    {_RUN}
    INSERT INTO analytics_value (dimension, value, number)
    SELECT dimension, value,
           coalesce((SELECT max(number) FROM analytics_value v WHERE v.dimension = unseen.dimension), 0)
           + row_number() OVER (PARTITION BY dimension ORDER BY value)
    FROM (
        SELECT d.dimension, d.value FROM run
        CROSS JOIN LATERAL (VALUES {_VALUES}) AS d (dimension, value) WHERE d.value IS NOT NULL
        EXCEPT SELECT dimension, value FROM analytics_value
    ) unseen
"""  # noqa: S608
