"""Freshness: how new the figures are, and who is left out of them. Stands beside every answer."""

from dataclasses import dataclass, replace
from datetime import date, datetime

from django.db import connection

from analytics.dimensions import TOTAL
from analytics.queries.filters import Filter


@dataclass(frozen=True)
class Freshness:
    """`loaded_at` is when events were last loaded (None: never), `first_day` and `newest_day` those with runs.

    `waiting_hours` are hours whose figures are about to be recomputed.
    """

    loaded_at: datetime | None
    first_day: date | None
    newest_day: date | None
    waiting_hours: int

    def comparing(self, chosen: Filter) -> Filter:
        """The filter; it compares with nothing where only some of the days before are known: all would have grown."""
        known = chosen.before and self.first_day and self.first_day <= chosen.before.first
        return chosen if known else replace(chosen, compare="off")


def freshness() -> Freshness:
    """Of all figures, whatever the filter."""
    with connection.cursor() as cursor:
        cursor.execute(_FRESHNESS, [TOTAL, TOTAL])
        return Freshness(*cursor.fetchone())


_FRESHNESS = """
    SELECT (SELECT max(loaded_at) FROM analytics_loadedobject),
           (SELECT min(day) FROM analytics_dailyrollup WHERE dimension = %s),
           (SELECT max(day) FROM analytics_dailyrollup WHERE dimension = %s),
           (SELECT count(*) FROM analytics_touchedhour)
"""
