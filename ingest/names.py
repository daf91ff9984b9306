"""Names: which commands, models, versions … are known, and how many unseen ones a day may become so.

In: names, each a field and a value that looks right for it. Out: those that may pass. Next: checks.py, which is given
`admit`. Fails: RedisAway

Anybody can invent models that look like models. A flood of them would fill tables and drown dashboards, so each field
takes NEW_NAMES_PER_DAY new ones a day, whatever the number of processes; what is known already always passes.
"""

import time
from collections.abc import Set as AbstractSet

from django.conf import settings

from ingest.round_trip import call

_NEW_NAMES = "{vibetel}:new-names"
_KNOWN_MAX = 10_000  # of a field, for good: fetching them all takes Redis some milliseconds

# What this process knows to be known, and the days (since 1970, by Redis) whose bound it knows to be reached, by field.
_known: set[tuple[str, str]] = set()
_full_on: dict[str, int] = {}


def admit(names: AbstractSet[tuple[str, str]]) -> AbstractSet[tuple[str, str]]:
    """Those of the names that are known, or new ones of today.

    Asks Redis, once, about what this process has not seen yet. Raises RedisAway.
    """
    if names <= _known:
        return names
    today = int(time.time()) // 86_400
    asked = [(field, value) for field, value in names - _known if _full_on.get(field) != today]
    if asked:
        keys = [_NEW_NAMES, *(f"{{vibetel}}:names:{field}" for field, _ in asked)]
        parts = [part for name in asked for part in name]
        *answers, day = call("admit", keys, (settings.NEW_NAMES_PER_DAY, _KNOWN_MAX, *parts))
        for (field, value), answer in zip(asked, answers, strict=True):
            if answer == 1:
                _known.add((field, value))
            elif answer:  # every known one, with the first that is refused of a field
                _known.update((field, known.decode()) for known in answer)
                _full_on[field] = day
    return names & _known


def forget() -> None:
    """Know nothing, as a new process does."""
    _known.clear()
    _full_on.clear()
