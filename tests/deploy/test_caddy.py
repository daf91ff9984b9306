"""The Caddyfile of deploy/, in a Caddy from Debian's packages: what it passes on to the portal, and what not."""

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.vibetel.programs import CHECKOUT, until
from vibetel.embedded.addresses import free_ports

CADDYFILE = CHECKOUT / "deploy/Caddyfile"


@dataclass
class Seen:
    """What came to the portal's place."""

    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


@dataclass
class Front:
    """A running Caddy before a portal that says yes: ports for events and dashboards, what was passed on, its log."""

    port: int
    portal_port: int
    seen: Seen
    portal: ThreadingHTTPServer
    log: Path

    def ask(self, method: str, body: Any = None, **headers: str) -> int:
        """The status."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, "/api/pipeline", body, headers)
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture
def front(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Front]:
    """Where CI runs, a Caddy that is missing is a failure; elsewhere these tests are left out.

    A parameter is how long it waits for a body, instead of 20 s.
    """
    caddy = shutil.which("caddy")
    if caddy is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Debian's package caddy is not installed")
    seen = Seen()
    ports = {name: int(port) for name, port in free_ports(["portal", "events"]).items()}
    log = tmp_path / "log"
    with _portal(seen) as upstream, log.open("w") as stderr:
        place = upstream.server_address[1]
        text = re.sub("127.0.0.1:800[01]", f"127.0.0.1:{place}", CADDYFILE.read_text())
        text = text.replace("read_body 20s", f"read_body {getattr(request, 'param', '20s')}")
        (tmp_path / "Caddyfile").write_text(text.replace("{\n", "{\n\tadmin off\n", 1))
        process = subprocess.Popen(
            [caddy, "run", "--config", tmp_path / "Caddyfile", "--adapter", "caddyfile"],
            env={
                **os.environ,
                "HOME": str(tmp_path),
                "PORTAL_HOST": f"http://127.0.0.1:{ports['portal']}",
                "EVENTS_HOST": f"http://127.0.0.1:{ports['events']}",
            },
            stderr=stderr,
        )
        try:
            until(lambda: _listens(ports["events"]) and _listens(ports["portal"]))
            yield Front(ports["events"], ports["portal"], seen, upstream, log)
        finally:
            process.terminate()
            process.wait(20)


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def _portal(seen: Seen) -> _Server:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.headers.append(dict(self.headers))
            length = self.headers["Content-Length"]
            if length:
                seen.bodies.append(self.rfile.read(int(length)))
            self.close_connection = True
            self.send_response(202 if length else 411)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_a_sender_cannot_choose_its_address_or_its_scheme(front: Front) -> None:
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X_Forwarded_For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X_Forwarded_Proto": "https",
    }
    assert front.ask("POST", b"{}", **forged) == 202
    (headers,) = front.seen.headers
    forwarded = {name: value for name, value in headers.items() if re.match("x.forwarded.(for|proto)", name, re.I)}
    assert forwarded == {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http"}


def test_a_chunked_body_stays_one(front: Front) -> None:
    """So the endpoint refuses it, as it does without a proxy: no client of ours sends such."""
    assert front.ask("POST", iter([b"{", b"}"])) == 411
    assert front.seen.headers[0]["Transfer-Encoding"] == "chunked"


@pytest.mark.parametrize("name", ["port", "portal_port"])
def test_a_body_that_does_not_end_does_not_reach_the_portal(front: Front, name: str) -> None:
    with socket.create_connection(("127.0.0.1", getattr(front, name))) as slow:
        slow.sendall(b"POST /api/pipeline HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n{")
        assert front.ask("POST", b"{}") == 202  # meanwhile another is served
        time.sleep(0.2)
        assert front.seen.bodies == [b"{}"]
        slow.sendall(b" " * 8 + b"}")
        assert b" 202 " in slow.recv(1000)
    assert len(front.seen.bodies) == 2


@pytest.mark.parametrize("front", ["1s"], indirect=True)
def test_a_body_that_does_not_end_is_given_up(front: Front) -> None:
    with socket.create_connection(("127.0.0.1", front.port), timeout=20) as slow:
        slow.sendall(b"POST /api/pipeline HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n{")
        while slow.recv(1000):
            pass  # until Caddy hangs up


def test_a_body_that_is_too_large_is_refused(front: Front) -> None:
    assert front.ask("POST", b" " * 1_100_000) == 413
    assert front.ask("POST", b" " * 3_000_000) == 413
    assert front.seen.bodies == []


def test_a_body_just_above_the_bound_is_the_endpoints_to_refuse(front: Front) -> None:
    assert front.ask("POST", b" " * 1_099_999) == 202
    assert len(front.seen.bodies[0]) == 1_099_999


def test_no_address_is_logged_where_a_request_fails(front: Front) -> None:
    front.portal.shutdown()
    front.portal.server_close()
    assert front.ask("POST", b"{}") == 502
    until(lambda: '"status":502' in front.log.read_text())
    assert "remote_ip" not in front.log.read_text()
