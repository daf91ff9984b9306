"""Buffer: hold accepted events until their batch is in the archive.

In: archive lines (bytes). Out: sealed batches of at most BATCH_MAX_ROWS lines and BATCH_MAX_BYTES.
Fails: BufferUnavailable, BufferUnsure, BufferFull, SenderLimited. Next: batches.py

The only user of the stream. Each change to it is one script, so it happens whole or not at all, whoever is killed
when.
"""

import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, cast

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from ingest import round_trip
from ingest.round_trip import Mark

# One hash tag, so that every script finds all of its keys on one node of a cluster.
STREAM = "{vibetel}:events"
BUFFER = "{vibetel}:buffer"  # hash: bytes, sealed_until, identity; looked_ms, held_until_ms (seal.lua)
SEALS = "{vibetel}:seals"  # hash: first id -> "last id, rows, bytes"
COUNTERS = "{vibetel}:counters"  # hash: the books' terms -> events
DROPPED = "{vibetel}:dropped"  # hash: what was left out of accepted events, by name -> times
LATENCIES = "{vibetel}:latencies"  # hash: "status:bucket" -> requests, "status:us" -> microseconds
FINISHED = "{vibetel}:finished"  # hash: periodic job -> Unix seconds
LOOKS = "{vibetel}:looks"  # hash: "job:looks", "job:failures" -> times, "job:us" -> microseconds

_DONE = "{vibetel}:done:"  # with a token: was this call carried out? for an hour
_CLAIM = "{vibetel}:claim:"  # with a seal's first id: somebody writes it to the bucket

# Names of senders' fields are senders' text: so many are counted by name, the others together.
DROPPED_NAMES_MAX = 200

# Whoever claimed a batch and was killed keeps it from the others for so long.
CLAIM_SECONDS = 10

_SEALS_PER_CALL = 50

_Entries = list[tuple[bytes, dict[bytes, bytes]]]  # what XRANGE answers; redis-py's types also allow for decoded text


logger = logging.getLogger(__name__)
_is_full = False  # as this process saw it last


class Charge(NamedTuple):
    """What a body costs one sender: the key of its bucket, events, and the rate: so many events in so many seconds."""

    key: str
    cost: int
    rate_events: int
    rate_seconds: int


class BufferUnavailable(Exception):
    """Redis did not answer within a second, or not with success."""


class BufferUnsure(BufferUnavailable):
    """The same, and the lines may be there: `withdraw` finds out by the `mark`."""

    def __init__(self, mark: Mark) -> None:
        super().__init__("no answer")
        self.mark = mark


class BufferFull(Exception):
    """BUFFER_MAX_ROWS or BUFFER_MAX_BYTES are waiting already."""


class SenderLimited(Exception):
    """A charge is more than its bucket holds now; in `wait_ms` it would not be."""

    def __init__(self, charge: Charge, wait_ms: int) -> None:
        super().__init__(wait_ms)
        self.charge = charge
        self.wait_ms = wait_ms


@dataclass(frozen=True)
class Seal:
    """Which rows are one batch, for good: the stream ids of its first and last, how many, their bytes.

    `identity` tells this stream from any other that ever wrote to the bucket.
    """

    first_id: str
    last_id: str
    rows: int
    bytes: int
    identity: str

    @property
    def first_ms(self) -> int:
        """When its first row was accepted, by Redis's clock, in Unix milliseconds."""
        return _milliseconds(self.first_id)


@cache
def connection() -> redis.Redis:
    """The connection pool of this process. Nothing waits longer than a second for Redis, and nothing is sent twice."""
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=1.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)
    )


@cache
def _script(name: str) -> Script:
    return connection().register_script((Path(__file__).parent / "lua" / f"{name}.lua").read_text())


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise BufferUnavailable(type(error).__name__) from error


def push(
    lines: Sequence[bytes],
    *,
    received: int,
    counts: Mapping[str, int],
    dropped: Mapping[str, int] = MappingProxyType({}),
    charges: Sequence[Charge] = (),
) -> str:
    """Append the lines and count: `received` events came, of which `len(lines)` are accepted and `counts` otherwise.

    When this returns the lines are on Redis's disk. Answers the stream id of the first; empty where there is none.
    Raises SenderLimited, BufferFull, BufferUnavailable: then none of
    them is there; or BufferUnsure.
    """
    keys = (STREAM, BUFFER, COUNTERS, DROPPED, *(charge.key for charge in charges))
    arguments: list[bytes | str | int] = [
        *(settings.BUFFER_MAX_ROWS, settings.BUFFER_MAX_BYTES, DROPPED_NAMES_MAX),
        *(received, len(counts), len(dropped)),
    ]
    for amounts in (counts, dropped):
        for pair in amounts.items():
            arguments += pair
    for charge in charges:
        arguments += charge[1:]
    arguments += lines
    try:
        outcome, wait_ms, number, first_id = round_trip.call("push", keys, arguments)
    except round_trip.RedisAway as error:
        if error.mark:
            raise BufferUnsure(error.mark) from error
        raise BufferUnavailable(str(error)) from error
    if outcome == b"limited":
        raise SenderLimited(charges[number - 1], wait_ms)
    if (outcome == b"full") != _is_full:
        _note_full(outcome == b"full")
    if outcome == b"full":
        raise BufferFull
    return cast(bytes, first_id).decode()


