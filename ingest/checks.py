"""Check: what a client sent, against the contract.

In: one request's body (bytes) and when it came. Out: a verdict per event: the final archive line, or a reject code and
the field's name, never the value.
Fails: BodyRejected, where the body as a whole is no envelope. Next: buffer.py

Pure but for `admit`, which is given to it: no clock, no settings, no network. Nobody parses an accepted line again
before the load.
"""

import hmac
import math
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
from vibetel_client import contract
from vibetel_client.contract import Field, Kind
from vibetel_client.event_id import parse_uuid, uuid7

# Further off than this, the client's clock is wrong (wire-format.md, "Envelope, answer, archive line").
OLDEST_PLAUSIBLE = timedelta(days=31)
NEWEST_PLAUSIBLE = timedelta(minutes=5)

# 500 events with every field and option have 21,000 of them. Built into objects, a megabyte of brackets takes a hundred
# times as much memory, and a quarter of a second.
_SYMBOLS_MAX = 50_000

Counts = defaultdict[str, int]
_Line = dict[str, object]


class BodyRejected(Exception):
    """The body as a whole was refused: `bad_json` or `missing_data`, or TooMuch."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TooMuch(BodyRejected):
    """`too_many_events` or `too_many_values` in one body: in smaller ones each event would get its verdict."""


class _FieldRejected(Exception):
    def __init__(self, reason: str, name: str) -> None:
        super().__init__(reason, name)
        self.reason = reason
        self.name = name


class Accepted(msgspec.Struct, frozen=True):
    """An event that keeps the contract, as its archive line (UTF-8 JSON without the newline)."""

    line: bytes


class Rejected(msgspec.Struct, frozen=True):
    """An event that breaks the contract: the reject code, and the field's wire name where one is to blame."""

    reason: str
    field: str | None = None


class Checked(msgspec.Struct):
    """The verdicts of one body, in its order.

    `dropped` counts what was left out of its events: `field:note` and `option:query` are on no list, `odd:model` does
    not look like a model, `unseen:model` is one too many today. `installations` counts accepted events by user id,
    without placeholders.
    """

    verdicts: list[Accepted | Rejected]
    dropped: Counts = msgspec.field(default_factory=lambda: defaultdict(int))
    installations: Counts = msgspec.field(default_factory=lambda: defaultdict(int))


class _Arrival(msgspec.Struct):
    """What the checks of one body's events have in common."""

    received_at: datetime
    received_at_text: str
    clock_offset: timedelta
    identity_hash_key: bytes


Name = tuple[str, str]  # a field, and what it says in an event
Admit = Callable[[AbstractSet[Name]], AbstractSet[Name]]

# No field takes a fraction; parsing 1e308 takes 9 µs, and a body may hold 170,000 of them.
_decode = msgspec.json.Decoder(float_hook=lambda text: math.nan).decode
_encode = msgspec.json.Encoder().encode


def check(
    body: bytes,
    *,
    received_at: datetime,
    identity_hash_key: bytes,
    events_max_count: int,
    admit: Admit = lambda names: names,
) -> Checked:
    """Check every event of an envelope `{"data": {…}}` or `{"sentAt": "…", "data": [{…}, …]}`.

    `admit` answers which of the names in accepted events, all of which look right for their fields, may pass
    (names.py). An empty list of events has no verdicts. Of a key that is there twice the last counts. Raises
    BodyRejected, TooMuch.
    """
    if len(body) > _SYMBOLS_MAX and sum(body.count(symbol) for symbol in (b",", b"[", b"{")) > _SYMBOLS_MAX:
        raise TooMuch("too_many_values")
    try:
        envelope = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyRejected("bad_json") from error
    if not isinstance(envelope, dict) or (not envelope.get("data") and envelope.get("data") != []):
        raise BodyRejected("missing_data")
    events = envelope["data"] if isinstance(envelope["data"], list) else [envelope["data"]]
    if len(events) > events_max_count:
        raise TooMuch("too_many_events")
    clock_offset = _clock_offset(envelope.get("sentAt"), received_at)
    arrival = _Arrival(received_at, _format_timestamp(received_at), clock_offset, identity_hash_key)
    checked = Checked([])
    drafts = [_draft(event, arrival, checked) for event in events]
    lines = [draft for draft in drafts if isinstance(draft, dict)]
    _fold_names(lines, admit, checked.dropped)
    checked.verdicts += [Accepted(_encode(draft)) if isinstance(draft, dict) else draft for draft in drafts]
    return checked


