"""manage.py load: bring Postgres up to the bucket, now."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError
from tqdm import tqdm

from analytics import load, rollups
from analytics.models import TouchedHour
from ingest import archive


class Command(BaseCommand):
    """List the whole bucket, load what the ledger does not know, recompute the rollups."""

    help = (
        "Load every archive object that the ledger does not know into Postgres, and recompute the rollups it touches. "
        "Safe to run at any time: what is loaded already stays as it is."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what became of the objects and their rows."""
        try:
            with tqdm(desc="Loading", unit=" events", disable=None) as bar:
                loaded = load.catch_up(everything=True, wait=True, progress=lambda seen: _show(bar, seen.rows))
        except OperationalError as error:
            raise CommandError("Postgres does not answer. Is the portal running?") from error
        except archive.ArchiveUnavailable as error:
            raise CommandError(f"The bucket cannot be listed ({error}). Nothing is lost: run it again.") from error
        with tqdm(desc="Rolling up", unit=" hours", total=TouchedHour.objects.count(), disable=None) as bar:
            hours = rollups.refresh(progress=lambda count: _show(bar, bar.n + count))
        self.stdout.write(
            f"{loaded.objects} objects: {loaded.rows} events loaded, {loaded.duplicates} duplicates, "
            f"{loaded.quarantined} quarantined. {hours} hours recomputed."
        )
        if loaded.foreign_objects:
            self.stdout.write(f"{loaded.foreign_objects} objects were not written by this portal, and left alone.")
        if loaded.delayed_objects:
            raise CommandError(f"{loaded.delayed_objects} objects could not be fetched now: run it again.")


def _show(bar: "tqdm[Any]", position: float) -> None:
    bar.update(position - bar.n)
