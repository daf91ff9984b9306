"""Names: which commands, models, versions … are known, and how many unseen ones a day may become so.

In: a field and a value that looks right for it. Out: whether it may pass. Next: checks.py, which is given `admit`

Anybody can invent models that look like models. A flood of them would fill tables and drown dashboards, so each field
takes NEW_NAMES_PER_DAY new ones a day, whatever the number of processes; what is known already always passes.
"""

import time
from collections import defaultdict

from django.conf import settings

from ingest.round_trip import RedisAway, call

# What this process knows to be known, and the days (since 1970) whose bound it knows to be reached, by field.
_known: dict[str, set[str]] = defaultdict(set)
_full_on: dict[str, int] = {}


def admit(field: str, value: str) -> bool:
    """Whether the value is known, or one of the day's new ones. Asks Redis about what this process has not seen yet.

    Where Redis is away it is, for now: the event will not be kept anyway.
    """
    if value in _known[field]:
        return True
    today = int(time.time()) // 86_400
    if _full_on.get(field) == today:
        return False
    keys = (f"{{vibetel}}:names:{field}", "{vibetel}:new-names")
    try:
        answer = call("admit", keys, (field, value, settings.NEW_NAMES_PER_DAY))
    except RedisAway:
        return True
    if answer == 1:
        _known[field].add(value)
        return True
    _known[field].update(name.decode() for name in answer)
    _full_on[field] = today
    return False


def forget() -> None:
    """Know nothing, as a new process does."""
    _known.clear()
    _full_on.clear()