def _fold_names(lines: list[_Line], admit: Admit, dropped: Counts) -> None:
    """Put `other` for the names that are not admitted."""
    found = {
        (field, str(value))
        for line in lines
        for field in _NAMED_FIELDS
        if (value := line.get(field, contract.OTHER)) != contract.OTHER
    }
    refused = found - admit(found)
    for line in lines if refused else ():
        for field in _NAMED_FIELDS:
            if (field, line.get(field)) in refused:
                line[field] = contract.OTHER
                dropped[f"unseen:{field}"] += 1


def _clock_offset(sent_at: object, received_at: datetime) -> timedelta:
    """How far the server's clock is ahead of the sender's; zero where the sender did not say."""
    sent = _parse_timestamp(sent_at)
    return received_at - sent if sent else timedelta()


def _draft(event: object, arrival: _Arrival, checked: Checked) -> _Line | Rejected:
    """The archive line but for names that may not pass; or why there is none."""
    if not isinstance(event, dict):
        return Rejected("bad_type", "data")
    name = event.get("eventName")
    if name is None:
        return Rejected("missing_field", "eventName")
    if name not in contract.EVENT_NAMES:
        return Rejected("unknown_event", "eventName")
    if name == contract.COMMAND_ERROR and event.get("duration") is not None and event.get("hasError") is None:
        event = {**event, "hasError": True}  # a run that is reported by its error has failed
    line: _Line = {}
    dropped: Counts = defaultdict(int)
    try:
        for field, spec, kind, rule in _RULED_FIELDS:
            if (value := event.get(field)) is None:
                continue
            if type(value) is not kind:  # what JSON is decoded to has no subclasses; a bool is no int
                raise _FieldRejected("bad_type", field)
            line[field] = rule(value, spec, arrival, dropped)
    except _FieldRejected as rejected:
        return Rejected(rejected.reason, rejected.name)
    for field in _REQUIRED[name]:
        if field not in line:
            return Rejected("missing_field", field)
    if len(line) < len(event):
        for field in event.keys() - _FIELD_NAMES:
            _count_unlisted(field, "field", dropped)
    for left_out, times in dropped.items():
        full = len(checked.dropped) >= _DROPPED_NAMES_MAX and left_out not in checked.dropped
        checked.dropped[f"{left_out.partition(':')[0]}:{OTHER_NAMES}" if full else left_out] += times
    if line["userId"] not in contract.PLACEHOLDER_USER_IDS:
        checked.installations[str(line["userId"])] += 1
    return _archive_line(line, arrival)


def _archive_line(line: _Line, arrival: _Arrival) -> _Line:
    """The archive line: the contract's keys in its order, then eventId, receivedAt, schemaVersion and marks."""
    event_id = line.pop("eventId", None) or uuid7(int(arrival.received_at.timestamp() * 1000))
    occurred_at = line["timestamp"]
    assert isinstance(occurred_at, datetime)
    # As ages, which cannot overflow: a sender may put any year.
    age = arrival.received_at - occurred_at - arrival.clock_offset
    plausible = -NEWEST_PLAUSIBLE <= age <= OLDEST_PLAUSIBLE
    line["timestamp"] = _format_timestamp(arrival.received_at - age) if plausible else arrival.received_at_text
    line["eventId"] = event_id
    line["receivedAt"] = arrival.received_at_text
    line["schemaVersion"] = contract.SCHEMA_VERSION
    if not plausible:
        line["clock"] = "server"
    return line


# -- One rule a kind --------------------------------------------------------------------------------------------------


def _as_it_is(value: object, spec: Field, arrival: _Arrival, dropped: Counts) -> object:
    """A flag; and the event's name, which is looked up before any other field."""
    return value


def _user_id(text: str, spec: Field, arrival: _Arrival, dropped: Counts) -> object:
    """A UUID or a placeholder; any other string, which may be an e-mail address, becomes a keyed hash in UUID form."""
    if not text:
        raise _FieldRejected("bad_value", spec.name)  # hashed, all of them would be one installation
    if text in contract.PLACEHOLDER_USER_IDS:
        return text
    return parse_uuid(text) or _hashed_id(text, arrival.identity_hash_key)


def _uuid(text: str, spec: Field, arrival: _Arrival, dropped: Counts) -> object:
    parsed = parse_uuid(text)
    if parsed is None:
        raise _FieldRejected("bad_value", spec.name)
    return parsed


