"""Check: what passes, what is refused and why, and what is taken out before anything is kept."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis.strategies import datetimes, just
from vibetel_client import contract

from ingest import checks
from ingest.checks import Accepted, BodyRejected, Checked, Rejected, TooMuch
from tests.events import KEY, NOON, body, event

GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("*.json"))


def check(content: bytes, received_at: Any = NOON) -> Checked:
    return checks.check(content, received_at=received_at, identity_hash_key=KEY, events_max_count=500)


def archived(**changes: Any) -> dict[str, Any]:
    (verdict,) = check(body(event(**changes))).verdicts
    assert isinstance(verdict, Accepted), verdict
    line = json.loads(verdict.line)
    assert isinstance(line, dict)
    return line


def refused(**changes: Any) -> Rejected:
    (verdict,) = check(body(event(**changes))).verdicts
    assert isinstance(verdict, Rejected), verdict
    return verdict


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_check_makes_the_golden_line(path: Path) -> None:
    golden = json.loads(path.read_text())
    received_at = checks._parse_timestamp(golden["receivedAt"])
    (verdict,) = check(body(golden["sent"]), received_at).verdicts
    assert isinstance(verdict, Accepted)
    line = json.loads(verdict.line)
    assert list(line) == list(golden["archived"])
    if golden["archived"]["eventId"] is None:
        assert uuid.UUID(line.pop("eventId")).version == 7
        del golden["archived"]["eventId"]
    assert line == golden["archived"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "bad_json"),
        (b"{", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b'{"data":NaN}', "bad_json"),
        (b"[" * 10_000, "bad_json"),
        (b'{"data":' + b'{"a":' * 10_000, "bad_json"),
        (b'{"data":Infinity}', "bad_json"),
        (b'{"data":-Infinity}', "bad_json"),
        (b'{"data":1' + b"0" * 5_000 + b"}", "bad_json"),
        (b'\xef\xbb\xbf{"data":{}}', "bad_json"),  # a byte order mark
        ('{"data":{}}'.encode("utf-16"), "bad_json"),
        (b'{"data":"\\ud800"}', "bad_json"),  # half a surrogate pair
        (b'{"data":"\xed\xa0\x80"}', "bad_json"),  # the same in UTF-8
        (b'{"data":"\x00"}', "bad_json"),
        (b'{"data":{"a":1}} {}', "bad_json"),
        (b"{'data':{}}", "bad_json"),
        (b"{}", "missing_data"),
        (b"[]", "missing_data"),
        (b'"data"', "missing_data"),
        (b'{"data":null}', "missing_data"),
        (b'{"data":{}}', "missing_data"),
        (b'{"data":""}', "missing_data"),
    ],
)
def test_check_refuses_what_is_no_envelope(content: bytes, reason: str) -> None:
    with pytest.raises(BodyRejected) as refusal:
        check(content)
    assert refusal.value.reason == reason


def test_check_takes_the_last_of_a_key_that_is_there_twice() -> None:
    content = body(event(command="repo")).replace(b'"command": "repo"', b'"command": "repo", "command": "plan"')
    (verdict,) = check(content).verdicts
    assert isinstance(verdict, Accepted)
    assert json.loads(verdict.line)["command"] == "plan"


@pytest.mark.parametrize("written", [b"1.0", b"1e3", b"1E400", b"-0.0", b"0." + b"1" * 5_000])
def test_check_takes_no_fraction_for_a_whole_number(written: bytes) -> None:
    content = body(event(duration=77)).replace(b'"duration": 77', b'"duration": ' + written)
    assert check(content).verdicts == [Rejected("bad_type", "duration")]


@pytest.mark.parametrize("text", ["a\x00b", "\ufeffrepo", "\u202erepo", "re\u0301po", "\U0001f600"])
def test_check_takes_no_odd_character_in_a_name(text: str) -> None:
    assert archived(command=text)["command"] == "other"


def test_check_hashes_a_user_id_of_any_characters() -> None:
    assert uuid.UUID(archived(userId="\x00\ufeff\U0001f600")["userId"]).version == 5


def test_check_counts_what_it_left_out_of_accepted_events_only() -> None:
    checked = check(body(event(note=1), event(note=1, duration=-1)))
    assert checked.dropped == {"field:note": 1}


def test_check_counts_events_by_installation_without_placeholders() -> None:
    same = str(uuid.uuid4())
    checked = check(body(event(userId=same), event(userId=same), event(userId="anonymous_opt_out")))
    assert checked.installations == {same: 2}


def test_check_folds_what_is_not_admitted_to_other() -> None:
    checked = checks.check(
        body(event(model="gpt-4.1", command="plan")),
        received_at=NOON,
        identity_hash_key=KEY,
        events_max_count=1,
        admit=lambda names: {name for name in names if name[0] != "model"},
    )
    (verdict,) = checked.verdicts
    assert isinstance(verdict, Accepted)
    assert json.loads(verdict.line)["model"] == "other"
    assert checked.dropped == {"unseen:model": 1}


def test_check_refuses_too_many_events() -> None:
    with pytest.raises(TooMuch, match="too_many_events"):
        check(body(*[event() for _ in range(501)]))


@pytest.mark.parametrize("content", [b"[[]]," * 200_000, b'{"":{}},' * 120_000, b"0," * 500_000])
def test_check_refuses_too_many_values_before_it_builds_them(content: bytes) -> None:
    with pytest.raises(TooMuch, match="too_many_values"):
        check(b'{"data":[' + content + b"0]}")


def test_check_takes_as_many_values_as_events_can_have() -> None:
    whole = {spec.name: spec.example for spec in contract.FIELDS}
    (*verdicts,) = check(body(*[whole] * 500)).verdicts
    assert [type(verdict) for verdict in verdicts] == [Accepted] * 500


def test_check_asks_once_about_the_names_of_accepted_events() -> None:
    asked: list[Any] = []
    checks.check(
        body(event(model="gpt-4.1"), event(model="gpt-5"), event(model="gpt-6", duration=-1), event(model="no model!")),
        received_at=NOON,
        identity_hash_key=KEY,
        events_max_count=9,
        admit=lambda names: asked.append(names) or names,  # type: ignore[func-returns-value]
    )
    assert [{value for field, value in names if field == "model"} for names in asked] == [{"gpt-4.1", "gpt-5"}]


def test_check_counts_few_dropped_names_of_a_body() -> None:
    checked = check(body(*[event(**{f"field{number}n{n}": 1 for n in range(20)}) for number in range(20)]))
    assert len(checked.dropped) <= 52
    assert sum(checked.dropped.values()) == 400


def test_check_puts_the_fields_into_the_contracts_order() -> None:
    sent = event(errorType="FileError", os="linux")
    (verdict,) = check(body(dict(reversed(sent.items())))).verdicts
    assert isinstance(verdict, Accepted)
    order = [spec.name for spec in contract.FIELDS if spec.name in sent and spec.name != "eventId"]
    assert list(json.loads(verdict.line)) == [*order, "eventId", "receivedAt", "schemaVersion"]


def test_check_takes_as_many_events_as_are_allowed() -> None:
    assert len(check(body(*[event() for _ in range(500)])).verdicts) == 500


def test_check_of_an_empty_array_has_no_verdicts() -> None:
    assert check(b'{"data":[]}').verdicts == []


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"eventName": None}, "missing_field", "eventName"),
        ({"eventName": "page_view"}, "unknown_event", "eventName"),
        ({"eventName": ["command_executed"]}, "unknown_event", "eventName"),
        ({"userId": None}, "missing_field", "userId"),
        ({"userId": 7}, "bad_type", "userId"),
        ({"userId": ""}, "bad_value", "userId"),
        ({"sessionId": "not a uuid"}, "bad_value", "sessionId"),
        ({"timestamp": "yesterday"}, "bad_value", "timestamp"),
        ({"timestamp": "2026-11-22T12:00:00"}, "bad_value", "timestamp"),
        ({"timestamp": "2026-02-30T12:00:00Z"}, "bad_value", "timestamp"),
        ({"timestamp": "2026-11-22T12:00:00+05:99"}, "bad_value", "timestamp"),
        ({"timestamp": "2026-11-22T12:00:00+24:00"}, "bad_value", "timestamp"),
        ({"duration": None}, "missing_field", "duration"),
        ({"duration": -1}, "bad_value", "duration"),
        ({"duration": 10**30}, "bad_value", "duration"),
        ({"duration": 1.5}, "bad_type", "duration"),
        ({"duration": True}, "bad_type", "duration"),
        ({"duration": "12"}, "bad_type", "duration"),
        ({"promptTokens": 10**12}, "bad_value", "promptTokens"),
        ({"hasError": "false"}, "bad_type", "hasError"),
        ({"options": []}, "bad_type", "options"),
        ({"command": {"a": 1}}, "bad_type", "command"),
        ({"eventId": "1"}, "bad_value", "eventId"),
    ],
)
def test_check_refuses_a_broken_value(changes: dict[str, Any], reason: str, field: str) -> None:
    assert refused(**changes) == Rejected(reason, field)


def test_check_judges_each_event_of_an_array() -> None:
    verdicts = check(body(event(), "text", event(duration=-1), event())).verdicts
    assert [type(verdict) for verdict in verdicts] == [Accepted, Rejected, Rejected, Accepted]


FREE_TEXT = [
    "/home/alice/x",
    "alice@example.com",
    "https://x.example/?q=1",
    "what is\nthis",
    "fix my login bug",
    "\u202eevil",
    "",
]


@pytest.mark.parametrize("field", ["command", "provider", "model", "errorType", "toolVersion", "agent"])
@pytest.mark.parametrize("text", FREE_TEXT)
def test_check_folds_free_text_to_other(field: str, text: str) -> None:
    assert archived(**{field: text})[field] == "other"


@pytest.mark.parametrize(
    "text",
    [
        "src/auth/login.py",
        "secret.txt",
        "sk-proj-abcdef",
        "ghp_abcdefgh",
        "AKIAIOSFODNN7EXAMPLE",
        "4111111111111111",
        "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6",
    ],
)
@pytest.mark.parametrize("field", ["command", "provider", "model", "agent"])
def test_check_folds_files_and_credentials_to_other(field: str, text: str) -> None:
    assert archived(**{field: text})[field] == "other"


def test_check_folds_a_dotted_error_type_to_other() -> None:
    """It could as well be a file, or a host."""
    assert archived(errorType="botocore.exceptions.ClientError")["errorType"] == "other"


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("command", "repo"),
        ("command", "remote:set-url"),
        ("provider", "openrouter"),
        ("model", "gemini-2.5-pro"),
        ("model", "claude-3-7-sonnet-20250219"),
        ("model", "openrouter/anthropic/claude-3.7-sonnet:beta"),
        ("model", "anthropic.claude-3-5-sonnet-20240620-v1:0"),
        ("model", "Qwen2.5-Coder-32B-Instruct"),
        ("errorType", "ContextLengthExceededError"),
        ("errorType", "ClientError"),
        ("toolVersion", "0.64.0-beta.10"),
        ("toolVersion", "1.2.3rc1"),
        ("pythonVersion", "3.14"),
    ],
)
def test_check_keeps_a_name(field: str, name: str) -> None:
    assert archived(**{field: name})[field] == name


def test_check_takes_a_run_that_is_reported_by_its_error_for_a_failure() -> None:
    assert archived(eventName="command_error", hasError=None, errorType="FileError")["hasError"] is True


def test_check_hashes_a_user_id_that_is_no_uuid() -> None:
    first, again = archived(userId="alice@example.com")["userId"], archived(userId="alice@example.com")["userId"]
    assert first == again == str(uuid.UUID(first))
    assert first != archived(userId="bob@example.com")["userId"]


@pytest.mark.parametrize("placeholder", ["anonymous_opt_out", "anonymous_pending_prompt"])
def test_check_keeps_a_placeholder(placeholder: str) -> None:
    assert archived(userId=placeholder)["userId"] == placeholder


def test_check_keeps_listed_options_only_and_counts_the_others() -> None:
    given = {
        "debug": True,
        "maxTokens": 7,
        "reasoningEffort": "high",
        "saveTo": "/x",
        "query": "secret",
        "timeout": [1],
    }
    checked = check(body(event(options=given, note="secret", errorMessage="secret")))
    (verdict,) = checked.verdicts
    assert isinstance(verdict, Accepted)
    assert json.loads(verdict.line)["options"] == {
        "debug": True,
        "maxTokens": 7,
        "saveTo": True,
        "reasoningEffort": "high",
    }
    assert b"secret" not in verdict.line
    assert checked.dropped == {"field:note": 1, "field:errorMessage": 1, "option:query": 1, "odd:timeout": 1}


def test_check_lets_free_text_pass_in_no_option() -> None:
    assert archived(options={"debug": "a secret", "reasoningEffort": "a secret"})["options"] == {
        "debug": True,
        "reasoningEffort": True,
    }


def test_check_corrects_a_wrong_clock_by_sent_at() -> None:
    sent = event(timestamp="2031-01-01T00:00:00.000Z")
    envelope = {"sentAt": "2031-01-01T00:10:00.000Z", "data": [sent]}
    (verdict,) = check(json.dumps(envelope).encode()).verdicts
    assert isinstance(verdict, Accepted)
    line = json.loads(verdict.line)
    assert line["timestamp"] == "2026-11-22T11:50:00.000Z"
    assert "clock" not in line


@given(sent_at=datetimes(timezones=just(UTC)), timestamp=datetimes(timezones=just(UTC)))
@example(sent_at=datetime(1, 1, 1, tzinfo=UTC), timestamp=datetime(9999, 12, 31, tzinfo=UTC))
@example(sent_at=datetime(9999, 12, 31, tzinfo=UTC), timestamp=datetime(1, 1, 1, tzinfo=UTC))
def test_check_believes_no_time_that_is_implausible_when_corrected(sent_at: datetime, timestamp: datetime) -> None:
    envelope = {"sentAt": sent_at.isoformat(), "data": [event(timestamp=timestamp.isoformat())]}
    (verdict,) = check(json.dumps(envelope).encode()).verdicts
    assert isinstance(verdict, Accepted)
    line = json.loads(verdict.line)
    occurred_at = datetime.fromisoformat(line["timestamp"])
    assert NOON - checks.OLDEST_PLAUSIBLE <= occurred_at <= NOON + checks.NEWEST_PLAUSIBLE


@pytest.mark.parametrize("edge", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"])
def test_check_puts_the_servers_time_for_one_at_the_edge_of_the_calendar(edge: str) -> None:
    assert archived(timestamp=edge)["clock"] == "server"


@pytest.mark.parametrize("off", [timedelta(days=-31, seconds=-1), timedelta(minutes=5, seconds=1)])
def test_check_puts_the_servers_time_for_an_implausible_one(off: timedelta) -> None:
    line = archived(timestamp=(NOON + off).isoformat())
    assert line["timestamp"] == line["receivedAt"] == "2026-11-22T12:00:00.000Z"
    assert line["clock"] == "server"


@pytest.mark.parametrize("off", [timedelta(days=-31), timedelta(minutes=5)])
def test_check_believes_a_plausible_time(off: timedelta) -> None:
    assert "clock" not in archived(timestamp=(NOON + off).isoformat())
