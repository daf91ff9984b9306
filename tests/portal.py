"""A whole portal for tests: `manage.py up` in a folder of its own, seen from outside only."""

import gzip
import html
import http.cookiejar
import json
import os
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg

from tests.vibetel.programs import CHECKOUT, program, until
from vibetel import embedded
from vibetel.embedded.addresses import free_ports


class Portal:
    """One data folder and one port; the portal on them may be started, killed and started again."""

    def __init__(self, data_dir: Path) -> None:
        ports = free_ports(("PORT", "INGEST_PORT"))
        self.url = f"http://127.0.0.1:{ports['PORT']}"
        self.ingest_url = f"http://127.0.0.1:{ports['INGEST_PORT']}"
        self.data_dir = data_dir
        self.password = ""
        self.environment = {**os.environ, "DATA_DIR": str(data_dir), **ports}
        self._ports = ports
        self._running = ExitStack()

    def start(self) -> None:
        """Return when it serves."""
        self.up = self._running.enter_context(program("manage.py", "up", data_dir=self.data_dir, **self._ports))
        until(lambda: self.up.says("Ctrl-C stops everything"))
        if printed := re.search(r"Password: +(\S+)", self.up.output()):
            self.password = printed[1]

    def stop(self) -> None:
        """As Ctrl-C does; returns when it has ended."""
        self.up.stop(signal.SIGINT)
        self._running.close()

    def kill(self) -> None:
        """kill -9 to the supervisor and to everything under it, at one moment."""
        supervisor = psutil.Process(self.up.process.pid)
        for process in [*supervisor.children(recursive=True), supervisor]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._running.close()

    def manage(self, *arguments: str) -> str:
        """What a command prints, run in another terminal."""
        command = [sys.executable, "manage.py", *arguments]
        ran = subprocess.run(command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True)
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
            f"{self.ingest_url}/api/pipeline", content, headers={"Content-Type": "application/json"}
        )
        return int(urllib.request.urlopen(request, timeout=10).status)

    def overview(self, command: str) -> dict[str, str]:
        """The figures of a command on the Overview's cards by their labels, as an administrator sees them."""
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        form = browser.open(f"{self.url}/admin/login/").read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        assert token, form
        login = {"username": "admin", "password": self.password, "csrfmiddlewaretoken": token[1]}
        login["next"] = f"/admin/?command={command}"
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
