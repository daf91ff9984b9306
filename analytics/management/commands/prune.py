"""manage.py prune: old events out of Postgres; their figures stay."""

import sys
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from datetime import date, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone
from tqdm import tqdm

from analytics import prune

_HELP = """
Remove the events before a date from Postgres. Their figures stay: dashboards answer as before, and those hours are
never recomputed. The archive keeps every event. A task does this every night, by RETENTION_MONTHS.

  manage.py prune --dry-run                      what is older than RETENTION_MONTHS; changes nothing
  manage.py prune                                says the same, asks, and removes it
  manage.py prune --before 2026-01-01 --yes      the events before that UTC day, without asking

It may be stopped, and run again, at any time. docs/retention.md says more.
"""


class Command(BaseCommand):
    """Say what would go, ask, remove it."""

    help = _HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With the help as it is written."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Before when, and whether to ask."""
        parser.add_argument("--before", type=_day, metavar="DATE", help="the first UTC day that stays, 2026-01-31")
        parser.add_argument("--dry-run", action="store_true", help="only say what would go")
        parser.add_argument("--yes", action="store_true", help="do not ask: for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what would go, and what went."""
        now = timezone.now()
        before = options["before"] or prune.kept_from(now)
        try:
            old = prune.preview(before, now)
            self.stdout.write(_in_words(before, old))
            if not old.events or options["dry_run"]:
                return
            if not options["yes"]:
                _ask()
            self._prune(before, now, old.events)
        except prune.TooRecent as error:
            raise CommandError(str(error)) from error
        except OperationalError as error:
            raise CommandError("Postgres does not answer. Is the portal running? Run it again: it goes on.") from error
        except KeyboardInterrupt as error:
            raise CommandError("Stopped. Run it again, and it goes on.") from error

    def _prune(self, before: date, now: datetime, total: int) -> None:
        with tqdm(desc="Pruning", unit=" events", total=total, disable=None) as bar:
            pruned = prune.prune(before, now, progress=lambda events: _show(bar, events))
        self.stdout.write(
            f"{pruned.events:,} events of {pruned.days:,} days were removed. "
            "Figures, quarantine and archive are as they were."
        )


def _in_words(before: date, old: prune.Old) -> str:
    if not old.events:
        return f"Postgres has no events before {before}."
    return (
        f"Before {before} (UTC) Postgres has {old.events:,} events of {old.days:,} days, the first {old.first_day}: "
        f"about {old.size_bytes / 1e6:,.0f} MB, room for new events. Figures stay, and the archive keeps every event."
    )


def _ask() -> None:
    """Raises CommandError, unless somebody says yes."""
    if not sys.stdin.isatty():
        raise CommandError("Nothing was removed: there is nobody to ask. --yes removes them.")
    if input("Remove them from Postgres? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was removed.")


def _show(bar: "tqdm[Any]", events: int) -> None:
    bar.update(events)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError("a day is written 2026-01-31") from error
