"""Event ids: UUIDv7 by its layout, sorted by time, never the same twice."""

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vibetel_client.event_id import parse_uuid, uuid4, uuid7

MILLISECONDS = st.integers(min_value=0, max_value=(1 << 48) - 1)


@settings(deadline=None)
@given(MILLISECONDS)
def test_uuid7_is_laid_out_as_rfc_9562_says(unix_ms: int) -> None:
    made = uuid.UUID(uuid7(unix_ms))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == unix_ms


@settings(deadline=None)
@given(MILLISECONDS, MILLISECONDS)
def test_uuid7_sorts_by_time(first_ms: int, second_ms: int) -> None:
    if first_ms != second_ms:
        assert (uuid7(first_ms) < uuid7(second_ms)) == (first_ms < second_ms)


def test_uuid7_differs_within_a_millisecond() -> None:
    assert len({uuid7(1) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("unix_ms", [-1, 1 << 48])
def test_uuid7_refuses_a_time_it_cannot_hold(unix_ms: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        uuid7(unix_ms)


def test_uuid4_is_laid_out_as_rfc_9562_says_and_never_the_same_twice() -> None:
    made = {uuid4() for _ in range(1_000)}
    assert len(made) == 1_000
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("5F0C8A3E-52D6-4B34-9F0E-0D6F0A4F7A11", "5f0c8a3e-52d6-4b34-9f0e-0d6f0a4f7a11"),
        ("5f0c8a3e-52d6-4b34-9f0e-0d6f0a4f7a11\n", None),
        ("5f0c8a3e52d64b349f0e0d6f0a4f7a11", None),
        ("john@example.com", None),
        ("", None),
    ],
)
def test_parse_uuid_takes_the_canonical_form_in_any_case(text: str, parsed: "str | None") -> None:
    assert parse_uuid(text) == parsed
