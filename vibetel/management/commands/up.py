"""`manage.py up`: the whole portal on this machine (vibetel/embedded/portal.py)."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

_missing: str | None = None  # a package of requirements-embedded.txt
try:
    from vibetel.embedded import portal
except ModuleNotFoundError as error:
    _missing = error.name


class Command(BaseCommand):
    """The portal under one supervisor, in the foreground."""

    help = (
        "Runs the whole portal on this machine until Ctrl-C: PostgreSQL, Valkey and S3 out of DATA_DIR, then web, "
        "ingest, archiver, loader and beat. Dashboards are on http://127.0.0.1:PORT, events go to INGEST_PORT. "
        "DATABASE_URL, REDIS_URL and ARCHIVE_BUCKET each replace one of the servers. After any end, a kill -9 "
        "included, it starts again with nothing lost."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """`--then COMMAND`, any number of times."""
        parser.add_argument(
            "--then",
            action="append",
            default=[],
            metavar="COMMAND",
            help="a manage.py command and its arguments to run once the portal serves; may be given several times",
        )

    def handle(self, *args: Any, then: list[str], **options: Any) -> None:
        """Becomes the supervisor, which loads no app of Django: less memory. Raises CommandError where it cannot."""
        if _missing:
            raise CommandError(f"{_missing} is not installed: pip install -r requirements-embedded.txt")
        given = [str(settings.DATA_DIR), str(settings.PORT), str(settings.INGEST_PORT), settings.ADMIN_PATH, *then]
        os.chdir(portal.CHECKOUT)
        os.execv(sys.executable, [sys.executable, "-m", portal.__name__, *given])  # noqa: S606 - our own command
