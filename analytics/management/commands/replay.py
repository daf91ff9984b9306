"""manage.py replay: try what is in quarantine once more."""

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.db.models import Count
from tqdm import tqdm

from analytics import replay, rollups
from analytics.models import LoadedObject, Quarantined
from ingest import archive

_HELP = """
Try everything in quarantine once more, after a fix.

The loader puts aside what it cannot read, and goes on: a line that the contract refuses (a reject code and the field,
such as "bad_type duration", or bad_json), or a whole object (bad_gzip, bad_digest, bad_row_count, too_large). Nothing
tries it again by itself. So, when you have

  - mended the code, or the contract, that refused lines, or
  - put an object into the bucket again, under its name and with its metadata (aws s3 cp takes --metadata),

run this. What can be read now is loaded as if it had been from the start, and counted so in the ledger; what cannot
stays, with the reason of today. It may be stopped, and run again, at any time.

  manage.py replay --dry-run   how much is in quarantine, by reason; changes nothing
  manage.py replay             try it
"""


class Command(BaseCommand):
    """Replay the quarantine, recompute the rollups."""

    help = _HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With the help as it is written."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Whether to change anything."""
        parser.add_argument("--dry-run", action="store_true", help="only say what is in quarantine")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what left the quarantine, and what stays there."""
        try:
            if not options["dry_run"]:
                self._replay()
            self.stdout.write(f"In quarantine: {_reasons() or 'nothing'}.")
        except OperationalError as error:
            raise CommandError("Postgres does not answer. Is the portal running?") from error
        except archive.ArchiveUnavailable as error:
            raise CommandError(f"The bucket cannot be listed ({error}). Nothing is lost: run it again.") from error

    def _replay(self) -> None:
        with tqdm(desc="Replaying", unit="", total=replay.pending_count(), disable=None) as bar:
            replayed = replay.replay(progress=lambda tried: _show(bar, tried))
        hours = rollups.refresh()
        self.stdout.write(
            f"{replayed.lines} lines and {replayed.objects} objects left the quarantine: "
            f"{replayed.rows} events loaded, {replayed.duplicates} duplicates. {hours} hours recomputed."
        )
        if replayed.missing_objects:
            self.stdout.write(f"{replayed.missing_objects} objects are not in the bucket any more.")
        if replayed.delayed_objects:
            raise CommandError(f"{replayed.delayed_objects} objects could not be fetched now: run it again.")


def _show(bar: "tqdm[Any]", tried: int) -> None:
    bar.update(tried)


def _reasons() -> str:
    """How many lines and objects there are of each reason."""
    parts = []
    lines = Quarantined.objects.values_list("reason").annotate(Count("pk")).order_by("reason")
    unreadable = LoadedObject.objects.filter(state=LoadedObject.State.QUARANTINED)
    objects = unreadable.values_list("reason").annotate(Count("pk")).order_by("reason")
    counted: Sequence[tuple[str, Sequence[Any]]] = (("lines", list(lines)), ("objects", list(objects)))
    for what, reasons in counted:
        parts += [f"{count} {what} {reason}" for reason, count in reasons]
    return ", ".join(parts)
