"""Metrics: the books in Prometheus's text format, at GET /metrics.

The counters of ingest are Redis's, so any web process answers for all of them, and a restart loses none. What has not
been counted by an append is there within a second (ingest/tally.py). The other terms, and what does not balance, are
those of the books as last read (analytics/ledger.py), for a scrape lists no bucket; left out where Postgres is away.
"""

import hmac
import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from analytics import history, ledger
from analytics.models import LoadedObject, TouchedHour, Verification
from ingest import buffer, tally

_BOUNDS = [*(str(ms / 1000) for ms in tally.LATENCY_BOUNDS_MS), "+Inf"]
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_VIA")


def metrics(request: HttpRequest) -> HttpResponse:
    """200 with the metrics; 401 and 403 for who may not see them; 503 where Redis is away."""
    if refusal := _refusal(request):
        return refusal
    registry = CollectorRegistry()
    try:
        registry.register(_Ingest())
        registry.register(_Warehouse())
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
    except buffer.BufferUnavailable:
        return HttpResponse("Redis is away.\n", status=503, content_type="text/plain")


def _refusal(request: HttpRequest) -> HttpResponse | None:
    if settings.METRICS_TOKEN:
        given = request.headers.get("Authorization", "")
        if hmac.compare_digest(given.encode(), f"Bearer {settings.METRICS_TOKEN}".encode()):
            return None
        text = "Send METRICS_TOKEN as a bearer token.\n"
        return HttpResponse(text, status=401, content_type="text/plain", headers={"WWW-Authenticate": "Bearer"})
    if _is_this_machine(request):
        return None
    text = "Metrics are shown to this machine only. Set METRICS_TOKEN to let others read them.\n"
    return HttpResponse(text, status=403, content_type="text/plain")