def _note_full(full: bool) -> None:
    global _is_full
    _is_full = full
    logger.warning("the buffer is full: events are answered 503" if full else "the buffer has room again")


def withdraw(mark: Mark, *, received: int, token: str) -> None:
    """Take back what a push kept that ended with BufferUnsure, and count its events as unavailable.

    What is in a sealed batch by now stays, as accepted. Called again with its token, it does nothing. Raises
    BufferUnavailable.
    """
    with _redis_errors():
        _script("withdraw")([STREAM, BUFFER, COUNTERS, mark.key, _DONE + token], [mark.number, received])


def add_counts(counts: Mapping[str, int], latencies: Mapping[str, int], *, token: str) -> None:
    """Add what was counted without a push. Called again with its token, it does nothing. Raises BufferUnavailable."""
    parts = [part for amounts in (counts, latencies) for pair in amounts.items() for part in pair]
    with _redis_errors():
        _script("count")([COUNTERS, LATENCIES, _DONE + token], [len(counts), *parts])


def seal_due(*, max_age_ms: int | None = None) -> int:
    """Seal each batch that is due: full by rows or bytes, or its first row at least as old as `max_age_ms`.

    That is BATCH_MAX_SECONDS unless it is given; then nothing is held back after a gap either (seal.lua). Answers how
    many seals were made, at most 50 in a call.
    """
    at_once = max_age_ms is not None
    if max_age_ms is None:
        max_age_ms = settings.BATCH_MAX_SECONDS * 1000
    arguments = [settings.BATCH_MAX_ROWS, settings.BATCH_MAX_BYTES, max_age_ms, _SEALS_PER_CALL, int(at_once)]
    with _redis_errors():
        return cast(int, _script("seal")([STREAM, BUFFER, SEALS], arguments))


def sealed() -> list[Seal]:
    """The seals whose batches are not released yet, oldest first."""
    with _redis_errors():
        while (identity := cast("bytes | None", connection().hget(BUFFER, "identity"))) is None:
            connection().hsetnx(BUFFER, "identity", secrets.token_hex(16))
        found = cast(dict[bytes, bytes], connection().hgetall(SEALS))
    seals = []
    for first_id, value in found.items():
        last_id, rows, size = value.decode().split()
        seals.append(Seal(first_id.decode(), last_id, int(rows), int(size), identity.decode()))
    return sorted(seals, key=lambda seal: _position(seal.first_id))


def claim(seal: Seal) -> bool:
    """Whether the batch is the caller's to write for CLAIM_SECONDS, and nobody else's.

    Correctness does not rest on it: who writes a batch that another writes, too, finds the object there.
    """
    with _redis_errors():
        try:
            return _take(_CLAIM + seal.first_id, CLAIM_SECONDS)
        except redis.exceptions.OutOfMemoryError:
            return True  # it cannot be noted, and must be written: that makes room


def unclaim(seal: Seal) -> None:
    """Let others write the batch at once."""
    with _redis_errors():
        connection().delete(_CLAIM + seal.first_id)


def is_sealed(seal: Seal) -> bool:
    """Whether the batch is not released yet."""
    with _redis_errors():
        return bool(connection().hexists(SEALS, seal.first_id))


def lines(seal: Seal) -> list[bytes]:
    """The rows of a sealed batch, in order, each without a newline; none where it has been released meanwhile."""
    with _redis_errors():
        entries = cast(_Entries, connection().xrange(STREAM, seal.first_id, seal.last_id))
    strange = sum(b"line" not in fields for _, fields in entries)
    if strange:
        logger.error("rows of another make in Redis: %d, archived as they are, from %s on", strange, seal.first_id)
    return [_line(fields) for _, fields in entries]


def release(seal: Seal) -> int:
    """Forget a batch that is in the archive, and count it as archived. Answers its rows; 0 where that was done."""
    with _redis_errors():
        return cast(int, _script("release")([STREAM, BUFFER, SEALS, COUNTERS], [seal.first_id]))


def oldest_waiting_ms() -> int | None:
    """When the oldest row that is not released was accepted, by Redis's clock, in Unix milliseconds."""
    with _redis_errors():
        entries = cast(_Entries, connection().xrange(STREAM, count=1))
    return _milliseconds(entries[0][0].decode()) if entries else None


