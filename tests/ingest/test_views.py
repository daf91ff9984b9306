"""POST /api/pipeline: the answers of wire-format.md, and what stays behind each of them."""

import gzip
import io
import json
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client, RequestFactory
from pytest_django.fixtures import Settings

from ingest import buffer
from ingest.views import BodyParser, BodyTooLarge
from tests.events import body, event, waiting_lines

pytestmark = [pytest.mark.usefixtures("empty_buffer"), pytest.mark.urls("vibetel.ingest_urls")]

URL = "/api/pipeline"


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


def post(content: bytes, content_type: str = "application/json", **headers: str) -> Any:
    return Client(headers=headers).post(URL, content, content_type=content_type)


def post_encoded(content: bytes, encoding: str) -> Any:
    return post(content, **{"Content-Encoding": encoding})


def waiting_event_ids() -> list[str]:
    return [json.loads(line)["eventId"] for line in waiting_lines()]


def assert_refused_whole(answer: Any, status: int, reason: str) -> None:
    """The answer says so, nothing is kept, and the books have it as one rejected event."""
    assert answer.status_code == status
    assert answer.json() == {"success": False, "results": [{"status": "rejected", "reason": reason}]}
    assert buffer.counters() == {"received": 1, f"rejected:{reason}": 1, "waiting": 0}


def test_pipeline_accepts_an_event_of_either_shape() -> None:
    twin = event(eventName="command_error", duration=None, options=None, hasError=None, errorMessage="secret")
    for sent in (event(), twin):
        answer = post(body(sent))
        assert (answer.status_code, answer.json()) == (202, {"success": True, "results": [{"status": "accepted"}]})
    assert buffer.counters() == {"received": 2, "accepted": 2, "waiting": 2}
    assert buffer.dropped() == {"field:errorMessage": 1}


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
    assert buffer.counters() == {"received": 1, f"rejected:{reason}": 1, "waiting": 0}


def test_pipeline_refuses_a_body_above_the_bound(settings: Settings) -> None:
    settings.BODY_MAX_BYTES = 1000
    answer = post(body(event(command="x" * 1000)))
    assert answer.status_code == 413
    assert answer.json()["results"] == [{"status": "rejected", "reason": "too_large"}]
    assert buffer.counters() == {"received": 1, "rejected:too_large": 1, "waiting": 0}


def test_pipeline_takes_a_body_at_the_bound(settings: Settings) -> None:
    content = body(event())
    settings.BODY_MAX_BYTES = len(content)
    assert post(content).status_code == 202


def test_pipeline_refuses_another_content_type() -> None:
    answer = post(b"data=1", "application/x-www-form-urlencoded")
    assert answer.status_code == 415
    assert answer.json()["results"] == [{"status": "rejected", "reason": "unsupported_media_type"}]
    assert buffer.counters() == {"received": 1, "rejected:unsupported_media_type": 1, "waiting": 0}


def test_pipeline_refuses_a_body_of_unknown_length() -> None:
    answer = Client(headers={"Transfer-Encoding": "chunked"}).post(URL, body(event()), content_type="application/json")
    assert answer.status_code == 411
    assert answer.json()["results"] == [{"status": "rejected", "reason": "length_required"}]
    assert buffer.counters() == {"received": 1, "rejected:length_required": 1, "waiting": 0}


def test_pipeline_refuses_too_many_events() -> None:
    assert_refused_whole(post(body(*[event() for _ in range(501)])), 413, "too_many_events")


def test_pipeline_takes_as_many_events_as_are_allowed() -> None:
    sent = [event() for _ in range(500)]
    answer = post(body(*sent))
    assert (answer.status_code, answer.json()["results"]) == (202, [{"status": "accepted"}] * 500)
    assert buffer.counters() == {"received": 500, "accepted": 500, "waiting": 500}


@pytest.mark.parametrize("encoding", COMPRESS)
def test_pipeline_inflates_a_compressed_body(encoding: str) -> None:
    sent = [event(), event()]
    answer = post_encoded(COMPRESS[encoding](body(*sent)), encoding)
    assert (answer.status_code, answer.json()["results"]) == (202, [{"status": "accepted"}] * 2)
    assert buffer.counters() == {"received": 2, "accepted": 2, "waiting": 2}
    assert waiting_event_ids() == [fields["eventId"] for fields in sent]


