"""What the warehouse says, in a form to compare: every query's answer, and every row but for its serial numbers.

In: the database that Django is connected to. Out: canonical JSON. Fails: AssertionError, where a query takes what this
module cannot make up: teach it then, so that no query goes uncompared.
"""

import dataclasses
import hashlib
import inspect
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, get_type_hints

from django.db import connection

from analytics import ledger, queries
from analytics.queries import PERIOD_DAYS, Period

# When, not what: how fresh the figures are, which an object that the ledger forgot cannot keep, and how long the oldest
# event has waited in the buffer.
NOT_COMPARED = {"loaded_at", "oldest_waiting_seconds"}


def answers(now: datetime) -> str:
    """What every public function of queries.py answers, asked for every period and for several nows; and the books."""
    said: dict[str, Any] = {
        f"{name}({', '.join(map(str, arguments))})": query(*arguments)
        for name, query in _queries().items()
        for arguments in itertools.product(*_arguments(query, now))
    }
    assert said
    said["books"] = {term: count for term, count in ledger.books().as_json().items() if term not in NOT_COMPARED}
    said["quarantined"] = ledger.quarantined_by_reason()
    return json.dumps(said, sort_keys=True, indent=1, default=_plain)


def _queries() -> dict[str, Callable[..., Any]]:
    return {
        name: function
        for name, function in inspect.getmembers(queries, inspect.isfunction)
        if function.__module__ == queries.__name__ and not name.startswith("_") and name not in NOT_COMPARED
    }


def _arguments(query: Callable[..., Any], now: datetime) -> list[Sequence[Any]]:
    """For each parameter that a query must be given, values to try."""
    nows = [now, now - timedelta(days=3, hours=5)]
    periods = [Period.ending_today(name, moment) for name in PERIOD_DAYS for moment in nows]
    known: Mapping[Any, Sequence[Any]] = {
        datetime: nows,
        date: [moment.date() for moment in nows],
        Period: [*periods, *(period.before() for period in periods)],
    }
    hints = get_type_hints(query)
    needed = [
        hints[name]
        for name, parameter in inspect.signature(query).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    for kind in needed:
        assert kind in known, f"queries.{query.__name__} takes {kind}: canonical.py has none to give"
    return [known[kind] for kind in needed]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(type(value))


# Each table's rows, in an order of their own, without serial numbers and without when they were loaded.
_ROWS = {
    "events": """
        SELECT (to_jsonb(e) - 'installation_id' - 'source_object_id')::text || coalesce(i.user_id::text, '') || o.name
        FROM analytics_event e
        JOIN analytics_loadedobject o ON o.id = e.source_object_id
        LEFT JOIN analytics_installation i ON i.id = e.installation_id
        ORDER BY event_id
    """,
    "objects": "SELECT (to_jsonb(o) - 'id' - 'loaded_at')::text FROM analytics_loadedobject o ORDER BY name",
    "quarantined": """
        SELECT (to_jsonb(q) - 'id' - 'source_object_id')::text || o.name
        FROM analytics_quarantined q JOIN analytics_loadedobject o ON o.id = q.source_object_id
        ORDER BY o.name, source_line
    """,
    "hours": """
        SELECT (to_jsonb(r) - 'id' - 'installations')::text
        FROM analytics_hourlyrollup r ORDER BY hour, dimension, value
    """,
    "days": """
        SELECT (to_jsonb(r) - 'id' - 'installations')::text
        FROM analytics_dailyrollup r ORDER BY day, dimension, value
    """,
    "touched": "SELECT hour::text FROM analytics_touchedhour ORDER BY hour",
}


def digests() -> dict[str, str]:
    """A digest and a count of each table's rows."""
    found = {}
    for name, query in _ROWS.items():
        digest, count = hashlib.sha256(), 0
        with connection.chunked_cursor() as cursor:
            cursor.execute(query)
            for (row,) in iter(cursor.fetchone, None):
                digest.update(row.encode() + b"\n")
                count += 1
        found[name] = f"{digest.hexdigest()} of {count} rows"
    return found
