"""manage.py verify: bucket against ledger against rows against rollups."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError
from tqdm import tqdm

from analytics import verify
from analytics.faults import ADVICE, Kind
from analytics.verify import Report
from ingest import archive

_LISTED_MAX = 50  # of each kind; --json has more


class Command(BaseCommand):
    """Compare the stores and print what is wrong, and what to do."""

    help = (
        "Compare bucket, ledger, rows and rollups, and say where they differ. Changes nothing. "
        "Exit status: 0 all is well, 1 there are faults, 2 a store could not be looked at."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """`--deep` reads every object; `--json` for scripts."""
        parser.add_argument("--deep", action="store_true", help="read each object, compare each line with its row")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the report."""
        try:
            with _Bars() as bars:
                report = verify.verify(verify.deep if options["deep"] else verify.shallow, progress=bars.show)
        except (DatabaseError, InterfaceError) as error:
            first = str(error).partition("\n")[0]
            raise CommandError(f"Postgres cannot be read ({first}). Is the portal running?", returncode=2) from error
        except archive.ArchiveUnavailable as error:
            raise CommandError(f"The bucket cannot be read ({error}). Run it again.", returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=2))
        else:
            self._print(report)
        if report.faults:
            raise CommandError(f"{len(report.faults):,} faults.", returncode=1)

    def _print(self, report: Report) -> None:
        read = f", {report.read_count:,} objects read line by line" if report.read_count else ""
        self.stdout.write(f"{report.objects_count:,} objects, {report.events_count:,} events{read}.")
        for count, what in (
            (report.waiting_objects, "objects are not yet loaded."),
            (report.waiting_hours, "hours are about to be recomputed."),
            (report.quarantined_objects, "objects are in quarantine: see the admin, and `manage.py replay`."),
            (report.quarantined_lines, "lines are in quarantine: see the admin, and `manage.py replay`."),
            (
                report.unjudged_hours,
                "hours were not judged, since their events have faults: verify again after repair.",
            ),
        ):
            if count:
                self.stdout.write(f"{count:,} {what}")
        if not report.faults:
            self.stdout.write("No faults.")
        listed = report.faults.listed()
        for kind, count in report.faults.by_kind().items():
            self.stdout.write(f"\n{count:,} {kind}. {ADVICE[Kind(kind)]}")
            shown = [fault for fault in listed if fault.kind == kind][:_LISTED_MAX]
            for fault in shown:
                self.stdout.write(f"  {_in_one_line(fault.name)}: {_in_one_line(fault.detail)}")
            if count > len(shown):
                self.stdout.write(
                    f"  and {count - len(shown):,} more (--json lists up to {verify.FAULTS_SAVED:,} in all)"
                )


def _in_one_line(text: str) -> str:
    """Without what would move a terminal's cursor: the names of foreign objects are anybody's."""
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text)


class _Bars:
    """A progress bar for objects, then one for hours."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._unit = ""

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, unit: str, done: int, total: int) -> None:
        """As verify.Progress."""
        if self._bar is None or unit != self._unit:
            self.__exit__()
            self._unit = unit
            self._bar = tqdm(desc="Verifying", unit=f" {unit}", total=total, disable=None)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
