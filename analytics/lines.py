"""Lines: an archive line -> a row of the staging table, or the reason why there is none.

In: an object's lines (bytes, by number) and its ledger row. Out: rows, and quarantined lines.
Fails: never: that a line cannot be read is an answer. Next: load.py, which writes both.

A line of this portal was checked before it was archived, and is decoded straight into its columns. What the decoder
refuses, because the contract became stricter since, goes through the checks again; a line of others always does.
"""

import hmac
import json
import logging
import re
import sys
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from django.conf import settings
from vibetel_client import contract
from vibetel_client.contract import Field, Kind

from analytics.models import LoadedObject
from ingest import checks
from ingest.checks import BodyRejected, Rejected

logger = logging.getLogger(__name__)

Numbered = Iterable[tuple[int, bytes]]  # lines without their ends; the first of an object is 1
Row = list[Any]  # as COLUMNS names it

# The contract's columns in its order, then where the line came from. `timestamp` becomes `occurred_at`; `user_id` is
# resolved by the database.
COLUMNS = [
    *("occurred_at" if spec.name == "timestamp" else spec.attribute for spec in contract.FIELDS),
    *("received_at", "clock_is_server", "source_object_id", "source_line"),
]
SOURCE_AT = COLUMNS.index("source_object_id")
_OPTIONS_AT = COLUMNS.index("options")
_OCCURRED_AT = COLUMNS.index("occurred_at")

# As long as a request by default; a line of this portal has a few kilobytes. Parsed, a line takes many times as much.
LINE_MAX_BYTES = 1_048_576

# Times outside are a fault of the object. (What is year 10,000 in UTC Postgres takes, and Python cannot read back.)
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class Broken(NamedTuple):
    """A line that cannot be read, and why: a reject code and the field to blame. A tenth of a model's memory."""

    source_line: int
    reason: str
    payload: bytes


class _Unreadable(Exception):
    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason, field)
        self.reason = f"{reason} {field}" if field else reason


def rows(
    source: LoadedObject, lines: Numbered, *, received_at: datetime | None = None
) -> tuple[list[Row], list[Broken]]:
    """Each line as a row, or as a broken one, to be quarantined.

    One of more than LINE_MAX_BYTES is `too_long`.
    The ledger row `source` has been saved. `received_at` is for lines that others wrote, which do not say when they
    came; None for this portal's, which do.
    """
    readable: list[Row] = []
    broken: list[Broken] = []
    for number, text in lines:
        try:
            row = _row(_read(text, received_at))
        except _Unreadable as error:
            reason = error.reason
        except Exception as error:  # noqa: BLE001 - whatever it is, it holds up no other line, and is replayed when mended
            reason = type(error).__name__
            logger.error("unforeseen %s in line %d of %r", reason, number, source.name)
        else:
            row += (source.pk, number)
            readable.append(row)
            continue
        broken.append(Broken(number, sys.intern(reason), text))
    return readable, broken


def _row(line: Any) -> Row:
    """An _ArchiveLine's columns, but for where it came from."""
    row = list(_values(line))
    row[_OPTIONS_AT] = bytes(line.options).decode() or None
    row[_OCCURRED_AT] = line.timestamp.astimezone(UTC)  # Postgres takes no zone beyond 15 hours
    return [*row, line.received_at.astimezone(UTC), line.clock is not None]


def _read(text: bytes, received_at: datetime | None) -> Any:
    """The line as an _ArchiveLine. Raises _Unreadable."""
    if len(text) > LINE_MAX_BYTES:
        raise _Unreadable("too_long")
    try:
        if received_at is not None:
            return _decode_checked(_line_of_others(text, received_at))
        try:
            line: Any = decode(text)
            if _is_right(line):
                return line
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # the checks will say why
        return _decode_checked(_line_checked_again(text))
    except RecursionError as error:  # wherever on the way its nesting is too deep
        raise _Unreadable("bad_json") from error


