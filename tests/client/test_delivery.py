"""Delivery against a stand-in: what is answered for leaves the spool, the rest stays; and how the process behaves.

The first part calls `deliver`; the second starts real hosts, which start the real process.
"""

import gzip
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from vibetel_client import delivery
from vibetel_client.delivery import Outcome, deliver
from vibetel_client.spool import Event, Spool

from . import host
from .host import (
    HOST,
    ONE_RUN,
    TELL,
    TOOL,
    deliverer,
    deliverers,
    event,
    finish,
    run,
    say_no,
    say_yes,
    start,
    wait_until,
)
from .stand_in import Answer, Request, StandIn, accept, http_answer

# Its name was another one before Python 3.10.
TIMEOUT = ("TimeoutError", "timeout")


@pytest.fixture(autouse=True)
def yes() -> None:
    say_yes()


@pytest.fixture
def portal() -> Iterator[StandIn]:
    with StandIn() as made:
        yield made


@pytest.fixture
def spool() -> Spool:
    return host.spool()


@pytest.fixture
def two_wait(spool: Spool) -> list[Event]:
    """Two events that wait."""
    events = [event(1), event(2)]
    for one in events:
        spool.append(one)
    return events


@pytest.fixture
def refusing_url() -> Iterator[str]:
    with socket.socket() as bound:  # bound and not listening: the port refuses, and nobody else gets it
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"


def counts(outcome: Outcome) -> tuple[int, int]:
    return outcome.accepted_count, outcome.rejected_count


# -- What is answered for ---------------------------------------------------------------------------------------------


def test_all_that_waits_goes_in_one_gzip_post(portal: StandIn, spool: Spool, two_wait: list[Event]) -> None:
    outcome = deliver(TOOL, portal.url)
    request = portal.requests.get(timeout=5)
    assert portal.requests.empty()
    assert (request.method, request.target) == ("POST", "/api/pipeline")
    assert (request.headers["content-type"], request.headers["content-encoding"]) == ("application/json", "gzip")
    assert request.headers["content-length"] == str(len(request.body))
    content = json.loads(gzip.decompress(request.body))
    assert content["data"] == two_wait
    assert [entry["sentAt"] for entry in spool.sent()] == [content["sentAt"]] * 2
    assert list(content) == ["sentAt", "data"]
    assert (counts(outcome), outcome.problem) == ((2, 0), "")
    assert spool.waiting() == []


def test_nothing_that_waits_is_no_request(portal: StandIn) -> None:
    assert (counts(deliver(TOOL, portal.url)), deliver(TOOL, portal.url).problem) == ((0, 0), "")
    assert portal.requests.empty()


def test_accepted_and_rejected_leave_the_spool(portal: StandIn, spool: Spool, two_wait: list[Event]) -> None:
    results = [{"status": "rejected", "reason": "bad_value", "field": "model"}, {"status": "accepted"}]
    portal.answer = lambda _: http_answer(202, {"success": True, "results": results})
    assert counts(deliver(TOOL, portal.url)) == (1, 1)
    assert spool.waiting() == []
    assert spool.state().rejected_count == 1
    assert [entry["status"] for entry in spool.sent()] == ["rejected", "accepted"]


def test_success_ends_the_back_off(portal: StandIn, spool: Spool, two_wait: list[Event]) -> None:
    portal.answer = lambda _: http_answer(500)
    deliver(TOOL, portal.url)
    assert not spool.is_due(time.time())
    portal.answer = accept
    deliver(TOOL, portal.url)
    state = spool.state()
    assert (state.failures_count, state.not_before_s, state.problem, state.endpoint) == (0, 0, "", portal.url)


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "results": [{"status": "rejected", "reason": "bad_value"}] * 2},
        {"success": False, "results": [{"status": "rejected", "reason": "bad_encoding"}]},
        {"success": False},
    ],
)
def test_a_400_of_the_portal_deletes_the_body(
    body: object, portal: StandIn, spool: Spool, two_wait: list[Event]
) -> None:
    portal.answer = lambda _: http_answer(400, body)
    assert counts(deliver(TOOL, portal.url)) == (0, 2)
    assert spool.waiting() == []
    assert spool.state().rejected_count == 2


