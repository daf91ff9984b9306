"""The warehouse's lock: whoever writes events, ledger or rollups of a schema takes turns.

The live tables and those being rebuilt beside them (rebuild.py) are two schemas with a lock each, so that events go on
being loaded while everything is loaded anew.
"""

from typing import Protocol

from django.db import connection

REBUILD_SCHEMA = "rebuild"
"""Where the tables are made anew. Whatever else a connection's first schema is, it is the live one."""

_LOCK = 0x76_69_62_65  # any number that is always the same; the schema being rebuilt has the next one
_REBUILDER_LOCK = _LOCK + 2

_KEY = f"%s + (current_schema() = '{REBUILD_SCHEMA}')::int"


class WarehouseBusy(Exception):
    """Another is writing, and the caller does not want to wait."""


class _Cursor(Protocol):
    """Django's, or psycopg's own."""

    def execute(self, query: str, params: list[int], /) -> object: ...
    def fetchone(self) -> "tuple[bool, ...] | None": ...


def lock(*, wait: bool, cursor: _Cursor | None = None) -> None:
    """Take the warehouse until the transaction ends: the schema that the connection sees first.

    `cursor` is one of another connection than Django's. Raises WarehouseBusy, without `wait`, where another has it.
    """
    if cursor is None:
        with connection.cursor() as own:
            _lock(own, wait=wait)
    else:
        _lock(cursor, wait=wait)


def claim_rebuild(cursor: _Cursor) -> bool:
    """Be the one that rebuilds, for as long as the connection lives; False where another is."""
    cursor.execute("SELECT pg_try_advisory_lock(%s)", [_REBUILDER_LOCK])
    return _answer(cursor)


def _lock(cursor: _Cursor, *, wait: bool) -> None:
    if wait:
        cursor.execute(f"SELECT pg_advisory_xact_lock({_KEY})", [_LOCK])
        return
    cursor.execute(f"SELECT pg_try_advisory_xact_lock({_KEY})", [_LOCK])
    if not _answer(cursor):
        raise WarehouseBusy


def _answer(cursor: _Cursor) -> bool:
    row = cursor.fetchone()
    return row is not None and bool(row[0])