def _is_right(line: Any) -> bool:
    """Whether a decoded line is what the checks let through today."""
    return (
        _FIRST <= line.received_at < _LAST
        and _FIRST <= line.timestamp < _LAST
        and _names_are_right(*_names(line))
        and _options_are_right(bytes(line.options))
    )


@lru_cache(maxsize=16_384)  # the same come again and again: half the time for a line
def _names_are_right(*names: str | None) -> bool:
    return all(name is None or spec.fullmatch(name) for name, spec in zip(names, _NAME_PATTERNS, strict=True))


@lru_cache(maxsize=16_384)
def _options_are_right(text: bytes) -> bool:
    if not text:
        return True  # the line has none
    try:
        options: dict[str, bool | int | str] = _decode_options(text)
    except msgspec.ValidationError:
        return False
    return all(
        name in _CHOICES and (not isinstance(value, str) or value in _CHOICES[name]) for name, value in options.items()
    )


# -- The decoder ------------------------------------------------------------------------------------------------------

_UUID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def _matching(*alternatives: str) -> Any:
    return Annotated[str, msgspec.Meta(pattern=rf"\A(?:{'|'.join(alternatives)})\Z")]


_word = _matching("[A-Za-z]+")
_CHOICES = {option.name: option.choices for option in contract.OPTIONS}
_decode_options = msgspec.json.Decoder(dict[_word, bool | int | _word]).decode  # type: ignore[valid-type]


def _type_on_the_line(spec: Field) -> Any:
    """What a field's value is in an archive line; names and options are looked at apart."""
    match spec.kind:
        case Kind.USER_ID:
            return _matching(_UUID_PATTERN, *contract.PLACEHOLDER_USER_IDS)
        case Kind.UUID:
            return _matching(_UUID_PATTERN)
        case Kind.TIMESTAMP:
            return Annotated[datetime, msgspec.Meta(tz=True)]
        case Kind.COUNT:
            return Annotated[int, msgspec.Meta(ge=0, le=spec.maximum)]
        case Kind.FLAG:
            return bool
        case Kind.EVENT_NAME | Kind.IDENTIFIER | Kind.CHOICE:
            return str
        case Kind.OPTIONS:
            return msgspec.Raw


def _name_pattern(spec: Field) -> re.Pattern[str] | None:
    match spec.kind:
        case Kind.EVENT_NAME:
            return re.compile("|".join(contract.EVENT_NAMES))
        case Kind.IDENTIFIER:
            assert spec.pattern is not None
            return re.compile(f"{contract.OTHER}|{spec.pattern.pattern}", re.ASCII)
        case Kind.CHOICE:
            return re.compile("|".join((contract.OTHER, *spec.choices)))
        case _:
            return None


_ALWAYS = [spec for spec in contract.FIELDS if spec.required_for == contract.EVENT_NAMES or spec.name == "eventId"]
_SOMETIMES = [spec for spec in contract.FIELDS if spec not in _ALWAYS]


def _optional(spec: Field) -> tuple[str, Any, Any]:
    kind = _type_on_the_line(spec)
    return (spec.attribute, kind, msgspec.Raw()) if kind is msgspec.Raw else (spec.attribute, kind | None, None)


_ArchiveLine = msgspec.defstruct(
    "_ArchiveLine",
    [
        *((spec.attribute, _type_on_the_line(spec)) for spec in _ALWAYS),
        ("received_at", Annotated[datetime, msgspec.Meta(tz=True)]),
        ("schema_version", int),
        *(_optional(spec) for spec in _SOMETIMES),
        ("clock", Literal["server"] | None, None),
    ],
    rename={
        **{spec.attribute: spec.name for spec in contract.FIELDS},
        "received_at": "receivedAt",
        "schema_version": "schemaVersion",
    },
)
decode = msgspec.json.Decoder(_ArchiveLine).decode
_values = attrgetter(*(spec.attribute for spec in contract.FIELDS))
_NAMED = {spec.attribute: pattern for spec in contract.FIELDS if (pattern := _name_pattern(spec))}
_names = attrgetter(*_NAMED)
_NAME_PATTERNS = list(_NAMED.values())

