"""Round trip: one script in Redis for one request, which never waits longer than a second for it.

In: a script of lua/, its keys and arguments. Out: what the script answers.
Fails: RedisAway, quickly. Next: buffer.py, names.py

redis-py's connections without its pool and its calls, which cost more than all else that a request does
(docs/performance.md): they are kept here, and commands are packed by hiredis.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hiredis
import redis
from django.conf import settings

# Together less than a second, so that no request hangs longer.
_CONNECT_SECONDS = 0.2
_OPEN_SECONDS = 0.4  # with login and loading of scripts; a connection that took longer is the next request's
_ANSWER_SECONDS = 0.5  # for what was sent
# A script that could not run by then must not run later, when nobody waits for its answer: it would keep an event that
# was answered 503. The rest of the wait is for the way back.
_START_SECONDS = 0.3
# A connection that was not used for so long may have been closed by Redis.
_IDLE_SECONDS = 1.0
# After it was away Redis is asked again so often; who comes meanwhile is told at once.
_PAUSE_SECONDS = 0.5

_SCRIPTS = {name: (Path(__file__).parent / "lua" / f"{name}.lua").read_bytes() for name in ("push", "admit")}


logger = logging.getLogger(__name__)


class RedisAway(Exception):
    """Redis did not answer in time, or not with success.

    Where it may have run the script all the same, `unsure_until_ms` is when it had to begin by its own clock, else 0.
    """

    def __init__(self, reason: str, *, unsure_until_ms: int = 0) -> None:
        super().__init__(reason)
        self.unsure_until_ms = unsure_until_ms


class _Line:
    """A connection with the scripts loaded, and what Redis's clock said when it was opened."""

    def __init__(self) -> None:
        pool: Any = redis.ConnectionPool.from_url(
            settings.REDIS_URL,
            socket_timeout=_ANSWER_SECONDS,
            socket_connect_timeout=_CONNECT_SECONDS,
            retry=None,
            driver_info=None,
        )
        began = time.monotonic()
        self.connection: Any = pool.make_connection()
        self.connection.connect()
        commands = [_packed(b"SCRIPT", b"LOAD", source) for source in _SCRIPTS.values()]
        self.connection.send_packed_command([*commands, _packed(b"TIME")], check_health=False)
        self.digests: dict[str, bytes] = {name: self.connection.read_response() for name in _SCRIPTS}
        seconds, microseconds = self.connection.read_response()
        # Taken as if Redis had answered at once: never ahead of its clock.
        self._clock_offset_ms = int(seconds) * 1000 + int(microseconds) / 1000 - time.monotonic() * 1000
        self._answered_at = 0.0
        self.opened_late = time.monotonic() - began > _OPEN_SECONDS

    def is_dead(self) -> bool:
        """Whether Redis has hung up since, so that no request needs to be lost to find out."""
        if time.monotonic() - self._answered_at < _IDLE_SECONDS:
            return False  # it would have to have died just now
        try:
            return bool(self.connection.can_read(0))  # nothing is owed to us: what can be read is the end
        except redis.ConnectionError:
            return True

    def start_by_ms(self) -> int:
        """By Redis's clock, until when a script sent now may begin."""
        return int((time.monotonic() + _START_SECONDS) * 1000 + self._clock_offset_ms)

    def ask(self, command: bytes) -> Any:
        self.connection.send_packed_command([command], check_health=False)
        answer = self.connection.read_response()
        self._answered_at = time.monotonic()
        return answer


# Connections that wait for a request. Not one a thread: granian ends idle threads without a word to Python, and each
# would leave its connection behind.
_idle: list[_Line] = []
# Of this process: is Redis away, and until when (monotonic clock) is it not asked again?
_is_away = False
_away_until = 0.0


def call(script: str, keys: Sequence[bytes | str], arguments: Sequence[bytes | str | int | float]) -> Any:
    """Run a script of lua/; its first argument is the time, by Redis's clock in ms, from which on it must not.

    Raises RedisAway.
    """
    if time.monotonic() < _away_until:
        raise RedisAway("a moment ago")
    start_by_ms = 0
    try:
        line = _take()
        start_by_ms = line.start_by_ms()
        answer = line.ask(_packed(b"EVALSHA", line.digests[script], len(keys), *keys, start_by_ms, *arguments))
    except redis.ResponseError as error:  # also NOSCRIPT: a new line loads them
        raise RedisAway(type(error).__name__) from error
    except (redis.RedisError, OSError) as error:
        _note_away(error)
        raise RedisAway(type(error).__name__, unsure_until_ms=start_by_ms) from error
    if answer == b"late":  # or its clock was set: a new line reads it again
        raise RedisAway("late")
    _idle.append(line)
    if _is_away:
        _note_back()
    return answer


def _take() -> _Line:
    """A connection that nobody else uses. Raises RedisAway, redis.RedisError."""
    while _idle:
        try:
            line = _idle.pop()
        except IndexError:  # another thread was faster
            break
        if not line.is_dead():
            return line
    line = _Line()
    if line.opened_late:
        _idle.append(line)
        raise RedisAway("slow to connect")
    return line


def _packed(*parts: bytes | str | int | float) -> bytes:
    # The stub knows commands of one part only.
    return hiredis.pack_command(parts)  # type: ignore[arg-type,no-any-return]


def _note_away(error: Exception) -> None:
    global _is_away, _away_until
    if not _is_away:
        logger.warning("Redis is away (%s): events are answered 503", type(error).__name__)
    _is_away, _away_until = True, time.monotonic() + _PAUSE_SECONDS


def _note_back() -> None:
    global _is_away
    _is_away = False
    logger.warning("Redis answers again")


def forget() -> None:
    """Start anew: the next call connects."""
    global _is_away, _away_until
    _idle.clear()
    _is_away, _away_until = False, 0.0
