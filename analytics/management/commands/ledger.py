"""manage.py ledger: the books."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from analytics import ledger
from ingest import archive, buffer


class Command(BaseCommand):
    """Print how many events are where."""

    help = (
        "Print the books, in events: received = accepted + rejected + limited + unavailable; "
        "accepted = archived + waiting; archived + imported = loaded + duplicate + quarantined + not_yet_loaded."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """`--json` for scripts."""
        parser.add_argument("--json", action="store_true", help="one JSON object, under the same names")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print one term a line, or JSON."""
        try:
            terms = ledger.books().as_json()
        except buffer.BufferUnavailable as error:
            raise CommandError(f"Redis does not answer ({error}). Is the portal running?") from error
        except OperationalError as error:
            raise CommandError("Postgres does not answer. Is the portal running?") from error
        except archive.ArchiveUnavailable as error:
            raise CommandError(f"The bucket does not answer ({error}).") from error
        if options["json"]:
            self.stdout.write(json.dumps(terms, indent=2))
            return
        reasons = terms.pop("rejected")
        for name, value in terms.items():
            self.stdout.write(f"{name:<24}{value:>12,}")
            if name == "accepted":
                self.stdout.write(f"{'rejected':<24}{sum(reasons.values()):>12,}")
                for reason, count in reasons.items():
                    self.stdout.write(f"  {reason:<22}{count:>12,}")
