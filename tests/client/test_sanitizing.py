"""Sanitizing: what a host puts into an event by mistake, and what of it arrives in the payload."""

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vibetel_client import contract
from vibetel_client.command import Run, build_event, sanitize_options
from vibetel_client.contract import COMMAND_ERROR, COMMAND_EXECUTED, OTHER, Field, Kind

from tests.client.hostile import hostile_strings

OPTIONS = {option.name: option for option in contract.OPTIONS}
SNAKE_CASE = [re.sub("([A-Z])", r"_\1", name).lower() for name in OPTIONS]
# What the client itself provides: not the host's to fill.
ORIGIN: dict[str, object] = {
    "user_id": "5f0c8a3e-52d6-4b34-9f0e-0d6f0a4f7a11",
    "session_id": "0c8f7e6d-0b57-4a2b-9c2c-6f0f3f6f2b11",
    "timestamp": "2025-06-01T12:00:00.000Z",
    "event_id": "01972b5d-8e00-7c41-8ce1-b4a93124fa13",
}
HOST_FIELDS = [field for field in contract.FIELDS if field.attribute not in {"event_name", "options", *ORIGIN}]
IDENTIFIERS = [field for field in HOST_FIELDS if field.kind is Kind.IDENTIFIER]
ATTRIBUTES = [field.attribute for field in HOST_FIELDS]

encode_as_ascii = json.JSONEncoder(ensure_ascii=True).encode
encode_as_is = json.JSONEncoder(ensure_ascii=False).encode


def events_full_of(text: str) -> Iterator[dict[str, object]]:
    """A failure and a success with the text in every field and every option, and as the name of one more of each."""
    options: dict[str, object] = dict.fromkeys([*OPTIONS, *SNAKE_CASE, text], text)
    state: dict[str, object] = dict.fromkeys([*ATTRIBUTES, text], text)
    yield build_event(COMMAND_ERROR, {**state, "options": options, **ORIGIN})
    error_type = state.pop("error_type")
    run = Run(text, options, started_s=10.0)
    run.update(state)
    name, properties = run.end(now_s=12.5)
    assert name == COMMAND_EXECUTED
    yield build_event(name, {**properties, "error_type": error_type, **ORIGIN})


def arrives(text: str, event: dict[str, object]) -> bool:
    """Whether the text is anywhere in the payload, as it is or escaped."""
    payload = encode_as_is(event)
    return (
        text in payload or encode_as_is(text)[1:-1] in payload or encode_as_ascii(text)[1:-1] in encode_as_ascii(event)
    )


def test_none_of_100_000_hostile_strings_arrives_through_any_field_or_option() -> None:
    tried, arrived = 0, []
    for kind, text in hostile_strings(100_000):
        tried += 1
        if any(arrives(text, event) for event in events_full_of(text)):
            arrived.append((kind, text))
    assert not arrived
    assert tried == 100_000


@pytest.mark.parametrize("field", IDENTIFIERS, ids=lambda field: field.name)
def test_a_name_arrives_through_its_field(field: Field) -> None:
    """So the test above would see what arrives."""
    assert isinstance(field.example, str)
    failure, success = events_full_of(field.example)
    assert failure[field.name] == success[field.name] == field.example
    assert arrives(field.example, failure)


# Half of it of the characters that names are made of, or the rest would nearly all be refused for their first one.
TEXT = st.one_of(st.text(), st.text("aZ09-_.:/ @\n\u0660\u212a", max_size=120))


@settings(deadline=None)
@given(TEXT)
def test_whatever_text_arrives_is_a_bounded_name(text: str) -> None:
    for event in events_full_of(text):
        for field in IDENTIFIERS:
            value = event[field.name]
            assert value in (OTHER, text)
            assert re.fullmatch(r"[0-9A-Za-z_./:+-]+", str(value))
            assert len(str(value)) <= field.maximum


ANY_VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(st.one_of(st.sampled_from([*OPTIONS, *SNAKE_CASE]), st.text()), ANY_VALUE))
def test_sanitize_options_keeps_nothing_but_flags_counts_and_listed_choices(options: dict[str, object]) -> None:
    for name, value in sanitize_options(options).items():
        option = OPTIONS[name]
        is_count = option.kind is Kind.COUNT and isinstance(value, int) and 0 <= value <= option.maximum
        assert isinstance(value, bool) or is_count or value in option.choices


@settings(deadline=None)
@given(ANY_VALUE)
def test_no_value_but_a_name_a_count_or_a_flag_arrives_in_a_field(value: object) -> None:
    required: dict[str, object] = {"tool_version": value or 0, "command": value or 0}
    event = build_event(COMMAND_ERROR, {**dict.fromkeys(ATTRIBUTES, value), **required, **ORIGIN})
    for field in HOST_FIELDS:
        arrived = event.get(field.name)
        assert arrived is None or isinstance(arrived, (str, bool, int))
        assert not isinstance(arrived, str) or arrived in (OTHER, value)
