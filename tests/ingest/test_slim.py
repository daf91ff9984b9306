"""The slim view answers what the unslimmed one does, to the byte, and leaves the same behind."""

import gc
import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from pytest_django.fixtures import Settings

from ingest import buffer, names, tally, throttles
from ingest.slim import SlimPipelineView
from ingest.views import PipelineView
from tests.events import body, event, waiting_lines

pytestmark = pytest.mark.usefixtures("empty_buffer")

VALID = body(event(eventId="01a20320-a200-7c41-8ce1-b4a93124fa13"))
JSON = "application/json"

# Method, body, content type, further headers.
Request = tuple[str, bytes, str, dict[str, str]]
REQUESTS: list[Request] = [
    ("post", VALID, JSON, {}),
    ("post", VALID, "application/json; charset=utf-8", {}),
    ("post", VALID, "application/json;charset=latin-1", {}),
    ("post", VALID, "APPLICATION/JSON", {}),
    ("post", VALID, "Application/Json;Charset=UTF-8;x", {}),
    ("post", VALID, " application/json ", {}),
    ("post", VALID, "application/*", {}),
    ("post", VALID, "*/*", {}),
    ("post", VALID, "", {}),
    ("post", VALID, "json", {}),
    ("post", VALID, "application/json/x", {}),
    ("post", VALID, "text/plain", {}),
    ("post", VALID, "application/x-www-form-urlencoded", {}),
    ("post", VALID, "multipart/form-data", {}),
    ("post", VALID, "multipart/form-data; boundary=x", {}),
    ("post", b"", JSON, {}),
    ("post", b"", "", {}),
    ("post", b"", "text/plain", {}),
    ("post", b"{", JSON, {}),
    ("post", b"\xff", JSON, {}),
    ("post", b'{"data": []}', JSON, {}),
    ("post", body(event(duration=-1)), JSON, {}),
    ("post", body(event(), event(duration=-1), "x"), JSON, {}),
    ("post", body(*[event() for _ in range(501)]), JSON, {}),
    ("post", b" " * 1_048_577, JSON, {}),
    ("post", gzip.compress(VALID, mtime=0), JSON, {"Content-Encoding": "gzip"}),
    ("post", zlib.compress(VALID), JSON, {"Content-Encoding": "deflate"}),
    ("post", gzip.compress(bytes(2_000_000), mtime=0), JSON, {"Content-Encoding": "gzip"}),
    ("post", VALID, JSON, {"Content-Encoding": "gzip"}),
    ("post", VALID, JSON, {"Content-Encoding": "br"}),
    ("post", VALID, JSON, {"Content-Encoding": "identity"}),
    ("post", VALID, JSON, {"Transfer-Encoding": "chunked"}),
    ("post", VALID, JSON, {"Accept": "text/html"}),
    ("post", VALID, JSON, {"Accept": "nonsense"}),
    ("post", VALID, JSON, {"X-HTTP-Method-Override": "GET"}),
    *[(method, b"", JSON, {}) for method in ("get", "head", "put", "patch", "delete", "options", "trace")],
]


def answered(view: type[PipelineView], request: Request, query: str = "") -> Any:
    """The answer, and what is in Redis afterwards but for times and ids."""
    method, content, content_type, headers = request
    buffer.connection().flushdb()
    names.forget()
    throttles.forget()
    made = RequestFactory(headers=headers).generic(
        method.upper(), f"/api/pipeline{query}", content, content_type=content_type
    )
    answer = view.as_view()(made)
    assert isinstance(answer, HttpResponse)
    getattr(answer, "render", lambda: None)()
    tally.flush()
    kept = [json.loads(line) for line in waiting_lines()]
    for line in kept:
        del line["receivedAt"], line["timestamp"]
    headers = dict(answer.items())
    if headers.get("X-Request-ID"):
        headers["X-Request-ID"] = "an id"
    return answer.status_code, headers, answer.content, buffer.counters(), buffer.dropped(), kept


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: f"{r[0]} {r[1][:2]!r} {r[2]} {r[3]}")
def test_the_slim_view_answers_as_the_unslimmed_one(request_: Request) -> None:
    assert answered(SlimPipelineView, request_) == answered(PipelineView, request_)


def test_the_slim_view_ignores_a_query_string_as_the_unslimmed_one_does() -> None:
    request: Request = ("post", VALID, JSON, {})
    for query in ("?format=xml", "?format=json", "?_method=GET"):
        assert answered(SlimPipelineView, request, query) == answered(PipelineView, request, query)


def test_both_views_are_throttled_alike(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (1, 60)
    found = []
    for view in (SlimPipelineView, PipelineView):
        buffer.connection().flushdb()
        throttles.forget()
        for expected in (202, 429, 429):
            answer = view.as_view()(RequestFactory().post("/api/pipeline", VALID, content_type=JSON))
            assert answer.status_code == expected
            getattr(answer, "render", lambda: None)()
        found.append((sorted(name for name, _ in answer.items()), answer.content))
    assert found[0] == found[1]


def test_both_views_are_unavailable_alike(redis_away: None) -> None:
    found = []
    for view in (SlimPipelineView, PipelineView):
        answer = view.as_view()(RequestFactory().post("/api/pipeline", VALID, content_type=JSON))
        getattr(answer, "render", lambda: None)()
        found.append((answer.status_code, sorted(answer.items()), answer.content))
    assert found[0] == found[1]
    assert found[0][0] == 503


@pytest.fixture(scope="module")
def frozen() -> Iterator[None]:
    """What there is by now is no garbage, so that a search for it takes milliseconds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: f"{r[0]} {r[1][:2]!r} {r[2]} {r[3]}")
def test_the_slim_view_leaves_no_garbage(frozen: None, request_: Request) -> None:
    """Nothing that only the search for cycles would free: it would hold bodies until then."""
    answered(SlimPipelineView, request_)
    gc.collect()
    gc.disable()
    try:
        answered(SlimPipelineView, request_)
        assert gc.collect() == 0
    finally:
        gc.enable()
