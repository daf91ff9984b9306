"""Snapshot: one view of the rollups for all that a page asks, while others go on writing them."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from analytics.models import (
    DailyCombinations,
    DailyRollup,
    HourlyRollup,
    Installation,
    LoadedObject,
    TouchedHour,
    Value,
)

_TABLES = ", ".join(
    model._meta.db_table
    for model in (DailyCombinations, DailyRollup, HourlyRollup, Installation, LoadedObject, TouchedHour, Value)
)


@contextmanager
def snapshot() -> Iterator[None]:
    """Questions asked within are answered from the same moment, and nothing is written.

    Else the parts of a page might come to more than its whole. The tables cannot be replaced meanwhile (swap.py waits):
    the numbers of values are others in those that take their place. In a transaction that is open already, such as a
    test's, it is that transaction's view.
    """
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; LOCK TABLE {_TABLES} IN ACCESS SHARE MODE"
            )
        yield
