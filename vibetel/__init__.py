"""The Django project: settings, Celery, URLs, health, and the embedded servers for a machine that has none."""

from vibetel.celery import app as celery_app

__all__ = ["celery_app"]
