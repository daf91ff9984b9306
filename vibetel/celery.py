"""Celery: tasks only say "look now".

What is due is decided from the stores, so a lost or doubled task costs time only.
"""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibetel.settings")

app = Celery("vibetel")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