def test_a_413_of_one_event_deletes_it(portal: StandIn, spool: Spool) -> None:
    spool.append(event(1))
    portal.answer = lambda _: http_answer(413, b"<html>")
    assert counts(deliver(TOOL, portal.url)) == (0, 1)
    assert spool.waiting() == []


def test_a_413_of_many_halves_the_batch(portal: StandIn, spool: Spool) -> None:
    for number in range(7):
        spool.append(event(number))
    portal.answer = lambda request: accept(request) if len(request.events) <= 2 else http_answer(413)
    assert counts(deliver(TOOL, portal.url)) == (7, 0)
    assert [len(portal.requests.get(timeout=5).events) for _ in range(6)] == [7, 4, 2, 2, 2, 1]
    assert [entry["event"] for entry in spool.sent()] == [event(number) for number in range(7)]
    assert spool.waiting() == []


def test_a_413_of_everything_ends(portal: StandIn, spool: Spool) -> None:
    for number in range(5):
        spool.append(event(number))
    portal.answer = lambda _: http_answer(413)
    assert counts(deliver(TOOL, portal.url)) == (0, 5)
    assert spool.waiting() == []


def test_what_was_answered_for_before_a_failure_is_not_sent_again(
    portal: StandIn, spool: Spool, two_wait: list[Event]
) -> None:
    def answer(request: Request) -> Iterable[bytes]:
        if len(request.events) == 2:
            return http_answer(413)
        return accept(request) if request.events == [event(1)] else http_answer(500)

    portal.answer = answer
    outcome = deliver(TOOL, portal.url)
    assert (counts(outcome), outcome.problem) == ((1, 0), "HTTP status 500")
    assert spool.waiting() == [event(2)]
    assert not spool.is_due(time.time())


# -- What is lost -----------------------------------------------------------------------------------------------------


def test_losses_are_reported_once_by_the_next_event_that_arrives(
    portal: StandIn, spool: Spool, two_wait: list[Event]
) -> None:
    spool.remember(lost_count=7)
    portal.answer = lambda _: http_answer(503)
    deliver(TOOL, portal.url)
    portal.answer = accept
    deliver(TOOL, portal.url)
    spool.append(event(3))
    deliver(TOOL, portal.url)
    _failed, first, second = (portal.requests.get(timeout=5).events for _ in range(3))
    assert [one.get("lostCount") for one in first] == [7, None]
    assert [one.get("lostCount") for one in second] == [None]
    assert [one["eventId"] for one in first] == [one["eventId"] for one in two_wait]


def test_losses_that_a_rejected_event_reported_are_reported_again(portal: StandIn, spool: Spool) -> None:
    spool.append(event(1))
    spool.remember(lost_count=7)
    portal.answer = lambda _: http_answer(400, {"success": False, "results": [{"status": "rejected"}]})
    deliver(TOOL, portal.url)
    portal.answer = accept
    spool.append(event(2))
    deliver(TOOL, portal.url)
    assert [portal.requests.get(timeout=5).events[0]["lostCount"] for _ in range(2)] == [7, 7]
    assert spool.state().lost_count == 0


def test_losses_of_more_than_the_contract_can_say_are_reported_in_parts(portal: StandIn, spool: Spool) -> None:
    spool.append(event(1))
    spool.remember(lost_count=1_000_001)
    deliver(TOOL, portal.url)
    assert portal.requests.get(timeout=5).events[0]["lostCount"] == 1_000_000
    assert spool.state().lost_count == 1


# -- What keeps it ----------------------------------------------------------------------------------------------------

ACCEPTED = {"status": "accepted"}

