"""Health: alive is not ready, and not ready says what is missing."""

import psycopg
import pytest
from django.conf import settings
from django.db import close_old_connections, connection
from django.test import Client

from ingest import buffer


def test_healthz_needs_no_store(redis_away: None) -> None:
    assert Client().get("/healthz").status_code == 200


@pytest.mark.usefixtures("empty_buffer", "db")
def test_readyz_says_when_jobs_last_finished() -> None:
    buffer.note_finished("archiver")
    answer = Client().get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["missing"] == []
    assert answer.json()["finished"]["archiver"].startswith("20")
    assert answer.json()["finished"]["loader"] is None


def test_readyz_names_redis(redis_away: None, db: None) -> None:
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["redis"]


@pytest.mark.django_db(transaction=True)
def test_readyz_does_not_take_a_broken_connection_for_a_broken_database(empty_buffer: None) -> None:
    assert Client().get("/readyz").status_code == 200
    end_others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = %s"
    database = connection.settings_dict["NAME"]
    with psycopg.connect(settings.DATABASE_URL, dbname=database) as other:
        other.execute(end_others, [database])
    close_old_connections()  # as at the start of each request; the test client leaves it out
    assert Client().get("/readyz").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_readyz_names_postgres(empty_buffer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    answer = Client().get("/readyz")
    monkeypatch.undo()
    connection.close()
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["postgres"]
