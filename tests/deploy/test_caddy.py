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
    """A running Caddy before a server that says yes: its ports for events and dashboards, and what it passed on."""

    port: int
    portal_port: int
    seen: Seen

    def ask(self, method: str, body: Any = None, **headers: str) -> int:
        """The status."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, "/api/pipeline", body, headers)
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """Where CI runs, a Caddy that is missing is a failure; elsewhere these tests are left out."""
    caddy = shutil.which("caddy")
    if caddy is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Debian's package caddy is not installed")
    seen = Seen()
    ports = {name: int(port) for name, port in free_ports(["portal", "events"]).items()}
    with _portal(seen) as upstream:
        place = upstream.server_address[1]
        text = re.sub("127.0.0.1:800[01]", f"127.0.0.1:{place}", CADDYFILE.read_text())
        (tmp_path / "Caddyfile").write_text("{\n\tadmin off\n}\n" + text)
        process = subprocess.Popen(
            [caddy, "run", "--config", tmp_path / "Caddyfile", "--adapter", "caddyfile"],
            env={
                **os.environ,
                "HOME": str(tmp_path),
                "PORTAL_HOST": f"http://127.0.0.1:{ports['portal']}",
                "EVENTS_HOST": f"http://127.0.0.1:{ports['events']}",
            },
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: _listens(ports["events"]) and _listens(ports["portal"]))
            yield Front(ports["events"], ports["portal"], seen)
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


def test_a_body_that_is_too_large_is_refused(front: Front) -> None:
    assert front.ask("POST", b" " * 3_000_000) >= 400
