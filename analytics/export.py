"""Export: events as CSV, NDJSON or Parquet, in constant memory.

In: a Filter. Out: the file, piece by piece; COLUMNS says what is in it. Fails: NotUnderstood, for words that are no
filter; OperationalError. Next: docs/analysis.md

Postgres writes the rows; here they only pass. Every event of the filter is in it, also the twin of a run that failed
and what opted-out users sent; dashboards count runs alone, and so does `runs_only`. Events that were pruned are not in
it: the archive has them.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from django.db import connection

from analytics import rollups
from analytics.dimensions import DIMENSIONS
from analytics.queries import Filter, parsed
from analytics.queries.filters import WORDS
from analytics.queries.selection import NONE

TEXT, COUNT, FLAG, MOMENT = "text", "whole number", "true or false", "time"


class Column(NamedTuple):
    """One column of an export: its name, for good, what is in it, and SQL."""

    name: str
    kind: str
    sql: str


# CSV and NDJSON write a time as 2026-11-22T12:00:00.000000Z; all are UTC.
_ISO = "to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


def _columns(kind: str, *names: str) -> list[Column]:
    return [Column(name, kind, _ISO.format(name=name) if kind == MOMENT else name) for name in names]


COLUMNS: Sequence[Column] = (
    Column("event_id", TEXT, "event_id::text"),
    *_columns(TEXT, "event_name"),
    *_columns(MOMENT, "occurred_at", "received_at"),
    *_columns(FLAG, "clock_is_server"),
    Column("user_id", TEXT, "user_id::text"),
    Column("placeholder", TEXT, "nullif(placeholder, '')"),
    Column("session_id", TEXT, "session_id::text"),
    *_columns(TEXT, "tool_version", "command"),
    *_columns(COUNT, "duration_ms", "context_tokens", "prompt_tokens", "completion_tokens"),
    *_columns(TEXT, "provider", "model", "file_provider", "file_model", "thinking_provider", "thinking_model"),
    Column("options", TEXT, "options::text"),  # a JSON object
    *_columns(FLAG, "has_error"),
    *_columns(TEXT, "error_type", "os", "python_version"),
    *_columns(FLAG, "ci"),
    *_columns(TEXT, "agent"),
    *_columns(FLAG, "interactive"),
    *_columns(COUNT, "lost_count"),
)

_PIECE_BYTES = 65_536
ROW_GROUP_ROWS = 20_000
"""Of Parquet: some 5 MB while they are made."""


class NotUnderstood(Exception):
    """The words are no filter. An export of something else would be worse than none."""


def understood(query_string: str, now: datetime) -> Filter:
    """The filter of these words, which are those of the dashboards. Raises NotUnderstood."""
    asked = parse_qs(query_string.removeprefix("?"), keep_blank_values=True)
    if unknown := sorted(set(asked) - WORDS):
        raise NotUnderstood(f"There is no “{unknown[0][:40]}” to filter by. There are: {', '.join(sorted(WORDS))}.")
    if any(not value.isprintable() for values in asked.values() for value in values):
        raise NotUnderstood("A value to filter by holds what no value can: a control character, or broken text.")
    if empty := next((name for name, values in asked.items() if "" in values), ""):
        raise NotUnderstood(f"{empty}= says nothing: leave it out, or say {NONE} for runs that have none.")
    if {"from", "to"} & set(asked) and asked.get("period", ["custom"])[-1] != "custom":
        raise NotUnderstood("from and to go with period=custom.")
    chosen, notices = parsed({name: values for name, values in asked.items() if name not in _HOW_SHOWN}, now)
    for notice in notices:
        why, another, _ = notice.partition(": this is ")  # another period than was asked for
        if another:
            raise NotUnderstood(f"{why}.")
    return chosen


def pruned_before(chosen: Filter) -> datetime | None:
    """Where some of the filter's days were pruned: until when."""
    until = rollups.frozen_before()
    return until if until and until > chosen.period.start else None


def count(chosen: Filter, *, runs_only: bool = False) -> int:
    """How many events it will be."""
    condition, parameters = where(chosen, runs_only=runs_only)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM analytics_event WHERE {condition}", parameters)  # noqa: S608
        (events,) = cursor.fetchone()
    return int(events)


def pieces(
    chosen: Filter, form: str, *, runs_only: bool = False, progress: Callable[[int], None] = lambda events: None
) -> Iterator[bytes]:
    """The file, in the order of `occurred_at`, then `event_id`. `form` is one of FORMS.

    `progress` is told how many more events are in the pieces that were taken. Raises OperationalError.
    """
    yield from FORMS[form](_Rows(chosen, runs_only), progress)


# -- Which events -----------------------------------------------------------------------------------------------------

# The address of a page may have these, too; they say nothing to an export.
_HOW_SHOWN = {"compare", "interval", "metric", "sort"}


