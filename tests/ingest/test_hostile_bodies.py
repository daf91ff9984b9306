"""Hostile bodies: a few thousand against the real receiving process; `make fuzz` sends 100,000."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.events import NOON, line
from tests.ingest.hostile_bodies import EVENTS_MAX_COUNT, MARKER, HostileRequest, bodies, kinds
from tests.ingest.hostile_judge import judge_answer, judge_line
from tests.ingest.hostile_run import run

SECRET = "xQ9wZ7kJ400000001vB2"
HEADERS = {"content-type": "application/json", "transfer-encoding": "chunked"}


def request(body: bytes = b'{"data":[{},{}]}', expected: str = "") -> HostileRequest:
    return HostileRequest("test", {"Content-Type": "application/json"}, body, SECRET, expected)


def rejected(reason: str, **more: str) -> dict[str, str]:
    return {"status": "rejected", "reason": reason} | more


@pytest.mark.xdist_group("stacks")
def test_pipeline_keeps_its_promises_whatever_is_posted(tmp_path: Path) -> None:
    outcome = run(tmp_path / "hostile", count=3000, seed=4)
    assert outcome.findings == {}
    assert outcome.requests == 3000
    assert set(outcome.statuses) == {202, 400, 411, 413, 415, 429}
    assert outcome.lines > 1000


def test_bodies_are_the_same_for_the_same_seed() -> None:
    assert list(bodies(1, 300)) == list(islice(bodies(1, 400), 300))


def test_bodies_of_another_seed_are_others() -> None:
    assert not {made.body for made in bodies(1, 100) if made.marker.encode() in made.body} & {
        made.body for made in bodies(2, 100)
    }


def test_bodies_are_of_each_kind() -> None:
    assert {made.kind for made in bodies(1, 3000)} == kinds()


def test_bodies_carry_a_marker_of_their_own() -> None:
    markers = [made.marker for made in bodies(1, 100)]
    assert len(set(markers)) == 100
    assert all(MARKER.fullmatch(marker) for marker in markers)


def test_bodies_hold_batches_above_the_limit() -> None:
    counts = [made.body.count(b'"eventName"') for made in bodies(1, 3000) if made.expected == "too_many_events"]
    assert counts
    assert min(counts) > EVENTS_MAX_COUNT


@pytest.mark.parametrize(
    ("status", "results"),
    [
        (202, [{"status": "accepted"}, {"status": "accepted"}]),
        (202, [{"status": "accepted"}, rejected("bad_type", field="data")]),
        (400, [rejected("missing_field", field="eventName")] * 2),
        (413, [rejected("too_large")]),
        (415, [rejected("unsupported_media_type")]),
    ],
)
def test_judge_finds_nothing_in_a_documented_answer(status: int, results: list[dict[str, str]]) -> None:
    answer = json.dumps({"success": status == 202, "results": results}).encode()
    assert list(judge_answer(request(), status, HEADERS, answer)) == []


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        pytest.param(500, {"success": False, "results": [rejected("error")]}, id="status"),
        pytest.param(202, {"success": True, "results": [{"status": "accepted"}]}, id="one_result_for_two_events"),
        pytest.param(202, {"success": False, "results": [{"status": "accepted"}] * 2}, id="no_success"),
        pytest.param(400, {"success": False, "results": [rejected("odd", field="data")] * 2}, id="reason"),
        pytest.param(400, {"success": False, "results": [rejected("bad_type", field="x")] * 2}, id="field"),
        pytest.param(400, {"success": False, "results": [rejected("bad_json")]}, id="json_is_called_none"),
        pytest.param(400, {"success": False, "results": [rejected("missing_data")]}, id="data_is_called_missing"),
        pytest.param(400, {"success": False, "results": []}, id="no_results"),
        pytest.param(413, {"success": False, "results": [rejected("bad_json")]}, id="reason_of_another_status"),
        pytest.param(429, {"success": False, "results": [rejected("throttled")]}, id="no_retry_after"),
        pytest.param(400, {"detail": SECRET}, id="shape_and_echo"),
        pytest.param(400, ["results"], id="list"),
    ],
)
def test_judge_finds_what_is_wrong_with_an_answer(status: int, answer: Any) -> None:
    assert list(judge_answer(request(), status, HEADERS, json.dumps(answer).encode()))


@pytest.mark.parametrize(
    ("body", "expected"), [(b"{", "bad_json"), (b'{"data":[{}]}', "too_large"), (b'{"data":[{}]}', "accepted")]
)
def test_judge_knows_what_was_expected(body: bytes, expected: str) -> None:
    answer = json.dumps({"success": False, "results": [rejected("missing_field", field="eventName")]}).encode()
    assert list(judge_answer(request(body, expected), 400, HEADERS, answer))


def test_judge_finds_an_echo_in_a_header() -> None:
    answer = json.dumps({"success": False, "results": [rejected("unsupported_media_type")]}).encode()
    assert "a value is echoed" in judge_answer(request(), 415, HEADERS | {"vary": SECRET}, answer)


def test_judge_finds_nothing_in_a_line() -> None:
    kept = line(
        options={"debug": True, "saveTo": "/x", "timeout": 7, "reasoningEffort": "high"}, os="linux", model="??"
    )
    assert list(judge_line(kept, now=NOON)) == []


@pytest.mark.parametrize(
    ("found", "put"),
    [
        (b'"repo"', b'"src/login.py"'),
        (b'"repo"', b"7"),
        (b'"options":{}', b'"options":{"query":true}'),
        (b'"options":{}', b'"options":{"saveTo":"/x"}'),
        (b'"options":{}', b'"options":{"maxTokens":-1}'),
        (b'"options":{}', b'"options":{"html":1}'),
        (b'"duration":1200,', b""),
        (b'"duration":1200', b'"duration":1.5'),
        (b'"duration":1200', b'"duration":true'),
        (b'"duration":1200', b'"duration":1200,"duration":1200'),
        (b'"hasError":false', b'"hasError":0'),
        (b'"hasError"', b'"note"'),
        (b'"command":"repo","duration":1200', b'"duration":1200,"command":"repo"'),
        (b'"schemaVersion":1', b'"schemaVersion":2'),
        (b'"schemaVersion":1', b'"schemaVersion":1,"clock":"client"'),
        (b'"timestamp":"2026-11-22T12', b'"timestamp":"2026-11-22T13'),
        (b'"timestamp":"2026-11-22T12', b'"timestamp":"2026-10-11T12'),
        (b'"timestamp":"2026-11-22T12:00:00.000Z"', b'"timestamp":"2026-11-22T12:00:00Z"'),
        (b'"gemini"', b'"gem\xc3\xafni"'),
        (b'"gemini"', b'"' + SECRET.encode() + b'"'),
        (b"}", b""),
    ],
)
def test_judge_finds_what_is_wrong_with_a_line(found: bytes, put: bytes) -> None:
    kept = line()
    assert found in kept
    assert list(judge_line(kept.replace(found, put), now=NOON))
