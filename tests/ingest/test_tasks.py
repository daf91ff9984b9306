"""Tasks: a look of the archiver, and how long events wait for one."""

import pytest
from django.conf import settings

from ingest import archive, buffer, tasks
from tests.events import line
from vibetel.celery import app

pytestmark = pytest.mark.usefixtures("empty_buffer", "empty_bucket")


def push_at(unix_ms: int) -> None:
    """An event that was accepted then."""
    buffer.connection().xadd(buffer.STREAM, {"line": line()}, id=f"{unix_ms}-0")


def test_look_archives_a_batch_whose_first_event_waited_long_enough() -> None:
    push_at(buffer.now_ms() - 1000 * settings.BATCH_MAX_SECONDS)
    push_at(buffer.now_ms())
    tasks.archive_due_batches()
    assert [int(archive.metadata(listed.name)["rows"]) for listed in archive.listing()] == [2]
    assert buffer.counters()["waiting"] == 0


def test_look_seals_what_is_due_while_another_waits_for_the_bucket() -> None:
    push_at(buffer.now_ms() - 1000 * settings.BATCH_MAX_SECONDS)
    with tasks._one_look_at_a_time:
        tasks.archive_due_batches()
    assert [seal.rows for seal in buffer.sealed()] == [1]


def test_beat_asks_for_looks_twice_in_the_second_that_a_due_batch_may_wait() -> None:
    beat = app.conf.beat_schedule["archive"]
    assert beat["task"] == tasks.archive_due_batches.name
    assert beat["schedule"] <= 0.5
    assert beat["options"]["expires"] <= beat["schedule"]  # one that comes too late is not in the way of the next
