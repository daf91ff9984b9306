"""Fixtures: the real stores, empty."""

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.files.storage import storages
from pytest_django.fixtures import Settings

from ingest import archive, archiver, buffer, names, round_trip, tally, throttles
from tests.ingest import patience


def pytest_configure() -> None:
    """What would make tests slow, or depend on how busy the machine is."""
    # Each test of a page makes an administrator: a quarter of a second with the hash that production takes.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    patience.be_patient()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of an `xdist_group` go to one worker.

    pytest-xdist 3.8 tells its scheduler by the end of their ids, and sets those where pytest 9.2 no longer looks
    (pytest-xdist, issue 1386).
    """
    for item in items:
        group = item.get_closest_marker("xdist_group")
        if group and getattr(config.option, "loadgroup", False):
            item._id = type(item._id).parse(f"{item.nodeid}@{group.args[0]}")


@pytest.fixture
def empty_buffer() -> Iterator[None]:
    """The tests' own Redis with nothing in it, and a process that remembers nothing of it."""
    _empty()
    yield
    _empty()


def _empty() -> None:
    tally.flush()  # what an earlier test counted, before it is gone
    buffer.connection().flushdb()
    names.forget()
    throttles.forget()
    archiver.forget()


@pytest.fixture
def limits_as_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """For Redis's answers: how long it may take."""
    for name, limit in patience.SERVED.items():
        monkeypatch.setattr(round_trip, name, limit)


@pytest.fixture
def redis_away(settings: Settings) -> Iterator[None]:
    """A Redis that refuses connections."""
    there = settings.REDIS_URL
    settings.REDIS_URL = "redis://127.0.0.1:1"
    _forget_connections()
    yield
    settings.REDIS_URL = there  # before it is forgotten: the tally's thread may connect at any moment
    _forget_connections()


def _forget_connections() -> None:
    buffer.connection.cache_clear()
    buffer._script.cache_clear()
    round_trip.forget()


@pytest.fixture
def empty_bucket() -> None:
    """The tests' own bucket with nothing in it."""
    writer = storages["archive"].connection.meta.client  # type: ignore[attr-defined]
    for listed in archive.listing():
        writer.delete_object(Bucket=settings.ARCHIVE_BUCKET, Key=listed.name)


@pytest.fixture
def empty_stores(empty_buffer: None, empty_bucket: None, db: None) -> None:
    """Redis, bucket and Postgres with nothing in them."""
