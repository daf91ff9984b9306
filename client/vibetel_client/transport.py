"""Transport: deliver an event, in the background, without ever raising into the host.

In: the endpoint and an event. Fails silently: an event that cannot be delivered soon is lost, there is no spool yet.
"""

import atexit
import contextlib
import json
import logging
import threading
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Optional, Protocol

logger = logging.getLogger(__name__)

# For each step: connecting, sending, the answer.
TIMEOUT_S = 3.0
# What deliveries under way may cost the host at its exit.
EXIT_WAIT_S = 0.5
# Events that may wait for the ones before them; more are dropped.
WAITING_MAX_COUNT = 100


class Transport(Protocol):
    """Anything that takes events; pass one to `Telemetry`. It is called only with the user's consent."""

    def deliver(self, endpoint: str, event: Mapping[str, object]) -> None:
        """Take one event; return at once."""


class HttpTransport:
    """One POST an event, one after the other, in a daemon thread that the first event starts."""

    def __init__(self) -> None:
        # Unlike Queue it takes no lock that a signal handler or a fork could find taken.
        self._waiting: SimpleQueue[Optional[tuple[str, bytes]]] = SimpleQueue()
        self._thread: Optional[threading.Thread] = None
        atexit.register(self._wait)

    def deliver(self, endpoint: str, event: Mapping[str, object]) -> None:
        """Queue the event and return; where too many wait already, drop it."""
        if self._waiting.qsize() >= WAITING_MAX_COUNT:
            logger.debug("dropped an event: %d wait already", WAITING_MAX_COUNT)
            return
        self._waiting.put((endpoint, encode(event)))
        if self._thread is None or not self._thread.is_alive():  # a forked process has the object, not the thread
            self._thread = threading.Thread(target=self._work, name="vibetel", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        for endpoint, body in iter(self._waiting.get, None):
            _post(endpoint, body)

    def _wait(self) -> None:
        if self._thread is not None:
            self._waiting.put(None)
            with contextlib.suppress(KeyboardInterrupt):
                self._thread.join(EXIT_WAIT_S)


class RecordingTransport:
    """Keeps events instead of sending them, for the tests of those who use this package."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []

    def deliver(self, endpoint: str, event: Mapping[str, object]) -> None:
        """Keep the event in `events`."""
        self.events.append(dict(event))


def encode(event: Mapping[str, object]) -> bytes:
    """The body of the request (wire-format.md, "A request")."""
    return json.dumps({"data": event}, separators=(",", ":")).encode()


def _post(endpoint: str, body: bytes) -> None:
    # A thread of a host that must not be disturbed: whatever goes wrong here, including the import, ends here.
    try:
        # Here and not above: it takes longer to import than many a tool takes to run.
        import urllib.request  # noqa: PLC0415

        if not endpoint.startswith(("https://", "http://")):
            raise ValueError("the endpoint is no http URL")
        # Some gateways refuse Python's own user agent.
        headers = {"Content-Type": "application/json", "User-Agent": "vibetel-client"}
        request = urllib.request.Request(endpoint, body, headers)  # noqa: S310 - checked above
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
            pass
    except Exception as error:  # noqa: BLE001
        logger.debug("an event was not delivered: %s", type(error).__name__)
