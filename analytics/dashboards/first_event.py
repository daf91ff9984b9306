"""First event: a request to copy, for a portal that has none yet."""

import json
import uuid
from datetime import UTC, datetime

from vibetel_client import contract


def first_event(pipeline_url: str, now: datetime) -> str:
    """A request that sends an event such as a client sends."""
    event = {
        "eventName": contract.COMMAND_EXECUTED,
        "userId": str(uuid.uuid4()),
        "sessionId": str(uuid.uuid4()),
        "timestamp": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "toolVersion": "1.0.0",
        "command": "hello",
        "duration": 1200,
        "options": {},
        "hasError": False,
    }
    body = json.dumps({"data": event}, separators=(",", ":"))
    return f"curl {pipeline_url} \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"
