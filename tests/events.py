"""Events for tests: a valid one, and the lines the check makes of them."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from ingest import buffer, checks
from ingest.checks import Accepted

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = b"a key for tests"


def event(**changes: Any) -> dict[str, Any]:
    """A run that succeeded, as the bundled client sends it; a change to None leaves the field out."""
    fields = {
        "eventName": "command_executed",
        "userId": str(uuid.uuid4()),
        "sessionId": str(uuid.uuid4()),
        "timestamp": "2026-11-22T12:00:00.000Z",
        "toolVersion": "0.64.0",
        "command": "repo",
        "duration": 1200,
        "promptTokens": 1000,
        "provider": "gemini",
        "model": "gemini-2.5-pro",
        "options": {},
        "hasError": False,
        "eventId": str(uuid.uuid4()),
    } | changes
    return {name: value for name, value in fields.items() if value is not None}


def body(*events: Any) -> bytes:
    """An envelope of one event, or of several."""
    return json.dumps({"data": events[0] if len(events) == 1 else list(events)}).encode()


def line(received_at: datetime = NOON, **changes: Any) -> bytes:
    """The archive line of `event(**changes)`."""
    (verdict,) = checks.check(
        body(event(**changes)), received_at=received_at, identity_hash_key=KEY, events_max_count=1
    ).verdicts
    assert isinstance(verdict, Accepted), verdict
    return verdict.line


def waiting_lines() -> list[bytes]:
    """The lines in the buffer, in order; they are sealed by this."""
    buffer.seal_due(max_age_ms=0)
    return [line for seal in buffer.sealed() for line in buffer.lines(seal)]
