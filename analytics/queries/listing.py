"""Listing: where a page lists the values of a dimension, a filter by that one chooses rows, and not runs.

So shares and rates stay those of all runs, and a value is compared with others that are not listed. Pure. Next:
versions.py, errors.py
"""

from analytics.queries.selection import Selection


def of_any(selection: Selection, dimension: str) -> Selection:
    """The same, without what it says about the dimension."""
    if not (selection.only.get(dimension) or selection.without.get(dimension)):
        return selection  # which remembers what it read
    only, without = (
        {name: those for name, those in said.items() if name != dimension}
        for said in (selection.only, selection.without)
    )
    return Selection(only, without)


def listed(selection: Selection, dimension: str, value: str) -> bool:
    """Whether its runs are wanted, as far as the dimension goes."""
    only, without = (said.get(dimension, frozenset()) for said in (selection.only, selection.without))
    return (not only or value in only) and value not in without
