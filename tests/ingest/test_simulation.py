"""Simulate: traffic that could be real, the same for the same seed, to a portal or into the archive."""

import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from io import StringIO
from itertools import pairwise
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from vibetel_client import contract

from ingest import archive, buffer, checks, simulation
from ingest.checks import Accepted
from ingest.simulation import DAY_MS, Sent, Traffic

UNTIL = datetime(2026, 11, 22, 12, tzinfo=UTC)
QUARTER = Traffic(UNTIL - timedelta(days=90), UNTIL, events_per_day=300, users=300)
FEW_DAYS = replace(QUARTER, start=UNTIL - timedelta(days=4))


@cache
def quarter() -> list[Sent]:
    return list(simulation.events(QUARTER))


def runs() -> list[Sent]:
    return [sent for sent in quarter() if "duration" in sent.event]


def days_ago(sent: Sent) -> float:
    return UNTIL.timestamp() / 86_400 - sent.arrived_ms / DAY_MS


def as_bytes(traffic: Traffic) -> bytes:
    return json.dumps(list(simulation.events(traffic))).encode()


# -- The events -------------------------------------------------------------------------------------------------------


def test_events_of_one_seed_are_the_same_bytes() -> None:
    assert as_bytes(FEW_DAYS) == as_bytes(FEW_DAYS)
    assert as_bytes(FEW_DAYS) != as_bytes(replace(FEW_DAYS, seed=2))


def test_events_come_in_order_within_their_time() -> None:
    assert all(one.arrived_ms <= next_.arrived_ms for one, next_ in pairwise(quarter()))
    assert quarter()[0].arrived_ms >= QUARTER.start.timestamp() * 1000
    assert quarter()[-1].arrived_ms < UNTIL.timestamp() * 1000


def test_events_are_about_as_many_as_asked_for() -> None:
    assert len(quarter()) == pytest.approx(simulation.expected_count(QUARTER), rel=0.05)
    users = {sent.event["userId"] for sent in quarter() if days_ago(sent) < 30}
    assert len(users) == pytest.approx(QUARTER.users, rel=0.2)


def test_every_event_passes_the_checks_and_keeps_all_its_fields() -> None:
    for sent in quarter():
        checked = checks.check(
            json.dumps({"data": sent.event}).encode(),
            received_at=datetime.fromtimestamp(sent.arrived_ms / 1000, UTC),
            identity_hash_key=b"a key for tests",
            events_max_count=1,
        )
        assert isinstance(checked.verdicts[0], Accepted), (sent, checked)
        assert checked.dropped.keys() <= {"field:errorMessage"}  # the released client's errorMessage
        assert contract.OTHER not in json.loads(checked.verdicts[0].line).values() or sent.event["os"] == "other"


def test_fields_are_in_the_contracts_order() -> None:
    order = {field.name: place for place, field in enumerate(contract.FIELDS)} | {"errorMessage": len(contract.FIELDS)}
    for sent in quarter():
        places = [order[name] for name in sent.event]
        assert places == sorted(places)


def test_event_ids_are_distinct_and_sort_by_time() -> None:
    ids = [str(sent.event["eventId"]) for sent in quarter() if "eventId" in sent.event]
    assert len(set(ids)) == len(ids)
    assert [text[:13] for text in ids] == sorted(text[:13] for text in ids)
    assert {text[14] for text in ids} == {"7"}


def test_weekdays_are_busier_than_weekends() -> None:
    by_weekday = Counter(datetime.fromtimestamp(sent.arrived_ms / 1000, UTC).weekday() for sent in quarter())
    assert max(by_weekday[5], by_weekday[6]) < 0.5 * min(by_weekday[day] for day in range(5))


def test_traffic_grows() -> None:
    assert sum(days_ago(sent) < 28 for sent in quarter()) > 1.1 * sum(28 <= days_ago(sent) < 56 for sent in quarter())


