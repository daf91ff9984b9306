"""Event ids: UUIDv7 by its layout, sorted by time, never the same twice."""

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vibetel_client.event_id import uuid7

MILLISECONDS = st.integers(min_value=0, max_value=(1 << 48) - 1)


@settings(deadline=None)
@given(MILLISECONDS)
def test_uuid7_is_laid_out_as_rfc_9562_says(unix_ms: int) -> None:
    made = uuid7(unix_ms)
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == unix_ms


@settings(deadline=None)
@given(MILLISECONDS, MILLISECONDS)
def test_uuid7_sorts_by_time(first_ms: int, second_ms: int) -> None:
    if first_ms != second_ms:
        assert (str(uuid7(first_ms)) < str(uuid7(second_ms))) == (first_ms < second_ms)


def test_uuid7_differs_within_a_millisecond() -> None:
    assert len({uuid7(1) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("unix_ms", [-1, 1 << 48])
def test_uuid7_refuses_a_time_it_cannot_hold(unix_ms: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        uuid7(unix_ms)
