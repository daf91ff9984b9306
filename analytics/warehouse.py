"""The warehouse's one lock: whoever writes events, ledger or rollups takes turns."""

from django.db import connection

_LOCK = 0x76_69_62_65  # any number that is always the same


def lock(*, wait: bool = True) -> bool:
    """Take the warehouse until the transaction ends; without `wait`, answers False where another has it."""
    with connection.cursor() as cursor:
        if wait:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            return True
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])
