"""Snapshot: one view of the rollups for all that a page asks, while others go on writing them."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def snapshot() -> Iterator[None]:
    """Questions asked within are answered from the same moment, and nothing is written.

    Else the parts of a page might come to more than its whole. In a transaction that is open already, such as a test's,
    it is that transaction's view.
    """
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
