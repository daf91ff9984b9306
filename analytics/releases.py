"""Releases: when a version came out, as the runs tell; and what else to remember of a day.

In: daily rollups, and what administrators wrote. Out: rows of Release, markers for charts. Next: charts

A version is noticed once at least MIN_INSTALLATIONS ran it on one day: below that it may be a build that somebody made
at home. It is a release where it is newer than whatever was noticed on the days before it; of a series that is known
(0.63 of 0.63.4) newer than that series is enough, and on one day a series has one. So neither the versions of the first
day that counts are releases, nor those of a trial before it, nor the old ones that turn up in the first weeks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from typing import Literal

from django.db import connection
from django.db.models import F, Value
from packaging.version import Version

from analytics.models import Annotation, Release

MIN_INSTALLATIONS = 5

# PEP 440 without what nobody releases: development builds, and local ones.
_RELEASED = r"^v?[0-9]+([.][0-9]+)+((a|b|rc)[0-9]+)?([.]post[0-9]+)?$"


@dataclass(frozen=True)
class Marker:
    """Something that a chart shows on a day."""

    day: date
    label: str
    kind: Literal["release", "annotation"]


def markers(first: date, last: date) -> list[Marker]:
    """What is to be marked from one day to another, both included, by day. One statement."""
    released = Release.objects.filter(released_on__range=(first, last)).values_list(
        F("released_on"), F("version"), Value("release")
    )
    noted = Annotation.objects.filter(day__range=(first, last)).values_list(F("day"), F("text"), Value("annotation"))
    return sorted((Marker(*row) for row in released.union(noted, all=True)), key=_order)


def notice(now: datetime) -> int:
    """Make a row of each new release, and count them. What is there stays as it was edited.

    Run again it finds the same. What runs of a clock that is ahead say of tomorrow is for tomorrow.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SEEN, {"released": _RELEASED, "enough": MIN_INSTALLATIONS, "today": now.date()})
        found = cursor.fetchall()
    seen = sorted((first, Version(version), version) for version, first, _ in found)
    portal_began = min((counts for *_, counts in found), default=now.date())
    noticed = dict(Release.objects.filter(first_seen_on__isnull=False).values_list("version", "released_on"))
    # One that an administrator took the day from was none: others are not older than it.
    seen = [one for one in seen if noticed.get(one[2], one[0])]
    fresh = [
        Release(version=version, first_seen_on=day, released_on=day)
        for day, version in _releases(seen, portal_began)
        if version not in noticed
    ]
    if fresh:
        Release.objects.bulk_create(
            fresh, update_conflicts=True, unique_fields=["version"], update_fields=["first_seen_on"]
        )
    return len(fresh)


# Versions that enough installations ran on one day; the first day of each, and the first one with enough.
_SEEN = """
    SELECT v.value, seen.first, counts.day FROM analytics_value v
    CROSS JOIN LATERAL (
        SELECT min(day) AS first FROM analytics_dailyrollup WHERE dimension = 'version' AND value = v.number
    ) seen
    CROSS JOIN LATERAL (
        SELECT day FROM analytics_dailyrollup
        WHERE dimension = 'version' AND value = v.number AND installations_count >= %(enough)s
        ORDER BY day LIMIT 1
    ) counts
    WHERE v.dimension = 'version' AND v.value ~ %(released)s AND seen.first <= %(today)s
"""


def _releases(seen: list[tuple[date, Version, str]], portal_began: date) -> Iterator[tuple[date, str]]:
    """Of versions, in order, those that were new on their day: beside the days before it, and one of a series."""
    newest: dict[tuple[int, int], Version] = {}  # of a series
    for day, versions in groupby(seen, key=itemgetter(0)):
        of_day = {(parsed.major, parsed.minor): (parsed, version) for _, parsed, version in versions}  # the last stays
        newest_of_all = max(newest.values(), default=None)
        for series, (parsed, version) in of_day.items():
            before = newest.get(series, newest_of_all)
            if before and parsed <= before and day > portal_began:
                continue  # neither does it tell which of its series are new
            newest[series] = max(parsed, newest.get(series, parsed))
            if day > portal_began:
                yield day, version


def _order(marker: Marker) -> tuple[date, str, str]:
    return marker.day, marker.kind, marker.label
