"""Spool: events on disk until they are delivered, in `~/.<tool>/telemetry/`.

In: events, from any number of processes at once. Out: what waits, and what was sent. Next: delivery.py
Bounded to SPOOL_MAX_BYTES and EVENT_MAX_AGE_S; what is given up, oldest first, is counted. Fails: OSError.

    events.ndjson   one event a line, oldest first
    run-<id>.json   a run under way: what to report should its process vanish
    sent.ndjson     the last SENT_MAX_COUNT events that the portal took or refused, for the user to see
    state.json      counts, and when to try again
    spool.lock      held for a moment by whoever changes one of these
    delivery.lock   held by the one process that delivers
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import compress

from vibetel_client import identity
from vibetel_client.files import UNFINISHED, private, remove, replace
from vibetel_client.locks import FileLock, try_lock
from vibetel_client.timestamps import format_timestamp

SPOOL_MAX_BYTES = 1_000_000
EVENT_MAX_AGE_S = 30 * 86_400
SENT_MAX_COUNT = 100
_EVENTS, _SENT, _STATE, _RUN = "events.ndjson", "sent.ndjson", "state.json", "run-"
_SPOOL_LOCK, _DELIVERY_LOCK = "spool.lock", "delivery.lock"

# However long the portal asks us to wait. A time further off was noted by a clock that was wrong.
RETRY_MAX_S = 86_400

# A full spool is cut to this, so that not every event after it rewrites the file.
_CUT_TO_BYTES = SPOOL_MAX_BYTES * 9 // 10

# More files of runs than this are looked through for vanished ones: a tool that always vanishes never delivers.
_RUNS_MAX_COUNT = 100

Event = Mapping[str, object]


class ConsentTakenBack(OSError):
    """The user has said no meanwhile: nothing may be kept any more."""


class State:
    """What is remembered between deliveries. Raises TypeError, ValueError or OverflowError for what cannot be that."""

    def __init__(
        self,
        lost_count: int = 0,
        rejected_count: int = 0,
        failures_count: int = 0,
        not_before_s: float = 0,
        problem: str = "",
        endpoint: str = "",
    ) -> None:
        self.lost_count = int(lost_count)  # events given up, and not yet reported as such
        self.rejected_count = int(rejected_count)  # events that the portal refused, ever
        self.failures_count = int(failures_count)  # attempts in a row that came to nothing
        self.not_before_s = float(not_before_s)  # no attempt before this Unix time
        self.problem = str(problem)  # why the last attempt came to nothing
        self.endpoint = str(endpoint)  # of the last attempt
        if min(self.lost_count, self.rejected_count, self.failures_count) < 0 or not 0 <= self.not_before_s < 1e11:
            raise ValueError("a count below zero, or no time")


class Spool:
    """The spool of one tool and one user. Raises OSError where there is no home directory."""

    def __init__(self, tool: str) -> None:
        self._tool = tool
        self._folder = os.path.join(identity.folder(tool), "telemetry")
        self._events = self._file(_EVENTS)
        self._sent = self._file(_SENT)
        self._state = self._file(_STATE)
        self._lock = FileLock(self._file(_SPOOL_LOCK))
        self.delivery_lock = FileLock(self._file(_DELIVERY_LOCK))

    # -- The host's part ----------------------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Keep one event; the oldest ones make room for it. Raises OSError, ConsentTakenBack."""
        line = _encode(event)
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        with self._lock:
            self._need_consent()
            self._make_room(len(line))
            with open(self._events, "ab+", buffering=0, opener=private) as file:
                size = file.seek(0, os.SEEK_END)
                if size:
                    file.seek(size - 1)
                    if file.read(1) != b"\n":  # whoever wrote it was killed: half a line must not spoil this one
                        line = b"\n" + line
                if file.write(line) != len(line):
                    file.truncate(size)
                    raise OSError("the disk is full")

    def watch(self, event: Event) -> Callable[[], None]:
        """A run begins: `event` is reported should this process vanish. Out: to be called when the run has ended."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        if len(os.listdir(self._folder)) > _RUNS_MAX_COUNT:
            self._adopt_vanished_runs()
        pid = os.getpid()
        path = self._file(f"{_RUN}{event['eventId']}.json")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

        def unwatch() -> None:
            if os.getpid() == pid:  # not in a fork, which has a copy of all this
                os.ftruncate(fd, 0)  # so that nobody adopts it once it is closed
            os.close(fd)
            if os.getpid() == pid:
                remove(path)

        try:
            try_lock(fd)  # for as long as this process lives
            os.write(fd, _encode(event))
        except OSError:
            unwatch()
            raise
        return unwatch

    def is_due(self, now_s: float) -> bool:
        """Whether events wait and may be tried now."""
        waits = os.path.exists(self._events) and os.path.getsize(self._events) > 0
        return waits and not 0 < self.state().not_before_s - now_s <= RETRY_MAX_S

    # -- Delivery's part ----------------------------------------------------------------------------------------------

    def take(self, now_s: float) -> list[Event]:
        """What waits, oldest first, those of vanished processes among it. What is too old is given up."""
        if not os.path.isdir(self._folder):
            return []
        self._adopt_vanished_runs()
        oldest = format_timestamp(int((now_s - EVENT_MAX_AGE_S) * 1000))
        with self._lock:
            self._need_consent()
            for name in os.listdir(self._folder):
                if name.endswith(UNFINISHED):  # its writer was killed: it would hold the lock
                    remove(self._file(name))
            content = _content(self._events)
            waiting = _events(content)
            fresh = [event for event in waiting if str(event.get("timestamp")) >= oldest]
            lines = _lines(fresh)
            if lines != content:  # too old, or half a line whose writer was killed
                self._give_up(len(waiting) - len(fresh), lines)
        return fresh

    def remember(self, **changes: object) -> None:
        """Change some of the State."""
        with self._lock:
            self._need_consent()
            self._remember(**changes)

    def settle(self, events: Sequence[Event], accepted: Sequence[bool], sent_at: str) -> None:
        """The portal has said of each event whether it takes it: none of them waits any longer."""
        ids = {event["eventId"] for event in events}
        status = {True: "accepted", False: "rejected"}
        sent = [{"sentAt": sent_at, "status": status[took], "event": event} for event, took in zip(events, accepted)]
        with self._lock:
            self._need_consent()
            state, waiting = self.state(), self.waiting()
            reported_count = sum(map(_lost_count, compress(events, accepted)))
            # Given up while they were under way, and counted: they have arrived after all.
            arrived_count = len(ids - {event["eventId"] for event in waiting})
            # Killed between two of these, events are sent again, under the same ids.
            self._remember(
                lost_count=max(0, state.lost_count - reported_count - arrived_count),
                rejected_count=state.rejected_count + list(accepted).count(False),
                failures_count=0,
            )
            replace(self._events, _lines([event for event in waiting if event["eventId"] not in ids]))
            replace(self._sent, _lines([*self.sent(), *sent][-SENT_MAX_COUNT:]))

    # -- The user's part ----------------------------------------------------------------------------------------------

    def waiting(self) -> list[Event]:
        """What waits, oldest first."""
        return _events(_content(self._events))

    def sent(self) -> list[Mapping[str, object]]:
        """The last events that were sent, `{"sentAt": …, "status": "accepted" or "rejected", "event": {…}}` each."""
        return _parse(_content(self._sent))

    def state(self) -> State:
        """What is remembered; a broken file remembers nothing."""
        try:
            with open(self._state, "rb") as file:
                return State(**json.loads(file.read()))
        except (OSError, ValueError, TypeError, OverflowError, RecursionError):
            return State()

    def clear(self) -> None:
        """Remove all that is the spool's. Record the no before: who is about to write finds it, and does not."""
        try:
            with self._lock:
                # The tool may keep files of its own in a folder of this name.
                ours = list(filter(_is_ours, os.listdir(self._folder)))
                for name in ours:
                    if sys.platform != "win32" or not name.endswith(".lock"):  # open files cannot be removed there
                        remove(self._file(name))
        except FileNotFoundError:  # there is no folder
            return
        try:
            if sys.platform == "win32":
                for name in ours:
                    remove(self._file(name))
            os.rmdir(self._folder)
        except OSError:  # not empty: somebody has opened a lock, to find that there is nothing to write any more
            pass

    # -- Inside -------------------------------------------------------------------------------------------------------

    def _file(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _make_room(self, bytes_needed: int) -> None:
        size = os.path.getsize(self._events) if os.path.exists(self._events) else 0
        if size + bytes_needed <= SPOOL_MAX_BYTES:
            return
        lines = _content(self._events).splitlines(keepends=True)
        dropped_count = 0
        while dropped_count < len(lines) and size + bytes_needed > _CUT_TO_BYTES:
            size -= len(lines[dropped_count])
            dropped_count += 1
        self._give_up(len(_events(b"".join(lines[:dropped_count]))), b"".join(lines[dropped_count:]))

    def _give_up(self, events_count: int, lines: bytes) -> None:
        """Nothing but `lines` waits any longer. Counted afterwards: where the disk is full, nothing was given up."""
        replace(self._events, lines)
        if events_count:
            self._remember(lost_count=self.state().lost_count + events_count)

    def _adopt_vanished_runs(self) -> None:
        """A run's file that nobody holds: its process ended without a word, and the file is its event."""
        for name in os.listdir(self._folder):
            if not name.startswith(_RUN):
                continue
            try:
                file = open(self._file(name), "rb+")  # noqa: SIM115 - closed below
            except OSError:  # the run has just ended, or it is another user's
                continue
            with file:
                # Empty, it has just begun or ended; not empty, its process locked it before.
                if os.fstat(file.fileno()).st_size and try_lock(file.fileno()):
                    known = {event["eventId"] for event in self.waiting()}  # it vanished after it had reported
                    for event in _events(file.read()):
                        if event["eventId"] not in known:
                            self.append(event)
                    remove(self._file(name))

    def _need_consent(self) -> None:
        if identity.read(identity.path(self._tool)).choice is not True:
            raise ConsentTakenBack

    def _remember(self, **changes: object) -> None:
        replace(self._state, json.dumps({**vars(self.state()), **changes}).encode())


def _is_ours(name: str) -> bool:
    ours = (_EVENTS, _SENT, _STATE, _SPOOL_LOCK, _DELIVERY_LOCK)
    return name in ours or name.startswith(_RUN) or name.endswith(UNFINISHED)


def _lost_count(event: Event) -> int:
    count = event.get("lostCount", 0)
    return count if isinstance(count, int) else 0


def _encode(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _lines(contents: Sequence[Mapping[str, object]]) -> bytes:
    return b"".join(map(_encode, contents))


def _events(lines: bytes) -> list[Event]:
    return [event for event in _parse(lines) if isinstance(event.get("eventId"), str)]


def _parse(lines: bytes) -> list[Mapping[str, object]]:
    """The lines that are whole: a process may have been killed while it wrote one."""
    found: list[Mapping[str, object]] = []
    for line in lines.splitlines():
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            found.append(content)
    return found


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
