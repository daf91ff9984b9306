"""manage.py load: bring Postgres up to the bucket, now; with --history, load what Cloudflare wrote."""

from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone
from tqdm import tqdm

from analytics import history, load, releases, rollups
from analytics.load import Loaded
from analytics.models import TouchedHour
from ingest import archive
from ingest.archive import Listed

_HELP = """
Load every archive object that the ledger does not know into Postgres, and recompute the rollups it touches. Safe to run
at any time: what is loaded already stays as it is.

Archives that Cloudflare wrote into this bucket are loaded when asked for, by the prefix of their names:

  manage.py load --history '' --dry-run                    what the whole bucket has of them; changes nothing
  manage.py load --history event_date=2026-01              those of an older pipeline, of one month
  manage.py load --history sink/ --since 2026-01-15        those of a newer sink, from a day on

Each of their lines goes through the checks of the endpoint first: what no event may carry is dropped, and a line that
cannot be read is put into quarantine (manage.py replay). The same event in several objects is one event.
"""


class Command(BaseCommand):
    """List the bucket, load what the ledger does not know, recompute the rollups."""

    help = _HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With the help as it is written."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Which history, if any."""
        parser.add_argument("--history", metavar="PREFIX", help="load what Cloudflare wrote under names that begin so")
        parser.add_argument("--since", type=_day, metavar="DATE", help="with --history: the first day, 2026-01-31")
        parser.add_argument("--until", type=_day, metavar="DATE", help="with --history: the last day")
        parser.add_argument("--dry-run", action="store_true", help="with --history: only say what there is")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what became of the objects and their rows."""
        prefix = options["history"]
        if prefix is None and (options["since"] or options["until"] or options["dry_run"]):
            raise CommandError("--since, --until and --dry-run go with --history.")
        try:
            if prefix is None:
                self._load()
                return
            chosen = (prefix, options["since"], options["until"])
            # Listed twice, rather than kept: a bucket may have millions.
            total = sum(1 for _ in tqdm(history.find(*chosen), "Listing", unit=" objects", disable=None))
            found = tqdm(history.find(*chosen), "Reading", total, unit=" objects", disable=None)
            if options["dry_run"]:
                self._preview(found)
            else:
                self._finish(history.load(found))
        except OperationalError as error:
            raise CommandError("Postgres does not answer. Is the portal running?") from error
        except archive.ArchiveUnavailable as error:
            raise CommandError(f"The bucket cannot be listed ({error}). Nothing is lost: run it again.") from error

    def _load(self) -> None:
        with tqdm(desc="Loading", unit=" events", disable=None) as bar:
            loaded = load.catch_up(everything=True, wait=True, progress=lambda seen: _show(bar, seen.rows))
        self._finish(loaded)
        if loaded.foreign_objects:
            self.stdout.write(
                f"{loaded.foreign_objects} objects were not written by this portal, and left alone; "
                "--history loads what Cloudflare wrote."
            )

    def _finish(self, loaded: Loaded) -> None:
        with tqdm(desc="Rolling up", unit=" hours", total=TouchedHour.objects.count(), disable=None) as bar:
            hours = rollups.refresh(progress=lambda count: _show(bar, bar.n + count))
        releases.notice(timezone.now())
        self.stdout.write(
            f"{loaded.objects} objects: {loaded.rows} events loaded, {loaded.duplicates} duplicates, "
            f"{loaded.quarantined} quarantined. {hours} hours recomputed."
        )
        _refuse_delayed(loaded.delayed_objects)

    def _preview(self, found: Iterable[Listed]) -> None:
        seen = history.preview(found)
        self.stdout.write(
            f"{seen.objects} objects, not loaded: {seen.events} events, {seen.duplicates} duplicates among them, "
            f"{seen.quarantined.total()} lines to quarantine{_by_reason(seen.quarantined)}, "
            f"{seen.broken_objects.total()} unreadable objects{_by_reason(seen.broken_objects)}."
        )
        _refuse_delayed(len(seen.delayed))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError("a day is written 2026-01-31") from error


def _show(bar: "tqdm[Any]", position: float) -> None:
    bar.update(position - bar.n)


def _by_reason(counts: Counter[str]) -> str:
    return f" ({', '.join(f'{reason}: {count}' for reason, count in sorted(counts.items()))})" if counts else ""


def _refuse_delayed(count: int) -> None:
    if count:
        raise CommandError(f"{count} objects could not be fetched now: run it again.")