def _timestamp(text: str, spec: Field, arrival: _Arrival, dropped: Counts) -> object:
    parsed = _parse_timestamp(text)
    if parsed is None:
        raise _FieldRejected("bad_value", spec.name)
    return parsed


def _identifier(text: str, spec: Field, arrival: _Arrival, dropped: Counts) -> object:
    """A string that looks like what the field may hold; any other, which may be free text, becomes `other`."""
    if text == contract.OTHER:
        return text
    if len(text) <= spec.maximum and _looks_right(spec, text):
        return text
    dropped[f"odd:{spec.name}"] += 1
    return contract.OTHER


@lru_cache(maxsize=4096)  # the same few names come again and again: a fifth of the time for an event
def _looks_right(spec: Field, text: str) -> bool:
    assert spec.pattern is not None
    return spec.pattern.fullmatch(text) is not None


def _choice(text: str, spec: Field, arrival: _Arrival, dropped: Counts) -> object:
    return text if text in spec.choices else contract.OTHER


def _count(value: int, spec: Field, arrival: _Arrival, dropped: Counts) -> object:
    if not 0 <= value <= spec.maximum:
        raise _FieldRejected("bad_value", spec.name)
    return value


def _options(value: dict[str, object], spec: Field, arrival: _Arrival, dropped: Counts) -> object:
    """The listed options only, in the contract's order; a string that is no listed choice becomes `true`."""
    kept: dict[str, object] = {}
    for option in contract.OPTIONS if value else ():
        given = value.get(option.name)
        if given is None:
            continue
        if isinstance(given, bool) or (isinstance(given, str) and given in option.choices):
            kept[option.name] = given
        elif isinstance(given, str):
            kept[option.name] = True
        elif option.kind is Kind.COUNT and isinstance(given, int) and 0 <= given <= option.maximum:
            kept[option.name] = given
        else:
            dropped[f"odd:{option.name}"] += 1
    if len(kept) < len(value):
        for name in value.keys() - _OPTION_NAMES:
            _count_unlisted(name, "option", dropped)
    return kept


# With what JSON has to hold.
_RULES: Mapping[Kind, tuple[type, Callable[[Any, Field, _Arrival, Counts], object]]] = {
    Kind.EVENT_NAME: (str, _as_it_is),
    Kind.USER_ID: (str, _user_id),
    Kind.UUID: (str, _uuid),
    Kind.TIMESTAMP: (str, _timestamp),
    Kind.IDENTIFIER: (str, _identifier),
    Kind.CHOICE: (str, _choice),
    Kind.COUNT: (int, _count),
    Kind.FLAG: (bool, _as_it_is),
    Kind.OPTIONS: (dict, _options),
}
_FIELD_NAMES = [spec.name for spec in contract.FIELDS]
_RULED_FIELDS = [(spec.name, spec, *_RULES[spec.kind]) for spec in contract.FIELDS]
_REQUIRED = {
    name: [spec.name for spec in contract.FIELDS if name in spec.required_for] for name in contract.EVENT_NAMES
}

# -- Values -----------------------------------------------------------------------------------------------------------

_NAMED_FIELDS = [spec.name for spec in contract.FIELDS if spec.kind is Kind.IDENTIFIER]
_OPTION_NAMES = frozenset(option.name for option in contract.OPTIONS)
# Of one body; more are counted together.
_DROPPED_NAMES_MAX = 50
OTHER_NAMES = "…"  # stands in for names that are not kept
_NAME = next(spec.pattern for spec in contract.FIELDS if spec.name == "agent" and spec.pattern)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:[0-5]\d)", re.ASCII)


def _count_unlisted(name: str, kind: str, dropped: Counts) -> None:
    """Count what is not on the list: by name, where it looks like one; few of them, since names are free text, too."""
    named = len(dropped) < _DROPPED_NAMES_MAX and _NAME.fullmatch(name)
    dropped[f"{kind}:{name if named else OTHER_NAMES}"] += 1


def _hashed_id(text: str, key: bytes) -> str:
    digest = hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")
    return str(uuid.UUID(bytes=digest[:16], version=5))


def _parse_timestamp(value: object) -> datetime | None:
    """An aware time, or None for what is no ISO 8601 time with a zone."""
    if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _format_timestamp(moment: datetime) -> str:
    """Of a moment in UTC."""
    text = str(msgspec.to_builtins(moment))  # a tenth of what isoformat takes
    return f"{text[:23]}Z" if moment.microsecond else f"{text[:19]}.000Z"
