"""Present: which values the runs of some days have, to choose a filter from.

In: a period. Out: for each dimension its values. Next: dashboards/
"""

from collections import defaultdict

from django.db.models import Q

from analytics import breakdowns
from analytics.dimensions import DIMENSIONS
from analytics.models import Value
from analytics.queries.filters import Period
from analytics.queries.selection import Selection

PRESENT_MAX_COUNT = 200


def present(period: Period) -> dict[str, list[str]]:
    """For each dimension the values that any run of the period has, the ones with the most runs first.

    At most PRESENT_MAX_COUNT of each.
    """
    everything = Selection()
    numbers: dict[str, list[int]] = {}
    for dimension in DIMENSIONS:
        one = everything.breakdown(dimension, period.start, period.until, sets=False)
        counted = zip(one.keys.tolist(), one.counts[:, 0].tolist(), strict=True)
        most = sorted(counted, key=lambda pair: -pair[1])[:PRESENT_MAX_COUNT]
        numbers[dimension] = [breakdowns.numbers_of(key)[1] for key, _ in most]
    wanted = Q(pk__in=[])
    for dimension, some in numbers.items():
        wanted |= Q(dimension=dimension, number__in=some)
    names: dict[str, dict[int, str]] = defaultdict(dict)
    for dimension, number, value in Value.objects.filter(wanted).values_list("dimension", "number", "value"):
        names[dimension][number] = value
    return {dimension: [names[dimension][number] for number in some] for dimension, some in numbers.items()}
