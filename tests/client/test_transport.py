"""The transport against real servers, and whole processes against promises that only a process can keep."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

import pytest
import trustme
import vibetel_client
from vibetel_client import HttpTransport, identity
from vibetel_client.transport import EXIT_WAIT_S, TIMEOUT_S, WAITING_MAX_COUNT, encode

# Well over what a machine under load adds to a process, well under the 3 s of a timeout.
SLACK_S = 1.5

EXAMPLE = Path(__file__).parents[2] / "client" / "examples" / "argparse_cli.py"


class Server(ThreadingHTTPServer):
    """Answers every POST with `status`, after `release` is set."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: Queue[tuple[dict[str, str], bytes]] = Queue()
        self.release = threading.Event()
        self.status = 202

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api/pipeline"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.put((dict(self.headers), body))
        self.server.release.wait(10)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.release.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def refusing_url() -> Iterator[str]:
    with socket.socket() as bound:  # bound and not listening: the port refuses, and nobody else gets it
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"


TOOL = """
import sys, time
import vibetel_client
telemetry = vibetel_client.Telemetry(tool="vibe-tools", version="0.64.0", endpoint=sys.argv[1])
before = time.monotonic()
with telemetry.command("repo", {"debug": True}):
    pass
print(time.monotonic() - before)
"""

# For tests of something else than the wait at exit, on machines that are busy.
PATIENT = """
import vibetel_client.transport
vibetel_client.transport.EXIT_WAIT_S = 10
"""


def run_python(script: str, *arguments: str) -> "tuple[str, str, float]":
    """What a whole process writes to stdout and stderr, and how many seconds it takes."""
    before = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-B", "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(Path(vibetel_client.__file__).parents[1])},
    )
    return done.stdout, done.stderr, time.monotonic() - before


def test_deliver_posts_the_envelope(server: Server) -> None:
    server.release.set()
    HttpTransport().deliver(server.url, {"eventName": "command_executed", "duration": 7})
    headers, body = server.requests.get(timeout=5)
    assert body == b'{"data":{"eventName":"command_executed","duration":7}}'
    assert headers["Content-Type"] == "application/json"


def test_deliver_does_not_wait_for_a_slow_server(server: Server) -> None:
    before = time.monotonic()
    HttpTransport().deliver(server.url, {})
    assert time.monotonic() - before < SLACK_S
    server.requests.get(timeout=5)


def test_deliver_to_a_silent_server_holds_one_thread_and_a_bounded_queue(server: Server) -> None:
    before = set(threading.enumerate())
    silent = HttpTransport()
    for _ in range(3 * WAITING_MAX_COUNT):
        silent.deliver(server.url, {})
    assert [thread.name for thread in set(threading.enumerate()) - before].count("vibetel") == 1

    server.release.set()
    for _ in range(WAITING_MAX_COUNT):
        server.requests.get(timeout=5)
    last = {"command": "last"}
    silent.deliver(server.url, last)
    came_before = list(iter(lambda: server.requests.get(timeout=5)[1], encode(last)))
    assert len(came_before) <= 1  # the one that was under way while the others waited


def test_a_tool_that_exits_at_once_delivers_its_event(server: Server, diagnostics: Path) -> None:
    saved = identity.record_choice(diagnostics, True)
    server.release.set()
    run_python(TOOL, server.url)
    [(_, body)] = [server.requests.get(timeout=5)]
    event = json.loads(body)["data"]
    assert (event["command"], event["userId"], event["hasError"]) == ("repo", saved.user_id, False)
    assert server.requests.empty()


def test_a_tool_exits_before_a_slow_server_has_answered(server: Server, diagnostics: Path) -> None:
    identity.record_choice(diagnostics, True)
    _, _, without_s = run_python(TOOL, "")
    stdout, stderr, with_s = run_python(TOOL, server.url)
    assert float(stdout) < SLACK_S
    assert stderr == ""
    # It waits EXIT_WAIT_S, which a busy machine stretches; TIMEOUT_S would be the server's time, not the tool's.
    assert with_s - without_s < EXIT_WAIT_S + SLACK_S < TIMEOUT_S


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "file:///etc/passwd", "no url", "http://", "http://[", "http://a b/"]
)
def test_a_wrong_endpoint_disturbs_no_tool(url: str, diagnostics: Path) -> None:
    identity.record_choice(diagnostics, True)
    assert run_python(TOOL, url)[1] == ""


