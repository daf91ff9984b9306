"""Celery: tasks only say "look now".

What is due is decided from the stores, so a lost or doubled task costs time only.
"""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibetel.settings")

app = Celery("vibetel")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_the_settings_logging(**kwargs: Any) -> None:
    """Celery sets up no logging of its own where this signal has a receiver: LOGGING is what holds."""
