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


def _conf() -> dict[str, Any]:
    """Who does what, and when it is asked for. Made when it is first needed: it reads the settings."""
    load_seconds = float(settings.LOAD_INTERVAL_SECONDS)
    return {
        # The worker of one queue archives and has the key to write, that of the other loads and has only the key to
        # read. A worker that is given no queue takes both.
        "task_queues": [Queue("archive"), Queue("load")],
        "task_routes": {"ingest.tasks.*": {"queue": "archive"}, "analytics.tasks.*": {"queue": "load"}},
        # A look that was not taken before the next is due is dropped: looks expire rather than pile up.
        "beat_schedule": {
            "archive": _asked("ingest.tasks.archive_due_batches", 0.5, 0.5),
            "load": _asked("analytics.tasks.load_new_objects", load_seconds, load_seconds),
            # Asked for again every hour, and done where it is due: every six hours, or once a night
            # (analytics/tasks.py). So a worker that is killed, or a store that is away, costs an hour.
            "load-missed": _asked("analytics.tasks.load_missed_objects", crontab(minute="17"), 3600.0),
            "prune-nightly": _asked("analytics.tasks.prune_nightly", crontab(minute="13", hour="3-8"), 3600.0),
            "verify-nightly": _asked("analytics.tasks.verify_nightly", crontab(minute="43", hour="3-8"), 3600.0),
            "books": _asked("analytics.tasks.watch_books", 15.0, 15.0),
        },
    }


def _asked(task: str, when: float | crontab, expires_seconds: float) -> dict[str, Any]:
    return {"task": task, "schedule": when, "options": {"expires": expires_seconds}}


app.add_defaults(_conf)


@setup_logging.connect
def _keep_the_settings_logging(**kwargs: Any) -> None:
    """Celery sets up no logging of its own where this signal has a receiver: LOGGING is what holds."""
