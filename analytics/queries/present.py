"""Present: which values the runs of some days have, to choose a filter from.

In: a filter. Out: for each dimension its values. Next: dashboards/
"""

from analytics import breakdowns
from analytics.dimensions import DIMENSIONS
from analytics.queries.filters import Filter

PRESENT_MAX_COUNT = 200


def present(chosen: Filter) -> dict[str, list[str]]:
    """For each dimension the values that any run of the period has, the ones with the most runs first.

    Whatever else the filter says. At most PRESENT_MAX_COUNT of each.
    """
    everything, period = chosen.selection.of_any(*DIMENSIONS), chosen.period
    found = {}
    for dimension in DIMENSIONS:
        one = everything.breakdown(dimension, period.start, period.until, counts_only=True)
        counted = zip(one.keys.tolist(), one.counts[:, 0].tolist(), strict=True)
        most = sorted(counted, key=lambda pair: -pair[1])[:PRESENT_MAX_COUNT]
        numbers = [breakdowns.numbers_of(key)[1] for key, _ in most]
        names = everything.known.names(dimension, set(numbers))
        found[dimension] = [names[number] for number in numbers]
    return found
