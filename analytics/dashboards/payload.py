"""Payload: an event as JSON; and the shape of a line that could not be loaded, without anything that is in it.

In: an event; the bytes of a quarantined line, which nobody has checked. Out: text; a Shape: names that are ours, types,
lengths. Pure.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from vibetel_client import contract

from analytics.models import Event

# A longer line is measured, and not parsed.
PARSED_MAX_BYTES = 1_048_576

# What the portal itself adds to a line (wire-format.md, "Envelope, answer, archive line").
_OF_THE_LINE = ("receivedAt", "schemaVersion", "clock")
_NAMES = (*(spec.name for spec in contract.FIELDS), *_OF_THE_LINE)
_NEEDED = {
    *(spec.name for spec in contract.FIELDS if spec.required_for == contract.EVENT_NAMES),
    *("eventId", "receivedAt", "schemaVersion"),
}


def written(event: Event) -> str:
    """An event with the names and in the order of the contract, as its line in the archive has it, indented.

    What it did not say is left out. ASCII only: nothing in it can turn the text around.
    """
    return json.dumps(dict(_fields(event)), indent=2, default=str)


def _fields(event: Event) -> Iterator[tuple[str, object]]:
    installation = event.installation.user_id if event.installation else event.placeholder
    named = {"user_id": installation, "timestamp": _iso(event.occurred_at)}
    for spec in contract.FIELDS:
        value = named[spec.attribute] if spec.attribute in named else getattr(event, spec.attribute)
        if value is not None:
            yield spec.name, value
    yield "receivedAt", _iso(event.received_at)
    if event.clock_is_server:
        yield "clock", "server"


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Shape:
    """What may be told of a payload.

    `kind` is what it is as a whole; `fields` are names of the contract or of the line, each with type and length;
    `missing` are names that each line has; `other_keys` is how many keys have names of somebody else.
    """

    kind: str
    fields: Sequence[tuple[str, str]] = ()
    missing: Sequence[str] = ()
    other_keys: int = 0


def shape(payload: bytes) -> Shape:
    """The shape of a payload; of one that is no JSON or very long, nothing but that."""
    if len(payload) > PARSED_MAX_BYTES:
        return Shape("too long to be looked into")
    try:
        line = msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return Shape("no JSON")
    if not isinstance(line, dict):
        return Shape(_type_and_length(line))
    return Shape(
        kind=_type_and_length(line),
        fields=[(name, _type_and_length(line[name])) for name in _NAMES if name in line],
        missing=[name for name in _NAMES if name in _NEEDED and name not in line],
        other_keys=len(line.keys() - set(_NAMES)),
    )


def _type_and_length(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "number"
        case str():
            return f"text, {_counted(len(value), 'character')}"
        case list():
            return f"list, {_counted(len(value), 'entry')}"
        case _:
            return f"object, {_counted(len(value), 'key')}"  # type: ignore[arg-type]  # all that JSON has left


def _counted(count: int, noun: str) -> str:
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("try") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
