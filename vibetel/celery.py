"""Celery: who is told to look, and when. Tasks only say "look now".

What is due is decided from the stores, so a lost or doubled task costs time only.
"""

import os
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import setup_logging
from django.conf import settings
from kombu import Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibetel.settings")

app = Celery("vibetel")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Two queues: the worker of one archives and has the key to write, that of the other loads and has only the key to read.
# A worker that is given no queue takes both.
app.conf.task_queues = [Queue("archive"), Queue("load")]
app.conf.task_routes = {"ingest.tasks.*": {"queue": "archive"}, "analytics.tasks.*": {"queue": "load"}}

app.conf.beat_schedule = {
    # A look that was not taken before the next is due is dropped: looks expire rather than pile up.
    "archive": {"task": "ingest.tasks.archive_due_batches", "schedule": 0.5, "options": {"expires": 0.5}},
    "load": {
        "task": "analytics.tasks.load_new_objects",
        "schedule": float(settings.LOAD_INTERVAL_SECONDS),
        "options": {"expires": float(settings.LOAD_INTERVAL_SECONDS)},
    },
    # Asked for again every hour, and done where it is due: every six hours, or once a night (analytics/tasks.py). So a
    # worker that is killed, or a store that is away, costs an hour.
    "load-missed": {
        "task": "analytics.tasks.load_missed_objects",
        "schedule": crontab(minute="17"),
        "options": {"expires": 3600.0},
    },
    "prune-nightly": {
        "task": "analytics.tasks.prune_nightly",
        "schedule": crontab(minute="13", hour="3-8"),
        "options": {"expires": 3600.0},
    },
    "verify-nightly": {
        "task": "analytics.tasks.verify_nightly",
        "schedule": crontab(minute="43", hour="3-8"),
        "options": {"expires": 3600.0},
    },
    "books": {"task": "analytics.tasks.watch_books", "schedule": 15.0, "options": {"expires": 15.0}},
}


@setup_logging.connect
def _keep_the_settings_logging(**kwargs: Any) -> None:
    """Celery sets up no logging of its own where this signal has a receiver: LOGGING is what holds."""
