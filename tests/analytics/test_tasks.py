"""Tasks: of several that say "look now" one is heard, and what was not done is asked for again."""

from collections.abc import Callable
from threading import Timer

import psycopg
import pytest
from celery.schedules import crontab
from django.conf import settings
from django.db import connection

from analytics import tasks, warehouse
from analytics.models import LoadedObject
from ingest import archive, batches, buffer
from tests.events import line
from vibetel.celery import app

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("empty_buffer", "empty_bucket"),
]

LOOKS = [("loader", tasks.load_new_objects), ("missed", tasks.load_missed_objects)]
TASKS = {job: look.name for job, look in LOOKS}
Look = Callable[[], None]


def looks(job: str) -> int:
    return buffer.looks().get(f"{job}:looks", 0)


def turn_ends(job: str) -> None:
    """As it does by itself, before the job is asked for the next time."""
    [asked_for] = [beat["schedule"] for beat in app.conf.beat_schedule.values() if beat["task"] == TASKS[job]]
    seconds = 3600 if asked_for == crontab(minute="17") else asked_for
    assert 0 < buffer.connection().pttl(buffer.turn_key(job)) < 1000 * seconds
    buffer.connection().delete(buffer.turn_key(job))


@pytest.mark.parametrize(("job", "look"), LOOKS)
def test_look_of_two_beats_is_one(job: str, look: Look) -> None:
    look()
    look()
    assert looks(job) == 1


def test_look_at_new_objects_does_not_take_the_turn_of_one_at_all() -> None:
    tasks.load_new_objects()
    tasks.load_missed_objects()
    assert (looks("loader"), looks("missed")) == (1, 1)


def test_look_at_new_objects_is_taken_when_its_turn_ended() -> None:
    tasks.load_new_objects()
    turn_ends("loader")
    tasks.load_new_objects()
    assert looks("loader") == 2


def test_look_at_all_objects_lets_the_one_that_is_on_end_first() -> None:
    """Else a loader that is always at one would never look everywhere."""
    tasks._one_look_at_a_time.acquire()
    Timer(0.2, tasks._one_look_at_a_time.release).start()
    tasks.load_missed_objects()
    assert looks("missed") == 1


def test_look_at_all_objects_is_not_due_again_in_an_hour() -> None:
    tasks.load_missed_objects()
    turn_ends("missed")
    tasks.load_missed_objects()
    assert looks("missed") == 1


def test_look_at_all_objects_is_due_again_in_six_hours() -> None:
    tasks.load_missed_objects()
    turn_ends("missed")
    buffer.connection().hincrby(buffer.FINISHED, "missed", -6 * 3600 + 60)  # it took a minute
    tasks.load_missed_objects()
    assert looks("missed") == 2


def test_look_at_all_objects_that_found_another_at_it_is_due_in_an_hour() -> None:
    archive.put(batches.archive_object("event_date=2026-11-22/hr=12/a.json.gz", [line()]))
    with psycopg.connect(settings.DATABASE_URL, dbname=connection.settings_dict["NAME"]) as other:
        other.execute(warehouse.LOCK)
        tasks.load_missed_objects()
    assert not LoadedObject.objects.exists()
    turn_ends("missed")
    tasks.load_missed_objects()
    assert LoadedObject.objects.count() == 1


def test_look_at_all_objects_is_due_though_redis_clock_was_set_back() -> None:
    tasks.load_missed_objects()
    turn_ends("missed")
    buffer.connection().hincrby(buffer.FINISHED, "missed", 3600)
    tasks.load_missed_objects()
    assert looks("missed") == 2
