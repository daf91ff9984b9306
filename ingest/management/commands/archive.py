"""manage.py archive: archive what waits, now."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingest import archive, archiver, buffer


class Command(BaseCommand):
    """Seal and archive what waits in the buffer without waiting for a batch to be due."""

    help = "Archive the events that wait in the buffer now, instead of when their batch is due."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print how many rows went into the archive."""
        try:
            rows = archiver.archive_due(force=True)
        except buffer.BufferUnavailable as error:
            raise CommandError(f"Redis does not answer ({error}). Is the portal running?") from error
        except archive.ArchiveUnavailable as error:
            raise CommandError(f"The bucket refused ({error}); what waits stays in the buffer.") from error
        self.stdout.write(f"{rows} events archived.")