def test_a_refusing_server_disturbs_no_tool(refusing_url: str, diagnostics: Path) -> None:
    identity.record_choice(diagnostics, True)
    assert run_python(TOOL, refusing_url)[1] == ""


@pytest.mark.parametrize("status", [302, 400, 500, 503])
def test_a_bad_answer_disturbs_no_tool(server: Server, diagnostics: Path, status: int) -> None:
    identity.record_choice(diagnostics, True)
    server.status = status
    server.release.set()
    assert run_python(PATIENT + TOOL, server.url)[1] == ""
    assert not server.requests.empty()


def test_a_server_gets_nothing_until_its_certificate_is_trusted(
    server: Server, diagnostics: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    identity.record_choice(diagnostics, True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.release.set()
    url = server.url.replace("http:", "https:")
    assert run_python(PATIENT + TOOL, url)[1] == ""
    assert server.requests.empty()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    assert run_python(PATIENT + TOOL, url)[1] == ""
    assert server.requests.get(timeout=5)


def test_starting_up_imports_nothing_heavy(diagnostics: Path) -> None:
    heavy = "('http.client', 'ssl', 'socket', 'urllib.request', 'email', 'asyncio', 'tempfile')"
    stdout, _, _ = run_python(f"{TOOL}\nprint([name for name in {heavy} if name in sys.modules])", "http://a.invalid/")
    assert stdout.splitlines()[-1] == "[]"


WATCH = """
import sys
def watch(name, arguments):
    writes = name == "open" and (arguments[2] or 0) & 3
    if writes or name.startswith("socket.") or name in ("os.mkdir", "os.rename", "subprocess.Popen", "os.posix_spawn"):
        sys.stdout.write(f"{name} {arguments}\\n")
sys.addaudithook(watch)
"""


@pytest.mark.parametrize("state", ["pending", "saved no", "broken file", "VIBE_TOOLS_NO_TELEMETRY", "DO_NOT_TRACK"])
def test_without_a_yes_a_process_looks_up_connects_and_writes_nothing(
    state: str, server: Server, diagnostics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if state == "saved no":
        identity.record_choice(diagnostics, False)
    elif state == "broken file":
        diagnostics.parent.mkdir()
        diagnostics.write_text("null")
    elif state != "pending":
        identity.record_choice(diagnostics, True)
        monkeypatch.setenv(state, "1")
    stdout, stderr, _ = run_python(WATCH + TOOL, server.url)
    assert len(stdout.splitlines()) == 1  # the tool's own line
    assert stderr == ""
    assert server.requests.empty()


def test_with_a_yes_the_watch_sees_the_connection(server: Server, diagnostics: Path) -> None:
    identity.record_choice(diagnostics, True)
    server.release.set()
    assert "socket.connect" in run_python(PATIENT + WATCH + TOOL, server.url)[0]


def test_the_example_asks_reports_and_stops(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.release.set()
    monkeypatch.setenv("NOTES_TELEMETRY_ENDPOINT", server.url)
    script = PATIENT + f"import runpy, sys; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    count = (script, "count", str(EXAMPLE))
    assert run_python(*count)[0].strip().isdigit()
    assert server.requests.empty()
    assert "telemetry: enabled" in run_python(script, "telemetry", "on")[0]
    run_python(*count)
    event = json.loads(server.requests.get(timeout=5)[1])["data"]
    assert (event["command"], event["options"]) == ("count", {"quiet": False})
    assert run_python(script, "telemetry", "off")[0] == "telemetry: opted out\n"
    run_python(*count)
    assert server.requests.empty()