# -- Through the checks -----------------------------------------------------------------------------------------------

_Fields = dict[str, Any]

# What the archive adds to an event (wire-format.md, "Envelope, answer, archive line").
_ADDED = ("receivedAt", "schemaVersion", "clock")


def _line_checked_again(text: bytes) -> _Fields:
    """A line of this portal as the checks would write it now; what they settled when it came stays as it is."""
    archived = _parse(text)
    received_at = _moment(archived, "receivedAt")
    if archived.get("clock") not in (None, "server"):
        raise _Unreadable("bad_value", "clock")
    event = {name: value for name, value in archived.items() if name not in _ADDED}
    settled = {name: archived.get(name) for name in ("timestamp", "receivedAt", "clock")}
    return _check(_identified(event), received_at) | settled


def _line_of_others(text: bytes, received_at: datetime) -> _Fields:
    """A line that Cloudflare wrote, as an archive line: the event as it was sent, or a row with the event in it.

    An older pipeline writes `data` objects; a sink of a stream without a schema has them in a column `value`, some as
    text, and stamps the row. Some senders left the envelope on.
    """
    event = _parse(text)
    for wrapper in ("value", "data"):
        if "eventName" not in event and wrapper in event:
            inner = event[wrapper]
            event = _parse(inner.encode("utf-8", "surrogatepass")) if isinstance(inner, str) else _object(inner)
    event.pop("__ingest_ts", None)  # of two copies of an event each has another
    return _check(_identified(event), received_at)


def _identified(event: _Fields) -> _Fields:
    """With an `eventId`; where it brings none, the UUIDv5 of its canonical form, so that all its copies have the same.

    The namespace is a secret of this portal: else who has the id could try out which address the sender's `userId` was.
    """
    if event.get("eventId") is not None:
        return event
    namespace = uuid.UUID(bytes=hmac.digest(settings.IDENTITY_HASH_KEY, b"event id", "sha256")[:16])
    canonical = json.dumps(event, sort_keys=True, separators=(",", ":"))
    return event | {"eventId": str(uuid.uuid5(namespace, canonical))}


def _check(event: _Fields, received_at: datetime) -> _Fields:
    """The archive line that the checks make of an event. Raises _Unreadable."""
    try:
        (verdict,) = checks.check(
            json.dumps({"data": event}).encode(),
            received_at=received_at,
            identity_hash_key=settings.IDENTITY_HASH_KEY,
            events_max_count=1,
        ).verdicts
    except BodyRejected as error:
        raise _Unreadable(error.reason) from error
    if isinstance(verdict, Rejected):
        raise _Unreadable(verdict.reason, verdict.field)
    line: _Fields = msgspec.json.decode(verdict.line)
    return line


def _decode_checked(line: _Fields) -> Any:
    """What the checks let through the decoder takes, but for times at the ends of the calendar."""
    try:
        decoded: Any = decode(msgspec.json.encode(line))
    except msgspec.ValidationError as error:
        raise _Unreadable("bad_value", "timestamp") from error
    if not _FIRST <= decoded.timestamp < _LAST:
        raise _Unreadable("bad_value", "timestamp")
    return decoded


def _parse(text: bytes) -> _Fields:
    try:
        return _object(json.loads(text.decode(), parse_constant=_refuse))
    except ValueError as error:
        raise _Unreadable("bad_json") from error


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are no JSON


def _object(value: object) -> _Fields:
    if not isinstance(value, dict):
        raise _Unreadable("bad_type", "data")
    return value


def _moment(line: _Fields, field: str) -> datetime:
    if line.get(field) is None:
        raise _Unreadable("missing_field", field)
    try:
        moment: datetime = msgspec.convert(line[field], Annotated[datetime, msgspec.Meta(tz=True)])
    except ValueError as error:  # msgspec's is one; so is that of a lone surrogate
        raise _Unreadable("bad_value", field) from error
    if not _FIRST <= moment < _LAST:
        raise _Unreadable("bad_value", field)
    return moment.astimezone(UTC)
