"""Usage: added up as it comes, or at the end, it is the same."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics import usage
from analytics.usage import Usage

ROWS = st.lists(
    st.tuples(*(st.integers(0, most) for most in (3, 2**17, 300, 300, 2**33))),
    max_size=20,
)


@given(st.lists(ROWS, max_size=6))
def test_what_is_added_up_as_it_comes_is_the_same(days: list[list[tuple[int, ...]]]) -> None:
    several = [Usage(*np.array(rows, np.int64).reshape(-1, 5).T) for rows in days]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(usage, "_KEPT_MAX_COUNT", 4)
        found = usage.together(several).added_up()
    expected: dict[tuple[int, int], list[int]] = {}
    for version, installation, *counts in chain(*days):
        sums = expected.setdefault((version, installation), [0, 0, 0])
        expected[version, installation] = [sum(pair) for pair in zip(sums, counts, strict=True)]
    rows = zip(*(column.tolist() for column in found.columns()), strict=True)
    assert [*rows] == [(*pair, *sums) for pair, sums in sorted(expected.items())]