def where(chosen: Filter, *, runs_only: bool = False) -> tuple[str, list[Any]]:
    """A condition on analytics_event, in SQL, and its parameters in their order.

    As the rollups count: a dimension's value is what dimensions.py says, whatever the column holds.
    """
    conditions = ["occurred_at >= %s AND occurred_at < %s"]
    parameters: list[Any] = [chosen.period.start, chosen.period.until]
    for name, value in DIMENSIONS.items():
        if only := chosen.selection.only.get(name):
            conditions.append(f"(({value}) = ANY(%s){f' OR ({value}) IS NULL' if NONE in only else ''})")
            parameters.append(sorted(only))
        if without := chosen.selection.without.get(name):
            unless = "AND ({}) IS NOT NULL" if NONE in without else "OR ({}) IS NULL"
            conditions.append(f"(({value}) <> ALL(%s) {unless.format(value)})")
            parameters.append(sorted(without))
    if runs_only:
        conditions.append("duration_ms IS NOT NULL")
    return " AND ".join(conditions), parameters


class _Rows:
    """The events of a filter, as Postgres writes them."""

    def __init__(self, chosen: Filter, runs_only: bool) -> None:
        self._where, self._parameters = where(chosen, runs_only=runs_only)

    def csv(self) -> Iterator[bytes]:
        """Each as a line of CSV, without a header."""
        columns = ", ".join(f"({one.sql})::text" if one.kind == FLAG else one.sql for one in COLUMNS)
        return self._copied(f"SELECT {columns} FROM ({self._events()}) event", "FORMAT csv")  # noqa: S608

    def json(self) -> Iterator[bytes]:
        """Each as a JSON object, in a line."""
        columns = ", ".join(f"{one.sql} AS {one.name}" for one in COLUMNS)
        rows = f"SELECT row_to_json(r)::text FROM (SELECT {columns} FROM ({self._events()}) event) r"  # noqa: S608
        # Unquoted: JSON has no control characters, as which CSV's quote and delimiter would be looked for.
        return self._copied(rows, "FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02'")

    def _events(self) -> str:
        return f"""
            SELECT e.*, i.user_id FROM analytics_event e LEFT JOIN analytics_installation i ON i.id = e.installation_id
            WHERE {self._where} ORDER BY e.occurred_at, e.event_id
        """  # noqa: S608 - put together from this module's own

    def _copied(self, query: str, how: str) -> Iterator[bytes]:
        copy = f"COPY ({query}) TO STDOUT ({how})"
        with (
            connection.wrap_database_errors,
            connection.cursor() as cursor,
            cursor.copy(copy, self._parameters) as rows,
        ):
            for row in rows:  # one by one, as they come
                yield bytes(row)


# -- In which form ----------------------------------------------------------------------------------------------------

_Progress = Callable[[int], None]


def _csv(rows: _Rows, progress: _Progress) -> Iterator[bytes]:
    yield ",".join(column.name for column in COLUMNS).encode() + b"\n"
    yield from _gathered(rows.csv(), progress)


def _ndjson(rows: _Rows, progress: _Progress) -> Iterator[bytes]:
    yield from _gathered(rows.json(), progress)


def _parquet(rows: _Rows, progress: _Progress) -> Iterator[bytes]:
    # Whoever asks for something else need not wait for it.
    import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415
    from pyarrow import csv, parquet  # noqa: PLC0415

    kinds = {TEXT: pa.string(), COUNT: pa.int64(), FLAG: pa.bool_(), MOMENT: pa.timestamp("us", "UTC")}
    schema = pa.schema([(column.name, kinds[column.kind]) for column in COLUMNS])
    reading = csv.ReadOptions(column_names=schema.names, use_threads=False, block_size=_GROUP_MAX_BYTES)
    exactly = csv.ConvertOptions(
        column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    written = _Written()
    with parquet.ParquetWriter(written, schema, compression="zstd") as file:
        for text in _groups(rows.csv()):
            table = csv.read_csv(io.BytesIO(text), reading, csv.ParseOptions(newlines_in_values=True), exactly)
            file.write_table(table)
            progress(table.num_rows)
            del text, table  # before the next is gathered
            yield written.taken()
    yield written.taken()


FORMS: Mapping[str, Callable[[_Rows, _Progress], Iterator[bytes]]] = {
    "csv": _csv,
    "ndjson": _ndjson,
    "parquet": _parquet,
}
"""Name, which is also what the names of files end in -> how it is written."""

MEDIA_TYPES: Mapping[str, str] = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}

# A row has a few kilobytes at the very most; pyarrow refuses rows longer than its block.
_GROUP_MAX_BYTES = 1 << 28


def _groups(rows: Iterable[bytes]) -> Iterator[bytes]:
    rows = iter(rows)
    while text := b"".join(islice(rows, ROW_GROUP_ROWS)):
        yield text


def _gathered(rows: Iterable[bytes], progress: _Progress) -> Iterator[bytes]:
    """Rows by the piece: each on its own would cost a system call."""
    piece: list[bytes] = []
    size_bytes = 0
    for row in rows:
        piece.append(row)
        size_bytes += len(row)
        if size_bytes >= _PIECE_BYTES:
            progress(len(piece))
            yield b"".join(piece)
            piece, size_bytes = [], 0
    progress(len(piece))
    yield b"".join(piece)


class _Written(io.RawIOBase):
    """A file that keeps what was written until it is taken: Parquet is written from its beginning to its end."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, written: Any, /) -> int:
        self._pieces.append(bytes(written))
        self._at += len(self._pieces[-1])
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        """What was written since the last time."""
        found, self._pieces = b"".join(self._pieces), []
        return found
