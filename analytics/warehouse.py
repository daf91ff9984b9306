"""The warehouse's one lock: whoever writes events, ledger or rollups takes turns."""

from django.db import connection

_LOCK = 0x76_69_62_65  # any number that is always the same


class WarehouseBusy(Exception):
    """Another is writing, and the caller does not want to wait."""


def lock(*, wait: bool) -> None:
    """Take the warehouse until the transaction ends. Raises WarehouseBusy, without `wait`, where another has it."""
    with connection.cursor() as cursor:
        if wait:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            return
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            raise WarehouseBusy
