"""Transport: deliver an event, in the background, without ever raising into the host.

In: the endpoint and an event. Fails silently: an event that cannot be delivered at once is lost, there is no spool yet.
"""

import atexit
import contextlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from typing import Protocol

logger = logging.getLogger(__name__)

# For each step: connecting, sending, the answer.
TIMEOUT_S = 3.0
# What a delivery under way may cost the host at its exit.
EXIT_WAIT_S = 0.5


class Transport(Protocol):
    """Anything that takes events; pass one to `Telemetry`. It is called only with the user's consent."""

    def deliver(self, endpoint: str, event: Mapping[str, object]) -> None:
        """Take one event; return at once."""


class HttpTransport:
    """One POST an event, in a daemon thread."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        atexit.register(self._wait)

    def deliver(self, endpoint: str, event: Mapping[str, object]) -> None:
        """Start the delivery and return."""
        thread = threading.Thread(target=_post, args=(endpoint, encode(event)), name="vibetel", daemon=True)
        thread.start()
        self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]

    def _wait(self) -> None:
        deadline_s = time.monotonic() + EXIT_WAIT_S
        with contextlib.suppress(KeyboardInterrupt):
            for thread in self._threads:
                thread.join(max(0.0, deadline_s - time.monotonic()))


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