KEEPING = {
    "a captive portal": (200, b"<html>Welcome to our hotel"),
    "success without verdicts": (200, {"success": True}),
    "the worker's answer": (200, {"success": True, "message": "Data sent to pipeline."}),
    "a verdict too few": (202, {"success": True, "results": [ACCEPTED]}),
    "a verdict too many": (202, {"success": True, "results": [ACCEPTED] * 3}),
    "an unknown verdict": (202, {"success": True, "results": [ACCEPTED, {"status": "maybe"}]}),
    "verdicts that are none": (202, {"success": True, "results": [{"status": []}, {"status": {}}]}),
    "verdicts of text": (202, {"success": True, "results": "accepted accepted"}),
    "verdicts without success": (202, {"success": False, "results": [ACCEPTED] * 2}),
    "success that is no bool": (202, {"success": 1, "results": [ACCEPTED] * 2}),
    "success of a failure": (500, {"success": True, "results": [ACCEPTED] * 2}),
    "null": (202, b"null"),
    "nothing": (204, b""),
    "deep JSON": (202, b"[" * 100_000),
    "no text": (202, b"\xff\xfe\x00"),
    "more than an answer": (202, b" " * 1_000_000 + json.dumps({"success": True, "results": [ACCEPTED] * 2}).encode()),
    "a 400 of somebody else": (400, b"<html>Bad request"),
    "a 400 that says success": (400, {"success": True, "results": [ACCEPTED] * 2}),
    "unauthorized": (401, b""),
    "a proxy's login": (407, b""),
    "not found": (404, {"success": False}),
    "no gzip there": (415, {"success": False, "results": [{"status": "rejected"}]}),
    "too many requests": (429, {"success": False}),
    "an error": (500, b""),
    "unavailable": (503, {"success": False}),
}


@pytest.mark.parametrize("name", KEEPING)
def test_an_answer_that_is_not_the_portal_s_keeps_everything(
    name: str, portal: StandIn, spool: Spool, two_wait: list[Event]
) -> None:
    status, body = KEEPING[name]
    portal.answer = lambda _: http_answer(status, body)
    outcome = deliver(TOOL, portal.url)
    assert (counts(outcome), outcome.problem) == ((0, 0), f"HTTP status {status}")
    assert spool.waiting() == two_wait
    assert spool.sent() == []
    assert spool.state().problem == f"HTTP status {status}"
    assert not spool.is_due(time.time())


RAW = {
    "no HTTP": [b"220 mail.example.com ESMTP\r\n"],
    "noise": [bytes(range(256)) * 10],
    "an end at once": [],
    "half a header": [b"HTTP/1.1 202 Accepted\r\nContent-Le"],
    "half a body": [http_answer(202, {"success": True, "results": [ACCEPTED] * 2})[0][:-10]],
    "half a chunk": [b'HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"success": true, '],
    "a header without end": [b"HTTP/1.1 202 Accepted\r\nA: ", b"x" * 100_000],
    "headers without end": [b"HTTP/1.1 202 Accepted\r\n", b"A: b\r\n" * 1000],
}


@pytest.mark.parametrize("name", RAW)
def test_an_answer_that_is_broken_keeps_everything(
    name: str, portal: StandIn, spool: Spool, two_wait: list[Event]
) -> None:
    portal.answer = lambda _: RAW[name]
    outcome = deliver(TOOL, portal.url)
    assert counts(outcome) == (0, 0)
    assert outcome.problem == spool.state().problem != ""
    assert spool.waiting() == two_wait
    assert not spool.is_due(time.time())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int, portal: StandIn, spool: Spool, two_wait: list[Event]) -> None:
    with StandIn() as elsewhere:
        portal.answer = lambda _: http_answer(status, b"", Location=elsewhere.url)
        assert deliver(TOOL, portal.url).problem == f"HTTP status {status}"
        assert elsewhere.requests.empty()
    assert portal.requests.get(timeout=5).method == "POST"
    assert portal.requests.empty()
    assert spool.waiting() == two_wait


