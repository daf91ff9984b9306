"""Metrics: the books, in Prometheus's words, for whom they are meant."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from analytics import ledger, load
from analytics.models import TouchedHour, Verification
from ingest import archive, archiver, buffer, tally
from tests.analytics.test_ledger import delete_counter, fill
from tests.events import body, event, line

pytestmark = pytest.mark.usefixtures("empty_buffer", "db")
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def posted(empty_buffer: None, settings: Settings) -> None:
    """Three accepted, one rejected, nine limited."""
    settings.ROOT_URLCONF = "vibetel.ingest_urls"
    for content in (body(event(note=1)), body(event(model="no model!")), body(event(duration=-1))):
        Client().post("/api/pipeline", content, content_type="application/json")
    settings.INGEST_RATE_PER_ADDRESS = (1, 3600)
    for content in (body(event()), body(*[event() for _ in range(9)])):
        Client().post("/api/pipeline", content, content_type="application/json", REMOTE_ADDR="203.0.113.9")
    settings.ROOT_URLCONF = "vibetel.urls"
    tally.flush()


def asked(**how: Any) -> Any:
    return Client(**how).get("/metrics")


def samples(text: str) -> dict[str, float]:
    families: list[Metric] = list(text_string_to_metric_families(text))
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.usefixtures("posted")
def test_metrics_tell_the_books_of_ingest() -> None:
    answer = asked()
    assert answer.status_code == 200
    found = samples(answer.content.decode())
    assert found["vibetel_events_received_total"] == 13
    assert found["vibetel_events_accepted_total"] == 3
    assert found["vibetel_events_rejected_total reason=bad_value"] == 1
    assert found["vibetel_events_limited_total"] == 9
    assert found["vibetel_events_unavailable_total"] == 0
    assert found["vibetel_dropped_total kind=field name=note"] == 1
    assert found["vibetel_dropped_total kind=odd name=model"] == 1
    assert found["vibetel_buffer_rows"] == 3


@pytest.mark.usefixtures("posted")
def test_metrics_have_a_histogram_of_latencies_by_status() -> None:
    found = samples(asked().content.decode())
    name = "vibetel_request_duration_seconds"
    assert {status: found[f"{name}_count status={status}"] for status in (202, 400, 429)} == {202: 3, 400: 1, 429: 1}
    buckets = [value for key, value in found.items() if key.startswith(f"{name}_bucket") and "status=202" in key]
    assert len(buckets) == len(tally.LATENCY_BOUNDS_MS) + 1
    assert buckets == sorted(buckets)
    assert found[f"{name}_sum status=202"] > 0


def test_metrics_are_for_this_machine_only() -> None:
    assert asked().status_code == 200
    assert asked(REMOTE_ADDR="::1").status_code == 200
    assert asked(REMOTE_ADDR="203.0.113.1").status_code == 403
    assert asked(headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403  # a proxy asks for somebody


def test_metrics_are_for_who_has_the_token(settings: Settings) -> None:
    settings.METRICS_TOKEN = "secret"
    assert asked(headers={"Authorization": "Bearer secret"}, REMOTE_ADDR="203.0.113.1").status_code == 200
    for given in (
        {},
        {"Authorization": "Bearer other"},
        {"Authorization": "secret"},
        {"Authorization": "Bearer sécret"},
    ):
        answer = asked(headers=given)
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == "Bearer"


def test_metrics_say_that_redis_is_away(redis_away: None) -> None:
    assert asked().status_code == 503


@pytest.fixture
def read_and_verified(empty_stores: None) -> None:
    """Books read once, and again after a minute with four events of one stage missing; a verification an hour ago."""
    now = timezone.now()
    fill()
    delete_counter("limited")
    ledger.watch(now - timedelta(seconds=ledger.LASTING_SECONDS + 30))
    ledger.watch(now - timedelta(seconds=30))
    hour_ago = now - timedelta(hours=1)
    Verification.objects.create(started_at=hour_ago, finished_at=hour_ago, deep=True, faults_count=3)
    Verification.objects.create(started_at=now, deep=True)
    with buffer.looking("loader"):
        pass


@pytest.mark.usefixtures("read_and_verified")
def test_metrics_tell_the_books_as_last_read(settings: Settings) -> None:
    settings.ARCHIVE_BUCKET = "no-such-bucket"  # a scrape does not ask it
    found = samples(asked().content.decode())
    names = ("loaded", "duplicate", "quarantined", "not_yet_loaded", "imported")
    assert [found[f"vibetel_events_{name}"] for name in names] == [4, 0, 0, 2, 0]
    assert {stage: found[f"vibetel_books_imbalance stage={stage}"] for stage in ledger.STAGES} == {
        "ingest": -4,
        "buffer": 0,
        "load": 0,
    }
    assert found["vibetel_books_age_seconds"] >= 30
    assert found["vibetel_verification_age_seconds"] >= 3600
    assert found["vibetel_verification_faults"] == 3


def test_metrics_tell_how_each_stage_does(empty_stores: None) -> None:
    buffer.push([line() for _ in range(250)], received=250, counts={})
    buffer.seal_due()
    with buffer.looking("archiver"):
        archiver.archive_due(force=True)
    with pytest.raises(archive.ArchiveUnavailable), buffer.looking("archiver"):
        raise archive.ArchiveUnavailable("away")
    load.catch_up(everything=False, wait=True)
    buffer.push([line() for _ in range(100)], received=100, counts={})
    buffer.seal_due()
    found = samples(asked().content.decode())
    assert found["vibetel_buffer_batches"] == 1
    assert found["vibetel_stage_looks_total stage=archiver"] == 2
    assert found["vibetel_stage_failures_total stage=archiver"] == 1
    assert 0 < found["vibetel_stage_seconds_total stage=archiver"] < 60
    assert 0 <= found["vibetel_stage_age_seconds stage=archiver"] < 60
    assert found["vibetel_rollups_behind_hours"] == TouchedHour.objects.count() > 0
    assert 0 < found["vibetel_load_lag_seconds"] < 60


@pytest.mark.usefixtures("posted")
def test_metrics_of_ingest_are_there_while_postgres_is_away() -> None:
    def away(*_: object) -> None:
        raise OperationalError

    with connection.execute_wrapper(away):
        answer = asked()
    assert answer.status_code == 200
    found = samples(answer.content.decode())
    assert found["vibetel_events_received_total"] == 13
    assert "vibetel_books_age_seconds" not in found


@pytest.mark.usefixtures("read_and_verified")
def test_every_metric_is_documented() -> None:
    families = text_string_to_metric_families(asked().content.decode())
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("endpoint.md", "books.md", "operations.md"))
    assert names == set(re.findall(r"^\| `(vibetel_\w+)`", pages, re.MULTILINE))
