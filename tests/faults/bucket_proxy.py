"""Bucket proxy: stands in front of the bucket and breaks what it is told to break.

In: S3 requests on a loopback port. Out: the bucket's answers, or what `mode`, set at any moment, makes of them.
The Host header goes on unchanged, since requests are signed with it.
"""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, get_args

Mode = Literal[
    "pass",
    "cut_off",  # the connection is reset before anything is read of the request
    "slow",  # half a second later
    "500",
    "503",
    "request_truncated",  # the bucket gets half of the body, then the connection ends
    "answer_lost",  # the request goes through, and nobody hears of it
    "answer_500",  # the request goes through, and the answer says that it did not
    "answer_truncated",  # half of the body, then the connection ends
    "answer_shortened",  # half of the body, and a length that fits
    "any",  # another one for each request
]
MODES: tuple[Mode, ...] = get_args(Mode)
SLOW_S = 0.5

_ERRORS = {500: b"InternalError", 503: b"ServiceUnavailable"}
_HOP_BY_HOP = {"connection", "keep-alive", "expect", "transfer-encoding", "content-length"}


class BucketProxy(ThreadingHTTPServer):
    """Listens from its making to the end of `serving`."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, port_behind: Callable[[], int], seed: object) -> None:
        """`port_behind` answers where the bucket listens now."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.mode: Mode = "pass"
        self.spares_listings = False  # then a loader comes as far as the objects
        self.port_behind = port_behind
        self._random = random.Random(f"proxy {seed}")
        self._drawing = threading.Lock()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer requests until the end of the block."""
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="bucket proxy")
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    def mode_of(self, path: str) -> Mode:
        """The mode for one request; with `any`, the bucket is well for half of them."""
        if self.spares_listings and "list-type=2" in path:
            return "pass"
        if self.mode != "any":
            return self.mode
        with self._drawing:
            return self._random.choice(MODES[1:-1]) if self._random.random() < 0.5 else "pass"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hung up has."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BucketProxy

    def do_GET(self) -> None:
        mode = self.server.mode_of(self.path)
        if mode == "cut_off":
            self._cut()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if mode in ("500", "503"):
            self._refuse(int(mode))
            return
        if mode == "slow":
            time.sleep(SLOW_S)
        if mode == "request_truncated":
            if self.command == "PUT":
                self._send_half(body)
            self._cut()
            return
        try:
            answer, content = self._forward(body)
        except (OSError, HTTPException):  # the bucket itself is away
            self._cut()
            return
        if mode == "answer_lost":
            self._cut()
        elif mode == "answer_500":
            self._refuse(500)
        else:
            self._answer(answer, content, mode)

    do_PUT = do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def _request(self, bucket: HTTPConnection, length: int) -> None:
        bucket.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                bucket.putheader(name, value)
        bucket.putheader("Content-Length", str(length))
        bucket.endheaders()

    def _forward(self, body: bytes) -> tuple[HTTPResponse, bytes]:
        with closing(self._connection()) as bucket:
            self._request(bucket, len(body))
            bucket.send(body)
            answer = bucket.getresponse()
            return answer, answer.read()

    def _send_half(self, body: bytes) -> None:
        with suppress(OSError), closing(self._connection()) as bucket:
            self._request(bucket, len(body))
            bucket.send(body[: len(body) // 2])

    def _connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.server.port_behind(), timeout=30)

    def _answer(self, answer: HTTPResponse, content: bytes, mode: Mode) -> None:
        half = content[: len(content) // 2]
        length = len(content)
        if self.command == "HEAD":
            length = int(answer.getheader("Content-Length") or 0)
        if mode == "answer_shortened":
            content, length = half, len(half)
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        if mode == "answer_truncated":
            if content:
                self.end_headers()
                self.wfile.write(half)
            self._cut()  # where there is no body, within the head
            return
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int) -> None:
        code = _ERRORS[status]
        content = b'<?xml version="1.0"?><Error><Code>' + code + b"</Code><Message>a test</Message></Error>"
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _cut(self) -> None:
        """A reset rather than an end, as when a cable is cut."""
        with suppress(OSError):
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
