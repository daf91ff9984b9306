"""Judge: whether what the pipeline answered and kept is what the documents allow.

In: a request and its answer, or an archive line. Out: what is wrong with it, if anything.

The rules stand here a second time, and share nothing with those that they judge but the contract's list of fields. The
body is read by Python's own JSON parser.
"""

import json
import re
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from vibetel_client import contract
from vibetel_client.contract import Kind, Option

from tests.ingest.hostile_bodies import ACCEPTED, BODY_MAX_BYTES, MARKER, HostileRequest

# -- What may be answered ---------------------------------------------------------------------------------------------

_WHOLE = {
    400: {"bad_json", "missing_data", "bad_encoding"},
    411: {"length_required"},
    413: {"too_large", "too_many_events", "too_many_values"},
    415: {"unsupported_media_type"},
    429: {"throttled"},
}
_OF_AN_EVENT = {"missing_field", "bad_type", "bad_value", "unknown_event"}
_HEADERS = set(
    "allow connection content-length content-type date retry-after server transfer-encoding vary x-request-id".split()
)
_UNREADABLE = object()
# Parsers differ in how deep they go and how long a number may be.
_MAY_BE_TOO_MUCH = re.compile("deep|huge_number|numbers_by_the_thousand|large")


def judge_answer(request: HostileRequest, status: int, headers: dict[str, str], body: bytes) -> Iterator[str]:
    """What is wrong with an answer."""
    if MARKER.search(body.decode(errors="replace")) or MARKER.search(repr(headers)):
        yield "a value is echoed"
    if status != 202 and status not in _WHOLE:
        yield f"status {status}"
        return
    if headers.get("content-type") != "application/json":
        yield f"content type {headers.get('content-type')!r}"
    if unknown := headers.keys() - _HEADERS:
        yield f"headers {sorted(unknown)}"
    if (status == 429) != headers.get("retry-after", "").isdigit():
        yield "Retry-After"
    try:
        answer = json.loads(body)
        results = answer["results"]
    except (ValueError, KeyError, TypeError):
        yield "no answer of the documented shape"
        return
    if answer.keys() != {"success", "results"} or not all(map(_is_result, results)):
        yield "no answer of the documented shape"
        return
    if answer["success"] is not (status == 202) or answer["success"] is not ({"status": "accepted"} in results):
        yield "success, status and results disagree"
    yield from _judge_results(request, status, results)


def _is_result(result: dict[str, str]) -> bool:
    if result.get("status") == "accepted":
        return result.keys() == {"status"}
    named = result.get("field")
    return (
        result.get("status") == "rejected"
        and result.keys() - {"field"} == {"status", "reason"}
        and (named is None or named == "data" or named in {spec.name for spec in contract.FIELDS})
    )


def _judge_results(request: HostileRequest, status: int, results: list[dict[str, str]]) -> Iterator[str]:
    reasons = [result.get("reason", "") for result in results]
    whole = is_whole(status, results)
    if not whole and not set(reasons) <= {"", *_OF_AN_EVENT}:
        yield f"reasons {sorted(set(reasons))} with {status}"
    if status == 429:
        return
    if request.expected == ACCEPTED and set(reasons) != {""}:
        yield f"a valid event is refused: {sorted(set(reasons))}"
    elif request.expected not in ("", ACCEPTED) and reasons != [request.expected]:
        yield f"{request.expected} expected, {sorted(set(reasons))} answered"
    if status not in (202, 400) or reasons == ["bad_encoding"]:
        return
    envelope = envelope_of(request)
    events = events_of(envelope)
    if envelope is _UNREADABLE:
        if reasons != ["bad_json"]:
            yield f"no JSON, but {status} with {sorted(set(reasons))}"
    elif whole and reasons == ["bad_json"]:
        if not _MAY_BE_TOO_MUCH.search(request.kind):
            yield "JSON, but bad_json"
    elif whole != (events is None) and not _is_zero(envelope):
        yield "missing_data is wrong"
    elif events is not None and len(events) != len(results):
        yield "not one result for each event"


def is_whole(status: int, results: list[dict[str, str]]) -> bool:
    """Whether the body was refused as such."""
    return len(results) == 1 and results[0].get("reason") in _WHOLE.get(status, ()) and "field" not in results[0]


def envelope_of(request: HostileRequest) -> object:
    """The body as Python's own parser reads it, made strict; _UNREADABLE where there is no JSON to be had."""
    body = request.body
    coding = request.headers.get("Content-Encoding", "").lower()
    try:
        if coding in ("gzip", "deflate") and body:
            inflater = zlib.decompressobj(31 if coding == "gzip" else 15)
            body = inflater.decompress(body, BODY_MAX_BYTES + 1)
        parsed = json.loads(
            body.decode(), parse_constant=_refuse, parse_int=_parse_int, object_pairs_hook=_object_of_text
        )
        json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError, zlib.error):
        return _UNREADABLE
    return parsed


