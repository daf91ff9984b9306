"""Bench: from objects in the bucket to events, ledger and rollups in PostgreSQL, beside a bare COPY of the same rows.

Out: progress on stderr, Markdown on stdout, exit status 1 where a figure is beyond its limit.
Fails: Inexact, where Postgres does not hold exactly what the bucket does.

`manage.py load` is timed as a whole process. Then looking.py asks what pages ask, and pages.py
looks at them. `make bench`; docs/performance.md.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from tqdm import tqdm

from tests.bench import report, stores
from tests.bench.stack import pinned
from tests.vibetel.programs import CHECKOUT
from vibetel import embedded

EVENTS_MIN_PER_S = 20_000.0
LOOKING_MIN_EVENTS = 100_000  # with fewer, what pages take says nothing
_DAYS = 180
_INSTALLATIONS = 50_000
_ROWS_PER_OBJECT = 10_000
_UNTIL = "2026-11-01T00:00:00Z"


class Inexact(Exception):
    """An event is missing, or there twice."""


def main() -> int:
    """Measure it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="about so many (%(default)s)")
    asked = parser.parse_args()

    load_before = report.load_average()
    with stores.folder() as data_dir:
        with stores.running(data_dir), tqdm(total=5, unit="turn") as bar:
            bar.set_description("writing objects")
            _manage("migrate", "--verbosity", "0")
            with pinned(None):
                simulated = _manage(
                    *("simulate", "--to", "archive", "--until", _UNTIL, "--days", str(_DAYS)),
                    *("--events-per-day", str(asked.events // _DAYS), "--users", str(_INSTALLATIONS)),
                    *("--rows-per-object", str(_ROWS_PER_OBJECT)),
                )
            written = int(simulated.split()[0])
            bar.update()
            bar.set_description("loading")
            began = time.perf_counter()
            said = _manage("load")
            load_s = time.perf_counter() - began
            bar.update()
            url = embedded.environment(Path(os.environ["DATA_DIR"]), os.environ)["DATABASE_URL"]
            with psycopg.connect(url, autocommit=True) as connection:
                rows, rollup_rows, rollup_mb, events_mb = _sizes(connection)
                if rows != written:
                    raise Inexact(f"{written} events in the bucket, {rows} in Postgres")
                bar.set_description("copying")
                copy_s = _copy_s(connection)
                connection.execute("DROP TABLE bench_event")
            bar.update(2)
            bar.set_description("looking")
            looking = [_bench("looking")] if rows >= LOOKING_MIN_EVENTS else []
            bar.update()
        looking += [_bench("pages") for _ in looking]  # the portal starts stores of its own, in the same folder
    hours = re.search(r"(\d+) hours recomputed", said)
    rate, ratio = rows / load_s, copy_s / load_s
    lines = [
        ["events", f"{rows:,}"],
        ["hours recomputed", f"{int(hours[1]):,}" if hours else "?"],
        ["events/s, objects to events, ledger and rollups", f"{rate:,.0f}"],
        ["rows/s, COPY alone, with key and index", f"{rows / copy_s:,.0f}"],
        ["x COPY", f"{ratio:.2f}"],
        ["MB of events a million", f"{events_mb / rows * 1e6:,.0f}"],
        ["rows of rollups a million events", f"{rollup_rows / rows * 1e6:,.0f}"],
        ["MB of rollups a million events", f"{rollup_mb / rows * 1e6:,.0f}"],
    ]
    sys.stdout.write(
        f"{_DAYS} days, {_INSTALLATIONS:,} installations, objects of {_ROWS_PER_OBJECT:,} rows. The loader has a core, "
        f"the stores have another; load average {load_before} before and {report.load_average()} after. Every "
        f"event was there once.\n\n{report.table(['loading', ''], lines)}\n\n"
    )
    beyond = []
    if rate < EVENTS_MIN_PER_S:
        beyond.append(f"Beyond its limit: events/s loaded: {rate:,.0f} < {EVENTS_MIN_PER_S:,.0f}")
    sys.stdout.write("\n".join(beyond or ["Every figure of loading is within its limit."]) + "\n\n")
    sys.stdout.write("\n".join(one.stdout for one in looking))
    return 1 if beyond or any(one.returncode for one in looking) else 0


def _manage(*arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True, text=True).stdout


def _bench(name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"tests.bench.{name}"]
    return subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=False)


def _sizes(connection: psycopg.Connection) -> tuple[int, int, float, float]:
    """Rows of events and of rollups, and the megabytes of both with their indexes: rollups first."""
    (events,) = connection.execute("SELECT count(*) FROM analytics_event").fetchone() or (0,)
    tables = ("analytics_hourlyrollup", "analytics_dailyrollup", "analytics_dailycombinations")
    rollups = rollup_mb = 0
    for table in tables:
        count, megabytes = connection.execute(
            f"SELECT count(*), pg_total_relation_size('{table}') / 1e6 FROM {table}"
        ).fetchone() or (0, 0)
        rollups, rollup_mb = rollups + count, rollup_mb + megabytes
    (events_mb,) = connection.execute("SELECT pg_total_relation_size('analytics_event') / 1e6").fetchone() or (0,)
    return events, rollups, float(rollup_mb), float(events_mb)


def _copy_s(connection: psycopg.Connection) -> float:
    """How long COPY takes for the same rows, from a file into a table with the same key and index."""
    with tempfile.TemporaryFile() as file:
        with connection.cursor().copy("COPY analytics_event TO STDOUT") as copied:
            for block in copied:
                file.write(block)
        connection.execute("CREATE TABLE bench_event (LIKE analytics_event INCLUDING ALL)")
        file.seek(0)
        began = time.perf_counter()
        with connection.cursor().copy("COPY bench_event FROM STDIN") as copy:
            while block := file.read(1 << 18):
                copy.write(block)
        return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