def _is_this_machine(request: HttpRequest) -> bool:
    """Whether it asks itself, and no proxy asks for somebody else."""
    if any(name in request.META for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


class _Ingest(Collector):
    def collect(self) -> Iterable[Metric]:
        counts = buffer.counters()
        for term, meaning in (
            ("received", "Events that came; a body that cannot be read is one."),
            ("accepted", "Events in the buffer, on disk, before they were answered."),
            ("limited", "Events refused for their rate."),
            ("unavailable", "Events that could not be kept: buffer full, or Redis away."),
            ("archived", "Events written to the bucket."),
        ):
            yield CounterMetricFamily(f"vibetel_events_{term}", meaning, value=counts.get(term, 0))
        yield _labelled("vibetel_events_rejected", "Events refused with a reason.", ("reason",), counts, "rejected:")
        yield _labelled(
            "vibetel_dropped",
            "What was left out of accepted events: a field or option on no list, a name that is odd or unseen.",
            ("kind", "name"),
            buffer.dropped(),
        )
        yield GaugeMetricFamily("vibetel_buffer_rows", "Events waiting for the archive.", value=counts["waiting"])
        oldest_ms = buffer.oldest_waiting_ms()
        waited_seconds = max(0, buffer.now_ms() - oldest_ms) / 1000 if oldest_ms else 0
        yield GaugeMetricFamily("vibetel_buffer_oldest_seconds", "How long the oldest waits.", value=waited_seconds)
        batches = len(buffer.sealed())
        yield GaugeMetricFamily("vibetel_buffer_batches", "Batches that are due and not in the bucket.", value=batches)
        yield from _looks()
        yield _latencies()


class _Warehouse(Collector):
    def collect(self) -> Iterable[Metric]:
        try:
            return [*_warehouse(), *_books(), *_verification()]
        except (DatabaseError, InterfaceError):
            return []


def _looks() -> Iterator[Metric]:
    counts = buffer.looks()
    for what, meaning, unit in (
        ("looks", "How often a stage looked for what there is to do.", 1),
        ("failures", "How often such a look failed: a store was away.", 1),
        ("us", "How long the looks took.", 1_000_000),
    ):
        name = "vibetel_stage_seconds" if what == "us" else f"vibetel_stage_{what}"
        family = CounterMetricFamily(name, meaning, labels=("stage",))
        for key, value in sorted(counts.items()):
            stage, _, found = key.partition(":")
            if found == what:
                family.add_metric([stage], value / unit)
        yield family
    ages = GaugeMetricFamily("vibetel_stage_age_seconds", "How long ago a look ended well.", labels=("stage",))
    now_seconds = buffer.now_ms() / 1000
    for stage, finished_at in sorted(buffer.finished().items()):
        ages.add_metric([stage], max(0.0, now_seconds - finished_at))
    yield ages


def _warehouse() -> Iterator[Metric]:
    hours = TouchedHour.objects.count()
    yield GaugeMetricFamily("vibetel_rollups_behind_hours", "Hours whose figures are to be recomputed.", value=hours)
    last = LoadedObject.objects.filter(imported=False).order_by("-loaded_at").first()
    if last and (accepted_at := history.ulid_time(last.name)):
        seconds = (last.loaded_at - accepted_at).total_seconds()
        yield GaugeMetricFamily(
            "vibetel_load_lag_seconds", "From its first event to Postgres, for the last object.", value=seconds
        )


def _books() -> Iterator[Metric]:
    reading = ledger.last_reading()
    if reading is None:
        return
    for term, meaning in (
        ("loaded", "Events in Postgres."),
        ("duplicate", "Copies of events that were there already."),
        ("quarantined", "Events that could not be read, and are kept aside."),
        ("not_yet_loaded", "Events in the bucket that are to be loaded."),
        ("imported", "Events that came into the bucket otherwise than through the buffer."),
    ):
        yield GaugeMetricFamily(f"vibetel_events_{term}", meaning, value=reading.terms[term])
    lasting = {found.stage: found.events for found in ledger.imbalances(reading) if found.lasts}
    uneven = GaugeMetricFamily(
        "vibetel_books_imbalance", "Events too many, or negative, too few, for a minute.", labels=("stage",)
    )
    for stage in ledger.STAGES:
        uneven.add_metric([stage], lasting.get(stage, 0))
    yield uneven
    age_seconds = (timezone.now() - reading.read_at).total_seconds()
    yield GaugeMetricFamily("vibetel_books_age_seconds", "How long ago the books were read.", value=age_seconds)


def _verification() -> Iterator[Metric]:
    last = Verification.objects.exclude(finished_at=None).order_by("-finished_at").first()
    if last is None or last.finished_at is None:
        return
    age_seconds = (timezone.now() - last.finished_at).total_seconds()
    yield GaugeMetricFamily("vibetel_verification_age_seconds", "How long ago one ended.", value=age_seconds)
    yield GaugeMetricFamily("vibetel_verification_faults", "What the last one found.", value=last.faults_count)


def _labelled(
    name: str, meaning: str, labels: tuple[str, ...], counts: dict[str, int], prefix: str = ""
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, meaning, labels=labels)
    for key, value in sorted(counts.items()):
        if key.startswith(prefix):
            family.add_metric(key.removeprefix(prefix).split(":", len(labels) - 1), value)
    return family


def _latencies() -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "vibetel_request_duration_seconds", "How long the view took, by the answer's status.", labels=("status",)
    )
    by_status: dict[str, dict[str, int]] = defaultdict(dict)
    for key, value in sorted(buffer.latencies().items()):
        status, _, bucket = key.partition(":")
        by_status[status][bucket] = value
    for status, found in by_status.items():
        family.add_metric([status], list(_cumulated(found)), sum_value=found.get("us", 0) / 1_000_000)
    return family


def _cumulated(found: dict[str, int]) -> Iterator[tuple[str, int]]:
    total = 0
    for number, bound in enumerate(_BOUNDS):
        total += found.get(str(number), 0)
        yield bound, total
