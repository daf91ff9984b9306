"""Calls: a WSGI application called in this process, so many times, with no server around it.

In: `module:name`, how many, a file of requests as load.py takes it. Fails: exit status 1, where an answer is no 2xx.

It imports nothing of the project: what valgrind counts here is the application's own.
"""

import io
import os
import pickle
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

WARM_UP = 400  # requests that are not counted

_NAMED = {"Content-Type": "CONTENT_TYPE", "Content-Length": "CONTENT_LENGTH"}


def _environ(request: bytes) -> dict[str, object]:
    """What granian makes of a request: the process environment, then what PEP 3333 asks for."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    method, path, protocol = line.split()
    given = dict(header.split(": ", 1) for header in headers)
    return {
        **os.environ,
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "Granian",
        "SERVER_PROTOCOL": protocol,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        **{_NAMED.get(name, f"HTTP_{name.upper().replace('-', '_')}"): value for name, value in given.items()},
    }


def _main(application: str, count: int, requests: Sequence[bytes]) -> None:
    module, name = application.split(":")
    called = getattr(import_module(module), name)
    statuses: list[str] = []
    # A first connection, which under valgrind takes longer than a request may wait for it; and what is met first.
    for request in requests[:WARM_UP]:
        called(_environ(request), lambda status, headers, error=None: None).close()
    for environ in [_environ(request) for request in requests[:count]]:
        answer = called(environ, lambda status, headers, error=None: statuses.append(status))
        b"".join(answer)
        answer.close()
    refused = [status for status in statuses if not status.startswith("2")]
    if refused or len(statuses) != count:
        raise SystemExit(f"{len(statuses)} of {count} requests answered, {len(refused)} not with 2xx: {refused[:1]}")


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), pickle.loads(Path(sys.argv[3]).read_bytes()))
