"""The ingest process as it is served: what Django's test client does not go through."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ingest import buffer
from tests.events import body, event
from tests.ingest.server import Server, serving
from tests.vibetel.programs import CHECKOUT

pytestmark = [pytest.mark.usefixtures("empty_buffer"), pytest.mark.xdist_group("server")]

PATH = "/api/pipeline"
JSON = "application/json"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; x*=bogus''a",  # no character set has that name
        "application/json; charset=no-such-charset",
        "application/json; =;;",
        "application/json;a=" + "x" * 20_000,
    ],
)
def test_parameters_of_a_content_type_are_not_looked_at(server: Server, content_type: str) -> None:
    before = server.log.read_text()
    status, _, _ = server.ask("POST", PATH, body(event()), **{"Content-Type": content_type})
    assert status == 202
    assert server.log.read_text() == before


@pytest.mark.parametrize("path", ["/", "/admin/", "/metrics", "/readyz", "/api/pipeline/"])
def test_there_is_nothing_of_the_portal(server: Server, path: str) -> None:
    status, headers, answer = server.ask("GET", path)
    assert (status, headers["Content-Type"]) == (404, JSON)
    assert json.loads(answer) == {"detail": "Not found."}


def test_an_event_is_answered_once_it_is_in_the_stream(server: Server) -> None:
    sent = event()
    status, headers, answer = server.ask("POST", PATH, body(sent), **{"Content-Type": JSON})
    assert (status, json.loads(answer)) == (202, {"success": True, "results": [{"status": "accepted"}]})
    assert headers["Content-Type"] == JSON
    assert buffer.counters()["waiting"] == 1


def test_the_view_is_imported_before_the_first_event() -> None:
    program = "import sys, vibetel.ingest_wsgi; sys.exit('ingest.slim' not in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, check=True)


def test_processes_share_the_limits(tmp_path: Path) -> None:
    rate = {"INGEST_RATE_PER_ADDRESS": "4/h"}
    with serving(tmp_path / "one", **rate) as one, serving(tmp_path / "two", **rate) as two:
        statuses = [server.ask("POST", PATH, body(event()), **{"Content-Type": JSON})[0] for server in (one, two) * 3]
    assert statuses == [202] * 4 + [429] * 2


def test_no_address_and_no_payload_is_logged(server: Server) -> None:
    marker = "a-marker-of-this-test"
    for content in (body(event(command=marker, note=marker)), marker.encode(), body(event(duration=marker))):
        server.ask("POST", PATH, content, **{"Content-Type": JSON, "X-Forwarded-For": "203.0.113.77"})
    server.ask("POST", f"/{marker}", b"", **{"Content-Type": marker})
    log = server.log.read_text()
    assert marker not in log
    assert "127.0.0.1 " not in log
    assert "203.0.113.77" not in log


@pytest.mark.parametrize(
    ("headers", "status"), [(b"Content-Length: some", b"400"), (b"A: \x01", b"400"), (b"A: b\r\n" * 101, b"431")]
)
def test_what_is_no_http_is_answered_without_a_body(server: Server, headers: bytes, status: bytes) -> None:
    assert _ask(server, headers).partition(b"\r\n")[0].split()[1] == status
    assert _ask(server, headers).endswith(b"\r\n\r\n")
    assert buffer.counters() == {"waiting": 0}


def test_a_request_without_a_length_is_one_without_a_body(server: Server) -> None:
    answer = _ask(server, b"Content-Type: application/json")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"bad_json"' in answer


def _ask(server: Server, headers: bytes) -> bytes:
    """The whole answer to a request of no more than its head."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(
            b"POST /api/pipeline HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + headers + b"\r\n\r\n"
        )
        return b"".join(iter(lambda: connection.recv(65_536), b""))
