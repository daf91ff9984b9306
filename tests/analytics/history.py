"""Events in the warehouse for tests of what reads it, without a bucket."""

import random
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from analytics import rollups
from analytics.models import Event, Installation, LoadedObject, TouchedHour
from tests.analytics import copies
from tests.analytics.copies import Rows


def run(occurred_at: datetime, **columns: Any) -> Event:
    """A run that succeeded, not saved."""
    fields: dict[str, Any] = {
        "event_id": uuid.uuid4(),
        "event_name": "command_executed",
        "occurred_at": occurred_at,
        "received_at": occurred_at,
        "clock_is_server": False,
        "session_id": uuid.uuid4(),
        "tool_version": "0.64.0",
        "command": "repo",
        "duration_ms": 1200,
        "has_error": False,
        "options": {},
        "source_line": 1,
    }
    return Event(**fields | columns)


def record(events: Iterable[Event]) -> None:
    """Load these events, as load.py would, and bring the rollups up to them."""
    events = list(events)
    source, _ = LoadedObject.objects.get_or_create(
        name="event_date=2026-11-22/hr=12/a.json.gz",
        defaults={"state": "loaded", "size_bytes": 1, "etag": "", "imported": False, "loaded_at": timezone.now()},
    )
    for event in events:
        event.source_object = source
    Event.objects.bulk_create(events)
    hours = {event.occurred_at.replace(minute=0, second=0, microsecond=0) for event in events}
    TouchedHour.objects.bulk_create([TouchedHour(hour=hour) for hour in hours], ignore_conflicts=True)
    rollups.refresh()


_recorded: dict[tuple[str, int, int], tuple[list[Event], Rows]] = {}


def record_made_up(until: datetime, days: int, *, a_day: int) -> list[Event]:
    """`record(made_up(...))` in an empty warehouse. Answers the events, of which copies are to be altered, if any.

    Rolled up once an hour: whoever asks again gets the same rows, so the newest may be an hour before `until`.
    """
    asked = f"{until:%Y-%m-%d %H}", days, a_day
    if asked not in _recorded:
        events = made_up(until, days, a_day=a_day)
        record(events)
        _recorded[asked] = events, copies.of_the_warehouse()
    else:
        copies.put_back(_recorded[asked][1])
    return list(_recorded[asked][0])


def made_up(until: datetime, days: int, *, a_day: int) -> list[Event]:
    """Some weeks of runs before a moment: commands, models, versions, errors and placeholders, always the same."""
    dice = random.Random(7)
    people = Installation.objects.bulk_create(
        [Installation(user_id=uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in range(40)]
    )
    events = []
    for _ in range(days * a_day):
        ago = timedelta(days=dice.randrange(days), hours=dice.choice((0, 3, 9)), minutes=dice.randrange(60))
        known = dice.random() > 0.05
        failed = dice.random() < 0.1
        provider, model = dice.choice((("gemini", "gemini-2.5-pro"), ("openai", "gpt-4.1"), (None, None)))
        events.append(
            run(
                (until - ago).astimezone(UTC),
                installation=dice.choice(people) if known else None,
                placeholder="" if known else "anonymous_opt_out",
                tool_version="0.64.0" if ago.days < 20 else "0.63.3",
                command=dice.choice(("repo", "repo", "ask", "plan", "web")),
                duration_ms=dice.randrange(100, 90_000),
                provider=provider,
                model=model,
                prompt_tokens=dice.randrange(20_000) if model else None,
                completion_tokens=dice.randrange(900) if model else None,
                has_error=failed,
                error_type=dice.choice(("FileError", "NetworkError", None)) if failed else None,
            )
        )
    return events
