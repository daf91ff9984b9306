"""Beat: what the process that says "look now" loads: no tasks.

In: the settings. Out: Celery's loader for beat (vibetel/start.py). Next: celery beat

Beat sends tasks by their names. Without them, and Django's apps that they need, it takes less memory.
"""

import logging.config
from typing import Any

from celery.loaders.app import AppLoader
from django.conf import settings


class Loader(AppLoader):
    """Sets up the log, as `django.setup()` would, and loads nothing."""

    def import_default_modules(self) -> list[Any]:
        """In place of all tasks."""
        logging.config.dictConfig(settings.LOGGING)
        return []