def test_a_release_is_adopted_gradually() -> None:
    def share(version: str, first: int, last: int) -> float:
        versions = [sent.event["toolVersion"] for sent in quarter() if first >= days_ago(sent) >= last]
        return versions.count(version) / len(versions)

    assert share("0.64.0", 90, 28) == 0
    assert 0.1 < share("0.64.0", 26, 22) < 0.6 < share("0.64.0", 16, 10) < 0.95
    assert share("0.64.0", 5, 0) > 0.85
    assert share("0.63.0", 90, 64) == 1


def test_a_failed_run_of_the_released_client_is_two_events() -> None:
    twins = [sent.event for sent in quarter() if "duration" not in sent.event]
    failed_runs = {
        sent.event["sessionId"]: sent.event
        for sent in runs()
        if "eventId" not in sent.event and sent.event["hasError"] is True
    }
    assert 0 < len(twins) == len(failed_runs)
    for twin in twins:
        assert list(twin) == [
            *("eventName", "userId", "sessionId", "timestamp", "toolVersion", "command", "errorType", "errorMessage")
        ]
        run = failed_runs[twin["sessionId"]]
        assert (twin["eventName"], run["eventName"]) == (contract.COMMAND_ERROR, contract.COMMAND_EXECUTED)
        assert (twin["userId"], twin["errorType"]) == (run["userId"], run["errorType"])


def test_a_failed_run_of_the_bundled_client_is_one_event() -> None:
    bundled = [sent.event for sent in quarter() if "eventId" in sent.event]
    assert all((event["eventName"] == contract.COMMAND_ERROR) is event["hasError"] for event in bundled)
    assert len({event["sessionId"] for event in bundled}) == len(bundled)


def test_a_few_percent_of_everything_odd() -> None:
    def share(odd: int) -> float:
        return odd / len(quarter())

    assert 0.02 < share(sum("eventId" not in sent.event for sent in quarter())) < 0.1
    assert 0 < share(sum(sent.event["userId"] in contract.PLACEHOLDER_USER_IDS for sent in quarter())) < 0.03
    assert 0 < share(sum(clock_error(sent) > timedelta(minutes=1) for sent in quarter())) < 0.05
    assert 0.03 < share(sum(sent.event.get("hasError") is True for sent in quarter())) < 0.1


def clock_error(sent: Sent) -> timedelta:
    by_client = datetime.fromisoformat(str(sent.event["timestamp"]))
    return abs(by_client - datetime.fromtimestamp(sent.arrived_ms / 1000, UTC))