def test_pipeline_does_not_mind_the_case_of_an_encoding() -> None:
    assert post_encoded(gzip.compress(body(event())), "GZip").status_code == 202
    assert post_encoded(body(event()), "Identity").status_code == 202


@pytest.mark.parametrize("encoding", ["br", "x-gzip", "gzip, gzip", "identity, gzip", ""])
def test_pipeline_refuses_another_encoding(encoding: str) -> None:
    assert_refused_whole(post_encoded(gzip.compress(body(event())), encoding), 415, "unsupported_media_type")


@pytest.mark.parametrize("encoding", COMPRESS)
def test_pipeline_inflates_no_more_than_the_bound(encoding: str, settings: Settings) -> None:
    bomb = COMPRESS[encoding](bytes(100 * settings.BODY_MAX_BYTES))
    assert len(bomb) < settings.BODY_MAX_BYTES
    tracemalloc.start()
    try:
        answer = post_encoded(bomb, encoding)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert_refused_whole(answer, 413, "too_large")
    assert peak_bytes < 5 * settings.BODY_MAX_BYTES  # zlib joins its output from parts: twice the bound, for a moment


def test_pipeline_refuses_a_body_above_the_bound_when_inflated(settings: Settings) -> None:
    content = body(event())
    settings.BODY_MAX_BYTES = len(content) - 1
    assert_refused_whole(post_encoded(gzip.compress(content), "gzip"), 413, "too_large")


def test_pipeline_takes_a_body_at_the_bound_when_inflated(settings: Settings) -> None:
    content = body(event())
    settings.BODY_MAX_BYTES = len(content)
    assert post_encoded(gzip.compress(content), "gzip").status_code == 202


def test_pipeline_refuses_a_body_above_the_bound_before_it_inflates(settings: Settings) -> None:
    content = body(event())
    settings.BODY_MAX_BYTES = len(content)
    assert_refused_whole(post_encoded(gzip.compress(content, compresslevel=0), "gzip"), 413, "too_large")


@pytest.mark.parametrize("encoding", ["identity", *COMPRESS])
def test_parser_reads_no_further_than_the_bound(encoding: str, settings: Settings) -> None:
    settings.BODY_MAX_BYTES = 1000
    request = RequestFactory(headers={"Content-Encoding": encoding}).post(URL)
    stream = io.BytesIO(bytes(100_000))
    with pytest.raises(BodyTooLarge):
        BodyParser().parse(stream, "application/json", {"request": request})
    assert stream.tell() == 1001


@pytest.mark.parametrize("encoding", COMPRESS)
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: whole[:1], id="header_cut"),
        pytest.param(lambda whole: whole[: len(whole) // 2], id="half"),
        pytest.param(lambda whole: whole[:-1], id="last_byte_cut"),
        pytest.param(lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]), id="wrong_check"),
        pytest.param(lambda whole: whole + b"\n", id="trailing_byte"),
        pytest.param(lambda whole: whole + whole, id="twice"),
        pytest.param(lambda whole: b"no stream", id="garbage"),
        pytest.param(lambda whole: body(event()), id="not_compressed"),
    ],
)
def test_pipeline_refuses_a_damaged_stream(encoding: str, damage: Callable[[bytes], bytes]) -> None:
    answer = post_encoded(damage(COMPRESS[encoding](body(event()))), encoding)
    assert_refused_whole(answer, 400, "bad_encoding")


@pytest.mark.parametrize(("named", "sent"), [("gzip", "deflate"), ("deflate", "gzip")])
def test_pipeline_refuses_a_stream_of_the_other_format(named: str, sent: str) -> None:
    assert_refused_whole(post_encoded(COMPRESS[sent](body(event())), named), 400, "bad_encoding")


def test_pipeline_checks_what_it_inflated() -> None:
    assert_refused_whole(post_encoded(gzip.compress(b"{"), "gzip"), 400, "bad_json")


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
