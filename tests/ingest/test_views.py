"""POST /api/pipeline: the answers of wire-format.md, and what stays behind each of them."""

from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from ingest import buffer
from tests.events import body, event

pytestmark = pytest.mark.usefixtures("empty_buffer")

URL = "/api/pipeline"


def post(content: bytes, content_type: str = "application/json") -> Any:
    return Client().post(URL, content, content_type=content_type)


def test_pipeline_accepts_an_event_of_either_shape() -> None:
    twin = event(eventName="command_error", duration=None, options=None, hasError=None, errorMessage="secret")
    for sent in (event(), twin):
        answer = post(body(sent))
        assert (answer.status_code, answer.json()) == (202, {"success": True, "results": [{"status": "accepted"}]})
    assert buffer.counters() == {"received": 2, "accepted": 2, "waiting": 2, "dropped:fields": 1}


def test_pipeline_needs_no_database() -> None:
    # pytest-django refuses the database to a test that does not ask for it.
    assert post(body(event())).status_code == 202


def test_pipeline_answers_each_event_of_an_array() -> None:
    answer = post(body(event(), event(duration="long")))
    assert answer.status_code == 202
    assert answer.json() == {
        "success": True,
        "results": [{"status": "accepted"}, {"status": "rejected", "reason": "bad_type", "field": "duration"}],
    }
    assert buffer.counters() == {"received": 2, "accepted": 1, "rejected:bad_type": 1, "waiting": 1}


def test_pipeline_refuses_where_no_event_is_accepted() -> None:
    answer = post(body(event(sessionId="alice@example.com")))
    assert answer.status_code == 400
    assert answer.json() == {
        "success": False,
        "results": [{"status": "rejected", "reason": "bad_value", "field": "sessionId"}],
    }


def test_pipeline_refuses_an_empty_array() -> None:
    answer = post(b'{"data": []}')
    assert (answer.status_code, answer.json()) == (400, {"success": False, "results": []})


@pytest.mark.parametrize(("content", "reason"), [(b"", "bad_json"), (b"{", "bad_json"), (b"{}", "missing_data")])
def test_pipeline_refuses_what_is_no_envelope(content: bytes, reason: str) -> None:
    answer = post(content)
    assert answer.status_code == 400
    assert answer.json() == {"success": False, "results": [{"status": "rejected", "reason": reason}]}
    assert buffer.counters() == {"received": 1, f"rejected:{reason}": 1, "accepted": 0, "waiting": 0}


def test_pipeline_refuses_a_body_above_the_bound(settings: Settings) -> None:
    settings.BODY_MAX_BYTES = 1000
    answer = post(body(event(command="x" * 1000)))
    assert answer.status_code == 413
    assert answer.json()["results"] == [{"status": "rejected", "reason": "too_large"}]
    assert buffer.counters() == {"received": 1, "rejected:too_large": 1, "accepted": 0, "waiting": 0}


def test_pipeline_takes_a_body_at_the_bound(settings: Settings) -> None:
    content = body(event())
    settings.BODY_MAX_BYTES = len(content)
    assert post(content).status_code == 202


def test_pipeline_refuses_another_content_type() -> None:
    answer = post(b"data=1", "application/x-www-form-urlencoded")
    assert answer.status_code == 415
    assert answer.json()["results"] == [{"status": "rejected", "reason": "unsupported_media_type"}]
    assert buffer.counters() == {"received": 1, "rejected:unsupported_media_type": 1, "accepted": 0, "waiting": 0}


def test_pipeline_refuses_a_body_of_unknown_length() -> None:
    answer = Client(headers={"Transfer-Encoding": "chunked"}).post(URL, body(event()), content_type="application/json")
    assert answer.status_code == 411
    assert answer.json()["results"] == [{"status": "rejected", "reason": "length_required"}]
    assert buffer.counters() == {"received": 1, "rejected:length_required": 1, "accepted": 0, "waiting": 0}


def test_pipeline_refuses_a_compressed_body() -> None:
    answer = Client(headers={"Content-Encoding": "gzip"}).post(URL, b"\x1f\x8b", content_type="application/json")
    assert answer.status_code == 415
    assert buffer.counters()["rejected:unsupported_media_type"] == 1


@pytest.mark.parametrize("accept", ["text/html", "image/png;q=1", "nonsense"])
def test_pipeline_does_not_mind_what_the_client_accepts(accept: str) -> None:
    answer = Client(headers={"Accept": accept}).post(URL, body(event()), content_type="application/json; charset=utf-8")
    assert answer.status_code == 202
    assert answer["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["get", "put", "head", "delete", "patch", "options"])
def test_pipeline_refuses_another_method(method: str) -> None:
    answer = getattr(Client(), method)(URL)
    assert answer.status_code == 405
    assert "POST" in answer["Allow"]
    assert buffer.counters() == {"waiting": 0}


def test_pipeline_says_when_to_come_back_where_the_buffer_is_full(settings: Settings) -> None:
    settings.BUFFER_MAX_ROWS = 1
    assert post(body(event())).status_code == 202
    answer = post(body(event()))
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert answer.json()["success"] is False
    assert buffer.counters() == {"received": 2, "accepted": 1, "unavailable": 1, "waiting": 1}


def test_pipeline_says_when_to_come_back_where_redis_is_away(redis_away: None) -> None:
    for content in (body(event()), b"{"):
        answer = post(content)
        assert answer.status_code == 503
        assert int(answer["Retry-After"]) > 0
