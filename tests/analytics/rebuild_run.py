"""A long rebuild, killed and resumed: `python -m tests.analytics.rebuild_run --events 1000000 --kills 5`.

In: how many events, how many kills, a seed. Out: times; status 1 where a query's answer or a row is not what it was.

Stores of its own: weeks of simulated traffic in the bucket, an object each 10,000 rows, loaded as usual. Then
`manage.py rebuild` is killed with -9 when shares of the events are loaded, the last time when all are, and at last run
to its end.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import django
import psycopg
from django.conf import settings

from tests.events import NOON
from tests.servers import remove, settings_read
from tests.vibetel.programs import CHECKOUT
from vibetel.embedded import servers
from vibetel.embedded.supervisor import Supervisor

_DAYS = 120
_ROWS_PER_OBJECT = 10_000

_T = TypeVar("_T")


def main() -> int:
    """Status 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="about so many (%(default)s)")
    parser.add_argument("--kills", type=int, default=5, help="how often it is killed (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the traffic and of the moments (%(default)s)")
    asked = parser.parse_args()
    with _stores():
        return _run(asked.events, asked.kills, asked.seed)


@contextmanager
def _stores() -> Iterator[None]:
    """PostgreSQL, Valkey and S3 in a folder that is gone afterwards; Django's settings are theirs from then on."""
    for name in settings_read():
        os.environ.pop(name, None)
        os.environ.pop(f"{name}_FILE", None)
    data_dir = Path(tempfile.mkdtemp(prefix="vibetel-"))
    os.environ.update(DATA_DIR=str(data_dir), DJANGO_SETTINGS_MODULE="vibetel.settings", LOG_LEVEL="WARNING")
    try:
        with Supervisor(data_dir, lambda line: None) as supervisor:
            supervisor.start(servers.needed(data_dir, {}))
            django.setup()
            yield
    finally:
        remove(data_dir)


def _run(events: int, kills: int, seed: int) -> int:
    dice = random.Random(seed)
    _manage("migrate", "--verbosity=0")
    history = f"--days={_DAYS} --events-per-day={-(-events // _DAYS)} --seed={seed} --until={NOON.isoformat()}".split()
    _timed(
        "written to the bucket",
        lambda: _manage("simulate", "--to=archive", f"--rows-per-object={_ROWS_PER_OBJECT}", *history),
    )
    _timed("loaded", lambda: _manage("load"))
    before = _timed("every query and every row read", _everything)
    loaded = _count("public")
    began = time.monotonic()
    for number in range(kills):
        share = (number + 1) / kills
        _kill_when_loaded(round(share * loaded), dice.random())
    said = _timed("the last of them ran to its end", lambda: _manage("rebuild"))
    _say(f"{timedelta(seconds=round(time.monotonic() - began))} for the rebuild with {kills} kills in it; it says:")
    _say(said.rstrip())
    after = _everything()
    whole = _timed("a rebuild without kills", lambda: _manage("rebuild"))
    same = before == after == _everything() and "equal those before" in said and "equal those before" in whole
    _say(f"{loaded:,} events, {kills} kills, seed {seed}: {'identical' if same else 'NOT THE SAME'}.")
    return 0 if same else 1


def _manage(*arguments: str) -> str:
    ran = subprocess.run([sys.executable, "manage.py", *arguments], cwd=CHECKOUT, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(ran.stderr)
    return ran.stdout


def _kill_when_loaded(events: int, more_seconds: float) -> None:
    """Start a rebuild, and kill it a little after so many events are in its tables."""
    process = subprocess.Popen([sys.executable, "manage.py", "rebuild"], cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    while process.poll() is None and _count("rebuild") < events:
        time.sleep(0.05)
    time.sleep(more_seconds)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    if ended:
        sys.exit("A rebuild ended before it was killed: give it more events.")
    _say(f"killed with {_count('rebuild'):,} events in the new tables")


def _count(schema: str) -> int:
    """Events that the ledger of a schema says are loaded; 0 where there is none yet."""
    with psycopg.connect(settings.DATABASE_URL) as connection, suppress(psycopg.errors.UndefinedTable):
        query = psycopg.sql.SQL("SELECT coalesce(sum(loaded_rows), 0) FROM {}.analytics_loadedobject")
        row = connection.execute(query.format(psycopg.sql.Identifier(schema))).fetchone()
        return int(row[0]) if row else 0
    return 0


def _everything() -> tuple[str, dict[str, str]]:
    canonical = import_module("tests.analytics.canonical")  # not before Django is set up
    return canonical.answers(NOON), canonical.digests()


def _timed(what: str, work: Callable[[], _T]) -> _T:
    began = time.monotonic()
    result = work()
    _say(f"{time.monotonic() - began:8.1f} s  {what}")
    return result


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