def now_ms() -> int:
    """Redis's clock, in Unix milliseconds: the one clock that all of this runs by."""
    with _redis_errors():
        seconds, microseconds = connection().time()
    return seconds * 1000 + microseconds // 1000


def counters() -> dict[str, int]:
    """The books' terms up to the archive, and `waiting`, as of one moment."""
    with _redis_errors(), connection().pipeline() as both:
        both.hgetall(COUNTERS)
        both.xlen(STREAM)
        counts, waiting = both.execute()
    return _integers(counts) | {"waiting": waiting}


def dropped() -> dict[str, int]:
    """What was left out of accepted events, by name: `field:note`, `option:query`, `odd:model`, `unseen:model`."""
    with _redis_errors():
        return _integers(cast(dict[bytes, bytes], connection().hgetall(DROPPED)))


def latencies() -> dict[str, int]:
    """The latency histogram: `status:bucket` (tally.LATENCY_BOUNDS_MS) and `status:us`."""
    with _redis_errors():
        return _integers(cast(dict[bytes, bytes], connection().hgetall(LATENCIES)))


def hazards() -> list[str]:
    """What in Redis's own settings breaks the buffer's promises, as sentences. Raises BufferUnavailable."""
    with _redis_errors():
        try:
            found = connection().config_get("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
        except redis.ResponseError:  # a hosted Redis does not tell
            return []
    max_bytes = int(found["maxmemory"] or 0)
    return [
        sentence
        for sentence, holds in (
            ("appendonly is not yes: a restart of Redis loses what waits", found["appendonly"] != "yes"),
            ("appendfsync is not always: a crash of Redis loses seconds", found["appendfsync"] != "always"),
            ("maxmemory-policy is not noeviction: Redis may evict", found["maxmemory-policy"] != "noeviction"),
            ("maxmemory is 0: Redis may take all memory", max_bytes == 0),
            ("maxmemory is less than twice BUFFER_MAX_BYTES", 0 < max_bytes < 2 * settings.BUFFER_MAX_BYTES),
        )
        if holds
    ]


def take_turn(job: str, seconds: float) -> bool:
    """Whether nobody took this job's turn in the last so many seconds: of several beats, one is heard."""
    with _redis_errors():
        return _take(turn_key(job), seconds)


def _take(key: str, seconds: float) -> bool:
    milliseconds = int(seconds * 1000)
    if connection().set(key, "", nx=True, px=milliseconds):
        return True
    if connection().pttl(key) <= milliseconds:
        return False
    # Redis's clock was set back, and would keep it for so much longer.
    connection().set(key, "", px=milliseconds)
    return True


def turn_key(job: str) -> str:
    """The key that is there while a job's turn is taken."""
    return f"{{vibetel}}:turn:{job}"


@contextmanager
def looking(job: str, *, unless: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Count a look of a periodic job, how long it took, and whether it finished or, by an exception, failed.

    One of `unless` says that there was no look.
    """
    began = time.monotonic()
    try:
        yield
    except unless:
        raise
    except BaseException:
        _note_look(job, began, failed=True)
        raise
    _note_look(job, began, failed=False)


def _note_look(job: str, began: float, *, failed: bool) -> None:
    microseconds = int((time.monotonic() - began) * 1_000_000)
    # A Redis that is away has no room for this, and what the look says of it is said already.
    with suppress(BufferUnavailable), _redis_errors(), connection().pipeline() as together:
        together.hincrby(LOOKS, f"{job}:looks", 1)
        together.hincrby(LOOKS, f"{job}:failures", int(failed))
        together.hincrby(LOOKS, f"{job}:us", microseconds)
        if not failed:
            together.hset(FINISHED, job, now_ms() // 1000)
        together.execute()


def looks() -> dict[str, int]:
    """Of each periodic job `job:looks` and `job:failures`, how many, and `job:us`, how long they took."""
    with _redis_errors():
        return _integers(cast(dict[bytes, bytes], connection().hgetall(LOOKS)))


def finished() -> dict[str, int]:
    """When each periodic job last finished, in Unix seconds."""
    with _redis_errors():
        found = cast(dict[bytes, bytes], connection().hgetall(FINISHED))
    return _integers(found)


def _line(fields: Mapping[bytes, bytes]) -> bytes:
    """A row's line. Of a row that somebody else's hand made without one, all that it holds, for the quarantine."""
    line = fields.get(b"line")
    if line is None:
        line = b" ".join(chain.from_iterable(fields.items()))
    return line.replace(b"\n", b" ")  # the checks write none; in JSON both are white space


def _integers(found: Mapping[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in found.items()}


def _position(stream_id: str) -> tuple[int, int]:
    milliseconds, sequence = stream_id.split("-")
    return int(milliseconds), int(sequence)


def _milliseconds(stream_id: str) -> int:
    return _position(stream_id)[0]
