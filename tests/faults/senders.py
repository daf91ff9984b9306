"""Senders: clients that send the same event, with the same id, until it is answered 2xx; and remember what they saw.

In: the endpoint's port, a seed, how many events. Out: `sent`, by event id. Some hang up before the answer, and some
send again what was accepted, as a client does whose answer was lost.
"""

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from typing import Any

from tests.events import body, event
from tests.faults.checker import Sent

SENDERS = 8
BATCH_MAX = 40
TIMEOUT_S = 5.0

_USERS = 300
_HANGS_UP = 0.02  # of the requests: the sender is gone before the answer
_SENDS_AGAIN = 0.01  # of the accepted ones
_LATE = 0.05  # of the events: they happened on another day
_PAUSE_MAX_S = 1.0


class Senders:
    """Threads that send `events` events in all, never further ahead than they are allowed to."""

    def __init__(self, port: int, events: int, seed: object) -> None:
        self.sent: dict[str, Sent] = {}
        self.statuses: Counter[str] = Counter()
        self.surprises: list[str] = []  # answers that no valid event should get
        self._port = port
        self._events = events
        self._seed = seed
        self._taken = 0
        self._allowed = 0
        self._done = 0
        self._stopped = False
        self._change = threading.Condition()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send until all is accepted, or the end of the block. Fails there where a sender failed."""
        with ThreadPoolExecutor(SENDERS) as pool:
            senders = [pool.submit(self._send, number) for number in range(SENDERS)]
            try:
                yield
            finally:
                with self._change:
                    self._stopped = True
                    self._change.notify_all()
        for sender in senders:
            sender.result()

    def allow(self, events: int) -> None:
        """So many in all may be sent from now on."""
        with self._change:
            self._allowed = min(events, self._events)
            self._change.notify_all()

    def accepted(self) -> int:
        """Events that are."""
        with self._change:
            return self._done

    def finished(self) -> bool:
        """Whether all are."""
        return self.accepted() == self._events

    def _take(self, wanted: int) -> int:
        """How many of these may be sent now; waits; 0 at the end."""
        with self._change:
            self._change.wait_for(lambda: self._stopped or self._taken < self._allowed or self._taken == self._events)
            taken = 0 if self._stopped else min(wanted, self._allowed - self._taken)
            self._taken += taken
            return taken

    def _send(self, number: int) -> None:
        drawn = random.Random(f"sender {number} {self._seed}")
        while count := self._take(1 if drawn.random() < 0.5 else drawn.randint(2, BATCH_MAX)):
            events = [_event(drawn) for _ in range(count)]
            with self._change:
                self.sent.update((fields["eventId"], Sent()) for fields in events)
            content = body(*events)
            self._until_accepted(content, [fields["eventId"] for fields in events], drawn)
            while drawn.random() < _SENDS_AGAIN:
                self._until_accepted(content, [fields["eventId"] for fields in events], drawn)

    def _until_accepted(self, content: bytes, event_ids: list[str], drawn: random.Random) -> None:
        pause_s = 0.05
        while not self._attempt(content, event_ids, hangs_up=drawn.random() < _HANGS_UP):
            if self._stopped:
                return
            time.sleep(pause_s * drawn.uniform(0.5, 1))
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    def _attempt(self, content: bytes, event_ids: list[str], *, hangs_up: bool) -> bool:
        """Whether they are accepted, as far as the sender knows."""
        outcome, results = self._post(content, hangs_up=hangs_up)
        accepted = outcome == "202" and all(result["status"] == "accepted" for result in results)
        with self._change:
            self.statuses[outcome] += 1
            if outcome not in ("202", "503", "refused", "lost", "hung up") or (outcome == "202" and not accepted):
                self.surprises.append(f"{outcome} {results}"[:300])
            for event_id in event_ids:
                event = self.sent[event_id]
                event.maybe_kept += outcome != "refused"
                self._done += accepted and not event.accepted
                event.accepted += accepted
        return accepted

    def _post(self, content: bytes, *, hangs_up: bool) -> tuple[str, list[dict[str, Any]]]:
        """The status, or `refused` where nothing was sent, or what hides what became of it; the results."""
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)) as connection:
            try:
                connection.connect()
            except OSError:
                return "refused", []
            try:
                connection.request("POST", "/api/pipeline", content, {"Content-Type": "application/json"})
                if hangs_up:
                    return "hung up", []
                answer = connection.getresponse()
                results = json.loads(answer.read())["results"] if answer.status == 202 else []
                return str(answer.status), results
            except (OSError, HTTPException, ValueError):
                return "lost", []


def _event(drawn: random.Random) -> dict[str, Any]:
    now = datetime.now(UTC)
    happened = now - timedelta(hours=drawn.randint(1, 500)) if drawn.random() < _LATE else now
    return event(
        eventId=str(uuid.UUID(int=drawn.getrandbits(128), version=4)),
        sessionId=str(uuid.UUID(int=drawn.getrandbits(128), version=4)),
        userId=str(uuid.UUID(int=drawn.randrange(_USERS) + (1 << 64), version=4)),
        timestamp=happened.isoformat(),
        command=drawn.choice(["repo", "web", "plan", "browser"]),
        duration=drawn.randint(1, 100_000),
        hasError=drawn.random() < 0.1,
    )
