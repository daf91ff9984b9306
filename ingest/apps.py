"""App configuration."""

from django.apps import AppConfig


class IngestConfig(AppConfig):
    """Stages from the POST to the archive object; no models."""

    name = "ingest"
