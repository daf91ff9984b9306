"""Endpoints: a server for each way in which a portal may answer or not, in one process apart from the measured ones.

Out: a line of JSON, the base URL of each by name. It serves until its standard input ends.
"""

import gzip
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_S = 30


@contextmanager
def serving() -> Iterator[dict[str, str]]:
    """The base URLs of healthy, refusing, black-holed and slow."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.endpoints"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()


class _Healthy(BaseHTTPRequestHandler):
    """Accepts every event as the portal does (wire-format.md); posthog's paths get a 200."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/pipeline":
            events = json.loads(gzip.decompress(body))["data"]
            status, answer = 202, {"success": True, "results": [{"status": "accepted"} for _ in events]}
        else:
            status, answer = 200, {}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Slow(_Healthy):
    def do_POST(self) -> None:
        time.sleep(SLOW_S)
        with suppress(OSError):  # the other side has gone, as it should
            super().do_POST()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


def _main() -> None:
    refusing = socket.socket()  # bound and not listening: it refuses, and nobody else gets the port
    refusing.bind(("127.0.0.1", 0))
    black_hole = socket.create_server(("127.0.0.1", 0), backlog=128)
    ports = {"refusing": refusing.getsockname()[1], "black-holed": black_hole.getsockname()[1]}
    threading.Thread(target=_accept, args=[black_hole], daemon=True).start()
    for name, handler in (("healthy", _Healthy), ("slow", _Slow)):
        server = _Server(("127.0.0.1", 0), handler)
        ports[name] = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(json.dumps({name: f"http://127.0.0.1:{port}" for name, port in ports.items()}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


def _accept(black_hole: socket.socket) -> None:
    """Accept, read nothing, answer nothing."""
    held = []
    while True:
        held.append(black_hole.accept())


if __name__ == "__main__":
    _main()
