"""Telemetry: the object that authors of tools use.

In: calls of the host. Out: events to the transport, if the user has said yes. Whatever fails inside, the host goes on.
"""

import contextlib
import logging
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Optional

from vibetel_client import contract, environment, identity
from vibetel_client.command import Run, build_event
from vibetel_client.consent import Consent, decide
from vibetel_client.endpoint import DEFAULT_ENDPOINT
from vibetel_client.event_id import uuid7
from vibetel_client.transport import HttpTransport, Transport, encode

logger = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SESSION_ID = str(uuid.uuid4())


class _Contained(contextlib.ContextDecorator):
    """The border to the host: an exception in here becomes a debug line."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        logger.debug("telemetry failed", exc_info=error)
        return True


class Telemetry:
    """Reports the runs of one tool. One command at a time: starting another forgets the one before.

    Without `endpoint`, `<TOOL>_TELEMETRY_ENDPOINT` and then the packaged one is used; without any, nothing is sent.
    """

    def __init__(
        self, *, tool: str, version: str, endpoint: Optional[str] = None, transport: Optional[Transport] = None
    ) -> None:
        self._tool = tool
        self._version = version
        self._endpoint = endpoint
        self._transport = HttpTransport() if transport is None else transport
        self._run: Optional[Run] = None

    @contextlib.contextmanager
    def command(self, command: str, options: Optional[Mapping[str, object]] = None) -> Iterator[None]:
        """Report what runs inside as one command; an exception, or an exit with a status, makes it a failed one."""
        self.start_command(command, options)
        try:
            yield
        except BaseException as error:
            if not (isinstance(error, SystemExit) and error.code in (None, 0)):
                self.record_error(error)
            raise
        finally:
            self.end_command()

    @_Contained()
    def start_command(self, command: str, options: Optional[Mapping[str, object]] = None) -> None:
        """A command begins. Of its options only those that the contract lists are looked at."""
        self._run = Run(command, options or {}, time.monotonic())

    @_Contained()
    def update_command_state(self, **state: object) -> None:
        """More became known: `prompt_tokens`, `completion_tokens`, `context_tokens`, `provider`, `model`,
        `file_provider`, `file_model`, `thinking_provider`, `thinking_model`."""
        if self._run:
            self._run.update(state)

    @_Contained()
    def record_error(self, error: BaseException) -> None:
        """The command fails. Only the name of the error's class is kept, never its message."""
        if self._run:
            self._run.record_error(error)

    @_Contained()
    def end_command(self) -> None:
        """The command is over: report it."""
        if self._run:
            name, properties = self._run.end(time.monotonic())
            self._run = None
            self.track_event(name, properties)

    @_Contained()
    def track_event(self, name: str, properties: Mapping[str, object]) -> None:
        """Report one event of the contract, its properties by attribute name. Other events are dropped."""
        if name not in contract.EVENT_NAMES:
            logger.debug("dropped an event that the contract does not list: %s", name)
            return
        file = identity.path(self._tool)
        consent = self._decide(file)
        debug = environment.is_on(self._variable("TELEMETRY_DEBUG"))
        endpoint = self._endpoint or self._variable("TELEMETRY_ENDPOINT") or DEFAULT_ENDPOINT
        if not debug and (consent is not Consent.ENABLED or not endpoint):
            return
        event = build_event(name, {**properties, **self._origin(), "user_id": _user_id(consent, file)})
        if debug:
            sys.stderr.write(encode(event).decode() + "\n")
        else:
            self._transport.deliver(endpoint, event)

    def consent(self) -> Consent:
        """What the user has said; an installer asks while it is PENDING."""
        with _Contained():
            return self._decide(identity.path(self._tool))
        return Consent.PENDING

    def enable(self) -> bool:
        """Record a yes. False where it could not be recorded."""
        return self._record_choice(True)

    def disable(self) -> bool:
        """Record a no. False where it could not be recorded: tell the user, the old choice still stands."""
        return self._record_choice(False)

    def _record_choice(self, choice: bool) -> bool:
        with _Contained():
            identity.record_choice(identity.path(self._tool), choice)
            return True
        return False

    def _variable(self, name: str) -> Optional[str]:
        return os.environ.get(environment.variable(self._tool, name))

    def _decide(self, file: Path) -> Consent:
        return decide(self._tool, os.environ, identity.read(file).choice)

    def _origin(self) -> dict[str, object]:
        """What every event says of itself; the host has no say in it."""
        unix_ms = time.time_ns() // 1_000_000
        moment = _EPOCH + timedelta(milliseconds=unix_ms)
        return {
            "event_id": str(uuid7(unix_ms)),
            "session_id": _SESSION_ID,
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "tool_version": self._version,
            **environment.describe(os.environ),
        }


def _user_id(consent: Consent, file: Path) -> Optional[str]:
    """The id of this installation. The placeholders only ever appear in debug output."""
    if consent is not Consent.ENABLED:
        opted_out, pending = contract.PLACEHOLDER_USER_IDS
        return opted_out if consent is Consent.OPTED_OUT else pending
    # A yes may come from a client that kept no UUID: then it is recorded again, with one.
    return identity.read(file).user_id or identity.record_choice(file, True).user_id