@pytest.mark.parametrize(
    "url",
    [
        "",
        "no url",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://",
        "http://[",
        "http://a b/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "http://127.0.0.1:9/\u00fc",
        f"http://{'a' * 70}.invalid/",
    ],
)
def test_a_wrong_endpoint_keeps_everything(url: str, spool: Spool, two_wait: list[Event]) -> None:
    outcome = deliver(TOOL, url)
    assert outcome.problem == spool.state().problem != ""
    assert spool.waiting() == two_wait


def test_a_refusing_portal_keeps_everything(refusing_url: str, spool: Spool, two_wait: list[Event]) -> None:
    assert deliver(TOOL, refusing_url).problem == "ConnectionRefusedError"
    assert spool.waiting() == two_wait


def test_a_silent_portal_keeps_everything(
    portal: StandIn, spool: Spool, two_wait: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "ANSWER_MAX_S", 0.2)
    portal.release.clear()
    assert deliver(TOOL, portal.url).problem in TIMEOUT
    assert spool.waiting() == two_wait


# -- When it is tried again -------------------------------------------------------------------------------------------


def wait_after(spool: Spool, url: str) -> float:
    """How long an attempt that fails puts off the next one, seconds from the attempt's beginning."""
    began_s = time.time()
    deliver(TOOL, url)
    return spool.state().not_before_s - began_s


def test_the_back_off_grows_and_is_bounded(spool: Spool, refusing_url: str, two_wait: list[Event]) -> None:
    waits_s = [wait_after(spool, refusing_url) for _ in range(10)]
    for number, wait_s in enumerate(waits_s):
        assert min(30 * 2**number, 3600) <= wait_s <= min(45 * 2**number, 3600) + 10
    assert spool.state().failures_count == 10
    spool.remember(failures_count=10**9)
    assert 3600 <= wait_after(spool, refusing_url) <= 3610


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "least_s", "most_s"),
    [
        ("5", 5, 15),
        ("1200", 1200, 1210),
        ("9" * 400, 86_400, 86_410),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400, 86_410),
        # Nothing that can be used: the client's own back-off holds.
        ("0", 30, 55),
        ("-5", 30, 55),
        ("1e3", 30, 55),
        ("\u00b2", 30, 55),
        ("\u00a0", 30, 55),
        ("soon", 30, 55),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 30, 55),
        ("Mon, 01 Jan 0001 00:00:00 -0000", 30, 55),
        (formatdate(0, usegmt=True), 30, 55),
    ],
)
def test_retry_after_is_honoured_within_bounds(
    status: int, value: str, least_s: float, most_s: float, portal: StandIn, spool: Spool, two_wait: list[Event]
) -> None:
    portal.answer = lambda _: http_answer(status, b"", Retry_After=value)
    assert least_s <= wait_after(spool, portal.url) <= most_s
    assert not spool.is_due(time.time())
    assert spool.waiting() == two_wait


def test_retry_after_may_be_a_date(portal: StandIn, spool: Spool, two_wait: list[Event]) -> None:
    portal.answer = lambda _: http_answer(429, b"", Retry_After=formatdate(time.time() + 7200, usegmt=True))
    assert 7190 <= wait_after(spool, portal.url) <= 7210


@settings(deadline=None, max_examples=500)
@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d{1,6} \d\d:\d\d(:\d\d)? [-+]?\w+"))
def test_retry_after_may_be_anything(value: str) -> None:
    wait_s = delivery._retry_after_s(value)
    assert wait_s is None or 0 < wait_s <= 86_400