def test_durations_have_a_long_tail() -> None:
    repo = sorted(int(str(sent.event["duration"])) for sent in runs() if sent.event["command"] == "repo")
    median_ms = repo[len(repo) // 2]
    assert median_ms == pytest.approx(11_600, rel=0.1)
    assert repo[int(len(repo) * 0.99)] > 4 * median_ms


def test_only_commands_that_ask_a_model_name_one() -> None:
    with_model = {sent.event["command"] for sent in runs() if "model" in sent.event}
    assert {"repo", "ask", "plan", "web"} <= with_model
    assert not with_model & {"install", "wait", "linear", "clickup", "xcode"}
    assert {sent.event["command"] for sent in runs() if "fileModel" in sent.event} == {"plan"}


# -- To the archive ---------------------------------------------------------------------------------------------------


def write_history(**options: Any) -> str:
    history = {"to": "archive", "days": 4, "users": 100, "events_per_day": 200, "until": UNTIL}
    return simulate(**(history | options))


def simulate(**options: Any) -> str:
    output = StringIO()
    call_command("simulate", stdout=output, **options)
    return output.getvalue()


@pytest.mark.usefixtures("empty_bucket")
def test_simulate_to_the_archive_writes_every_event_once() -> None:
    output = write_history(rows_per_object=100)
    traffic = replace(FEW_DAYS, users=100, events_per_day=200)
    objects = [archive.get(listed.name) for listed in archive.listing()]
    lines = [json.loads(line) for item in objects for line in gzip.decompress(item.body).splitlines()]
    assert [line["sessionId"] for line in lines] == [sent.event["sessionId"] for sent in simulation.events(traffic)]
    assert output.startswith(f"{len(lines)} events in {len(objects)} objects")
    assert {item.metadata["rows"] for item in objects[:-1]} == {"100"}
    assert {item.metadata["origin"] for item in objects} == {"simulate"}


@pytest.mark.usefixtures("empty_bucket")
def test_simulate_to_the_archive_again_changes_nothing() -> None:
    write_history()
    before = list(archive.listing())
    write_history()
    assert before
    assert list(archive.listing()) == before


@pytest.mark.usefixtures("empty_bucket")
def test_simulate_to_the_archive_keeps_the_portals_promise_for_released_clients() -> None:
    write_history()
    text = b"".join(gzip.decompress(archive.get(listed.name).body) for listed in archive.listing())
    assert b"errorMessage" not in text
    assert b"/home/" not in text


# -- To a portal ------------------------------------------------------------------------------------------------------


class Portal(BaseHTTPRequestHandler):
    """A portal's answers, one by one; then 202."""

    protocol_version = "HTTP/1.1"
    answers: list[tuple[int, str]] = []
    received: list[dict[str, Any]] = []
    connections: set[Any] = set()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, result = self.answers.pop(0) if self.answers else (202, '{"status": "accepted"}')
        if status == 202:
            self.received.append(body["data"])
        self.connections.add(self.client_address)
        content = f'{{"results": [{result}]}}'.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(server: HTTPServer) -> Iterator[str]:
    """The server in a thread of its own; its pipeline's address."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    with server:
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api/pipeline"
        server.shutdown()
        thread.join()


@pytest.fixture
def portal() -> Iterator[str]:
    """The address of a portal that answers what `Portal.answers` says."""
    Portal.answers, Portal.received, Portal.connections = [], [], set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    server.daemon_threads = True
    with serving(server) as url:
        yield url


def test_simulate_to_a_portal_sends_recent_events_over_kept_connections(portal: str) -> None:
    assert simulate(to=portal, count=200) == "200 events accepted, 0 rejected.\n"
    assert len(Portal.received) == 200
    assert len(Portal.connections) <= 9
    times = sorted(datetime.fromisoformat(event["timestamp"]) for event in Portal.received)
    assert abs(times[100] - datetime.now(UTC)) < timedelta(days=2)


def test_simulate_to_a_portal_comes_back_after_retry_after(portal: str) -> None:
    Portal.answers = [(503, ""), (429, "")]
    started_s = time.monotonic()
    assert simulate(to=portal, count=5) == "5 events accepted, 0 rejected.\n"
    assert time.monotonic() - started_s >= 2
    assert len(Portal.received) == 5


def test_simulate_to_a_portal_counts_what_is_rejected(portal: str) -> None:
    Portal.answers = [(400, '{"status": "rejected", "reason": "bad_value", "field": "duration"}')]
    assert simulate(to=portal, count=5) == "4 events accepted, 1 rejected (bad_value: 1).\n"


def test_simulate_to_what_is_no_portal_says_so(portal: str) -> None:
    Portal.answers = [(404, "")]
    with pytest.raises(CommandError, match="answered 404"):
        simulate(to=portal, count=5)


def test_simulate_without_a_portal_says_so() -> None:
    with pytest.raises(CommandError, match="make run"):
        simulate(to="http://127.0.0.1:1/api/pipeline", count=5)


@pytest.mark.usefixtures("empty_buffer")
@pytest.mark.urls("vibetel.ingest_urls")
def test_simulate_to_the_real_portal_is_accepted() -> None:
    server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
    server.set_app(get_wsgi_application())
    with serving(server) as url:
        assert simulate(to=url, count=100) == "100 events accepted, 0 rejected.\n"
    assert buffer.counters()["waiting"] == 100
