"""The ingest process as it is served, on the tests' own stores."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.vibetel.programs import CHECKOUT, PATIENCE_SECONDS, until
from vibetel.embedded.addresses import free_ports
from vibetel.start import ingest_command


class Server:
    """A granian of its own on the tests' stores, which limits nobody."""

    def __init__(self, log: Path) -> None:
        self.port = int(free_ports(["INGEST_PORT"])["INGEST_PORT"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log

    def answers(self) -> bool:
        with suppress(OSError):
            return self.ask("GET", "/healthz")[0] == 200
        return False

    def ask(self, method: str, path: str, content: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
        """Status, headers and body."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()


@contextmanager
def serving(log_path: Path, **given: str) -> Iterator[Server]:
    """A server with these settings, until the end of the block."""
    server = Server(log_path)
    with server.log.open("wb") as log:
        command = ingest_command(server.port)
        assert command[-1] == "vibetel.ingest_wsgi:application"
        command[-1] = "tests.ingest.patient_wsgi:application"
        process = subprocess.Popen(command, cwd=CHECKOUT, env=os.environ | given, stdout=log, stderr=log)
    try:
        until(server.answers, otherwise=server.log.read_text)
        yield server
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
