from typing import Any

from django.db import migrations

from analytics import bi
from analytics.warehouse import REBUILD_SCHEMA


def create(apps: Any, schema_editor: Any) -> None:
    """Not for tables that are made beside the live ones: swap.py gives the views to those."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        if cursor.fetchone() != (REBUILD_SCHEMA,):
            bi.create(cursor)


def drop(apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        bi.drop(cursor)


class Migration(migrations.Migration):
    # A later migration that changes what the views stand on drops them first and makes them last; then nothing is left
    # to do here.

    dependencies = [
        ('analytics', '0003_rollups'),
    ]

    operations = [
        migrations.RunPython(create, drop),
    ]
