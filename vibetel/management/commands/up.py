"""`manage.py up`: the whole portal on this machine (vibetel/embedded/portal.py)."""

from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from vibetel.embedded.addresses import AddressesDamaged
from vibetel.embedded.child import StartFailed

_missing: str | None = None  # a package of requirements-embedded.txt
try:
    from vibetel.embedded import portal
    from vibetel.embedded.supervisor import AlreadyRunning
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
        """Returns after Ctrl-C. Raises CommandError where the portal cannot start."""
        if _missing:
            raise CommandError(f"{_missing} is not installed: pip install -r requirements-embedded.txt")
        try:
            portal.up(settings.DATA_DIR, settings.PORT, settings.INGEST_PORT, then, self._say)
        except (portal.PortTaken, AlreadyRunning, AddressesDamaged, StartFailed) as error:
            raise CommandError(str(error)) from error

    def _say(self, line: str) -> None:
        with suppress(OSError):  # the terminal may be gone, which must not keep anything from being stopped
            self.stdout.write(line)
            self.stdout.flush()
