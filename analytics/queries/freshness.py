"""Freshness: how new the figures are, and who is left out of them. Stands beside every answer."""

from dataclasses import dataclass
from datetime import date, datetime

from django.db.models import Max, Min

from analytics.dimensions import TOTAL
from analytics.models import DailyRollup, LoadedObject, TouchedHour


@dataclass(frozen=True)
class Freshness:
    """`loaded_at` is when events were last loaded (None: never), `first_day` and `newest_day` those with runs.

    `waiting_hours` are hours whose figures are about to be recomputed.
    """

    loaded_at: datetime | None
    first_day: date | None
    newest_day: date | None
    waiting_hours: int


def freshness() -> Freshness:
    """Of all figures, whatever the filter."""
    days = DailyRollup.objects.filter(dimension=TOTAL).aggregate(first=Min("day"), newest=Max("day"))
    return Freshness(
        loaded_at=LoadedObject.objects.order_by("-loaded_at").values_list("loaded_at", flat=True).first(),
        first_day=days["first"],
        newest_day=days["newest"],
        waiting_hours=TouchedHour.objects.count(),
    )
