"""App configuration: the project as a whole."""

from django.apps import AppConfig
from django.core.checks import Tags, register

from vibetel import checks


class VibetelConfig(AppConfig):
    """Commands, and the checks of `manage.py check --deploy`."""

    name = "vibetel"

    def ready(self) -> None:
        """Add the checks to Django's."""
        register(checks.proxies_named, Tags.security, deploy=True)
