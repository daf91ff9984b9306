"""Packing: numbers come back as they went, in whatever thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics import packing


@given(st.lists(st.integers(0, 2**63 - 1), max_size=50), st.integers(1, 4))
def test_unpack_answers_what_was_packed(numbers: list[int], columns: int) -> None:
    found = packing.unpack(packing.pack([np.array(numbers, np.int64)] * columns))
    assert [column.tolist() for column in found] == [numbers] * columns


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, np.uint64, bool])
def test_pack_does_not_depend_on_the_type(kind: type) -> None:
    assert packing.pack([np.array([0, 1, 1], kind)]) == packing.pack([np.array([0, 1, 1], np.int16)])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**31)), max_size=50))
def test_from_steps_answers_the_numbers_that_took_them(pairs: list[tuple[int, int]]) -> None:
    groups, numbers = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
    steps = packing.steps(groups, numbers)
    assert steps.min(initial=0) >= 0
    assert (
        packing.from_steps(np.bincount(groups), packing.unpack(packing.pack([steps]))[0]).tolist() == numbers.tolist()
    )


def test_threads_pack_and_unpack_side_by_side() -> None:
    columns = [[np.arange(start, start + 5_000) % 997] for start in range(8)]

    def there_and_back(column: list[packing.Numbers]) -> bool:
        return all(np.array_equal(packing.unpack(packing.pack(column))[0], column[0]) for _ in range(100))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, columns))
