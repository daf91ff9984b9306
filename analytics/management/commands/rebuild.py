"""manage.py rebuild: Postgres anew from the bucket."""

import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from tqdm import tqdm

from analytics import rebuild
from analytics.rebuild import Progress
from analytics.swap import RebuildStopped, Rebuilt
from ingest import archive

_DIFFERENCES_SHOWN = 20


class Command(BaseCommand):
    """Load the whole bucket into new tables, and put them in the place of the live ones."""

    help = (
        "Load the whole bucket into new tables beside the live ones and put them in their place: after a fix of the "
        "loader, where `manage.py verify` found rows or figures wrong, or where Postgres was lost. Dashboards and the "
        "loader go on meanwhile. It takes as much disk again as the live tables have, until it ends. Stopped or "
        "killed at any moment it changes nothing, and the same command goes on where it was. Readings of the books, "
        "reports of verify and accounts stay as they are. docs/rebuild.md says more."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """`--anew` instead of going on; `--forget-missing` where the bucket has lost objects."""
        parser.add_argument("--anew", action="store_true", help="drop what an earlier rebuild left, and start over")
        parser.add_argument(
            "--forget-missing",
            action="store_true",
            help="where the bucket lost or damaged objects that were loaded, go on, and drop their events; else stop",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what is in place now, and what of it differs from before."""
        began = time.monotonic()
        try:
            with _Bars() as bars:
                rebuilt = rebuild.run(
                    anew=options["anew"],
                    forget_missing=options["forget_missing"],
                    say=self.stdout.write,
                    progress=bars.show,
                )
        except RebuildStopped as error:
            raise CommandError(str(error)) from error
        except archive.ArchiveUnavailable as error:
            raise CommandError(
                f"The bucket does not answer ({error}). The live tables are as they were; run it again and it goes on."
            ) from error
        except OperationalError as error:
            raise CommandError(
                "Postgres does not answer, or ended the connection. Run it again and it goes on."
            ) from error
        except KeyboardInterrupt as error:
            raise CommandError("Stopped. The live tables are as they were; run it again and it goes on.") from error
        self._tell(rebuilt, timedelta(seconds=round(time.monotonic() - began)))

    def _tell(self, rebuilt: Rebuilt, taken: timedelta) -> None:
        self.stdout.write(f"{rebuilt.objects:,} objects with {rebuilt.events:,} events are in place, after {taken}.")
        if rebuilt.new_objects:
            self.stdout.write(f"{rebuilt.new_objects:,} of the objects had not been loaded before; not compared.")
        if not rebuilt.differences:
            self.stdout.write(f"All {rebuilt.totals:,} totals equal those before.")
            return
        self.stdout.write(f"{len(rebuilt.differences):,} of {rebuilt.totals:,} totals differ from those before:")
        for difference in rebuilt.differences[:_DIFFERENCES_SHOWN]:
            self.stdout.write(f"  {difference.what}: {difference.before:,} before, {difference.after:,} now")
        if len(rebuilt.differences) > _DIFFERENCES_SHOWN:
            self.stdout.write(f"  and {len(rebuilt.differences) - _DIFFERENCES_SHOWN:,} more")


class _Bars(ExitStack):
    """A bar a step, one after the other, each with an estimate; none where nobody watches."""

    _step = ""
    _bar: "tqdm[Any]"

    def show(self, progress: Progress) -> None:
        """Move the bar of this step."""
        if progress.step != self._step:
            self.close()
            self._step = progress.step
            scaled = progress.unit == "B"
            self._bar = self.enter_context(
                tqdm(
                    desc=progress.step,
                    total=progress.total,
                    initial=progress.done,
                    unit=progress.unit,
                    unit_scale=scaled,
                    disable=None,
                )
            )
        self._bar.total = progress.total
        self._bar.set_postfix_str(progress.note, refresh=False)
        self._bar.update(progress.done - self._bar.n)
