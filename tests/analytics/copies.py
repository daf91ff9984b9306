"""Copies of a warehouse that many tests begin with: what is loaded and rolled up once is put back in milliseconds.

In: the database that Django is connected to; to put back, an empty one. Out: every row of the analytics tables, with
the serial numbers it had.
"""

from collections.abc import Mapping

from django.apps import apps
from django.core.management.color import no_style
from django.db import connection
from django.db.models import Model

Rows = Mapping[type[Model], bytes]
"""Of each table, as COPY writes them."""


def of_the_warehouse() -> Rows:
    """As it is now."""
    found = {}
    for model in apps.get_app_config("analytics").get_models():
        with connection.cursor() as cursor, cursor.copy(f"COPY {model._meta.db_table} TO STDOUT") as copy:
            found[model] = b"".join(copy)
    return found


def put_back(rows: Rows) -> None:
    """Rows that are added next get the numbers after these."""
    with connection.cursor() as cursor:
        for model, text in rows.items():
            with cursor.copy(f"COPY {model._meta.db_table} FROM STDIN") as copy:
                copy.write(text)
        for statement in connection.ops.sequence_reset_sql(no_style(), list(rows)):
            cursor.execute(statement)
