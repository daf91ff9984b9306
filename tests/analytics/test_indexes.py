"""Indexes: none that another one of its table makes needless."""

import pytest
from django.core.management import call_command
from django.db import connection

from analytics.models import LoadedObject

# Of the columns alone, whatever they are compared by.
_BEGINNINGS = """
    SELECT one.indexrelid::regclass::text FROM pg_index one JOIN pg_index other USING (indrelid)
    JOIN pg_class ON pg_class.oid = indrelid
    WHERE relname ~ '^(analytics|ingest)_' AND one.indexrelid <> other.indexrelid
      AND other.indkey::text || ' ' LIKE one.indkey::text || ' %'
"""


@pytest.mark.django_db
def test_no_index_is_the_beginning_of_another() -> None:
    with connection.cursor() as cursor:
        cursor.execute(_BEGINNINGS)
        assert cursor.fetchall() == []


@pytest.mark.django_db
def test_beginnings_of_names_are_found_by_index() -> None:
    """The search in the list of objects."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = LoadedObject.objects.filter(name__startswith="event_date=2026-11-2").explain()
    assert "analytics_loadedobject_name_key" in plan
    assert "Index Cond" in plan


@pytest.mark.django_db(transaction=True)
def test_indexes_are_back_before_the_migration() -> None:
    try:
        call_command("migrate", "analytics", "0008", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute(_BEGINNINGS)
            assert len(cursor.fetchall()) > 2
    finally:
        call_command("migrate", verbosity=0)
