"""A whole portal for tests: `manage.py up` in a folder of its own, seen from outside only."""

import gzip
import html
import http.cookiejar
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg

from vibetel import embedded

ROOT = Path(__file__).parent.parent


class Portal:
    """One data folder and one port; the portal on them may be started, killed and started again."""

    def __init__(self, data_dir: Path) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.data_dir = data_dir
        self.password = ""
        self._terminal = data_dir.with_suffix(".out")
        # The other settings are not in the tests' environment (tests/servers.py).
        self.environment = {**os.environ, "DATA_DIR": str(data_dir), "PORT": str(port)}

    def start(self) -> None:
        """Return when it serves."""
        with self._terminal.open("wb") as terminal:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(self._is_up, seconds=60, otherwise=self.terminal)
        if printed := re.search(r"Password: +(\S+)", self.terminal()):
            self.password = printed[1]

    def stop(self) -> None:
        """As Ctrl-C does; returns when it has ended."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=10)

    def kill(self) -> None:
        """kill -9 to the supervisor and to everything under it, at one moment."""
        supervisor = psutil.Process(self.process.pid)
        for process in [*supervisor.children(recursive=True), supervisor]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def terminal(self) -> str:
        """What it has printed."""
        return self._terminal.read_text()

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.terminal()
        return "Ctrl-C stops everything" in self.terminal()

    def manage(self, *arguments: str) -> str:
        """What a command prints, run in another terminal."""
        command = [sys.executable, "manage.py", *arguments]
        ran = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def ledger(self) -> dict[str, Any]:
        """The books."""
        books = json.loads(self.manage("ledger", "--json"))
        assert isinstance(books, dict)
        return books

    def post(self, content: bytes) -> int:
        """The status of a POST to the pipeline."""
        request = urllib.request.Request(
            f"{self.url}/api/pipeline", content, headers={"Content-Type": "application/json"}
        )
        return int(urllib.request.urlopen(request, timeout=10).status)

    def overview(self) -> dict[str, str]:
        """The figures on the Overview's cards by their labels, as an administrator sees them."""
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        form = browser.open(f"{self.url}/admin/login/").read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        assert token, form
        login = {"username": "admin", "password": self.password, "csrfmiddlewaretoken": token[1], "next": "/admin/"}
        page = browser.open(f"{self.url}/admin/login/", urllib.parse.urlencode(login).encode()).read().decode()
        cards = re.findall(r'class="label">([^<]+)<.*?class="figure">([^<]+)<', page, re.DOTALL)
        return {html.unescape(label): html.unescape(figure) for label, figure in cards}

    def bucket_lines(self) -> Iterator[list[bytes]]:
        """Every object's lines, read without the project's own code."""
        known = self._addresses()
        bucket = boto3.client(
            "s3",
            endpoint_url=known["ARCHIVE_ENDPOINT_URL"],
            region_name="auto",
            aws_access_key_id=known["ARCHIVE_READ_ACCESS_KEY_ID"],
            aws_secret_access_key=known["ARCHIVE_READ_SECRET_ACCESS_KEY"],
        )
        for page in bucket.get_paginator("list_objects_v2").paginate(Bucket=known["ARCHIVE_BUCKET"]):
            for entry in page.get("Contents", []):
                body = bucket.get_object(Bucket=known["ARCHIVE_BUCKET"], Key=entry["Key"])["Body"].read()
                yield gzip.decompress(body).splitlines()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What Postgres answers, asked without the project's own code."""
        with psycopg.connect(self._addresses()["DATABASE_URL"]) as connection:
            return connection.execute(query).fetchall()

    def _addresses(self) -> dict[str, str]:
        return embedded.environment(self.data_dir, self.environment)


def wait_for(condition: Callable[[], bool], seconds: float, otherwise: Callable[[], object]) -> None:
    """Return as soon as it holds; fail with what `otherwise` says when it does not in time."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, otherwise()
        time.sleep(0.2)
