"""manage.py export: events as a file."""

import fcntl
import glob
import os
import signal
import sys
import uuid
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from tqdm import tqdm

from analytics import export
from analytics.export import NotUnderstood
from analytics.queries import Filter

_HELP = """
Write the events of a filter as CSV, NDJSON or Parquet. The filter is a query string, with the words of the dashboards:

  manage.py export --format csv --output last-month.csv                          the last 30 days
  manage.py export --format parquet --output repo.parquet --filter 'period=90d&command=repo'
  manage.py export --format ndjson --filter 'period=custom&from=2026-01-01&to=2026-06-30&os__not=linux' | gzip > half.gz

Every event is in it, also the twin of a run that failed and what users sent who opted out. Dashboards count runs:
--runs leaves out the rest. The columns, and what to do with them: docs/analysis.md
"""


class Command(BaseCommand):
    """Write the file, and say how many events are in it."""

    help = _HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With the help as it is written."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Which events, in which form, and where to."""
        parser.add_argument("--format", required=True, choices=export.FORMS)
        parser.add_argument(
            "--output", default="-", metavar="FILE", help="it appears when it is whole; - (the default) is the output"
        )
        parser.add_argument("--filter", default="", metavar="WORDS", help="which events; without, of the last 30 days")
        parser.add_argument("--runs", action="store_true", help="only runs, as dashboards count them")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it; words go to stderr, for the output may be the file."""
        try:
            chosen = export.understood(options["filter"], timezone.now())
            events = self._write(chosen, options["format"], options["output"], runs_only=options["runs"])
        except NotUnderstood as error:
            raise CommandError(f"--filter: {error}") from error
        except (DatabaseError, InterfaceError) as error:
            first = str(error).partition("\n")[0]
            raise CommandError(f"Postgres cannot be read ({first}). Is the portal running?") from error
        except BrokenPipeError as error:
            sys.stdout = None  # nobody is there to flush it to
            raise CommandError("Who was reading the output went away: it is not whole.") from error
        except OSError as error:
            raise CommandError(
                f"{options['output']} cannot be written ({error.strerror}). Nothing was kept: name another --output."
            ) from error
        except KeyboardInterrupt as error:
            raise CommandError("Stopped. Nothing was kept.") from error
        what = "runs" if options["runs"] else "events"
        self._say(f"{events:,} {what} from {chosen.period.first} to {chosen.period.last}, UTC.")
        if until := export.pruned_before(chosen):
            self._say(
                f"Events before {until:%Y-%m-%d} were pruned here. The archive has them: docs/analysis.md", warn=True
            )

    def _write(self, chosen: Filter, form: str, output: str, *, runs_only: bool) -> int:
        with (
            _terminated_as_by_ctrl_c(),
            _opened(output, form) as file,
            tqdm(desc="Exporting", unit=" events", disable=None) as bar,
        ):
            if not bar.disable:  # counting takes a moment, too
                bar.reset(export.count(chosen, runs_only=runs_only))
            events = 0

            def tell(more: int) -> None:
                nonlocal events
                events += more
                bar.update(more)

            for piece in export.pieces(chosen, form, runs_only=runs_only, progress=tell):
                file.write(piece)
        return events

    def _say(self, text: str, *, warn: bool = False) -> None:
        self.stderr.write(text, self.style.WARNING if warn else str)


@contextmanager
def _terminated_as_by_ctrl_c() -> Iterator[None]:
    """A timeout or a service manager sends SIGTERM, which alone would leave the part of a file behind."""
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


@contextmanager
def _opened(output: str, form: str) -> Iterator[BinaryIO]:
    """The output; a file has its name only when it is whole."""
    if output == "-":
        if form == "parquet" and sys.stdout.isatty():
            raise CommandError("Parquet is nothing for a terminal: give --output FILE, or redirect the output.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(output).resolve()
    if target.exists() and not target.is_file():  # a device or a pipe is written to, not replaced
        with target.open("wb") as file:
            yield file
        return
    _remove_parts_of_killed(target)
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.part")  # of this export alone
    try:
        with _opened_and_locked(part) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a full disk elsewhere says so only here
            part.replace(target)  # still locked
    finally:
        part.unlink(missing_ok=True)


def _opened_and_locked(part: Path) -> BinaryIO:
    """Locked as long as its exporter lives, where the disk knows locks."""
    while True:
        file = part.open("xb")
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if part.exists():
            return file
        file.close()  # before it was locked another export took it for one that was left


def _remove_parts_of_killed(target: Path) -> None:
    for part in target.parent.glob(f"{glob.escape(target.name)}.{'[0-9a-f]' * 8}.part"):
        with suppress(OSError), part.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()
