"""manage.py ledger: the books."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from analytics import ledger
from analytics.ledger import NotCarriedOver, Reading
from ingest import archive, buffer


class Command(BaseCommand):
    """Print how many events are where."""

    help = (
        "Print the books, in events: received = accepted + rejected + limited + unavailable; "
        "accepted = archived + waiting; archived + imported = loaded + duplicate + quarantined + not_yet_loaded. "
        "Says what does not balance, and since when."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """`--json` for scripts; `--carry-over` after Redis lost its disk."""
        parser.add_argument("--json", action="store_true", help="one JSON object, under the same names")
        parser.add_argument(
            "--carry-over",
            action="store_true",
            help="after Redis lost its counters: book what the bucket holds beyond them as received, accepted and "
            "archived. Run `verify` first: a doubled or forged object would be booked too",
        )
        parser.add_argument("--dry-run", action="store_true", help="with --carry-over: only say how many events")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print one term a line, or JSON."""
        if options["dry_run"] and not options["carry_over"]:
            raise CommandError("--dry-run goes with --carry-over; the books alone change nothing.")
        try:
            if options["carry_over"]:
                self._carry_over(dry_run=options["dry_run"])
            else:
                self._print(as_json=options["json"])
        except buffer.BufferUnavailable as error:
            raise CommandError(f"Redis does not answer ({error}). Is the portal running?") from error
        except OperationalError as error:
            raise CommandError("Postgres does not answer. Is the portal running?") from error
        except archive.ArchiveUnavailable as error:
            raise CommandError(f"The bucket does not answer ({error}).") from error

    def _carry_over(self, *, dry_run: bool) -> None:
        try:
            events = ledger.carry_over(dry_run=dry_run)
        except NotCarriedOver as error:
            raise CommandError(f"Nothing was carried over: {error}.") from error
        would = "would be carried over" if dry_run else "were carried over"
        self.stdout.write(f"{events:,} events {would}." if events else "The books balance: nothing to carry over.")

    def _print(self, *, as_json: bool) -> None:
        reading = ledger.read()
        terms = reading.books.as_json()
        if as_json:
            self.stdout.write(json.dumps(terms, indent=2))
            return
        reasons = terms.pop("rejected")
        for name, value in terms.items():
            self.stdout.write(f"{name:<24}{value:>12,}")
            if name == "accepted":
                self.stdout.write(f"{'rejected':<24}{sum(reasons.values()):>12,}")
                for reason, count in reasons.items():
                    self.stdout.write(f"  {reason:<22}{count:>12,}")
        if reading.carried_over:
            self.stdout.write(f"Of received, accepted and archived, {reading.carried_over:,} were carried over.")
        self._print_balance(reading)

    def _print_balance(self, reading: Reading) -> None:
        kept = ledger.last_reading()
        since = {known.stage: known.since for known in ledger.imbalances(kept)} if kept else {}
        uneven = ledger.uneven_stages(reading, kept)
        for stage, events in uneven.items():
            seen = f"since {since[stage]:%Y-%m-%d %H:%M:%S} UTC" if stage in since else "not seen before"
            self.stdout.write(self.style.ERROR(f"NOT EVEN at {stage}: {ledger.in_words(stage, events)} ({seen})."))
        if uneven:
            self.stdout.write("What each means and what to do: docs/books.md")
        elif all(fewest == most for fewest, most in reading.deviations.values()):
            self.stdout.write("The books balance.")
        else:
            self.stdout.write("The books balance, as far as can be told while events are being archived.")
