"""Stand-in: a portal, a proxy or whatever else answers in its place, at the network's edge.

In: requests, each kept in `requests`. Out: what `answer` makes of them, byte by byte, once `release` is set.
"""

import gzip
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any, NamedTuple


class Request(NamedTuple):
    """One request, as it came."""

    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def content(self) -> Any:
        """The envelope."""
        return json.loads(gzip.decompress(self.body))

    @property
    def events(self) -> list[dict[str, Any]]:
        """The envelope's events."""
        return list(self.content["data"])


Answer = Callable[[Request], Iterable[bytes]]


def http_answer(status: int, body: object = b"", **headers: str) -> list[bytes]:
    """A whole answer; a body that is no bytes goes out as JSON. A header's name may be written `Retry_After`."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(raw)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ["\r\n".join([*lines, "", ""]).encode("latin-1") + raw]


def accept(request: Request) -> Iterable[bytes]:
    """What the portal says to events that it takes."""
    return http_answer(202, {"success": True, "results": [{"status": "accepted"}] * len(request.events)})


class StandIn(ThreadingHTTPServer):
    """A server on a free port. `with` runs it; `answer` may be changed at any time."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 50

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: Queue[Request] = Queue()
        self.answer: Answer = accept
        self.release = threading.Event()
        self.release.set()
        self.open_max_count = 0
        self._open_count = 0
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api/pipeline"

    def __enter__(self) -> "StandIn":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def reply(self, request: Request) -> Iterator[bytes]:
        """Keep the request, and make the answer when it is time for it."""
        with self._counting:
            self._open_count += 1
            self.open_max_count = max(self.open_max_count, self._open_count)
        self.requests.put(request)
        self.release.wait(30)
        with self._counting:
            self._open_count -= 1
        yield from self.answer(request)

    def handle_error(self, *_: object) -> None:
        """Whoever sent the request has gone: tests bring that about."""


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def handle_one_request(self) -> None:
        """Any method, and one request a connection."""
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        for part in self.server.reply(Request(self.command, self.path, headers, body)):
            self.wfile.write(part)
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        pass
