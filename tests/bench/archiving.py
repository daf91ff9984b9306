"""Bench: what one worker brings from the buffer into the bucket, with a bucket as far away as a real one.

Out: progress on stderr, Markdown on stdout, exit status 1 where a figure is beyond its limit.
Fails: Inexact, where the archive does not hold exactly what was pushed.

The worker's task is called here as often as beat asks for it, without Celery around it. `make bench`;
docs/performance.md.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from statistics import median
from unittest.mock import patch

import django
from django.conf import settings
from django.core.files.storage import storages
from tqdm import tqdm

from ingest import archive, batches, buffer, checks, tasks
from ingest.batches import ArchiveObject
from ingest.checks import Accepted
from tests.bench import posts, report, stores
from tests.bench.stack import Cores, pinned
from tests.vibetel.programs import CHECKOUT
from vibetel.celery import app

AWAY_SECONDS = 0.15  # what a bucket of the internet takes for a put
EVENTS_MIN_PER_S = 5_000.0
OBJECT_MAX_SECONDS = 6.0
_RATES_PER_S = (10, 1_000, 5_000)
_EVENTS_PER_PUSH = 50


class Inexact(Exception):
    """An event was lost or doubled."""


def main() -> int:
    """Measure it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each figure (%(default)s)")
    parser.add_argument("--events", type=int, default=20_000, help="that one turn archives, hundreds (%(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="that events come at each rate (%(default)s)")
    parser.add_argument("--send", type=int, metavar="PER_S", help=argparse.SUPPRESS)  # the sender's own process
    asked = parser.parse_args()
    if asked.send:
        django.setup()
        _send(asked.send, asked.seconds)
        return 0

    load_before = report.load_average()
    bare, near, away = [], [], []
    with (
        stores.folder() as data_dir,
        stores.running(data_dir) as cores,
        tqdm(total=3 * asked.rounds + len(_RATES_PER_S), unit="turn") as bar,
    ):
        django.setup()
        for _ in range(asked.rounds):
            bare.append(_bare_puts_per_s(asked.events // 100))
            near.append(_archived_per_s(asked.events))
            with _bucket_away():
                away.append(_archived_per_s(asked.events))
            bar.update(3)
        waits_s = {}
        for per_s in _RATES_PER_S:
            with _bucket_away():
                waits_s[per_s] = _waits_s(per_s, asked.seconds, cores)
            bar.update()
    lines = [
        ["objects/s, boto3 alone, one after the other", f"{median(bare):,.0f}"],
        ["events/s, archiver", f"{median(near):,.0f}"],
        [f"events/s, archiver, {AWAY_SECONDS * 1000:.0f} ms added to each put", f"{median(away):,.0f}"],
        *(
            [f"s from event to object at {per_s:,} events/s, median and longest", f"{median(s):.1f}, {max(s):.1f}"]
            for per_s, s in waits_s.items()
        ),
    ]
    sys.stdout.write(
        f"One worker on a core of its own, the stores on another; load average {load_before} before and "
        f"{report.load_average()} after. Every event was in one object.\n\n{report.table(['archiving', ''], lines)}\n\n"
    )
    beyond = []
    if median(away) < EVENTS_MIN_PER_S:
        beyond.append(f"Beyond its limit: events/s archived: {median(away):,.0f} < {EVENTS_MIN_PER_S:,.0f}")
    for per_s, s in waits_s.items():
        if max(s) > OBJECT_MAX_SECONDS:
            beyond.append(
                f"Beyond its limit: s to the object at {per_s:,} events/s: {max(s):.1f} > {OBJECT_MAX_SECONDS:g}"
            )
    sys.stdout.write("\n".join(beyond or ["Every figure is within its limit."]) + "\n")
    return 1 if beyond else 0


# -- A turn -----------------------------------------------------------------------------------------------------------


def _bare_puts_per_s(count: int) -> float:
    """Objects of a hundred events that boto3 puts, one after the other."""
    _empty()
    body = batches.archive_object("bare", _lines(100)).body
    client = storages["archive"].connection.meta.client  # type: ignore[attr-defined]
    began = time.perf_counter()
    for number in range(count):
        client.put_object(Bucket=settings.ARCHIVE_BUCKET, Key=f"bare/{number}", Body=body, IfNoneMatch="*")
    return count / (time.perf_counter() - began)


def _archived_per_s(events: int) -> float:
    """Events that one look of the archiver brings into the bucket, all in full batches. Raises Inexact."""
    _empty()
    lines = _lines(_EVENTS_PER_PUSH)
    for _ in range(events // len(lines)):
        buffer.push(lines, received=len(lines), counts={})
    began = time.perf_counter()
    tasks.archive_due_batches()
    taken = time.perf_counter() - began
    _expect(events)
    return events / taken


def _waits_s(per_s: int, seconds: int, cores: Cores) -> list[float]:
    """For each object, how long its first event waited until it was there. Raises Inexact."""
    _empty()
    waits = []
    put = archive.put

    def noted(item: ArchiveObject) -> None:
        put(item)
        waits.append((buffer.now_ms() - _first_ms(item.name)) / 1000)

    with pinned(cores.others):
        command = [sys.executable, "-m", "tests.bench.archiving", "--send", str(per_s), "--seconds", str(seconds)]
        sender = subprocess.Popen(command, cwd=CHECKOUT)
    look_seconds = app.conf.beat_schedule["archive"]["schedule"]
    with patch.object(archive, "put", noted):
        while sender.poll() is None or buffer.counters()["waiting"]:
            began = time.monotonic()
            tasks.archive_due_batches()
            time.sleep(max(0.0, began + look_seconds - time.monotonic()))
    _expect(per_s * seconds)
    return waits


def _send(per_s: int, seconds: int) -> None:
    """Push events at a rate."""
    lines = _lines(min(_EVENTS_PER_PUSH, max(1, per_s // 100)))
    began = time.monotonic()
    for number in range(per_s * seconds // len(lines)):
        time.sleep(max(0.0, began + number * len(lines) / per_s - time.monotonic()))
        buffer.push(lines, received=len(lines), counts={})


def _lines(count: int) -> list[bytes]:
    """Archive lines of realistic events."""
    now = datetime.now(UTC)
    checked = [
        checks.check(body, received_at=now, identity_hash_key=b"bench", events_max_count=1)
        for body in posts.bodies(count)
    ]
    return [verdict.line for found in checked for verdict in found.verdicts if isinstance(verdict, Accepted)]


def _first_ms(name: str) -> int:
    """When an object's first row came: the beginning of the ULID in its name (github.com/ulid/spec)."""
    number = 0
    for letter in name.rpartition("/")[2][:10]:
        number = number * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(letter)
    return number


def _expect(pushed: int) -> None:
    counts = buffer.counters()
    stored = sum(int(archive.metadata(listed.name)["rows"]) for listed in archive.listing())
    if not pushed == counts["archived"] == stored or counts["waiting"]:
        raise Inexact(f"{pushed} events pushed, {stored} in the bucket; counted: {counts}")


def _empty() -> None:
    buffer.connection().flushdb()
    client = storages["archive"].connection.meta.client  # type: ignore[attr-defined]
    for listed in archive.listing():
        client.delete_object(Bucket=settings.ARCHIVE_BUCKET, Key=listed.name)


@contextmanager
def _bucket_away() -> Iterator[None]:
    """A bucket that takes so much longer for each put."""
    events = storages["archive"].connection.meta.client.meta.events  # type: ignore[attr-defined]
    events.register("before-send.s3.PutObject", _wait, unique_id="away")
    yield
    events.unregister("before-send.s3.PutObject", unique_id="away")


def _wait(**request: object) -> None:
    time.sleep(AWAY_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
