"""Round trip: one script in Redis for one request, which waits for it no longer than half a second.

In: a script of lua/, its keys and arguments. Out: what the script answers.
Fails: RedisAway, quickly. Next: buffer.py, names.py

redis-py's connections without its pool and its calls, which cost more than all else that a request does
(docs/performance.md): they are kept here, and commands are packed by hiredis.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hiredis
import redis
from django.conf import settings

# A request opens one connection at most, asks about names at most once, and pushes: a second in all.
_OPEN_STEP_SECONDS = 0.2  # each of connecting, logging in and loading the scripts
_OPEN_SECONDS = 0.25  # all of it; a connection that took longer is a later request's
_ANSWER_SECONDS = {"admit": 0.25, "push": 0.5}
# A script that could not begin by then must not run later, when nobody waits for its answer: it would keep an event
# that was answered 503. The rest of the wait is for the way back.
_BEGIN_SHARE = 0.6
# A connection that was not used for so long may have been closed by Redis.
_IDLE_SECONDS = 1.0
# After it was away Redis is asked again so often; who comes meanwhile is told at once.
_PAUSE_SECONDS = 0.5

_SCRIPTS = {name: (Path(__file__).parent / "lua" / f"{name}.lua").read_bytes() for name in _ANSWER_SECONDS}

logger = logging.getLogger(__name__)


class Mark(NamedTuple):
    """Where a script writes down what it did, and the number that tells this run of it from the connection's last."""

    key: str
    number: int


class RedisAway(Exception):
    """Redis did not answer in time, or not with success.

    Where it may have run the script all the same, `mark` is what the script left behind if it did.
    """

    def __init__(self, reason: str, *, mark: Mark | None = None) -> None:
        super().__init__(reason)
        self.mark = mark


class _Connection:
    """redis-py's, with the scripts loaded, and what Redis's clock said when it was opened."""

    def __init__(self) -> None:
        pool: Any = redis.ConnectionPool.from_url(
            settings.REDIS_URL,
            socket_timeout=_OPEN_STEP_SECONDS,
            socket_connect_timeout=_OPEN_STEP_SECONDS,
            protocol=2,  # one step less to log in
            retry=None,
            driver_info=None,
        )
        began = time.monotonic()
        self._wire: Any = pool.make_connection()
        self._wire.connect()
        commands = [_packed(b"SCRIPT", b"LOAD", source) for source in _SCRIPTS.values()]
        self._wire.send_packed_command([*commands, _packed(b"TIME")], check_health=False)
        self.digests: dict[str, bytes] = {name: self._wire.read_response() for name in _SCRIPTS}
        seconds, microseconds = self._wire.read_response()
        # Taken as if Redis had answered at once: never ahead of its clock.
        self._clock_offset_ms = int(seconds) * 1000 + int(microseconds) / 1000 - time.monotonic() * 1000
        self._answered_at = 0.0
        self.mark_key = "{vibetel}:push:" + secrets.token_hex(8)
        self.number = 0  # of the script that was sent last
        self._wire.update_current_socket_timeout(_ANSWER_SECONDS["push"])
        self.opened_late = time.monotonic() - began > _OPEN_SECONDS

    def is_dead(self) -> bool:
        """Whether Redis has hung up since, so that no request needs to be lost to find out."""
        if time.monotonic() - self._answered_at < _IDLE_SECONDS:
            return False  # it would have to have died just now
        try:
            return bool(self._wire.can_read(0))  # nothing is owed to us: what can be read is the end
        except redis.ConnectionError:
            return True

    def begin_by_ms(self, script: str) -> int:
        """By Redis's clock, until when a script sent now may begin."""
        return int((time.monotonic() + _BEGIN_SHARE * _ANSWER_SECONDS[script]) * 1000 + self._clock_offset_ms)

    def ask(self, script: str, command: bytes) -> Any:
        self._wire.send_packed_command([command], check_health=False)
        # Another timeout than the connection's costs two system calls.
        answer = self._wire.read_response(**({} if script == "push" else {"timeout": _ANSWER_SECONDS[script]}))
        self._answered_at = time.monotonic()
        return answer


# Connections that wait for a request. Not one a thread: granian ends idle threads without a word to Python, and each
# would leave its connection behind.
_idle: list[_Connection] = []
# Of this process: is Redis away, and until when (monotonic clock) is it not asked again?
_is_away = False
_away_until = 0.0


def call(script: str, keys: Sequence[bytes | str], arguments: Sequence[bytes | str | int]) -> Any:
    """Run a script of lua/.

    Its first key and second argument are a Mark; its first argument is the time, by Redis's clock in ms, until when it
    may begin.

    Raises RedisAway.
    """
    if time.monotonic() < _away_until:
        raise RedisAway("a moment ago")
    connection = None
    try:
        connection = _take()
        connection.number += 1
        head = (b"EVALSHA", connection.digests[script], len(keys) + 1, connection.mark_key)
        times = (connection.begin_by_ms(script), connection.number)
        answer = connection.ask(script, _packed(*head, *keys, *times, *arguments))
    except redis.exceptions.NoScriptError as error:
        _idle.clear()  # new connections load them
        raise RedisAway(type(error).__name__) from error
    except redis.ResponseError as error:  # it answers at once, and may be asked at once
        _note_away(error, pause_seconds=0)
        raise RedisAway(type(error).__name__) from error
    except (redis.RedisError, OSError) as error:
        _note_away(error, pause_seconds=_PAUSE_SECONDS)
        mark = Mark(connection.mark_key, connection.number) if connection else None
        raise RedisAway(type(error).__name__, mark=mark) from error
    if answer == b"late":  # or its clock was set: a new connection reads it again
        raise RedisAway("late")
    _idle.append(connection)
    if _is_away:
        _note_back()
    return answer


def _take() -> _Connection:
    """A connection that nobody else uses. Raises RedisAway, redis.RedisError."""
    while _idle:
        try:
            connection = _idle.pop()
        except IndexError:  # another thread was faster
            break
        if not connection.is_dead():
            return connection
    connection = _Connection()
    if connection.opened_late:
        _idle.append(connection)
        _note_away(redis.TimeoutError(), pause_seconds=_PAUSE_SECONDS)
        raise RedisAway("slow to connect")
    return connection


def _packed(*parts: bytes | str | int) -> bytes:
    # The stub knows commands of one part only.
    return hiredis.pack_command(parts)  # type: ignore[arg-type,no-any-return]


def _note_away(error: Exception, *, pause_seconds: float) -> None:
    global _is_away, _away_until
    if not _is_away:
        logger.warning("Redis is away or refuses (%s): events are answered 503", type(error).__name__)
    _is_away, _away_until = True, time.monotonic() + pause_seconds


def _note_back() -> None:
    global _is_away
    _is_away = False
    logger.warning("Redis takes events again")


def forget() -> None:
    """Start anew: the next call connects."""
    global _is_away, _away_until
    _idle.clear()
    _is_away, _away_until = False, 0.0