def _refuse(text: str) -> float:
    raise ValueError(text)


def _object_of_text(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Lone surrogates are no text, whichever way they are written, also in what a later value of the key replaces."""
    if len(dict(pairs)) < len(pairs):
        json.dumps([*map(list, pairs)], ensure_ascii=False).encode()
    return dict(pairs)


def _parse_int(text: str) -> int:
    return int(text) if len(text) < 99 else 1


def _is_zero(envelope: object) -> bool:
    """Whether `data` is a number that is false: it is refused either as missing or as of a wrong type."""
    return isinstance(envelope, dict) and isinstance(envelope.get("data"), float) and not envelope["data"]


def events_of(envelope: object) -> list[object] | None:
    """The events of an envelope; None where it has none to judge."""
    if not isinstance(envelope, dict) or (not envelope.get("data") and envelope.get("data") != []):
        return None
    found = envelope["data"]
    return found if isinstance(found, list) else [found]


# -- What may be kept -------------------------------------------------------------------------------------------------

_ORDER = [
    *"eventName userId sessionId timestamp toolVersion command duration contextTokens promptTokens".split(),
    *"completionTokens provider model fileProvider fileModel thinkingProvider thinkingModel options".split(),
    *"hasError errorType os pythonVersion ci agent interactive lostCount".split(),
    *"eventId receivedAt schemaVersion clock".split(),
]
_ALWAYS = set("eventName userId sessionId timestamp toolVersion command eventId receivedAt schemaVersion".split())
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_SPECS = {spec.name: spec for spec in contract.FIELDS}
_OPTION_SPECS = {option.name: option for option in contract.OPTIONS}


def judge_line(line: bytes, now: datetime) -> Iterator[str]:
    """What is wrong with an archive line that was kept within the last hours."""
    if MARKER.search(line.decode(errors="replace")):
        yield "a secret is kept"
    try:
        pairs = json.loads(line, object_pairs_hook=_pairs_once)
    except ValueError as error:
        yield f"no line of JSON: {error}"
        return
    if not isinstance(pairs, dict) or not line.isascii() or b"\n" in line:
        yield "no object in one line of ASCII"
        return
    if unlisted := pairs.keys() - set(_ORDER):
        yield f"keys {sorted(unlisted)}"
    if list(pairs) != [name for name in _ORDER if name in pairs]:
        yield "order of keys"
    if missing := _ALWAYS - pairs.keys():
        yield f"{sorted(missing)} missing"
    if pairs.get("eventName") == "command_executed" and not {"duration", "hasError"} <= pairs.keys():
        yield "a run without duration or hasError"
    for name, value in pairs.items():
        if not _may_be(name, value):
            yield f"value of {name}"
    if not _TIME.fullmatch(str(pairs.get("receivedAt"))) or not _TIME.fullmatch(str(pairs.get("timestamp"))):
        yield "form of a time"
        return
    yield from _judge_times(pairs, now)


def _judge_times(line: dict[str, Any], now: datetime) -> Iterator[str]:
    received, occurred = (datetime.fromisoformat(line[name]) for name in ("receivedAt", "timestamp"))
    if not timedelta(0) <= now - received <= timedelta(hours=3):
        yield "receivedAt is not now"
    if "clock" in line and occurred != received:
        yield "clock says server, and timestamp is not its time"
    if not timedelta(minutes=-5) <= received - occurred <= timedelta(days=31):
        yield "timestamp is implausible"


def _pairs_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _may_be(name: str, value: Any) -> bool:
    """Whether a field may hold the value."""
    match name:
        case "eventName":
            return value in ("command_executed", "command_error")
        case "userId":
            return value in ("anonymous_opt_out", "anonymous_pending_prompt") or _is_uuid(value)
        case "sessionId" | "eventId":
            return _is_uuid(value)
        case "timestamp" | "receivedAt":
            return isinstance(value, str)
        case "schemaVersion":
            return type(value) is int and value == 1
        case "clock":
            return bool(value == "server")
        case "options":
            return isinstance(value, dict) and _are_options(value)
        case "hasError" | "ci" | "interactive":
            return isinstance(value, bool)
    spec = _SPECS.get(name)
    if spec is None:
        return False
    if spec.kind is Kind.COUNT:
        return type(value) is int and 0 <= value <= spec.maximum
    if not isinstance(value, str):
        return False
    if spec.pattern and spec.pattern.fullmatch(value):
        return True
    return value == "other" or value in spec.choices


def _is_uuid(value: object) -> bool:
    return isinstance(value, str) and bool(_UUID.fullmatch(value))


def _are_options(given: dict[str, Any]) -> bool:
    in_order = [name for name in _OPTION_SPECS if name in given]
    return list(given) == in_order and all(_is_option(_OPTION_SPECS[name], value) for name, value in given.items())


def _is_option(option: Option, value: object) -> bool:
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return option.kind is Kind.COUNT and 0 <= value <= option.maximum
    return isinstance(value, str) and value in option.choices
