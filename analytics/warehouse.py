"""The warehouse's lock: whoever writes events, ledger or rollups of a schema takes turns.

The live tables and those being rebuilt beside them (rebuild.py) are two schemas with a lock each, so that events go on
being loaded while everything is loaded anew.

The locks are of tables, not advisory ones: those anybody may take who can log in, an analyst with the role of bi.py,
too. Their mode is the only one that keeps out itself and neither readers nor writers. It keeps out autovacuum as well,
for a moment, and is kept out by it: so of tables that are tiny, and in no view of bi.py.
"""

from typing import Any

import psycopg
from django.db import OperationalError, connection

REBUILD_SCHEMA = "rebuild"
"""Where the tables are made anew. Whatever else a connection's first schema is, it is the live one."""

LOCK = "LOCK TABLE analytics_loadprogress IN SHARE UPDATE EXCLUSIVE MODE"
"""Takes the warehouse until the transaction ends, for a connection that is not Django's.

Of the schema that the connection sees first. Who waits for it while a rebuild ends has the new table's then: Postgres
looks the name up again.
"""

# As long as autovacuum may have a tiny table.
_LOCK_SOON = f"SET LOCAL lock_timeout = '200ms'; {LOCK}; SET LOCAL lock_timeout TO DEFAULT"

# Of the live schema, and not replaced at a rebuild's end: it would wait for itself.
_REBUILDER_LOCK = "LOCK TABLE django_migrations IN SHARE UPDATE EXCLUSIVE MODE NOWAIT"


class WarehouseBusy(Exception):
    """Another is writing, and the caller does not want to wait."""


def lock(*, wait: bool) -> None:
    """Take the warehouse until the transaction ends: the schema that the connection sees first.

    Raises WarehouseBusy, without `wait`, where another has it: leave the atomic block then, its transaction has failed.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(LOCK if wait else _LOCK_SOON)
    except OperationalError as error:
        if not wait and isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            raise WarehouseBusy from error
        raise


def claim_rebuild(claim: psycopg.Connection[Any]) -> bool:
    """Be the one that rebuilds, until this connection's transaction ends; False where another is.

    The transaction may last for hours: without a snapshot and without a number it holds up no vacuum of other tables.
    """
    try:
        claim.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        claim.execute(_REBUILDER_LOCK)
    except psycopg.errors.LockNotAvailable:
        claim.rollback()
        return False
    return True