# -- Consent ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["DO_NOT_TRACK", "VIBE_TOOLS_NO_TELEMETRY"])
def test_a_variable_that_opts_out_sends_nothing_and_keeps_the_spool(
    variable: str, portal: StandIn, spool: Spool, two_wait: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    assert deliver(TOOL, portal.url).problem
    assert portal.requests.empty()
    assert spool.waiting() == two_wait


def test_a_no_sends_nothing_and_empties_the_spool(
    portal: StandIn, spool: Spool, two_wait: list[Event], diagnostics: Path
) -> None:
    diagnostics.write_text('{"telemetryEnabled": false}')  # by the released client, which knows of no spool
    assert deliver(TOOL, portal.url).problem
    assert portal.requests.empty()
    assert list(diagnostics.parent.iterdir()) == [diagnostics]


def test_a_choice_that_cannot_be_read_meanwhile_keeps_the_spool(
    portal: StandIn, spool: Spool, diagnostics: Path
) -> None:
    """Another program of the tool may write the file just then, and not in one piece."""
    spool.append(event(1))
    whole = diagnostics.read_text()

    def answer(request: Request) -> Iterable[bytes]:
        diagnostics.write_text(whole[:10])
        return accept(request)

    portal.answer = answer
    assert deliver(TOOL, portal.url).problem == "there is no consent"
    diagnostics.write_text(whole)
    assert spool.waiting() == [event(1)]
    portal.answer = accept
    assert deliver(TOOL, portal.url).accepted_count == 1


def test_a_no_while_the_portal_thinks_leaves_nothing_behind(
    portal: StandIn, spool: Spool, two_wait: list[Event], diagnostics: Path
) -> None:
    def answer(request: Request) -> Iterable[bytes]:
        say_no()
        return accept(request)

    portal.answer = answer
    deliver(TOOL, portal.url)
    assert list(diagnostics.parent.iterdir()) == [diagnostics]


def test_a_no_while_the_portal_thinks_and_a_host_writes_leaves_nothing_behind(
    portal: StandIn, spool: Spool, two_wait: list[Event], diagnostics: Path
) -> None:
    def answer(request: Request) -> Iterable[bytes]:
        say_no()
        (diagnostics.parent / "telemetry").mkdir()  # by a run that began before
        return http_answer(503)

    portal.answer = answer
    deliver(TOOL, portal.url)
    assert list(diagnostics.parent.iterdir()) == [diagnostics]


# -- Proxies and certificates -----------------------------------------------------------------------------------------


def test_the_proxy_of_the_environment_is_used(
    portal: StandIn, spool: Spool, two_wait: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", portal.url.replace("http://", "http://alice:secret@"))
    assert counts(deliver(TOOL, "http://telemetry.invalid/api/pipeline")) == (2, 0)
    request = portal.requests.get(timeout=5)
    assert request.target == "http://telemetry.invalid/api/pipeline"
    assert request.headers["proxy-authorization"] == "Basic YWxpY2U6c2VjcmV0"


def test_the_proxy_of_the_environment_is_used_for_https(
    portal: StandIn, spool: Spool, two_wait: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", portal.url)
    portal.answer = lambda _: http_answer(403)
    assert deliver(TOOL, "https://telemetry.invalid/api/pipeline").problem
    request = portal.requests.get(timeout=5)
    assert (request.method, request.target, request.body) == ("CONNECT", "telemetry.invalid:443", b"")
    assert spool.waiting() == two_wait


def test_a_host_of_no_proxy_is_spoken_to_directly(
    portal: StandIn, spool: Spool, two_wait: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    monkeypatch.setenv("no_proxy", "example.com,127.0.0.1")
    assert counts(deliver(TOOL, portal.url)) == (2, 0)
    assert portal.requests.get(timeout=5).target == "/api/pipeline"


@pytest.mark.parametrize("proxy", ["http://[", "nonsense://", ":", "http://127.0.0.1:9/"])
def test_a_proxy_that_is_none_keeps_everything(
    proxy: str, portal: StandIn, spool: Spool, two_wait: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    assert deliver(TOOL, portal.url).problem
    assert portal.requests.empty()
    assert spool.waiting() == two_wait


def test_a_portal_gets_nothing_until_its_certificate_is_trusted(
    portal: StandIn, spool: Spool, two_wait: list[Event], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    portal.socket = tls.wrap_socket(portal.socket, server_side=True)
    url = portal.url.replace("http:", "https:")
    assert deliver(TOOL, url).problem == "SSLCertVerificationError"
    assert portal.requests.empty()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    assert deliver(TOOL, url.replace("127.0.0.1", "localhost")).problem == "SSLCertVerificationError"
    assert portal.requests.empty()
    assert counts(deliver(TOOL, url)) == (2, 0)


# -- The process ------------------------------------------------------------------------------------------------------


def deliver_by(program: str, url: str, **popen: Any) -> None:
    """Run a host, which leaves a process behind."""
    ran = run(program, url, **popen)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def wait_for_the_end(patience_s: float = 20) -> None:
    # Twice: the process forks and ends, and a look that comes between sees neither of the two.
    wait_until(lambda: not deliverers() and not deliverers(), patience_s)


def one_run_where(code: str) -> str:
    """A host whose delivering process runs `code` first, to have other limits or another environment."""
    patch = f"transport._DELIVER = transport._DELIVER.replace('delivery.main()', {f'{code}; delivery.main()'!r})\n"
    return HOST + patch + ONE_RUN.removeprefix(HOST)


def test_the_process_outlives_its_host_and_holds_none_of_its_pipes(portal: StandIn, spool: Spool) -> None:
    portal.release.clear()
    reader, writer = os.pipe()
    deliver_by(ONE_RUN, portal.url, pass_fds=(writer,))  # its streams are at their end: `run` has read them
    os.close(writer)
    portal.requests.get(timeout=10)
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert deliverer()
    portal.release.set()
    wait_for_the_end()
    assert len(spool.sent()) == 1


def test_the_process_survives_its_host_s_group(portal: StandIn, spool: Spool) -> None:
    with start(ONE_RUN + "\nos.killpg(0, signal.SIGKILL)\n", portal.url, start_new_session=True) as killed:
        finish(killed)
    assert killed.returncode == -signal.SIGKILL
    assert len(portal.requests.get(timeout=10).events) == 1
    wait_until(lambda: spool.sent())


def test_the_process_survives_its_terminal(portal: StandIn, spool: Spool) -> None:
    master, terminal = os.openpty()
    portal.release.clear()
    program = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" + ONE_RUN + "\ntime.sleep(60)\n"
    with start(program, portal.url, stdin=terminal, start_new_session=True) as hung_up:
        portal.requests.get(timeout=10)
        os.close(terminal)
        os.close(master)
        finish(hung_up)
    assert hung_up.returncode == -signal.SIGHUP
    portal.release.set()
    wait_until(lambda: spool.sent())


def test_nothing_of_the_payload_is_in_arguments_or_environment(portal: StandIn, spool: Spool) -> None:
    portal.release.clear()
    deliver_by(ONE_RUN.replace("repo", "conspicuous"), portal.url)
    [sent] = portal.requests.get(timeout=10).events
    child = deliverer()
    seen = Path(f"/proc/{child}/cmdline").read_bytes() + Path(f"/proc/{child}/environ").read_bytes()
    assert portal.url.encode() in seen
    values = {str(sent[name]) for name in ("command", "userId", "sessionId", "eventId", "timestamp")}
    assert "conspicuous" in values
    assert [value for value in values if value.encode() in seen] == []


def test_hosts_at_the_same_time_have_one_process_that_delivers(portal: StandIn, spool: Spool) -> None:
    hosts = [start(ONE_RUN, portal.url) for _ in range(10)]
    for one in hosts:
        assert finish(one).stderr == ""
    wait_until(lambda: len(spool.sent()) == 10)
    arrived = [one["eventId"] for request in list(portal.requests.queue) for one in request.events]
    assert len(arrived) == len(set(arrived)) == 10
    assert portal.open_max_count == 1


def test_a_host_that_finds_a_delivery_under_way_starts_nothing_and_is_delivered(portal: StandIn, spool: Spool) -> None:
    portal.release.clear()
    deliver_by(ONE_RUN, portal.url)
    first = portal.requests.get(timeout=10)
    assert run(ONE_RUN + TELL, portal.url).stdout == "\n"
    portal.release.set()
    second = portal.requests.get(timeout=10)
    assert [len(request.events) for request in (first, second)] == [1, 1]
    assert first.events[0]["eventId"] != second.events[0]["eventId"]
    wait_for_the_end()


def test_a_process_late_in_its_life_leaves_the_rest_to_another_one(portal: StandIn, spool: Spool) -> None:
    portal.release.clear()
    deliver_by(one_run_where("delivery.LIFE_MAX_S = 4"), portal.url)
    portal.requests.get(timeout=10)
    assert run(ONE_RUN + TELL, portal.url).stdout == "\n"
    time.sleep(2.2)
    portal.release.set()
    wait_for_the_end()
    assert len(portal.requests.get(timeout=10).events) == 1
    wait_until(lambda: len(spool.sent()) == 2)


def test_a_killed_process_s_events_are_delivered_by_the_next(portal: StandIn, spool: Spool) -> None:
    portal.release.clear()
    deliver_by(ONE_RUN, portal.url)
    first = portal.requests.get(timeout=10)
    os.kill(deliverer(), signal.SIGKILL)
    wait_for_the_end()
    assert not spool.is_due(time.time())
    assert spool.state().problem == "the attempt was cut short"
    portal.release.set()
    # A process that dies is gone from the list before the system takes its lock away.
    wait_until(spool.delivery_lock.acquire)
    spool.delivery_lock.release()
    spool.remember(not_before_s=0)
    deliver_by(ONE_RUN, portal.url)
    second = portal.requests.get(timeout=10)
    assert second.events[0]["eventId"] == first.events[0]["eventId"]
    assert len(second.events) == 2


def test_a_no_while_the_process_runs_leaves_nothing_behind(portal: StandIn, diagnostics: Path) -> None:
    portal.release.clear()
    deliver_by(ONE_RUN, portal.url)
    portal.requests.get(timeout=10)
    say_no()
    assert list(diagnostics.parent.iterdir()) == [diagnostics]
    portal.release.set()
    wait_for_the_end()
    assert list(diagnostics.parent.iterdir()) == [diagnostics]


def test_the_process_gives_a_silent_portal_up(portal: StandIn, spool: Spool) -> None:
    portal.release.clear()
    deliver_by(ONE_RUN, portal.url)
    wait_for_the_end(delivery.LIFE_MAX_S + 2)
    assert spool.state().problem in TIMEOUT
    assert len(spool.waiting()) == 1


def drip(request: Request) -> Iterator[bytes]:
    """An answer that never ends, a byte at a time: every one is in time."""
    yield b"HTTP/1.1 202 Accepted\r\n\r\n"
    for _ in range(150):
        time.sleep(0.1)
        yield b" "


@pytest.mark.parametrize("is_silent", [True, False])
def test_the_process_dies_at_the_end_of_its_life(is_silent: bool, portal: StandIn, spool: Spool) -> None:
    if is_silent:
        portal.release.clear()
    portal.answer = drip
    deliver_by(one_run_where("delivery.LIFE_MAX_S = 3"), portal.url)
    portal.requests.get(timeout=10)
    wait_for_the_end(8)
    assert spool.state().problem == "the attempt was cut short"
    assert len(spool.waiting()) == 1
    wait_until(spool.delivery_lock.acquire)
    spool.delivery_lock.release()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda _: http_answer(503, b"", Retry_After="0"), "HTTP status 503"),
        (lambda _: http_answer(200), "HTTP status 200"),
    ],
)
def test_the_process_tries_once(answer: Answer, problem: str, portal: StandIn, spool: Spool) -> None:
    portal.answer = answer
    deliver_by(one_run_where("delivery.LIFE_MAX_S = 60"), portal.url)
    wait_for_the_end()
    assert portal.requests.get(timeout=5)
    assert portal.requests.empty()
    assert spool.state().problem == problem


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.environ['DO_NOT_TRACK'] = '1'",
        "open(delivery.Spool('vibe-tools')._events, 'w').write('half a line')",
    ],
)
def test_the_process_ends_where_it_has_nothing_to_send(code: str, portal: StandIn) -> None:
    deliver_by(one_run_where(f"delivery.LIFE_MAX_S = 60; {code}"), portal.url)
    wait_for_the_end()
    assert portal.requests.empty()
