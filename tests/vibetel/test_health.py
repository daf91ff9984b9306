"""Health: alive is not ready, and not ready says what is missing."""

import socket

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from ingest import buffer


def test_healthz_needs_no_store(redis_away: None) -> None:
    assert Client().get("/healthz").status_code == 200


@pytest.mark.usefixtures("empty_buffer")
def test_readyz_says_when_jobs_last_finished() -> None:
    with buffer.looking("archiver"):
        pass
    answer = Client().get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["missing"] == []
    assert answer.json()["finished"]["archiver"].startswith("20")
    assert answer.json()["finished"]["loader"] is None


def test_readyz_names_redis(redis_away: None) -> None:
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["redis"]


def test_readyz_names_postgres(empty_buffer: None, settings: Settings) -> None:
    settings.DATABASE_URL = "postgresql://portal@127.0.0.1:1/vibetel"
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["postgres"]


def test_readyz_does_not_wait_for_a_postgres_that_hangs(empty_buffer: None, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.DATABASE_URL = f"postgresql://portal@127.0.0.1:{silent.getsockname()[1]}/vibetel"
        assert Client().get("/readyz").json()["missing"] == ["postgres"]


@pytest.mark.parametrize(
    ("name", "value", "hazard"),
    [
        ("appendfsync", "everysec", "appendfsync is not always: a crash of Redis loses seconds"),
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy is not noeviction: Redis may evict"),
        ("maxmemory", "0", "maxmemory is 0: Redis may take all memory"),
        ("maxmemory", "500mb", "maxmemory is less than twice BUFFER_MAX_BYTES"),
    ],
)
def test_readyz_names_what_in_redis_can_lose_events(name: str, value: str, hazard: str) -> None:
    store = buffer.connection()
    before = store.config_get(name)[name] or ""
    assert Client().get("/readyz").json()["hazards"] == []
    store.config_set(name, value)
    try:
        assert Client().get("/readyz").json()["hazards"] == [hazard]
    finally:
        store.config_set(name, before)
