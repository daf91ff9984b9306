"""manage.py simulate: realistic events from a seed, to the portal or straight into the archive."""

import itertools
import json
import math
from argparse import ArgumentTypeError
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec
import urllib3
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from ingest import archive, batches, checks, simulation
from ingest.checks import Rejected
from ingest.simulation import Sent, Traffic

_T = TypeVar("_T")
_R = TypeVar("_R")

# How far back live traffic reaches at most: older times the portal replaces by its own (wire-format.md, "Envelope").
_LIVE_DAYS_MAX = 28
_POSTS_AT_ONCE = 8
# A portal that says "later" is asked again when it said; one that says so this often is down.
_LATER_COUNT_MAX = 60


class Command(BaseCommand):
    """Make realistic traffic. The same seed, times and figures give the same events."""

    help = (
        "Realistic events from a seed. To a running portal, one request an event; or, with --to archive, months of "
        "history straight into the bucket."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to, how much, from which seed."""
        url = settings.PIPELINE_URL
        parser.add_argument("--to", default=url, metavar="URL|archive", help=f"where the events go ({url})")
        parser.add_argument("--count", type=_positive, default=1000, help="events to send to a URL (1000)")
        parser.add_argument("--days", type=_positive, default=90, help="length of a history for the archive (90)")
        parser.add_argument("--events-per-day", type=_positive, default=1000, help="mean over whole weeks (1000)")
        parser.add_argument("--users", type=_positive, default=950, help="active in the last 30 days, about (950)")
        parser.add_argument("--seed", type=int, default=1, help="another seed, other events (1)")
        parser.add_argument("--until", type=_moment, help="end of the events, ISO 8601 (now; the archive: this hour)")
        parser.add_argument(
            "--rows-per-object",
            type=_positive,
            default=settings.BATCH_MAX_ROWS,
            help=f"of the archive ({settings.BATCH_MAX_ROWS})",
        )
        parser.add_argument("--if-empty", action="store_true", help="write no history into an archive that has objects")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what became of the events."""
        until = options["until"] or datetime.now(UTC)
        traffic = Traffic(
            start=until - timedelta(days=options["days"]),
            until=until,
            events_per_day=options["events_per_day"],
            users=options["users"],
            seed=options["seed"],
        )
        if options["to"] == "archive":
            if options["if_empty"] and next(archive.listing(), None):
                self.stdout.write("The archive has objects already: nothing simulated.")
                return
            self._write_history(traffic if options["until"] else _whole_hours(traffic), options["rows_per_object"])
        elif options["to"].startswith(("http://", "https://")):
            self._post(options["to"], traffic, options["count"])
        else:
            raise CommandError('--to takes a URL, or "archive".')

    def _write_history(self, traffic: Traffic, rows_per_object: int) -> None:
        groups = _groups(_checked_lines(traffic), rows_per_object)
        rows, objects = 0, 0
        try:
            with tqdm(total=simulation.expected_count(traffic), unit=" events", disable=None) as progress:
                for written in _concurrently(partial(_put, traffic, rows_per_object), groups, archive.PUTS_AT_ONCE):
                    rows, objects = rows + written, objects + 1
                    progress.update(written)
        except archive.ArchiveUnavailable as error:
            raise CommandError(
                f"The bucket refused ({error}). The same command again writes what is missing."
            ) from error
        until = traffic.until.isoformat().replace("+00:00", "Z")
        self.stdout.write(f"{rows} events in {objects} objects, up to {until} (the same again: --until {until}).")
        self.stdout.write("`manage.py load` loads them.")

    def _post(self, url: str, traffic: Traffic, count: int) -> None:
        bodies = deque((_body(sent) for sent in simulation.events(_live(traffic, count))), maxlen=count)
        outcomes: Counter[str] = Counter()
        with urllib3.PoolManager(maxsize=_POSTS_AT_ONCE, block=True, retries=_RETRIES) as http:
            for outcome in tqdm(
                _concurrently(partial(_outcome, http, url), bodies, _POSTS_AT_ONCE),
                total=len(bodies),
                unit=" events",
                disable=None,
            ):
                outcomes[outcome] += 1
        accepted = outcomes.pop("accepted", 0)
        reasons = ", ".join(f"{reason}: {rejected}" for reason, rejected in sorted(outcomes.items()))
        self.stdout.write(
            f"{accepted} events accepted, {outcomes.total()} rejected{f' ({reasons})' if reasons else ''}."
        )


# -- To the archive ---------------------------------------------------------------------------------------------------


class _Group(NamedTuple):
    """The lines of one object: the how-manieth it is, and when its first line arrived."""

    number: int
    first_ms: int
    lines: list[bytes]


def _whole_hours(traffic: Traffic) -> Traffic:
    """The traffic up to the beginning of this hour, so that a second call a little later does not double it."""
    early = timedelta(
        minutes=traffic.until.minute, seconds=traffic.until.second, microseconds=traffic.until.microsecond
    )
    return replace(traffic, start=traffic.start - early, until=traffic.until - early)


def _checked_lines(traffic: Traffic) -> Iterator[tuple[int, bytes]]:
    """The archive lines, with when they arrived. Raises CommandError where an event breaks the contract: a defect."""
    for sent in simulation.events(traffic):
        verdict = checks.check(
            _body(sent),
            received_at=datetime.fromtimestamp(sent.arrived_ms / 1000, UTC),
            identity_hash_key=settings.IDENTITY_HASH_KEY,
            events_max_count=1,
        ).verdicts[0]
        if isinstance(verdict, Rejected):
            raise CommandError(f"The simulation breaks the contract: {verdict.reason} {verdict.field}")
        yield sent.arrived_ms, verdict.line


def _groups(lines: Iterator[tuple[int, bytes]], rows_max: int) -> Iterator[_Group]:
    """The lines, an object's at a time."""
    for number in itertools.count():
        rows = list(itertools.islice(lines, rows_max))
        if not rows:
            return
        yield _Group(number, rows[0][0], [line for _, line in rows])


def _put(traffic: Traffic, rows_per_object: int, group: _Group) -> int:
    """Write one object, and answer how many rows it has. Its name depends on all that its rows depend on."""
    identity = ("simulate", repr(traffic), str(rows_per_object), str(group.number))
    name = batches.object_name(group.first_ms, *identity)
    archive.put(batches.archive_object(name, group.lines, origin="simulate"))
    return len(group.lines)


# -- To a portal ------------------------------------------------------------------------------------------------------

_RETRIES = urllib3.Retry(
    total=None,
    connect=0,
    read=0,  # the portal may have the event
    status=_LATER_COUNT_MAX,
    status_forcelist=(429, 503),
    allowed_methods=None,  # POST, too: sent again with its eventId, an event that was kept all the same counts once
    raise_on_status=False,
)


def _live(traffic: Traffic, count: int) -> Traffic:
    """The latest traffic: long enough for `count` events, weekends being quiet, or denser where that is too long."""
    per_day = max(traffic.events_per_day, math.ceil(2 * count / _LIVE_DAYS_MAX))
    days = max(4, math.ceil(2 * count / per_day))
    return replace(traffic, start=traffic.until - timedelta(days=days), events_per_day=per_day)


def _body(sent: Sent) -> bytes:
    return msgspec.json.encode({"data": sent.event})


def _outcome(http: urllib3.PoolManager, url: str, body: bytes) -> str:
    """`accepted`, or why the event was rejected. Raises CommandError where no portal answers."""
    try:
        answer = http.request("POST", url, body=body, headers={"Content-Type": "application/json"})
    except urllib3.exceptions.HTTPError as error:
        raise CommandError(f"No portal answers at {url} ({type(error).__name__}). Start one: make run") from error
    if answer.status not in (202, 400):
        raise CommandError(f"{url} answered {answer.status}: is it a portal, and well? See its /readyz.")
    try:
        result = json.loads(answer.data)["results"][0]
        return str(result.get("reason", result["status"]))
    except (ValueError, LookupError, TypeError) as error:
        raise CommandError(f"{url} answered {answer.status} without results: is it a portal?") from error


# -- Both -------------------------------------------------------------------------------------------------------------


def _concurrently(work: Callable[[_T], _R], items: Iterable[_T], at_once: int) -> Iterator[_R]:
    """The results of `work`, in order, holding few items at a time. The first goes alone.

    boto3 makes its client in the first call, and may do so in one thread only; and one call is enough to find out
    that nobody answers.
    """
    remaining = iter(items)
    for item in itertools.islice(remaining, 1):
        yield work(item)
    with ThreadPoolExecutor(at_once) as pool:
        pending = deque(pool.submit(work, item) for item in itertools.islice(remaining, 2 * at_once))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(work, item) for item in itertools.islice(remaining, 1))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _moment(text: str) -> datetime | None:
    """An ISO 8601 time, UTC where it names no zone; None for `now`."""
    if text == "now":
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no ISO 8601 time") from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
